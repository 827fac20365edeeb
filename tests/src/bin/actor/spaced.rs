//! Events one at a time, each only after the one before it was taken: every one of them finds its taker falling asleep
//! or asleep, and a wake-up that is lost is made up for by nothing but the taker's own clock.
//!
//! Who sends an event writes the time into it, who takes it says how late it was. For space it is the other way round:
//! the consumer gives a slot free and waits until it is used.

use std::time::{Duration, Instant};

use disruptor_mp::{
    AutoWaitStrategy, Consumer, Deadline, Producer, RequiredConsumerLivenessConfig,
};
use myelon_tests::{Record, Tally};
use nix::time::{ClockId, clock_gettime};

use crate::many::Waits;
use crate::options::Words;
use crate::{Answer, Failure};

/// No event and no slot may take longer.
const SOON: Duration = Duration::from_millis(50);

/// How late the events of one call were.
#[derive(Debug, Default)]
struct Lateness {
    slow: u32,
    worst: Duration,
}

impl Lateness {
    fn add(&mut self, late: Duration) {
        self.slow += u32::from(late > SOON);
        self.worst = self.worst.max(late);
    }
}

impl std::fmt::Display for Lateness {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "slow={} worst_us={}", self.slow, self.worst.as_micros())
    }
}

/// `gap_us=MOST seed=NUMBER`: pauses of any length up to that, the same ones for the same seed. They are a yardstick as
/// well: how much longer than asked for they last is what the machine does to anybody who sleeps.
struct Gaps {
    random: fastrand::Rng,
    most_us: u64,
    stalls: u32,
}

impl Gaps {
    fn of(words: &Words<'_>) -> Self {
        Self {
            random: fastrand::Rng::with_seed(words.number_or("seed", 0) as u64),
            most_us: words.number("gap_us") as u64,
            stalls: 0,
        }
    }

    /// Short ones are spun away: a sleep is never shorter than the system's timer is coarse.
    fn pass(&mut self) {
        let gap = Duration::from_micros(self.random.u64(0..=self.most_us));
        let start = Instant::now();
        if self.random.bool() {
            std::thread::sleep(gap);
        }
        while start.elapsed() < gap {
            std::hint::spin_loop();
        }
        self.stalls += u32::from(start.elapsed() > gap + SOON / 5);
    }
}

fn now() -> Duration {
    let now = clock_gettime(ClockId::CLOCK_MONOTONIC).expect("the clock");
    Duration::new(now.tv_sec() as u64, now.tv_nsec() as u32)
}

/// `send-spaced n= gap_us= seed=`: an event, and the next one after it was released and a pause.
pub(crate) fn send<B>(tx: &mut Producer<Record, B>, words: &Words<'_>) -> Answer {
    let mut gaps = Gaps::of(words);
    for _ in 0..words.number("n") {
        gaps.pass();
        let next = tx.last_published_sequence() + 1;
        tx.send(Deadline::NEVER, |record| {
            *record = Record::by(now().as_nanos() as u64, next, (next, 1));
        })?;
        // by the clock: nobody is to be woken but by the next event
        let look = AutoWaitStrategy::Sleep(Duration::from_micros(20));
        let is_consumed =
            tx.wait_until_consumed_with_strategy(next, Duration::from_secs(100), look);
        assert!(is_consumed, "event {next} was not taken");
    }
    Ok(format!(
        "last={} stalls={}",
        tx.last_published_sequence(),
        gaps.stalls
    ))
}

/// `take-spaced n=`: how late each event was; `by=` as for `recv`.
pub(crate) fn take<B: 'static>(rx: &mut Consumer<Record, B>, words: &Words<'_>) -> Answer {
    let mut lateness = Lateness::default();
    let mut tally = Tally::new();
    let waits = Waits::of(rx, words)?;
    while tally.count < words.number("n") as u64 {
        waits.until_news(rx, Deadline::NEVER)?;
        let lease = rx.recv(Deadline::NEVER)?;
        lateness.add(now().saturating_sub(Duration::from_nanos(lease.writer)));
        tally.add(lease.sequence(), &lease).map_err(fault)?;
    }
    Ok(format!("{tally} {lateness}"))
}

/// `release-spaced n= gap_us= seed=`: a slot of the full ring, and the next one after it was used again and a pause.
/// Answers how late the producer used them.
pub(crate) fn release<B>(rx: &mut Consumer<Record, B>, words: &Words<'_>) -> Answer {
    let mut gaps = Gaps::of(words);
    let mut lateness = Lateness::default();
    let mut tally = Tally::new();
    let capacity = rx.capacity() as i64;
    let is_full =
        |rx: &Consumer<Record, B>| rx.producer_sequence() == rx.current_sequence() + capacity;
    while !is_full(rx) {
        std::thread::yield_now();
    }
    for _ in 0..words.number("n") {
        gaps.pass();
        let (sequence, record) = rx.consume_next();
        let released_at = Instant::now();
        tally.add(sequence, &record).map_err(fault)?;
        while !is_full(rx) {
            std::thread::yield_now();
        }
        lateness.add(released_at.elapsed());
    }
    Ok(format!("{tally} {lateness} stalls={}", gaps.stalls))
}

fn fault(text: String) -> Failure {
    Failure {
        kind: String::from("Fault"),
        before: String::new(),
        text,
    }
}

/// `cpu`: the processor time of this process so far.
pub(crate) fn cpu() -> Answer {
    let used = clock_gettime(ClockId::CLOCK_PROCESS_CPUTIME_ID)?;
    Ok(format!(
        "us={}",
        used.tv_sec() * 1_000_000 + used.tv_nsec() / 1_000
    ))
}

/// `await-id id= ms=`: until a consumer with this id is registered.
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
