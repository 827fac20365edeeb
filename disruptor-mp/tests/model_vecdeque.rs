//! Random operations on a ring and on a model of it: a `VecDeque` of the retained events, and a position for
//! each consumer. Ring and model must agree, whatever the capacity and the first sequence are.

use std::collections::{BTreeMap, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind};

use disruptor_mp::{
    Consumer, Deadline, Heap, HeapRing, MissingFreeSlots, MultiProcessError, Producer, RecvError,
    SendError, Sequence,
};
use proptest::collection::vec;
use proptest::prelude::*;

const LAST_SEQUENCE: Sequence = (1 << 61) - 1;
/// Ids of durable consumers; automatic ones have higher numbers.
const DURABLE: [&str; 3] = ["a", "b", "c"];
const AUTOMATIC_MAX: usize = 3;
/// Fewer under Miri, where a case takes seconds.
const CASES: u32 = if cfg!(miri) { 2 } else { 256 };
const OPERATIONS: usize = if cfg!(miri) { 30 } else { 200 };

#[derive(Clone, Debug)]
enum Operation {
    Publish,
    Batch(usize),
    /// Claims and writes a slot, and does not publish it.
    Abandon,
    /// Publishes a batch whose writer panics at this event.
    BatchPanics(usize),
    Join(usize),
    JoinAutomatic,
    Detach(usize),
    Leave(usize),
    Remove(usize),
    Copy(usize),
    Lease(usize, LeaseEnd),
    Process(usize),
    /// Processes events with a handler that panics at this event.
    ProcessPanics(usize, usize),
    Close,
    Keep,
    /// Drops the producer by a panic, as if it had died.
    Die,
}

#[derive(Clone, Copy, Debug)]
enum LeaseEnd {
    Dropped,
    Committed,
    Uncommitted,
    Forgotten,
    Panicked,
}

fn operation() -> impl Strategy<Value = Operation> {
    use Operation::*;
    let who = 0..DURABLE.len() + AUTOMATIC_MAX;
    let end = prop_oneof![
        Just(LeaseEnd::Dropped),
        Just(LeaseEnd::Committed),
        Just(LeaseEnd::Uncommitted),
        Just(LeaseEnd::Forgotten),
        Just(LeaseEnd::Panicked),
    ];
    prop_oneof![
        12 => Just(Publish),
        6 => (0usize..10).prop_map(Batch),
        2 => (0usize..80).prop_map(Batch),
        1 => (0usize..600).prop_map(Batch),
        1 => Just(Abandon),
        1 => (0usize..4).prop_map(BatchPanics),
        2 => (0..DURABLE.len()).prop_map(Join),
        1 => Just(JoinAutomatic),
        1 => who.clone().prop_map(Detach),
        1 => who.clone().prop_map(Leave),
        1 => (0..DURABLE.len()).prop_map(Remove),
        6 => who.clone().prop_map(Copy),
        6 => (who.clone(), end).prop_map(|(who, end)| Lease(who, end)),
        6 => who.clone().prop_map(Process),
        1 => (who, 0usize..4).prop_map(|(who, at)| ProcessPanics(who, at)),
        1 => Just(Close),
        1 => Just(Keep),
        1 => Just(Die),
    ]
}

#[derive(Clone, Debug)]
struct Scenario {
    capacity: usize,
    first: Sequence,
    /// A durable consumer that the first producer expects.
    expected: Option<usize>,
    operations: Vec<Operation>,
}

fn scenario() -> impl Strategy<Value = Scenario> {
    let first = prop_oneof![
        2 => Just(0),
        1 => 0..200i64,
        1 => (1i64 << 32) - 150..(1 << 32) + 50,
        1 => LAST_SEQUENCE - 150..=LAST_SEQUENCE,
    ];
    let expected = prop_oneof![3 => Just(None), 1 => (0..DURABLE.len()).prop_map(Some)];
    // from 512 slots on a producer finds its position by its own stamps
    let bits = prop_oneof![4 => 0u32..=6, 1 => Just(9)];
    (bits, first, expected, vec(operation(), 1..OPERATIONS)).prop_map(
        |(bits, first, expected, operations)| Scenario {
            capacity: 1 << bits,
            first,
            expected,
            operations,
        },
    )
}

/// The value of the event with this `sequence`.
fn event(sequence: Sequence) -> u64 {
    (sequence as u64 + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15)
}

