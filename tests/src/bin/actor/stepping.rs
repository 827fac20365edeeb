//! Single calls between two signals to the process that traces this one: the section that is stepped through.
//!
//! SIGTRAP begins the section, here or (`from=point`) at an armed fail point of the library. SIGUSR1 ends it.
//! Either signal kills an actor that is not traced.

use disruptor_mp::{Consumer, Deadline, MultiProcessResult, Producer};
use myelon_tests::{Record, Tally};
use nix::sys::signal::{Signal, raise};

use crate::Answer;
use crate::books::{Books, Sightings};
use crate::options::Words;

fn begin(words: &Words<'_>) {
    if words.get("from").is_none() {
        raise(Signal::SIGTRAP).expect("raise");
    }
}

fn finish() {
    raise(Signal::SIGUSR1).expect("raise");
}

/// Called after `produce` or `consume` with the word `step`: ends a section that an armed fail point began.
pub(crate) fn after_attach(words: &Words<'_>) {
    if words.get("step").is_some() {
        finish();
    }
}

/// `step-send` or `step-batch n=5`: one publication. With `wrong=early` it is acknowledged before it is made.
pub(crate) fn publish<B>(
    tx: &mut Producer<Record, B>,
    books: &mut Books,
    words: &Words<'_>,
) -> Answer {
    let next = tx.last_published_sequence() + 1;
    let len = words.number_or("n", 1) as usize;
    let batch = books.intend(next, len as u64);
    let last = next + len as i64 - 1;
    if words.get("wrong") == Some("early") {
        books.acknowledge(last);
    }
    begin(words);
    let sent = match words.verb {
        "step-send" => tx.send(Deadline::NEVER, |record| *record = batch.event(0)),
        _ => tx.send_batch(len, Deadline::NEVER, |record, index| {
            *record = batch.event(index);
        }),
    };
    finish();
    books.acknowledge(sent?);
    Ok(format!("last={last}"))
}

/// `step-commit`: the release of one event, which was written down before. An actor that attached with
/// `wrong=late` writes it down afterwards.
pub(crate) fn commit<B>(
    rx: &mut Consumer<Record, B>,
    sightings: &mut Sightings,
    words: &Words<'_>,
) -> Answer {
    let lease = rx.recv(words.deadline())?;
    let (sequence, record) = (lease.sequence(), *lease);
    let is_late = sightings.are_late();
    if !is_late {
        sightings.count_in(&mut Tally::new(), sequence, &record)?;
    }
    begin(words);
    lease.commit();
    finish();
    if is_late {
        sightings.count_in(&mut Tally::new(), sequence, &record)?;
    }
    Ok(format!("sequence={sequence}"))
}

/// `step-leave`, `step-close`: the end of a handle.
pub(crate) fn end<H>(handle: H, end: impl FnOnce(H) -> MultiProcessResult<()>) -> Answer {
    raise(Signal::SIGTRAP).expect("raise");
    let ended = end(handle);
    finish();
    ended?;
    Ok(String::new())
}
