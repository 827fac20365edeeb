//! The data for dashboards: the text for Prometheus, and OpenTelemetry's instruments.
#![cfg(feature = "metrics")]

use disruptor_mp::observability::{COUNTERS, prometheus_text};
use disruptor_mp::{CounterSnapshot, CountersFile, Deadline, HeapRing};

/// Checks a file with the endpoints of a ring, after three events of which one is released, and two counters of a
/// program's own with the same label.
fn counted(file: &CountersFile, check: impl FnOnce(&[CounterSnapshot])) {
    let ring = HeapRing::<u64>::new(8).expect("a ring");
    let (mut tx, mut rx) = (
        ring.producer().expect("a producer"),
        ring.consumer("risk/a").expect("a consumer"),
    );
    tx.attach_counters(file).expect("slots");
    rx.attach_counters(file).expect("slots");
    tx.publish_batch(3, |event, i| *event = i as u64);
    rx.counters(); // three events are unread
    rx.recv_owned(Deadline::NEVER).expect("an event");
    let own =
        ["orders", "orders", "trades"].map(|label| file.counter(0x100, label).expect("a slot"));
    own.iter().zip([3, 4, 5]).for_each(|(own, n)| own.set(n));
    check(&file.snapshot());
}

#[test]
fn prometheus_reads_every_counter_with_its_type() {
    counted(&CountersFile::anonymous(), |counters| {
        let text = prometheus_text(counters);
        for line in [
            "# HELP myelon_events_published_total Events this producer has published since it started.",
            "# TYPE myelon_events_published_total counter",
            "myelon_events_published_total{ring=\"heap\",role=\"producer\"} 3",
            "myelon_events_consumed_total{ring=\"heap\",role=\"consumer\",id=\"risk/a\"} 1",
            "# TYPE myelon_consumer_lag gauge",
            "myelon_consumer_lag{ring=\"heap\",role=\"consumer\",id=\"risk/a\"} 2",
            "# TYPE myelon_consumer_lag_max gauge",
            "myelon_consumer_lag_max{ring=\"heap\",role=\"consumer\",id=\"risk/a\"} 3",
            "# TYPE myelon_counter untyped",
            "myelon_counter{id=\"0x100\",label=\"orders\"} 7",
            "myelon_counter{id=\"0x100\",label=\"trades\"} 5",
        ] {
            let count = text.lines().filter(|it| *it == line).count();
            assert_eq!(count, 1, "{line} in\n{text}");
        }
        let values = text.lines().filter(|line| !line.starts_with('#'));
        let mut series: Vec<&str> = values
            .filter_map(|line| line.rsplit_once(' '))
            .map(|it| it.0)
            .collect();
        let count = series.len();
        assert_eq!(count, counters.len() - 1, "two that are alike are one");
        series.sort_unstable();
        series.dedup();
        assert_eq!(series.len(), count, "no series twice");
        let heads = text.matches("# TYPE ").count();
        assert_eq!(
            (heads, text.matches("# HELP ").count()),
            (13, 13),
            "twelve that endpoints count, and the program's"
        );
    });
    assert_eq!(prometheus_text(&[]), "");
    assert!(
        COUNTERS
            .iter()
            .all(|info| !info.text.contains(['\n', '\\'])),
        "a help text needs no escapes"
    );
}

#[test]
fn labels_are_escaped_for_prometheus() {
    let file = CountersFile::anonymous();
    let label = "a\\b \"c\"\nd{}=,# ü\\n";
    let _counter = file.counter(0x100, label).expect("a slot");
    let text = prometheus_text(&file.snapshot());
    let line = text.lines().last().expect("its line");
    assert_eq!(
        line,
        "myelon_counter{id=\"0x100\",label=\"a\\\\b \\\"c\\\"\\nd{}=,# ü\\\\n\"} 0"
    );
    assert_eq!(text.lines().count(), 3, "and no line more");
}

/// Collected instruments report what the snapshot says.
#[cfg(feature = "opentelemetry")]
mod instruments {
    use std::collections::BTreeMap;
    use std::sync::atomic::{AtomicBool, Ordering};

    use disruptor_mp::observability::register_instruments;
    use opentelemetry::metrics::MeterProvider;
    use opentelemetry_sdk::metrics::data::{AggregatedMetrics, MetricData};
    use opentelemetry_sdk::metrics::{InMemoryMetricExporter, PeriodicReader, SdkMeterProvider};

    use super::*;

