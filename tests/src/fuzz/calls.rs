//! A party that plays every role on one ring, one call at a time: a producer, up to three consumers, and a successor.
//!
//! It makes only calls that copy events, or that use a reference no longer than it takes to copy the event. It
//! also formats every result, because texts contain values that peers stored. It asserts what must hold for any
//! values: counts stay within the ring, and sequences go up by one.

use std::fmt::Debug;
use std::hint::black_box;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::time::Duration;

use arbitrary::Arbitrary;
use disruptor_mp::{
    AutoWaitStrategy, BlockedOn, Consumer, CoordinationMode, Deadline, DiscoveryMode,
    DisruptorBuilder, Producer, RequiredConsumerLivenessConfig, Sequence, StartFrom,
};

use super::sample::Sample;

/// The consumer ids that a party uses.
const IDS: [&str; 3] = ["alpha", "beta", "gamma"];
/// A wait that is long enough for a liveness check.
const PATIENT: Duration = Duration::from_micros(1500);
/// Consumer lines of a segment.
const CONSUMERS_MAX: usize = 64;

/// The role that makes a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Calls of a producer.
    Producer,
    /// Calls of a consumer.
    Consumer,
}

/// One call, or a few that belong together. The number selects a variant: one of the party's handles, an id or a size.
#[derive(Arbitrary, Clone, Copy, Debug)]
pub enum Call {
    /// Creates, or takes over.
    Produce(u8),
    /// `try_publish`, `try_claim`.
    TryPublish(u8),
    /// `send`, `claim`.
    Send(u8),
    /// `try_batch_publish`, sometimes for more events than the ring holds.
    TryBatch(u8),
    /// `send_batch`, sometimes for more events than the ring holds.
    SendBatch(u8),
    /// Required consumers and `publish_managed`, in situations where that call ends by itself.
    Managed(u8),
    /// Every getter of a producer.
    AskProducer(u8),
    /// Waits long enough for dead consumers to be evicted.
    Patient(u8),
    /// `discover_consumer_id`, `wait_for_consumer_id`, `expect_consumer_id`.
    Discover(u8),
    /// `remove_consumer`.
    Remove(u8),
    /// `close`, `keep`, `destroy`, drop, or an end by panic.
    End(u8),
    /// Attaches or comes back, which may fail.
    Consume(u8, i8),
    /// `try_consume_next`.
    TryConsume(u8),
    /// `recv`, where the event is copied at once, and `recv_owned`.
    Recv(u8),
    /// `process_available` and `process_within`, copying.
    Process(u8),
    /// Every getter of a consumer.
    AskConsumer(u8),
    /// `detach`, `leave` or drop.
    Leave(u8),
}

impl Call {
    /// The role that makes this call.
    pub fn role(self) -> Role {
        match self {
            Self::Consume(..)
            | Self::TryConsume(_)
            | Self::Recv(_)
            | Self::Process(_)
            | Self::AskConsumer(_)
            | Self::Leave(_) => Role::Consumer,
            _ => Role::Producer,
        }
    }

    /// Whether the call drops a handle.
    pub fn is_end(self) -> bool {
        matches!(self, Self::End(_) | Self::Leave(_))
    }
}

type Builder<E, B> = Box<dyn Fn(usize) -> DisruptorBuilder<E, B>>;

/// The handles of one process.
pub struct Party<E: Sample, B> {
    builder: Builder<E, B>,
    capacity: usize,
    /// How long an ordinary call may wait.
    patience: Duration,
    /// How many more calls may wait longer than that.
    patient_calls: u32,
    tx: Option<Producer<E, B>>,
    rxs: [Option<Consumer<E, B>>; 3],
}

impl<E: Sample, B> Debug for Party<E, B> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Party")
            .field("capacity", &self.capacity)
            .finish_non_exhaustive()
    }
}

