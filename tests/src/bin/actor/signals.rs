//! Waits and system calls that a timer interrupts all the time.

use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use disruptor_mp::{
    AutoWaitStrategy, Consumer, Deadline, DisruptorBuilder, Heap, HeapRing, MultiProcessError,
    Producer, RecvError, RequiredConsumerError, RequiredConsumerLivenessConfig, RingSet, SendError,
    perform_sleep_wait,
};
use myelon_tests::Record;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, sigaction};

use crate::cancelling::set_timer;
use crate::options::Words;
use crate::{Answer, Failure};

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

/// What each wait of [`wait`] lasts.
const WAIT: Duration = Duration::from_millis(10);

/// `under-signals us=50 what=ring`: a wait of 10 ms.
pub(crate) fn wait<B>(
    builder: &dyn Fn(usize) -> DisruptorBuilder<Record, B>,
    words: &Words<'_>,
) -> Answer {
    let ring = HeapRing::<u64>::with_observers(8)?;
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
            "observer" => {
                let end = ring.observer()?.recv(Deadline::after(WAIT)).err();
                assert_eq!(end, Some(RecvError::Timeout));
            }
            "full" => {
                let _reader = ring.consumer("reader")?;
                while tx.try_publish(|_| {}).is_ok() {}
                let end = tx.send(Deadline::after(WAIT), |_| {}).err();
                assert!(matches!(end, Some(SendError::Timeout { .. })), "{end:?}");
            }
            "absent" => {
                let config =
                    RequiredConsumerLivenessConfig::new(["nobody"]).with_startup_wait_timeout(WAIT);
                tx.enable_required_consumer_liveness(config);
                let end = tx.publish_managed(|_| {}).err();
                let is_timeout = matches!(end, Some(RequiredConsumerError::StartupTimeout { .. }));
                assert!(is_timeout, "{end:?}");
            }
            "required" => {
                let _reader = ring.consumer("reader")?;
                let config = RequiredConsumerLivenessConfig::new(["reader"])
                    .with_progress_timeout(WAIT / 2)
                    .with_shutdown_grace_period(WAIT / 2);
                tx.print_required_consumer_alerts(false);
                tx.enable_required_consumer_liveness(config);
                while tx.try_publish(|_| {}).is_ok() {}
                let end = tx.publish_managed(|_| {}).err();
                let is_stall = matches!(
                    end,
                    Some(RequiredConsumerError::GracefulShutdownTriggered { .. })
                );
                assert!(is_stall, "{end:?}");
            }
            "readiness" => wait_by_descriptor(&ring, &mut tx)?,
            other => panic!("no such wait: {other}"),
        }
        Ok::<_, Failure>(())
    });
    done?;
    Ok(format!("us={}", took.as_micros()))
}

/// Polls the descriptor of a consumer until an event comes after [`WAIT`]. Only the thread behind the descriptor
/// gets signals: it was started before the others blocked them.
fn wait_by_descriptor(ring: &HeapRing<u64>, tx: &mut Producer<u64, Heap>) -> Result<(), Failure> {
    let mut rx = ring.consumer("loop")?;
    let readiness = rx.readiness()?;
    let mut alarm = SigSet::empty();
    alarm.add(Signal::SIGALRM);
    alarm.thread_block()?;
    let seen = std::thread::scope(|scope| {
        scope.spawn(|| {
            perform_sleep_wait(WAIT);
            tx.publish(|event| *event = 7);
        });
        while !readiness.arm(&rx)? {
            let mut descriptors = [PollFd::new(readiness.as_fd(), PollFlags::POLLIN)];
            poll(&mut descriptors, PollTimeout::NONE)?;
        }
        Ok::<_, Failure>(rx.try_consume_next())
    });
    alarm.thread_unblock()?;
    assert_eq!(seen?, Some((0, 7)));
    Ok(())
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
