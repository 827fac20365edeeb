//! The observer's handle: a reader for which no party waits.
//!
//! An observer owns no line and holds no lock; attaching one changes nothing in the ring. It reads the newest
//! events as long as it keeps up, and learns how many it missed when it does not (R13).
//!
//! It stores one thing, the bit of a sleeper. An observer that may only read the ring's file has it mapped
//! read-only, where a store would raise SIGSEGV: it sleeps by the clock instead.

use core::marker::PhantomData;
use core::mem::MaybeUninit;
use std::time::Duration;

use crate::Sequence;
use crate::clock;
use crate::error::{MultiProcessError, MultiProcessResult, RecvError};
use crate::event::Event;
use crate::handles::kinds::SharedMemory;
use crate::handles::start::StartFrom;
use crate::layout::stamp::{self, MAX_SEQUENCE};
use crate::protocol::observe::{self, Sight};
use crate::protocol::{ends, sleep};
use crate::segment::Segment;
use crate::sync::Ordering;
use crate::waiting::cancel::TokenEntry;
use crate::waiting::deadline::Deadline;
use crate::waiting::participants::{Participants, Role};
use crate::waiting::wait_loop::{Awaited, wait};
use crate::waiting::{Habits, Waiter};

/// An observer of a ring in shared memory.
///
/// # Examples
///
/// See [`observer`](crate::observer()).
pub type SharedObserver<E> = Observer<E, SharedMemory>;

/// The bit of any line wakes all sleepers, and an observer has no line.
const ANY_BIT: usize = 0;

/// How long an observer that cannot be woken sleeps between two polls.
const POLL_INTERVAL: Duration = Duration::from_millis(1);

/// A reader of copies that never holds the producer up. [`SharedObserver`] and
/// [`MmapObserver`](crate::MmapObserver) are this type.
///
/// If it lags by more than the ring, [`RecvError::Lagged`] says how many events it missed, and it goes on in
/// the middle of the retained events. The ring must have been created
/// [`with_observers`](crate::DisruptorBuilder::with_observers).
///
/// It needs permission to read the ring's file, and no other. If it may write the file, too, it sleeps until
/// the producer wakes it; otherwise it polls each millisecond.
///
/// # Examples
///
/// ```
/// use disruptor_mp::{Deadline, HeapRing, RecvError, StartFrom};
///
/// let ring = HeapRing::<u64>::with_observers(4)?;
/// let mut tx = ring.producer()?;
/// let mut observer = ring.builder().with_start(StartFrom::Oldest).build_observer()?;
/// tx.send(Deadline::NEVER, |event| *event = 7)?;
/// assert_eq!(observer.recv(Deadline::NEVER)?, (0, 7));
/// for event in 1..=8 {
///     tx.send(Deadline::NEVER, |slot| *slot = event)?;
/// }
/// assert_eq!(observer.recv(Deadline::NEVER), Err(RecvError::Lagged(5)));
/// assert_eq!(observer.recv(Deadline::NEVER)?, (6, 6));
/// while let Some((sequence, event)) = observer.try_recv()? {
///     assert_eq!(sequence, event as i64);
/// }
/// assert_eq!((observer.next_sequence(), observer.capacity()), (9, 4));
/// assert_eq!(observer.name(), tx.name());
/// let epoch = observer.epoch();                              // another value means another producer
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Observer<E: Event, B = SharedMemory> {
    segment: Segment<E>,
    next: Sequence,
    habits: Habits,
    /// The registrations by which cancelled tokens wake this observer.
    _token_entries: Vec<TokenEntry>,
    backing: PhantomData<fn() -> B>,
}

impl<E: Event, B> Observer<E, B> {
    pub(crate) fn new(
        segment: Segment<E>,
        start: StartFrom,
        habits: Habits,
    ) -> MultiProcessResult<Self> {
        if !segment.is_observed {
            return Err(MultiProcessError::IncompatibleLayout {
                name: segment.shown.to_string(),
                what: "the kind of ring",
                expected: "a ring made with with_observers()".into(),
                found: "one without observers".into(),
            });
        }
        let token_entries = habits.enter_tokens(segment.region());
        let floor = segment.control().producer.floor.load(Ordering::Acquire);
        let mut observer = Self {
            segment,
            next: floor.clamp(-1, MAX_SEQUENCE) + 1,
            habits,
            _token_entries: token_entries,
            backing: PhantomData,
        };
        let oldest = observer.next;
        let newest = observer.newest();
        observer.next = match start {
            StartFrom::Oldest => oldest.max(newest - observer.capacity() as i64 + 1),
            StartFrom::Latest => newest + 1,
            StartFrom::Sequence(asked) if (oldest..=newest + 1).contains(&asked) => asked,
            StartFrom::Sequence(asked) => {
                return Err(MultiProcessError::SequenceNotRetained {
                    name: observer.segment.shown.to_string(),
                    asked,
                    oldest,
                    newest,
                });
            }
        };
        Ok(observer)
    }

