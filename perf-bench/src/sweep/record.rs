//! One measured row as a line of JSON or CSV, with everything that is needed to judge it later: the machine, the
//! commit, the command, and the ratio of every round.

use std::fs;
use std::io::Write;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::machine::Origin;
use crate::measure::Spread;
use crate::report;
use crate::report::comparison;
use crate::scenario::Failure;
use crate::usage::Usage;

/// The number of this format. A change to the meaning of a field needs a new one.
pub(crate) const FORMAT: u32 = 1;

/// Facts that all rows of a run share.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Facts {
    pub(crate) format: u32,
    pub(crate) tier: String,
    #[serde(flatten)]
    pub(crate) origin: Origin,
}

/// A row. The names are a contract with programs that read them.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Record {
    #[serde(flatten)]
    pub(crate) facts: Facts,
    #[serde(flatten)]
    pub(crate) cell: Cell,
    pub(crate) rounds: usize,
    pub(crate) messages: u64,
    /// The median of the rounds, and their range.
    pub(crate) figure: f64,
    pub(crate) figure_min: f64,
    pub(crate) figure_max: f64,
    pub(crate) floor_figure: f64,
    /// The median of the ratios to the floor of the same round, and their range.
    pub(crate) ratio_to_floor: f64,
    pub(crate) ratio_min: f64,
    pub(crate) ratio_max: f64,
    pub(crate) p50_ns: Option<f64>,
    pub(crate) p90_ns: Option<f64>,
    pub(crate) p99_ns: Option<f64>,
    pub(crate) p999_ns: Option<f64>,
    #[serde(default)]
    pub(crate) p9999_ns: Option<f64>,
    pub(crate) max_ns: Option<f64>,
    #[serde(flatten)]
    pub(crate) usage: Usage,
    pub(crate) verified: bool,
    /// The ratio of each round.
    pub(crate) ratios: Vec<f64>,
}

/// What a row measures: rows of two files with equal cells are compared with each other.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct Cell {
    /// The step of the sweep that measured the row.
    pub(crate) step: String,
    pub(crate) scenario: String,
    pub(crate) layer: String,
    pub(crate) backend: String,
    pub(crate) wait: String,
    pub(crate) size_bytes: usize,
    pub(crate) capacity: usize,
    pub(crate) consumers: usize,
    pub(crate) floor: String,
    pub(crate) unit: String,
    /// The placement of the cores; empty in scenarios with more than two processes.
    pub(crate) placement: String,
}

impl Cell {
    /// Its name for people.
    pub(crate) fn name(&self) -> String {
        let Self {
            scenario,
            backend,
            size_bytes,
            capacity,
            floor,
            placement,
            ..
        } = self;
        let placement = match placement.as_str() {
            "" => String::new(),
            placement => format!(", {placement}"),
        };
        format!(
            "{scenario} on {backend}, {size_bytes} B, {capacity} slots, beside {floor}{placement}"
        )
    }

    /// Whether a larger figure is better.
    pub(crate) fn is_rate(&self) -> bool {
        self.unit.ends_with("B/s") || self.unit.ends_with("M/s")
    }
}

impl Record {
    /// A row of the raw scenarios.
    pub(crate) fn of_raw(facts: &Facts, step: &str, row: &report::Row) -> Self {
        let is_latency = row.p50_ns.is_some();
        let rate = row.msgs_per_s / 1e6;
        let floor_rate = row.floor_stream_msgs_per_s.unwrap_or(0.0) / 1e6;
        let (unit, figure, floor, floor_figure) = if let Some(p50_ns) = row.p50_ns {
            ("ns", p50_ns, "two_line_bounce", row.floor_two_line_ns)
        } else {
            ("M/s", rate, "bare_stream", floor_rate)
        };
        let of = |figure: f64| if is_latency { figure } else { figure / 1e6 };
        Self {
            facts: facts.clone(),
            cell: Cell {
                step: step.to_owned(),
                scenario: row.scenario.to_owned(),
                layer: row.layer.to_owned(),
                backend: row.backend.to_owned(),
                wait: row.wait.to_owned(),
                size_bytes: row.size_bytes,
                capacity: row.capacity,
                consumers: row.consumers,
                floor: floor.to_owned(),
                unit: unit.to_owned(),
                placement: row.placement.unwrap_or_default().to_owned(),
            },
            rounds: row.rounds,
            messages: row.messages,
            figure,
            figure_min: of(row.figures.min),
            figure_max: of(row.figures.max),
            floor_figure,
            ratio_to_floor: row.ratio_to_floor,
            ratio_min: row.ratio.min,
            ratio_max: row.ratio.max,
            p50_ns: row.p50_ns,
            p90_ns: row.p90_ns,
            p99_ns: row.p99_ns,
            p999_ns: row.p999_ns,
            p9999_ns: row.p9999_ns,
            max_ns: row.max_ns,
            usage: row.usage,
            verified: row.verified,
            ratios: row.ratios.clone(),
        }
    }

