//! The results of a run, as a table for people and as JSON for programs.

pub(crate) mod comparison;
pub(crate) mod json;
pub(crate) mod markdown;
pub(crate) mod page;
pub(crate) mod peers;
mod plot;
pub(crate) mod table;
pub(crate) mod verdict;

use serde::Serialize;

use crate::backend::Backend;
use crate::measure::{Series, Spread};
use crate::payload::SIZES;
use crate::plan::Plan;
use crate::scenario::BATCH;
use crate::spec::Work;
use crate::usage::Usage;

/// One measured cell. The serialised names are a contract with programs that read them.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Row {
    pub(crate) scenario: &'static str,
    pub(crate) layer: &'static str,
    pub(crate) backend: &'static str,
    pub(crate) wait: &'static str,
    pub(crate) size_bytes: usize,
    pub(crate) capacity: usize,
    pub(crate) consumers: usize,
    pub(crate) rounds: usize,
    /// Number of messages in all counted rounds; in a latency scenario, of round trips.
    pub(crate) messages: u64,
    /// Percentiles of the round trip; absent from rates.
    pub(crate) p50_ns: Option<f64>,
    pub(crate) p90_ns: Option<f64>,
    pub(crate) p99_ns: Option<f64>,
    pub(crate) p999_ns: Option<f64>,
    pub(crate) p9999_ns: Option<f64>,
    pub(crate) max_ns: Option<f64>,
    /// For a latency scenario: the number of consecutive round trips that fit into a second.
    pub(crate) msgs_per_s: f64,
    pub(crate) bytes_per_s: f64,
    pub(crate) floor_one_line_ns: f64,
    pub(crate) floor_two_line_ns: f64,
    /// The rate of the bare stream of the same size, capacity and batch; absent if none was run.
    pub(crate) floor_stream_msgs_per_s: Option<f64>,
    /// For a latency, p50 divided by the two-line bounce: lower is better. For a rate, the rate divided by that
    /// of the bare stream: higher is better.
    pub(crate) ratio_to_floor: f64,
    /// The placement of the cores in these rounds, if rounds are kept apart by it.
    pub(crate) placement: Option<&'static str>,
    /// Of all processes of the cell, in all counted rounds.
    #[serde(flatten)]
    pub(crate) usage: Usage,
    pub(crate) verified: bool,
    /// Why the row is not verified; printed on standard error.
    #[serde(skip)]
    pub(crate) reason: Option<String>,
    /// Used only for the table.
    #[serde(skip)]
    pub(crate) ratio: Spread,
    /// The figures of the rounds, and the ratio of each. Used only by sweeps and repetitions.
    #[serde(skip)]
    pub(crate) figures: Spread,
    #[serde(skip)]
    pub(crate) ratios: Vec<f64>,
    /// Whether the time of one operation matters, and not the rate. Used only for the table.
    #[serde(skip)]
    pub(crate) is_operation: bool,
}

impl Row {
    /// The cell's name, and why it is not verified; `None` if it is.
    pub(crate) fn complaint(&self) -> Option<String> {
        let cell = (self.scenario, self.backend, self.size_bytes);
        complaint(cell, self.verified, self.reason.as_deref())
    }
}

/// A row's name, and why it is not verified; `None` if it is.
pub(crate) fn complaint(
    (scenario, backend, size_bytes): (&str, &str, usize),
    verified: bool,
    reason: Option<&str>,
) -> Option<String> {
    let reason = reason.unwrap_or("no reason was kept");
    let text = format!("not verified: {scenario} on {backend}, {size_bytes} bytes: {reason}");
    (!verified).then_some(text)
}

