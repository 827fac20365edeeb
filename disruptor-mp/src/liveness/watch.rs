//! The state of a producer's watch over its required consumers, one check of a consumer's line, and the alerts. The
//! managed publishes (`handles::producer::managed`) run the watch.

use std::io::Write;
use std::time::{Duration, Instant};

use super::fast_path::FastPath;
use super::{
    RequiredConsumerAlert, RequiredConsumerError, RequiredConsumerFailureAction,
    RequiredConsumerLivenessConfig,
};
use crate::Sequence;
use crate::event::Event;
use crate::layout::control::{ConsumerId, LineState, Owner};
use crate::layout::lock_bytes::line_byte;
use crate::protocol::registered::registered_at;
use crate::segment::Segment;
use crate::sync::Ordering;

/// A producer's watch.
#[derive(Debug)]
pub(crate) struct Liveness {
    /// [`EVERY_CALL_CHECKS`](FastPath::EVERY_CALL_CHECKS) while required consumers have not come, or have failed.
    pub(crate) fast_path: FastPath,
    /// The fast path of a plain publish.
    pub(crate) plain: FastPath,
    pub(crate) watch: Option<Box<Watch>>,
    /// Whether a managed publish waits for space.
    pub(crate) is_episode: bool,
    pub(crate) prints: bool,
}

/// The watched consumers, and the outcome.
#[derive(Debug)]
pub(crate) struct Watch {
    pub(crate) config: RequiredConsumerLivenessConfig,
    /// One entry for each required id, in the order of the ids.
    pub(crate) required: Vec<Required>,
    pub(crate) has_started: bool,
    pub(crate) failure: Option<RequiredConsumerError>,
}

/// A required consumer.
#[derive(Debug)]
pub(crate) struct Required {
    /// The id as stored in lines; `None` for a text that is no valid id, which is never found.
    pub(crate) id: Option<ConsumerId>,
    pub(crate) stall: Option<Stall>,
}

/// A required consumer that gates and has not moved since.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stall {
    pub(crate) sequence: Sequence,
    pub(crate) since: Instant,
    pub(crate) owner: Owner,
    pub(crate) is_attached: bool,
    pub(crate) alerted: Option<Instant>,
}

/// A required consumer's line at one check.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LineCheck {
    pub(crate) sequence: Sequence,
    pub(crate) owner: Owner,
    pub(crate) is_attached: bool,
    /// Whether its process is gone without having detached.
    pub(crate) is_dead: bool,
}

impl Liveness {
    pub(crate) fn new(plain: FastPath) -> Self {
        Self {
            fast_path: plain,
            plain,
            watch: None,
            is_episode: false,
            prints: true,
        }
    }

    /// Whether an alert will say that this consumer holds the ring.
    pub(crate) fn alerts_of(&self, id: &str) -> bool {
        let required = self.watch.iter().filter(|_| self.is_episode);
        required
            .flat_map(|watch| &watch.config.required_consumer_ids)
            .any(|required| required == id)
    }

    /// Managed publishes take the cold path from now on, for good.
    pub(crate) fn halt(&mut self) {
        self.fast_path = FastPath::EVERY_CALL_CHECKS;
        self.plain = FastPath::EVERY_CALL_CHECKS;
    }
}

impl Stall {
    pub(crate) fn begin(sight: LineCheck, now: Instant) -> Self {
        Self {
            sequence: sight.sequence,
            since: now,
            owner: sight.owner,
            is_attached: sight.is_attached,
            alerted: None,
        }
    }

    /// Whether the consumer has moved or come back since the stall began.
    pub(crate) fn is_healed_by(&self, sight: LineCheck) -> bool {
        let came_back = sight.is_attached && (!self.is_attached || sight.owner != self.owner);
        sight.sequence != self.sequence || came_back
    }
}

/// The registered line of `id`. A lock that cannot be probed counts as held: an error declares no consumer dead.
pub(crate) fn find<E: Event>(segment: &Segment<E>, id: Option<&ConsumerId>) -> Option<LineCheck> {
    let id = id?;
    let (index, line) = registered_at(segment.control()).find(|(_, line)| line.id() == *id)?;
    let is_attached = segment
        .locks()
        .is_held_by_other(line_byte(index))
        .unwrap_or(true);
    Some(LineCheck {
        sequence: line.sequence.load(Ordering::Acquire),
        owner: line.owner.load(),
        is_attached,
        is_dead: !is_attached && line.state() == LineState::Active,
    })
}

/// Ends a stall; logs that if there was an alert.
pub(crate) fn clear(ring: &str, id: &str, stall: &mut Option<Stall>) {
    if let Some(ended) = stall.take()
        && ended.alerted.is_some()
    {
        tracing::info!(ring, id, "the required consumer goes on");
    }
}

/// How much longer a consumer may come back after its alert; for ever if the alert has no consequence.
pub(crate) fn grace_left(
    config: &RequiredConsumerLivenessConfig,
    since_alert: Duration,
) -> Duration {
    match config.failure_action {
        RequiredConsumerFailureAction::GracefulShutdown => {
            config.shutdown_grace_period.saturating_sub(since_alert)
        }
        RequiredConsumerFailureAction::AlertOnly => Duration::MAX,
    }
}

/// Raises the only alert of a stall.
pub(crate) fn raise(
    alert: &RequiredConsumerAlert,
    config: &RequiredConsumerLivenessConfig,
    prints: bool,
) {
    tracing::warn!(ring = %alert.ring, id = %alert.consumer_id, pid = alert.pid, lag = alert.lag, "{alert}");
    if prints {
        // a closed stderr is no error
        let _ = writeln!(std::io::stderr(), "{alert}");
    }
    if let Some(hook) = &config.alert_hook {
        hook(alert);
    }
}

pub(crate) fn failure_of(alert: RequiredConsumerAlert) -> RequiredConsumerError {
    RequiredConsumerError::GracefulShutdownTriggered {
        consumer_id: alert.consumer_id,
        last_sequence: alert.last_sequence,
        stalled_for: alert.stalled_for,
        ring: alert.ring,
        owner: alert.owner,
        is_alive: alert.is_alive,
        lag: alert.lag,
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn the_grace_is_what_was_set_and_begins_with_the_alert() {
        let seconds = Duration::from_secs;
        let mut config = RequiredConsumerLivenessConfig {
            shutdown_grace_period: seconds(10),
            ..Default::default()
        };
        let left = [0, 4, 10, 11].map(|since| grace_left(&config, seconds(since)));
        assert_eq!(left, [10, 6, 0, 0].map(seconds));
        config.failure_action = RequiredConsumerFailureAction::AlertOnly;
        assert_eq!(grace_left(&config, seconds(11)), Duration::MAX);
    }
}
