//! The builder: every choice that the simple calls make for you.

use core::fmt;
use core::marker::PhantomData;
use core::mem::MaybeUninit;
use std::io;
use std::time::Duration;

use crate::auto::{self, AutoConsumer, HandlerPanicPolicy};
use crate::backing::{Place, SharedMemory};
use crate::blocked;
use crate::cancel::CancelToken;
use crate::consumer::{Consumer, check_id};
use crate::deadline::Deadline;
use crate::error::{MultiProcessError, MultiProcessResult};
use crate::layout::control::ConsumerId;
use crate::observer::Observer;
use crate::os::cpu;
use crate::producer::Producer;
use crate::protocol::lines::{self, Applicant, Place as LinePlace};
use crate::region::HugePages;
use crate::segment::{self, Want, current_owner};
use crate::wait::{
    AutoWaitStrategy, Habits, LIVENESS_INTERVAL_MAX, default_discovery_poll_duration,
    perform_sleep_wait,
};
use crate::{Event, Sequence, env};

mod coordination;

/// Who waits for a ring to be created looks for it this often in the end, unless it is told to look less often.
const LOOK_FOR_RING_MAX: Duration = Duration::from_millis(10);

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
    /// Consumers, registered, for a while: then building fails with
    /// [`MultiProcessError::CoordinationTimeout`].
    WaitForConsumers {
        /// How many.
        min_consumers: usize,
        /// How long.
        timeout: Duration,
    },
    /// Nothing, but until a consumer has registered, no more than this many events are taken.
    BufferUntilConsumers {
        /// How many events, one ring's worth at the most.
        max_buffer: usize,
    },
}

