//! The consumer's handle, and what it knows of its place.
//!
//! A consumer owns one line of the segment. With an explicit id the line and the position outlive the
//! process; with an automatic id they go with it, at the latest when a blocked producer checks liveness.

// in the order of the blocks on the type's page: what exists for programs written against 0.1 is last
mod receiving;

mod bursts;
mod held;
mod queries;

mod counters;
mod ending;
mod waiting;

mod compat;

use core::marker::PhantomData;
use std::sync::Arc;

use crate::Sequence;
use crate::error::{MultiProcessError, MultiProcessResult, RecvError};
use crate::event::Event;
use crate::handles::kinds::SharedMemory;
use crate::layout::control::{ConsumerId, MAX_ID_BYTES};
use crate::liveness::fast_path::FastPath;
use crate::observability::{EndpointCounters, EndpointKind};
use crate::protocol::consume::ConsumerCore;
use crate::protocol::lines;
use crate::segment::Segment;
use crate::sync::process::AtomicBool;
use crate::waiting::Habits;
use crate::waiting::cancel::TokenEntry;
use crate::waiting::check_timer::CheckTimer;

/// A consumer of a ring in shared memory.
pub type SharedConsumer<E> = Consumer<E, SharedMemory>;

/// A consumer of a ring: it sees every event, in order. [`SharedConsumer`] and
/// [`MmapConsumer`](crate::MmapConsumer) are this type.
///
/// Dropping the consumer detaches it: with an automatic id it leaves the gate; with an explicit one it keeps
/// its position, and gates until it comes back or is removed.
///
/// # Examples
///
/// ```
/// use disruptor_mp::{Deadline, HeapRing};
///
/// let ring = HeapRing::<u64>::new(8)?;
/// let (mut tx, mut rx) = (ring.producer()?, ring.consumer("reader")?);
/// tx.send_batch(3, Deadline::NEVER, |event, i| *event = i as u64)?;
/// assert_eq!(rx.recv_owned(Deadline::NEVER)?, (0, 0));             // a copy
/// assert_eq!(*rx.recv(Deadline::NEVER)?, 1);                       // in place
/// assert_eq!(rx.process_available(|event, _| assert_eq!(*event, 2)), 1);
/// assert!(rx.try_recv()?.is_none());                               // never waits; the ring's end is an error
///
/// assert_eq!((rx.current_sequence(), rx.producer_sequence(), rx.capacity()), (2, 2, 8));
/// assert_eq!((rx.consumer_id().as_str(), rx.name()), ("reader", tx.name()));
/// rx.detach()?;                                                    // it may come back, and continues where it was
/// tx.send_value(3, Deadline::NEVER)?;
/// let mut rx = ring.consumer("reader")?;
/// assert_eq!(rx.ring_state().consumers, [(String::from("reader"), 2)]);
/// assert_eq!(*rx.recv(Deadline::NEVER)?, 3);
/// rx.leave()?;                                                     // for good
/// assert_eq!(tx.ring_state().consumers, []);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// Held events have been read, but are not released:
///
/// ```
/// use disruptor_mp::{Deadline, HeapRing};
///
/// let ring = HeapRing::<u64>::new(8)?;
/// let (mut tx, mut rx) = (ring.producer()?, ring.consumer("reader")?);
/// tx.send_batch(2, Deadline::NEVER, |event, i| *event = i as u64)?;
/// rx.recv(Deadline::NEVER)?.hold();
/// rx.recv(Deadline::NEVER)?.hold();
/// assert_eq!((rx.held_count(), rx.held(1)), (2, Some(&1)));
/// rx.release_held(1);
/// rx.redeliver_held();
/// assert_eq!((rx.held_count(), rx.recv_owned(Deadline::NEVER)?), (0, (1, 1)));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Consumer<E: Event, B = SharedMemory> {
    core: ConsumerCore<E>,
    /// [`EVERY_CALL_CHECKS`](FastPath::EVERY_CALL_CHECKS) after a lost lock was noticed.
    fast_path: FastPath,
    /// Whether this consumer has noticed that the descriptor of its lock was closed; it reads nothing after
    /// that (R8).
    has_lost: bool,
    habits: Habits,
    /// The registrations by which cancelled tokens wake this consumer.
    _token_entries: Vec<TokenEntry>,
    segment: Segment<E>,
    id: ConsumerId,
    is_durable: bool,
    is_detached: bool,
    /// When the next liveness check is due in a call that times out.
    timer: CheckTimer,
    /// The event that such a call last found missing.
    missed: Sequence,
    /// Set by a party that waits in this consumer's place and finds the producer dead: the next call that
    /// finds no event checks liveness, too.
    suspicion: Arc<AtomicBool>,
    /// How many events are in doubt, and where this consumer continues once it has been told (R17).
    untold: Option<(u64, Sequence)>,
    /// Whether it had left, or was removed, and starts behind what was published meanwhile.
    pub(crate) has_skipped_absence: bool,
    pub(crate) counters: EndpointCounters,
    backing: PhantomData<fn() -> B>,
}

