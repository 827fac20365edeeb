//! The builder: every choice that the simple calls make for their caller.

use core::fmt;
use core::marker::PhantomData;
use core::mem::MaybeUninit;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::auto::{self, AutoConsumer, HandlerPanicPolicy};
use crate::backing::{self, Place, SharedMemory};
use crate::blocked;
use crate::cancel::CancelToken;
use crate::consumer::{Consumer, check_id};
use crate::deadline::Deadline;
use crate::error::{MultiProcessError, MultiProcessResult};
use crate::layout::control::ConsumerId;
use crate::layout::stamp::MAX_SEQUENCE;
use crate::observer::Observer;
use crate::os::cpu;
use crate::os::step::Step;
use crate::producer::Producer;
use crate::protocol::consume::ConsumerCore;
use crate::protocol::lines::{self, Applicant, Place as LinePlace};
use crate::region::HugePages;
use crate::region::file::FilePlace;
use crate::segment::{self, Segment, Want, current_owner};
use crate::sync::Ordering;
use crate::wait::{
    AutoWaitStrategy, Habits, LIVENESS_INTERVAL_MAX, default_discovery_poll_duration,
    perform_sleep_wait,
};
use crate::{Event, Sequence, SyncPolicy, env};

mod coordination;

/// Longest pause between two attempts to open a ring that does not exist yet, unless the environment sets a
/// longer one.
const LOOK_FOR_RING_MAX: Duration = Duration::from_millis(10);
/// Shortest such pause after the first one.
const LOOK_FOR_RING_MIN: Duration = Duration::from_micros(50);

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

