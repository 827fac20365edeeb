//! Events one at a time, each published only after the previous one was taken. At every event its consumer
//! sleeps or is about to, and only the consumer's own liveness check makes up for a lost wake-up.
//!
//! The producer writes the time into an event, and the consumer reports how late the event was. For space it is
//! the other way round: the consumer releases a slot, and the producer writes into the event when it used the
//! slot. The time for which the machine held back the process that had to act is subtracted: the waker's while
//! it wakes, the sleeper's from then on.

use std::collections::BTreeMap;
use std::process;
use std::time::{Duration, Instant};

use disruptor_mp::{
    AutoWaitStrategy, Consumer, Deadline, Producer, RequiredConsumerLivenessConfig, Sequence,
};
use myelon_tests::{Record, Tally};
use nix::time::{ClockId, clock_gettime};

use crate::held_back::{Steal, ready_time};
use crate::many::Waits;
use crate::options::Words;
use crate::{Answer, Failure};

/// The longest delay that an event or a slot may have.
const SOON: Duration = Duration::from_millis(50);

/// The shortest delay of a waker within one call that is reported. Only the waker knows that delay, and only
/// after its call has returned.
const NOTED: Duration = Duration::from_millis(1);

/// The time of an action, and how long the process that it wakes had been held back by then.
#[derive(Clone, Copy)]
struct Moment {
    at: Duration,
    ready: Duration,
}

impl Moment {
    /// A moment just before the process `of` may be woken. A later count includes the time for which it is held
    /// back from here on.
    fn before(of: u32) -> Self {
        Self {
            ready: ready_time(of),
            at: now(),
        }
    }

    /// The moment at which this process continued. The count is read after the clock, so it includes the time
    /// for which the process was held back until then.
    fn reached() -> Self {
        let at = now();
        Self {
            ready: ready_time(process::id()),
            at,
        }
    }

    /// An event that carries both numbers.
    fn event(self, sequence: Sequence) -> Record {
        let batch = (self.ready.as_nanos() as Sequence, 1);
        Record::by(self.at.as_nanos() as u64, sequence, batch)
    }

    fn of(record: &Record) -> Self {
        Self {
            at: Duration::from_nanos(record.writer),
            ready: Duration::from_nanos(record.batch_first),
        }
    }
}

/// How late the events of one call were: `worst_us` by the clock, and `rest_us` without the time for which the
/// machine held processes back. Each event that was too late is listed in `late=SEQUENCE:REST,...`; from this
/// the test subtracts the time for which its waker was held up.
struct Lateness {
    steal: Steal,
    measured: u32,
    late: BTreeMap<Sequence, Duration>,
    rest: Duration,
    worst: Duration,
}

impl Lateness {
    fn new() -> Self {
        Self {
            steal: Steal::from_now_on(),
            measured: 0,
            late: BTreeMap::new(),
            rest: Duration::ZERO,
            worst: Duration::ZERO,
        }
    }

    fn add(&mut self, sequence: Sequence, woken: Moment, got_on: Moment) {
        let late = got_on.at.saturating_sub(woken.at);
        let rest = late.saturating_sub(got_on.ready.saturating_sub(woken.ready));
        let rest = rest.saturating_sub(match rest > SOON {
            true => self.steal.since_for_certain(),
            false => self.steal.since(),
        });
        if rest > SOON {
            self.late.insert(sequence, rest);
        }
        self.measured += 1;
        self.rest = self.rest.max(rest);
        self.worst = self.worst.max(late);
    }
}

impl std::fmt::Display for Lateness {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { measured, late, .. } = self;
        let (rest, worst) = (self.rest.as_micros(), self.worst.as_micros());
        let late = list(late);
        write!(
            f,
            "measured={measured} late={late} rest_us={rest} worst_us={worst}"
        )
    }
}

/// `SEQUENCE:MICROSECONDS,...`
fn list(times: &BTreeMap<Sequence, Duration>) -> String {
    let times = times.iter();
    let words: Vec<_> = times
        .map(|(sequence, time)| format!("{sequence}:{}", time.as_micros()))
        .collect();
    words.join(",")
}

/// `gap_us=MOST seed=NUMBER`: pauses of random lengths up to MOST, the same ones for the same seed.
struct Gaps {
    random: fastrand::Rng,
    most_us: u64,
}

impl Gaps {
    fn of(words: &Words<'_>) -> Self {
        Self {
            random: fastrand::Rng::with_seed(words.number_or("seed", 0) as u64),
            most_us: words.number("gap_us") as u64,
        }
    }

    /// Half of the pauses spin to the end, because a sleep is never shorter than the resolution of the system's timer.
    fn pass(&mut self) {
        let gap = Duration::from_micros(self.random.u64(0..=self.most_us));
        let start = Instant::now();
        if self.random.bool() {
            std::thread::sleep(gap);
        }
        while start.elapsed() < gap {
            std::hint::spin_loop();
        }
    }
}

fn now() -> Duration {
    let now = clock_gettime(ClockId::CLOCK_MONOTONIC).expect("the clock");
    Duration::new(now.tv_sec() as u64, now.tv_nsec() as u32)
}