/// The rows of a run, in the order of its plan.
pub(crate) fn rows(plan: &Plan, series: &[Series]) -> Vec<Row> {
    let bounce = |index: usize| Spread::of(series[index].figures.clone()).median;
    let (one_line, two_line) = (bounce(0), bounce(1));
    let row = |index: usize| {
        let (cell, own) = (&plan.cells[index], &series[index]);
        let floor = &series[cell.floor];
        let figure = Spread::of(own.figures.clone()).median;
        let is_latency = cell.spec.is_latency();
        let quantile = |q| is_latency.then(|| own.trips.value_at_quantile(q) as f64);
        let rate = match cell.spec.per_s {
            Some(per_s) => per_s as f64,
            None if is_latency => 1e9 / figure,
            None => figure,
        };
        let ratio = own.ratio(floor);
        Row {
            scenario: cell.spec.scenario(),
            layer: cell.spec.layer(),
            backend: cell.spec.backend.name(),
            wait: cell.spec.strategy.name(),
            size_bytes: cell.spec.size_bytes,
            capacity: cell.spec.capacity,
            consumers: cell.spec.receivers(),
            rounds: own.figures.len(),
            messages: own.messages,
            p50_ns: is_latency.then_some(figure),
            p90_ns: quantile(0.9),
            p99_ns: quantile(0.99),
            p999_ns: quantile(0.999),
            p9999_ns: quantile(0.9999),
            max_ns: is_latency.then(|| own.trips.max() as f64),
            msgs_per_s: rate,
            bytes_per_s: rate * cell.spec.size_bytes as f64,
            floor_one_line_ns: one_line,
            floor_two_line_ns: two_line,
            floor_stream_msgs_per_s: (!is_latency).then(|| bounce(cell.floor)),
            ratio_to_floor: ratio.median,
            placement: None,
            usage: own.usage,
            verified: own.is_verified(),
            reason: own.reason.clone(),
            ratio,
            figures: Spread::of(own.figures.clone()),
            ratios: own.ratios(floor),
            is_operation: cell.spec.is_operation(),
        }
    };
    (0..series.len()).map(row).collect()
}

/// The heads of the columns of [`usage_cells`].
pub(crate) const USAGE_HEADS: [&str; 3] = ["cpu s", "faults", "switches"];

/// The cells of a table that say what the processes of a row took from the system.
pub(crate) fn usage_cells(usage: &Usage) -> [String; 3] {
    [
        format!("{:.3}+{:.3}", usage.user_s, usage.system_s),
        format!("{}+{}", usage.minor_faults, usage.major_faults),
        format!(
            "{}+{}",
            usage.voluntary_switches, usage.involuntary_switches
        ),
    ]
}

/// One line with the gain of batches at each size, on the first backend on which both were measured.
pub(crate) fn batches(plan: &Plan, series: &[Series]) -> Option<String> {
    [Backend::Shm, Backend::Mmap]
        .into_iter()
        .find_map(|backend| {
            let gains: Vec<String> = SIZES
                .into_iter()
                .filter_map(|size| batches_of(plan, series, backend, size))
                .collect();
            let gains = (!gains.is_empty()).then(|| gains.join(", "))?;
            let on = backend.name();
            Some(format!(
                "batches of {BATCH} against one publish per event ({on}): {gains}"
            ))
        })
}