/// The model and the ring that has to agree with it.
struct Bench {
    capacity: i64,
    first: Sequence,
    ring: HeapRing<u64>,
    tx: Option<Producer<u64, Heap>>,
    attached: BTreeMap<usize, Consumer<u64, Heap>>,
    /// The last `capacity` events, oldest first.
    retained: VecDeque<(Sequence, u64)>,
    last: Sequence,
    /// The last released sequence of every registered consumer, attached or away.
    positions: BTreeMap<usize, Sequence>,
    /// The consumer that the producer expects and has never seen.
    expected: Option<usize>,
    /// The highest value that the floor may have: joiners start above the floor.
    floor_max: Sequence,
}

impl Bench {
    fn new(scenario: &Scenario) -> Self {
        let ring = HeapRing::with_first_sequence(scenario.capacity, scenario.first).unwrap();
        let mut tx = ring.producer().unwrap();
        if let Some(who) = scenario.expected {
            tx.expect_consumer_id(DURABLE[who]).unwrap();
        }
        Self {
            capacity: scenario.capacity as i64,
            first: scenario.first,
            ring,
            tx: Some(tx),
            attached: BTreeMap::new(),
            retained: VecDeque::new(),
            last: scenario.first - 1,
            positions: BTreeMap::new(),
            expected: scenario.expected,
            floor_max: scenario.first - 1,
        }
    }

    fn tx(&mut self) -> &mut Producer<u64, Heap> {
        self.tx.as_mut().unwrap()
    }

    /// How many events may be published now.
    fn free(&self) -> i64 {
        let gate = match self.positions.values().min() {
            _ if self.expected.is_some() => self.first - 1,
            Some(smallest) => *smallest,
            None => self.last,
        };
        (gate + self.capacity).min(LAST_SEQUENCE) - self.last
    }

    /// Notes the effect of an attempt to publish `n` events.
    fn note_floor(&mut self, n: i64) {
        let floor = match self.positions.values().min() {
            _ if self.expected.is_some() => self.first - 1,
            Some(smallest) => *smallest,
            None => self.last - self.capacity + n.max(self.capacity / 8).clamp(1, self.capacity),
        };
        self.floor_max = self.floor_max.max(floor);
    }

    fn published(&mut self, n: usize) {
        for _ in 0..n {
            self.last += 1;
            self.retained.push_back((self.last, event(self.last)));
            if self.retained.len() > self.capacity as usize {
                self.retained.pop_front();
            }
        }
    }

    fn publish(&mut self) {
        let (free, next) = (self.free(), self.last + 1);
        self.note_floor(1);
        let outcome = self.tx().try_publish(|slot| *slot = event(next));
        assert_eq!(outcome.is_ok(), free >= 1, "{outcome:?}, {free} are free");
        if let Ok(sequence) = outcome {
            assert_eq!(sequence, next);
            self.published(1);
        }
    }

    fn batch(&mut self, n: usize) {
        let (free, first) = (self.free(), self.last + 1);
        self.note_floor(n as i64);
        let outcome = self
            .tx()
            .try_batch_publish(n, |slot, index| *slot = event(first + index as i64));
        match outcome {
            Ok(last) => {
                assert!(n as i64 <= free, "{n} published, {free} were free");
                assert_eq!(last, first - 1 + n as i64);
                self.published(n);
            }
            Err(MissingFreeSlots {
                requested,
                available,
                ..
            }) => {
                assert!(n as i64 > free, "{n} refused, {free} are free");
                assert_eq!(requested, n);
                assert!(available < n && available as i64 <= free.max(0));
            }
        }
    }

    fn abandon(&mut self) {
        let free = self.free();
        self.note_floor(1);
        let claim = self.tx().try_claim();
        assert_eq!(claim.is_ok(), free >= 1);
        if let Ok(mut claim) = claim {
            *claim = 0xDEAD;
        }
    }

    /// A writer that panics publishes nothing.
    fn batch_panics(&mut self, at: usize) {
        let n = at + 1;
        self.note_floor(n as i64);
        if self.free() < n as i64 {
            return;
        }
        let tx = self.tx();
        let outcome = catch_unwind(AssertUnwindSafe(|| {
            tx.try_batch_publish(n, |slot, index| {
                *slot = 0xDEAD;
                assert!(index < at, "on purpose");
            })
        }));
        assert!(outcome.is_err());
    }

