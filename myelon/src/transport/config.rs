//! What a session's processes have to agree on, and how each of them waits.

use std::time::Duration;

use super::consumer::MyelonWaitStrategy;
use super::error::TransportResult;
use super::names::{DEFAULT_TRANSPORT_PREFIX, MyelonTransportLayout};

/// What the ids of workers start with: the worker 3 is `worker_3`.
pub(crate) const WORKER_PREFIX: &str = "worker";

/// Frames of the ring from a scheduler to its workers, unless told otherwise.
pub const DEFAULT_MYELON_RPC_DEPTH: usize = 1024;
/// Frames of the ring from a worker to its scheduler, unless told otherwise.
pub const DEFAULT_MYELON_RESPONSE_DEPTH: usize = 256;

/// The rings of a session: how deep they are, and how one waits on them. The depths must be the same in all processes.
///
/// # Examples
///
/// ```
/// use myelon::{MyelonTransportConfig, MyelonWaitStrategy};
///
/// let config = MyelonTransportConfig::default()
///     .with_rpc_depth(64)
///     .with_wait_strategy(MyelonWaitStrategy::BusySpin);
/// assert_eq!((config.rpc_depth, config.response_depth), (64, 256));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct MyelonTransportConfig {
    /// Frames of the ring from the scheduler to its workers, a power of two.
    pub rpc_depth: usize,
    /// Frames of each ring from a worker to the scheduler, a power of two.
    pub response_depth: usize,
    /// How consumers wait.
    pub wait_strategy: MyelonWaitStrategy,
    /// How long a worker waits for its scheduler's ring to be created; 30 s.
    pub start_timeout: Duration,
    /// How often who is blocked looks whether the others are alive; 100 ms.
    pub liveness_interval: Duration,
}

impl Default for MyelonTransportConfig {
    fn default() -> Self {
        Self {
            rpc_depth: DEFAULT_MYELON_RPC_DEPTH,
            response_depth: DEFAULT_MYELON_RESPONSE_DEPTH,
            wait_strategy: MyelonWaitStrategy::default(),
            start_timeout: Duration::from_secs(30),
            liveness_interval: Duration::from_millis(100),
        }
    }
}

impl MyelonTransportConfig {
    /// Frames of the ring from the scheduler to its workers.
    ///
    /// # Examples
    ///
    /// ```
    /// # use myelon::{MyelonTransportConfig, MyelonWaitStrategy, RunnerMyelonTransportConfig};
    /// assert_eq!(MyelonTransportConfig::default().with_rpc_depth(64).rpc_depth, 64);
    /// ```
    #[must_use]
    pub fn with_rpc_depth(mut self, depth: usize) -> Self {
        self.rpc_depth = depth;
        self
    }

    /// Frames of each ring from a worker to the scheduler.
    ///
    /// # Examples
    ///
    /// ```
    /// # use myelon::{MyelonTransportConfig, MyelonWaitStrategy, RunnerMyelonTransportConfig};
    /// assert_eq!(MyelonTransportConfig::default().with_response_depth(64).response_depth, 64);
    /// ```
    #[must_use]
    pub fn with_response_depth(mut self, depth: usize) -> Self {
        self.response_depth = depth;
        self
    }

    /// How consumers wait.
    ///
    /// # Examples
    ///
    /// ```
    /// # use myelon::{MyelonTransportConfig, MyelonWaitStrategy, RunnerMyelonTransportConfig};
    /// let config = MyelonTransportConfig::default().with_wait_strategy(MyelonWaitStrategy::BusySpin);
    /// assert_eq!(config.wait_strategy, MyelonWaitStrategy::BusySpin);
    /// ```
    #[must_use]
    pub fn with_wait_strategy(mut self, strategy: MyelonWaitStrategy) -> Self {
        self.wait_strategy = strategy;
        self
    }

    /// How long a worker waits for its scheduler's ring to be created.
    ///
    /// # Examples
    ///
    /// ```
    /// # use myelon::{MyelonTransportConfig, MyelonWaitStrategy, RunnerMyelonTransportConfig};
    /// use std::time::Duration;
    ///
    /// let config = MyelonTransportConfig::default().with_start_timeout(Duration::from_secs(120));
    /// assert_eq!(config.start_timeout.as_secs(), 120);
    /// ```
    #[must_use]
    pub fn with_start_timeout(mut self, timeout: Duration) -> Self {
        self.start_timeout = timeout;
        self
    }

