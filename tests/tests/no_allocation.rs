//! Publishing and consuming allocate nothing, whether they wait or not; the same holds for a ring that is full
//! or empty.
//!
//! The allocator of this test program counts the allocations of each thread.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::time::Duration;

use disruptor_mp::{
    AutoWaitStrategy, Consumer, Deadline, HeapRing, Producer, RecvError, SendError,
    attach_shared_consumer, build_shared_single_producer, portable_shm_segment_name,
};
use myelon_tests::Record;

struct Counting;

thread_local! {
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

fn count() {
    ALLOCATIONS.with(|allocations| allocations.set(allocations.get() + 1));
}

// SAFETY: every call is the system allocator's. Counting allocates nothing, and the cell needs no constructor
// and no destructor.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: the caller keeps the contract.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller keeps the contract.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count();
        // SAFETY: the caller keeps the contract.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// How many allocations `work` makes in this thread.
fn allocations_of(work: impl FnOnce()) -> u64 {
    let before = ALLOCATIONS.with(Cell::get);
    work();
    ALLOCATIONS.with(Cell::get) - before
}

/// Publishes and consumes in every way.
fn every_way<B>(tx: &mut Producer<Record, B>, rx: &mut Consumer<Record, B>) {
    let write = |record: &mut Record| *record = Record::default();
    for _ in 0..1_000 {
        tx.publish(write);
        tx.publish_value(Record::default());
        tx.try_publish(write).expect("space");
        tx.send(Deadline::NEVER, write).expect("space");
        tx.claim(Deadline::NEVER).expect("space").publish();
        tx.try_claim().expect("space").publish();
        tx.publish_batch(4, |record, _| write(record));
        tx.try_batch_publish(4, |record, _| write(record))
            .expect("space");
        tx.send_batch(4, Deadline::NEVER, |record, _| write(record))
            .expect("space");
        rx.recv(Deadline::NEVER).expect("published").commit();
        rx.try_consume_next_leased().expect("published").commit();
        rx.try_consume_next().expect("published");
        rx.consume_next();
        rx.consume_next_leased().commit();
        rx.process_next_blocking(|_, _| ());
        assert_eq!(rx.process_available(|_, _| {}), 12);
        // a full and an empty ring allocate nothing either
        assert!(rx.try_consume_next().is_none());
        while tx.try_publish(write).is_ok() {}
        assert!(tx.try_batch_publish(2, |record, _| write(record)).is_err());
        assert_eq!(rx.process_available_blocking(|_, _, _| {}), tx.capacity());
    }
}

#[test]
fn allocations_are_counted() {
    assert_eq!(
        allocations_of(|| drop(std::hint::black_box(Box::new(1)))),
        1
    );
}

#[test]
fn nothing_is_allocated_in_shared_memory() {
    let name = portable_shm_segment_name("alloc");
    let mut tx = build_shared_single_producer::<Record>(&name, 64)
        .build_zeroed_producer()
        .expect("create");
    let mut rx = attach_shared_consumer(&name, 64)
        .with_consumer_id("reader")
        .build_consumer()
        .expect("attach");
    assert_eq!(allocations_of(|| every_way(&mut tx, &mut rx)), 0);
}

#[test]
fn nothing_is_allocated_on_the_heap_either() {
    let ring = HeapRing::<Record>::new(64).expect("a ring");
    let (mut tx, mut rx) = (
        ring.producer().expect("tx"),
        ring.consumer("reader").expect("rx"),
    );
    assert_eq!(allocations_of(|| every_way(&mut tx, &mut rx)), 0);
}

#[test]
fn waiting_for_an_event_allocates_nothing() {
    let strategies = [
        AutoWaitStrategy::BusySpin,
        AutoWaitStrategy::SpinThenYield { spins: 100 },
        AutoWaitStrategy::Sleep(Duration::from_micros(100)),
        AutoWaitStrategy::Block,
    ];
    for strategy in strategies {
        let name = portable_shm_segment_name("alloc");
        let _tx = build_shared_single_producer::<Record>(&name, 8)
            .build_zeroed_producer()
            .expect("create");
        let builder = attach_shared_consumer::<Record>(&name, 8).with_wait_strategy(strategy);
        let mut rx = builder.build_consumer().expect("attach");
        let deadline = Deadline::after(Duration::from_millis(30));
        let allocations =
            allocations_of(|| assert_eq!(rx.recv(deadline).err(), Some(RecvError::Timeout)));
        assert_eq!(allocations, 0, "{strategy:?}");
    }
}

/// Calls that never wait also make a liveness check now and then.
#[test]
fn liveness_checks_allocate_nothing_while_all_processes_are_alive() {
    let name = portable_shm_segment_name("alloc");
    let often = Duration::from_millis(1);
    let mut tx = build_shared_single_producer::<Record>(&name, 8)
        .with_liveness_interval(often)
        .build_zeroed_producer()
        .expect("create");
    let builder = attach_shared_consumer::<Record>(&name, 8).with_liveness_interval(often);
    let mut rx = builder.build_consumer().expect("attach");
    let for_a_while = |try_once: &mut dyn FnMut()| {
        let until = std::time::Instant::now() + Duration::from_millis(150);
        allocations_of(|| {
            while std::time::Instant::now() < until {
                try_once();
            }
        })
    };
    let empty = for_a_while(&mut || assert!(rx.try_consume_next().is_none()));
    while tx.try_publish(|record| *record = Record::default()).is_ok() {}
    let full = for_a_while(&mut || {
        let tried = tx.try_publish(|record| *record = Record::default());
        assert!(tried.is_err());
    });
    assert_eq!((empty, full), (0, 0));
    tx.destroy().expect("destroy");
}

#[test]
fn only_the_text_of_a_timeout_is_allocated() {
    let name = portable_shm_segment_name("alloc");
    let mut tx = build_shared_single_producer::<Record>(&name, 8)
        .build_zeroed_producer()
        .expect("create");
    let rx = attach_shared_consumer::<Record>(&name, 8)
        .with_consumer_id("reader")
        .build_consumer();
    while tx.try_publish(|record| *record = Record::default()).is_ok() {}
    let mut send = |ms| {
        allocations_of(|| {
            let sent = tx.send(Deadline::after(Duration::from_millis(ms)), |record| {
                *record = Record::default()
            });
            assert!(matches!(sent, Err(SendError::Timeout { .. })));
        })
    };
    let (short, long) = (send(0), send(60));
    // waiting for six times the liveness interval does not make the text longer
    assert!(long <= short + 4, "{short} at once, {long} after a wait");
    drop(rx);
    tx.destroy().expect("destroy");
}
