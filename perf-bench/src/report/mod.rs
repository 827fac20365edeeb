//! The results of a run, as a table for people and as JSON for programs.

pub(crate) mod comparison;
pub(crate) mod json;
pub(crate) mod table;

use serde::Serialize;

use crate::backend::Backend;
use crate::measure::{Series, Spread};
use crate::payload::SIZES;
use crate::plan::Plan;
use crate::scenario::BATCH;
use crate::spec::Work;

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
    pub(crate) cpu_user_s: f64,
    pub(crate) cpu_sys_s: f64,
    pub(crate) verified: bool,
    /// Used only for the table.
    #[serde(skip)]
    pub(crate) ratio: Spread,
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
        let rate = if is_latency { 1e9 / figure } else { figure };
        let ratio = own.ratio(floor);
        Row {
            scenario: cell.spec.scenario(),
            layer: cell.spec.layer(),
            backend: cell.spec.backend.name(),
            wait: "busy_spin",
            size_bytes: cell.spec.size_bytes,
            capacity: cell.spec.capacity,
            consumers: 1,
            rounds: own.figures.len(),
            messages: own.messages,
            p50_ns: is_latency.then_some(figure),
            p90_ns: quantile(0.9),
            p99_ns: quantile(0.99),
            p999_ns: quantile(0.999),
            max_ns: is_latency.then(|| own.trips.max() as f64),
            msgs_per_s: rate,
            bytes_per_s: rate * cell.spec.size_bytes as f64,
            floor_one_line_ns: one_line,
            floor_two_line_ns: two_line,
            floor_stream_msgs_per_s: (!is_latency).then(|| bounce(cell.floor)),
            ratio_to_floor: ratio.median,
            cpu_user_s: own.cpu.0,
            cpu_sys_s: own.cpu.1,
            verified: own.is_verified,
            ratio,
        }
    };
    (0..series.len()).map(row).collect()
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
