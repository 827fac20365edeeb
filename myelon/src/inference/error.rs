//! Errors of a topology.

use disruptor_mp::MultiProcessError;

debug_is_text!(InferenceTopologyError);

/// The result of a topology's calls.
///
/// # Examples
///
/// ```
/// use myelon::{FixedTopology, InferenceTopologyResult, SharedConsumer};
///
/// fn attach(topology: &FixedTopology) -> InferenceTopologyResult<SharedConsumer<u64>> {
///     topology.attach_worker(0)
/// }
/// ```
pub type InferenceTopologyResult<T> = Result<T, InferenceTopologyError>;

/// Errors of a topology.
///
/// # Examples
///
/// ```
/// use myelon::{FixedTopology, InferenceTopologyError, WorkerCount};
///
/// let topology = FixedTopology::new("doc", 64, WorkerCount::Two);
/// let error = topology.worker_consumer_id(2).unwrap_err();
/// assert!(matches!(error, InferenceTopologyError::NoSuchWorker { index: 2, workers: 2 }));
/// assert_eq!(error.to_string(), "there is no worker 2: the topology has 2, numbered from 0");
/// ```
#[derive(thiserror::Error)]
#[non_exhaustive]
pub enum InferenceTopologyError {
    /// The number of workers is outside the range of a topology.
    #[error("a fixed topology has 2 to 8 workers, not {found}: use a session for other numbers")]
    WorkerCount {
        /// The number that was given.
        found: usize,
    },
    /// A worker that the topology does not have.
    #[error("there is no worker {index}: the topology has {workers}, numbered from 0")]
    NoSuchWorker {
        /// The number that was given.
        index: usize,
        /// How many workers the topology has.
        workers: usize,
    },
    /// The ring could not be created, opened or attached.
    #[error(transparent)]
    Ring(#[from] MultiProcessError),
}
