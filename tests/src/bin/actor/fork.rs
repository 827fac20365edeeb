//! The behaviour of handles in a forked child.

use std::io::Read;
use std::os::fd::{AsFd, AsRawFd};
use std::panic::{AssertUnwindSafe, catch_unwind};

use disruptor_mp::observability::CountersError;
use disruptor_mp::{Consumer, CountersFile, Deadline, DisruptorBuilder, HeapRing, Producer};
use myelon_tests::Record;
use myelon_tests::kinds::kind_of;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::wait::waitpid;
use nix::unistd::{ForkResult, Pid, fork};

use crate::Answer;

type Tx<B> = Option<Producer<Record, B>>;
type Rx<B> = Option<Consumer<Record, B>>;

/// Forks. The child does `work` and reports the result.
pub(crate) fn in_child(work: impl FnOnce() -> String) -> Answer {
    let (mut reader, writer) = std::io::pipe()?;
    // SAFETY: the C library keeps its own locks usable in the child, and no other thread of this process takes
    // a lock that the child needs.
    match unsafe { fork() }? {
        ForkResult::Child => {
            // a child that waits for a thread that does not exist in it is ended by a signal
            nix::unistd::alarm::set(60);
            let text = work();
            let _ = nix::unistd::write(&writer, text.as_bytes());
            // SAFETY: the call ends the child without running code of the parent.
            unsafe { libc::_exit(0) }
        }
        ForkResult::Parent { child } => {
            drop(writer);
            let mut text = String::new();
            reader.read_to_string(&mut text)?;
            let status = waitpid(child, None)?;
            Ok(format!("{text} {status:?}"))
        }
    }
}

/// The text of the panic, or `no panic`.
fn panic_of<R>(work: impl FnOnce() -> R) -> String {
    match catch_unwind(AssertUnwindSafe(work)) {
        Ok(_) => String::from("no panic"),
        Err(payload) => payload
            .downcast::<String>()
            .map_or_else(|_| String::from("?"), |text| *text),
    }
}

/// The child uses the parent's handles in every way, then drops them. The parent gets its handles back.
pub(crate) fn use_in_child<B>(
    mut tx: Tx<B>,
    mut rx: Rx<B>,
    give_back: impl FnOnce(Tx<B>, Rx<B>),
) -> Answer {
    let answer = in_child(|| {
        std::panic::set_hook(Box::new(|_| {}));
        let mut said = Vec::new();
        if let Some(mut rx) = rx.take() {
            let end = rx.recv(Deadline::NEVER).err();
            said.push(format!("recv: {:?}", end.map(|end| kind_of(&end))));
            said.push(format!(
                "try_consume_next: {}",
                panic_of(|| rx.try_consume_next())
            ));
            said.push(format!(
                "leased: {}",
                panic_of(|| rx.try_consume_next_leased().is_some())
            ));
            said.push(format!(
                "process: {}",
                panic_of(|| rx.process_available(|_, _| {}))
            ));
            said.push(format!("newest: {}", rx.producer_sequence()));
            drop(rx);
        }
        if let Some(mut tx) = tx.take() {
            let sent = tx.send(Deadline::NEVER, |record| record.write(0));
            said.push(format!("send: {:?}", sent.err().map(|end| kind_of(&end))));
            said.push(format!(
                "try_publish: {}",
                panic_of(|| tx.try_publish(|r| r.write(0)))
            ));
            said.push(format!(
                "try_claim: {}",
                panic_of(|| tx.try_claim().is_ok())
            ));
            drop(tx);
        }
        said.join("; ")
    });
    give_back(tx, rx);
    answer
}

/// The child makes one call on a handle of its parent, or ends a guard that the parent holds.
pub(crate) fn ask_in_child<B: 'static>(tx: &mut Tx<B>, rx: &mut Rx<B>, what: &str) -> Answer {
    if what == "claim" {
        let mut claim = tx.as_mut().expect("a producer").claim(Deadline::NEVER)?;
        claim.write(0);
        return in_child(|| {
            drop(claim);
            String::from("dropped")
        });
    }
    match what {
        "descriptor" => return descriptor_in_child(rx.as_ref().expect("a consumer"), None),
        "heap-descriptor" => {
            let ring = HeapRing::new(8)?;
            let mut tx = ring.producer()?;
            return descriptor_in_child(&ring.consumer("loop")?, Some(&mut tx));
        }
        "handler" => return handler_in_child(),
        _ => {}
    }
    in_child(|| {
        std::panic::set_hook(Box::new(|_| {}));
        match (tx.as_mut(), rx.take()) {
            (Some(tx), _) => panic_of(|| ask_producer(tx, what)),
            (None, Some(rx)) => panic_of(|| ask_consumer(rx, what)),
            (None, None) => panic!("no endpoint"),
        }
    })
}

