//! Handler threads: panics, shutdown, and what is reported about them.

use std::process::Command;
use std::sync::mpsc::{self, Receiver, Sender};
use std::time::{Duration, Instant};

use disruptor_mp::{
    AutoConsumer, DisruptorBuilder, HandlerPanicPolicy, Heap, HeapRing,
    build_shared_single_producer, portable_shm_segment_name,
};

/// The liveness interval: so long that no test passes by waiting for it.
const INTERVAL: Duration = Duration::from_secs(60);

fn builder(ring: &HeapRing<u64>, policy: HandlerPanicPolicy) -> DisruptorBuilder<u64, Heap> {
    ring.builder()
        .with_consumer_id("handler")
        .with_liveness_interval(INTERVAL)
        .with_panic_policy(policy)
}

/// A handler that reports each event, and panics the first time it gets event 1.
fn start(ring: &HeapRing<u64>, policy: HandlerPanicPolicy) -> (AutoConsumer, Receiver<u64>) {
    let (seen, events): (Sender<u64>, _) = mpsc::channel();
    let handle = move |event: &u64, _, _| {
        assert_ne!(*event, 1, "one is what this handler cannot bear");
        let _ = seen.send(*event);
    };
    let handler = builder(ring, policy).handle_events_with(handle);
    (handler.expect("a handler"), events)
}