    /// Ends the thread that asks for it, also if the test fails.
    struct Over<'a>(&'a AtomicBool);

    impl Drop for Over<'_> {
        fn drop(&mut self) {
            self.0.store(true, Ordering::Relaxed);
        }
    }

    /// From instrument and attributes to the value.
    type Reported = BTreeMap<(String, BTreeMap<String, String>), u64>;

    /// Collects the instruments now; counters are monotonic sums, all others gauges.
    fn collect(provider: &SdkMeterProvider, exporter: &InMemoryMetricExporter) -> Reported {
        exporter.reset();
        provider.force_flush().expect("collected");
        let finished = exporter.get_finished_metrics().expect("metrics");
        let mut reported = Reported::new();
        for metric in finished
            .iter()
            .flat_map(|it| it.scope_metrics())
            .flat_map(|it| it.metrics())
        {
            let name = metric.name().to_owned();
            let AggregatedMetrics::U64(data) = metric.data() else {
                panic!("{name} is no whole number");
            };
            let mut add = |attributes: Vec<(String, String)>, value| {
                let place = (name.clone(), attributes.into_iter().collect());
                assert_eq!(reported.insert(place, value), None, "{name} twice");
            };
            match data {
                MetricData::Sum(sum) => {
                    assert!(sum.is_monotonic());
                    for point in sum.data_points() {
                        add(texts(point.attributes()), point.value());
                    }
                }
                MetricData::Gauge(gauge) => {
                    assert!(
                        [
                            "myelon.consumer_lag",
                            "myelon.consumer_lag_max",
                            "myelon.counter"
                        ]
                        .contains(&&*name),
                        "{name}"
                    );
                    for point in gauge.data_points() {
                        add(texts(point.attributes()), point.value());
                    }
                }
                _ => panic!("{name} is neither counter nor gauge"),
            }
        }
        reported
    }

    fn texts<'a>(
        attributes: impl Iterator<Item = &'a opentelemetry::KeyValue>,
    ) -> Vec<(String, String)> {
        attributes
            .map(|it| (it.key.to_string(), it.value.to_string()))
            .collect()
    }

    fn expected(counters: &[CounterSnapshot]) -> Reported {
        let mut expected = Reported::new();
        for counter in counters {
            let (name, attributes) = match (counter.id.name(), &*counter.label) {
                (Some(name), label) => {
                    let attributes = match label {
                        "heap/producer" => vec![("ring", "heap"), ("role", "producer")],
                        "heap/consumer/risk/a" => {
                            vec![("ring", "heap"), ("role", "consumer"), ("id", "risk/a")]
                        }
                        other => panic!("{other}"),
                    };
                    (format!("myelon.{name}"), attributes)
                }
                (None, label) => (
                    "myelon.counter".to_owned(),
                    vec![("id", "0x100"), ("label", label)],
                ),
            };
            let attributes = attributes
                .into_iter()
                .map(|(name, text)| (name.to_owned(), text.to_owned()))
                .collect();
            *expected.entry((name, attributes)).or_default() += counter.value;
        }
        expected
    }

    /// Each instrument has a callback of its own, but all of a collection read one snapshot.
    #[test]
    fn report_one_moment_in_a_collection() {
        let exporter = InMemoryMetricExporter::default();
        let provider = SdkMeterProvider::builder()
            .with_reader(PeriodicReader::builder(exporter.clone()).build())
            .build();
        let file = CountersFile::anonymous();
        register_instruments(&provider.meter("test"), &file);
        let ring = HeapRing::<u64>::new(1024).expect("a ring");
        let mut tx = ring.producer().expect("a producer");
        tx.attach_counters(&file).expect("slots");
        let is_over = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !is_over.load(Ordering::Relaxed) {
                    tx.publish(|event| *event = 1);
                }
            });
            let _over = Over(&is_over);
            let mut before = 0;
            for _ in 0..100 {
                let reported = collect(&provider, &exporter);
                let of = |name: &str| {
                    let mut values = reported.iter().filter(|((it, _), _)| it == name);
                    *values.next().expect(name).1
                };
                let events = of("myelon.events_published");
                assert_eq!(of("myelon.bytes_published"), 8 * events);
                assert!(events >= before, "{events} after {before}");
                before = events;
            }
            assert!(before > 0, "each collection is of its own time");
        });
        provider.shutdown().expect("ends");
    }

    #[test]
    fn report_what_the_snapshot_says_whenever_they_are_collected() {
        let exporter = InMemoryMetricExporter::default();
        let provider = SdkMeterProvider::builder()
            .with_reader(PeriodicReader::builder(exporter.clone()).build())
            .build();
        let file = CountersFile::anonymous();
        register_instruments(&provider.meter("test"), &file);
        assert_eq!(collect(&provider, &exporter), Reported::new());
        counted(&file, |counters| {
            let reported = collect(&provider, &exporter);
            assert_eq!(
                reported.len(),
                counters.len() - 1,
                "two that are alike are one"
            );
            assert_eq!(reported, expected(counters));
        });
        let left = collect(&provider, &exporter);
        assert_eq!(left, expected(&file.snapshot()), "their owners have gone");
        assert!(file.sweep().expect("sweep") > 0);
        assert_eq!(collect(&provider, &exporter), Reported::new());
        provider.shutdown().expect("ends");
    }
}
