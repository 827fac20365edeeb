//! The cursors of a live ring, and what its parties wait for.
//!
//! ```
//! use disruptor_mp::Deadline;
//!
//! let ring = disruptor_mp::HeapRing::<u64>::new(8)?;
//! let (mut tx, mut rx) = (ring.producer()?, ring.consumer("reader")?);
//! tx.send_batch(3, Deadline::NEVER, |event, i| *event = i as u64)?;
//! rx.recv(Deadline::NEVER)?.commit();
//!
//! let state = tx.ring_state();
//! assert_eq!((state.published, state.gate), (2, Some(0)));
//! assert_eq!(state.consumers, [(String::from("reader"), 0)]);
//! assert_eq!((tx.min_gating_sequence(), rx.producer_sequence()), (0, 2));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # The cursors
//!
//! *Published* is not a word of the segment: each slot's stamp says which sequence it holds, and a reader
//! follows the stamps. The *sequence* of a consumer, in its line, is the last one it has released. The *gate*
//! is the smallest of those sequences: the slot of sequence `s` may be written when `s - capacity` is at or
//! below the gate. The *floor*, in the producer's line, never falls: slots of sequences up to the floor may
//! have been reused, so that joiners start above it.
//!
//! # Why no lock is needed
//!
//! Each word has one writer at a time, which is named where the word is declared. Only the producer writes a
//! slot, and it writes the stamp last (Release); a consumer loads the stamp first (Acquire) and so sees the
//! whole event. A consumer releases with one store (Release), and the producer loads it (Acquire) before it
//! writes the slot again. Stores and loads alone leave one race open: that of a joiner with a producer that
//! has just passed. A fence on either side and a second load settle it.
//!
//! The ring does have locks, one byte of the file for each party, but no party ever waits for one on its way
//! through the ring: the locks say which parties are alive.

pub use crate::Sequence;
pub use crate::handles::diagnosis::{BlockedOn, RingState};
