//! Counters as instruments of an OpenTelemetry meter.
//!
//! This uses only the API: unless the program sets up a provider, the instruments do nothing, and nothing runs between
//! two collections. The API has a callback for each instrument, and none for all of them; so they share a snapshot.

use std::sync::{Arc, Mutex};

use opentelemetry::KeyValue;
use opentelemetry::metrics::{AsyncInstrument, Meter};

use super::metrics::{attributes, is_level, merged};
use super::{COUNTERS, CounterId, CounterSnapshot, CountersFile};

/// Makes `meter` report the file's counters. Each counter of this crate family is an observable counter
/// `myelon.<name>`, or a gauge of that name where [`prometheus_text`](super::prometheus_text) has one; the attributes
/// `ring`, `role`, `id` and `directory` say to which endpoint it belongs: a producer has no `id`, and a ring on the
/// heap no `directory`. A program's own counters are a gauge `myelon.counter` with the attributes `id` and `label`.
/// Counters of the same attributes are one value. All instruments report the same moment in a collection. The file
/// stays mapped as long as the meter's provider lives.
///
/// # Examples
///
/// ```
/// use disruptor_mp::CountersFile;
/// use disruptor_mp::observability::register_instruments;
///
/// let file = CountersFile::anonymous();
/// // the provider that the program has set up; without one nothing is reported
/// let meter = opentelemetry::global::meter("ticks");
/// register_instruments(&meter, &file);
/// ```
pub fn register_instruments(meter: &Meter, file: &CountersFile) {
    let shared = Arc::new(Shared {
        file: file.clone(),
        last: Mutex::default(),
    });
    for info in &COUNTERS {
        let name = format!("myelon.{}", info.name);
        let shared = Arc::clone(&shared);
        let report = move |instrument: &dyn AsyncInstrument<u64>| {
            shared.report(info.name, instrument, |id| id == info.id);
        };
        if is_level(info.id) {
            let gauge = meter.u64_observable_gauge(name);
            gauge
                .with_description(info.text)
                .with_callback(report)
                .build();
        } else {
            let counter = meter.u64_observable_counter(name);
            counter
                .with_description(info.text)
                .with_callback(report)
                .build();
        }
    }
    meter
        .u64_observable_gauge("myelon.counter")
        .with_description("A counter of a program's own.")
        .with_callback(move |instrument| {
            shared.report("counter", instrument, |id| id.name().is_none());
        })
        .build();
}

/// The file, and its last snapshot.
struct Shared {
    file: CountersFile,
    last: Mutex<Last>,
}

#[derive(Default)]
struct Last {
    counters: Arc<[CounterSnapshot]>,
    /// The instruments that have reported it. One of them that is asked again begins the next collection.
    reported: Vec<&'static str>,
}

impl Shared {
    fn report(
        &self,
        name: &'static str,
        instrument: &dyn AsyncInstrument<u64>,
        is_wanted: impl Fn(CounterId) -> bool,
    ) {
        let counters = self.counters(name);
        let wanted = counters.iter().filter(|counter| is_wanted(counter.id));
        for (key, value) in merged(wanted) {
            let pairs = attributes(key).into_iter();
            let attributes: Vec<_> = pairs
                .map(|(name, text)| KeyValue::new(name, text))
                .collect();
            instrument.observe(value, &attributes);
        }
    }

    fn counters(&self, name: &'static str) -> Arc<[CounterSnapshot]> {
        // taken by another reader's collection, or for ever by a thread that a forked child does not have
        let Ok(mut last) = self.last.try_lock() else {
            return self.file.snapshot().into();
        };
        if last.reported.is_empty() || last.reported.contains(&name) {
            last.reported.clear();
            last.counters = self.file.snapshot().into();
        }
        last.reported.push(name);
        Arc::clone(&last.counters)
    }
}
