//! The settings that a session's processes must share, and how each process waits.

use std::time::Duration;

use disruptor_mp::{CancelToken, Deadline, RecvError};

use super::names::{DEFAULT_TRANSPORT_PREFIX, MyelonTransportLayout};
use crate::transport::{MyelonWaitStrategy, TransportResult};

/// The prefix of workers' consumer ids: worker 3 is `worker_3`.
pub(crate) const WORKER_PREFIX: &str = "worker";

/// The default number of frames of the ring from a scheduler to its workers.
pub const DEFAULT_MYELON_RPC_DEPTH: usize = 1024;
/// The default number of frames of the ring from a worker to its scheduler.
pub const DEFAULT_MYELON_RESPONSE_DEPTH: usize = 256;

/// The rings of a session: their depths, and how processes wait on them. The depths must be the same in all
/// processes.
///
/// # Examples
///
/// ```
/// use std::time::Duration;
/// use myelon::{MyelonTransportConfig, MyelonWaitStrategy};
///
/// let config = MyelonTransportConfig::default()
///     .with_rpc_depth(64)
///     .with_response_depth(16)
///     .with_wait_strategy(MyelonWaitStrategy::BusySpin)
///     .with_start_timeout(Duration::from_secs(120))
///     .with_liveness_interval(Duration::from_millis(10));
/// assert_eq!((config.rpc_depth, config.response_depth), (64, 16));
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
    /// How long a worker waits for its scheduler's ring to be created. Default: 30 s.
    pub start_timeout: Duration,
    /// How often a blocked process checks whether the others are alive. Default: 100 ms.
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

const LIVENESS_INTERVAL_MIN: Duration = Duration::from_millis(1);
/// A century.
const LIVENESS_INTERVAL_MAX: Duration = Duration::from_secs(100 * 365 * 24 * 3600);

impl MyelonTransportConfig {
    /// Rings with these numbers of frames and this wait strategy; everything else is the default.
    ///
    /// # Examples
    ///
    /// ```
    /// use myelon::{MyelonTransportConfig, MyelonWaitStrategy};
    ///
    /// let config = MyelonTransportConfig::new(64, 16, MyelonWaitStrategy::BusySpin);
    /// assert_eq!((config.rpc_depth, config.response_depth), (64, 16));
    /// ```
    pub fn new(rpc_depth: usize, response_depth: usize, wait_strategy: MyelonWaitStrategy) -> Self {
        Self {
            rpc_depth,
            response_depth,
            wait_strategy,
            ..Self::default()
        }
    }

    /// Frames of the ring from the scheduler to its workers.
    #[must_use]
    pub fn with_rpc_depth(mut self, depth: usize) -> Self {
        self.rpc_depth = depth;
        self
    }

    /// Frames of each ring from a worker to the scheduler.
    #[must_use]
    pub fn with_response_depth(mut self, depth: usize) -> Self {
        self.response_depth = depth;
        self
    }

    /// How consumers wait.
    #[must_use]
    pub fn with_wait_strategy(mut self, strategy: MyelonWaitStrategy) -> Self {
        self.wait_strategy = strategy;
        self
    }

    /// How long a worker waits for its scheduler's ring to be created.
    #[must_use]
    pub fn with_start_timeout(mut self, timeout: Duration) -> Self {
        self.start_timeout = timeout;
        self
    }

    /// How often a blocked process checks whether the others are alive.
    #[must_use]
    pub fn with_liveness_interval(mut self, interval: Duration) -> Self {
        self.liveness_interval = interval;
        self
    }
}

/// All settings that a process of a session needs: see [`Scheduler`](crate::Scheduler) and
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
    /// The session's label. It is the same in all processes of the session and differs from every other
    /// session's label.
    pub session: String,
    /// The prefix of the names of the session's rings.
    pub prefix: String,
    /// How many workers the session has.
    pub workers: usize,
    /// The session's rings.
    pub transport: MyelonTransportConfig,
    /// What the scheduler does about a worker that has died.
    pub on_worker_death: OnWorkerDeath,
    /// Each of these ends the waits of this process.
    pub(super) cancels: Vec<CancelToken>,
}

