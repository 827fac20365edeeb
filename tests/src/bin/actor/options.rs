//! The words of a line, and the builder options that they set.

use std::time::Duration;

use disruptor_mp::{
    AutoWaitStrategy, CoordinationMode, Deadline, DiscoveryMode, DisruptorBuilder, Event, StartFrom,
};

/// A verb and its `key=value` words.
pub(crate) struct Words<'a> {
    pub(crate) verb: &'a str,
    pairs: Vec<(&'a str, &'a str)>,
}

impl<'a> Words<'a> {
    pub(crate) fn parse(line: &'a str) -> Self {
        let mut words = line.split_whitespace();
        Self {
            verb: words.next().unwrap_or_default(),
            pairs: words
                .map(|word| word.split_once('=').unwrap_or((word, "")))
                .collect(),
        }
    }

    pub(crate) fn get(&self, key: &str) -> Option<&'a str> {
        self.pairs
            .iter()
            .find(|(name, _)| *name == key)
            .map(|(_, value)| *value)
    }

    pub(crate) fn word(&self, key: &str) -> &'a str {
        self.get(key)
            .unwrap_or_else(|| panic!("{} needs {key}=", self.verb))
    }

    pub(crate) fn number(&self, key: &str) -> i64 {
        parse(self.word(key))
    }

    pub(crate) fn number_or(&self, key: &str, otherwise: i64) -> i64 {
        self.get(key).map_or(otherwise, parse)
    }

    /// The deadline in `ms=` milliseconds, by default 100,000.
    pub(crate) fn deadline(&self) -> Deadline {
        Deadline::after(Duration::from_millis(self.number_or("ms", 100_000) as u64))
    }

    fn strategy(&self) -> AutoWaitStrategy {
        match self.get("strategy").unwrap_or("yield") {
            "busy" => AutoWaitStrategy::BusySpin,
            "hint" => AutoWaitStrategy::BusySpinWithSpinLoopHint,
            "yield" => AutoWaitStrategy::SpinThenYield { spins: 100 },
            "sleep" => AutoWaitStrategy::Sleep(Duration::from_micros(200)),
            "block" => AutoWaitStrategy::Block,
            other => panic!("no such strategy: {other}"),
        }
    }
}

fn parse(number: &str) -> i64 {
    number
        .parse()
        .unwrap_or_else(|_| panic!("no number: {number}"))
}

/// `7:200`: a count and a number of milliseconds.
fn pair(text: &str) -> (usize, Duration) {
    let (first, second) = text.split_once(':').expect("two numbers");
    (
        parse(first) as usize,
        Duration::from_millis(parse(second) as u64),
    )
}

fn for_both<E: Event, B>(
    mut builder: DisruptorBuilder<E, B>,
    words: &Words<'_>,
) -> DisruptorBuilder<E, B> {
    builder = builder.with_wait_strategy(words.strategy());
    if let Some(ms) = words.get("interval_ms") {
        let interval = Duration::from_millis(parse(ms) as u64);
        builder = builder.with_liveness_interval(interval);
    }
    if let Some(ms) = words.get("discovery_ms") {
        let interval = Duration::from_millis(parse(ms) as u64);
        builder = builder.with_discovery_interval(interval);
    }
    if words.get("any-owner").is_some() {
        builder = builder.allow_any_owner();
    }
    builder
}

pub(crate) fn for_producer<E: Event, B>(
    builder: DisruptorBuilder<E, B>,
    words: &Words<'_>,
) -> DisruptorBuilder<E, B> {
    let mut builder = for_both(builder, words).with_first_sequence(words.number_or("first", 0));
    if let Some(mode) = words.get("mode") {
        builder = builder.with_mode(u32::from_str_radix(mode, 8).expect("an octal number"));
    }
    if words.get("observers").is_some() {
        builder = builder.with_observers();
    }
    if words.get("recreate").is_some() {
        builder = builder.recreate();
    }
    if let Some(ids) = words.get("ids") {
        let ids = ids.split(',').map(String::from).collect();
        builder = builder.with_discovery(DiscoveryMode::Ids(ids));
    }
    if let Some((prefix, count)) = words.get("prefix").and_then(|word| word.split_once(':')) {
        builder = builder.discover_consumer_with_prefix(parse(count) as usize, prefix);
    }
    if words.get("any").is_some() {
        builder = builder.enable_discovery(1);
    }
    if let Some((min_consumers, timeout)) = words.get("wait").map(pair) {
        builder = builder.with_coordination(CoordinationMode::WaitForConsumers {
            min_consumers,
            timeout,
        });
    }
    if let Some(max_buffer) = words.get("buffer") {
        let max_buffer = parse(max_buffer) as usize;
        builder = builder.with_coordination(CoordinationMode::BufferUntilConsumers { max_buffer });
    }
    builder
}

pub(crate) fn for_consumer<E: Event, B>(
    builder: DisruptorBuilder<E, B>,
    words: &Words<'_>,
) -> DisruptorBuilder<E, B> {
    let mut builder = for_both(builder, words);
    if let Some(id) = words.get("id") {
        builder = builder.with_consumer_id(id);
    }
    if let Some(start) = words.get("start") {
        builder = builder.with_start(match start {
            "oldest" => StartFrom::Oldest,
            "latest" => StartFrom::Latest,
            sequence => StartFrom::Sequence(parse(sequence)),
        });
    }
    builder
}