/// The child arms the parent's descriptor, and drops it. A notification must stay for the parent: an event is
/// published for one, if there is a producer.
fn descriptor_in_child<B: 'static>(
    rx: &Consumer<Record, B>,
    tx: Option<&mut Producer<Record, B>>,
) -> Answer {
    let readiness = rx.readiness()?;
    let is_told = |timeout| -> Result<bool, nix::Error> {
        let mut descriptors = [PollFd::new(readiness.as_fd(), PollFlags::POLLIN)];
        Ok(poll(&mut descriptors, timeout)? == 1)
    };
    assert!(!readiness.arm(rx)?, "nothing has come");
    let tells = tx.map(|tx| tx.publish(|record| record.write(0))).is_some();
    if tells {
        assert!(is_told(PollTimeout::NONE)?);
    }
    let asked = in_child(|| format!("arm: {}", readiness.arm(rx).expect_err("a child")))?;
    assert_eq!(is_told(PollTimeout::ZERO)?, tells, "the child took it");
    let dropped = in_child(move || {
        drop(readiness);
        String::from("dropped")
    })?;
    // the parent's descriptor was dropped with the closure: its thread has ended
    Ok(format!("{asked}; {dropped}"))
}

/// The child has a handle to a thread that does not exist in it.
fn handler_in_child() -> Answer {
    let ring = HeapRing::<u64>::new(8)?;
    let mut tx = ring.producer()?;
    let (seen, events) = std::sync::mpsc::channel();
    let start = |id| {
        let seen = seen.clone();
        ring.builder()
            .with_consumer_id(id)
            .handle_events_with(move |event, _, _| seen.send(*event).expect("a listener"))
    };
    let (kept, joined) = (start("kept")?, start("joined")?);
    let asked = in_child(|| {
        kept.shutdown();
        format!("running: {}", kept.is_running())
    })?;
    let joined = in_child(move || format!("join: {}", joined.join().expect_err("a child")))?;
    tx.publish_value(7);
    assert_eq!(events.recv()?, 7, "the parent's goes on");
    let dropped = in_child(move || {
        drop(kept);
        String::from("dropped")
    })?;
    Ok(format!("{asked}; {joined}; {dropped}"))
}

fn ask_producer<B>(tx: &mut Producer<Record, B>, what: &str) {
    match what {
        "state" => drop(tx.ring_state()),
        "count" => assert!(tx.get_consumer_count() < 65),
        "gate" => assert!(tx.min_gating_sequence() < 1 << 40),
        "consumed" => assert!(!tx.is_consumed(1 << 40)),
        "find" => drop((
            tx.consumer_sequence("reader"),
            tx.discover_consumer_id("reader"),
        )),
        "remove" => assert!(tx.remove_consumer("reader").is_err()),
        "blocked" => assert!(tx.blocked_on().is_none()),
        "counters" => assert!(tx.counters().is_empty()),
        "show" => {
            let refused = tx.attach_counters(&CountersFile::anonymous());
            assert!(matches!(refused, Err(CountersError::Forked)));
        }
        other => panic!("no such question: {other}"),
    }
}

fn ask_consumer<B>(rx: Consumer<Record, B>, what: &str) {
    match what {
        "state" => drop(rx.ring_state()),
        "newest" => assert!(rx.producer_sequence() < 1 << 40),
        "counters" => drop({ rx }.counters()),
        "leave" => assert!(rx.leave().is_err()),
        other => panic!("no such question: {other}"),
    }
}

/// Forks a child that inherits every descriptor and stays. Its alarm ends it even if a test does not. Returns after the
/// child's fork handlers have run: until then the child holds the parent's locks.
pub(crate) fn child_that_stays() -> Answer {
    let (mut reader, writer) = std::io::pipe()?;
    // SAFETY: this process has one thread.
    match unsafe { fork() }? {
        ForkResult::Parent { child } => {
            drop(writer);
            reader.read_to_end(&mut Vec::new())?;
            Ok(format!("child={child}"))
        }
        ForkResult::Child => {
            nix::unistd::alarm::set(300);
            // the parent waits for this
            drop(writer);
            // closes the parent's pipes; otherwise the test would mistake the child for the parent
            for fd in [std::io::stdin().as_raw_fd(), std::io::stdout().as_raw_fd()] {
                // SAFETY: the child does not use either pipe again.
                unsafe { libc::close(fd) };
            }
            loop {
                nix::unistd::pause();
            }
        }
    }
}

/// The child attaches a consumer of its own, which is allowed after a fork.
pub(crate) fn attach_in_child<B>(builder: &dyn Fn(usize) -> DisruptorBuilder<Record, B>) -> Answer {
    let parent = Pid::this();
    in_child(|| {
        let consumer = builder(8).with_consumer_id("child").build_consumer();
        match consumer {
            Ok(mut rx) => {
                let first = rx.recv(Deadline::NEVER).map(|lease| lease.sequence());
                format!("child-of={parent} first={first:?}")
            }
            Err(error) => format!("child-of={parent} {error}"),
        }
    })
}
