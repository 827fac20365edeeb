//! Threads of one process on one ring: each reader sees whole events, in order and without a gap, whatever
//! other threads do meanwhile: come, go, panic or take over.
//!
//! A scenario is written once, for a ring of any backing. The test programs beside this directory run all
//! scenarios on the heap, in shared memory and in a mapped file. Miri runs those on the heap with fewer
//! events, and the sanitizers run every one. `tests/controls` runs them where all endpoints share one
//! mapping. Scenarios signal each other by relaxed atomics only: a channel or a lock between the threads
//! would order accesses that the ring has to order by itself, and hide a race from a checker.

pub(crate) mod ends;
pub(crate) mod leases;
pub(crate) mod lines;
pub(crate) mod streams;

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use disruptor_mp::{
    AutoWaitStrategy, Consumer, Deadline, DisruptorBuilder, Event, Producer, RecvError,
};

/// The number of events of a stream; ten times as many in a large ring, where fewer events have to be waited for.
pub(crate) const EVENTS: u64 = if cfg!(miri) { 6 } else { 20_000 };
/// The number of events of a scenario that makes a system call for some of them.
pub(crate) const FEW: u64 = if cfg!(miri) { 6 } else { 2_000 };
/// Rings of one slot are always full or empty; the larger ones wrap, too.
pub(crate) const CAPACITIES: &[usize] = if cfg!(miri) { &[1, 4] } else { &[1, 4, 1024] };

/// An event that shows whether it is torn.
pub(crate) trait Sample: Event {
    /// The event with this number.
    fn new(number: u64) -> Self;
    /// Fails unless this is the event with this number, whole.
    fn check(&self, number: u64);
}

/// An event whose stamp follows it, in a slot that shares no cache line. The first one of a batch is written
/// to a private copy.
#[derive(Clone, Copy, Event)]
#[repr(C)]
pub(crate) struct Wide {
    number: u64,
    words: [u64; 9],
}

/// An event of which four slots share a cache line.
#[derive(Clone, Copy, Event)]
#[event(packed_slots)]
#[repr(C)]
pub(crate) struct Tiny {
    number: u64,
}

/// An event whose stamp precedes it, on a cache line of its own. Batches are written in place.
#[derive(Clone, Copy, Event)]
#[repr(C)]
pub(crate) struct Large {
    number: u64,
    words: [u64; 39],
}

impl Sample for Wide {
    fn new(number: u64) -> Self {
        let words = [!number; 9];
        Self { number, words }
    }

    fn check(&self, number: u64) {
        assert_eq!((self.number, self.words), (number, [!number; 9]));
    }
}

impl Sample for Tiny {
    fn new(number: u64) -> Self {
        Self { number }
    }

    fn check(&self, number: u64) {
        assert_eq!(self.number, number);
    }
}

impl Sample for Large {
    fn new(number: u64) -> Self {
        let words = [!number; 39];
        Self { number, words }
    }

    fn check(&self, number: u64) {
        assert_eq!((self.number, self.words), (number, [!number; 39]));
    }
}

/// A ring that the threads of a scenario share. Dropping it leaves nothing behind.
pub(crate) trait Site: Sync {
    /// The type of its events.
    type Event: Sample;
    /// Its backing.
    type Backing: 'static;

    /// A ring with this many slots.
    fn new(capacity: usize) -> Self;

    /// A builder for its endpoints.
    fn endpoint(&self) -> DisruptorBuilder<Self::Event, Self::Backing>;

    /// As [`endpoint`](Self::endpoint), with waits that let other threads run: the machine may have only two cores.
    fn builder(&self) -> DisruptorBuilder<Self::Event, Self::Backing> {
        self.endpoint()
            .with_wait_strategy(AutoWaitStrategy::SpinThenYield { spins: 0 })
    }

    /// The producer, or the successor of a producer that is gone.
    fn producer(&self) -> Producer<Self::Event, Self::Backing> {
        self.builder().build_zeroed_producer().unwrap()
    }

    /// A durable consumer.
    fn durable(&self, id: &str) -> Consumer<Self::Event, Self::Backing> {
        self.builder()
            .with_consumer_id(id)
            .build_consumer()
            .unwrap()
    }

    /// A consumer with an automatic id.
    fn guest(&self) -> Consumer<Self::Event, Self::Backing> {
        self.builder().build_consumer().unwrap()
    }
}

/// The deadline of a stream is renewed after this many events, so that it need not cover all of them.
const RENEW_EVERY: u64 = 64;

/// A deadline far beyond what those events take: a thread whose peers are gone fails instead of hanging.
pub(crate) fn patience() -> Deadline {
    Deadline::after(Duration::from_secs(120))
}

/// Waits until another thread has raised the flag. Orders no other accesses.
pub(crate) fn wait_for(flag: &AtomicBool) {
    let patience = patience();
    while !flag.load(Ordering::Relaxed) {
        assert!(!patience.has_passed(), "nobody raised the flag");
        thread::yield_now();
    }
}

/// Publishes the events with these numbers, one after the other.
pub(crate) fn publish<E: Sample, B>(tx: &mut Producer<E, B>, numbers: std::ops::Range<u64>) {
    let mut deadline = patience();
    for number in numbers {
        if number.is_multiple_of(RENEW_EVERY) {
            deadline = patience();
        }
        let sequence = tx.send(deadline, |slot| *slot = E::new(number));
        assert_eq!(sequence.unwrap(), number as i64);
    }
}

/// Reads to the end of the ring; each event must be the next one. Returns how many events the ring has had.
pub(crate) fn drain<E: Sample, B>(mut rx: Consumer<E, B>) -> u64 {
    let mut deadline = patience();
    let mut next = (rx.current_sequence() + 1) as u64;
    loop {
        match rx.recv(deadline) {
            Ok(event) => event.check(next),
            Err(RecvError::Closed) => return next,
            Err(error) => panic!("{error}"),
        }
        next += 1;
        if next.is_multiple_of(RENEW_EVERY) {
            deadline = patience();
        }
    }
}

/// Runs `act`, which must panic "on purpose", and continues.
pub(crate) fn panics<R>(act: impl FnOnce() -> R) {
    let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(act));
    let said = outcome.err().expect("it panics");
    assert_eq!(said.downcast_ref::<&str>(), Some(&"on purpose"));
}

/// Makes a test of each scenario, on each of these kinds of ring.
macro_rules! scenarios {
    ($site:ident: $($file:ident::$scenario:ident($($event:ident),+),)+) => {
        $(
            #[test]
            fn $scenario() {
                $(threads::$file::$scenario::<$site<threads::$event>>();)+
            }
        )+
    };
    ($site:ident) => {
        scenarios! { $site:
            streams::one_to_one(Wide),
            streams::one_to_one_in_batches(Wide),
            streams::slots_of_other_shapes(Tiny, Large),
            streams::one_to_three(Wide),
            streams::every_way_to_publish_and_to_receive(Wide),
            lines::join_and_leave_under_load(Wide),
            lines::durable_consumer_comes_back_under_load(Wide),
            lines::one_of_two_gets_the_id(Wide),
            lines::removed_consumer_gates_no_more(Wide),
            leases::uncommitted_leases_come_again(Wide),
            leases::handler_panics_under_load(Wide),
            leases::panics_lose_nothing(Wide),
            ends::successor_goes_on(Wide),
            ends::successor_respects_a_lease(Wide),
            ends::closed_under_way(Wide),
        }
    };
}
