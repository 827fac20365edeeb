//! The rows of `compare`, with the peers side by side: as Markdown tables, as an HTML page, and as one plot in a file
//! of its own. If the rows are of several runs, each figure is the median of the runs.

use std::collections::BTreeSet;
use std::fmt::Write;

use super::markdown::{self, summary};
use super::page::{self, whole};
use super::plot::{Axis, COLOURS, PARTS, bytes, escaped, open, plain};
use super::verdict::TYPICAL_BYTES;
use crate::compare::row::{Row, THREADS, digits};
use crate::compare::{CALLED, FRAMED, RAW};
use crate::machine::Origin;
use crate::measure::Spread;

/// A ratio that differs more than this from run to run is shown as a range.
const SPREAD_MAX: f64 = 1.1;

/// A peer in one scenario, at one size.
#[derive(Debug)]
struct Side<'a> {
    /// The row of the first run.
    row: &'a Row,
    /// The median of the runs.
    figure: f64,
    /// The range over all rounds of all runs.
    least: f64,
    most: f64,
    /// The ratios of the runs to the ring of events.
    to_raw: Option<Spread>,
    verified: bool,
}

impl<'a> Side<'a> {
    /// `runs` must not be empty.
    fn of(runs: &[&'a Row]) -> Self {
        let each = |value: fn(&Row) -> f64| Spread::of(runs.iter().map(|row| value(row)).collect());
        let ratios: Vec<f64> = runs.iter().filter_map(|row| row.ratio_to_raw).collect();
        Self {
            row: runs[0],
            figure: each(|row| row.figure).median,
            least: each(|row| row.figure_min).min,
            most: each(|row| row.figure_max).max,
            to_raw: (!ratios.is_empty()).then(|| Spread::of(ratios)),
            verified: runs.iter().all(|row| row.verified),
        }
    }

    fn is(&self, scenario: &str, size: usize) -> bool {
        self.row.scenario == scenario && self.row.size_bytes == size
    }

    fn is_time(&self) -> bool {
        self.row.unit == "ns"
    }

    /// The time of one message, in whatever unit.
    fn cost(&self) -> f64 {
        if self.is_time() {
            self.figure
        } else {
            1.0 / self.figure
        }
    }

    /// The figure, in the unit of the scenario or in the one that it names.
    fn shown(&self) -> String {
        if !self.verified {
            return String::from("NOT VERIFIED");
        }
        if self.is_time() && self.figure >= 10_000.0 {
            return format!("{} µs", digits(self.figure / 1_000.0));
        }
        digits(self.figure)
    }

    /// The figure and its ratio to the ring of events.
    fn cell(&self) -> String {
        let shown = self.shown();
        match self.to_raw.filter(|_| self.verified) {
            Some(ratio) => format!("{shown} ({})", range(ratio)),
            None => shown,
        }
    }

    /// What the scenario measures.
    fn title(&self) -> String {
        match self.row.scenario.as_str() {
            "pingpong" => String::from("round trip"),
            "broadcast" => format!("broadcast to {}", self.row.receivers),
            other => other.to_owned(),
        }
    }
}

/// The median, or the range if it is wide.
fn range(ratio: Spread) -> String {
    let ends = [ratio.min, ratio.max].map(digits);
    if ratio.max <= SPREAD_MAX * ratio.min || ends[0] == ends[1] {
        digits(ratio.median)
    } else {
        ends.join("–")
    }
}

/// All rows of a file, by peer, scenario and size.
#[derive(Debug)]
pub(crate) struct Peers<'a> {
    sides: Vec<Side<'a>>,
    /// The peers and what they connect: the rings first, threads last, and the quicker ones of a kind first.
    names: Vec<(&'a str, &'a str)>,
    /// The largest number of rows for the same cell.
    runs: usize,
}

impl<'a> Peers<'a> {
    /// `rows` must not be empty.
    pub(crate) fn of(rows: &'a [Row]) -> Self {
        let mut cells: Vec<Vec<&Row>> = Vec::new();
        let cell = |row: &'a Row| (&row.scenario, row.size_bytes, &row.peer);
        for row in rows {
            match cells.iter_mut().find(|known| cell(known[0]) == cell(row)) {
                Some(known) => known.push(row),
                None => cells.push(vec![row]),
            }
        }
        let mut peers = Self {
            sides: cells.iter().map(|runs| Side::of(runs)).collect(),
            names: Vec::new(),
            runs: cells.iter().map(Vec::len).max().unwrap_or_default(),
        };
        peers.names = peers.ordered();
        peers
    }