    /// A row of a comparison.
    pub(crate) fn of_comparison(
        facts: &Facts,
        step: &str,
        row: &comparison::Row,
        placement: &str,
    ) -> Self {
        Self {
            facts: facts.clone(),
            cell: Cell {
                step: step.to_owned(),
                scenario: row.scenario.to_owned(),
                layer: row.layer.to_owned(),
                backend: row.backend.to_owned(),
                wait: row.wait.to_owned(),
                size_bytes: row.size_bytes,
                capacity: row.capacity,
                consumers: row.consumers,
                floor: row.floor.clone().into_owned(),
                unit: row.unit.to_owned(),
                placement: placement.to_owned(),
            },
            rounds: row.rounds,
            messages: row.messages,
            figure: row.figure,
            figure_min: row.figure_min,
            figure_max: row.figure_max,
            floor_figure: row.floor_figure,
            ratio_to_floor: row.ratio_to_floor,
            ratio_min: row.ratio_min,
            ratio_max: row.ratio_max,
            p50_ns: None,
            p90_ns: None,
            p99_ns: None,
            p999_ns: None,
            p9999_ns: None,
            max_ns: None,
            usage: row.usage,
            verified: row.verified,
            ratios: row.ratios.clone(),
        }
    }

    /// Half of the rounds have a ratio between these two.
    pub(crate) fn quartiles(&self) -> (f64, f64) {
        quartiles(&self.ratios)
    }
}

/// The quartiles of `values`; the median of a single one.
fn quartiles(values: &[f64]) -> (f64, f64) {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    match sorted.len() {
        0 => (0.0, 0.0),
        1 => (sorted[0], sorted[0]),
        count => {
            let lower = Spread::of(sorted[..count.div_ceil(2)].to_vec());
            let upper = Spread::of(sorted[count / 2..].to_vec());
            (lower.median, upper.median)
        }
    }
}

fn lines(records: &[Record]) -> Result<String, Failure> {
    let mut text = String::new();
    for record in records {
        text += &serde_json::to_string(record)?;
        text.push('\n');
    }
    Ok(text)
}

/// Replaces a file of JSON lines by these rows.
pub(crate) fn write(path: &Path, records: &[Record]) -> Result<(), Failure> {
    report::json::replace(path, &lines(records)?)
}

/// Adds rows to a file of JSON lines, all of them or, if the process dies, a part that [`read`] notices.
pub(crate) fn append(path: &Path, records: &[Record]) -> Result<(), Failure> {
    let text = lines(records)?;
    let named = |error: std::io::Error| format!("{}: {error}", path.display());
    let mut options = fs::OpenOptions::new();
    let mut file = options
        .create(true)
        .append(true)
        .open(path)
        .map_err(named)?;
    Ok(file.write_all(text.as_bytes()).map_err(named)?)
}

/// Reads a file of JSON lines. The step at its end is left out if the process died while writing it.
pub(crate) fn read(path: &Path) -> Result<Vec<Record>, Failure> {
    let shown = path.display();
    let text = fs::read_to_string(path).map_err(|error| format!("{shown}: {error}"))?;
    let mut records: Vec<Record> = Vec::new();
    let mut lines = text.split_inclusive('\n').enumerate().peekable();
    while let Some((number, line)) = lines.next() {
        let is_torn = lines.peek().is_none() && !line.ends_with('\n');
        if is_torn {
            let step = records.last().map(|record| record.cell.step.clone());
            records.retain(|record| Some(&record.cell.step) != step.as_ref());
            break;
        }
        records
            .push(parse(line).map_err(|error| format!("{shown}, line {}: {error}", number + 1))?);
    }
    Ok(records)
}

fn parse(line: &str) -> Result<Record, String> {
    const AGAIN: &str = "measure again with `perf-bench sweep`";
    let value: serde_json::Value = serde_json::from_str(line).map_err(|error| {
        format!(
            "this is not a line of JSON ({error}); a file of `perf-bench sweep --out` was expected"
        )
    })?;
    match value["format"].as_u64() {
        Some(format) if format == u64::from(FORMAT) => {}
        Some(format) => {
            return Err(format!(
                "the format is {format}, and this version reads format {FORMAT}; {AGAIN}"
            ));
        }
        None => {
            return Err(format!(
                "the line has no format, so it is not of `perf-bench sweep`; {AGAIN}"
            ));
        }
    }
    serde_json::from_value(value).map_err(|error| format!("{error}; {AGAIN}"))
}

