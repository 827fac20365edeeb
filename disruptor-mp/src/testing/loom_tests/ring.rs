//! The parts of the models: a ring on the heap, its producer and its consumers, each by single steps.

use std::sync::Arc;

use loom::cell::UnsafeCell;
use loom::thread::yield_now;

use super::killed_at;
use crate::Sequence;
use crate::handles::guards::{Claim, Lease};
use crate::layout::control::{ConsumerId, Owner};
use crate::layout::lock_bytes::PRODUCER_BYTE;
use crate::layout::stamp;
use crate::protocol::consume::ConsumerCore;
use crate::protocol::expect::Expectation;
use crate::protocol::lines::{self, Applicant, LineError, LinePlace};
use crate::protocol::publish::ProducerCore;
use crate::protocol::takeover::take_over;
use crate::region::heap::HeapMemory;
use crate::segment::{self, Segment};
use crate::sync::Ordering;

pub(super) const OWNER: Owner = Owner {
    pid: 1,
    namespace: 1,
    start_ticks: 1,
};

/// One ring on the heap, and a watched cell for each of its slots.
#[derive(Clone)]
pub(super) struct Ring {
    pub(super) memory: Arc<HeapMemory>,
    pub(super) cells: Arc<[UnsafeCell<u64>]>,
}

impl Ring {
    pub(super) fn new(capacity: usize) -> Self {
        Self {
            memory: segment::create_on_heap::<u64>(capacity, 0, false).expect("a ring"),
            cells: (0..capacity).map(|_| UnsafeCell::new(u64::MAX)).collect(),
        }
    }

    pub(super) fn capacity(&self) -> usize {
        self.cells.len()
    }

    pub(super) fn open(&self) -> Segment<u64> {
        segment::open_on_heap(&self.memory, self.capacity())
    }

    /// An endpoint with the producer's lock.
    pub(super) fn lock_producer(&self) -> Segment<u64> {
        let segment = self.open();
        let is_locked = segment.locks().try_lock(PRODUCER_BYTE).expect("a lock");
        assert!(is_locked, "there is a live producer");
        segment
    }

    /// The producer, or the successor of one that died. Its events are `10 × sequence + writer`.
    pub(super) fn producer(&self, writer: u64, expectation: Expectation) -> Tx {
        let segment = self.lock_producer();
        let start = take_over(segment.view);
        Tx {
            core: ProducerCore::new(segment.view, start.next, start.floor, expectation),
            ring: self.clone(),
            writer,
            segment,
        }
    }

    pub(super) fn tx(&self) -> Tx {
        self.producer(0, Expectation::default())
    }

    /// A consumer with an automatic id.
    pub(super) fn rx(&self) -> Rx {
        self.attach("auto", false).expect("a free line")
    }

    pub(super) fn attach(&self, id: &'static str, durable: bool) -> Result<Rx, LineError> {
        let segment = self.open();
        let place = apply(&segment, id, durable)?;
        Ok(Rx::new(self, segment, place, id))
    }

    /// A consumer that dies at the fail point `at` of its attach; its locks are freed.
    pub(super) fn dies_attaching(&self, id: &'static str, durable: bool, at: &'static str) {
        let segment = self.open();
        let has_died = killed_at(at, 1, || {
            let _ = apply(&segment, id, durable);
        });
        assert!(has_died, "never came to {at}");
    }

    fn cell(&self, sequence: Sequence) -> &UnsafeCell<u64> {
        &self.cells[sequence as usize & (self.capacity() - 1)]
    }

    /// Stores the event's bytes in the watched cell.
    pub(super) fn write(&self, sequence: Sequence, event: u64) {
        // SAFETY: the pointer is valid; loom checks that no other thread accesses the cell.
        self.cell(sequence)
            .with_mut(|cell| unsafe { *cell = event });
    }

    pub(super) fn read(&self, sequence: Sequence) -> u64 {
        // SAFETY: the pointer is valid; loom checks that no thread writes the cell.
        self.cell(sequence).with(|cell| unsafe { *cell })
    }
}

/// Attaches an endpoint with any id, durable or not.
pub(super) fn apply(
    segment: &Segment<u64>,
    id: &str,
    durable: bool,
) -> Result<LinePlace, LineError> {
    let who = Applicant {
        id: &ConsumerId::new(id).expect("an id"),
        durable,
        owner: OWNER,
        is_here: true,
    };
    lines::attach(segment.control(), segment.locks(), who)
}

/// How a ring ends for a consumer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    Closed,
    ProducerDead,
}

pub(super) struct Tx {
    // before the segment: see `Segment`
    pub(super) core: ProducerCore<u64>,
    pub(super) segment: Segment<u64>,
    pub(super) ring: Ring,
    pub(super) writer: u64,
}

impl Tx {
    pub(super) fn event(&self, sequence: Sequence) -> u64 {
        10 * sequence as u64 + self.writer
    }

    /// Like `Producer::try_vacant`.
    pub(super) fn try_vacant(&mut self, n: usize) -> Option<Sequence> {
        self.core.vacant(n).or_else(|| {
            self.core.refresh(n);
            self.core.vacant(n)
        })
    }