    fn ordered(&self) -> Vec<(&'a str, &'a str)> {
        let (first, size) = (&self.sides[0].row.scenario, self.typical_size());
        let mut names: Vec<(&str, &str)> = Vec::new();
        for Side { row, .. } in &self.sides {
            let name = (row.peer.as_str(), row.between.as_str());
            if !names.contains(&name) {
                names.push(name);
            }
        }
        let cost = |peer: &str| {
            let side = self.side(first, size, peer);
            side.map_or(f64::INFINITY, Side::cost)
        };
        names.sort_by(|one, other| {
            let kind = |(peer, between): (&str, &str)| class(peer, between);
            let by_kind = kind(*one).cmp(kind(*other));
            by_kind.then_with(|| cost(one.0).total_cmp(&cost(other.0)))
        });
        names
    }

    /// Where the rows of the first run come from, if they say it.
    fn origin(&self) -> Option<&'a Origin> {
        self.sides.first()?.row.origin.as_ref()
    }

    fn side(&self, scenario: &str, size: usize, peer: &str) -> Option<&Side<'a>> {
        let mut sides = self.sides.iter();
        sides.find(|side| side.is(scenario, size) && side.row.peer == peer)
    }

    fn sizes(&self) -> BTreeSet<usize> {
        self.sides.iter().map(|side| side.row.size_bytes).collect()
    }

    /// The usual size if it was measured, else the smallest.
    fn typical_size(&self) -> usize {
        let sizes = self.sizes();
        let usual = sizes.get(&TYPICAL_BYTES).or_else(|| sizes.first());
        usual.copied().unwrap_or_default()
    }

    /// The first row of each scenario, among those that suit.
    fn scenarios(&self, suits: impl Fn(&Side<'a>) -> bool) -> Vec<&Side<'a>> {
        let mut firsts: Vec<&Side<'_>> = Vec::new();
        for side in self.sides.iter().filter(|side| suits(side)) {
            let is_known = |first: &&Side<'_>| first.row.scenario == side.row.scenario;
            if !firsts.iter().any(is_known) {
                firsts.push(side);
            }
        }
        firsts
    }

    fn summary(&self) -> String {
        let wrong = self.sides.iter().filter(|side| !side.verified).count();
        let summary = summary(self.sides.len(), wrong);
        match self.runs {
            1 => summary,
            runs => format!("{summary} Each figure is the median of {runs} runs."),
        }
    }

    /// The table of a scenario, its heads first: a row for each peer, and a column for each size.
    fn table(&self, scenario: &str) -> Vec<Vec<String>> {
        let of_it = || {
            self.sides
                .iter()
                .filter(|side| side.row.scenario == scenario)
        };
        let sizes: BTreeSet<usize> = of_it().map(|side| side.row.size_bytes).collect();
        let heads = ["peer", "between"].map(str::to_owned).into_iter();
        let mut table = vec![heads.chain(sizes.iter().map(|&size| bytes(size))).collect()];
        for &(peer, between) in &self.names {
            if of_it().any(|side| side.row.peer == peer) {
                let cells = sizes.iter().map(|&size| {
                    let side = self.side(scenario, size, peer);
                    side.map_or_else(String::new, Side::cell)
                });
                let names = [peer, between].map(str::to_owned).into_iter();
                table.push(names.chain(cells).collect());
            }
        }
        table
    }

    /// The tables as Markdown.
    pub(crate) fn markdown(&self) -> String {
        let mut text = String::from("# perf-bench compare\n\n");
        if let Some(origin) = self.origin() {
            text += &format!("{}\n", markdown::facts(origin));
        }
        text += &format!("{}\n", self.summary());
        for first in self.scenarios(|_| true) {
            text += &format!("\n## {}\n\n{}\n", heading(first), explained(first));
            for (number, cells) in self.table(&first.row.scenario).iter().enumerate() {
                let cells: Vec<_> = cells.iter().map(|cell| markdown::escaped(cell)).collect();
                text += &format!("\n| {} |", cells.join(" | "));
                if number == 0 {
                    text += &format!("\n|---|---|{}", "--:|".repeat(cells.len() - 2));
                }
            }
            text.push('\n');
        }
        text
    }

    /// The page: a plot for each size, and the tables.
    pub(crate) fn page(&self) -> String {
        let mut rest = self.origin().map_or_else(String::new, page::facts);
        for size in self.sizes() {
            let (plot, width, height) = self.draw(size);
            let plot = open("peers side by side", &bytes(size), width, height) + &plot;
            rest += &format!("<h2>Messages of {}</h2>\n{plot}</svg></div>\n", bytes(size));
        }
        for first in self.scenarios(|_| true) {
            rest += &format!(
                "<h2>{}</h2>\n<p>{}</p>\n<div class=\"wide\"><table>\n",
                escaped(&heading(first)),
                escaped(explained(first))
            );
            for (number, cells) in self.table(&first.row.scenario).iter().enumerate() {
                rest += "<tr>";
                for (column, cell) in cells.iter().enumerate() {
                    let tag = if number == 0 { "th" } else { "td" };
                    let class = if column < 2 { " class=\"text\"" } else { "" };
                    rest += &format!("<{tag}{class}>{}</{tag}>", escaped(cell));
                }
                rest += "</tr>\n";
            }
            rest += "</table></div>\n";
        }
        whole(&self.summary(), &rest)
    }

    /// The plot of the usual size, as a file of its own.
    pub(crate) fn plot(&self) -> String {
        let size = self.typical_size();
        let (plot, width, height) = self.draw(size);
        let told = self.scenarios(|side| side.row.size_bytes == size);
        let told = told.into_iter().map(|first| {
            let peers = self.names.iter().filter_map(|(peer, _)| {
                let side = self.side(&first.row.scenario, size, peer)?;
                Some(format!("{peer} {}", side.shown()))
            });
            format!(
                "{}: {}.",
                heading(first),
                peers.collect::<Vec<_>>().join(", ")
            )
        });
        let told = told.collect::<Vec<_>>().join("\n");
        format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" width=\"{width}\" \
             height=\"{height}\" role=\"img\">\n<title>Messages of {}, peers side by side</title>\n\
             <desc>{}</desc>\n<style>\n{COLOURS}{PARTS}</style>\n\
             <rect class=\"paper\" width=\"{width}\" height=\"{height}\" rx=\"8\"/>\n{plot}</svg>\n",
            bytes(size),
            escaped(&told)
        )
    }

    /// A panel for each scenario and a line for each peer; then the width and the height.
    fn draw(&self, size: usize) -> (String, f64, f64) {
        const LABELS: f64 = 150.0;
        const PANEL: f64 = 262.0;
        const VALUES: f64 = 70.0;
        const TOP: f64 = 44.0;
        const ROW: f64 = 20.0;
        let panels = self.scenarios(|side| side.row.size_bytes == size);
        let names = self.names.iter().filter(|(peer, _)| {
            let is_here = |side: &Side<'_>| side.row.size_bytes == size && side.row.peer == *peer;
            self.sides.iter().any(is_here)
        });
        let rows: Vec<_> = (0_u32..)
            .zip(names)
            .map(|(number, name)| (TOP + (f64::from(number) + 0.5) * ROW, name))
            .collect();
        let bottom = TOP + rows.len() as f64 * ROW;
        let mut svg = String::new();
        for (y, (peer, between)) in &rows {
            let of_threads = if *between == THREADS { ", threads" } else { "" };
            let _ = writeln!(
                svg,
                "<text x=\"{LABELS}\" y=\"{:.1}\" text-anchor=\"end\">{}{of_threads}</text>",
                y + 4.0,
                escaped(peer)
            );
        }
        for (number, first) in (0_u32..).zip(&panels) {
            let from = LABELS + f64::from(number) * PANEL + 14.0;
            let end = from + PANEL - 14.0;
            let sides: Vec<_> = rows
                .iter()
                .filter_map(|(y, (peer, _))| {
                    Some((*y, self.side(&first.row.scenario, size, peer)?))
                })
                .collect();
            let values = sides.iter().filter(|(_, side)| side.verified);
            let values = values.flat_map(|(_, side)| [side.least, side.figure, side.most]);
            let axis = Axis::over(values, (from, end - VALUES));
            let _ = writeln!(
                svg,
                "<text x=\"{from:.1}\" y=\"16\">{}</text>",
                heading(first)
            );
            scale(&mut svg, axis, (TOP, bottom));
            for (y, side) in sides {
                line(&mut svg, axis, side, (y, end));
            }
        }
        let _ = writeln!(
            svg,
            "<text class=\"soft\" x=\"{:.1}\" y=\"{:.1}\">Messages of {}. Points are medians, bars the range of all \
             rounds.</text><text class=\"soft\" x=\"{0:.1}\" y=\"{:.1}\">The axes are logarithmic.</text>",
            LABELS + 14.0,
            bottom + 20.0,
            bytes(size),
            bottom + 38.0
        );
        let mut x = LABELS + 180.0;
        for (class, kind) in [
            ("s0", "rings"),
            ("s1", "other processes"),
            ("s2", "threads"),
        ] {
            let y = bottom + 38.0;
            let _ = writeln!(
                svg,
                "<circle class=\"{class}\" cx=\"{x:.1}\" cy=\"{:.1}\" r=\"4\"/>\
                 <text class=\"soft\" x=\"{:.1}\" y=\"{y:.1}\">{kind}</text>",
                y - 4.0,
                x + 9.0
            );
            x += 40.0 + 7.0 * kind.len() as f64;
        }
        let width = LABELS + panels.len() as f64 * PANEL + 10.0;
        (svg, width.max(650.0), bottom + 50.0)
    }
}