/// `send-spaced n= gap_us= seed= with=TAKER`: publishes an event, waits until it was released, pauses, and
/// publishes the next one. Reports the calls in which this process itself was held up.
pub(crate) fn send<B>(tx: &mut Producer<Record, B>, words: &Words<'_>) -> Answer {
    let (me, taker) = (process::id(), words.number("with") as u32);
    let mut gaps = Gaps::of(words);
    let mut held_up = BTreeMap::new();
    for _ in 0..words.number("n") {
        gaps.pass();
        let next = tx.last_published_sequence() + 1;
        let before = ready_time(me);
        tx.send(Deadline::NEVER, |record| {
            *record = Moment::before(taker).event(next);
        })?;
        let held = ready_time(me) - before;
        if held > NOTED {
            held_up.insert(next, held);
        }
        // by the clock, so that only the next event wakes the other process
        let look = AutoWaitStrategy::Sleep(Duration::from_micros(20));
        let is_consumed =
            tx.wait_until_consumed_with_strategy(next, Duration::from_secs(100), look);
        assert!(is_consumed, "event {next} was not taken");
    }
    let last = tx.last_published_sequence();
    Ok(format!("last={last} held={}", list(&held_up)))
}

/// `take-spaced n=`: reports how late each event was; `by=` as for `recv`.
pub(crate) fn take<B: 'static>(rx: &mut Consumer<Record, B>, words: &Words<'_>) -> Answer {
    let mut lateness = Lateness::new();
    let mut tally = Tally::new();
    let waits = Waits::of(rx, words)?;
    while tally.count < words.number("n") as u64 {
        waits.until_news(rx, Deadline::NEVER)?;
        let lease = rx.recv(Deadline::NEVER)?;
        let (sequence, got_on) = (lease.sequence(), Moment::reached());
        lateness.add(sequence, Moment::of(&lease), got_on);
        tally.add(sequence, &lease).map_err(fault)?;
    }
    Ok(format!("{tally} {lateness}"))
}

/// `use-spaced n=`: uses slots as soon as they are free.
pub(crate) fn take_slots<B>(tx: &mut Producer<Record, B>, words: &Words<'_>) -> Answer {
    for _ in 0..words.number("n") {
        let next = tx.last_published_sequence() + 1;
        tx.send(Deadline::NEVER, |record| {
            *record = Moment::reached().event(next);
        })?;
    }
    Ok(format!("last={}", tx.last_published_sequence()))
}

/// `release-spaced n= gap_us= seed= with=PRODUCER`: releases a slot of the full ring, waits until it was used
/// again, pauses, and releases the next one; at the end it releases the rest of the ring. Reports how late the
/// producer used the slots.
pub(crate) fn release<B>(rx: &mut Consumer<Record, B>, words: &Words<'_>) -> Answer {
    let (me, producer) = (process::id(), words.number("with") as u32);
    let mut gaps = Gaps::of(words);
    let mut lateness = Lateness::new();
    let mut tally = Tally::new();
    let mut released = BTreeMap::new();
    let capacity = rx.capacity() as i64;
    let until_full = |rx: &Consumer<Record, B>| {
        while rx.producer_sequence() != rx.current_sequence() + capacity {
            std::thread::yield_now();
        }
    };
    until_full(rx);
    let mut held_up = BTreeMap::new();
    for step in 0..words.number("n") + capacity {
        let is_spaced = step < words.number("n");
        if is_spaced {
            gaps.pass();
        }
        let (before, freed) = (ready_time(me), Moment::before(producer));
        let (sequence, record) = rx.consume_next();
        let held = ready_time(me) - before;
        if let Some(woken) = released.remove(&sequence) {
            lateness.add(sequence, woken, Moment::of(&record));
        }
        tally.add(sequence, &record).map_err(fault)?;
        if is_spaced {
            released.insert(sequence + capacity, freed);
            if held > NOTED {
                held_up.insert(sequence + capacity, held);
            }
            until_full(rx);
        }
    }
    Ok(format!("{tally} {lateness} held={}", list(&held_up)))
}

fn fault(text: String) -> Failure {
    Failure {
        kind: String::from("Fault"),
        before: String::new(),
        text,
    }
}

/// `cpu`: reports the processor time of this process so far.
pub(crate) fn cpu() -> Answer {
    let used = clock_gettime(ClockId::CLOCK_PROCESS_CPUTIME_ID)?;
    Ok(format!(
        "us={}",
        used.tv_sec() * 1_000_000 + used.tv_nsec() / 1_000
    ))
}

/// `await-id id= ms=`: waits until a consumer with this id is registered.
pub(crate) fn await_id<B>(tx: &mut Producer<Record, B>, words: &Words<'_>) -> Answer {
    let patience = Duration::from_millis(words.number("ms") as u64);
    let came = tx.wait_for_consumer_id(words.word("id"), patience);
    Ok(format!("came={came}"))
}

/// `require id= ms=`: publishes one event as soon as this consumer is registered.
pub(crate) fn require<B>(tx: &mut Producer<Record, B>, words: &Words<'_>) -> Answer {
    tx.enable_required_consumer_liveness(RequiredConsumerLivenessConfig {
        required_consumer_ids: vec![words.word("id").to_owned()],
        startup_wait_timeout: Duration::from_millis(words.number("ms") as u64),
        ..Default::default()
    });
    let next = tx.last_published_sequence() + 1;
    let last = tx.publish_managed(|record| record.write(next))?;
    Ok(format!("last={last}"))
}