/// Writes a file of comma-separated values, whole or not at all.
pub(crate) fn write_csv(path: &Path, records: &[Record]) -> Result<(), Failure> {
    let mut text = String::new();
    for (index, record) in records.iter().enumerate() {
        let serde_json::Value::Object(fields) = serde_json::to_value(record)? else {
            return Err("a row is not an object".into());
        };
        let fields = || fields.iter().filter(|(name, _)| *name != "ratios");
        if index == 0 {
            let names: Vec<_> = fields().map(|(name, _)| name.as_str()).collect();
            text += &names.join(",");
            text.push('\n');
        }
        let values: Vec<_> = fields().map(|(_, value)| csv(value)).collect();
        text += &values.join(",");
        text.push('\n');
    }
    report::json::replace(path, &text)
}

/// A value as a field; in quotes where commas or quotes would end it.
fn csv(value: &serde_json::Value) -> String {
    let text = match value {
        serde_json::Value::Null => String::new(),
        serde_json::Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    if text.contains([',', '"', '\n']) {
        format!("\"{}\"", text.replace('"', "\"\""))
    } else {
        text
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// The origin of rows.
    pub(crate) fn origin() -> Origin {
        let text = str::to_owned;
        Origin {
            commit: text("c0ffee"),
            command: text("perf-bench sweep, \"again\""),
            processor: text("A"),
            cores: text("2"),
            kernel: text("K"),
            build: text("release"),
        }
    }

    /// A row of a round trip with these ratios.
    pub(crate) fn record(scenario: &str, unit: &str, ratios: &[f64]) -> Record {
        let spread = Spread::of(ratios.to_vec());
        let text = str::to_owned;
        Record {
            facts: Facts {
                format: FORMAT,
                tier: text("smoke"),
                origin: origin(),
            },
            cell: Cell {
                step: text("one"),
                scenario: text(scenario),
                layer: text("raw"),
                backend: text("shm"),
                wait: text("busy_spin"),
                size_bytes: 56,
                capacity: 64,
                consumers: 1,
                floor: text("two_line_bounce"),
                unit: text(unit),
                placement: text("near"),
            },
            rounds: ratios.len(),
            messages: 1,
            figure: 100.0 * spread.median,
            figure_min: 100.0 * spread.min,
            figure_max: 100.0 * spread.max,
            floor_figure: 100.0,
            ratio_to_floor: spread.median,
            ratio_min: spread.min,
            ratio_max: spread.max,
            p50_ns: None,
            p90_ns: None,
            p99_ns: None,
            p999_ns: None,
            p9999_ns: None,
            max_ns: None,
            usage: Usage::default(),
            verified: true,
            ratios: ratios.to_vec(),
        }
    }

    #[test]
    fn quartiles_of_odd_and_even_counts() {
        assert_eq!(quartiles(&[5.0, 1.0, 2.0, 3.0, 4.0]), (2.0, 4.0));
        assert_eq!(quartiles(&[1.0, 2.0, 3.0, 4.0]), (1.5, 3.5));
        assert_eq!(quartiles(&[7.0]), (7.0, 7.0));
    }

    #[test]
    fn what_was_written_is_read_and_a_torn_step_is_left_out() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("rows.jsonl");
        let first = record("a", "ns", &[1.0, 2.0]);
        let mut second = record("b", "M/s", &[1.0]);
        second.cell.step = "two".into();
        append(&path, std::slice::from_ref(&first)).expect("written");
        append(&path, &[second.clone(), second]).expect("written");
        let read_back = || read(&path).expect("readable");
        assert_eq!(read_back().len(), 3);
        assert_eq!(read_back()[0].ratios, [1.0, 2.0]);
        assert_eq!(read_back()[0].cell, first.cell);
        let text = fs::read_to_string(&path).expect("readable");
        fs::write(&path, &text[..text.len() - 10]).expect("written");
        assert_eq!(read_back().len(), 1);
    }

    #[test]
    fn other_formats_are_refused_with_what_to_do() {
        for (line, says) in [
            ("[{\"scenario\": 1}]", "no format"),
            ("[", "not a line of JSON"),
            (
                "{\"format\": 0}",
                "the format is 0, and this version reads format 1",
            ),
            ("{\"format\": 1}", "missing field"),
        ] {
            let error = parse(line).expect_err("refused");
            assert!(error.contains(says), "{error}");
            assert!(error.contains("perf-bench sweep"), "{error}");
        }
    }

    #[test]
    fn csv_has_a_line_of_names_and_quotes_what_has_commas() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("rows.csv");
        write_csv(
            &path,
            &[record("a", "ns", &[1.5]), record("b", "ns", &[2.5])],
        )
        .expect("written");
        let text = fs::read_to_string(&path).expect("readable");
        let mut lines = text.lines();
        let names = lines.next().expect("a line of names");
        assert!(names.contains("commit") && names.contains("ratio_to_floor"));
        let row = lines.next().expect("a row");
        assert!(row.contains("\"perf-bench sweep, \"\"again\"\"\""), "{row}");
        assert!(row.contains("1.5"), "{row}");
        assert_eq!(lines.count(), 1);
    }
}