    /// The newest published sequence.
    fn newest(&self) -> Sequence {
        let view = self.segment.view;
        let mut newest = self.next - 1;
        // bounded, so that this search does not follow a producer that goes on meanwhile
        for _ in 0..2 * self.capacity() {
            let word = view.stamp(newest.saturating_add(1)).load(Ordering::Acquire);
            match stamp::sequence_of(word) {
                Some(found) if found > newest && word == stamp::published(found) => newest = found,
                _ => break,
            }
        }
        self.last_published(newest)
    }

    /// Corrects `newest`, the result of the search. If the search jumped ahead to the stamps of a batch, the
    /// batch's first stamp may still be missing (R2): nothing from that stamp on is published.
    fn last_published(&self, newest: Sequence) -> Sequence {
        let oldest = self.next.max(newest - self.capacity() as i64 + 1);
        let mut last = newest;
        for sequence in (oldest..=newest).rev() {
            let word = self.segment.view.stamp(sequence).load(Ordering::Acquire);
            match stamp::sequence_of(word) {
                _ if word == stamp::published(sequence) => {}
                // the slot has a later event, whatever its state: this one was published, and so were all before it
                Some(found) if found > sequence => break,
                _ => last = sequence - 1,
            }
        }
        last
    }

    fn is_forked(&self) -> bool {
        let live = self.segment.region().live_word();
        live.load(crate::sync::process::Ordering::Relaxed) == 0
    }

    /// Whether there is something to report about the next event: it can be seen, or was missed.
    fn is_ready(&self) -> bool {
        self.sight_of(self.next) != Sight::NotYet
    }

    fn sight_of(&self, sequence: Sequence) -> Sight {
        self.read(sequence, || {})
    }

    #[inline(always)]
    fn read(&self, sequence: Sequence, copy: impl FnOnce()) -> Sight {
        let floor = &self.segment.control().producer.floor;
        observe::read(self.segment.view.stamp(sequence), floor, sequence, copy)
    }

    /// The next event and its sequence, if it is there. Never waits.
    ///
    /// # Errors
    ///
    /// [`RecvError::Lagged`] with how many events were missed; the next call goes on after them.
    /// [`RecvError::Closed`] after the last event. [`RecvError::Forked`].
    pub fn try_recv(&mut self) -> Result<Option<(Sequence, E)>, RecvError> {
        if self.is_forked() {
            return Err(RecvError::Forked);
        }
        let sequence = self.next;
        let slot = self.segment.view.event(sequence);
        let mut event = MaybeUninit::<E>::zeroed();
        let sight = self.read(sequence, || {
            // SAFETY: zeroed; the slot lies within the mapping (R1), and the ring's producers store words (R13).
            unsafe { observe::load_words(slot, &mut event) };
        });
        match sight {
            Sight::Seen => {
                self.next += 1;
                // SAFETY: any bytes are an `E` by the contract of `Event`.
                Ok(Some((sequence, unsafe { event.assume_init() })))
            }
            Sight::Overwritten => Err(self.skip()),
            Sight::NotYet if self.is_at_end() => Err(RecvError::Closed),
            Sight::NotYet => Ok(None),
        }
    }

    /// Goes on in the middle of the retained events, behind slots that hold nothing any more.
    fn skip(&mut self) -> RecvError {
        let from = self.next;
        let middle = self.newest() - self.capacity() as i64 / 2;
        self.next = middle.max(from + 1);
        for _ in 1..self.capacity() {
            if self.sight_of(self.next) != Sight::Overwritten {
                break;
            }
            self.next += 1;
        }
        RecvError::Lagged((self.next - from) as u64)
    }

    /// The next event and its sequence, waiting for it until the deadline.
    ///
    /// # Errors
    ///
    /// As [`try_recv`](Self::try_recv), and [`RecvError::ProducerDead`], [`RecvError::Cancelled`],
    /// [`RecvError::Timeout`].
    pub fn recv(&mut self, deadline: Deadline) -> Result<(Sequence, E), RecvError> {
        match self.try_recv()? {
            Some(seen) => Ok(seen),
            None => self.wait_for_event(deadline),
        }
    }

