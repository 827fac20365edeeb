//! The environment variables, each read once and never on a hot path.

use std::str::FromStr;
use std::sync::OnceLock;
use std::time::Duration;

fn read<T: FromStr>(name: &str) -> Option<T> {
    let value = std::env::var_os(name)?;
    // what is no text is no number, either
    let text = value.to_string_lossy();
    match text.trim().parse() {
        Ok(value) => Some(value),
        Err(_) => {
            tracing::warn!(variable = name, value = %text, "not a number: ignored");
            None
        }
    }
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

/// `MYELON_AUTO_WAIT_DELAY_NS`, nanoseconds: auto consumers sleep this long between two looks, whatever their strategy.
pub(crate) fn auto_wait_delay() -> Option<Duration> {
    static VALUE: OnceLock<Option<Duration>> = OnceLock::new();
    *VALUE.get_or_init(|| read("MYELON_AUTO_WAIT_DELAY_NS").map(Duration::from_nanos))
}

/// `MYELON_SHUTDOWN_GRACE_MS`, milliseconds; 1000.
pub(crate) fn shutdown_grace() -> Duration {
    static VALUE: OnceLock<Duration> = OnceLock::new();
    *VALUE.get_or_init(|| Duration::from_millis(read("MYELON_SHUTDOWN_GRACE_MS").unwrap_or(1000)))
}

/// `MYELON_PRODUCER_CORE`: where a thread that builds a producer is pinned.
pub(crate) fn producer_core() -> Option<usize> {
    static VALUE: OnceLock<Option<usize>> = OnceLock::new();
    *VALUE.get_or_init(|| read("MYELON_PRODUCER_CORE"))
}

/// `MYELON_CONSUMER_CORE`: where a thread that builds a consumer is pinned.
pub(crate) fn consumer_core() -> Option<usize> {
    static VALUE: OnceLock<Option<usize>> = OnceLock::new();
    *VALUE.get_or_init(|| read("MYELON_CONSUMER_CORE"))
}

/// `MYELON_AUTO_CONSUMER_CORE`: where the threads of auto consumers are pinned.
pub(crate) fn auto_consumer_core() -> Option<usize> {
    static VALUE: OnceLock<Option<usize>> = OnceLock::new();
    *VALUE.get_or_init(|| read("MYELON_AUTO_CONSUMER_CORE"))
}

/// `MYELON_PROCESS_CORE`: where the whole process is pinned.
pub(crate) fn process_core() -> Option<usize> {
    static VALUE: OnceLock<Option<usize>> = OnceLock::new();
    *VALUE.get_or_init(|| read("MYELON_PROCESS_CORE"))
}