    /// How often who is blocked looks whether the others are alive.
    ///
    /// # Examples
    ///
    /// ```
    /// # use myelon::{MyelonTransportConfig, MyelonWaitStrategy, RunnerMyelonTransportConfig};
    /// use std::time::Duration;
    ///
    /// let config = MyelonTransportConfig::default().with_liveness_interval(Duration::from_millis(10));
    /// assert_eq!(config.liveness_interval.as_millis(), 10);
    /// ```
    #[must_use]
    pub fn with_liveness_interval(mut self, interval: Duration) -> Self {
        self.liveness_interval = interval;
        self
    }
}

/// Everything that a process of a session has to know: see [`Scheduler`](crate::Scheduler) and
/// [`Worker`](crate::Worker).
///
/// # Examples
///
/// ```
/// use myelon::RunnerMyelonTransportConfig;
///
/// let config = RunnerMyelonTransportConfig::new("llama-70b", 4);
/// assert_eq!(config.worker_id(3), "worker_3");
/// assert_eq!(config.layout()?.rpc_ring_name(), "myl-6mahex05sx5f8-q");
/// # Ok::<(), myelon::TransportError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct RunnerMyelonTransportConfig {
    /// The session's label: the same in all its processes, and in no other session's.
    pub session: String,
    /// What the names of its rings start with.
    pub prefix: String,
    /// How many workers it has.
    pub workers: usize,
    /// Its rings.
    pub transport: MyelonTransportConfig,
}

impl RunnerMyelonTransportConfig {
    /// A session of so many workers, everything else by default.
    ///
    /// # Examples
    ///
    /// ```
    /// # use myelon::{MyelonTransportConfig, MyelonWaitStrategy, RunnerMyelonTransportConfig};
    /// let config = RunnerMyelonTransportConfig::new("llama-70b", 4);
    /// assert_eq!((&*config.session, config.workers), ("llama-70b", 4));
    /// ```
    pub fn new(session: impl Into<String>, workers: usize) -> Self {
        Self {
            session: session.into(),
            prefix: DEFAULT_TRANSPORT_PREFIX.to_owned(),
            workers,
            transport: MyelonTransportConfig::default(),
        }
    }

    /// What the names of its rings start with: up to 9 ASCII letters and digits.
    ///
    /// # Examples
    ///
    /// ```
    /// # use myelon::{MyelonTransportConfig, MyelonWaitStrategy, RunnerMyelonTransportConfig};
    /// let config = RunnerMyelonTransportConfig::new("llama-70b", 4).with_prefix("prod");
    /// assert_eq!(config.layout()?.rpc_ring_name(), "prod-6mahex05sx5f8-q");
    /// # Ok::<(), myelon::TransportError>(())
    /// ```
    #[must_use]
    pub fn with_prefix(mut self, prefix: impl Into<String>) -> Self {
        self.prefix = prefix.into();
        self
    }

    /// Its rings.
    ///
    /// # Examples
    ///
    /// ```
    /// # use myelon::{MyelonTransportConfig, MyelonWaitStrategy, RunnerMyelonTransportConfig};
    /// let deep = MyelonTransportConfig::default().with_rpc_depth(4096);
    /// let config = RunnerMyelonTransportConfig::new("llama-70b", 4).with_transport(deep);
    /// assert_eq!(config.transport.rpc_depth, 4096);
    /// ```
    #[must_use]
    pub fn with_transport(mut self, transport: MyelonTransportConfig) -> Self {
        self.transport = transport;
        self
    }

    /// The names of its rings.
    ///
    /// # Errors
    ///
    /// [`TransportError::InvalidName`](super::TransportError::InvalidName).
    ///
    /// # Examples
    ///
    /// ```
    /// # use myelon::{MyelonTransportConfig, MyelonWaitStrategy, RunnerMyelonTransportConfig};
    /// let config = RunnerMyelonTransportConfig::new("llama-70b", 4);
    /// assert_eq!(config.layout()?.response_ring_name(3), "myl-6mahex05sx5f8-r3");
    /// assert!(config.with_prefix("no/directories").layout().is_err());
    /// # Ok::<(), myelon::TransportError>(())
    /// ```
    pub fn layout(&self) -> TransportResult<MyelonTransportLayout> {
        MyelonTransportLayout::for_session_with_prefix(&self.prefix, &self.session)
    }

    /// The consumer id of the worker `rank` on the scheduler's ring.
    ///
    /// # Examples
    ///
    /// ```
    /// # use myelon::{MyelonTransportConfig, MyelonWaitStrategy, RunnerMyelonTransportConfig};
    /// assert_eq!(RunnerMyelonTransportConfig::new("llama-70b", 4).worker_id(3), "worker_3");
    /// ```
    pub fn worker_id(&self, rank: usize) -> String {
        format!("{WORKER_PREFIX}_{rank}")
    }
}