/// Which consumers a producer expects. Until they have come it fills the ring once and no further, so that even a
/// late one starts at the first event.
///
/// # Examples
///
/// ```
/// use disruptor_mp::{BlockedOn, DiscoveryMode, HeapRing};
///
/// let ring = HeapRing::<u64>::new(1)?;
/// let ids = DiscoveryMode::Ids(vec!["risk".into()]);
/// let mut tx = ring.builder().with_discovery(ids).build_zeroed_producer()?;
/// tx.publish(|event| *event = 7);                        // one ring's worth, and no more before it has come
/// assert!(matches!(tx.blocked_on(), Some(BlockedOn::Expected { .. })));
/// assert_eq!(ring.consumer("risk")?.try_consume_next(), Some((0, 7)));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum DiscoveryMode {
    /// Nobody: without consumers the producer runs free.
    #[default]
    Disabled,
    /// At least one consumer of any id.
    Any {
        /// How many there may be; for information.
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

/// Where a new consumer starts. One that comes back starts where it was, whatever this says.
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
/// Who is waited for, and for how long:
///
/// ```
/// use std::time::Duration;
/// use disruptor_mp::{AutoWaitStrategy, CancelToken, HeapRing, MultiProcessError};
///
/// let ring = HeapRing::<u64>::new(8)?;
/// let token = CancelToken::new();
/// let missing = ring
///     .builder()
///     .enable_discovery(4)                               // somebody is expected
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
/// Where a ring lies, and in what memory:
///
/// ```
/// use std::time::Duration;
/// use disruptor_mp::{HugePages, attach_shared_consumer, build_shared_single_producer, portable_shm_segment_name};
///
/// let name = portable_shm_segment_name("doc");
/// let tx = build_shared_single_producer::<u64>(&name, 64)
///     .disable_discovery()                               // nobody is expected: the default
///     .with_mode(0o640)                                  // the group may read
///     .with_huge_pages(HugePages::Try)
///     .with_first_sequence(1 << 32)
///     .with_observers()
///     .recreate()                                        // whatever a dead program has left under this name
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
/// A handler on a thread of its own, and where things run. What the system does not grant is an error:
///
/// ```no_run
/// use disruptor_mp::{AutoWaitStrategy, attach_shared_consumer};
///
/// let handler = attach_shared_consumer::<u64>("ticks", 4096)
///     .with_process_core(2)
///     .with_consumer_core(3)
///     .with_memory_lock()
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
    id: Option<String>,
    habits: Habits,
    start: StartFrom,
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
        // asked here, as asking allocates: a wait must not. A process that is pinned later says so itself
        cpu::usable_cpus();
        cpu::online_cpus();
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
            id: None,
            habits: Habits::default(),
            start: StartFrom::Oldest,
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
        let min_consumers = usize::try_from(min_consumers).unwrap_or(0);
        self.with_coordination(CoordinationMode::WaitForConsumers {
            min_consumers,
            timeout,
        })
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

    /// Nobody is expected: the default.
    pub fn disable_discovery(self) -> Self {
        self.with_discovery(DiscoveryMode::Disabled)
    }

    /// At least one consumer is expected, of any id.
    pub fn enable_discovery(self, max_consumers: usize) -> Self {
        self.with_discovery(DiscoveryMode::Any { max_consumers })
    }

    /// The consumers `{prefix}_0` to `{prefix}_{max − 1}` are expected.
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

    /// How often a builder that waits for consumers looks for them by itself: once in a liveness interval unless set. Who
    /// attaches wakes it at once in any case.
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

    /// How often a blocked call looks whether those it waits for are alive: 100 ms unless set. A call that waits for one
    /// who died learns of it at the latest this much later.
    pub fn with_liveness_interval(mut self, interval: Duration) -> Self {
        self.habits.liveness_interval = interval.min(LIVENESS_INTERVAL_MAX);
        self
    }

    /// Whoever has the token can end the waits of the handle.
    pub fn with_cancel_token(mut self, token: &CancelToken) -> Self {
        self.habits.cancels.push(token.clone());
        self
    }

    /// What becomes of an event whose handler panics.
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

    /// The sequence of a new ring's first event; zero unless a test wants to see a wrap.
    pub fn with_first_sequence(mut self, first: Sequence) -> Self {
        self.want.first_sequence = first;
        self
    }

    /// Permission bits of a new segment, whatever the umask; 0600 unless set.
    pub fn with_mode(mut self, mode: u32) -> Self {
        self.want.memory.mode = mode & 0o777;
        self
    }

    /// Accepts a segment that another user owns.
    pub fn allow_any_owner(mut self) -> Self {
        self.want.memory.any_owner = true;
        self
    }

    /// Whether huge pages are asked for.
    pub fn with_huge_pages(mut self, huge_pages: HugePages) -> Self {
        self.want.memory.huge_pages = huge_pages;
        self
    }

    /// Locks the pages in memory; building fails where the system's limit does not allow it.
    pub fn with_memory_lock(mut self) -> Self {
        self.want.memory.lock = true;
        self
    }

    /// Maps a consumer's slots writable, where they are mapped read-only otherwise. No call of this crate writes
    /// them; the read-only mapping guards against stray pointers of other code in the process. On one machine that
    /// was measured a read-only mapping makes a round trip 50 % longer, and leaves streams as they are
    /// (`rfcs/0003`): set this where latency is what counts.
    pub fn with_writable_slots(mut self) -> Self {
        self.want.memory.writable_slots = true;
        self
    }

    /// Replaces a ring of this name that is damaged, of another version or does not fit, as long as its producer is
    /// not alive. A sound ring that fits is taken over as always.
    pub fn recreate(mut self) -> Self {
        self.want.recreate = true;
        self
    }

    /// The producer makes the ring for [`Observer`]s. Each event is copied once more then, and its slot is marked while
    /// it is written; other rings pay nothing. A ring keeps what it was made with.
    pub fn with_observers(mut self) -> Self {
        self.want.observed = true;
        self
    }

    /// Attaches an observer. Never waits.
    ///
    /// # Errors
    ///
    /// Any of [`MultiProcessError`]; `IncompatibleLayout` for a ring that was made without
    /// [`with_observers`](Self::with_observers).
    pub fn build_observer(self) -> MultiProcessResult<Observer<E, B>> {
        self.pin(env::consumer_core())?;
        let want = Want {
            observed: true,
            ..self.want.clone()
        };
        let segment = match &self.place {
            Place::Heap { memory, capacity } => segment::open_on_heap(memory, *capacity),
            place => segment::open(&place.file(false)?, &want)?.0,
        };
        Observer::new(segment, self.start, self.habits)
    }

    /// Creates the ring, or takes over a dead producer's. `factory` makes the first lap's slot contents and runs
    /// only when the ring is created.
    ///
    /// # Errors
    ///
    /// Any of [`MultiProcessError`]; nothing is left behind then.
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

    /// `fill` writes the first lap's events where they belong: an event may be larger than the stack.
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
            place => segment::create_or_take_over(&place.file(true)?, &self.want, fill)?,
        };
        let mut producer = Producer::new(segment, start, expectation, self.habits.clone());
        self.coordinate(&mut producer)?;
        Ok(producer)
    }

    /// A consumer waits up to `patience` for the ring to be created, or until a token is cancelled; unless set, it does not
    /// wait. A name has nobody who wakes: it is looked for each `MYELON_DISCOVERY_POLL_MS` to begin with, less often by and
    /// by.
    pub fn wait_for_ring(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }

    /// Attaches a consumer. Never waits, unless [`wait_for_ring`](Self::wait_for_ring) says so.
    ///
    /// # Errors
    ///
    /// Any of [`MultiProcessError`]; nobody else is disturbed then.
    pub fn build_consumer(self) -> MultiProcessResult<Consumer<E, B>> {
        self.pin(env::consumer_core())?;
        self.consume()
    }

    /// Attaches, when the ring is there.
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
                    name: self.place.name(),
                    missing: vec![String::from("the ring")],
                });
            }
            perform_sleep_wait(deadline.remaining().map_or(pause, |rest| rest.min(pause)));
            pause = (pause * 2).min(longest);
        }
    }

    fn attach(&self) -> MultiProcessResult<Consumer<E, B>> {
        let (id, is_durable) = match &self.id {
            Some(id) => (check_id(id)?, true),
            None => (automatic_id(), false),
        };
        let segment = match &self.place {
            Place::Heap { memory, capacity } => segment::open_on_heap(memory, *capacity),
            place => segment::open(&place.file(false)?, &self.want)?.0,
        };
        let who = Applicant {
            id: &id,
            durable: is_durable,
            owner: current_owner(),
        };
        let place = lines::attach(segment.control(), segment.locks(), who)
            .map_err(|error| blocked::line_error(&segment, &id, error))?;
        let consumer = Consumer::new(segment, place, id, is_durable, self.habits.clone());
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
                let name = consumer.name().to_owned();
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

    /// A thread of its own that hands each event to `handle`. Waits for the ring where
    /// [`wait_for_ring`](Self::wait_for_ring) says so.
    ///
    /// # Errors
    ///
    /// As [`build_consumer`](Self::build_consumer).
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

    /// A thread of its own that hands each event to `handle`; the flag is true for the last event that is there.
    ///
    /// # Errors
    ///
    /// As [`build_consumer`](Self::build_consumer).
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
        let consumer = self
            .with_wait_strategy(strategy)
            .with_cancel_token(&stop)
            .consume()?;
        auto::start(consumer, core, on_panic, stop, handle)
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
        MultiProcessError::Io {
            name: self.place.name(),
            operation: "pin to a core",
            source,
        }
    }
}

/// An id that no other consumer has: the process, and a number within it.
fn automatic_id() -> ConsumerId {
    use crate::sync::process::{AtomicU64, Ordering};
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let id = format!("auto-{}-{number}", std::process::id());
    ConsumerId::new(&id).unwrap_or_else(|| unreachable!("two numbers fit 48 bytes"))
}
