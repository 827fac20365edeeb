//! What can go wrong, in sentences: what was found, what was expected and what to do.

use std::io;
use std::time::Duration;

use crate::Sequence;

/// The result of everything that creates, opens or attaches.
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
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MultiProcessError {
    /// No ring has this name.
    #[error(
        "no ring named '{name}' at {path}: start its producer first, or wait for it with subscribe_within"
    )]
    NotFound {
        /// The ring's name.
        name: String,
        /// Where it was looked for.
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
    /// The segment is sound, but made for something else.
    #[error(
        "ring '{name}' does not fit: {what} is {found}, expected {expected}; use the same on both sides, or another name"
    )]
    IncompatibleLayout {
        /// The ring's name.
        name: String,
        /// Which property differs.
        what: &'static str,
        /// What this side wants.
        expected: String,
        /// What the segment says.
        found: String,
    },
    /// The file is a segment, but its header does not hold together.
    #[error(
        "ring '{name}' is damaged: {what} is {found}, expected {expected}; nothing was changed: recreate() replaces it"
    )]
    DamagedSegment {
        /// The ring's name.
        name: String,
        /// Which field.
        what: &'static str,
        /// What it should be.
        expected: String,
        /// What it is.
        found: String,
    },
    /// Something else has the name.
    #[error(
        "'{path}' is not a ring but {found}: remove it by hand or choose another name; it was left as it is"
    )]
    NotARing {
        /// The path.
        path: String,
        /// What is there.
        found: String,
    },
    /// The segment cannot be replaced while somebody counts on it.
    #[error("ring '{name}' cannot be replaced: {who}; let them go first, or call recreate()")]
    InUse {
        /// The ring's name.
        name: String,
        /// Who counts on it.
        who: String,
    },
    /// The system denied access.
    #[error(
        "no permission for '{path}': {source}; rings are private to their user (0600) unless created with with_mode"
    )]
    PermissionDenied {
        /// The path.
        path: String,
        /// What the system said.
        source: io::Error,
    },
    /// The file system is too full.
    #[error(
        "no space for ring '{name}': {needed_bytes} bytes needed, {free_bytes} free; make it smaller or free some"
    )]
    NoSpace {
        /// The ring's name.
        name: String,
        /// Bytes the segment needs.
        needed_bytes: u64,
        /// Bytes that were free.
        free_bytes: u64,
    },
    /// Not a name for a ring.
    #[error("'{name}' is no name for a ring: {reason}")]
    InvalidName {
        /// What was given.
        name: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// Not a capacity for a ring.
    #[error("a ring cannot have {capacity} slots of {event_bytes} bytes: {reason}")]
    InvalidCapacity {
        /// What was given.
        capacity: usize,
        /// The size of one event.
        event_bytes: usize,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// Not an id for a consumer.
    #[error("'{id}' is no consumer id: {reason}")]
    InvalidConsumerId {
        /// What was given.
        id: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// All consumer lines are in use.
    #[error(
        "ring '{name}' has all of its {max} consumers; away, and removable with remove_consumer: {away:?}"
    )]
    TooManyConsumers {
        /// The ring's name.
        name: String,
        /// How many it can have.
        max: usize,
        /// The durable consumers that are not here.
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
        /// The ids it has.
        present: Vec<String>,
    },
    /// The sequence to start from is gone or was never there.
    #[error("ring '{name}' cannot start at sequence {asked}: it retains {oldest} to {newest}")]
    SequenceNotRetained {
        /// The ring's name.
        name: String,
        /// What was asked for.
        asked: Sequence,
        /// The oldest retained one.
        oldest: Sequence,
        /// The newest published one.
        newest: Sequence,
    },
    /// Consumers that were waited for did not come.
    #[error("ring '{name}': after {waited:?} still missing: {missing:?}")]
    CoordinationTimeout {
        /// The ring's name.
        name: String,
        /// Who did not come: ids, or how many of any id.
        missing: Vec<String>,
        /// How long was waited.
        waited: Duration,
    },
    /// The wait for consumers, or for the ring, was cancelled.
    #[error("ring '{name}': the wait was cancelled while still missing: {missing:?}")]
    CoordinationCancelled {
        /// The ring's name.
        name: String,
        /// Who had not come: ids, how many of any id, or the ring.
        missing: Vec<String>,
    },
    /// A ring in a network file system would be no shared memory.
    #[error(
        "'{path}' lies in a {kind} file system: rings need memory or a local disk that processes share"
    )]
    NetworkFileSystem {
        /// The path.
        path: String,
        /// Its kind.
        kind: String,
    },
    /// The handle belongs to the process before the fork.
    #[error(
        "this handle was made before a fork and belongs to the parent process: attach again in the child"
    )]
    Forked,
    /// The system failed otherwise.
    #[error("ring '{name}': could not {operation}: {source}")]
    Io {
        /// The ring's name.
        name: String,
        /// What was being done.
        operation: &'static str,
        /// What the system said.
        source: io::Error,
    },
}