/// Kept for programs written against disruptor-mp 0.1.
impl CoordinationMode {
    /// [`WaitForConsumers`](Self::WaitForConsumers); fewer than none is none.
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
/// use disruptor_mp::{BlockedOn, DiscoveryMode, HeapRing};
///
/// let ring = HeapRing::<u64>::new(1)?;
/// let ids = DiscoveryMode::Ids(vec!["risk".into()]);
/// let mut tx = ring.builder().with_discovery(ids).build_zeroed_producer()?;
/// tx.publish(|event| *event = 7);                        // one ring's worth, and no more until the consumer has come
/// assert!(matches!(tx.blocked_on(), Some(BlockedOn::Expected { .. })));
/// assert_eq!(ring.consumer("risk")?.try_consume_next(), Some((0, 7)));
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

/// Kept for programs written against disruptor-mp 0.1.
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

/// Where a new consumer starts. A consumer that comes back continues where it was, whatever the value is.
///
/// # Examples
///
/// ```
/// use disruptor_mp::{HeapRing, StartFrom};
///
/// let ring = HeapRing::<u64>::new(8)?;
/// let mut tx = ring.producer()?;
/// tx.publish_batch(3, |event, i| *event = i as u64);
/// for (start, first) in [(StartFrom::Oldest, Some((0, 0))), (StartFrom::Latest, None), (StartFrom::Sequence(1), Some((1, 1)))] {
///     let mut rx = ring.builder().with_start(start).build_consumer()?;
///     assert_eq!(rx.try_consume_next(), first);
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum StartFrom {
    /// At the oldest retained event.
    #[default]
    Oldest,
    /// After the newest published event.
    Latest,
    /// At this sequence, which must be retained or the next to be published.
    Sequence(Sequence),
}

/// Builds the producer or a consumer of a ring. Each setter consumes the builder and returns it.
///
/// # Examples
///
/// ```
/// use disruptor_mp::{Deadline, attach_shared_consumer, build_shared_single_producer, portable_shm_segment_name};
///
/// let name = portable_shm_segment_name("doc");
/// let mut tx = build_shared_single_producer::<u64>(&name, 64).build_producer(|| 0)?;
/// let mut rx = attach_shared_consumer::<u64>(&name, 64).with_consumer_id("reader").build_consumer()?;
/// tx.publish(|event| *event = 7);
/// assert_eq!(*rx.recv(Deadline::NEVER)?, 7);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// Which consumers a producer waits for, and for how long:
///
/// ```
/// use std::time::Duration;
/// use disruptor_mp::{AutoWaitStrategy, CancelToken, HeapRing, MultiProcessError};
///
/// let ring = HeapRing::<u64>::new(8)?;
/// let token = CancelToken::new();
/// let missing = ring
///     .builder()
///     .enable_discovery(4)                               // a consumer is expected
///     .wait_for_single_consumer(Duration::from_secs(9))  // the same as `wait_for_consumers(1, ..)`
///     .with_coordination_timeout(Duration::from_millis(5))
///     .with_discovery_interval(Duration::from_millis(1))
///     .build_producer(|| 0);
/// assert!(matches!(missing, Err(MultiProcessError::CoordinationTimeout { .. })));
///
/// let mut tx = ring
///     .builder()
///     .discover_consumer_with_prefix_and_interval(2, "worker", Duration::from_millis(1))
///     .with_wait_strategy(AutoWaitStrategy::SpinThenYield { spins: 64 })
///     .with_liveness_interval(Duration::from_millis(20))
///     .with_cancel_token(&token)
///     .build_zeroed_producer()?;
/// tx.publish_batch(8, |_, _| {});
/// assert!(tx.try_publish(|_| {}).is_err(), "worker_0 and worker_1 have not come");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// Where a ring lies, and in which memory:
///
/// ```
/// use std::time::Duration;
/// use disruptor_mp::{HugePages, attach_shared_consumer, build_shared_single_producer, portable_shm_segment_name};
///
/// let name = portable_shm_segment_name("doc");
/// let tx = build_shared_single_producer::<u64>(&name, 64)
///     .disable_discovery()                               // no consumer is expected: the default
///     .with_mode(0o660)                                  // the group may attach; with 0o640 it may observe
///     .with_huge_pages(HugePages::Try)
///     .with_first_sequence(1 << 32)
///     .with_observers()
///     .recreate()                                        // replaces what a dead program has left under this name
///     .build_producer(|| 0)?;
/// let rx = attach_shared_consumer::<u64>(&name, 64)
///     .allow_any_owner()
///     .with_writable_slots()
///     .wait_for_ring(Duration::from_secs(5))
///     .build_consumer()?;
/// let observer = attach_shared_consumer::<u64>(&name, 64).build_observer()?;
/// assert_eq!((tx.last_published_sequence() + 1, observer.next_sequence()), (1 << 32, 1 << 32));
/// assert!(!rx.memory_report().is_read_only);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// A handler on a thread of its own, and the cores for it. A request that the system does not grant is an error:
///
/// ```no_run
/// use disruptor_mp::{AutoWaitStrategy, attach_shared_consumer};
///
/// let handler = attach_shared_consumer::<u64>("ticks", 4096)
///     .with_process_core(2)
///     .with_consumer_core(3)
///     .with_memory_lock()
///     .with_core_dump()
///     .handle_events_batch(|event, sequence, is_last| println!("{sequence} {event} {is_last}"), AutoWaitStrategy::BusySpin)?;
/// handler.join().expect("no panic");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[must_use = "a builder does nothing until it builds"]
pub struct DisruptorBuilder<E: Event, B = SharedMemory> {
    place: Place,
    want: Want,
    coordination: CoordinationMode,
    coordination_timeout: Option<Duration>,
    discovery: DiscoveryMode,
    discovery_interval: Option<Duration>,
    /// What the ring is for, as messages say it.
    label: Option<Arc<str>>,
    id: Option<String>,
    habits: Habits,
    start: StartFrom,
    skips_absence: bool,
    patience: Duration,
    core: Option<usize>,
    process_core: Option<usize>,
    on_panic: HandlerPanicPolicy,
    types: PhantomData<fn() -> (E, B)>,
}

/// A builder of a ring in shared memory.
pub type SharedDisruptorBuilder<E> = DisruptorBuilder<E, SharedMemory>;

impl<E: Event, B> fmt::Debug for DisruptorBuilder<E, B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DisruptorBuilder")
            .field("place", &self.place)
            .field("want", &self.want)
            .finish_non_exhaustive()
    }
}

