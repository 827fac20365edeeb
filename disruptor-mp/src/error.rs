//! The errors, in sentences: what was found, what was expected and what to do.

use std::io;
use std::time::Duration;

use crate::Sequence;
use crate::cause::{SystemCause, after};

/// `Debug` for errors as for users: the sentence. A program whose `main` returns an error ends with its `Debug` text.
macro_rules! debug_is_text {
    ($($error:ty),+) => {$(
        impl core::fmt::Debug for $error {
            fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
                core::fmt::Display::fmt(self, f)
            }
        }
    )+};
}
pub(crate) use debug_is_text;

debug_is_text!(
    MultiProcessError,
    RingBufferFull,
    MissingFreeSlots,
    SendError,
    RecvError
);

/// The result of every call that creates, opens or attaches.
///
/// # Examples
///
/// ```
/// use disruptor_mp::{MultiProcessResult, SharedConsumer, subscriber};
///
/// fn ticks() -> MultiProcessResult<SharedConsumer<u64>> {
///     subscriber("ticks")
/// }
/// # let _ = ticks;
/// ```
pub type MultiProcessResult<T> = Result<T, MultiProcessError>;

/// Why a ring could not be created, opened, attached or waited for.
///
/// # Examples
///
/// ```
/// use disruptor_mp::{MultiProcessError, attach_shared_consumer, portable_shm_segment_name};
///
/// let name = portable_shm_segment_name("nobody");
/// let error = attach_shared_consumer::<u64>(&name, 8).build_consumer().unwrap_err();
/// assert!(matches!(error, MultiProcessError::NotFound { .. }));
/// ```
#[derive(thiserror::Error)]
#[non_exhaustive]
pub enum MultiProcessError {
    /// No ring has this name.
    #[error(
        "no ring named '{name}' at {path}: start its producer first, or wait for it with subscribe_within; if its \
         producer is running, the name was removed under it, and only a restart of the producer helps"
    )]
    NotFound {
        /// The ring's name.
        name: String,
        /// The path at which it was expected.
        path: String,
        /// What the system said.
        source: io::Error,
    },
    /// A live producer owns the ring.
    #[error(
        "ring '{name}' already has a live producer, {owner}: one ring has one producer; stop that one or choose another name"
    )]
    AlreadyExists {
        /// The ring's name.
        name: String,
        /// The owner, in words.
        owner: String,
        /// The owner's process id, in its own pid namespace.
        owner_pid: u32,
    },
    /// The segment is valid, but made for something else.
    #[error(
        "ring '{name}' does not fit: {what} is {found}, expected {expected}; use the same on both sides, or another name"
    )]
    IncompatibleLayout {
        /// The ring's name.
        name: String,
        /// The property that differs.
        what: &'static str,
        /// What this side wants.
        expected: String,
        /// What the segment says.
        found: String,
    },
    /// The file is a segment, but its header is inconsistent.
    #[error(
        "ring '{name}' is damaged: {what} is {found}, expected {expected}; nothing was changed: recreate() replaces it"
    )]
    DamagedSegment {
        /// The ring's name.
        name: String,
        /// The field.
        what: &'static str,
        /// Its expected value.
        expected: String,
        /// The value that was found.
        found: String,
    },
    /// The name belongs to something that is not a ring.
    #[error(
        "'{path}' is not a ring but {found}: choose another name or another directory; it was left as it is"
    )]
    NotARing {
        /// The path.
        path: String,
        /// What is there.
        found: String,
    },
    /// Another user owns the file, which may be a ring in use.
    #[error(
        "'{path}' is a file of {owner}, and this process runs as {caller}: run all sides as one user, or say \
         allow_any_owner() where that user is trusted; it was left as it is"
    )]
    ForeignOwner {
        /// The path.
        path: String,
        /// The file's owner, in words.
        owner: String,
        /// That user's number.
        owner_uid: u32,
        /// The user of this process, in words.
        caller: String,
    },
    /// The segment cannot be replaced while processes count on it.
    #[error("ring '{name}' cannot be replaced: {who}")]
    InUse {
        /// The ring's name.
        name: String,
        /// What keeps it in use.
        who: String,
    },
    /// The mode of the ring's file, or of a directory, denies access.
    #[error("no permission for '{path}': {source}; {cause}")]
    PermissionDenied {
        /// The path.
        path: String,
        /// What the system said.
        source: io::Error,
        /// Which permission is missing.
        cause: Box<SystemCause>,
    },
    /// The file system, the machine's memory, the memory limit of a cgroup or the limit of a file's size leaves too
    /// little space.
    #[error(
        "no space for ring '{name}': {needed_bytes} bytes needed, {free_bytes} free {limited_by}; \
         make it smaller or free some"
    )]
    NoSpace {
        /// The ring's name.
        name: String,
        /// Bytes the segment needs.
        needed_bytes: u64,
        /// Bytes that were free.
        free_bytes: u64,
        /// What sets the limit, as words that follow the number: "below the memory limit of cgroup /sys/fs/cgroup/a".
        limited_by: String,
    },
    /// The name is not valid for a ring.
    #[error("'{name}' is not a valid ring name: {reason}")]
    InvalidName {
        /// The name that was given.
        name: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// The capacity is not valid for a ring.
    #[error("a ring cannot have {capacity} slots of {event_bytes} bytes: {reason}")]
    InvalidCapacity {
        /// The capacity that was given.
        capacity: usize,
        /// The size of one event.
        event_bytes: usize,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// The id is not valid for a consumer.
    #[error("'{id}' is not a valid consumer id: {reason}")]
    InvalidConsumerId {
        /// The id that was given.
        id: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// All consumer lines are in use.
    #[error(
        "ring '{name}' already has its maximum of {max} consumers; remove_consumer can remove those that are away: {away:?}"
    )]
    TooManyConsumers {
        /// The ring's name.
        name: String,
        /// How many it can have.
        max: usize,
        /// The durable consumers that are away.
        away: Vec<String>,
    },
    /// A live consumer has this id.
    #[error(
        "consumer '{id}' of ring '{name}' is already attached, by {owner}: one id is one consumer"
    )]
    ConsumerAlreadyAttached {
        /// The ring's name.
        name: String,
        /// The id.
        id: String,
        /// Its owner, in words.
        owner: String,
    },
    /// No consumer has this id.
    #[error("ring '{name}' has no consumer '{id}'; it has {present:?}")]
    NoSuchConsumer {
        /// The ring's name.
        name: String,
        /// The id.
        id: String,
        /// The ids that the ring has.
        present: Vec<String>,
    },
    /// The sequence to start from is not retained, or lies ahead of the next one to be published.
    #[error("ring '{name}' cannot start at sequence {asked}: it retains {oldest} to {newest}")]
    SequenceNotRetained {
        /// The ring's name.
        name: String,
        /// The sequence that was asked for.
        asked: Sequence,
        /// The oldest retained sequence.
        oldest: Sequence,
        /// The newest published sequence.
        newest: Sequence,
    },
    /// Consumers that were waited for did not come.
    #[error(
        "ring '{name}': still missing after {waited:?}: {missing:?}; start them, or wait longer"
    )]
    CoordinationTimeout {
        /// The ring's name.
        name: String,
        /// What did not come: ids, or how many consumers of any id.
        missing: Vec<String>,
        /// How long the call waited.
        waited: Duration,
    },
    /// The wait for consumers, or for the ring, was cancelled.
    #[error("ring '{name}': the wait was cancelled; still missing: {missing:?}")]
    CoordinationCancelled {
        /// The ring's name.
        name: String,
        /// What had not come: ids, how many consumers of any id, or the ring.
        missing: Vec<String>,
    },
    /// The ring would lie in a network file system, where it would not be shared memory.
    #[error(
        "'{path}' lies in a {kind} file system: rings need memory or a local disk that processes share"
    )]
    NetworkFileSystem {
        /// The path.
        path: String,
        /// Its kind.
        kind: String,
    },
    /// The handle was made before a fork and belongs to the parent process.
    #[error(
        "this handle was made before a fork and belongs to the parent process: attach again in the child"
    )]
    Forked,
    /// The system refused something else.
    #[error("ring '{name}': could not {operation}: {source}{}", after(cause))]
    Io {
        /// The ring's name.
        name: String,
        /// What was being done, and by which system call.
        operation: &'static str,
        /// What the system said.
        source: io::Error,
        /// The cause, where it can be determined.
        cause: Option<Box<SystemCause>>,
    },
}