/// What a scheduler does about a worker that has died, or has ended without leaving, while one of its calls waits for
/// that worker: for space that the worker holds, for its answer, or for it to finish.
/// [`recv_any`](crate::Scheduler::recv_any) waits for no worker in particular, and the
/// [receiving half](crate::ResponseReceiver) gives up no place.
///
/// # Examples
///
/// ```
/// use std::time::Duration;
/// use myelon::transport::FixedFrame;
/// use myelon::{Deadline, OnWorkerDeath, RunnerMyelonTransportConfig, Scheduler, TransportError, Worker};
///
/// # let session = myelon::portable_shm_segment_name("doc");
/// let config = RunnerMyelonTransportConfig::new(&session, 1)
///     .with_on_worker_death(OnWorkerDeath::RemoveAfter(Duration::from_millis(50)));
/// let mut scheduler = Scheduler::<FixedFrame<256>>::start(&config)?;
/// drop(Worker::<FixedFrame<256>>::start(&config, 0)?); // as if it had died
/// let error = scheduler.call(0, b"compute", 1, Deadline::NEVER).unwrap_err();
/// assert!(matches!(error, TransportError::WorkerDied { rank: 0, is_removed: true, .. }));
/// # scheduler.close()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum OnWorkerDeath {
    /// Its place is kept, and the call goes on waiting: the next worker of its rank receives what it has not done.
    #[default]
    Wait,
    /// After this time, counted from when a waiting call first notices the death, its place is given up, with all that
    /// it has not done; the log says so. A call that sends to it alone or waits for its answer fails with
    /// [`WorkerDied`](crate::TransportError::WorkerDied); a broadcast goes on. If a worker of this rank comes again, it
    /// receives what is sent after it has come.
    RemoveAfter(Duration),
    /// The call fails with [`WorkerDied`](crate::TransportError::WorkerDied). Its place is kept.
    Fail,
}

/// What [`Worker::serve`](crate::Worker::serve) and [`Worker::serve_value`](crate::Worker::serve_value) do if the handler
/// of a request panics; so do the calls of these names of an `AsyncWorker`. A worker that goes on calls the handler
/// again, so what the handler has changed must be good for the next request. A program that receives requests itself
/// has no such policy: a request that is dropped by a panic is delivered again.
///
/// # Examples
///
/// ```
/// # use myelon::transport::FixedFrame;
/// # use myelon::{Deadline, OnHandlerPanic, RunnerMyelonTransportConfig, Scheduler, Worker};
/// # let config = RunnerMyelonTransportConfig::new(myelon::portable_shm_segment_name("doc"), 1);
/// # let mut scheduler = Scheduler::<FixedFrame<256>>::start(&config)?;
/// # let mut worker = Worker::<FixedFrame<256>>::start(&config, 0)?;
/// let request = scheduler.send_to(0, b"7", 1, Deadline::NEVER)?;
/// worker.set_panic_policy(OnHandlerPanic::Redeliver(3));
/// let mut attempts = 0;
/// worker.serve(Deadline::NEVER, |_kind, request| {
///     attempts += 1;
///     assert!(attempts > 1, "the first attempt panics");
///     request.to_vec()
/// })?;
/// let answer = scheduler.recv_answer(0, request, Deadline::NEVER)?;
/// assert!((attempts, &*answer) == (2, b"7") && !answer.is_given_up());
/// # answer.release();
/// # worker.leave()?;
/// # scheduler.close()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum OnHandlerPanic {
    /// The panic goes on, as a rule to the end of the process. The request is delivered again: to the next worker of
    /// this rank, or to this one, if the program catches the panic and serves again.
    #[default]
    Stop,
    /// The panic ends in the call, which says so in the log and hands the request to the handler again, at once, until
    /// it was delivered so many times in all. Then it is given up.
    Redeliver(u32),
    /// The panic ends in the call, which says so in the log. The request is answered with an error: it is done, and the
    /// scheduler gets an empty answer that [is given up](crate::Response::is_given_up).
    GiveUp,
}

