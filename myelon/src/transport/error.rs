//! What can go wrong with messages, beside what can go wrong with rings.

use disruptor_mp::{CountersError, MultiProcessError, RecvError, RequiredConsumerError, SendError};

/// The result of what a transport does.
pub type TransportResult<T> = Result<T, TransportError>;

/// Why a transport could not be made, or a message not be sent or received.
///
/// # Examples
///
/// ```
/// use myelon::transport::{FixedFrame, FramedTransportProducer, MAX_MESSAGE_BYTES, TransportError};
///
/// let name = myelon::portable_shm_segment_name("doc");
/// let mut tx = FramedTransportProducer::<FixedFrame<64>>::create(&name, 8)?;
/// let error = tx.publish(&vec![0; MAX_MESSAGE_BYTES + 1], 0).unwrap_err();
/// assert!(matches!(error, TransportError::MessageTooLong { .. }));
/// # Ok::<(), TransportError>(())
/// ```
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TransportError {
    /// The ring could not be created, opened or attached.
    #[error(transparent)]
    Ring(#[from] MultiProcessError),
    /// The ring took no more.
    #[error(transparent)]
    Send(#[from] SendError),
    /// Nothing was received.
    #[error(transparent)]
    Recv(#[from] RecvError),
    /// A required consumer did not come, or holds the ring.
    #[error(transparent)]
    RequiredConsumer(#[from] RequiredConsumerError),
    /// The counters could not be attached.
    #[error(transparent)]
    Counters(#[from] CountersError),
    /// There is no space at present, for a call that does not wait.
    #[error(
        "the message takes {frames} frames, and the ring of {depth} has no space for them now; blocked_on() of its producer says who holds it"
    )]
    Full {
        /// How many frames it takes.
        frames: usize,
        /// How many the ring holds.
        depth: usize,
    },
    /// No message is as long as that.
    #[error(
        "a message of {len} bytes is over the limit of {limit}: send it in pieces, or send where it is"
    )]
    MessageTooLong {
        /// Its length in bytes.
        len: usize,
        /// The longest one.
        limit: usize,
    },
    /// The message is too long for a call that does not wait.
    #[error(
        "a message of {len} bytes takes {frames} frames, and at most {limit} are claimed at once: send() waits between the runs of longer ones"
    )]
    NeedsRuns {
        /// Its length in bytes.
        len: usize,
        /// How many frames it takes.
        frames: usize,
        /// How many are claimed at once: half of the ring.
        limit: usize,
    },
    /// The message does not fit one frame, in which it was to be written.
    #[error(
        "{len} bytes do not fit a frame of {limit}: take larger frames, or publish() them from a buffer"
    )]
    DoesNotFitFrame {
        /// The length in bytes.
        len: usize,
        /// How many bytes of a message a frame takes.
        limit: usize,
    },
    /// A name or a label that no segment can have.
    #[error("'{name}' cannot name a segment: {reason}")]
    InvalidName {
        /// What was given.
        name: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// A number of workers that no session has.
    #[error(
        "a session cannot have {workers} workers: it has 1 to {limit}, as many as a ring has consumers"
    )]
    WorkerCount {
        /// The number that was given.
        workers: usize,
        /// The largest one.
        limit: usize,
    },
    /// A worker that the session does not have.
    #[error("there is no worker {rank}: the session has {workers}, numbered from 0")]
    NoSuchWorker {
        /// The number that was given.
        rank: usize,
        /// How many there are.
        workers: usize,
    },
}