    fn join(&mut self, who: usize) {
        let id = DURABLE.get(who);
        let outcome = match id {
            Some(id) => self.ring.consumer(id),
            None => self.ring.builder().build_consumer(),
        };
        if self.attached.contains_key(&who) {
            let again = outcome.unwrap_err();
            assert!(matches!(
                again,
                MultiProcessError::ConsumerAlreadyAttached { .. }
            ));
            return;
        }
        let rx = outcome.unwrap();
        let position = rx.current_sequence();
        match self.positions.get(&who) {
            Some(expected) => assert_eq!(position, *expected, "rejoins where it was"),
            None => self.check_start(position),
        }
        assert_eq!(rx.producer_sequence(), self.last);
        self.positions.insert(who, position);
        self.attached.insert(who, rx);
        if self.expected == Some(who) {
            assert_eq!(position, self.first - 1, "expected, so it misses nothing");
            self.expected = None;
            // a consumer counts as seen when the producer checks: if it had gone before that, it would still
            // be expected
            assert!(self.tx().discover_consumer_id(DURABLE[who]));
        }
    }

    fn check_start(&self, position: Sequence) {
        let oldest = self.last - self.capacity + 1;
        assert!(
            position + 1 >= oldest.max(self.first),
            "starts at a lost event"
        );
        let latest = match self.positions.values().min() {
            Some(smallest) => self.floor_max.min(*smallest),
            None => self.floor_max,
        };
        assert!(
            position <= latest,
            "starts after {position}, {latest} at the latest"
        );
    }

    fn detach(&mut self, who: usize) {
        let Some(rx) = self.attached.remove(&who) else {
            return;
        };
        rx.detach().unwrap();
        if who >= DURABLE.len() {
            self.positions.remove(&who);
        }
    }

    fn leave(&mut self, who: usize) {
        if let Some(rx) = self.attached.remove(&who) {
            rx.leave().unwrap();
            self.positions.remove(&who);
        }
    }

    fn remove(&mut self, who: usize) {
        let outcome = self.tx().remove_consumer(DURABLE[who]);
        match outcome {
            Ok(()) => {
                assert!(!self.attached.contains_key(&who));
                let had_come = self.positions.remove(&who).is_some();
                let was_expected = self.expected.take_if(|expected| *expected == who);
                assert!(had_come || was_expected.is_some());
            }
            Err(MultiProcessError::ConsumerAlreadyAttached { .. }) => {
                assert!(self.attached.contains_key(&who))
            }
            Err(MultiProcessError::NoSuchConsumer { .. }) => {
                assert!(!self.positions.contains_key(&who))
            }
            Err(error) => panic!("{error}"),
        }
    }

    /// The event that `who` reads next, and its sequence.
    fn next_of(&self, who: usize) -> Option<(Sequence, u64)> {
        let next = self.positions[&who] + 1;
        if next > self.last {
            return None;
        }
        let oldest = self.retained[0].0;
        assert!(next >= oldest, "{next} is lost to {who}");
        Some(self.retained[(next - oldest) as usize])
    }

    fn copy(&mut self, who: usize) {
        let Some(mut rx) = self.attached.remove(&who) else {
            return;
        };
        let expected = self.next_of(who);
        assert_eq!(rx.try_consume_next(), expected);
        if let Some((sequence, _)) = expected {
            self.positions.insert(who, sequence);
        }
        self.attached.insert(who, rx);
    }

    fn lease(&mut self, who: usize, end: LeaseEnd) {
        let Some(mut rx) = self.attached.remove(&who) else {
            return;
        };
        let expected = self.next_of(who);
        match rx.recv(Deadline::after(std::time::Duration::ZERO)) {
            Ok(lease) => {
                assert_eq!(Some((lease.sequence(), *lease)), expected);
                match end {
                    LeaseEnd::Dropped => drop(lease),
                    LeaseEnd::Committed => lease.commit(),
                    LeaseEnd::Uncommitted => lease.release_uncommitted(),
                    LeaseEnd::Forgotten => core::mem::forget(lease),
                    LeaseEnd::Panicked => {
                        let outcome = catch_unwind(AssertUnwindSafe(|| {
                            let _lease = lease;
                            panic!("on purpose");
                        }));
                        assert!(outcome.is_err());
                    }
                }
                if let (Some((sequence, _)), LeaseEnd::Dropped | LeaseEnd::Committed) =
                    (expected, end)
                {
                    self.positions.insert(who, sequence);
                }
            }
            Err(error) => {
                assert_eq!(error, RecvError::Timeout);
                assert_eq!(expected, None);
            }
        }
        self.attached.insert(who, rx);
    }