fn wait_until(mut is_so: impl FnMut() -> bool) {
    let end = Instant::now() + INTERVAL / 2;
    while !is_so() {
        assert!(Instant::now() < end, "waited in vain");
        std::thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn a_panic_ends_the_thread_and_the_event_comes_again() {
    let ring = HeapRing::new(8).expect("a ring");
    let mut tx = ring.producer().expect("a producer");
    let (handler, events) = start(&ring, HandlerPanicPolicy::Redeliver);
    for event in 0..3 {
        tx.publish_value(event);
    }
    assert_eq!(events.recv_timeout(INTERVAL / 2), Ok(0));
    wait_until(|| !handler.is_running());
    assert_eq!(handler.panics(), 1);
    let said = handler.join().expect_err("a panic").to_string();
    assert!(
        said.contains("panicked at sequence 1") && said.contains("cannot bear"),
        "{said}"
    );
    let mut rx = ring.consumer("handler").expect("the id is free");
    assert_eq!(rx.try_consume_next(), Some((1, 1)));
}

#[test]
fn a_panic_that_is_skipped_costs_one_event() {
    let ring = HeapRing::new(8).expect("a ring");
    let mut tx = ring.producer().expect("a producer");
    let (handler, events) = start(&ring, HandlerPanicPolicy::Skip);
    for event in 0..4 {
        tx.publish_value(event);
    }
    let seen = [(); 3].map(|()| events.recv_timeout(INTERVAL / 2));
    assert_eq!(seen, [Ok(0), Ok(2), Ok(3)]);
    assert!(handler.is_running());
    assert_eq!(handler.panics(), 1);
    tx.close().expect("closed");
    handler
        .join()
        .expect("the end of the ring is none of the handler's");
}

/// A producer's death does not end a handler: it also handles the events of the successor.
#[test]
fn a_handler_outlives_its_producer() {
    let ring = HeapRing::new(8).expect("a ring");
    let (seen, events): (Sender<u64>, _) = mpsc::channel();
    let handler = ring
        .builder()
        .with_liveness_interval(Duration::from_millis(1))
        .handle_events_with(move |event: &u64, _, _| {
            let _ = seen.send(*event);
        })
        .expect("a handler");
    for event in 0..3 {
        let mut tx = ring.producer().expect("a producer, or its successor");
        tx.publish_value(event);
        let seen = events.recv_timeout(INTERVAL / 2);
        assert_eq!(seen, Ok(event), "of producer {event}");
        // a producer that is dropped by a panic leaves its ring as a death would
        let dead = std::thread::spawn(move || {
            let _tx = tx;
            std::panic::resume_unwind(Box::new(()));
        });
        assert!(dead.join().is_err());
        // long enough for the handler to find the producer dead
        std::thread::sleep(Duration::from_millis(30));
        assert!(handler.is_running(), "after the death of {event}");
    }
    handler.shutdown_and_join().expect("no panic");
}

#[test]
fn shutdown_is_prompt() {
    let ring = HeapRing::<u64>::new(8).expect("a ring");
    let _tx = ring.producer().expect("a producer");
    let (handler, _events) = start(&ring, HandlerPanicPolicy::Redeliver);
    // long enough for the handler to fall asleep
    std::thread::sleep(Duration::from_millis(20));
    let start = Instant::now();
    handler.shutdown_and_join().expect("no panic");
    assert!(start.elapsed() < INTERVAL / 2);
}

#[test]
fn the_end_of_the_ring_is_told_at_once() {
    let ring = HeapRing::<u64>::new(8).expect("a ring");
    let tx = ring.producer().expect("a producer");
    let (handler, _events) = start(&ring, HandlerPanicPolicy::Redeliver);
    std::thread::sleep(Duration::from_millis(20));
    assert!(handler.is_running());
    tx.close().expect("closed");
    wait_until(|| !handler.is_running());
    handler.join().expect("no panic");
}

#[test]
fn the_last_event_of_a_batch_is_told() {
    let ring = HeapRing::<u64>::new(8).expect("a ring");
    let mut tx = ring.producer().expect("a producer");
    tx.publish_batch(3, |event, index| *event = index as u64);
    let (seen, events) = mpsc::channel();
    let handle = move |event: &u64, _, is_last| {
        let _ = seen.send((*event, is_last));
    };
    // a joiner starts at the first event, as no consumer gated and the ring was not full
    let handler = builder(&ring, HandlerPanicPolicy::Redeliver).handle_events_with(handle);
    let handler = handler.expect("a handler");
    let told: Vec<_> = events.iter().take(3).collect();
    assert_eq!(told, [(0, false), (1, false), (2, true)]);
    handler.shutdown_and_join().expect("no panic");
}

/// A handler that is told to stop in the middle of a burst handles one more event, which is marked as the
/// last of its batch: so a handler that gathers events until the end of a batch loses none.
#[test]
fn shutdown_ends_a_burst() {
    let ring = HeapRing::<u64>::new(64).expect("a ring");
    let mut tx = ring.producer().expect("a producer");
    tx.publish_batch(64, |event, index| *event = index as u64);
    let (seen, events) = mpsc::channel();
    let (release, gate) = mpsc::channel::<()>();
    let handle = move |event: &u64, _, is_last| {
        let _ = seen.send((*event, is_last));
        // each event blocks until the test lets go
        let _ = gate.recv();
    };
    let handler = builder(&ring, HandlerPanicPolicy::Redeliver).handle_events_with(handle);
    let handler = handler.expect("a handler");
    assert_eq!(events.recv_timeout(INTERVAL / 2), Ok((0, false)));
    release.send(()).expect("it is there");
    assert_eq!(events.recv_timeout(INTERVAL / 2), Ok((1, false)));
    handler.shutdown();
    drop(release);
    handler.join().expect("no panic");
    assert_eq!(events.iter().collect::<Vec<_>>(), [(2, true)]);
    let mut rx = ring.consumer("handler").expect("the id is free");
    assert_eq!(rx.try_consume_next(), Some((3, 3)), "the rest comes again");
}

#[test]
fn a_handler_waits_for_its_ring() {
    let name = portable_shm_segment_name("test");
    let (seen, events) = mpsc::channel();
    let waiting = build_shared_single_producer::<u64>(&name, 8).wait_for_ring(INTERVAL);
    let starting = std::thread::spawn(move || {
        waiting.handle_events_with(move |event, _, _| seen.send(*event).expect("a listener"))
    });
    std::thread::sleep(Duration::from_millis(20));
    let mut tx = build_shared_single_producer::<u64>(&name, 8)
        .build_zeroed_producer()
        .expect("a producer");
    tx.publish_value(7);
    let handler = starting.join().expect("thread").expect("it has come");
    assert_eq!(events.recv_timeout(INTERVAL / 2), Ok(7));
    tx.destroy().expect("destroyed");
    handler.join().expect("no panic");
}

/// The cores that the calling thread may run on.
#[cfg(all(target_os = "linux", not(miri)))]
fn cores() -> Vec<usize> {
    use nix::sched::{CpuSet, sched_getaffinity};
    let set = sched_getaffinity(nix::unistd::Pid::from_raw(0)).expect("an affinity");
    (0..CpuSet::count())
        .filter(|core| set.is_set(*core).expect("a core"))
        .collect()
}

/// Set in the environment of a process that runs this test program again: how it pins its handler, and to which core.
#[cfg(all(target_os = "linux", not(miri)))]
const PINS: &str = "HANDLER_TEST_PINS";

/// Each case has a process of its own, as one of them pins the whole process and another one reads the environment.
#[cfg(all(target_os = "linux", not(miri)))]
#[test]
fn a_handler_runs_where_it_is_told_to() {
    if let Ok(how) = std::env::var(PINS) {
        return runs_where_it_is_told_to(&how);
    }
    let core = *cores().last().expect("a core");
    let ways = [
        ("consumer", "MYELON_NOTHING"),
        ("process", "MYELON_NOTHING"),
        ("environment", "MYELON_AUTO_CONSUMER_CORE"),
        ("environment of the process", "MYELON_PROCESS_CORE"),
    ];
    for (how, variable) in ways {
        let mut again = Command::new(std::env::current_exe().expect("this program"));
        again.args(["--exact", "a_handler_runs_where_it_is_told_to"]);
        let output = again
            .env(PINS, how)
            .env(variable, core.to_string())
            .output();
        let output = output.expect("it runs");
        assert!(output.status.success(), "{how}: {output:?}");
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(said.contains("1 passed"), "{how}: {said}");
    }
}

#[cfg(all(target_os = "linux", not(miri)))]
fn runs_where_it_is_told_to(how: &str) {
    let before = cores();
    let core = *before.last().expect("a core");
    let ring = HeapRing::<u64>::new(8).expect("a ring");
    let mut tx = ring.producer().expect("a producer");
    let builder = builder(&ring, HandlerPanicPolicy::Redeliver);
    let builder = match how {
        "consumer" => builder.with_consumer_core(core),
        "process" => builder.with_process_core(core),
        _ => builder,
    };
    let (seen, events) = mpsc::channel();
    let handler = builder.handle_events_with(move |_, _, _| drop(seen.send(cores())));
    tx.publish_value(7);
    assert_eq!(events.recv_timeout(INTERVAL / 2), Ok(vec![core]), "{how}");
    handler
        .expect("a handler")
        .shutdown_and_join()
        .expect("no panic");
    let after = match how.contains("process") {
        true => vec![core],
        false => before,
    };
    assert_eq!(cores(), after, "{how}: the thread that built it");
}

#[cfg(all(target_os = "linux", not(miri)))]
const NO_THREADS: &str = "TEST_WITHOUT_THREADS";

/// No thread can start if no stack can be mapped. That limit is on the whole process, so the test runs in a child.
#[cfg(all(target_os = "linux", not(miri)))]
#[test]
fn a_handler_that_gets_no_thread_attaches_nothing() {
    if std::env::var_os(NO_THREADS).is_some() {
        attaches_nothing_without_a_thread();
        return;
    }
    let mut again = Command::new(std::env::current_exe().expect("this program"));
    again.args(["--exact", "a_handler_that_gets_no_thread_attaches_nothing"]);
    let output = again.env(NO_THREADS, "").output().expect("it runs");
    assert!(output.status.success(), "{output:?}");
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(said.contains("1 passed"), "{said}");
}

#[cfg(all(target_os = "linux", not(miri)))]
fn attaches_nothing_without_a_thread() {
    let ring = HeapRing::<u64>::new(8).expect("a ring");
    let mut tx = ring.producer().expect("a producer");
    let start = |builder: DisruptorBuilder<u64, Heap>| {
        let handler = builder.handle_events_with(|_, _, _| {});
        handler.expect_err("no thread").to_string()
    };
    let durable = || builder(&ring, HandlerPanicPolicy::Redeliver);

    // set before any thread has ended, as the stack of an ended thread would be reused
    let limit = limit_address_space();
    let refused = start(durable());
    let refused_without_an_id = start(ring.builder());
    set_address_space(limit);
    for refused in [refused, refused_without_an_id] {
        assert!(
            refused.contains("could not start a handler thread") && refused.contains("RLIMIT_AS"),
            "{refused}"
        );
    }
    assert_eq!(tx.ring_state().consumers, [], "no thread, not attached");
    // no consumer gates
    for event in 0..20 {
        assert!(tx.try_publish(|slot| *slot = event).is_ok(), "{event}");
    }

    // a durable consumer that has a place keeps it
    let mut rx = durable().build_consumer().expect("a consumer");
    let first = rx.try_consume_next().expect("published").0;
    rx.detach().expect("it detaches");
    let limit = limit_address_space();
    start(durable());
    set_address_space(limit);
    assert_eq!(
        tx.ring_state().consumers,
        [(String::from("handler"), first)]
    );
    let mut rx = durable().build_consumer().expect("a consumer");
    assert_eq!(rx.try_consume_next().map(|(at, _)| at), Some(first + 1));
    rx.leave().expect("it leaves");

    let refused = start(durable().with_consumer_core(1_000_000));
    assert!(refused.contains("could not pin to a core"), "{refused}");
    assert_eq!(tx.ring_state().consumers, [], "not pinned, not attached");
}

/// Limits the address space to one MiB more than is in use: too little for a stack. Returns the old limit.
#[cfg(all(target_os = "linux", not(miri)))]
fn limit_address_space() -> libc::rlimit {
    let status = std::fs::read_to_string("/proc/self/statm").expect("statm");
    let pages: u64 = status
        .split(' ')
        .next()
        .expect("pages")
        .parse()
        .expect("a number");
    let mut limit = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: the call fills the limit that it is given.
    unsafe { libc::getrlimit(libc::RLIMIT_AS, &raw mut limit) };
    set_address_space(libc::rlimit {
        rlim_cur: pages * 4096 + (1 << 20),
        ..limit
    });
    limit
}

#[cfg(all(target_os = "linux", not(miri)))]
fn set_address_space(limit: libc::rlimit) {
    // SAFETY: the limit lives until the call returns.
    let set = unsafe { libc::setrlimit(libc::RLIMIT_AS, &raw const limit) };
    assert_eq!(set, 0, "a limit");
}

/// A handler that receives its own handle with its first event, and calls `end` with it.
fn handler_that_ends_itself(
    ring: &HeapRing<u64>,
    end: impl Fn(AutoConsumer) + Send + 'static,
) -> Receiver<bool> {
    let (give, given) = mpsc::channel::<AutoConsumer>();
    let (say, said) = mpsc::channel();
    let handle = move |_: &u64, _, _| {
        if let Ok(me) = given.recv_timeout(INTERVAL / 2) {
            end(me);
            let _ = say.send(true);
        }
    };
    let handler = builder(ring, HandlerPanicPolicy::Redeliver).handle_events_with(handle);
    give.send(handler.expect("a handler")).expect("the thread");
    said
}

/// Waits until the consumer's id is free: then the thread has ended.
fn wait_until_detached(ring: &HeapRing<u64>) {
    wait_until(|| ring.consumer("handler").is_ok());
}

#[test]
fn a_handler_that_drops_its_own_handle_ends_when_it_returns() {
    let ring = HeapRing::new(8).expect("a ring");
    let mut tx = ring.producer().expect("a producer");
    let said = handler_that_ends_itself(&ring, drop);
    tx.publish_batch(3, |event, i| *event = i as u64);
    assert_eq!(said.recv_timeout(INTERVAL / 2), Ok(true), "no panic");
    wait_until_detached(&ring);
    let mut rx = ring.consumer("handler").expect("the id is free");
    let (next, _) = rx.try_consume_next().expect("it was told to stop");
    assert!(next >= 1, "one event more at the most is handled: {next}");
}

#[test]
fn a_handler_that_joins_itself_is_told_that_it_cannot() {
    for shuts_down in [false, true] {
        let ring = HeapRing::new(8).expect("a ring");
        let mut tx = ring.producer().expect("a producer");
        let said = handler_that_ends_itself(&ring, move |me| {
            let joined = match shuts_down {
                true => me.shutdown_and_join(),
                false => me.join(),
            };
            let error = joined.expect_err("it runs");
            assert_eq!(error.kind(), std::io::ErrorKind::Deadlock);
            assert!(error.to_string().contains("its own end"), "{error}");
        });
        tx.publish_value(0);
        assert_eq!(said.recv_timeout(INTERVAL / 2), Ok(true), "no panic");
        wait_until_detached(&ring);
    }
}

/// The panic drops the closure and its handle with it: a second panic would abort the program.
#[test]
fn a_handle_may_go_while_its_own_handler_unwinds() {
    let ring = HeapRing::new(8).expect("a ring");
    let mut tx = ring.producer().expect("a producer");
    let said = handler_that_ends_itself(&ring, |me| {
        let _me = me;
        panic!("while it has its own handle");
    });
    tx.publish_value(0);
    assert!(said.recv_timeout(INTERVAL / 2).is_err(), "it has panicked");
    wait_until_detached(&ring);
}