impl<E: Sample, B: 'static> Party<E, B> {
    /// A party without handles. `builder` makes a builder for a capacity.
    pub fn new(
        builder: impl Fn(usize) -> DisruptorBuilder<E, B> + 'static,
        capacity: usize,
        patience: Duration,
        patient_calls: u32,
    ) -> Self {
        Self {
            builder: Box::new(builder),
            capacity,
            patience,
            patient_calls,
            tx: None,
            rxs: [None, None, None],
        }
    }

    /// Whether the party has a handle for this role.
    pub fn has(&self, role: Role) -> bool {
        match role {
            Role::Producer => self.tx.is_some(),
            Role::Consumer => self.rxs.iter().any(Option::is_some),
        }
    }

    /// Makes the call, if there is a handle for it.
    pub fn call(&mut self, call: Call) {
        match call {
            Call::Produce(how) => self.produce(how),
            Call::Consume(how, start) => self.consume(how, start),
            Call::End(how) => self.end(how),
            Call::Leave(how) => self.leave(how),
            Call::Patient(how) => self.be_patient(how),
            _ if call.role() == Role::Producer => self.as_producer(call),
            _ => self.as_consumer(call),
        }
    }

    fn produce(&mut self, how: u8) {
        if self.tx.is_some() {
            return;
        }
        let capacity = match how & 15 {
            15 => self.capacity * 2,
            _ => self.capacity,
        };
        let mut builder = (self.builder)(capacity);
        builder = match how >> 4 & 7 {
            0 => builder.enable_discovery(2),
            1 => builder.with_discovery(DiscoveryMode::Ids(vec![IDS[0].into(), IDS[1].into()])),
            2 => {
                builder.with_coordination(CoordinationMode::BufferUntilConsumers { max_buffer: 3 })
            }
            3 => builder.wait_for_consumers(1, self.patience),
            4 => builder.discover_consumer_with_prefix(1, "alpha"),
            _ => builder,
        };
        if how & 128 != 0 {
            builder = builder.recreate();
        }
        self.tx = told(builder.build_producer(E::default));
    }

    fn consume(&mut self, how: u8, start: i8) {
        let place = usize::from(how) % self.rxs.len();
        if self.rxs[place].is_some() {
            return;
        }
        let mut builder = (self.builder)(self.capacity);
        if how & 64 != 0 {
            builder = builder.with_consumer_id(IDS[usize::from(how >> 2) % IDS.len()]);
        }
        if how & 128 != 0 {
            builder = builder.with_writable_slots();
        }
        builder = builder.with_start(match start {
            -128..-64 => StartFrom::Latest,
            -64..64 => StartFrom::Oldest,
            64.. => StartFrom::Sequence(Sequence::from(start) - 64),
        });
        // a doubt, forged or real, must be reported here: later calls that return no error would panic with it
        self.rxs[place] = told(builder.build_consumer()).map(|mut rx| {
            // the doubt is reported only after everything that seems to be in the ring has been read
            for _ in 0..rx.capacity() {
                if !matches!(rx.try_recv(), Ok(Some(_))) {
                    break;
                }
            }
            rx
        });
    }

    fn as_producer(&mut self, call: Call) {
        let deadline = Deadline::after(self.patience);
        let Some(tx) = &mut self.tx else { return };
        let many = |n: u8| usize::from(n) % (2 * tx.capacity() + 2);
        match call {
            Call::TryPublish(n) if n & 1 == 0 => {
                let _ = told(tx.try_publish(|event| *event = E::of(n.into())));
            }
            Call::TryPublish(n) => {
                if let Ok(mut claim) = tx.try_claim() {
                    *claim = E::of(n.into());
                    claim.publish();
                }
            }
            Call::Send(n) if n & 1 == 0 => {
                let _ = told(tx.send(deadline, |event| *event = E::of(n.into())));
            }
            Call::Send(n) => {
                if let Some(mut claim) = told(tx.claim(deadline)) {
                    *claim = E::of(n.into());
                    if n & 2 == 0 {
                        claim.publish();
                    }
                }
            }
            Call::TryBatch(n) => {
                let write = |event: &mut E, index| *event = E::of(index as u64);
                let _ = told(tx.try_batch_publish(many(n), write));
            }
            Call::SendBatch(n) => {
                let write = |event: &mut E, index| *event = E::of(index as u64);
                let _ = told(tx.send_batch(many(n), deadline, write));
            }
            Call::Managed(n) => managed(tx, n),
            Call::AskProducer(n) => ask_producer(tx, n),
            Call::Discover(n) => {
                let id = IDS[usize::from(n) % IDS.len()];
                black_box(tx.discover_consumer_id(id));
                black_box(tx.wait_for_consumer_id(id, Duration::ZERO));
                if n & 192 == 192 {
                    let _ = told(tx.expect_consumer_id(id));
                }
            }
            Call::Remove(n) => {
                let _ = told(tx.remove_consumer(IDS[usize::from(n) % IDS.len()]));
            }
            _ => unreachable!("a consumer's call"),
        }
    }

    fn as_consumer(&mut self, call: Call) {
        let deadline = Deadline::after(self.patience);
        let (Call::TryConsume(how) | Call::Recv(how) | Call::Process(how) | Call::AskConsumer(how)) =
            call
        else {
            unreachable!("a producer's call");
        };
        let Some(rx) = &mut self.rxs[usize::from(how) % IDS.len()] else {
            return;
        };
        let (next, capacity) = (rx.current_sequence() + 1, rx.capacity());
        match call {
            Call::TryConsume(_) => {
                let taken = unless_in_doubt(|| rx.try_consume_next());
                if let Some((sequence, event)) = taken.flatten() {
                    assert_eq!(sequence, next);
                    black_box(event);
                }
            }
            Call::Recv(how) if how & 128 != 0 => {
                if let Some((sequence, event)) = told(rx.recv_owned(deadline)) {
                    assert_eq!(sequence, next);
                    black_box(event);
                }
            }
            Call::Recv(_) => {
                if let Some(lease) = told(rx.recv(deadline)) {
                    assert_eq!(lease.sequence(), next);
                    black_box(*lease);
                }
            }
            Call::Process(how) => {
                let mut count = 0;
                if how & 128 == 0 {
                    unless_in_doubt(|| {
                        rx.process_available(|event, sequence| {
                            assert_eq!(sequence, next + count);
                            count += 1;
                            black_box(*event);
                        })
                    });
                } else {
                    let _ = told(rx.process_within(deadline, |event, sequence, _| {
                        assert_eq!(sequence, next + count);
                        count += 1;
                        black_box(*event);
                    }));
                }
                assert!(count <= capacity as i64, "{count} events of {capacity}");
                // a doubt that was reported moves the position
                assert!(count == 0 || rx.current_sequence() + 1 == next + count);
            }
            _ => {
                let newest = rx.producer_sequence();
                assert!((next - 1..next + capacity as i64).contains(&newest));
                assert_eq!(rx.consumer_sequence(), next - 1);
                assert!(rx.ring_state().consumers.len() <= CONSUMERS_MAX);
                tell(rx.ring_state());
                tell(rx.counters());
                black_box((rx.consumer_id(), rx.name().len()));
            }
        }
    }

    /// Waits on a full or an empty ring until the call makes a liveness check. Only a limited number of calls
    /// may do this.
    fn be_patient(&mut self, how: u8) {
        if self.patient_calls == 0 {
            return;
        }
        self.patient_calls -= 1;
        let rx = self.rxs.iter_mut().flatten().next();
        match (&mut self.tx, rx) {
            (Some(tx), _) if how & 8 == 0 => {
                let strategy = match how & 3 {
                    0 => AutoWaitStrategy::BusySpin,
                    1 => AutoWaitStrategy::Sleep(Duration::from_micros(200)),
                    2 => AutoWaitStrategy::SpinThenYield { spins: 10 },
                    _ => AutoWaitStrategy::Block,
                };
                black_box(tx.wait_until_consumed_with_strategy(Sequence::MAX, PATIENT, strategy));
            }
            (Some(tx), _) if how & 16 == 0 => {
                let _ = told(tx.send(Deadline::after(PATIENT), |event| *event = E::of(0)));
            }
            (_, Some(rx)) => {
                let _ = told(rx.recv(Deadline::after(PATIENT)).map(|lease| *lease));
            }
            _ => {}
        }
    }

    fn end(&mut self, how: u8) {
        let Some(tx) = self.tx.take() else { return };
        let _ = match how % 5 {
            0 => told(tx.close().map(drop)),
            1 => told(tx.keep()),
            2 => told(tx.destroy()),
            3 => {
                drop(tx);
                None
            }
            _ => {
                die(tx);
                None
            }
        };
    }

    fn leave(&mut self, how: u8) {
        let Some(rx) = self.rxs[usize::from(how) % IDS.len()].take() else {
            return;
        };
        let _ = match how >> 6 {
            0 => told(rx.leave()),
            1 => told(rx.detach()),
            _ => {
                drop(rx);
                None
            }
        };
    }
}

