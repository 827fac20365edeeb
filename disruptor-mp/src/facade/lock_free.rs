//! The cursors of a live ring, and what its parties wait for.
//!
//! ```
//! let ring = disruptor_mp::HeapRing::<u64>::new(8)?;
//! let (mut tx, mut rx) = (ring.producer()?, ring.consumer("reader")?);
//! tx.publish_batch(3, |event, i| *event = i as u64);
//! rx.try_consume_next();
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
//! *Published* is not a word of the segment: each slot's stamp says which sequence it holds, and a reader follows the
//! stamps. The *sequence* of a consumer, in its line, is the last one it has released. The *gate* is the smallest of
//! those: the slot of sequence `s` may be written when `s - capacity` is at or below it. The *floor*, in the producer's
//! line, never falls: what lies at or below it may have been reused, so joiners start above it.
//!
//! # Why no lock is needed
//!
//! Each word has one writer at a time, who is named where the word is declared. A slot is written by the producer alone,
//! stamp last (Release); a consumer reads the stamp first (Acquire) and so sees the event whole. A consumer releases with
//! one store (Release), and the producer looks at it (Acquire) before it writes the slot again. The one race that stores
//! and loads alone do not settle, a joiner against a producer that has just passed, is settled by a fence on either side
//! and a second look.
//!
//! Locks there are, one byte of the file for each party, but no party ever waits for one on its way through the ring:
//! they say who is alive.

pub use crate::Sequence;
pub use crate::blocked::{BlockedOn, RingState};
