//! Waits and system calls that a timer interrupts all the time.

use std::time::{Duration, Instant};

use disruptor_mp::{
    AutoWaitStrategy, Consumer, Deadline, DisruptorBuilder, Heap, HeapRing, MultiProcessError,
    RecvError, RingSet, perform_sleep_wait,
};
use myelon_tests::Record;
use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, sigaction};

use crate::Answer;
use crate::cancelling::set_timer;
use crate::options::Words;

extern "C" fn nothing(_signal: libc::c_int) {}

/// Runs `work` with a signal every `us` microseconds, and returns how long it took.
fn interrupted<R>(us: i64, work: impl FnOnce() -> R) -> (R, Duration) {
    let action = SigAction::new(
        SigHandler::Handler(nothing),
        SaFlags::empty(),
        SigSet::empty(),
    );
    // SAFETY: the handler does nothing.
    unsafe { sigaction(Signal::SIGALRM, &action) }.expect("a handler");
    set_timer(us);
    let begun = Instant::now();
    let done = work();
    let took = begun.elapsed();
    set_timer(0);
    (done, took)
}

/// `under-signals us=50 what=ring`: a wait of 10 ms.
pub(crate) fn wait<B>(
    builder: &dyn Fn(usize) -> DisruptorBuilder<Record, B>,
    words: &Words<'_>,
) -> Answer {
    const WAIT: Duration = Duration::from_millis(10);
    let ring = HeapRing::<u64>::new(8)?;
    let mut tx = ring.producer()?;
    let recv = |strategy| {
        let rx = ring.builder().with_wait_strategy(strategy).build_consumer();
        let end = rx?.recv(Deadline::after(WAIT)).err();
        assert_eq!(end, Some(RecvError::Timeout));
        Ok::<_, MultiProcessError>(())
    };
    let (done, took) = interrupted(words.number("us"), || {
        match words.word("what") {
            "ring" => {
                let missing = builder(8).wait_for_ring(WAIT).build_consumer().err();
                assert!(matches!(missing, Some(MultiProcessError::NotFound { .. })));
            }
            "pause" => perform_sleep_wait(WAIT),
            "sleep" => recv(AutoWaitStrategy::Sleep(WAIT))?,
            "block" => recv(AutoWaitStrategy::Block)?,
            "set" => {
                let end = RingSet::<Consumer<u64, Heap>>::new()
                    .wait(Deadline::after(WAIT))
                    .err();
                assert_eq!(end, Some(RecvError::Timeout));
            }
            "consumer" => assert!(!tx.wait_for_consumer_id("nobody", WAIT)),
            other => panic!("no such wait: {other}"),
        }
        Ok::<_, MultiProcessError>(())
    });
    done?;
    Ok(format!("us={}", took.as_micros()))
}

/// `create-under-signals us=100 cap=1000`: creates a ring and ends it.
pub(crate) fn create<B>(
    builder: &dyn Fn(usize) -> DisruptorBuilder<Record, B>,
    words: &Words<'_>,
) -> Answer {
    let capacity = words.number("cap") as usize;
    let (made, took) = interrupted(words.number("us"), || {
        builder(capacity).build_zeroed_producer()?.close()
    });
    made?;
    Ok(format!("us={}", took.as_micros()))
}