/// Calls every getter of a producer.
fn ask_producer<E: Sample, B>(tx: &mut Producer<E, B>, n: u8) {
    tell(tx.ring_state());
    assert!(tx.ring_state().consumers.len() <= CONSUMERS_MAX);
    assert!(tx.get_consumer_count() <= CONSUMERS_MAX);
    if let Some(on) = tx.blocked_on() {
        black_box(on.to_string());
    }
    let last = tx.last_published_sequence();
    black_box(tx.min_gating_sequence());
    black_box(tx.is_consumed(last.wrapping_add(n.into())));
    let strategy = AutoWaitStrategy::Block;
    black_box(tx.wait_until_consumed_with_strategy(last, Duration::ZERO, strategy));
    black_box(tx.consumer_sequence(IDS[usize::from(n) % IDS.len()]));
    tell(tx.counters());
}

/// Calls `publish_managed`, which waits as long as a required consumer makes progress. It is called only where
/// the ring has space, or where the only consumer that holds the ring is a required one that cannot move
/// meanwhile.
fn managed<E: Sample, B>(tx: &mut Producer<E, B>, n: u8) {
    let needed = tx.last_published_sequence() + 1 - tx.capacity() as Sequence;
    let is_watched = match tx.blocked_on() {
        // a line below the floor, which no sound ring has, holds a ring that `blocked_on` reports as free
        None => tx.min_gating_sequence() >= needed,
        Some(BlockedOn::Consumer { id, .. }) => id == IDS[0] && tx.get_consumer_count() == 1,
        Some(_) => false,
    };
    if !is_watched {
        return;
    }
    let config = RequiredConsumerLivenessConfig {
        required_consumer_ids: vec![IDS[0].into()],
        startup_wait_timeout: Duration::ZERO,
        progress_timeout: Duration::ZERO,
        progress_check_interval: Duration::ZERO,
        shutdown_grace_period: Duration::ZERO,
        ..Default::default()
    };
    tx.enable_required_consumer_liveness(config)
        .print_required_consumer_alerts(false);
    let _ = told(tx.publish_managed(|event| *event = E::of(n.into())));
    let _ = told(tx.publish_batch_managed(0, |_, _| {}));
}

/// Returns the result's value. Formats an error's text, because it contains values that peers stored.
fn told<T, F: std::error::Error>(result: Result<T, F>) -> Option<T> {
    match result {
        Ok(value) => Some(value),
        Err(error) => {
            black_box(error.to_string());
            None
        }
    }
}

fn tell(value: impl Debug) {
    black_box(format!("{value:?}"));
}

/// Returns `None` if the call panicked to report that events are in doubt. A peer that keeps storing stamps can
/// delay that report from the attach to any later call.
fn unless_in_doubt<T>(call: impl FnOnce() -> T) -> Option<T> {
    match catch_unwind(AssertUnwindSafe(call)) {
        Ok(value) => Some(value),
        Err(panic) => match panic.downcast_ref::<String>() {
            Some(text) if text.contains("are in doubt") => None,
            _ => resume_unwind(panic),
        },
    }
}

/// Drops a handle as a panic does: the ring is left as a death would leave it.
fn die<T>(handle: T) {
    let _ = catch_unwind(AssertUnwindSafe(|| {
        let _handle = handle;
        resume_unwind(Box::new("an end by panic"));
    }));
}
