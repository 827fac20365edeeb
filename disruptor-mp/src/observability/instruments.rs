//! Counters as instruments of an OpenTelemetry meter.
//!
//! This uses only the API: unless the program sets up a provider, the instruments do nothing. Each instrument
//! takes its own snapshot when it is collected, so nothing runs and nothing is kept between two collections.

use opentelemetry::KeyValue;
use opentelemetry::metrics::{AsyncInstrument, Meter};

use super::metrics::{is_level, merged};
use super::{COUNTERS, CounterId, CountersFile};

/// Makes `meter` report the file's counters. Each counter of this crate family is an observable counter
/// `myelon.<name>`, except for the gauge `myelon.consumer_lag_max`; the attribute `label` says to which endpoint it
/// belongs. A program's own counters are a gauge `myelon.counter` with the attributes `id` and `label`. Counters with
/// the same id and label are one value. The file stays mapped as long as the meter's provider lives.
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
            report(&file, instrument, |id| id == info.id, false);
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
        .with_callback(move |instrument| report(&file, instrument, |id| id.name().is_none(), true))
        .build();
}

fn report(
    file: &CountersFile,
    instrument: &dyn AsyncInstrument<u64>,
    is_wanted: impl Fn(CounterId) -> bool,
    with_id: bool,
) {
    let counters = file.snapshot();
    for ((id, label), value) in merged(&counters) {
        if !is_wanted(id) {
            continue;
        }
        let mut attributes = vec![KeyValue::new("label", label.to_owned())];
        if with_id {
            attributes.push(KeyValue::new("id", format!("{:#x}", id.get())));
        }
        instrument.observe(value, &attributes);
    }
}
