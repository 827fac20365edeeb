//! The figures of the peers in README.md and docs/performance.md are those of the committed rows: medians of the runs,
//! and, of ratios that differ by more than a tenth from run to run, the range. The aims beside them are judged here.

use std::collections::BTreeMap;
use std::fs;

use serde_json::Value;

const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/..");
const ROWS: &str = "docs/figures/compare-2026-11-30.json";
const RUNS: usize = 3;

const SIZES: [(u64, &str); 5] = [
    (8, "8 B"),
    (56, "56 B"),
    (64, "64 B"),
    (1024, "1 KiB"),
    (4096, "4 KiB"),
];

fn page(name: &str) -> String {
    fs::read_to_string(format!("{ROOT}/{name}")).expect("the page")
}

/// The runs of one peer in one scenario at one size.
#[derive(Debug, Default)]
struct Cell {
    figures: Vec<f64>,
    ratios: Vec<f64>,
    is_between_processes: bool,
}

/// The cells by scenario, size and peer.
type Cells = BTreeMap<(String, u64, String), Cell>;

fn cells() -> Cells {
    let rows: Vec<Value> = serde_json::from_str(&page(ROWS)).expect("rows");
    let mut cells = Cells::new();
    for row in &rows {
        assert_eq!(row["verified"], true, "{row}");
        let text = |key: &str| row[key].as_str().expect("a text").to_owned();
        let number = |key: &str| row[key].as_f64().expect("a number");
        let size = row["size_bytes"].as_u64().expect("a size");
        let key = (text("scenario"), size, text("peer"));
        let cell = cells.entry(key).or_default();
        cell.figures.push(number("figure"));
        cell.ratios.push(number("ratio_to_raw"));
        cell.is_between_processes = text("between") == "processes";
    }
    for (key, cell) in &cells {
        assert_eq!(cell.figures.len(), RUNS, "{key:?}");
    }
    cells
}

fn of<'a>(cells: &'a Cells, scenario: &str, size: u64, peer: &str) -> Option<&'a Cell> {
    cells.get(&(scenario.to_owned(), size, peer.to_owned()))
}

fn sorted(values: &[f64]) -> Vec<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted
}

fn median(values: &[f64]) -> f64 {
    sorted(values)[values.len() / 2]
}

/// Three digits at least, and three places at most.
fn digits(number: f64) -> String {
    let places = match number {
        100.0.. => 0,
        10.0.. => 1,
        1.0.. => 2,
        _ => 3,
    };
    format!("{number:.places$}")
}

fn figure(scenario: &str, cell: &Cell) -> String {
    let figure = median(&cell.figures);
    if scenario == "pingpong" && figure >= 10_000.0 {
        format!("{} µs", digits(figure / 1_000.0))
    } else {
        digits(figure)
    }
}

fn ratio(ratios: &[f64]) -> String {
    let sorted = sorted(ratios);
    let ends = [sorted[0], sorted[RUNS - 1]];
    let [least, most] = ends.map(digits);
    if ends[1] / ends[0] <= 1.1 || least == most {
        digits(median(ratios))
    } else {
        format!("{least}–{most}")
    }
}

/// The tables whose first cell is this, each as rows of cells without the line below the heads.
fn tables<'a>(page: &'a str, first: &str) -> Vec<Vec<Vec<&'a str>>> {
    let mut tables: Vec<Vec<Vec<&str>>> = Vec::new();
    let mut is_in_one = false;
    for line in page.lines() {
        let Some(line) = line.strip_prefix("| ") else {
            is_in_one = is_in_one && line.starts_with("|--");
            continue;
        };
        let cells: Vec<&str> = line
            .trim_end_matches('|')
            .split(" | ")
            .map(str::trim)
            .collect();
        if cells[0] == first {
            tables.push(Vec::new());
            is_in_one = true;
        }
        if is_in_one {
            tables.last_mut().expect("begun above").push(cells);
        }
    }
    tables
}

/// What the tables of docs/performance.md say and the rows do not.
fn faults_of_tables(page: &str, cells: &Cells) -> Vec<String> {
    let tables: Vec<_> = tables(page, "peer")
        .into_iter()
        .filter(|table| table[0][1] == "between")
        .collect();
    let scenarios = ["pingpong", "stream", "broadcast"];
    let mut faults = Vec::new();
    if tables.len() != scenarios.len() {
        faults.push(format!("{} tables of peers", tables.len()));
    }
    let mut shown = 0;
    for (table, scenario) in tables.iter().zip(scenarios) {
        for row in &table[1..] {
            for (text, head) in row.iter().zip(&table[0]).skip(2) {
                let size = SIZES.iter().find(|(_, name)| name == head);
                let cell = size.and_then(|(size, _)| of(cells, scenario, *size, row[0]));
                let expected = cell.map_or_else(String::new, |cell| {
                    format!("{} ({})", figure(scenario, cell), ratio(&cell.ratios))
                });
                shown += usize::from(cell.is_some());
                if *text != expected {
                    faults.push(format!(
                        "{scenario}, {}, {head}: {text}, not {expected}",
                        row[0]
                    ));
                }
            }
        }
    }
    if shown != cells.len() {
        faults.push(format!("{shown} of {} figures are shown", cells.len()));
    }
    faults
}

