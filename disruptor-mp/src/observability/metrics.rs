//! Counters as text for Prometheus.
//!
//! This does not use a client library: those keep the values themselves, in a registry that would have to be updated
//! from each snapshot. All that remains is to write one line for each value, with three characters escaped.

use core::fmt::Write;
use std::collections::BTreeMap;
use std::path::Path;

use super::{COUNTERS, CounterId, CounterSnapshot};

/// What tells a value from the others of an export: the id, the label, and the directory of the ring.
pub(super) type Key<'a> = (CounterId, &'a str, Option<&'a Path>);

/// One value for each key. Several counters may have the same one: those of two processes with one label, or of a
/// process and its dead predecessor. Counts are added up; of levels, the highest counts.
pub(super) fn merged<'a>(
    counters: impl IntoIterator<Item = &'a CounterSnapshot>,
) -> BTreeMap<Key<'a>, u64> {
    let mut values = BTreeMap::new();
    for counter in counters {
        let key = (counter.id, &*counter.label, counter.directory.as_deref());
        let value: &mut u64 = values.entry(key).or_default();
        *value = match is_level(counter.id) {
            true => counter.value.max(*value),
            false => counter.value.wrapping_add(*value),
        };
    }
    values
}

/// Whether the counter is a level, and not a count that only grows.
pub(super) fn is_level(id: CounterId) -> bool {
    matches!(
        id,
        CounterId::CONSUMER_LAG
            | CounterId::CONSUMER_LAG_MAX
            | CounterId::REQUESTS_IN_FLIGHT
            | CounterId::OLDEST_REQUEST_MS
            | CounterId::REQUEST_DELIVERIES
    )
}

/// The attributes of a value: its endpoint's ring, role, id and directory, or id and label of a program's own counter.
pub(super) fn attributes((id, label, directory): Key<'_>) -> Vec<(&'static str, String)> {
    match id.name() {
        Some(_) => {
            let parts = label.splitn(3, '/').map(str::to_owned);
            let parts = ["ring", "role", "id"].into_iter().zip(parts);
            let directory = directory.map(|it| ("directory", it.to_string_lossy().into_owned()));
            parts.chain(directory).collect()
        }
        None => vec![
            ("id", format!("{:#x}", id.get())),
            ("label", label.to_owned()),
        ],
    }
}

fn labels(key: Key<'_>) -> String {
    let pair = |(name, text): (_, String)| format!("{name}=\"{}\"", escaped(&text));
    let pairs: Vec<_> = attributes(key).into_iter().map(pair).collect();
    pairs.join(",")
}

/// Counters in Prometheus' text format, version 0.0.4. An HTTP handler returns the text for a scrape, under
/// the content type `text/plain; version=0.0.4`; or the program writes it to a file for the node exporter's
/// textfile collector.
///
/// A counter of this crate family is `myelon_<name>_total`, except for the gauges: `myelon_consumer_lag`,
/// `myelon_consumer_lag_max`, `myelon_requests_in_flight`, `myelon_oldest_request_ms`, `myelon_request_deliveries`. The
/// labels `ring`, `role`, `id` and `directory` say to which endpoint it belongs: a producer has no `id`, and a ring on
/// the heap no `directory`. A program's own counters are `myelon_counter`, distinguished by `id` and `label`. They are
/// untyped, as only the program knows whether they can fall. Counters of the same labels are one value. A producer that
/// is restarted counts from zero, which `rate()` treats as a counter reset.
///
/// # Examples
///
/// ```
/// use disruptor_mp::CountersFile;
/// use disruptor_mp::observability::prometheus_text;
///
/// let file = CountersFile::anonymous();
/// let ring = disruptor_mp::HeapRing::<u64>::new(8)?;
/// let mut tx = ring.producer()?;
/// tx.attach_counters(&file)?;
/// file.counter(0x100, "orders")?.set(3);
/// let orders = file.counter(0x100, "orders")?;
/// orders.set(5);
///
/// let text = prometheus_text(&file.snapshot());
/// assert!(text.contains("\n# TYPE myelon_events_published_total counter\n"));
/// assert!(text.ends_with("\nmyelon_counter{id=\"0x100\",label=\"orders\"} 5\n"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn prometheus_text(counters: &[CounterSnapshot]) -> String {
    let values = merged(counters);
    let mut text = String::new();
    for info in &COUNTERS {
        let (name, kind) = match is_level(info.id) {
            true => (format!("myelon_{}", info.name), "gauge"),
            false => (format!("myelon_{}_total", info.name), "counter"),
        };
        let of_this = values.iter().filter(|((id, ..), _)| *id == info.id);
        family(
            &mut text,
            &name,
            kind,
            info.text,
            of_this.map(|(key, value)| (labels(*key), *value)),
        );
    }
    let own = values.iter().filter(|((id, ..), _)| id.name().is_none());
    let own = own.map(|(key, value)| (labels(*key), *value));
    family(
        &mut text,
        "myelon_counter",
        "untyped",
        "A counter of a program's own.",
        own,
    );
    text
}

