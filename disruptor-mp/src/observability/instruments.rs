//! Counters as instruments of an OpenTelemetry meter.
//!
//! This uses only the API: unless the program sets up a provider, the instruments do nothing. Each instrument
//! takes its own snapshot when it is collected, so nothing runs and nothing is kept between two collections.

use opentelemetry::KeyValue;
use opentelemetry::metrics::{AsyncInstrument, Meter};

use super::metrics::{attributes, is_level, merged};
use super::{COUNTERS, CounterId, CountersFile};

/// Makes `meter` report the file's counters. Each counter of this crate family is an observable counter
/// `myelon.<name>`, except for the gauges `myelon.consumer_lag` and `myelon.consumer_lag_max`; the attributes `ring`,
/// `role` and `id` say to which endpoint it belongs, and a producer has no `id`. A program's own counters are a gauge
/// `myelon.counter` with the attributes `id` and `label`. Counters of the same attributes are one value. The file stays
/// mapped as long as the meter's provider lives.
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
    for info in &COUNTERS {
        let name = format!("myelon.{}", info.name);
        let file = file.clone();
        let report = move |instrument: &dyn AsyncInstrument<u64>| {
            report(&file, instrument, |id| id == info.id);
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
    let file = file.clone();
    meter
        .u64_observable_gauge("myelon.counter")
        .with_description("A counter of a program's own.")
        .with_callback(move |instrument| report(&file, instrument, |id| id.name().is_none()))
        .build();
}

fn report(
    file: &CountersFile,
    instrument: &dyn AsyncInstrument<u64>,
    is_wanted: impl Fn(CounterId) -> bool,
) {
    for ((id, label), value) in merged(&file.snapshot_of(is_wanted)) {
        let pairs = attributes(id, label).into_iter();
        let attributes: Vec<_> = pairs
            .map(|(name, text)| KeyValue::new(name, text))
            .collect();
        instrument.observe(value, &attributes);
    }
}