    fn process(&mut self, who: usize, panics_at: Option<usize>) {
        let Some(mut rx) = self.attached.remove(&who) else {
            return;
        };
        let mut seen = Vec::new();
        let outcome = catch_unwind(AssertUnwindSafe(|| {
            rx.process_available(|event, sequence| {
                assert!(panics_at != Some(seen.len()), "on purpose");
                seen.push((sequence, *event));
            })
        }));
        if let Ok(count) = outcome {
            assert_eq!(count, seen.len());
            assert_eq!(seen.len() as i64, self.last - self.positions[&who]);
        }
        for found in seen {
            assert_eq!(Some(found), self.next_of(who));
            self.positions.insert(who, found.0);
        }
        assert_eq!(rx.current_sequence(), self.positions[&who]);
        self.attached.insert(who, rx);
    }

    /// The producer ends, consumers drain, and a successor continues.
    fn succeed(&mut self, end: impl FnOnce(Producer<u64, Heap>)) {
        end(self.tx.take().unwrap());
        let mut tx = self.ring.producer().unwrap();
        assert_eq!(tx.last_published_sequence(), self.last);
        assert!(self.ring.producer().is_err(), "a second live producer");
        if let Some(who) = self.expected {
            tx.expect_consumer_id(DURABLE[who]).unwrap();
        }
        self.tx = Some(tx);
    }

    fn drained(&mut self, expected: fn(&RecvError) -> bool) {
        for (who, rx) in &mut self.attached {
            if self.positions[who] == self.last {
                let end = rx.recv(Deadline::after(std::time::Duration::from_secs(60)));
                let end = end.map(|lease| *lease).unwrap_err();
                assert!(expected(&end), "{end:?}");
            }
        }
    }

    fn apply(&mut self, operation: &Operation) {
        match *operation {
            Operation::Publish => self.publish(),
            Operation::Batch(n) => self.batch(n),
            Operation::Abandon => self.abandon(),
            Operation::BatchPanics(at) => self.batch_panics(at),
            Operation::Join(who) => self.join(who),
            Operation::JoinAutomatic => {
                let automatic = DURABLE.len()..DURABLE.len() + AUTOMATIC_MAX;
                let free = automatic
                    .into_iter()
                    .find(|who| !self.attached.contains_key(who));
                free.into_iter().for_each(|who| self.join(who));
            }
            Operation::Detach(who) => self.detach(who),
            Operation::Leave(who) => self.leave(who),
            Operation::Remove(who) => self.remove(who),
            Operation::Copy(who) => self.copy(who),
            Operation::Lease(who, end) => self.lease(who, end),
            Operation::Process(who) => self.process(who, None),
            Operation::ProcessPanics(who, at) => self.process(who, Some(at)),
            Operation::Close => {
                let report = self.tx.take().unwrap().close().unwrap();
                if let Some(who) = self.expected.filter(|_| self.last >= self.first) {
                    // the consumer's place is kept
                    assert!(report.kept_for.iter().any(|id| id == DURABLE[who]));
                    self.positions.insert(who, self.first - 1);
                }
                self.drained(|end| *end == RecvError::Closed);
                self.tx = Some(self.ring.producer().unwrap());
                self.succeed(|tx| drop(tx.close().unwrap()));
            }
            Operation::Keep => self.succeed(|tx| tx.keep().unwrap()),
            Operation::Die => self.succeed(|tx| {
                let outcome = catch_unwind(AssertUnwindSafe(|| {
                    let _tx = tx;
                    panic!("on purpose");
                }));
                assert!(outcome.is_err());
            }),
        }
    }

