//! The rows of `compare`: each figure beside the floor and beside the rings of the same rounds.

use std::fs;
use std::path::Path;

use comfy_table::presets::NOTHING;
use comfy_table::{Cell, CellAlignment, Table};
use serde::{Deserialize, Serialize};

use super::{Peer, RECEIVERS};
use crate::machine::Origin;
use crate::measure::{Series, Spread};
use crate::plan::Plan;
use crate::report::{USAGE_HEADS, usage_cells};
use crate::scenario::Failure;
use crate::usage::Usage;

/// What each column means.
pub(super) const COLUMNS: &str = "\
between     what the ends are: processes or threads, each on a core; a broadcast has five on both cores
capacity    messages that the connection holds
ns, M/s     the median round trip; millions of messages per second, which in a broadcast all receivers get
min - max   the range of this figure over the rounds
x floor     divided by the bounce of two cache lines, or by the bare stream, of the same round
x raw       divided by the ring of events of the same round: times as long, or times the rate
x framed    divided by the ring of frames, likewise
cpu s       processor time of all processes: user + system
faults      page faults of all processes: without input or output + with
switches    context switches of all processes: because they waited + because their core was taken away
verified    whether each end received exactly the messages that were sent, in every round; if not, there is no figure";

/// What a peer within one process connects.
pub(crate) const THREADS: &str = "threads";

/// A cell of a peer, and those of the rings that it is compared with.
#[derive(Clone, Copy, Debug)]
pub(super) struct Comparison {
    pub(super) cell: usize,
    pub(super) peer: &'static Peer,
    /// The cells of events and of frames; the ring of events comes before that of frames.
    pub(super) ours: [Option<usize>; 2],
}

/// One figure of one peer. The serialised names are a contract with programs that read them.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Row {
    pub(crate) scenario: String,
    pub(crate) peer: String,
    pub(crate) between: String,
    pub(crate) size_bytes: usize,
    pub(crate) capacity: usize,
    pub(crate) receivers: usize,
    pub(crate) rounds: usize,
    /// Number of messages in all counted rounds.
    pub(crate) messages: u64,
    pub(crate) unit: String,
    /// The median of the rounds, followed by their range.
    pub(crate) figure: f64,
    pub(crate) figure_min: f64,
    pub(crate) figure_max: f64,
    pub(crate) floor: String,
    /// Medians over the rounds of the ratio within a round.
    pub(crate) ratio_to_floor: f64,
    pub(crate) ratio_to_raw: Option<f64>,
    pub(crate) ratio_to_framed: Option<f64>,
    /// Of all processes of the cell, in all counted rounds.
    #[serde(flatten)]
    pub(crate) usage: Usage,
    pub(crate) verified: bool,
    /// Why the row is not verified; printed on standard error.
    #[serde(skip)]
    reason: Option<String>,
    /// Where a row that was read comes from; files of earlier versions do not say it.
    #[serde(flatten, skip_serializing)]
    pub(crate) origin: Option<Origin>,
}

impl Row {
    /// The row's name, and why it is not verified; `None` if it is.
    pub(super) fn complaint(&self) -> Option<String> {
        let cell = (self.scenario.as_str(), self.peer.as_str(), self.size_bytes);
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
            scenario: spec.scenario().to_owned(),
            peer: peer.name.to_owned(),
            between: if peer.is_in_process {
                THREADS
            } else {
                "processes"
            }
            .to_owned(),
            size_bytes: spec.size_bytes,
            capacity: spec.capacity,
            receivers: if spec.is_broadcast() { RECEIVERS } else { 1 },
            rounds: own.figures.len(),
            messages: own.messages,
            unit: unit.to_owned(),
            figure: figure.median,
            figure_min: figure.min,
            figure_max: figure.max,
            floor: plan.cells[floor].spec.scenario().to_owned(),
            ratio_to_floor: own.ratio(&series[floor]).median,
            ratio_to_raw: beside(ours[0]),
            ratio_to_framed: beside(ours[1]),
            usage: own.usage,
            verified: own.is_verified(),
            reason: own.reason.clone(),
            origin: None,
        }
    };
    comparisons.iter().map(row).collect()
}

