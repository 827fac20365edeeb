//! Required consumers: a producer that notices when somebody it depends on no longer takes events.
//!
//! Private to the producer: nothing is written to the segment, and consumers need not know that they are required. It
//! looks only while a managed publish finds the ring full, so a publish that does not wait costs what a plain one does,
//! and an idle ring raises no alarm. What it looks at is the consumer's own line: a sequence that moves is progress,
//! also within a batch. A consumer that dies keeps its line; whoever attaches with its id goes on in it.
//!
//! The types are here, the watch itself in `watch`.

mod watch;

use core::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::{Sequence, env};

pub(crate) use watch::Liveness;

/// Called with each alert, on the producer's thread, while it waits.
///
/// # Examples
///
/// ```
/// use std::sync::Arc;
/// use disruptor_mp::{RequiredConsumerAlert, RequiredConsumerAlertHook};
///
/// let hook: RequiredConsumerAlertHook = Arc::new(|alert: &RequiredConsumerAlert| println!("{alert}"));
/// ```
pub type RequiredConsumerAlertHook = Arc<dyn Fn(&RequiredConsumerAlert) + Send + Sync>;

/// What a producer does when a required consumer stays stalled for longer than the grace period.
///
/// # Examples
///
/// ```
/// use disruptor_mp::{RequiredConsumerFailureAction, RequiredConsumerLivenessConfig};
///
/// let config = RequiredConsumerLivenessConfig {
///     required_consumer_ids: vec!["risk".into()],
///     failure_action: RequiredConsumerFailureAction::AlertOnly,
///     ..Default::default()
/// };
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum RequiredConsumerFailureAction {
    /// Managed publishes fail with [`RequiredConsumerError::GracefulShutdownTriggered`] from then on.
    #[default]
    GracefulShutdown,
    /// Nothing: the alert was all, and the publish goes on waiting.
    AlertOnly,
}

/// Whom a producer depends on, and how patient it is.
///
/// # Examples
///
/// ```
/// use std::time::Duration;
/// use disruptor_mp::{RequiredConsumerError, RequiredConsumerLivenessConfig};
///
/// let ring = disruptor_mp::HeapRing::<u64>::new(8)?;
/// let mut tx = ring.producer()?;
/// tx.enable_required_consumer_liveness(RequiredConsumerLivenessConfig {
///     required_consumer_ids: vec!["risk".into()],
///     startup_wait_timeout: Duration::from_millis(1),
///     ..Default::default()
/// });
/// let absent = tx.publish_managed(|event| *event = 7).unwrap_err();
/// assert_eq!(absent, RequiredConsumerError::StartupTimeout { missing: vec!["risk".into()] });
///
/// let _risk = ring.consumer("risk")?;
/// assert_eq!(tx.publish_managed(|event| *event = 7), Ok(0));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct RequiredConsumerLivenessConfig {
    /// The explicit ids of the consumers that must take every event.
    pub required_consumer_ids: Vec<String>,
    /// How long the first managed publish waits for all of them to register; 5 s.
    pub startup_wait_timeout: Duration,
    /// How long one of them may hold the full ring without progress before the alert; 250 ms. One whose process is dead
    /// is reported at the second look.
    pub progress_timeout: Duration,
    /// How often a blocked producer looks at those that hold it up, until the alert; 5 ms. Afterwards, and while only
    /// others hold it up, it looks once per liveness interval.
    pub progress_check_interval: Duration,
    /// How long after the alert it may go on, or come back, before publishing ends; 1 s, or
    /// `MYELON_SHUTDOWN_GRACE_MS`.
    pub shutdown_grace_period: Duration,
    /// What happens after that.
    pub failure_action: RequiredConsumerFailureAction,
    /// Called with each alert.
    pub alert_hook: Option<RequiredConsumerAlertHook>,
}

impl Default for RequiredConsumerLivenessConfig {
    fn default() -> Self {
        Self {
            required_consumer_ids: Vec::new(),
            startup_wait_timeout: Duration::from_secs(5),
            progress_timeout: Duration::from_millis(250),
            progress_check_interval: Duration::from_millis(5),
            shutdown_grace_period: env::shutdown_grace(),
            failure_action: RequiredConsumerFailureAction::default(),
            alert_hook: None,
        }
    }
}

impl fmt::Debug for RequiredConsumerLivenessConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RequiredConsumerLivenessConfig")
            .field("required_consumer_ids", &self.required_consumer_ids)
            .field("startup_wait_timeout", &self.startup_wait_timeout)
            .field("progress_timeout", &self.progress_timeout)
            .field("progress_check_interval", &self.progress_check_interval)
            .field("shutdown_grace_period", &self.shutdown_grace_period)
            .field("failure_action", &self.failure_action)
            .field("alert_hook", &self.alert_hook.as_ref().map(|_| "Fn"))
            .finish()
    }
}