impl<E: Event, B> DisruptorBuilder<E, B> {
    pub(crate) fn new(place: Place, capacity: Option<usize>) -> Self {
        // counted here, because counting allocates and a wait must not
        cpu::concurrency();
        Self {
            place,
            want: Want {
                capacity,
                ..Want::default()
            },
            coordination: CoordinationMode::Immediate,
            coordination_timeout: None,
            discovery: DiscoveryMode::Disabled,
            discovery_interval: None,
            label: None,
            id: None,
            habits: Habits::default(),
            start: StartFrom::Oldest,
            skips_absence: false,
            patience: Duration::ZERO,
            core: None,
            process_core: None,
            on_panic: HandlerPanicPolicy::default(),
            types: PhantomData,
        }
    }

    /// What the producer waits for before it is handed out.
    ///
    /// # Examples
    ///
    /// See [`CoordinationMode`].
    pub fn with_coordination(mut self, mode: CoordinationMode) -> Self {
        self.coordination = mode;
        self
    }

    /// How long [`CoordinationMode::WaitForConsumers`] waits, in place of its own timeout.
    pub fn with_coordination_timeout(mut self, timeout: Duration) -> Self {
        self.coordination_timeout = Some(timeout);
        self
    }

    /// Waits for at least `min_consumers` before the producer is handed out.
    pub fn wait_for_consumers(self, min_consumers: i64, timeout: Duration) -> Self {
        self.with_coordination(CoordinationMode::wait_for_consumers(min_consumers, timeout))
    }

    /// Waits for one consumer before the producer is handed out.
    pub fn wait_for_single_consumer(self, timeout: Duration) -> Self {
        self.wait_for_consumers(1, timeout)
    }

    /// Which consumers the producer expects.
    ///
    /// # Examples
    ///
    /// See [`DiscoveryMode`].
    pub fn with_discovery(mut self, mode: DiscoveryMode) -> Self {
        self.discovery = mode;
        self
    }

    /// Expects no consumer: the default.
    pub fn disable_discovery(self) -> Self {
        self.with_discovery(DiscoveryMode::Disabled)
    }

    /// Expects at least one consumer, of any id.
    pub fn enable_discovery(self, max_consumers: usize) -> Self {
        self.with_discovery(DiscoveryMode::Any { max_consumers })
    }

