//! The producer's handle, and how it begins and ends.
//!
//! One process at a time has the ring's producer; it holds lock byte 0. When that process dies the byte falls,
//! consumers drain the published events and get an error, and the next producer on the name takes over (R14).

// in the order of the blocks on the type's page: what exists for programs written against 0.1 is last
mod sending;

mod managed;
mod queries;

mod counters;
mod ending;
mod syncing;
mod waiting;

mod compat;

pub use ending::CloseReport;
pub use queries::{NoteReader, PlaceReader};
pub use syncing::SyncPolicy;

use core::marker::PhantomData;
use core::mem::MaybeUninit;
use std::time::Instant;

use crate::Sequence;
use crate::event::Event;
use crate::handles::kinds::SharedMemory;
use crate::liveness::fast_path::FastPath;
use crate::liveness::watch::Liveness;
use crate::observability::{EndpointCounters, EndpointKind};
use crate::protocol::expect::Expectation;
use crate::protocol::publish::ProducerCore;
use crate::protocol::takeover::{Found, Inheritance};
use crate::segment::Segment;
use crate::sync::process::{AtomicU64, Ordering};
use crate::waiting::Habits;
use crate::waiting::cancel::TokenEntry;
use crate::waiting::check_timer::CheckTimer;

/// The producer of a ring in shared memory.
pub type SharedProducer<E> = Producer<E, SharedMemory>;

/// The one producer of a ring. [`SharedProducer`] and [`MmapProducer`](crate::MmapProducer) are this type.
///
/// Dropping the producer closes the ring: consumers drain what is left and see the end. The ring's name is
/// removed, too, unless a durable consumer has unread events. A producer that is dropped by a panic leaves
/// the ring as a death would: consumers get the error for a dead producer, and a successor may take over.
///
/// A call that takes a [`Deadline`](crate::Deadline) takes it as its last argument, or just before a closure.
///
/// # Examples
///
/// ```
/// use disruptor_mp::{Deadline, HeapRing};
///
/// let ring = HeapRing::<u64>::new(8)?;
/// let (mut tx, mut rx) = (ring.producer()?, ring.consumer("reader")?);
/// tx.send(Deadline::NEVER, |event| *event = 7)?;         // written in place
/// tx.send_value(8, Deadline::NEVER)?;
/// tx.try_send(|event| *event = 9)?;                      // never waits
/// tx.try_send_batch(2, |event, i| *event = i as u64)?;
/// assert_eq!(*rx.recv(Deadline::NEVER)?, 7);
/// assert_eq!(*rx.recv(Deadline::NEVER)?, 8);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// How far the consumers are, and which one holds the ring:
///
/// ```
/// use std::time::Duration;
/// use disruptor_mp::{Deadline, HeapRing};
///
/// let ring = HeapRing::<u64>::new(2)?;
/// let mut tx = ring.producer()?;
/// tx.expect_consumer_id("reader")?;                      // the ring is filled once and no further until it has come
/// assert!(!tx.notice_consumer_id("reader"));
/// let mut rx = ring.consumer("reader")?;
/// assert!(tx.wait_for_consumer("reader", Deadline::after(Duration::from_secs(5)))?);
///
/// tx.send_batch(tx.capacity(), Deadline::NEVER, |event, i| *event = i as u64)?;
/// assert_eq!((tx.last_published_sequence(), tx.min_gating_sequence()), (1, -1));
/// assert!(tx.blocked_on().expect("it is full").to_string().contains("'reader'"));
///
/// rx.process_available(|_, _| {});
/// assert!(tx.is_consumed(1) && tx.blocked_on().is_none());
/// assert!(tx.wait_until_consumed(1, Deadline::NEVER)?);
/// assert_eq!(tx.consumer_sequence("reader"), Some(1));
///
/// drop(rx);                                              // it may come back, so its place is kept
/// assert_eq!(tx.ring_state().consumers, [(String::from("reader"), 1)]);
/// tx.remove_consumer("reader")?;
/// assert_eq!(tx.ring_state().consumers, []);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// Three ways to end a ring, besides dropping the producer:
///
/// ```
/// use disruptor_mp::{portable_shm_segment_name, publisher, subscriber};
///
/// let name = portable_shm_segment_name("doc");
/// publisher::<u64>(&name, 8)?.close_and_keep()?;         // closed; a later consumer reads what is left
/// assert!(subscriber::<u64>(&name).is_ok());
/// publisher::<u64>(&name, 8)?.destroy()?;                // closed, and its name is gone
/// assert!(subscriber::<u64>(&name).is_err());
/// publisher::<u64>(&name, 8)?.close()?;                  // closed; the name goes when no consumer needs it
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Producer<E: Event, B = SharedMemory> {
    pub(crate) core: ProducerCore<E>,
    live: &'static AtomicU64,
    /// [`EVERY_CALL_CHECKS`](FastPath::EVERY_CALL_CHECKS) in a ring with observers, and without the lock.
    fast_path: FastPath,
    /// Memory in which events of a ring with observers are written before they are copied to their slots (R13).
    scratch: Option<Box<MaybeUninit<E>>>,
    pub(crate) habits: Habits,
    /// The registrations by which cancelled tokens wake this producer.
    _token_entries: Vec<TokenEntry>,
    pub(crate) segment: Segment<E>,
    /// Since when the ring has been full without a change of the gate.
    stalled: Option<FullSince>,
    /// When a call that never waits next checks liveness while the ring is full.
    timer: CheckTimer,
    pub(crate) liveness: Liveness,
    pub(crate) counters: EndpointCounters,
    disk: syncing::Disk,
    ending: Ending,
    has_ended: bool,
    /// This producer's number among those of its ring.
    epoch: u64,
    /// Whether this producer has noticed that the descriptor of its lock was closed; it publishes nothing
    /// after that (R8).
    pub(crate) has_lost: bool,
    /// Whether the log already says that the ring's name was removed from outside.
    is_name_loss_told: bool,
    /// What a warning of a consumer that is not there adds.
    advice: String,
    asked: waiting::Asked,
    backing: PhantomData<fn() -> B>,
}