/// The ring has no free slot: a consumer has yet to release one, or an expected one has yet to come.
///
/// `blocked_on()` of the producer says which one.
///
/// # Examples
///
/// ```
/// use disruptor_mp::{Deadline, HeapRing, RingBufferFull};
///
/// let ring = HeapRing::<u64>::new(1)?;
/// let (mut tx, _rx) = (ring.producer()?, ring.consumer("reader")?);
/// tx.send(Deadline::NEVER, |event| *event = 1)?;
/// assert_eq!(tx.try_send(|event| *event = 2), Err(RingBufferFull));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the ring is full; blocked_on() names the consumer that holds it")]
pub struct RingBufferFull;

/// A batch does not fit at present, or never will.
///
/// # Examples
///
/// ```
/// use disruptor_mp::{Deadline, HeapRing, MissingFreeSlots};
///
/// let ring = HeapRing::<u64>::new(4)?;
/// let (mut tx, _rx) = (ring.producer()?, ring.consumer("reader")?);
/// tx.send(Deadline::NEVER, |event| *event = 1)?;
/// let missing: MissingFreeSlots = tx.try_send_batch(4, |_, _| {}).unwrap_err();
/// assert_eq!((missing.requested, missing.available, missing.capacity), (4, 3, 4));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{requested} slots were asked for and {available} are free, of {capacity}")]
#[non_exhaustive]
pub struct MissingFreeSlots {
    /// How many events the batch has.
    pub requested: usize,
    /// How many slots are free, as counted after the batch was refused.
    pub available: usize,
    /// How many the ring has: a larger batch never fits.
    pub capacity: usize,
}