    /// The same steps as `Producer::try_claim` and `Claim::publish`.
    pub(super) fn try_publish(&mut self) -> Option<Sequence> {
        let sequence = self.try_vacant(1)?;
        let event = self.event(sequence);
        let place = self.core.event(sequence);
        let mut claim = Claim::new(&mut self.core, sequence, place);
        self.ring.write(sequence, event);
        *claim = event;
        Some(claim.publish())
    }

    pub(super) fn publish(&mut self) -> Sequence {
        loop {
            if let Some(sequence) = self.try_publish() {
                return sequence;
            }
            yield_now();
        }
    }

    /// Tries `times` times: see [`Rx::take_some`].
    pub(super) fn publish_some(&mut self, times: usize) {
        for _ in 0..times {
            if self.try_publish().is_none() {
                yield_now();
            }
        }
    }

    /// The same steps as `Producer::publish_batch`.
    pub(super) fn publish_batch(&mut self, n: usize) {
        let first = loop {
            match self.try_vacant(n) {
                Some(first) => break first,
                None => yield_now(),
            }
        };
        let (ring, writer) = (&self.ring, self.writer);
        self.core.publish_batch::<false>(first, n, |slot, index| {
            let sequence = first + index as i64;
            let event = 10 * sequence as u64 + writer;
            ring.write(sequence, event);
            // SAFETY: this producer has the claim (R2).
            unsafe { slot.write(event) };
        });
    }
}

pub(super) struct Rx {
    // before the segment: see `Segment`
    pub(super) core: ConsumerCore<u64>,
    pub(super) segment: Segment<u64>,
    pub(super) ring: Ring,
    pub(super) place: LinePlace,
    pub(super) id: &'static str,
}

impl Rx {
    pub(super) fn new(
        ring: &Ring,
        segment: Segment<u64>,
        place: LinePlace,
        id: &'static str,
    ) -> Self {
        Self {
            core: ConsumerCore::new(segment.view, place.line, place.next),
            ring: ring.clone(),
            place,
            id,
            segment,
        }
    }

    pub(super) fn position(&self) -> Sequence {
        self.core.next() - 1
    }

    /// Reads the next event under a lease, if it is there, and returns it with its sequence.
    pub(super) fn try_take(&mut self) -> Option<(Sequence, u64)> {
        let next = self.core.next();
        if !self.core.is_ready() {
            let stamp = self.segment.view.stamp(next).load(Ordering::Relaxed);
            let found = stamp::sequence_of(stamp).unwrap_or(-1);
            assert!(
                found <= next,
                "{next} was overtaken by {found} before it was read"
            );
            return None;
        }
        let lease = Lease::new(&mut self.core);
        let event = self.ring.read(next);
        assert_eq!(event / 10, next as u64, "found {event}, expected {next}");
        assert_eq!(event, *lease, "found another event in the slot");
        lease.commit();
        Some((next, event))
    }

    pub(super) fn take(&mut self) -> (Sequence, u64) {
        loop {
            if let Some(event) = self.try_take() {
                return event;
            }
            yield_now();
        }
    }

    /// Tries `times` times: for models of three threads, in which spinning threads would starve each other.
    pub(super) fn take_some(&mut self, times: usize) {
        for _ in 0..times {
            if self.try_take().is_none() {
                yield_now();
            }
        }
    }

    /// Takes events up to and including `last`.
    pub(super) fn take_to(&mut self, last: Sequence) {
        while self.position() < last {
            self.take();
        }
    }

    /// One round of `Consumer::wait_for_event` that finds no event.
    pub(super) fn find_end(&self) -> Option<End> {
        if self.core.is_ready() {
            return None;
        }
        if self.core.is_at_end() {
            return Some(End::Closed);
        }
        let is_dead = self.core.is_abandoned(self.segment.locks());
        is_dead.expect("a lock").then_some(End::ProducerDead)
    }

    /// A consumer with an automatic id leaves the gate.
    pub(super) fn leave(self) {
        self.leaves();
    }

    /// The steps of [`leave`](Self::leave). The locks are freed when this endpoint is dropped.
    pub(super) fn leaves(&self) {
        let control = self.segment.control();
        lines::leave(control, self.segment.locks(), self.place.line).expect("a lock");
    }

    /// A durable consumer goes; its position stays.
    pub(super) fn go_away(self) -> Sequence {
        self.goes_away();
        self.position()
    }

    pub(super) fn goes_away(&self) {
        let id = ConsumerId::new(self.id).expect("an id");
        let control = self.segment.control();
        lines::go_away(control, self.segment.locks(), self.place.line, &id).expect("a lock");
    }

    /// Runs `act` and dies in it at the fail point `at`; its locks are freed.
    pub(super) fn dies(mut self, at: &'static str, act: impl FnOnce(&mut Self)) {
        let has_died = killed_at(at, 1, || act(&mut self));
        assert!(has_died, "never came to {at}");
    }
}