impl OnHandlerPanic {
    /// Whether a request whose handler has panicked at this delivery is given up.
    pub(super) fn gives_up(self, delivery: u32) -> bool {
        match self {
            Self::Redeliver(deliveries) => delivery >= deliveries,
            _ => true,
        }
    }
}

impl RunnerMyelonTransportConfig {
    /// A session of `workers` workers; everything else is the default.
    pub fn new(session: impl Into<String>, workers: usize) -> Self {
        Self {
            session: session.into(),
            prefix: DEFAULT_TRANSPORT_PREFIX.to_owned(),
            workers,
            transport: MyelonTransportConfig::default(),
            on_worker_death: OnWorkerDeath::default(),
            cancels: Vec::new(),
        }
    }

    /// Adds a token that ends each waiting call of this process's scheduler or worker with `Cancelled`, except
    /// [`Scheduler::shutdown`](crate::Scheduler::shutdown), by which such a program ends; a token of its own ends
    /// [`Scheduler::shutdown_unless`](crate::Scheduler::shutdown_unless). A signal handler may cancel it. A call that
    /// need not wait still succeeds: a loop that is never idle checks the token itself.
    ///
    /// # Examples
    ///
    /// ```
    /// use myelon::transport::FixedFrame;
    /// use myelon::{CancelToken, Deadline, RecvError, RunnerMyelonTransportConfig, Scheduler, TransportError, Worker};
    ///
    /// # let session = myelon::portable_shm_segment_name("doc");
    /// let token = CancelToken::new();
    /// let config = RunnerMyelonTransportConfig::new(&session, 1).with_cancel_token(&token);
    /// # let scheduler = Scheduler::<FixedFrame<256>>::start(&RunnerMyelonTransportConfig::new(&session, 1))?;
    /// let mut worker = Worker::<FixedFrame<256>>::start(&config, 0)?;
    /// token.cancel(); // usually in a handler of SIGTERM
    /// let end = worker.serve(Deadline::NEVER, |_kind, _request| b"done").unwrap_err();
    /// assert!(matches!(end, TransportError::Recv(RecvError::Cancelled)));
    /// worker.leave()?;
    /// # scheduler.close()?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn with_cancel_token(mut self, token: &CancelToken) -> Self {
        self.cancels.push(token.clone());
        self
    }

    /// The liveness interval, within what a clock can add to the present.
    pub(super) fn liveness_interval(&self) -> Duration {
        let interval = self.transport.liveness_interval;
        interval.clamp(LIVENESS_INTERVAL_MIN, LIVENESS_INTERVAL_MAX)
    }

    /// The reason why a call that has found nothing must not go on waiting.
    ///
    /// # Errors
    ///
    /// [`RecvError::Timeout`] after the deadline, [`RecvError::Cancelled`] if a token of this process is cancelled.
    pub(super) fn go_on_until(&self, deadline: Deadline) -> Result<(), RecvError> {
        if self.cancels.iter().any(CancelToken::is_cancelled) {
            return Err(RecvError::Cancelled);
        }
        match deadline.has_passed() {
            true => Err(RecvError::Timeout),
            false => Ok(()),
        }
    }

    /// What the scheduler does about a worker that has died; otherwise it waits for the next one.
    ///
    /// # Examples
    ///
    /// See [`OnWorkerDeath`].
    #[must_use]
    pub fn with_on_worker_death(mut self, on_worker_death: OnWorkerDeath) -> Self {
        self.on_worker_death = on_worker_death;
        self
    }

    /// The prefix of the names of the session's rings: up to 9 ASCII letters and digits.
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

    /// The session's rings.
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

    /// The names of the session's rings.
    ///
    /// # Errors
    ///
    /// [`TransportError::InvalidName`](crate::TransportError::InvalidName).
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
    pub fn worker_id(&self, rank: usize) -> String {
        format!("{WORKER_PREFIX}_{rank}")
    }
}