/// Why an event could not be sent.
///
/// # Examples
///
/// ```
/// use disruptor_mp::{Deadline, HeapRing, SendError};
///
/// let mut tx = HeapRing::<u64>::new(4)?.producer()?;
/// let failed = tx.send_batch(5, Deadline::NEVER, |_, _| {});
/// assert_eq!(failed, Err(SendError::BatchTooLarge { requested: 5, capacity: 4 }));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SendError {
    /// The deadline passed while the ring was full.
    #[error("the ring stayed full until the deadline: {blocked_on}")]
    Timeout {
        /// What held the ring.
        blocked_on: String,
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
    /// The floor could not be written to the disk. No slot is used again before it is
    /// ([`SyncPolicy::KeepSynced`](crate::SyncPolicy)).
    #[error(
        "the ring could not be written to the disk, and no slot is used again: {what}; start another ring"
    )]
    Disk {
        /// What the system said.
        what: String,
    },
    /// The program has closed the descriptor on which the producer's lock rests, or put another one in its
    /// place. Other processes count the producer as dead, and a successor may write, so this producer
    /// publishes nothing any more.
    #[error(
        "this program has closed the descriptor of the producer's lock, so that others count it as dead: open the ring \
         again, and close no descriptors but your own"
    )]
    LockLost,
    /// The handle was made before a fork and belongs to the parent process.
    #[error("this producer was made before a fork and belongs to the parent process")]
    Forked,
}

/// Why no event was received.
#[derive(Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RecvError {
    /// The producer closed the ring and everything was consumed: the end.
    #[error("the ring is closed and drained")]
    Closed,
    /// The producer died without closing, and everything it published was consumed. A successor may take over:
    /// calling again waits for it.
    #[error("the producer died ({owner}) and left the ring open: a successor may take over")]
    ProducerDead {
        /// The producer, in words.
        owner: String,
    },
    /// As [`ProducerDead`](Self::ProducerDead), but no successor can come: the ring's name was removed from outside, or
    /// leads to another ring.
    #[error(
        "the producer died ({owner}), and the ring's name was removed or leads to another ring: no successor can take \
         over, so attach again (names are removed by rm, by systemd's RemoveIPC at logout, by cleaners of temporary files)"
    )]
    NameRemoved {
        /// The producer, in words.
        owner: String,
    },
    /// The machine was restarted while the ring was in use, or its file was copied or restored. The events
    /// that this durable consumer had not released are in doubt and not delivered, except those that
    /// [`Producer::sync`](crate::Producer::sync) has written. Returned once; the next call goes on with the
    /// events that are known to be sound.
    #[error(
        "the machine was restarted without an orderly end of the ring, or its file was copied or restored: {events} events \
         or more are in doubt and not delivered; call again to go on after them"
    )]
    InDoubt {
        /// How many, as far as the file shows: events that never came to the disk are not counted.
        events: u64,
    },
    /// This many events were overwritten before this observer read them.
    #[error("{0} events were overwritten unread")]
    Lagged(u64),
    /// The wait was cancelled.
    #[error("the wait was cancelled")]
    Cancelled,
    /// The deadline passed.
    #[error("no event came until the deadline")]
    Timeout,
    /// The program has closed the descriptor on which this reader's lock rests, or put another one in its
    /// place. Other processes count the reader as dead, and it cannot tell which parties are alive, so it
    /// reads nothing any more.
    #[error(
        "this program has closed the descriptor of the reader's lock, so that others count it as dead: attach again, and \
         close no descriptors but your own"
    )]
    LockLost,
    /// The handle was made before a fork and belongs to the parent process.
    #[error("this consumer was made before a fork and belongs to the parent process")]
    Forked,
    /// A call would have waited without a deadline for an empty set.
    #[error("a RingSet with no rings would wait for ever: push a ring, or give it a deadline")]
    NothingToWaitFor,
    /// The system failed during an asynchronous wait.
    #[error("the system could not wait for the next event: {what}")]
    System {
        /// What the system said.
        what: String,
    },
}