/// Memory for one event, on the heap whatever its size is.
fn zeroed<E>() -> Box<MaybeUninit<E>> {
    let mut memory = Box::<E>::new_uninit();
    // SAFETY: the box is valid for writes of one `E`.
    unsafe { memory.as_mut_ptr().write_bytes(0, 1) };
    memory
}

/// A period in which the gate does not move.
#[derive(Clone, Copy, Debug)]
struct FullSince {
    since: Instant,
    gate: Sequence,
    /// Whether the log already says that an absent consumer holds the ring.
    is_told: bool,
}

/// How the ring ends when its producer goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ending {
    /// Closed; the name goes when no durable consumer needs it.
    Close,
    /// Closed, the name stays.
    Keep,
    /// Closed, the name goes now.
    Destroy,
    /// Closed again, with its `kept` word as it was: a producer that was never handed out had taken over a
    /// closed ring.
    AsFound { kept: u32 },
}

impl<E: Event, B> Producer<E, B> {
    /// The segment holds the producer's lock.
    pub(crate) fn new(
        segment: Segment<E>,
        start: Inheritance,
        expected: Expectation,
        habits: Habits,
    ) -> Self {
        tracing::debug!(ring = %segment.shown, next = start.next, epoch = start.epoch, "producer starts");
        let fast_path = match segment.is_observed {
            true => FastPath::EVERY_CALL_CHECKS,
            false => FastPath::open(segment.region().live_word()),
        };
        Self {
            _token_entries: habits.enter_tokens(segment.region()),
            core: ProducerCore::new(segment.view, start.next, start.floor, expected),
            live: segment.region().live_word(),
            fast_path,
            scratch: segment.is_observed.then(zeroed),
            habits,
            liveness: Liveness::new(fast_path),
            segment,
            stalled: None,
            timer: CheckTimer::default(),
            counters: EndpointCounters::new(EndpointKind::Producer, start.next, size_of::<E>()),
            disk: syncing::Disk::new(start.floor),
            ending: Ending::Close,
            has_ended: false,
            epoch: start.epoch,
            has_lost: false,
            is_name_loss_told: false,
            advice: String::new(),
            asked: waiting::Asked::default(),
            backing: PhantomData,
        }
    }

    /// Ends a producer that was never handed out and returns the ring to the state in which it was found.
    pub(crate) fn withdraw(mut self, found: Found) {
        match found {
            Found::Nothing => {}
            // the lock falls, and nothing else is written
            Found::Dead => self.has_ended = true,
            Found::Closed { kept } => self.ending = Ending::AsFound { kept },
        }
    }

    /// The next sequence if `n` slots may be written now, without a refresh of the gate (R4), in the process that
    /// made this producer.
    #[inline(always)]
    fn vacant(&self, n: usize) -> Option<Sequence> {
        // checked first: a forked child has not mapped the ring, from which the position is read (R8)
        if !self.fast_path.is_open() {
            return None;
        }
        self.core.vacant(n)
    }

    pub(crate) fn is_forked(&self) -> bool {
        self.live.load(Ordering::Relaxed) == 0
    }
}
