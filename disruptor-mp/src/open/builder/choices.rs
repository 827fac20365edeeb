//! What a producer waits for before it is handed out, and which consumers it expects.

use std::time::Duration;

#[cfg(doc)]
use crate::error::MultiProcessError;

/// What a producer waits for before it is handed out.
///
/// # Examples
///
/// ```
/// use std::time::Duration;
/// use disruptor_mp::{CoordinationMode, HeapRing, MultiProcessError};
///
/// let ring = HeapRing::<u64>::new(8)?;
/// let (min_consumers, timeout) = (1, Duration::from_millis(5));
/// let alone = ring
///     .builder()
///     .with_coordination(CoordinationMode::WaitForConsumers { min_consumers, timeout })
///     .build_zeroed_producer();
/// assert!(matches!(alone, Err(MultiProcessError::CoordinationTimeout { .. })));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum CoordinationMode {
    /// Nothing.
    #[default]
    Immediate,
    /// This many registered consumers. If they do not come in time, building fails with
    /// [`MultiProcessError::CoordinationTimeout`].
    WaitForConsumers {
        /// How many.
        min_consumers: usize,
        /// How long.
        timeout: Duration,
    },
    /// Nothing; but until a consumer has registered, the producer takes no more than this many events.
    BufferUntilConsumers {
        /// How many events, one ring's worth at the most.
        max_buffer: usize,
    },
}

/// # Kept for programs written against disruptor-mp 0.1
impl CoordinationMode {
    /// [`WaitForConsumers`](Self::WaitForConsumers); a negative number counts as 0.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::Duration;
    /// use disruptor_mp::CoordinationMode;
    ///
    /// let (min_consumers, timeout) = (2, Duration::from_secs(5));
    /// let waits = CoordinationMode::WaitForConsumers { min_consumers, timeout };
    /// assert_eq!(CoordinationMode::wait_for_consumers(2, timeout), waits);
    /// ```
    pub fn wait_for_consumers(min_consumers: i64, timeout: Duration) -> Self {
        Self::WaitForConsumers {
            min_consumers: usize::try_from(min_consumers).unwrap_or(0),
            timeout,
        }
    }

    /// [`WaitForConsumers`](Self::WaitForConsumers), one of them.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::Duration;
    /// use disruptor_mp::CoordinationMode;
    ///
    /// let timeout = Duration::from_secs(5);
    /// let one = CoordinationMode::WaitForConsumers { min_consumers: 1, timeout };
    /// assert_eq!(CoordinationMode::wait_for_single_consumer(timeout), one);
    /// ```
    pub fn wait_for_single_consumer(timeout: Duration) -> Self {
        Self::wait_for_consumers(1, timeout)
    }
}

/// Which consumers a producer expects. Until they have come it fills the ring once and no further, so that
/// even a late one starts at the first event. If the producer ends first, the published events are kept for
/// the consumers that are still to come.
///
/// # Examples
///
/// ```
/// use disruptor_mp::{BlockedOn, Deadline, DiscoveryMode, HeapRing};
///
/// let ring = HeapRing::<u64>::new(1)?;
/// let ids = DiscoveryMode::Ids(vec!["risk".into()]);
/// let mut tx = ring.builder().with_discovery(ids).build_zeroed_producer()?;
/// tx.send(Deadline::NEVER, |event| *event = 7)?;         // one ring's worth, and no more until the consumer has come
/// assert!(matches!(tx.blocked_on(), Some(BlockedOn::Expected { .. })));
/// assert_eq!(ring.consumer("risk")?.recv_owned(Deadline::NEVER)?, (0, 7));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum DiscoveryMode {
    /// No consumer: without consumers the producer runs free.
    #[default]
    Disabled,
    /// At least one consumer of any id.
    Any {
        /// How many may come; for information only.
        max_consumers: usize,
    },
    /// The consumers `{prefix}_0` to `{prefix}_{max_consumers − 1}`.
    Prefix {
        /// How many.
        max_consumers: usize,
        /// What their ids start with.
        prefix: String,
    },
    /// The consumers with these ids.
    Ids(Vec<String>),
}

/// # Kept for programs written against disruptor-mp 0.1
impl DiscoveryMode {
    /// [`Disabled`](Self::Disabled).
    ///
    /// # Examples
    ///
    /// ```
    /// use disruptor_mp::DiscoveryMode;
    ///
    /// assert_eq!(DiscoveryMode::disabled(), DiscoveryMode::Disabled);
    /// ```
    pub const fn disabled() -> Self {
        Self::Disabled
    }

    /// [`Any`](Self::Any).
    ///
    /// # Examples
    ///
    /// ```
    /// use disruptor_mp::DiscoveryMode;
    ///
    /// assert_eq!(DiscoveryMode::enabled(4), DiscoveryMode::Any { max_consumers: 4 });
    /// ```
    pub const fn enabled(max_consumers: usize) -> Self {
        Self::Any { max_consumers }
    }

    /// [`Prefix`](Self::Prefix).
    ///
    /// # Examples
    ///
    /// ```
    /// use disruptor_mp::DiscoveryMode;
    ///
    /// let workers = DiscoveryMode::Prefix { max_consumers: 2, prefix: "worker".into() };
    /// assert_eq!(DiscoveryMode::with_prefix(2, "worker"), workers);
    /// ```
    pub fn with_prefix(max_consumers: usize, prefix: impl Into<String>) -> Self {
        Self::Prefix {
            max_consumers,
            prefix: prefix.into(),
        }
    }
}