    /// Compares what the handles report with the model.
    fn check(&mut self) {
        let smallest = self.positions.values().min().copied();
        let (last, count) = (self.last, self.positions.len());
        let positions = self.positions.clone();
        let tx = self.tx();
        assert_eq!(tx.last_published_sequence(), last);
        assert_eq!(tx.get_consumer_count(), count);
        assert_eq!(tx.min_gating_sequence(), smallest.unwrap_or(last));
        for (who, id) in DURABLE.iter().enumerate() {
            assert_eq!(tx.consumer_sequence(id), positions.get(&who).copied());
        }
        for (who, rx) in &self.attached {
            assert_eq!(rx.current_sequence(), self.positions[who]);
            assert_eq!(rx.producer_sequence(), self.last);
        }
    }
}

/// Hides the messages of deliberate panics.
fn silence_panics_on_purpose() {
    static ONCE: std::sync::Once = std::sync::Once::new();
    ONCE.call_once(|| {
        let hook = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            let said = info.payload_as_str().unwrap_or_default();
            if !said.starts_with("on purpose") {
                hook(info);
            }
        }));
    });
}

proptest! {
    #![proptest_config(ProptestConfig { cases: CASES, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn ring_agrees_with_its_model(scenario in scenario()) {
        silence_panics_on_purpose();
        let mut bench = Bench::new(&scenario);
        for operation in &scenario.operations {
            bench.apply(operation);
            bench.check();
        }
    }
}

/// Without consumers the producer never waits, however many events it publishes at a time.
#[test]
fn runs_free_without_consumers() {
    for capacity in [1, 2, 4, 8, 16, 64] {
        let ring = HeapRing::<u64>::new(capacity).unwrap();
        let mut tx = ring.producer().unwrap();
        for n in (1..=capacity).chain([capacity, 1, capacity]) {
            tx.try_batch_publish(n, |slot, _| *slot = 0)
                .unwrap_or_else(|error| panic!("{n} of {capacity}: {error}"));
        }
    }
}

/// While an expected consumer is absent, exactly one ring of events can be published.
#[test]
fn expected_consumers_get_exactly_one_ring() {
    for capacity in [1, 8] {
        let ring = HeapRing::<u64>::new(capacity).unwrap();
        let mut tx = ring
            .builder()
            .enable_discovery(1)
            .build_zeroed_producer()
            .unwrap();
        let count = (0..2 * capacity)
            .map_while(|_| tx.try_publish(|slot| *slot = 0).ok())
            .count();
        assert_eq!(count, capacity);
        let rx = ring.consumer("late").unwrap();
        assert_eq!(rx.current_sequence(), -1);
    }
}

/// After at most as many publishes as the ring has slots, a joiner starts at the first event, whatever the
/// producer tried or asked meanwhile.
#[test]
fn joiner_gets_the_first_lap_whole() {
    let meanwhile: [fn(&mut Producer<u64, Heap>); 4] = [
        |_| {},
        |tx| assert!(tx.try_batch_publish(9, |_, _| {}).is_err()),
        |tx| assert!(tx.try_batch_publish(7, |_, _| {}).is_err()),
        |tx| assert_eq!(tx.blocked_on(), None),
    ];
    for (what, act) in meanwhile.into_iter().enumerate() {
        let ring = HeapRing::<u64>::new(8).unwrap();
        let mut tx = ring.producer().unwrap();
        let mut early = ring.consumer("early").unwrap();
        (0..4).for_each(|event| tx.publish_value(event));
        assert!(early.try_consume_next().is_some());
        act(&mut tx);
        let late = ring.consumer("late").unwrap();
        assert_eq!(late.current_sequence(), -1, "case {what}");
    }
}

/// Sequences end at 2^61 − 1: a batch that goes beyond is refused, and does not wait.
#[test]
fn batches_end_with_the_sequences() {
    let ring = HeapRing::<u64>::with_first_sequence(4, LAST_SEQUENCE).unwrap();
    let mut tx = ring.producer().unwrap();
    let mut rx = ring.consumer("reader").unwrap();
    let deadline = Deadline::after(std::time::Duration::from_secs(20));
    let outcome = tx.send_batch(2, deadline, |slot, _| *slot = 0);
    assert!(matches!(outcome, Err(SendError::SequenceExhausted)));
    assert_eq!(tx.send(deadline, |slot| *slot = 7), Ok(LAST_SEQUENCE));
    assert_eq!(rx.try_consume_next(), Some((LAST_SEQUENCE, 7)));
    assert_eq!(tx.send(deadline, |_| {}), Err(SendError::SequenceExhausted));
    assert_eq!(rx.try_consume_next(), None);
}
