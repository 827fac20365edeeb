//! The environment variables, each read once and never on a hot path.

use std::str::FromStr;
use std::sync::OnceLock;
use std::time::Duration;

fn read<T: FromStr>(name: &str) -> Option<T> {
    read_as(name, "a number", |text| text.parse().ok())
}

fn read_as<T>(name: &str, expected: &str, parse: impl FnOnce(&str) -> Option<T>) -> Option<T> {
    let value = std::env::var_os(name)?;
    // a value that is not text is not what is expected, either
    let text = value.to_string_lossy();
    let parsed = parse(text.trim());
    if parsed.is_none() {
        tracing::warn!(variable = name, value = %text, "the variable is not {expected} and is ignored");
    }
    parsed
}

/// `MYELON_WAIT_STRATEGY`, as `parse` understands it. The caller reads it once.
pub(crate) fn wait_strategy<T>(parse: impl FnOnce(&str) -> Option<T>) -> Option<T> {
    read_as("MYELON_WAIT_STRATEGY", "a wait strategy", parse)
}

/// `MYELON_BLOCK_STRATEGY_US`, microseconds; 50.
pub(crate) fn block_sleep() -> Duration {
    static VALUE: OnceLock<Duration> = OnceLock::new();
    *VALUE.get_or_init(|| Duration::from_micros(read("MYELON_BLOCK_STRATEGY_US").unwrap_or(50)))
}

/// `MYELON_CONSUME_SLEEP_US`, microseconds; 50.
pub(crate) fn consume_sleep() -> Duration {
    static VALUE: OnceLock<Duration> = OnceLock::new();
    *VALUE.get_or_init(|| Duration::from_micros(read("MYELON_CONSUME_SLEEP_US").unwrap_or(50)))
}

/// `MYELON_DISCOVERY_POLL_MS`, milliseconds; 1.
pub(crate) fn discovery_poll() -> Duration {
    static VALUE: OnceLock<Duration> = OnceLock::new();
    *VALUE.get_or_init(|| Duration::from_millis(read("MYELON_DISCOVERY_POLL_MS").unwrap_or(1)))
}

/// `MYELON_AUTO_WAIT_DELAY_NS`, nanoseconds: auto consumers sleep this long between two polls, whatever their
/// strategy.
pub(crate) fn auto_wait_delay() -> Option<Duration> {
    static VALUE: OnceLock<Option<Duration>> = OnceLock::new();
    *VALUE.get_or_init(|| read("MYELON_AUTO_WAIT_DELAY_NS").map(Duration::from_nanos))
}

/// `MYELON_SHUTDOWN_GRACE_MS`, milliseconds; 1000.
pub(crate) fn shutdown_grace() -> Duration {
    static VALUE: OnceLock<Duration> = OnceLock::new();
    *VALUE.get_or_init(|| Duration::from_millis(read("MYELON_SHUTDOWN_GRACE_MS").unwrap_or(1000)))
}

/// `MYELON_PRODUCER_CORE`: the core to which a thread that builds a producer is pinned.
pub(crate) fn producer_core() -> Option<usize> {
    static VALUE: OnceLock<Option<usize>> = OnceLock::new();
    *VALUE.get_or_init(|| read("MYELON_PRODUCER_CORE"))
}

/// `MYELON_CONSUMER_CORE`: the core to which a thread that builds a consumer is pinned.
pub(crate) fn consumer_core() -> Option<usize> {
    static VALUE: OnceLock<Option<usize>> = OnceLock::new();
    *VALUE.get_or_init(|| read("MYELON_CONSUMER_CORE"))
}

/// `MYELON_AUTO_CONSUMER_CORE`: the core to which the threads of auto consumers are pinned.
pub(crate) fn auto_consumer_core() -> Option<usize> {
    static VALUE: OnceLock<Option<usize>> = OnceLock::new();
    *VALUE.get_or_init(|| read("MYELON_AUTO_CONSUMER_CORE"))
}

/// `MYELON_PROCESS_CORE`: the core to which the whole process is pinned.
pub(crate) fn process_core() -> Option<usize> {
    static VALUE: OnceLock<Option<usize>> = OnceLock::new();
    *VALUE.get_or_init(|| read("MYELON_PROCESS_CORE"))
}
