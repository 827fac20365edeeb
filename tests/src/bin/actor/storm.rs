//! An actor's part in a storm: it publishes or consumes until the next line arrives.
//!
//! Both verbs answer twice: at once, so that the test knows that they run, and when they end. `wrong=` plants a
//! fault that the checker has to find.

use std::time::Duration;

use disruptor_mp::{Consumer, Deadline, Producer, RecvError, SendError};
use myelon_tests::{Record, Tally};

use crate::books::{Books, Sightings};
use crate::options::Words;
use crate::told::{Progress, SLICE, is_told};
use crate::{Answer, Failure, reply};

/// How long a planted fault leaves a gap that a death then reveals.
pub(crate) const WRONG_PAUSE: Duration = Duration::from_micros(500);

/// `pour max=8 seed=1`: publishes batches of 1 to `max` events until the next line arrives.
///
/// `wrong=early` acknowledges a batch before it publishes it.
pub(crate) fn pour<B>(
    tx: &mut Producer<Record, B>,
    books: &mut Books,
    words: &Words<'_>,
) -> Answer {
    reply(&Ok(String::from("pouring")));
    let mut random = fastrand::Rng::with_seed(words.number("seed") as u64);
    let is_early = words.get("wrong") == Some("early");
    let mut progress = Progress::new(words);
    let mut count = 0;
    while !is_told() {
        let len = random.usize(1..=words.number("max") as usize);
        let next = tx.last_published_sequence() + 1;
        let batch = books.intend(next, len as u64);
        if is_early {
            books.acknowledge(next + len as i64 - 1);
            std::thread::sleep(WRONG_PAUSE);
        }
        let sent = match len {
            1 => tx.send(Deadline::after(SLICE), |record| *record = batch.event(0)),
            _ => tx.send_batch(len, Deadline::after(SLICE), |record, index| {
                *record = batch.event(index);
            }),
        };
        match sent {
            Ok(last) => {
                books.acknowledge(last);
                progress.made();
                count += len;
            }
            Err(SendError::Timeout { blocked_on }) => {
                progress.check(&format!("count={count}"), &blocked_on)?;
            }
            Err(error) => return Err(error.into()),
        }
    }
    Ok(format!("count={count}"))
}

/// `follow how=leases|batches`: consumes through every death of a producer, until the ring is closed and
/// drained or the next line arrives.
///
/// An actor that attached with `wrong=late` releases an event before it writes it down.
pub(crate) fn follow<B>(
    rx: &mut Consumer<Record, B>,
    sightings: &mut Sightings,
    words: &Words<'_>,
) -> Answer {
    reply(&Ok(String::from("following")));
    let by_batches = words.word("how") == "batches";
    let is_late = sightings.are_late();
    let mut progress = Progress::new(words);
    let mut tally = Tally::new();
    while !is_told() {
        let count = tally.count;
        let end = match (by_batches, is_late) {
            (true, _) => take_batch(rx, sightings, &mut tally)?,
            (_, true) => take_late(rx, sightings, &mut tally)?,
            (..) => take_leased(rx, sightings, &mut tally)?,
        };
        if tally.count > count {
            progress.made();
        }
        match end {
            Some(RecvError::Closed) => return Ok(format!("end=Closed {tally}")),
            Some(waits @ (RecvError::Timeout | RecvError::ProducerDead { .. })) => {
                progress.check(&tally, &waits.to_string())?;
            }
            Some(error) => return Err(error.into()),
            None => {}
        }
    }
    Ok(format!("end=Told {tally}"))
}

type Taken = Result<Option<RecvError>, Failure>;

fn take_leased<B>(
    rx: &mut Consumer<Record, B>,
    sightings: &mut Sightings,
    tally: &mut Tally,
) -> Taken {
    match rx.recv(Deadline::after(SLICE)) {
        Ok(lease) => sightings
            .count_in(tally, lease.sequence(), &lease)
            .map(|()| None),
        Err(end) => Ok(Some(end)),
    }
}

fn take_batch<B>(
    rx: &mut Consumer<Record, B>,
    sightings: &mut Sightings,
    tally: &mut Tally,
) -> Taken {
    let mut fault = Ok(None);
    let taken = rx.process_within(Deadline::after(SLICE), |record, sequence, _| {
        if fault.is_ok() {
            fault = sightings.count_in(tally, sequence, record).map(|()| None);
        }
    });
    match taken {
        Ok(_) => fault,
        Err(end) => Ok(Some(end)),
    }
}

fn take_late<B>(
    rx: &mut Consumer<Record, B>,
    sightings: &mut Sightings,
    tally: &mut Tally,
) -> Taken {
    match rx.recv(Deadline::after(SLICE)) {
        Ok(lease) => {
            let (sequence, record) = (lease.sequence(), *lease);
            lease.commit();
            std::thread::sleep(WRONG_PAUSE);
            sightings.count_in(tally, sequence, &record).map(|()| None)
        }
        Err(end) => Ok(Some(end)),
    }
}