/// A required consumer holds the full ring and makes no progress.
///
/// # Examples
///
/// ```
/// use std::sync::{Arc, mpsc};
/// use std::time::Duration;
/// use disruptor_mp::{HeapRing, RequiredConsumerAlert, RequiredConsumerLivenessConfig};
///
/// let ring = HeapRing::<u64>::new(1)?;
/// let (mut tx, _risk) = (ring.producer()?, ring.consumer("risk")?);
/// let (told, alerts) = mpsc::channel();
/// tx.enable_required_consumer_liveness(RequiredConsumerLivenessConfig {
///     required_consumer_ids: vec!["risk".into()],
///     progress_timeout: Duration::from_millis(5),
///     shutdown_grace_period: Duration::from_millis(5),
///     alert_hook: Some(Arc::new(move |alert: &RequiredConsumerAlert| told.send(alert.clone()).unwrap())),
///     ..Default::default()
/// });
/// tx.print_required_consumer_alerts(false);
/// tx.publish_managed(|event| *event = 1)?;
/// assert!(tx.publish_managed(|event| *event = 2).is_err());
/// let alert = alerts.recv()?;
/// assert_eq!((alert.consumer_id.as_str(), alert.last_sequence, alert.lag, alert.is_alive), ("risk", -1, 1, true));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct RequiredConsumerAlert {
    /// Its id.
    pub consumer_id: String,
    /// The last sequence it has released.
    pub last_sequence: Sequence,
    /// For how long the waiting producer has seen no progress.
    pub stalled_for: Duration,
    /// The ring's name.
    pub ring: String,
    /// Its process, in words.
    pub owner: String,
    /// Its process id, in its own pid namespace.
    pub pid: u32,
    /// Whether its process is alive and attached; a stopped one is.
    pub is_alive: bool,
    /// How many published events it has not released.
    pub lag: u64,
}

impl fmt::Display for RequiredConsumerAlert {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = if self.is_alive {
            "alive"
        } else {
            "not attached"
        };
        write!(
            f,
            "ring '{}' is full and waits for required consumer '{}' ({}, {state}): {} events behind, no progress after \
             sequence {} for {:?}",
            self.ring, self.consumer_id, self.owner, self.lag, self.last_sequence, self.stalled_for
        )
    }
}

/// Why a managed publish failed. Nothing was published then.
///
/// # Examples
///
/// See [`RequiredConsumerLivenessConfig`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RequiredConsumerError {
    /// Required consumers did not register in time. The next managed publish waits for them again.
    #[error(
        "required consumers that have not come: {missing:?}; start them, or take them out of required_consumer_ids"
    )]
    StartupTimeout {
        /// Their ids.
        missing: Vec<String>,
    },
    /// A required consumer stayed stalled beyond the grace period. Every managed publish says so until
    /// `enable_required_consumer_liveness` is called again.
    #[error(
        "ring '{ring}': required consumer '{consumer_id}' ({owner}, {}), {lag} events behind, made no progress after \
         sequence {last_sequence} for {stalled_for:?}, longer than the grace period: publishing has ended until liveness \
         is enabled anew",
        if *is_alive { "alive" } else { "not attached" }
    )]
    #[non_exhaustive]
    GracefulShutdownTriggered {
        /// Its id.
        consumer_id: String,
        /// The last sequence it has released.
        last_sequence: Sequence,
        /// For how long the waiting producer had seen no progress.
        stalled_for: Duration,
        /// The ring's name.
        ring: String,
        /// Its process, in words.
        owner: String,
        /// Whether its process was alive and attached.
        is_alive: bool,
        /// How many published events it had not released.
        lag: u64,
    },
    /// The batch has more events than the ring has slots.
    #[error("a batch of {requested} events does not fit a ring of {capacity}: split it")]
    BatchTooLarge {
        /// How many events the batch has.
        requested: usize,
        /// How many slots the ring has.
        capacity: usize,
    },
    /// Sequences end at 2^61 - 1.
    #[error("the ring has used up its sequences (2^61): close it and create another")]
    SequenceExhausted,
    /// The wait was cancelled.
    #[error("the wait was cancelled")]
    Cancelled,
    /// The handle belongs to the process before the fork.
    #[error("this producer was made before a fork and belongs to the parent process")]
    Forked,
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn defaults_are_those_of_the_documentation() {
        let config = RequiredConsumerLivenessConfig::default();
        assert_eq!(config.startup_wait_timeout, Duration::from_secs(5));
        assert_eq!(config.progress_timeout, Duration::from_millis(250));
        assert_eq!(config.progress_check_interval, Duration::from_millis(5));
        assert_eq!(
            config.failure_action,
            RequiredConsumerFailureAction::GracefulShutdown
        );
        assert!(config.required_consumer_ids.is_empty() && config.alert_hook.is_none());
    }

    #[test]
    fn texts_say_who_where_and_how_long() {
        let alert = RequiredConsumerAlert {
            consumer_id: "risk".into(),
            last_sequence: 41,
            stalled_for: Duration::from_millis(250),
            ring: "ticks".into(),
            owner: "pid 7".into(),
            pid: 7,
            is_alive: false,
            lag: 8,
        };
        assert_eq!(
            alert.to_string(),
            "ring 'ticks' is full and waits for required consumer 'risk' (pid 7, not attached): 8 events behind, no \
             progress after sequence 41 for 250ms"
        );
        let missing = vec![String::from("risk")];
        assert_eq!(
            RequiredConsumerError::StartupTimeout { missing }.to_string(),
            "required consumers that have not come: [\"risk\"]; start them, or take them out of required_consumer_ids"
        );
    }
}