/// Writes the lines of one metric; none if it has no value.
fn family(
    text: &mut String,
    name: &str,
    kind: &str,
    help: &str,
    values: impl Iterator<Item = (String, u64)>,
) {
    let mut values = values.peekable();
    if values.peek().is_none() {
        return;
    }
    // writing to a string does not fail
    let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} {kind}");
    for (labels, value) in values {
        let _ = writeln!(text, "{name}{{{labels}}} {value}");
    }
}

/// A label's value in the form that the format requires between quotes.
fn escaped(label: &str) -> String {
    label
        .replace('\\', r"\\")
        .replace('"', r#"\""#)
        .replace('\n', r"\n")
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    fn counter(id: CounterId, label: &str, value: u64) -> CounterSnapshot {
        CounterSnapshot {
            id,
            label: label.to_owned(),
            directory: None,
            value,
        }
    }

    #[test]
    fn counters_of_one_label_are_added_up_but_of_levels_the_highest_counts() {
        let (events, lag) = (CounterId::EVENTS_CONSUMED, CounterId::CONSUMER_LAG_MAX);
        let counters = [
            counter(events, "a", 3),
            counter(lag, "a", 7),
            counter(lag, "a", 5),
            counter(events, "a", 4),
            counter(events, "b", u64::MAX),
        ];
        let merged: Vec<_> = merged(&counters).into_iter().collect();
        let expected = [
            ((events, "a", None), 7),
            ((events, "b", None), u64::MAX),
            ((lag, "a", None), 7),
        ];
        assert_eq!(merged, expected);
    }

    #[test]
    fn rings_of_one_name_in_two_directories_are_told_apart() {
        let of = |directory: &str, value| CounterSnapshot {
            directory: Some(directory.into()),
            ..counter(CounterId::EVENTS_CONSUMED, "ticks/consumer/a", value)
        };
        let text = prometheus_text(&[of("/a", 3), of("/b", 4), of("/a", 5)]);
        let consumer = r#"{ring="ticks",role="consumer",id="a",directory="/"#;
        let lines: Vec<_> = text.lines().skip(2).collect();
        let line = |rest: &str| format!("myelon_events_consumed_total{consumer}{rest}");
        assert_eq!(lines, [line("a\"} 8"), line("b\"} 4")]);
    }

    /// An id of a later version is shown too, in one block with the others that have no name.
    #[test]
    fn ids_without_a_name_are_one_block() {
        let counters = [
            counter(CounterId::from(0x15), "a", 1),
            counter(CounterId::BYTES_CONSUMED, "a", 2),
            counter(CounterId::application(0), "a", 3),
        ];
        let text = prometheus_text(&counters);
        let (_, own) = text
            .split_once("# TYPE myelon_counter untyped\n")
            .expect("a block");
        let lines = [
            "myelon_counter{id=\"0x15\",label=\"a\"} 1",
            "myelon_counter{id=\"0x100\",label=\"a\"} 3",
        ];
        assert_eq!(own.lines().collect::<Vec<_>>(), lines);
    }
}
