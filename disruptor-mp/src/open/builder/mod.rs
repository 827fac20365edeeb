//! The builder: every choice that the simple calls make for their caller.

use core::fmt;
use core::marker::PhantomData;
use core::mem::MaybeUninit;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::Sequence;
use crate::env;
use crate::error::{MultiProcessError, MultiProcessResult};
use crate::event::Event;
use crate::handles::auto::{self, AutoConsumer, HandlerPanicPolicy};
use crate::handles::consumer::{Consumer, check_id};
use crate::handles::diagnosis;
use crate::handles::kinds::SharedMemory;
use crate::handles::observer::Observer;
use crate::handles::producer::Producer;
use crate::handles::producer::SyncPolicy;
use crate::handles::start::StartFrom;
use crate::layout::control::ConsumerId;
use crate::layout::stamp::MAX_SEQUENCE;
use crate::open::backing::RingLocation;
use crate::os::step::Step;
use crate::os::{cpu, process};
use crate::protocol::consume::ConsumerCore;
use crate::protocol::lines::{self, Applicant, LinePlace};
use crate::region::file::{FilePlace, shown};
use crate::segment::{self, Segment, Want, current_owner};
use crate::sync::Ordering;
use crate::waiting::cancel::CancelToken;
use crate::waiting::deadline::Deadline;
use crate::waiting::{
    AutoWaitStrategy, Habits, default_discovery_poll_duration, perform_sleep_wait,
};

mod choices;
mod coordination;
mod setters;

pub use choices::{CoordinationMode, DiscoveryMode};

/// Longest pause between two attempts to open a ring that does not exist yet, unless the environment sets a
/// longer one.
const RING_CHECK_PAUSE_MAX: Duration = Duration::from_millis(10);
/// Shortest such pause after the first one.
const RING_CHECK_PAUSE_MIN: Duration = Duration::from_micros(50);

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
/// tx.send(Deadline::NEVER, |event| *event = 7)?;
/// assert_eq!(*rx.recv(Deadline::NEVER)?, 7);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// Which consumers a producer waits for, and for how long:
///
/// ```
/// use std::time::Duration;
/// use disruptor_mp::{AutoWaitStrategy, CancelToken, Deadline, HeapRing, MultiProcessError};
///
/// let ring = HeapRing::<u64>::new(8)?;
/// let token = CancelToken::new();
/// let missing = ring
///     .builder()
///     .enable_discovery(4)                               // a consumer is expected
///     .wait_for_consumers(1, Duration::from_secs(9))
///     .with_coordination_timeout(Duration::from_millis(5))
///     .with_discovery_interval(Duration::from_millis(1))
///     .build_producer(|| 0);
/// assert!(matches!(missing, Err(MultiProcessError::CoordinationTimeout { .. })));
///
/// let mut tx = ring
///     .builder()
///     .discover_consumer_with_prefix(2, "worker")        // worker_0 and worker_1 are expected
///     .with_discovery_interval(Duration::from_millis(1))
///     .with_wait_strategy(AutoWaitStrategy::SpinThenYield { spins: 64 })
///     .with_liveness_interval(Duration::from_millis(20))
///     .with_cancel_token(&token)
///     .build_zeroed_producer()?;
/// tx.send_batch(8, Deadline::NEVER, |_, _| {})?;
/// assert!(tx.try_send(|_| {}).is_err(), "worker_0 and worker_1 have not come");
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
    place: RingLocation,
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
    ring_timeout: Duration,
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
    pub(crate) fn new(place: RingLocation, capacity: Option<usize>) -> Self {
        // counted here, because counting allocates and a wait must not
        cpu::online_cpus();
        cpu::quota();
        process::own_namespace();
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
            ring_timeout: Duration::ZERO,
            core: None,
            process_core: None,
            on_panic: HandlerPanicPolicy::default(),
            types: PhantomData,
        }
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
            RingLocation::Heap { memory, capacity } => segment::open_on_heap(memory, *capacity),
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
            RingLocation::Heap { memory, capacity } => {
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
        let deadline = Deadline::after(self.ring_timeout);
        let mut pause = default_discovery_poll_duration();
        let longest = pause.max(RING_CHECK_PAUSE_MAX);
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
            pause = (pause * 2).clamp(RING_CHECK_PAUSE_MIN, longest);
        }
    }

    fn attach(&self) -> MultiProcessResult<Consumer<E, B>> {
        let (id, is_durable) = match &self.id {
            Some(id) => (check_id(id)?, true),
            None => (automatic_id(), false),
        };
        let segment = match &self.place {
            RingLocation::Heap { memory, capacity } => segment::open_on_heap(memory, *capacity),
            _ => segment::open(&self.file(false)?, &self.want)?.0,
        };
        let who = Applicant {
            id: &id,
            durable: is_durable,
            owner: current_owner(),
            is_here: true,
        };
        // Read before the consumer has come, and before the departure: events published from then on are for it, and so
        // are those of a producer that has taken over since.
        let newest = self.skips_absence.then(|| newest(&segment));
        let skipped = newest.and_then(|newest| {
            let departed = lines::departed(segment.control(), &id)?;
            let is_of_this_producer = departed.is_of_this_producer;
            let skipped = match is_of_this_producer {
                true => newest,
                // this producer expects it again; what it had released before is not for it
                false => departed.released.min(newest),
            };
            Some((skipped, is_of_this_producer))
        });
        let place = lines::attach(segment.control(), segment.locks(), who)
            .map_err(|error| diagnosis::line_error(&segment, &id, error))?;
        let mut consumer = Consumer::new(segment, place, id, is_durable, self.habits.clone());
        let is_named = !matches!(self.place, RingLocation::Heap { .. });
        if is_named && is_durable && !place.rejoined {
            let segment = consumer.segment();
            let is_too_late = segment.is_ending_without();
            if is_too_late.map_err(segment.io_error(Step::ReadStatus))? {
                // the consumer could not come back to its unread events
                consumer.leave()?;
                return Err(segment::not_found(&self.file(false)?));
            }
        }
        if let Some((skipped, is_of_this_producer)) = skipped.filter(|_| !place.rejoined) {
            consumer.has_skipped_absence = is_of_this_producer;
            if skipped >= place.next {
                consumer.skip_to(skipped);
            }
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
        shown(&self.place.name(), self.label.as_deref())
    }
}

