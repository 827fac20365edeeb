//! Errors of messages, in addition to the errors of rings.

use disruptor_mp::{CountersError, MultiProcessError, RecvError, RequiredConsumerError, SendError};

use super::request::RequestId;

/// The result of a transport's calls.
///
/// # Examples
///
/// ```
/// use myelon::transport::{FixedFrame, FramedTransportProducer, TransportResult};
///
/// fn orders() -> TransportResult<FramedTransportProducer<FixedFrame<256>>> {
///     FramedTransportProducer::create("orders", 1024)
/// }
/// ```
pub type TransportResult<T> = Result<T, TransportError>;

/// Why a transport could not be created, or a message could not be sent or received.
///
/// # Examples
///
/// ```
/// use myelon::Deadline;
/// use myelon::transport::{FixedFrame, FramedTransportProducer, MAX_MESSAGE_BYTES, TransportError};
///
/// let name = myelon::portable_shm_segment_name("doc");
/// let mut tx = FramedTransportProducer::<FixedFrame<64>>::create(&name, 8)?;
/// let error = tx.send(&vec![0; MAX_MESSAGE_BYTES + 1], 0, Deadline::NEVER).unwrap_err();
/// assert!(matches!(error, TransportError::MessageTooLong { .. }));
/// # Ok::<(), TransportError>(())
/// ```
#[derive(thiserror::Error)]
#[non_exhaustive]
pub enum TransportError {
    /// The ring could not be created, opened or attached.
    #[error(transparent)]
    Ring(#[from] MultiProcessError),
    /// The ring did not accept the message.
    #[error(transparent)]
    Send(#[from] SendError),
    /// No message was received.
    #[error(transparent)]
    Recv(#[from] RecvError),
    /// A required consumer has not come, or holds the ring.
    #[error(transparent)]
    RequiredConsumer(#[from] RequiredConsumerError),
    /// The counters could not be attached.
    #[error(transparent)]
    Counters(#[from] CountersError),
    /// There is no space at present, and the call does not wait.
    #[error(
        "the message takes {frames} frames, and the ring of {depth} has no space for them now; blocked_on() of its producer names the consumer that holds it"
    )]
    Full {
        /// How many frames the message takes.
        frames: usize,
        /// How many frames the ring holds.
        depth: usize,
    },
    /// The message is longer than any message may be.
    #[error(
        "a message of {len} bytes is over the limit of {limit}: send it in pieces, or put it into a file and send the path"
    )]
    MessageTooLong {
        /// The message's length in bytes.
        len: usize,
        /// The greatest length in bytes.
        limit: usize,
    },
    /// The message is too long for a call that does not wait.
    #[error(
        "a message of {len} bytes takes {frames} frames, and a call that does not wait claims at most {limit}: use send(), which sends longer messages in several runs"
    )]
    NeedsRuns {
        /// The message's length in bytes.
        len: usize,
        /// How many frames the message takes.
        frames: usize,
        /// How many frames are claimed at once at most: half of the ring.
        limit: usize,
    },
    /// The message was to be written in one frame and does not fit it.
    #[error(
        "{len} bytes do not fit a frame of {limit}: use larger frames, or publish() them from a buffer"
    )]
    DoesNotFitFrame {
        /// The message's length in bytes.
        len: usize,
        /// How many bytes of a message a frame takes.
        limit: usize,
    },
    /// A name or a label that no segment can have.
    #[error("'{name}' cannot name a segment: {reason}")]
    InvalidName {
        /// The name or label that was given.
        name: String,
        /// What is wrong with the name.
        reason: &'static str,
    },
    /// A number of workers that no session can have.
    #[error(
        "session '{session}' cannot have {workers} workers: it has 1 to {limit}, as many as a ring has consumers"
    )]
    WorkerCount {
        /// The session's label.
        session: String,
        /// The number that was given.
        workers: usize,
        /// The greatest number of workers.
        limit: usize,
    },
    /// The scheduler has closed the session and receives nothing any more.
    #[error(
        "the scheduler has closed session '{session}' and receives nothing any more: serve the remaining requests \
         until the call returns Closed, then leave"
    )]
    SessionClosed {
        /// The session's label.
        session: String,
    },
    /// The scheduler shuts the session down, and this worker has received every request that was sent to it.
    #[error(
        "the scheduler shuts session '{session}' down: no more requests come, and answers are still received; leave, \
         or call again until the call returns Closed"
    )]
    SessionClosing {
        /// The session's label.
        session: String,
    },
    /// The worker has not answered the request before the deadline. Its answer can be received later.
    #[error(
        "worker {rank} of session '{session}' has not answered request {request} before the deadline{why}: its answer \
         can still be received"
    )]
    NoAnswer {
        /// The session's label.
        session: String,
        /// The worker's rank.
        rank: usize,
        /// The number of the request.
        request: RequestId,
        /// Why, as far as that is known.
        why: String,
    },
    /// The worker has sent too many messages before the answer that is awaited.
    #[error(
        "worker {rank} of session '{session}' has sent {limit} messages before the answer that is awaited, and no more \
         are kept: receive them with recv_any()"
    )]
    TooManyUnread {
        /// The session's label.
        session: String,
        /// The worker's rank.
        rank: usize,
        /// How many messages of a worker are kept.
        limit: usize,
    },
    /// A worker has died, and the session's [`OnWorkerDeath`](crate::OnWorkerDeath) says what that means.
    #[error(
        "worker {rank} of session '{session}' has died{} and is {}",
        request.map(|id| format!(" before it has answered request {id}")).unwrap_or_default(),
        if *is_removed { "removed: its requests are given up, and it starts anew if it comes again" }
        else { "away: start a worker of this rank, or remove it with remove_worker()" }
    )]
    WorkerDied {
        /// The session's label.
        session: String,
        /// The worker's rank.
        rank: usize,
        /// The request whose answer the call waited for; `None` if it waited for space.
        request: Option<RequestId>,
        /// Whether its place was given up.
        is_removed: bool,
    },
    /// The worker has left, or was removed: nothing is kept for it, and it will not answer.
    #[error(
        "worker {rank} of session '{session}' has left or was removed{}: start a worker of this rank, and send the \
         request when it has come",
        request.map(|id| format!(", and has not answered request {id}")).unwrap_or_default()
    )]
    WorkerGone {
        /// The session's label.
        session: String,
        /// The worker's rank.
        rank: usize,
        /// The request whose answer the call waited for; `None` if it was not sent.
        request: Option<RequestId>,
    },
    /// A piece was to be sent after the last piece of an answer.
    #[error(
        "the answer to request {request} of session '{session}' is complete: no piece can follow its last one"
    )]
    AnswerComplete {
        /// The session's label.
        session: String,
        /// The number of the request.
        request: RequestId,
    },
    /// The session has this member already: two schedulers of one label, or two workers of one rank.
    #[error(
        "{} of session '{session}' is already running, {owner}, and this process is pid {pid}: stop one of the two, or {}",
        rank.map_or_else(|| String::from("the scheduler"), |rank| format!("worker {rank}")),
        if rank.is_some() { "start this one with another rank" } else { "give this session another label" }
    )]
    MemberExists {
        /// The session's label.
        session: String,
        /// The worker's rank; `None` for the scheduler.
        rank: Option<usize>,
        /// The process that runs it, in words.
        owner: String,
        /// The process that was refused.
        pid: u32,
    },
    /// The worker and its scheduler are configured for different numbers of workers.
    #[error(
        "worker {rank} of session '{session}' is configured for {workers} workers, and its scheduler for \
         {of_scheduler}: use the same number in all processes"
    )]
    WorkerCountDiffers {
        /// The session's label.
        session: String,
        /// The worker's rank.
        rank: usize,
        /// The number in the worker's configuration.
        workers: usize,
        /// The number in the scheduler's configuration.
        of_scheduler: usize,
    },
    /// A worker that the session does not have.
    #[error("session '{session}' has no worker {rank}: it has {workers}, numbered from 0")]
    NoSuchWorker {
        /// The session's label.
        session: String,
        /// The number that was given.
        rank: usize,
        /// How many workers the session has.
        workers: usize,
    },
}

debug_is_text!(TransportError);