fn batches_of(plan: &Plan, series: &[Series], backend: Backend, size: usize) -> Option<String> {
    let stream = |batch, packed| {
        let work = Work::Stream { batch, packed };
        let is_it = |spec: &crate::spec::Spec| {
            spec.work == work && spec.backend == backend && spec.size_bytes == size
        };
        let index = plan.cells.iter().position(|cell| is_it(&cell.spec))?;
        Some(&series[index])
    };
    let batch = BATCH as usize;
    let single = stream(1, false)?;
    let gain = |batches: &Series| format!("x{:.2}", batches.ratio(single).median);
    let unpacked = stream(batch, false).map(gain);
    let packed = stream(batch, true).map(gain);
    let packed = packed.map(|gain| format!("packed batch against unpacked single: {gain}"));
    Some(match (unpacked, packed) {
        (Some(unpacked), Some(packed)) => format!("{size} B {unpacked} ({packed})"),
        (Some(unpacked), None) => format!("{size} B {unpacked}"),
        (None, packed) => format!("{size} B ({})", packed?),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::{Scenario, Wanted};

    pub(super) fn plan(scenarios: Vec<Scenario>) -> Plan {
        Plan::new(&Wanted {
            sizes: Some(vec![56]),
            backends: Some(vec![Backend::Shm]),
            scenarios,
            capacity: 64,
            ping_pong_capacity: 16,
            mmap_root: "no-such-directory".into(),
        })
    }

    pub(super) fn series(figures: [f64; 3]) -> Series {
        let mut series = Series::new().expect("a series");
        series.figures = figures.to_vec();
        series.messages = 300;
        series.usage.user_s = 1.5;
        series.usage.system_s = 0.25;
        series
    }

    #[test]
    fn a_latency_has_its_percentiles_and_is_divided_by_the_two_line_bounce() {
        let plan = plan(vec![Scenario::PingPong]);
        let mut all = vec![
            series([50.0, 50.0, 50.0]),
            series([100.0, 200.0, 400.0]),
            series([110.0, 220.0, 440.0]),
            series([150.0, 400.0, 600.0]),
        ];
        for trip in 1..=10_000 {
            all[3].trips.record(trip).expect("a trip");
        }
        let row = &rows(&plan, &all)[3];
        assert_eq!((row.scenario, row.layer), ("ping_pong", "raw"));
        assert_eq!((row.p50_ns, row.ratio_to_floor), (Some(400.0), 1.5));
        assert_eq!((row.ratio.min, row.ratio.max), (1.5, 2.0));
        // 400 ns are two and a half million trips per second
        assert_eq!((row.msgs_per_s, row.bytes_per_s), (2.5e6, 140e6));
        assert_eq!(
            (row.floor_one_line_ns, row.floor_two_line_ns),
            (50.0, 200.0)
        );
        assert_eq!(row.floor_stream_msgs_per_s, None);
        assert_eq!((row.rounds, row.messages), (3, 300));
        assert_eq!((row.usage.user_s, row.usage.system_s), (1.5, 0.25));
        // the histogram keeps three digits
        for (found, expected) in [
            (row.p90_ns, 9_000.0),
            (row.p99_ns, 9_900.0),
            (row.p999_ns, 9_990.0),
            (row.max_ns, 10_000.0),
        ] {
            let found = found.expect("a percentile");
            assert!((found / expected - 1.0).abs() < 0.001, "{found} {expected}");
        }
        assert!(row.verified && row.complaint().is_none());
    }

    #[test]
    fn a_rate_is_divided_by_the_bare_stream_and_a_batch_by_single_publishes() {
        let plan = plan(vec![Scenario::Stream, Scenario::StreamBatch16]);
        let mut all = vec![
            series([50.0, 50.0, 50.0]),
            series([100.0, 100.0, 100.0]),
            series([10e6, 20e6, 40e6]),
            series([8e6, 10e6, 36e6]),
            series([10e6, 20e6, 40e6]),
            series([16e6, 30e6, 54e6]),
        ];
        all[3].reason = Some(String::from("round 2: wrong"));
        let table = rows(&plan, &all);
        let row = &table[3];
        assert_eq!((row.scenario, row.ratio_to_floor), ("stream", 0.8));
        assert_eq!((row.msgs_per_s, row.bytes_per_s), (10e6, 560e6));
        assert_eq!((row.p50_ns, row.max_ns), (None, None));
        assert_eq!(row.floor_stream_msgs_per_s, Some(20e6));
        assert_eq!(
            row.complaint().as_deref(),
            Some("not verified: stream on shm, 56 bytes: round 2: wrong")
        );
        assert_eq!(table[5].ratio_to_floor, 1.5);
        let gain = "batches of 16 against one publish per event (shm): 56 B x2.00";
        assert_eq!(batches(&plan, &all).as_deref(), Some(gain));
    }
}
