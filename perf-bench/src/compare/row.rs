//! The rows of `compare`: each figure beside the floor and beside the rings of the same rounds.

use comfy_table::presets::NOTHING;
use comfy_table::{Cell, CellAlignment, Table};
use serde::Serialize;

use super::{Peer, RECEIVERS};
use crate::measure::{Series, Spread};
use crate::plan::Plan;

/// What each column means.
pub(super) const COLUMNS: &str = "\
between     what the ends are: processes or threads, each on a core; a broadcast has five on both cores
capacity    messages that the connection holds
ns, M/s     the median round trip; millions of messages per second, which in a broadcast all receivers get
min - max   the range of this figure over the rounds
x floor     divided by the bounce of two cache lines, or by the bare stream, of the same round
x raw       divided by the ring of events of the same round: times as long, or times the rate
x framed    divided by the ring of frames, likewise
verified    whether each end received exactly the messages that were sent, in every round; if not, there is no figure";

/// A cell of a peer, and those of the rings that it is compared with.
#[derive(Clone, Copy, Debug)]
pub(super) struct Comparison {
    pub(super) cell: usize,
    pub(super) peer: &'static Peer,
    /// The cells of events and of frames; the ring of events comes before that of frames.
    pub(super) ours: [Option<usize>; 2],
}

/// One figure of one peer. The serialised names are a contract with programs that read them.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Row {
    scenario: &'static str,
    peer: &'static str,
    between: &'static str,
    size_bytes: usize,
    capacity: usize,
    receivers: usize,
    rounds: usize,
    /// Number of messages in all counted rounds.
    messages: u64,
    unit: &'static str,
    /// The median of the rounds, followed by their range.
    figure: f64,
    figure_min: f64,
    figure_max: f64,
    floor: &'static str,
    /// Medians over the rounds of the ratio within a round.
    ratio_to_floor: f64,
    ratio_to_raw: Option<f64>,
    ratio_to_framed: Option<f64>,
    verified: bool,
    /// Why the row is not verified; printed on standard error.
    #[serde(skip)]
    reason: Option<String>,
}

impl Row {
    /// The row's name, and why it is not verified; `None` if it is.
    pub(super) fn complaint(&self) -> Option<String> {
        let cell = (self.scenario, self.peer, self.size_bytes);
        crate::report::complaint(cell, self.verified, self.reason.as_deref())
    }
}

/// The rows of a run, in the order of the comparisons.
pub(super) fn rows(plan: &Plan, comparisons: &[Comparison], series: &[Series]) -> Vec<Row> {
    let row = |comparison: &Comparison| {
        let Comparison { cell, peer, ours } = *comparison;
        let (own, spec) = (&series[cell], &plan.cells[cell].spec);
        let floor = plan.cells[cell].floor;
        let (unit, scale) = if spec.is_latency() {
            ("ns", 1.0)
        } else {
            ("M/s", 1e6)
        };
        let figures = own.figures.iter().map(|figure| figure / scale);
        let figure = Spread::of(figures.collect());
        let beside = |ring: Option<usize>| Some(own.ratio(&series[ring?]).median);
        Row {
            scenario: spec.scenario(),
            peer: peer.name,
            between: if peer.is_in_process {
                "threads"
            } else {
                "processes"
            },
            size_bytes: spec.size_bytes,
            capacity: spec.capacity,
            receivers: if spec.is_broadcast() { RECEIVERS } else { 1 },
            rounds: own.figures.len(),
            messages: own.messages,
            unit,
            figure: figure.median,
            figure_min: figure.min,
            figure_max: figure.max,
            floor: plan.cells[floor].spec.scenario(),
            ratio_to_floor: own.ratio(&series[floor]).median,
            ratio_to_raw: beside(ours[0]),
            ratio_to_framed: beside(ours[1]),
            verified: own.is_verified(),
            reason: own.reason.clone(),
        }
    };
    comparisons.iter().map(row).collect()
}

/// The rows as a table.
pub(super) fn render(rows: &[Row]) -> String {
    let mut table = Table::new();
    table.load_style(NOTHING).set_header([
        "compare",
        "peer",
        "between",
        "bytes",
        "capacity",
        "figure",
        "",
        "min - max",
        "x floor",
        "x raw",
        "x framed",
        "verified",
    ]);
    for row in rows {
        let mut cells = vec![
            row.scenario.to_owned(),
            row.peer.to_owned(),
            row.between.to_owned(),
            row.size_bytes.to_string(),
            row.capacity.to_string(),
        ];
        let ratio = |ratio: Option<f64>| ratio.map_or(String::new(), digits);
        if row.verified {
            cells.extend([
                digits(row.figure),
                row.unit.to_owned(),
                format!("{} - {}", digits(row.figure_min), digits(row.figure_max)),
                digits(row.ratio_to_floor),
                ratio(row.ratio_to_raw),
                ratio(row.ratio_to_framed),
                "yes".to_owned(),
            ]);
        } else {
            cells.extend(["", "", "", "", "", ""].map(str::to_owned));
            cells.push("NO".to_owned());
        }
        table.add_row(cells.into_iter().enumerate().map(|(column, text)| {
            let side = if column < 3 {
                CellAlignment::Left
            } else {
                CellAlignment::Right
            };
            Cell::new(text).set_alignment(side)
        }));
    }
    format!("{table}\n")
}

/// About three digits.
fn digits(figure: f64) -> String {
    match figure {
        100.0.. => format!("{figure:.0}"),
        10.0.. => format!("{figure:.1}"),
        1.0.. => format!("{figure:.2}"),
        _ => format!("{figure:.3}"),
    }
}