/// Reads the file that `--json` has written. Several runs may follow each other in one array. `None` if the file is no
/// array: that of a sweep is none.
pub(crate) fn read(path: &Path) -> Result<Option<Vec<Row>>, Failure> {
    let shown = path.display();
    let text = fs::read_to_string(path).map_err(|error| format!("{shown}: {error}"))?;
    if !text.trim_start().starts_with('[') {
        return Ok(None);
    }
    let rows: Vec<Row> = serde_json::from_str(&text).map_err(|error| {
        format!(
            "{shown}: these are no rows of `perf-bench compare --json` ({error}); a file of it, or of `perf-bench \
             sweep --out`, was expected"
        )
    })?;
    if rows.is_empty() {
        return Err(
            format!("{shown}: no rows; write some with `perf-bench compare --json`").into(),
        );
    }
    Ok(Some(rows))
}

/// The rows as a table.
pub(super) fn render(rows: &[Row]) -> String {
    let mut table = Table::new();
    let heads = [
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
    ];
    let heads = heads.iter().chain(&USAGE_HEADS).chain(&["verified"]);
    table.load_style(NOTHING).set_header(heads);
    for row in rows {
        let mut cells = vec![
            row.scenario.clone(),
            row.peer.clone(),
            row.between.clone(),
            row.size_bytes.to_string(),
            row.capacity.to_string(),
        ];
        let ratio = |ratio: Option<f64>| ratio.map_or(String::new(), digits);
        if row.verified {
            cells.extend([
                digits(row.figure),
                row.unit.clone(),
                format!("{} - {}", digits(row.figure_min), digits(row.figure_max)),
                digits(row.ratio_to_floor),
                ratio(row.ratio_to_raw),
                ratio(row.ratio_to_framed),
            ]);
            cells.extend(usage_cells(&row.usage));
            cells.push("yes".to_owned());
        } else {
            cells.extend([""; 9].map(str::to_owned));
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
pub(crate) fn digits(figure: f64) -> String {
    match figure {
        100.0.. => format!("{figure:.0}"),
        10.0.. => format!("{figure:.1}"),
        1.0.. => format!("{figure:.2}"),
        _ => format!("{figure:.3}"),
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::sweep::record::tests::origin;

    /// A row with this figure and this ratio to the ring of events.
    pub(crate) fn row(scenario: &str, peer: &str, size_bytes: usize, of: (f64, f64)) -> Row {
        let text = str::to_owned;
        Row {
            scenario: text(scenario),
            peer: text(peer),
            between: text("processes"),
            size_bytes,
            capacity: 64,
            receivers: 1,
            rounds: 1,
            messages: 1,
            unit: text(if scenario == "pingpong" { "ns" } else { "M/s" }),
            figure: of.0,
            figure_min: of.0 / 2.0,
            figure_max: of.0 * 2.0,
            floor: text("two_line_bounce"),
            ratio_to_floor: 1.0,
            ratio_to_raw: Some(of.1),
            ratio_to_framed: None,
            usage: Usage::default(),
            verified: true,
            reason: None,
            origin: None,
        }
    }

    #[test]
    fn what_was_written_is_read_and_no_other_array() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("rows.json");
        let rows = [row("stream", "raw", 56, (1.0, 1.0))];
        crate::report::json::write(&path, &rows, &origin()).expect("written");
        let read_back = read(&path).expect("readable").expect("an array");
        assert_eq!(read_back[0].origin, Some(origin()));
        // a file of an earlier version
        let mut text = serde_json::to_value(&rows).expect("rows");
        let old = text[0].as_object_mut().expect("an object");
        old.retain(|key, _| !key.starts_with("cpu_") && !key.ends_with("_switches"));
        let text = text.to_string();
        fs::write(&path, text).expect("written");
        let earlier = read(&path).expect("readable").expect("an array");
        assert_eq!(earlier[0].origin, None);
        assert_eq!(
            serde_json::to_value(read_back).ok(),
            serde_json::to_value(rows).ok()
        );
        for (text, says) in [
            ("[]", "no rows; write some with `perf-bench compare --json`"),
            ("[{\"scenario\": \"stream\"}]", "missing field `peer`"),
            ("[1]", "compare --json"),
            ("[", "compare --json"),
        ] {
            fs::write(&path, text).expect("written");
            let error = read(&path).expect_err("refused").to_string();
            assert!(error.contains(says), "{error}");
            assert!(error.contains("rows.json"), "{error}");
        }
        fs::write(&path, "{\"format\": 1}\n").expect("written");
        assert!(read(&path).expect("no array").is_none());
    }
}
