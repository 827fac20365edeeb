//! A loop that publishes and consumes without waiting, in a process that the kernel kills at its first system call.

use std::time::Instant;

use disruptor_mp::{Deadline, DisruptorBuilder, HeapRing, Sequence};
use myelon::codec::Bincode;
use myelon::transport::{FixedFrame, ReassemblyBuffer};
use myelon::{TypedConsumer, TypedProducer};
use myelon_tests::{Record, Tally};

use crate::Answer;
use crate::options::Words;

const ROUNDS: Sequence = 100_000;
const CAPACITY: usize = 64;
type Value = Bincode<(u64, [f64; 2])>;
/// Length in bytes of a message of three frames.
const LONG: usize = 120;

/// `hot-loop control=none|syscall|clock`: never returns. Exits with 0 if every event was seen.
///
/// In `SECCOMP_MODE_STRICT` any call but read, write, exit and sigreturn raises SIGKILL. With the time stamp
/// counter switched off, reading the clock raises SIGSEGV. The controls make a call that must be noticed in
/// this way.
pub(crate) fn run<B>(
    builder: &dyn Fn(usize) -> DisruptorBuilder<Record, B>,
    words: &Words<'_>,
) -> Answer {
    let mut tx = builder(CAPACITY).build_producer(Record::default)?;
    let mut rx = builder(CAPACITY).with_consumer_id("hot").build_consumer()?;
    let mut tally = Tally::new();
    let control = words.word("control");
    forbid_calls();
    let mut next = 0;
    while next < ROUNDS {
        // one by one, as a batch, through a claim, by value; leased, copied, in a batch
        let one = tx.try_publish(|record| record.write(next)).is_ok();
        let many = tx
            .try_batch_publish(16, |record, index| {
                record.write(next + 1 + index as Sequence)
            })
            .is_ok();
        let claimed = tx.try_claim().map(|mut claim| {
            claim.write(next + 17);
            claim.publish()
        });
        if !(one && many && claimed.is_ok()) {
            exit(2);
        }
        next += 18;
        let leased = rx
            .try_consume_next_leased()
            .is_some_and(|lease| tally.add(lease.sequence(), &lease).is_ok());
        let copied = rx
            .try_consume_next()
            .is_some_and(|(sequence, record)| tally.add(sequence, &record).is_ok());
        let mut is_right = leased && copied;
        let count = rx.process_available(|record, sequence| {
            is_right &= tally.add(sequence, record).is_ok();
        });
        if !is_right || count != 16 {
            exit(3);
        }
        do_what_is_noticed(control);
    }
    exit(i32::from(tally.count != next as u64))
}

/// Like [`run`], for `hot-messages`: bytes and values in messages of one frame and of three. `control=timed`
/// requests the times at which they are sent.
pub(crate) fn messages(words: &Words<'_>) -> Answer {
    let ring = HeapRing::<FixedFrame<48>>::new(CAPACITY)?;
    let mut tx = TypedProducer::from_builder(ring.builder())?;
    let mut rx = TypedConsumer::from_builder(ring.builder())?;
    let control = words.word("control");
    tx.stamp_send_times(control == "timed");
    let mut buffer = ReassemblyBuffer::with_capacity(LONG);
    // makes the consumer allocate its own buffer
    tx.publish_raw(&[1; LONG], 1)?;
    drop(rx.recv_raw(Deadline::NEVER)?);
    forbid_calls();
    let message = [7; LONG];
    for round in 0..ROUNDS as usize / 6 {
        let mut is_right = true;
        for len in [round % 40, LONG] {
            // bytes: sent with a deadline and without waiting; received, read in place, handled in a batch
            is_right &= tx.publish_raw(&message[..len], 1).is_ok()
                && rx.recv_raw(Deadline::NEVER).is_ok_and(|it| it.len() == len)
                && tx.raw().try_publish(&message[..len], 1).is_ok()
                && (rx.raw())
                    .recv_leased(&mut buffer, Deadline::NEVER, |_, it| it.len() == len)
                    .unwrap_or(false);
        }
        let value: Value = Bincode((round as u64, [1.5, 2.5]));
        is_right &= tx.publish(&value, 2).is_ok()
            && rx.recv(Deadline::NEVER).is_ok_and(|it| it == (2, value));
        is_right &= tx.try_publish(&value, 2).is_ok();
        let count = rx.process_available::<Value>(|_, it| {
            is_right &= it.is_ok_and(|it| it == value);
        });
        is_right &= count == Ok(1);
        if !is_right {
            exit(3);
        }
        do_what_is_noticed(control);
    }
    exit(0)
}

fn do_what_is_noticed(control: &str) {
    match control {
        "syscall" => drop(nix::unistd::getppid()),
        "clock" => drop(std::hint::black_box(Instant::now())),
        _ => {}
    }
}

fn forbid_calls() {
    // SAFETY: the arguments are numbers; the call switches off the thread's time stamp counter.
    let tsc = unsafe { libc::prctl(libc::PR_SET_TSC, libc::PR_TSC_SIGSEGV, 0, 0, 0) };
    // a processor without this switch allows reading the clock; the test's control reports that
    let _ = tsc;
    // SAFETY: the arguments are numbers; strict mode needs no filter.
    let strict = unsafe { libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_STRICT, 0, 0, 0) };
    assert_eq!(strict, 0, "{}", std::io::Error::last_os_error());
}

/// The one exit that strict mode allows.
fn exit(status: i32) -> ! {
    // SAFETY: the call ends the only thread.
    unsafe { libc::syscall(libc::SYS_exit, status) };
    unreachable!("the process has ended")
}
