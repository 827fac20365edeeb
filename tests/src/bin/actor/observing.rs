//! An actor that observes: nobody waits for it, and what it misses it is told.

use disruptor_mp::{Observer, RecvError};
use myelon_tests::{Record, Tally};

use crate::books::Sightings;
use crate::options::Words;
use crate::{Answer, kind_of};

/// `watch n=N ms=PATIENCE`: writes down what it sees until so many events have come, or the ring's end; the death of a
/// producer is none.
pub(crate) fn watch<B>(
    observer: &mut Observer<Record, B>,
    sightings: &mut Sightings,
    words: &Words<'_>,
) -> Answer {
    let (mut count, mut lagged) = (0, 0);
    while count < words.number_or("n", i64::MAX) {
        match observer.recv(words.deadline()) {
            Ok((sequence, record)) => {
                // what was missed is no fault: each event is a tally of its own
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
