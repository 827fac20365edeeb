//! Required consumers: a producer notices when a consumer that it depends on no longer takes events.
//!
//! The state is private to the producer, and consumers need not know that they are required. The producer
//! writes one word to the segment: while it is blocked, a hint that it watches (`is_watching`). It checks
//! required consumers only while a managed publish finds the ring full: so a publish that does not wait costs
//! what a plain one does, and an idle ring raises no alarm. Each check reads the consumer's own line: a
//! sequence that moves is progress, also within a batch. A consumer that dies keeps its line; the next
//! consumer that attaches with its id continues in that line.
//!
//! The types are here, the state of the watch is in `watch`, and the producer runs it.

pub(crate) mod fast_path;
pub(crate) mod watch;

use core::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::Sequence;
use crate::env;

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
    /// The alert is all; the publish goes on waiting.
    AlertOnly,
}

/// The consumers that a producer depends on, and how long it waits for them.
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
    /// How long one of them may hold the full ring without progress before the alert; 250 ms. A consumer
    /// whose process is dead is reported at the second check.
    pub progress_timeout: Duration,
    /// How often a blocked producer checks the required consumers that hold it up, until the alert; 5 ms.
    /// After the alert, and while only other consumers hold it up, it checks once per liveness interval, or
    /// at this interval if that is longer.
    pub progress_check_interval: Duration,
    /// How long after the alert the consumer may make progress, or come back, before publishing ends; 1 s, or
    /// `MYELON_SHUTDOWN_GRACE_MS`.
    pub shutdown_grace_period: Duration,
    /// What happens after the grace period.
    pub failure_action: RequiredConsumerFailureAction,
    /// Called with each alert.
    pub alert_hook: Option<RequiredConsumerAlertHook>,
}

impl RequiredConsumerLivenessConfig {
    /// Requires the consumers with these explicit ids; all else is the default.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::sync::Arc;
    /// use std::time::Duration;
    /// use disruptor_mp::{RequiredConsumerAlert, RequiredConsumerFailureAction, RequiredConsumerLivenessConfig};
    ///
    /// let config = RequiredConsumerLivenessConfig::new(["risk", "audit"])
    ///     .with_startup_wait_timeout(Duration::from_secs(30))
    ///     .with_progress_timeout(Duration::from_millis(100))
    ///     .with_progress_check_interval(Duration::from_millis(1))
    ///     .with_shutdown_grace_period(Duration::from_secs(2))
    ///     .with_failure_action(RequiredConsumerFailureAction::AlertOnly)
    ///     .with_alert_hook(Arc::new(|alert: &RequiredConsumerAlert| println!("{alert}")));
    /// assert_eq!(config.required_consumer_ids, ["risk", "audit"]);
    /// assert_eq!(config.progress_timeout, Duration::from_millis(100));
    /// ```
    pub fn new<I>(required_consumer_ids: I) -> Self
    where
        I: IntoIterator,
        I::Item: Into<String>,
    {
        Self {
            required_consumer_ids: required_consumer_ids.into_iter().map(Into::into).collect(),
            ..Self::default()
        }
    }

    /// Sets [`startup_wait_timeout`](Self::startup_wait_timeout).
    ///
    /// # Examples
    ///
    /// See [`new`](Self::new).
    #[must_use]
    pub fn with_startup_wait_timeout(mut self, timeout: Duration) -> Self {
        self.startup_wait_timeout = timeout;
        self
    }

    /// Sets [`progress_timeout`](Self::progress_timeout).
    ///
    /// # Examples
    ///
    /// See [`new`](Self::new).
    #[must_use]
    pub fn with_progress_timeout(mut self, timeout: Duration) -> Self {
        self.progress_timeout = timeout;
        self
    }

    /// Sets [`progress_check_interval`](Self::progress_check_interval).
    ///
    /// # Examples
    ///
    /// See [`new`](Self::new).
    #[must_use]
    pub fn with_progress_check_interval(mut self, interval: Duration) -> Self {
        self.progress_check_interval = interval;
        self
    }

    /// Sets [`shutdown_grace_period`](Self::shutdown_grace_period), whatever the environment says.
    ///
    /// # Examples
    ///
    /// See [`new`](Self::new).
    #[must_use]
    pub fn with_shutdown_grace_period(mut self, period: Duration) -> Self {
        self.shutdown_grace_period = period;
        self
    }

    /// Sets [`failure_action`](Self::failure_action).
    ///
    /// # Examples
    ///
    /// See [`new`](Self::new).
    #[must_use]
    pub fn with_failure_action(mut self, action: RequiredConsumerFailureAction) -> Self {
        self.failure_action = action;
        self
    }

    /// Sets [`alert_hook`](Self::alert_hook).
    ///
    /// # Examples
    ///
    /// See [`new`](Self::new).
    #[must_use]
    pub fn with_alert_hook(mut self, hook: RequiredConsumerAlertHook) -> Self {
        self.alert_hook = Some(hook);
        self
    }
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
    /// The consumer's id.
    pub consumer_id: String,
    /// The last sequence that it has released.
    pub last_sequence: Sequence,
    /// For how long the waiting producer has seen no progress.
    pub stalled_for: Duration,
    /// The ring's name.
    pub ring: String,
    /// The consumer's process, in words.
    pub owner: String,
    /// The consumer's process id, in its own pid namespace.
    pub pid: u32,
    /// Whether the consumer's process is alive and attached; a stopped process counts as alive.
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

/// Why a managed publish failed. It has published nothing.
///
/// # Examples
///
/// See [`RequiredConsumerLivenessConfig`].
#[derive(Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RequiredConsumerError {
    /// Required consumers did not register in time. The next managed publish waits for them again.
    #[error(
        "required consumers have not come: {missing:?}; start them, or take them out of required_consumer_ids"
    )]
    StartupTimeout {
        /// Their ids.
        missing: Vec<String>,
    },
    /// A required consumer stayed stalled beyond the grace period. Every managed publish fails with this
    /// until `enable_required_consumer_liveness` is called again.
    #[error(
        "ring '{ring}': required consumer '{consumer_id}' ({owner}, {}), {lag} events behind, made no progress after \
         sequence {last_sequence} for {stalled_for:?}, longer than the grace period: publishing has ended until liveness \
         is enabled again",
        if *is_alive { "alive" } else { "not attached" }
    )]
    #[non_exhaustive]
    GracefulShutdownTriggered {
        /// The consumer's id.
        consumer_id: String,
        /// The last sequence that it has released.
        last_sequence: Sequence,
        /// For how long the waiting producer had seen no progress.
        stalled_for: Duration,
        /// The ring's name.
        ring: String,
        /// The consumer's process, in words.
        owner: String,
        /// Whether the consumer's process was alive and attached.
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
    /// As [`SendError::Disk`](crate::SendError).
    #[error(
        "the ring could not be written to the disk, and no slot is used again: {what}; start another ring"
    )]
    Disk {
        /// The system's error text.
        what: String,
    },
    /// As [`SendError::LockLost`](crate::SendError).
    #[error(
        "this program has closed the descriptor of the producer's lock, so that others count it as dead: open the ring \
         again, and close no descriptors but your own"
    )]
    LockLost,
    /// The handle was made before a fork, and belongs to the parent process.
    #[error("this producer was made before a fork and belongs to the parent process")]
    Forked,
}

crate::error::debug_is_text!(RequiredConsumerError);

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
    fn alert_texts_name_the_consumer_its_position_and_the_duration() {
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
            "required consumers have not come: [\"risk\"]; start them, or take them out of required_consumer_ids"
        );
    }
}
