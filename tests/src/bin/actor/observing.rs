//! An actor that observes: no process waits for it, and it learns how many events it missed.

use std::thread;
use std::time::Duration;

use disruptor_mp::{CancelToken, Deadline, DisruptorBuilder, Observer, RecvError};
use myelon_tests::kinds::kind_of;
use myelon_tests::{Record, Tally};

use crate::Answer;
use crate::books::Sightings;
use crate::options::{self, Words};

/// `watch n=N ms=PATIENCE`: writes down the events that it sees until N have come or the ring ends. The death
/// of a producer does not end the ring.
pub(crate) fn watch<B>(
    observer: &mut Observer<Record, B>,
    sightings: &mut Sightings,
    words: &Words<'_>,
) -> Answer {
    let (mut count, mut lagged) = (0, 0);
    while count < words.number_or("n", i64::MAX) {
        match observer.recv(words.deadline()) {
            Ok((sequence, record)) => {
                // a missed event is no fault, so each event has a tally of its own
                sightings.count_in(&mut Tally::new(), sequence, &record)?;
                count += 1;
            }
            Err(RecvError::Lagged(missed)) => {
                lagged += missed;
                sightings.skip_to(observer.next_sequence());
            }
            Err(RecvError::ProducerDead { .. }) => {}
            Err(end) => {
                return Ok(format!(
                    "end={} seen={count} lagged={lagged}",
                    kind_of(&end)
                ));
            }
        }
    }
    Ok(format!("end=enough seen={count} lagged={lagged}"))
}

/// `see ms=PATIENCE`: receives one event, or the error in its place.
pub(crate) fn see<B>(observer: &mut Observer<Record, B>, words: &Words<'_>) -> Answer {
    let (sequence, record) = observer.recv(words.deadline())?;
    Ok(format!("sequence={sequence} whole={}", record.is_whole()))
}

/// `cancel-observer cap=8`: attaches an observer, and cancels its wait from another thread.
pub(crate) fn cancel<B>(builder: DisruptorBuilder<Record, B>, words: &Words<'_>) -> Answer {
    let token = CancelToken::new();
    let builder = options::for_consumer(builder, words).with_cancel_token(&token);
    let mut observer = builder.build_observer()?;
    thread::scope(|scope| {
        scope.spawn(|| {
            thread::sleep(Duration::from_millis(20));
            token.cancel();
        });
        match observer.recv(Deadline::NEVER) {
            Ok((sequence, _)) => Ok(format!("sequence={sequence}")),
            Err(end) => Ok(format!("end={}", kind_of(&end))),
        }
    })
}