/// The aims of the ring of events: scenario and size, whether at most or at least, how many times which peer's figure.
fn aims() -> Vec<(&'static str, u64, &'static str, f64, &'static str)> {
    let mut aims = Vec::new();
    for (size, _) in SIZES {
        let limit = if size <= 56 { 0.75 } else { 0.95 };
        aims.push(("pingpong", size, "at most", limit, "the best"));
    }
    for (size, _) in SIZES {
        aims.push(("pingpong", size, "at most", 0.3, "iceoryx2"));
    }
    for (size, _) in SIZES {
        let limit = match size {
            ..=64 => 1.4,
            65..=1024 => 1.1,
            _ => 1.0,
        };
        aims.push(("stream", size, "at least", limit, "the best"));
    }
    aims.push(("broadcast", 56, "at least", 2.0, "the best"));
    aims
}

/// The best peer between processes.
fn best<'a>(cells: &'a Cells, scenario: &str, size: u64) -> &'a str {
    let peers = cells.iter().filter(|((of_scenario, of_size, peer), cell)| {
        let is_ours = ["raw", "framed", "raw_called"].contains(&peer.as_str());
        of_scenario == scenario && *of_size == size && cell.is_between_processes && !is_ours
    });
    let sign = if scenario == "pingpong" { 1.0 } else { -1.0 };
    let cost = |cell: &Cell| sign * median(&cell.ratios);
    let best = peers.min_by(|one, other| cost(one.1).total_cmp(&cost(other.1)));
    &best.expect("a peer").0.2
}

/// What the table of aims says and the rows do not.
fn faults_of_aims(page: &str, cells: &Cells) -> Vec<String> {
    let tables = tables(page, "scenario");
    let [table] = tables.as_slice() else {
        return vec![format!("{} tables of aims", tables.len())];
    };
    let name = |size| SIZES.iter().find(|of| of.0 == size).expect("a size").1;
    let expected = aims()
        .into_iter()
        .map(|(scenario, size, side, limit, beside)| {
            let peer = match beside {
                "the best" => best(cells, scenario, size),
                peer => peer,
            };
            let cell = of(cells, scenario, size, peer).expect("a cell");
            let raw: Vec<f64> = cell.ratios.iter().map(|ratio| 1.0 / ratio).collect();
            let is_met = match side {
                "at most" => median(&raw) <= limit,
                _ => median(&raw) >= limit,
            };
            let title = if scenario == "pingpong" {
                "round trip"
            } else {
                scenario
            };
            [
                title.to_owned(),
                name(size).to_owned(),
                format!("{side} {limit} × {beside}"),
                format!("{} × {peer}", ratio(&raw)),
                String::from(if is_met { "met" } else { "**missed**" }),
            ]
        });
    let mut faults = Vec::new();
    let mut rows = table[1..].iter();
    for expected in expected {
        match rows.next() {
            Some(row) if *row == expected => {}
            row => faults.push(format!("{row:?}, not {expected:?}")),
        }
    }
    faults.extend(rows.map(|row| format!("{row:?} is no aim")));
    faults
}

/// What the table of README.md says and the rows do not.
fn faults_of_readme(page: &str, cells: &Cells) -> Vec<String> {
    let tables: Vec<_> = tables(page, "56 bytes");
    let [table] = tables.as_slice() else {
        return vec![format!("{} tables of peers", tables.len())];
    };
    let scenarios = [("pingpong", " ns"), ("stream", ""), ("broadcast", "")];
    let mut faults = Vec::new();
    for row in &table[1..] {
        let peer = row[0].split([' ', ',']).next().unwrap_or_default();
        for (text, (scenario, unit)) in row[1..].iter().zip(scenarios) {
            let expected = of(cells, scenario, 56, peer).map(|cell| {
                let figure = figure(scenario, cell);
                let unit = if figure.ends_with("µs") { "" } else { unit };
                figure + unit
            });
            if expected.as_deref() != Some(text) {
                faults.push(format!("{peer}, {scenario}: {text}, not {expected:?}"));
            }
        }
    }
    if table.len() < 8 {
        faults.push(format!("only {} rows", table.len()));
    }
    faults
}

fn faults(performance: &str, readme: &str) -> Vec<String> {
    let cells = cells();
    let mut faults = faults_of_tables(performance, &cells);
    faults.extend(faults_of_aims(performance, &cells));
    faults.extend(faults_of_readme(readme, &cells));
    faults
}

#[test]
fn figures_are_those_of_the_committed_rows() {
    let faults = faults(&page("docs/performance.md"), &page("README.md"));
    assert!(faults.is_empty(), "\n{}", faults.join("\n"));
}

#[test]
fn control_figures_that_differ_from_the_rows() {
    let (performance, readme) = (page("docs/performance.md"), page("README.md"));
    let changed = |page: &str, from: &str, to: &str| {
        assert!(page.contains(from), "{from}");
        page.replacen(from, to, 1)
    };
    let in_performance = [
        ("132 (1.18)", "132 (1.17)", "pingpong, shaq, 56 B"),
        (
            "| 30.5 (0.587) ",
            "| 31.5 (0.587) ",
            "stream, tachyon, 64 B",
        ),
        (
            "| shaq | processes | 115 ",
            "| shark | processes | 115 ",
            "of 164 figures are shown",
        ),
        (
            "1.04 × shaq | **missed**",
            "1.04 × shaq | met",
            "not [\"round trip\", \"64 B\"",
        ),
        (
            "| at least 2 × the best",
            "| at least 1 × the best",
            "not [\"broadcast\"",
        ),
    ];
    for (from, to, says) in in_performance {
        let faults = faults(&changed(&performance, from, to), &readme);
        assert!(
            faults.iter().any(|fault| fault.contains(says)),
            "{says}: {faults:?}"
        );
    }
    let faults = faults(&performance, &changed(&readme, "| 109 ns ", "| 108 ns "));
    assert_eq!(faults, ["raw, pingpong: 108 ns, not Some(\"109 ns\")"]);
}
