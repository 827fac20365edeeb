//! Which party removes a closed ring's name: R15, through the handles. In the end the name is there if and
//! only if a durable consumer has unread events.
//!
//! The ring lies on the heap. Its name is a flag beside it, which the parties read and clear as they would a
//! directory entry. Two preemptions: the models consist of few, long steps.

use std::sync::Arc;

use loom::thread::{self, yield_now};

use super::{Model, Ring, Step, apply, killed_at};
use crate::error::RecvError;
use crate::handles::consumer::Consumer;
use crate::handles::kinds::Heap;
use crate::handles::producer::Producer;
use crate::layout::control::{ConsumerId, Control};
use crate::layout::header::HEADER_BYTES;
use crate::layout::lock_bytes::PRODUCER_BYTE;
use crate::protocol::Locks;
use crate::protocol::expect::Expectation;
use crate::protocol::registered;
use crate::protocol::takeover::take_over;
use crate::region::heap::HeapRegion;
use crate::region::{MemoryReport, Region};
use crate::segment::Segment;
use crate::sync::{Mutex, process};
use crate::waiting::AutoWaitStrategy;
use crate::waiting::Habits;
use crate::waiting::deadline::Deadline;

/// An endpoint of a ring on the heap that has a name. The locks are separate: the model decides when they are
/// freed, even for a party that dies.
#[derive(Clone, Debug)]
pub(super) struct NamedRegion {
    heap: Arc<HeapRegion>,
    is_named: Arc<Mutex<bool>>,
}

impl Region for NamedRegion {
    fn control(&self) -> core::ptr::NonNull<Control> {
        self.heap.control()
    }

    fn slots(&self) -> core::ptr::NonNull<u8> {
        self.heap.slots()
    }

    fn locks(&self) -> &dyn Locks {
        self.heap.locks()
    }

    fn live_word(&self) -> &'static process::AtomicU64 {
        self.heap.live_word()
    }

    fn write_header(&self, header: &[u8; HEADER_BYTES]) {
        self.heap.write_header(header);
    }

    fn is_name_ours(&self) -> std::io::Result<bool> {
        Ok(*self.is_named.lock().expect("the name"))
    }

    fn unlink(&self) -> std::io::Result<()> {
        *self.is_named.lock().expect("the name") = false;
        Ok(())
    }

    fn sync_control(&self) -> std::io::Result<()> {
        Ok(())
    }

    fn sync(&self) -> std::io::Result<()> {
        Ok(())
    }

    fn memory(&self) -> MemoryReport {
        self.heap.memory()
    }
}

/// How endpoints wait, if they wait at all.
pub(super) fn habits() -> Habits {
    let mut habits = Habits::default();
    habits.strategy = AutoWaitStrategy::BusySpin;
    habits
}

pub(super) type Tx = Producer<u64, Heap>;
pub(super) type Rx = Consumer<u64, Heap>;

/// A ring with a name.
#[derive(Clone)]
pub(super) struct Named {
    ring: Ring,
    is_named: Arc<Mutex<bool>>,
}

impl Named {
    pub(super) fn new() -> Self {
        Self {
            ring: Ring::new(2),
            is_named: Arc::new(Mutex::new(true)),
        }
    }

    /// Memory and locks of one endpoint.
    pub(super) fn region(&self) -> NamedRegion {
        NamedRegion {
            heap: Arc::new(HeapRegion::new(Arc::clone(&self.ring.memory))),
            is_named: Arc::clone(&self.is_named),
        }
    }

    pub(super) fn open(&self, region: &NamedRegion) -> Segment<u64> {
        let capacity = self.ring.capacity() as u64;
        Segment::new("named", Arc::new(region.clone()), capacity, false)
    }

    /// A producer, or a successor, by the steps of `segment::take_existing`. `None` without a name, or while
    /// another party has the lock.
    fn try_producer(&self, region: &NamedRegion, expected: Expectation) -> Option<Tx> {
        let segment = self.open(region);
        if !segment.locks().try_lock(PRODUCER_BYTE).expect("a lock") {
            return None;
        }
        if !region.is_name_ours().expect("the name") {
            segment.locks().unlock(PRODUCER_BYTE).expect("a lock");
            return None;
        }
        let start = take_over(segment.view);
        Some(Producer::new(segment, start, expected, habits()))
    }

    pub(super) fn producer(&self, region: &NamedRegion) -> Tx {
        self.expecting(region, Expectation::default())
    }

    pub(super) fn expecting(&self, region: &NamedRegion, expected: Expectation) -> Tx {
        self.try_producer(region, expected)
            .expect("the producer's lock")
    }

    pub(super) fn durable(&self, id: &'static str) -> Rx {
        self.attach(id, true)
    }

    pub(super) fn attach(&self, id: &'static str, is_durable: bool) -> Rx {
        let segment = self.open(&self.region());
        let place = apply(&segment, id, is_durable).expect("a line");
        let id = ConsumerId::new(id).expect("an id");
        Consumer::new(segment, place, id, is_durable, habits())
    }

    pub(super) fn is_named(&self) -> bool {
        *self.is_named.lock().expect("the name")
    }

    /// Checks, when every party is done, that the name is there if and only if it is needed.
    fn settled(&self) {
        let segment = self.open(&self.region());
        let is_needed = registered::is_needed(segment.control());
        let is_named = *self.is_named.lock().expect("the name");
        assert_eq!(is_named, is_needed, "found a name that is or is not needed");
        super::reached(if is_needed { "needed" } else { "gone" });
    }
}

