//! What the ends of a chosen cell have besides their rings: counters that a file shows, or a producer that requires its
//! consumer.

use std::time::Duration;

use myelon::observability::{CounterId, CountersFile};
use myelon::{DisruptorBuilder, Event, RequiredConsumerLivenessConfig};

use super::Failure;
use crate::spec::{Beside, Spec};

/// The id of a required consumer.
const REQUIRED: &str = "required";
/// A consumer that makes no progress for so long has hung, however busy the machine is.
const PATIENCE: Duration = Duration::from_secs(60);

/// A builder whose consumer has the id that its producer requires.
pub(super) fn named<E: Event, B>(
    builder: DisruptorBuilder<E, B>,
    spec: &Spec,
) -> DisruptorBuilder<E, B> {
    match spec.beside {
        Beside::Required => builder.with_consumer_id(REQUIRED),
        _ => builder,
    }
}

/// The settings of a producer that requires its consumer; otherwise there are none.
pub(super) fn liveness(spec: &Spec) -> Option<RequiredConsumerLivenessConfig> {
    (spec.beside == Beside::Required).then(|| RequiredConsumerLivenessConfig {
        required_consumer_ids: vec![REQUIRED.to_owned()],
        startup_wait_timeout: PATIENCE,
        progress_timeout: PATIENCE,
        ..Default::default()
    })
}

/// The counters of one end, if the cell has any.
pub(crate) struct Counted(Option<(CountersFile, CounterId)>);

impl Counted {
    /// Makes the file of the ring, and attaches its producer.
    pub(super) fn producer<E: Into<Failure>>(
        spec: &Spec,
        name: &str,
        attach: impl FnOnce(&CountersFile) -> Result<(), E>,
    ) -> Result<Self, Failure> {
        if spec.beside != Beside::Counters {
            return Ok(Self(None));
        }
        let file = CountersFile::create(spec.counters_path(name))?;
        attach(&file).map_err(Into::into)?;
        Ok(Self(Some((file, CounterId::EVENTS_PUBLISHED))))
    }

    /// Attaches the consumer of the ring.
    pub(super) fn consumer<E: Into<Failure>>(
        spec: &Spec,
        name: &str,
        attach: impl FnOnce(&CountersFile) -> Result<(), E>,
    ) -> Result<Self, Failure> {
        if spec.beside != Beside::Counters {
            return Ok(Self(None));
        }
        let file = CountersFile::open(spec.counters_path(name))?;
        attach(&file).map_err(Into::into)?;
        Ok(Self(Some((file, CounterId::EVENTS_CONSUMED))))
    }

    /// An error if the file does not show what this end has counted. To be called before the end leaves its ring.
    pub(super) fn check(self) -> Result<(), Failure> {
        let Some((file, id)) = self.0 else {
            return Ok(());
        };
        let snapshot = file.snapshot();
        let mut own = snapshot.iter().filter(|counter| counter.id == id);
        if own.any(|counter| counter.value > 0) {
            return Ok(());
        }
        Err(format!("the counters show nothing: {snapshot:?}").into())
    }
}
