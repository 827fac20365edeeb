//! A program that closes descriptors that it has not opened, as code does that makes it a daemon.

use std::fs::File;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::time::Duration;

use disruptor_mp::{
    Deadline, HeapRing, RequiredConsumerLivenessConfig, build_shared_single_producer,
    perform_sleep_wait,
};
use myelon::codec::Bincode;
use myelon::transport::FixedFrame;
use myelon::{MyelonWaitStrategy, TypedConsumer, TypedProducer};
use myelon_tests::kinds::kinds_of;

use crate::options::Words;
use crate::{Answer, Failure};

/// The files that got the numbers of the closed descriptors.
pub(crate) struct Strangers(Vec<OwnedFd>);

/// `close-descriptors strangers=20`: closes all descriptors from 3 on, and opens this many files of another kind.
pub(crate) fn close_all(words: &Words<'_>) -> Result<Strangers, std::io::Error> {
    // SAFETY: closing other code's descriptors is what is tested: their owners must detect it.
    if unsafe { libc::syscall(libc::SYS_close_range, 3, libc::c_uint::MAX, 0) } != 0 {
        return Err(std::io::Error::last_os_error());
    }
    let count = words.number("strangers");
    let opened: Result<_, _> = (0..count)
        .map(|_| File::open("/dev/zero").map(OwnedFd::from))
        .collect();
    opened.map(Strangers)
}

/// `strangers`: how many of these files are still open.
pub(crate) fn count(strangers: &mut Strangers) -> Answer {
    let zero = std::fs::metadata("/dev/zero")?.rdev();
    let numbers: Vec<i32> = strangers
        .0
        .drain(..)
        .map(|fd| {
            let number = fd.as_raw_fd();
            // the file may no longer be open, and closing it twice would be noticed
            std::mem::forget(fd);
            number
        })
        .collect();
    let mut left = 0;
    for number in numbers {
        // SAFETY: the call only asks about a number.
        if unsafe { libc::fcntl(number, libc::F_GETFD) } == -1 {
            continue;
        }
        // SAFETY: the descriptor is open, and was opened by this file, unless other code has replaced it.
        let file = unsafe { File::from_raw_fd(number) };
        left += i64::from(file.metadata()?.rdev() == zero);
        strangers.0.push(file.into());
    }
    Ok(format!("left={left}"))
}

/// `lose-messages name=RING strangers=20`: a producer and a consumer of messages and values lose their locks while
/// the ring is full. Reports what each call says then, and what ends the handles.
pub(crate) fn lose_messages(words: &Words<'_>) -> Result<(Strangers, String), Failure> {
    type Frame = FixedFrame<64>;
    const DEPTH: usize = 8;
    let name = words.word("name");
    let mut tx = TypedProducer::<Frame>::create(name, DEPTH)?;
    let wait = MyelonWaitStrategy::Block;
    let mut rx = TypedConsumer::<Frame>::attach_with_consumer_id(name, DEPTH, "reader", wait)?;
    tx.enable_required_consumer_liveness(RequiredConsumerLivenessConfig::new(["reader"]));
    let value = Bincode(7_u64);
    tx.publish_managed(&value, 1)?;
    while tx.try_publish(&value, 1).is_ok() {}
    let strangers = close_all(words)?;

    let mut said = Vec::new();
    let mut say = |call, error: Option<String>| {
        said.push(format!("{call}={}", error.unwrap_or_default()));
    };
    say("send", kinds(tx.raw().send(b"bytes", 1, Deadline::NEVER)));
    let long = [7; 3 * 64];
    say("send-long", kinds(tx.raw().send(&long, 1, Deadline::NEVER)));
    say("try", kinds(tx.raw().try_publish(b"bytes", 1)));
    say("send-value", kinds(tx.send(&value, 1, Deadline::NEVER)));
    say("managed", kinds(tx.raw().publish_managed(b"bytes", 1)));
    say("managed-value", kinds(tx.publish_managed(&value, 1)));
    // it may read what is there, and must not wait for more
    let mut read = 0;
    let end = loop {
        match rx.recv::<Bincode<u64>>(Deadline::NEVER) {
            Ok(_) => read += 1,
            Err(error) => break error,
        }
    };
    say("recv-value", Some(kinds_of(&end)));
    say("recv", kinds(rx.recv_raw(Deadline::NEVER)));
    say("recv-copy", kinds(rx.raw().recv_owned(Deadline::NEVER)));
    say("read", Some(read.to_string()));
    let ends = [rx.detach().err(), tx.close().err()];
    let ends = ends.map(|end| end.map_or(String::from("no error"), |end| end.to_string()));
    // the ring is as after a death, so that the next producer can end it
    build_shared_single_producer::<Frame>(name, DEPTH)
        .build_zeroed_producer()?
        .destroy()?;
    Ok((
        strangers,
        format!("{} | {}", said.join(" "), ends.join("; ")),
    ))
}

fn kinds<T, E: std::error::Error + 'static>(outcome: Result<T, E>) -> Option<String> {
    outcome.err().map(|error| kinds_of(&error))
}

/// `lose-readiness`: another file gets the number of a `Readiness`, whose thread is about to report an event. Says
/// what `arm` returns, whether the number still means that file, and how many bytes were written to the file.
pub(crate) fn lose_readiness() -> Answer {
    let ring = HeapRing::<u64>::new(8)?;
    let (mut tx, rx) = (ring.producer()?, ring.consumer("loop")?);
    let readiness = rx.readiness()?;
    assert!(!readiness.arm(&rx)?, "nothing is there yet");
    let number = readiness.as_raw_fd();
    // gives the thread time to take the order, and below to report the event
    perform_sleep_wait(Duration::from_millis(50));
    let stranger = tempfile::tempfile()?;
    // SAFETY: replacing other code's descriptor is what is tested: its owner must detect it.
    if unsafe { libc::dup2(stranger.as_raw_fd(), number) } != number {
        return Err(std::io::Error::last_os_error().into());
    }
    tx.publish(|event| *event = 7);
    perform_sleep_wait(Duration::from_millis(50));
    let armed = readiness.arm(&rx);
    drop(readiness);
    // SAFETY: the call only asks about a number.
    let is_open = unsafe { libc::fcntl(number, libc::F_GETFD) } != -1;
    let written = stranger.metadata()?.len();
    let said = armed.map_or_else(|error| error.to_string(), |news| format!("news={news}"));
    Ok(format!("open={is_open} written={written} | {said}"))
}