/// The ring has no free slot: a consumer has yet to release one, or an expected one has yet to come.
///
/// `blocked_on()` of the producer says who.
///
/// # Examples
///
/// ```
/// use disruptor_mp::{HeapRing, RingBufferFull};
///
/// let ring = HeapRing::<u64>::new(1)?;
/// let (mut tx, _rx) = (ring.producer()?, ring.consumer("reader")?);
/// tx.publish(|event| *event = 1);
/// assert_eq!(tx.try_publish(|event| *event = 2), Err(RingBufferFull));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the ring is full; blocked_on() says who holds it")]
pub struct RingBufferFull;

/// A batch does not fit at present, or never will.
///
/// # Examples
///
/// ```
/// use disruptor_mp::{HeapRing, MissingFreeSlots};
///
/// let ring = HeapRing::<u64>::new(4)?;
/// let (mut tx, _rx) = (ring.producer()?, ring.consumer("reader")?);
/// tx.publish(|event| *event = 1);
/// let missing: MissingFreeSlots = tx.try_batch_publish(4, |_, _| {}).unwrap_err();
/// assert_eq!((missing.requested, missing.available, missing.capacity), (4, 3, 4));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{requested} slots were asked for and {available} are free, of {capacity}")]
#[non_exhaustive]
pub struct MissingFreeSlots {
    /// How many events the batch has.
    pub requested: usize,
    /// How many slots are free, by a look at the consumers after the batch was refused.
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
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SendError {
    /// The deadline passed while the ring was full.
    #[error("the ring stayed full until the deadline: {blocked_on}")]
    Timeout {
        /// Who held it.
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
    /// The handle belongs to the process before the fork.
    #[error("this producer was made before a fork and belongs to the parent process")]
    Forked,
}

/// Why no event was received.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RecvError {
    /// The producer closed the ring and everything was consumed: the end.
    #[error("the ring is closed and drained")]
    Closed,
    /// The producer died without closing, and everything it published was consumed. A successor may take over:
    /// calling again waits for it.
    #[error("the producer died ({owner}) and left the ring open: a successor may take over")]
    ProducerDead {
        /// Who it was.
        owner: String,
    },
    /// This many events were overwritten before this observer came to them.
    #[error("{0} events were overwritten unread")]
    Lagged(u64),
    /// The wait was cancelled.
    #[error("the wait was cancelled")]
    Cancelled,
    /// The deadline passed.
    #[error("no event came until the deadline")]
    Timeout,
    /// The handle belongs to the process before the fork.
    #[error("this consumer was made before a fork and belongs to the parent process")]
    Forked,
    /// An empty set was to wait without a deadline.
    #[error("a RingSet with no rings would wait for ever: push a ring, or give it a deadline")]
    NothingToWaitFor,
    /// The system failed an asynchronous wait.
    #[error("the system could not wait for the next event: {what}")]
    System {
        /// What the system said.
        what: String,
    },
}