/// The colour of a peer, in the order of kinds: rings, processes, threads.
fn class(peer: &str, between: &str) -> &'static str {
    match (peer, between) {
        (RAW | FRAMED | CALLED, _) => "s0",
        (_, THREADS) => "s2",
        _ => "s1",
    }
}

/// What is measured, in which unit, and which figures are good.
fn heading(first: &Side<'_>) -> String {
    let good = if first.is_time() { "less" } else { "more" };
    format!("{}, {} ({good} is better)", first.title(), first.row.unit)
}

/// What the cells of a table mean.
fn explained(first: &Side<'_>) -> &'static str {
    if first.is_time() {
        "The median of the rounds, in ns unless µs are named. In brackets: how many times as long as raw takes in the \
         same round, as a range if runs differ by more than a tenth."
    } else {
        "The median of the rounds, in millions of messages per second. In brackets: how many times the rate of raw in \
         the same round, as a range if runs differ by more than a tenth."
    }
}

/// The ticks of a panel, without those whose labels would overlap.
fn scale(svg: &mut String, axis: Axis, (top, bottom): (f64, f64)) {
    let mut free_from = 0.0;
    for tick in axis.ticks() {
        let (x, label) = (axis.at(tick), plain(tick));
        let half = 4.0 * label.len() as f64;
        if x - half < free_from {
            continue;
        }
        free_from = x + half;
        let _ = writeln!(
            svg,
            "<line class=\"grid\" x1=\"{x:.1}\" x2=\"{x:.1}\" y1=\"{top}\" y2=\"{bottom}\"/>\
             <text class=\"soft\" x=\"{x:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{label}</text>",
            top - 8.0
        );
    }
}

/// A peer's line in a panel: its range, its median, and the figure at the end.
fn line(svg: &mut String, axis: Axis, side: &Side<'_>, (y, end): (f64, f64)) {
    let row = side.row;
    let (class, shown) = (class(&row.peer, &row.between), side.shown());
    let mut points = String::new();
    if side.verified {
        let [from, at, to] = [side.least, side.figure, side.most].map(|value| axis.at(value));
        points = format!(
            "<line class=\"range {class}\" x1=\"{from:.1}\" x2=\"{to:.1}\" y1=\"{y:.1}\" y2=\"{y:.1}\"/>\
             <circle class=\"{class}\" cx=\"{at:.1}\" cy=\"{y:.1}\" r=\"4\"/>"
        );
    }
    let tip = format!(
        "{}, {}, {}: {} x raw",
        row.peer,
        side.title(),
        bytes(row.size_bytes),
        side.cell()
    );
    let _ = writeln!(
        svg,
        "<g><title>{}</title>{points}<text x=\"{end:.1}\" y=\"{:.1}\" text-anchor=\"end\">{shown}</text></g>",
        escaped(&tip),
        y + 4.0
    );
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compare::row::tests::row;

    /// Circles that explain the colours.
    const KEYS: usize = 3;

    fn rows() -> Vec<Row> {
        vec![
            row("pingpong", "raw", 56, (100.0, 1.0)),
            row("pingpong", "a<b", 56, (100_000.0, 1_000.0)),
            row("pingpong", "c", 56, (200.0, 2.0)),
            row("stream", "raw", 56, (50.0, 1.0)),
            row("stream", "c", 56, (20.0, 0.4)),
            row("stream", "raw", 1024, (5.0, 1.0)),
            row("stream", "d", 1024, (2.0, 0.4)),
        ]
    }

    #[test]
    fn each_scenario_has_a_table_of_peers_and_sizes() {
        let mut rows = rows();
        for number in [2, 4] {
            rows[number].between = THREADS.into();
        }
        let text = Peers::of(&rows).markdown();
        assert!(
            text.contains("\nAll 7 rows were verified in every round.\n"),
            "{text}"
        );
        let tables: Vec<_> = text.lines().filter(|line| line.starts_with("| ")).collect();
        assert_eq!(
            tables,
            [
                "| peer | between | 56 B |",
                "| raw | processes | 100 (1.00) |",
                "| a&lt;b | processes | 100 µs (1000) |",
                "| c | threads | 200 (2.00) |",
                "| peer | between | 56 B | 1 KiB |",
                "| raw | processes | 50.0 (1.00) | 5.00 (1.00) |",
                "| d | processes |  | 2.00 (0.400) |",
                "| c | threads | 20.0 (0.400) |  |",
            ]
        );
    }

    #[test]
    fn of_several_runs_the_median_counts_and_ratios_that_differ_are_ranges() {
        let mut all = rows();
        for (figure, ratio) in [(120.0, 1.05), (90.0, 1.3)] {
            let mut run = rows();
            run[2] = row("pingpong", "c", 56, (figure, ratio));
            run[4] = row("stream", "c", 56, (figure, 0.41));
            all.extend(run);
        }
        let text = Peers::of(&all).markdown();
        assert!(
            text.contains("Each figure is the median of 3 runs."),
            "{text}"
        );
        assert!(
            text.contains("| c | processes | 120 (1.05–2.00) |\n"),
            "{text}"
        );
        assert!(text.contains("| c | processes | 90.0 (0.410) |"), "{text}");
        all[9].verified = false;
        let text = Peers::of(&all).markdown();
        assert!(
            text.contains("Do not use these figures: 1 of 7 rows"),
            "{text}"
        );
        assert!(
            text.contains("| c | processes | NOT VERIFIED |\n"),
            "{text}"
        );
    }

    #[test]
    fn the_page_has_a_plot_of_each_size_and_the_file_that_of_the_usual_one() {
        let mut rows = rows();
        rows[2].verified = false;
        let peers = Peers::of(&rows);
        let (page, file) = (peers.page(), peers.plot());
        assert_eq!(page.matches("<svg").count(), 2);
        assert_eq!(page.matches("<table>").count(), 2);
        for text in [&page, &file] {
            assert!(text.contains("prefers-color-scheme: dark"));
            assert!(text.contains("a&lt;b") && !text.contains("a<b"));
            assert!(text.contains("NOT VERIFIED"));
            for from_outside in ["src=", "href=", "url(", "@import", "<script"] {
                assert!(!text.contains(from_outside), "{from_outside}");
            }
        }
        assert!(!page.contains("http"));
        assert!(file.contains("Messages of 56 B") && !file.contains("1 KiB"));
        let points = file.matches("<circle").count() - KEYS;
        assert_eq!(points, 4, "one is not verified");
        let small = [row("stream", "raw", 8, (1.0, 1.0))];
        assert!(Peers::of(&small).plot().contains("Messages of 8 B"));
    }
}