/// Reads at most `polls` events and detaches; the producer closes at any moment.
pub(super) fn drain(mut rx: Rx, polls: usize) {
    for _ in 0..polls {
        if rx.try_consume_next().is_none() {
            yield_now();
        }
    }
    rx.detach().expect("detached");
}

/// The consumers `ids` drain and detach while the producer closes.
fn close_against_drain(ids: &[&'static str], polls: usize) {
    let named = Named::new();
    let region = named.region();
    let mut tx = named.producer(&region);
    let readers: Vec<_> = ids.iter().map(|id| named.durable(id)).collect();
    tx.publish_value(0);
    let readers: Vec<_> = readers
        .into_iter()
        .map(|rx| thread::spawn(move || drain(rx, polls)))
        .collect();
    tx.close().expect("closed");
    for reader in readers {
        reader.join().expect("a reader");
    }
    named.settled();
}

#[test]
fn loom_close_against_drain() {
    Model::with_preemptions(3)
        .reaches(&["gone"])
        .holds(|| close_against_drain(&["d"], 1));
}

#[test]
fn loom_close_against_two_that_drain() {
    Model::with_preemptions(2)
        .reaches(&["gone"])
        .holds(|| close_against_drain(&["d", "e"], 1));
}

#[test]
fn loom_control_close_without_a_check_after_the_lock() {
    Model::with_preemptions(2).fails_without(Step::EndCheck, &["found a name"], || {
        close_against_drain(&["d"], 1);
    });
}

/// Two consumers have seen the end and stay attached. If each saw the other's last commit too late, neither
/// would remove the name.
fn two_at_the_end() {
    let named = Named::new();
    let region = named.region();
    let mut tx = named.producer(&region);
    let readers = ["d", "e"].map(|id| named.durable(id));
    tx.publish_value(0);
    tx.close().expect("closed");
    let readers = readers.map(|mut rx| {
        thread::spawn(move || {
            assert!(rx.try_consume_next().is_some());
            assert_eq!(rx.recv(Deadline::NEVER).err(), Some(RecvError::Closed));
            rx
        })
    });
    let _attached = readers.map(|reader| reader.join().expect("a reader"));
    named.settled();
}

#[test]
fn loom_two_at_the_end() {
    Model::with_preemptions(3)
        .reaches(&["gone"])
        .holds(two_at_the_end);
}

#[test]
fn loom_control_drain_without_fence() {
    Model::with_preemptions(2).fails_without(Step::DrainFence, &["found a name"], two_at_the_end);
}

/// A producer that closed dies before or after it checks the name. A durable consumer drains.
fn closer_dies(at: &'static str) {
    let named = Named::new();
    let region = named.region();
    let mut tx = named.producer(&region);
    let reader = named.durable("d");
    tx.publish_value(0);
    let reader = thread::spawn(move || drain(reader, 1));
    let has_died = killed_at(at, 1, || {
        let _ = tx.close();
    });
    assert!(has_died, "never came to {at}");
    // the dead producer's lock is freed
    region.locks().unlock(PRODUCER_BYTE).expect("a lock");
    reader.join().expect("the reader");
    // a consumer that comes back finds nothing unread, sees the end and removes the name
    if named.is_named() {
        super::reached("left to the next one");
        drain(named.durable("d"), 0);
    }
    named.settled();
}

#[test]
fn loom_close_killed() {
    let deaths = [
        ("close.closed", 1),
        ("close.unlinked", 1),
        ("close.unlocked", 1),
    ];
    Model::holds_for_deaths(3, &deaths, |at, _| closer_dies(at));
}

/// A drained, closed ring whose producer died before it checked the name. One party removes the name, while a
/// successor continues the ring and closes it with an event unread. Then that event is drained, too.
fn drain_against_successor() {
    let named = Named::new();
    let region = named.region();
    let tx = named.producer(&region);
    let reader = named.durable("d");
    killed_at("close.closed", 1, || {
        let _ = tx.close();
    });
    region.locks().unlock(PRODUCER_BYTE).expect("a lock");
    let other = named.clone();
    let successor = thread::spawn(move || succeed(&other, reader));
    let segment = named.open(&named.region());
    segment.unlink_if_drained(false).expect("checked");
    let _attached = successor.join().expect("the successor");
    named.settled();
}

/// Publishes an event, closes the ring and reads the event, unless the name is gone or another party has the lock.
fn succeed(named: &Named, mut reader: Rx) -> Rx {
    let Some(mut tx) = named.try_producer(&named.region(), Expectation::default()) else {
        super::reached("the name was gone or locked");
        return reader;
    };
    tx.publish_value(0);
    tx.close().expect("closed");
    assert!(named.is_named(), "found the name of an unread event gone");
    super::reached("went on");
    assert!(reader.try_consume_next().is_some());
    assert_eq!(reader.recv(Deadline::NEVER).err(), Some(RecvError::Closed));
    reader
}

#[test]
fn loom_drain_against_successor() {
    Model::with_preemptions(3)
        .reaches(&["gone", "went on", "the name was gone or locked"])
        .holds(drain_against_successor);
}

#[test]
fn loom_control_drain_without_a_check_under_the_lock() {
    Model::with_preemptions(3).fails_without(
        Step::DrainCheck,
        &["found the name"],
        drain_against_successor,
    );
}

#[test]
fn loom_control_drain_without_a_check_after_the_lock() {
    Model::with_preemptions(3).fails_without(
        Step::DrainAgain,
        &["found a name"],
        drain_against_successor,
    );
}