/// Checks that `id` is valid for a consumer.
pub(crate) fn check_id(id: &str) -> MultiProcessResult<ConsumerId> {
    ConsumerId::new(id).ok_or_else(|| MultiProcessError::InvalidConsumerId {
        id: id.to_owned(),
        reason: match id.len() {
            0 => "it is empty",
            n if n > MAX_ID_BYTES => "it is longer than 48 bytes",
            _ => "it contains a NUL",
        },
    })
}

impl<E: Event, B> Consumer<E, B> {
    /// The caller owns the line, and the line is registered.
    pub(crate) fn new(
        segment: Segment<E>,
        place: lines::LinePlace,
        id: ConsumerId,
        is_durable: bool,
        habits: Habits,
    ) -> Self {
        tracing::debug!(ring = %segment.shown, id = %id.text(), next = place.next, rejoined = place.rejoined, "consumer attached");
        let mut core = ConsumerCore::new(segment.view, place.line, place.next);
        let untold = core.stand_in_doubt();
        Self {
            _token_entries: habits.enter_tokens(segment.region()),
            core,
            fast_path: FastPath::open(segment.region().live_word()),
            has_lost: false,
            habits,
            segment,
            id,
            is_durable,
            is_detached: false,
            timer: CheckTimer::default(),
            missed: -1,
            suspicion: Arc::default(),
            untold,
            has_skipped_absence: false,
            counters: EndpointCounters::new(EndpointKind::Consumer, place.next, size_of::<E>()),
            backing: PhantomData,
        }
    }

    /// Whether the next event may be read.
    #[inline(always)]
    fn is_ready(&mut self) -> bool {
        if !self.fast_path.is_open() {
            refuse(self.has_lost);
        }
        self.core.is_ready()
    }

    /// Whether this process is a forked child, or the lock is lost: then nothing in the ring may be touched.
    #[inline(always)]
    pub(crate) fn is_forked(&self) -> bool {
        !self.fast_path.is_open()
    }

    /// Why this consumer can no longer read; `None` while it can.
    pub(crate) fn refusal(&self) -> Option<RecvError> {
        self.is_forked().then(|| refusal(self.has_lost))
    }

    /// The flag by which parties that wait in this consumer's place report that its producer is dead.
    #[cfg(all(target_os = "linux", not(loom)))]
    pub(crate) fn suspicion(&self) -> &Arc<AtomicBool> {
        &self.suspicion
    }

    pub(crate) fn segment(&self) -> &Segment<E> {
        &self.segment
    }

    pub(crate) fn habits(&self) -> &Habits {
        &self.habits
    }

    pub(crate) fn line(&self) -> usize {
        self.core.line()
    }

    /// The sequence that is delivered next. Events between the last released one and this one are held.
    pub(crate) fn next_to_read(&self) -> Sequence {
        self.core.next()
    }
}

#[cold]
#[inline(never)]
fn refuse(has_lost: bool) -> ! {
    panic!("{}", refusal(has_lost))
}

/// The error for reading with a consumer whose live word is zero.
fn refusal(has_lost: bool) -> RecvError {
    match has_lost {
        true => RecvError::LockLost,
        false => RecvError::Forked,
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use crate::handles::ring_set::RingSet;
    use crate::open::simple::HeapRing;
    use crate::waiting::deadline::Deadline;

    /// Whoever waits in a consumer's place asks it first.
    #[test]
    fn a_consumer_that_may_not_read_says_so_to_its_set() {
        let ring = HeapRing::<u64>::new(8).expect("a ring");
        let mut rx = ring.consumer("reader").expect("a consumer");
        for (has_lost, refusal) in [(false, RecvError::Forked), (true, RecvError::LockLost)] {
            (rx.has_lost, rx.fast_path) = (has_lost, FastPath::EVERY_CALL_CHECKS);
            let mut set = RingSet::of([&rx]).expect("one ring");
            assert_eq!(set.wait(Deadline::NEVER), Err(refusal.clone()));
            #[cfg(target_os = "linux")]
            assert!(
                rx.readiness()
                    .expect_err("refused")
                    .to_string()
                    .contains(&refusal.to_string())
            );
        }
    }
}