/// # Kept for programs written against disruptor-mp 0.1
///
/// ```
/// use std::time::Duration;
/// use disruptor_mp::HeapRing;
///
/// let (ring, soon) = (HeapRing::<u64>::new(8)?, Duration::from_millis(5));
/// ring.builder().disable_discovery().build_producer(|| 0)?;
/// let missing = ring.builder().wait_for_single_consumer(soon).build_producer(|| 0);
/// let same = ring.builder().wait_for_consumers(1, soon).build_producer(|| 0);
/// assert!(missing.is_err() && same.is_err());
/// let builder = ring.builder().discover_consumer_with_prefix_and_interval(2, "worker", soon);
/// let same = ring.builder().discover_consumer_with_prefix(2, "worker").with_discovery_interval(soon);
/// # drop((builder, same));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
impl<E: Event, B> DisruptorBuilder<E, B> {
    /// [`wait_for_consumers`](Self::wait_for_consumers), one of them.
    pub fn wait_for_single_consumer(self, timeout: Duration) -> Self {
        self.wait_for_consumers(1, timeout)
    }

    /// [`with_discovery`](Self::with_discovery) of [`DiscoveryMode::Disabled`], which is the default.
    pub fn disable_discovery(self) -> Self {
        self.with_discovery(DiscoveryMode::Disabled)
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
}

/// The newest retained event of a ring to which the caller is not attached; at times an older one.
fn newest<E: Event>(segment: &Segment<E>) -> Sequence {
    let floor = segment.control().producer.floor.load(Ordering::Acquire);
    let start = floor.clamp(-1, MAX_SEQUENCE) + 1;
    ConsumerCore::new(segment.view, 0, start).newest()
}

/// An id that no other consumer has: the process, and a number within it.
pub(crate) fn automatic_id() -> ConsumerId {
    use crate::sync::process::{AtomicU64, Ordering};
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let id = format!("auto-{}-{number}", std::process::id());
    ConsumerId::new(&id).unwrap_or_else(|| unreachable!("two numbers fit 48 bytes"))
}