    /// Waits for the next event.
    #[cold]
    #[inline(never)]
    fn wait_for_event(&mut self, deadline: Deadline) -> Result<(Sequence, E), RecvError> {
        let ring = (self.segment.control(), Role::Observer);
        let participants = Participants::of(core::iter::once(ring));
        let strategy = self.habits.strategy;
        let mut waiter = Waiter::new(&mut self.habits, strategy, deadline, participants);
        match wait(self, &mut waiter)? {
            Some(seen) => Ok(seen),
            None => self.try_recv()?.ok_or(RecvError::Timeout),
        }
    }

    fn has_news(&self) -> bool {
        self.is_ready() || self.is_at_end()
    }

    /// R11: whether the ring is closed and nothing is left.
    fn is_at_end(&self) -> bool {
        ends::is_at_end(self.segment.view.control(), self.next, || self.is_ready())
    }

    /// The next sequence this observer will see.
    pub fn next_sequence(&self) -> Sequence {
        self.next
    }

    /// How many producers the ring has had before the present one. A changed number means a takeover.
    pub fn epoch(&self) -> u64 {
        self.segment
            .control()
            .producer
            .epoch
            .load(Ordering::Acquire)
    }

    /// Number of slots.
    pub fn capacity(&self) -> usize {
        self.segment.view.capacity()
    }

    /// The ring's name.
    pub fn name(&self) -> &str {
        &self.segment.name
    }
}

/// The next event.
impl<E: Event, B> Awaited for Observer<E, B> {
    type News = (Sequence, E);
    type Error = RecvError;

    fn habits_mut(&mut self) -> &mut Habits {
        &mut self.habits
    }

    fn cancelled(&self) -> Option<RecvError> {
        self.habits.are_cancelled().then_some(RecvError::Cancelled)
    }

    fn poll(&mut self) -> Result<Option<(Sequence, E)>, RecvError> {
        self.try_recv()
    }

    /// R11: returns an error if the producer is dead and nothing is left, or if this observer has lost its
    /// locks; none if the system cannot tell.
    fn check_liveness(&mut self) -> Result<(), RecvError> {
        if self.segment.has_lost_locks() {
            return Err(RecvError::LockLost);
        }
        let (control, locks) = (self.segment.view.control(), self.segment.locks());
        match ends::is_abandoned(control, locks, || self.is_ready()) {
            Ok(true) => Err(self.segment.orphaned()),
            _ => Ok(()),
        }
    }

    fn sleep(&mut self, longest: Duration) -> Option<Duration> {
        if !self.segment.region().is_writable() {
            clock::sleep(longest.min(POLL_INTERVAL));
            return None;
        }
        sleep::sleep_until_event(self.segment.view.control(), ANY_BIT, longest, || {
            self.has_news() || self.habits.are_cancelled()
        })
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use std::time::{Duration, Instant};

    use crate::error::RecvError;
    use crate::handles::start::StartFrom;
    use crate::open::simple::HeapRing;
    use crate::waiting::wait_loop::Awaited;

    #[test]
    fn one_that_lags_sees_nothing_of_a_batch_that_is_not_published() {
        let ring = HeapRing::<u64>::with_observers(8).expect("a ring");
        let mut tx = ring.producer().expect("a producer");
        let builder = ring.builder().with_start(StartFrom::Oldest);
        let mut observer = builder.build_observer().expect("an observer");
        tx.publish_batch(8, |event, index| *event = index as u64);
        tx.publish_batch(8, |event, index| {
            *event = 8 + index as u64;
            loop {
                match observer.try_recv() {
                    Ok(Some((sequence, _))) => assert!(sequence < 8, "{sequence} at {index}"),
                    Err(RecvError::Lagged(_)) => {}
                    Ok(None) => break,
                    Err(error) => panic!("{error}"),
                }
            }
            if index < 7 {
                // the observer stays as far behind as it was
                observer.next = 0;
            }
        });
        assert_eq!(observer.try_recv(), Ok(Some((8, 8))));
    }

    /// An event that comes between the last poll and the sleep wakes nobody: the sleeper itself must see it.
    #[test]
    fn an_observer_does_not_go_to_sleep_beside_an_event() {
        let ring = HeapRing::<u64>::with_observers(8).expect("a ring");
        let mut tx = ring.producer().expect("a producer");
        let mut observer = ring.builder().build_observer().expect("an observer");
        tx.publish_value(7);
        let started = Instant::now();
        observer.sleep(Duration::from_secs(20));
        assert!(started.elapsed() < Duration::from_secs(10));
    }
}