    /// Expects the consumers `{prefix}_0` to `{prefix}_{max − 1}`.
    ///
    /// # Examples
    ///
    /// ```
    /// let ring = disruptor_mp::HeapRing::<u64>::new(1)?;
    /// let mut tx = ring.builder().discover_consumer_with_prefix(2, "worker").build_zeroed_producer()?;
    /// tx.publish(|event| *event = 7);
    /// assert_eq!(ring.consumer("worker_0")?.try_consume_next(), Some((0, 7)));
    /// assert!(tx.try_publish(|event| *event = 8).is_err(), "worker_1 has not come");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn discover_consumer_with_prefix(self, max: usize, prefix: &str) -> Self {
        self.with_discovery(DiscoveryMode::Prefix {
            max_consumers: max,
            prefix: prefix.to_owned(),
        })
    }

    /// How often a builder that waits for consumers checks by itself whether they have come: once in a
    /// liveness interval unless set. A consumer that attaches wakes the builder at once in any case.
    pub fn with_discovery_interval(mut self, interval: Duration) -> Self {
        self.discovery_interval = Some(interval);
        self
    }

    /// [`discover_consumer_with_prefix`](Self::discover_consumer_with_prefix) and
    /// [`with_discovery_interval`](Self::with_discovery_interval).
    pub fn discover_consumer_with_prefix_and_interval(
        self,
        max: usize,
        prefix: &str,
        interval: Duration,
    ) -> Self {
        self.discover_consumer_with_prefix(max, prefix)
            .with_discovery_interval(interval)
    }

    /// An explicit id makes the consumer durable: its position outlives its process, and it gates until it comes
    /// back or is removed.
    pub fn with_consumer_id(mut self, id: &str) -> Self {
        self.id = Some(id.to_owned());
        self
    }

    /// Pins the thread that builds, or an auto consumer's own thread, to this core.
    pub fn with_consumer_core(mut self, core: usize) -> Self {
        self.core = Some(core);
        self
    }

    /// Pins the whole process to this core.
    pub fn with_process_core(mut self, core: usize) -> Self {
        self.process_core = Some(core);
        self
    }

    /// How blocked calls of the handle wait.
    pub fn with_wait_strategy(mut self, strategy: AutoWaitStrategy) -> Self {
        self.habits.strategy = strategy;
        self
    }

    /// How often a blocked call checks liveness: every 100 ms unless set. A call that waits for a party that
    /// has died learns of the death at most this much later.
    pub fn with_liveness_interval(mut self, interval: Duration) -> Self {
        self.habits.liveness_interval = interval.min(LIVENESS_INTERVAL_MAX);
        self
    }

    /// Adds a token; cancelling it ends the waits of the handle.
    pub fn with_cancel_token(mut self, token: &CancelToken) -> Self {
        self.habits.cancels.push(token.clone());
        self
    }

    /// What happens to an event whose handler panics.
    ///
    /// # Examples
    ///
    /// See [`AutoConsumer`].
    pub fn with_panic_policy(mut self, policy: HandlerPanicPolicy) -> Self {
        self.on_panic = policy;
        self
    }

    /// Where a new consumer starts.
    ///
    /// # Examples
    ///
    /// See [`StartFrom`].
    pub fn with_start(mut self, start: StartFrom) -> Self {
        self.start = start;
        self
    }

    /// Applies to a durable consumer that left for good, or was removed, and attaches again under the same
    /// producer: it starts with the events that are published after it has come, as long as the ring's lines
    /// still show that it had left. For the layers above.
    #[doc(hidden)]
    pub fn skip_absence(mut self) -> Self {
        self.skips_absence = true;
        self
    }

    /// What the ring is for, in a few words, which messages add to the ring's name. For the layers above,
    /// whose ring names tell a reader nothing.
    #[doc(hidden)]
    pub fn described_as(mut self, label: &str) -> Self {
        self.label = Some(label.escape_debug().to_string().into());
        self
    }

    /// The sequence of a new ring's first event; zero unless set. Tests set it to see a wrap.
    pub fn with_first_sequence(mut self, first: Sequence) -> Self {
        self.want.first_sequence = first;
        self
    }

    /// Permission bits of a new segment, whatever the umask is; 0600 unless set. Consumers, and producers
    /// that take over, need to read and write the file (0660 for a group); observers need only to read it
    /// (0640). The file belongs to the group of the process that creates it, and users other than its owner
    /// must also call [`allow_any_owner`](Self::allow_any_owner). The owner itself needs 0600.
    pub fn with_mode(mut self, mode: u32) -> Self {
        self.want.memory.mode = mode & 0o777;
        self
    }

    /// Accepts a segment that another user owns.
    pub fn allow_any_owner(mut self) -> Self {
        self.want.memory.any_owner = true;
        self
    }

    /// Whether to ask for huge pages.
    pub fn with_huge_pages(mut self, huge_pages: HugePages) -> Self {
        self.want.memory.huge_pages = huge_pages;
        self
    }

    /// Locks the pages in memory; building fails where the system's limit does not allow it.
    pub fn with_memory_lock(mut self) -> Self {
        self.want.memory.lock = true;
        self
    }

    /// Keeps the ring in a core dump of this process. By default a core dump has the memory of the process
    /// without the ring, which may be large and may hold other processes' data.
    pub fn with_core_dump(mut self) -> Self {
        self.want.memory.core_dump = true;
        self
    }

    /// Maps a consumer's slots writable; by default they are mapped read-only. No call of this crate writes
    /// them; the read-only mapping guards against stray pointers in other code of the process. On the one
    /// machine that was measured, a read-only mapping makes a round trip 50 % longer and leaves streams as
    /// they are (`rfcs/0003`): set this where latency is what counts.
    pub fn with_writable_slots(mut self) -> Self {
        self.want.memory.writable_slots = true;
        self
    }

    /// Replaces a ring of this name that is of another version or does not fit, as long as its producer is
    /// not alive. Also replaces a damaged ring, or the remains of one after a power cut (an empty file,
    /// zeros, a part), as long as no process is alive in it. A valid ring that fits is taken over as always,
    /// and a file of another kind is left alone.
    pub fn recreate(mut self) -> Self {
        self.want.recreate = true;
        self
    }

    /// What the producer does so that events in a mapped file outlive a power cut.
    ///
    /// # Examples
    ///
    /// See [`SyncPolicy`].
    pub fn with_sync(mut self, policy: SyncPolicy) -> Self {
        self.want.keeps_floor = policy == SyncPolicy::KeepSynced;
        self
    }

    /// Makes the producer create the ring for [`Observer`]s. Each event is then copied once more, and its
    /// slot is marked while it is written; other rings pay nothing. A ring stays as it was created.
    pub fn with_observers(mut self) -> Self {
        self.want.observed = true;
        self
    }

    /// Attaches an observer. Never waits. It needs no more than permission to read the ring's file.
    ///
    /// # Errors
    ///
    /// Any of [`MultiProcessError`]; `IncompatibleLayout` for a ring that was created without
    /// [`with_observers`](Self::with_observers).
    pub fn build_observer(self) -> MultiProcessResult<Observer<E, B>> {
        self.pin(env::consumer_core())?;
        let want = Want {
            observed: true,
            ..self.want.clone()
        };
        let segment = match &self.place {
            Place::Heap { memory, capacity } => segment::open_on_heap(memory, *capacity),
            _ => segment::open_to_observe(&self.file(false)?, &want)?,
        };
        Observer::new(segment, self.start, self.habits)
    }

    /// Creates the ring, or takes over that of a dead producer. `factory` makes the first lap's slot contents
    /// and runs only when the ring is created.
    ///
    /// # Errors
    ///
    /// Any of [`MultiProcessError`]. In that case nothing is left behind: a new ring is closed and its name
    /// removed, and a ring that was taken over is again as it was found.
    pub fn build_producer<F: FnMut() -> E>(
        self,
        mut factory: F,
    ) -> MultiProcessResult<Producer<E, B>> {
        self.produce(&mut |slot| {
            slot.write(factory());
        })
    }

    /// As [`build_producer`](Self::build_producer), with the first lap's slots zeroed.
    ///
    /// # Errors
    ///
    /// As [`build_producer`](Self::build_producer).
    pub fn build_zeroed_producer(self) -> MultiProcessResult<Producer<E, B>> {
        self.produce(&mut |_zeroed| {})
    }

    /// `fill` writes the first lap's events directly into their slots, as an event may be larger than the stack.
    fn produce(
        self,
        fill: &mut dyn FnMut(&mut MaybeUninit<E>),
    ) -> MultiProcessResult<Producer<E, B>> {
        self.pin(env::producer_core())?;
        let expectation = self.expectation()?;
        let (segment, start) = match &self.place {
            Place::Heap { memory, capacity } => {
                let segment = segment::open_on_heap(memory, *capacity);
                let start = segment::produce_on_heap(&segment)?;
                (segment, start)
            }
            _ => segment::create_or_take_over(&self.file(true)?, &self.want, fill)?,
        };
        let mut producer = Producer::new(segment, start, expectation, self.habits.clone());
        if self.want.keeps_floor {
            producer.set_sync_policy(SyncPolicy::KeepSynced);
        }
        match self.coordinate(&mut producer) {
            Ok(()) => Ok(producer),
            Err(error) => {
                producer.withdraw(start.found);
                Err(error)
            }
        }
    }

    /// Lets a consumer wait up to `patience` for the ring to be created, or until a token is cancelled;
    /// unless set, it does not wait. No process can wake this wait, so the consumer tries to open the ring
    /// again: after `MYELON_DISCOVERY_POLL_MS` at first, and then less and less often.
    pub fn wait_for_ring(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }

    /// Attaches a consumer. Never waits, unless [`wait_for_ring`](Self::wait_for_ring) says so.
    ///
    /// # Errors
    ///
    /// Any of [`MultiProcessError`]; the ring's other endpoints are not disturbed.
    pub fn build_consumer(self) -> MultiProcessResult<Consumer<E, B>> {
        self.pin(env::consumer_core())?;
        self.consume()
    }

    /// Attaches once the ring exists.
    fn consume(&self) -> MultiProcessResult<Consumer<E, B>> {
        let deadline = Deadline::after(self.patience);
        let mut pause = default_discovery_poll_duration();
        let longest = pause.max(LOOK_FOR_RING_MAX);
        loop {
            match self.attach() {
                Err(MultiProcessError::NotFound { .. }) if !deadline.has_passed() => {}
                outcome => return outcome,
            }
            if self.habits.are_cancelled() {
                return Err(MultiProcessError::CoordinationCancelled {
                    name: self.shown(),
                    missing: vec![String::from("the ring")],
                });
            }
            perform_sleep_wait(deadline.remaining().map_or(pause, |rest| rest.min(pause)));
            // a pause of zero grows, too: yielding alone would not let a process of lower priority create the ring
            pause = (pause * 2).clamp(LOOK_FOR_RING_MIN, longest);
        }
    }

    fn attach(&self) -> MultiProcessResult<Consumer<E, B>> {
        let (id, is_durable) = match &self.id {
            Some(id) => (check_id(id)?, true),
            None => (automatic_id(), false),
        };
        let segment = match &self.place {
            Place::Heap { memory, capacity } => segment::open_on_heap(memory, *capacity),
            _ => segment::open(&self.file(false)?, &self.want)?.0,
        };
        let who = Applicant {
            id: &id,
            durable: is_durable,
            owner: current_owner(),
            is_here: true,
        };
        // read before the consumer has come: events published from then on are for it
        let skipped = (self.skips_absence && lines::has_departed(segment.control(), &id))
            .then(|| newest(&segment));
        let place = lines::attach(segment.control(), segment.locks(), who)
            .map_err(|error| blocked::line_error(&segment, &id, error))?;
        let mut consumer = Consumer::new(segment, place, id, is_durable, self.habits.clone());
        let is_named = !matches!(self.place, Place::Heap { .. });
        if is_named && is_durable && !place.rejoined {
            let segment = consumer.segment();
            let is_too_late = segment.is_ending_without();
            if is_too_late.map_err(segment.io_error(Step::LookAtFile))? {
                // the consumer could not come back to its unread events
                consumer.leave()?;
                return Err(segment::not_found(&self.file(false)?));
            }
        }
        match skipped {
            Some(newest) if !place.rejoined && newest >= place.next => consumer.skip_to(newest),
            _ => {}
        }
        self.start_at(consumer, place)
    }

    /// Moves a new consumer to where it was asked to start.
    fn start_at(
        &self,
        mut consumer: Consumer<E, B>,
        place: LinePlace,
    ) -> MultiProcessResult<Consumer<E, B>> {
        if place.rejoined {
            return Ok(consumer);
        }
        let newest = consumer.producer_sequence();
        match self.start {
            StartFrom::Oldest => {}
            StartFrom::Latest => consumer.skip_to(newest),
            StartFrom::Sequence(asked) if (place.next..=newest + 1).contains(&asked) => {
                consumer.skip_to(asked - 1)
            }
            StartFrom::Sequence(asked) => {
                let name = self.shown();
                consumer.leave()?;
                return Err(MultiProcessError::SequenceNotRetained {
                    name,
                    asked,
                    oldest: place.next,
                    newest,
                });
            }
        }
        Ok(consumer)
    }

    /// Starts a thread that passes each event to `handle`. Waits for the ring as
    /// [`wait_for_ring`](Self::wait_for_ring) says.
    ///
    /// # Errors
    ///
    /// As [`build_consumer`](Self::build_consumer); `Io` when the system refuses a thread or refuses to pin
    /// it. In that case nothing is attached.
    ///
    /// # Examples
    ///
    /// See [`AutoConsumer`].
    pub fn handle_events_with<F>(self, handle: F) -> MultiProcessResult<AutoConsumer>
    where
        B: 'static,
        F: FnMut(&E, Sequence, bool) + Send + 'static,
    {
        let strategy = self.habits.strategy;
        self.handle_events_batch(handle, strategy)
    }

    /// Starts a thread that passes each event to `handle`; the flag is true for the last event that is there.
    ///
    /// # Errors
    ///
    /// As [`handle_events_with`](Self::handle_events_with).
    pub fn handle_events_batch<F>(
        self,
        handle: F,
        strategy: AutoWaitStrategy,
    ) -> MultiProcessResult<AutoConsumer>
    where
        B: 'static,
        F: FnMut(&E, Sequence, bool) + Send + 'static,
    {
        let core = self.core.or(env::auto_consumer_core());
        let on_panic = self.on_panic;
        let strategy = env::auto_wait_delay().map_or(strategy, AutoWaitStrategy::Sleep);
        let stop = CancelToken::new();
        self.pin_process()?;
        let builder = self.with_wait_strategy(strategy).with_cancel_token(&stop);
        let (name, shown) = (builder.place.name(), builder.shown());
        auto::start((&name, &shown), core, on_panic, stop, handle, || {
            builder.consume()
        })
    }

    fn pin(&self, from_environment: Option<usize>) -> MultiProcessResult<()> {
        self.pin_process()?;
        let pinned = self
            .core
            .or(from_environment)
            .map_or(Ok(()), cpu::pin_current_thread);
        pinned.map_err(|source| self.not_pinned(source))
    }

    fn pin_process(&self) -> MultiProcessResult<()> {
        let core = self.process_core.or(env::process_core());
        let pinned = core.map_or(Ok(()), cpu::pin_process);
        pinned.map_err(|source| self.not_pinned(source))
    }

    fn not_pinned(&self, source: io::Error) -> MultiProcessError {
        segment::io_error(&self.shown(), PathBuf::new(), Step::Pin)(source)
    }

    /// The file that holds the ring.
    fn file(&self, create_root: bool) -> MultiProcessResult<FilePlace> {
        self.place.file(create_root, self.label.clone())
    }

    /// The ring's name, for messages.
    fn shown(&self) -> String {
        backing::shown(&self.place.name(), self.label.as_deref())
    }
}

/// The newest retained event of a ring to which the caller is not attached; at times an older one.
fn newest<E: Event>(segment: &Segment<E>) -> Sequence {
    let floor = segment.control().producer.floor.load(Ordering::Acquire);
    let start = floor.clamp(-1, MAX_SEQUENCE) + 1;
    ConsumerCore::new(segment.view, 0, start).newest()
}

/// An id that no other consumer has: the process, and a number within it.
fn automatic_id() -> ConsumerId {
    use crate::sync::process::{AtomicU64, Ordering};
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let id = format!("auto-{}-{number}", std::process::id());
    ConsumerId::new(&id).unwrap_or_else(|| unreachable!("two numbers fit 48 bytes"))
}
