//! The rows of a sweep as one HTML page: plots in SVG and the tables behind them, for light and dark screens. The page
//! loads nothing.

use std::collections::BTreeMap;
use std::fmt::{self, Write};

use super::comparison::short;
use super::markdown::{HEADS, TEXTS, cells, steps, summary_of};
use super::plot::{Axis, COLOURS, PARTS, bytes, escaped, open, plain};
use crate::machine::Origin;
use crate::sweep::record::Record;

/// The page around the plots.
const STYLE: &str = "\
body { background: var(--paper); color: var(--ink); font: 15px/1.5 system-ui, sans-serif; max-width: 62rem;
  margin: 2rem auto; padding: 0 1rem; }
h1, h2, h3 { line-height: 1.2; } h2 { margin-top: 2.5rem; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: 0 1rem; } dt { color: var(--soft); } dd { margin: 0; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-size: 13px; white-space: nowrap; }
th, td { padding: .15rem .6rem; border-bottom: 1px solid var(--faint); text-align: right; }
th.text, td.text { text-align: left; } .wrong { color: var(--wrong); font-weight: 600; }
summary { cursor: pointer; color: var(--soft); }
";

/// Colours of series; further series begin again, with dashes.
const SERIES: usize = 4;
/// Kinds of dashes, the first of which is a whole line.
const DASHES: usize = 3;

/// The page of a sweep.
pub(crate) fn render(records: &[Record]) -> String {
    let mut page = String::new();
    if let Some(first) = records.first() {
        page += &facts(&first.facts.origin);
    }
    let sizes = by_size(records);
    if !sizes.is_empty() {
        page += "<h2>By size</h2>\n<p>The median of the rounds. Both axes are logarithmic.</p>\n";
        for (title, lines) in &sizes {
            page += &titled(title, &plot_by_size(title, lines));
        }
    }
    let percentiles = by_percentile(records);
    if !percentiles.is_empty() {
        page += "<h2>Percentiles</h2>\n<p>The time that so many of all round trips of a row did not exceed. The axis of \
                 times is logarithmic.</p>\n";
        for (title, lines) in &percentiles {
            page += &titled(title, &plot_percentiles(title, lines));
        }
    }
    page += "<h2>Beside the floor</h2>\n<p>The ratio to the floor of the same round: the point is the median of the \
             rounds, the bar their range, and 1 the floor. For a time lower is better, for a rate higher. The axis is \
             logarithmic.</p>\n";
    for (step, rows) in steps(records) {
        page += &format!(
            "<h3>{}</h3>\n{}{}",
            escaped(step),
            plot_ratios(step, &rows),
            table(&rows)
        );
    }
    whole(&summary_of(records), &page)
}

/// The facts as a list.
pub(super) fn facts(origin: &Origin) -> String {
    let facts = origin.facts().into_iter();
    let facts = facts.map(|(name, fact)| format!("<dt>{name}</dt><dd>{}</dd>\n", escaped(fact)));
    format!("<dl>\n{}</dl>\n", facts.collect::<String>())
}

/// A whole page: a heading, one sentence, and the rest.
pub(super) fn whole(summary: &str, rest: &str) -> String {
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <title>perf-bench</title>\n<style>\n{COLOURS}{STYLE}{PARTS}</style>\n</head>\n<body>\n\
         <h1>perf-bench</h1>\n<p>{}</p>\n{rest}</body>\n</html>\n",
        escaped(summary)
    )
}

/// What a plot shows: the scenarios or the step, the unit, and the placement of the cores.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Title {
    what: String,
    unit: String,
    placement: String,
}

impl Title {
    fn new(what: &str, unit: &str, record: &Record) -> Self {
        Self {
            what: what.to_owned(),
            unit: unit.to_owned(),
            placement: record.cell.placement.clone(),
        }
    }
}

impl fmt::Display for Title {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, {}", self.what, self.unit)?;
        match self.placement.as_str() {
            "" => Ok(()),
            placement => write!(f, ", cores {placement}"),
        }
    }
}

/// A heading and its plot.
fn titled(title: &Title, plot: &str) -> String {
    format!("<h3>{}</h3>\n{plot}", escaped(&title.to_string()))
}

/// A series of points, with its name.
type Line<'a> = (String, Vec<(usize, &'a Record)>);

/// The rows by name of the series and by size.
type Figures<'a> = BTreeMap<String, BTreeMap<usize, &'a Record>>;

/// The scenarios that share a plot: rings beside their floors.
fn family(scenario: &str) -> &str {
    if scenario.contains("ping_pong") || scenario.contains("bounce") {
        "round trips"
    } else if scenario.contains("stream") {
        "streams"
    } else {
        scenario
    }
}

/// The name of a row's series.
fn series(record: &Record) -> String {
    let cell = &record.cell;
    match cell.backend.as_str() {
        "none" => cell.scenario.clone(),
        backend => format!("{} on {backend}", cell.scenario),
    }
}

/// The series of each family of scenarios that were measured at several sizes.
fn by_size(records: &[Record]) -> BTreeMap<Title, Vec<Line<'_>>> {
    let mut plots: BTreeMap<Title, Figures<'_>> = BTreeMap::new();
    for record in records {
        let cell = &record.cell;
        let title = Title::new(family(&cell.scenario), &cell.unit, record);
        let plot = plots.entry(title).or_default();
        let line = plot.entry(series(record)).or_default();
        line.entry(cell.size_bytes).or_insert(record);
    }
    let plots = plots.into_iter().filter_map(|(title, lines)| {
        let lines = lines.into_iter().filter(|(_, points)| points.len() > 1);
        let lines: Vec<Line<'_>> = lines
            .map(|(name, points)| (name, points.into_iter().collect()))
            .collect();
        (!lines.is_empty()).then_some((title, lines))
    });
    plots.collect()
}

/// The rows of each step that have percentiles.
fn by_percentile(records: &[Record]) -> BTreeMap<Title, Vec<&Record>> {
    let mut plots: BTreeMap<Title, Vec<&Record>> = BTreeMap::new();
    for record in records.iter().filter(|record| record.p50_ns.is_some()) {
        let title = Title::new(&record.cell.step, "ns", record);
        plots.entry(title).or_default().push(record);
    }
    plots
}

/// The percentiles of a row that were measured, with their names.
fn percentiles(record: &Record) -> [(&'static str, Option<f64>); 6] {
    [
        ("p50", record.p50_ns),
        ("p90", record.p90_ns),
        ("p99", record.p99_ns),
        ("p99.9", record.p999_ns),
        ("p99.99", record.p9999_ns),
        ("max", record.max_ns),
    ]
}

/// A row for each record: the range of its ratios, and their median.
fn plot_ratios(step: &str, rows: &[&Record]) -> String {
    const LABELS: f64 = 400.0;
    const ROW: f64 = 20.0;
    const TOP: f64 = 24.0;
    let height = TOP + rows.len() as f64 * ROW + 6.0;
    let values = rows
        .iter()
        .flat_map(|row| [row.ratio_min, row.ratio_max, 1.0]);
    let axis = Axis::over(values, (LABELS, WIDTH - 20.0));
    let mut svg = open("ratios to the floor", step, WIDTH, height);
    for tick in axis.ticks() {
        let x = axis.at(tick);
        let class = if tick == 1.0 { "floor" } else { "grid" };
        let label = plain(tick);
        let _ = writeln!(
            svg,
            "<line class=\"{class}\" x1=\"{x:.1}\" x2=\"{x:.1}\" y1=\"{TOP}\" y2=\"{height}\"/>\
             <text class=\"soft\" x=\"{x:.1}\" y=\"14\" text-anchor=\"middle\">{label}</text>"
        );
    }
    for (row, number) in rows.iter().zip(0_u32..) {
        let y = TOP + f64::from(number) * ROW + ROW / 2.0;
        let (from, to, at) = (
            axis.at(row.ratio_min),
            axis.at(row.ratio_max),
            axis.at(row.ratio_to_floor),
        );
        let class = if row.verified { "s0" } else { "sx" };
        let cell = &row.cell;
        let mut label = format!(
            "{} on {}, {}",
            cell.scenario,
            cell.backend,
            bytes(cell.size_bytes)
        );
        for part in [
            cell.placement.as_str(),
            if row.verified { "" } else { "NOT VERIFIED" },
        ] {
            if !part.is_empty() {
                label += ", ";
                label += part;
            }
        }
        let tip = format!(
            "{}: {} {}, {:.2} x",
            cell.name(),
            short(row.figure),
            cell.unit,
            row.ratio_to_floor
        );
        let _ = writeln!(
            svg,
            "<g><title>{}</title><text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>\
             <line class=\"range {class}\" x1=\"{from:.1}\" x2=\"{to:.1}\" y1=\"{y:.1}\" y2=\"{y:.1}\"/>\
             <circle class=\"{class}\" cx=\"{at:.1}\" cy=\"{y:.1}\" r=\"4\"/></g>",
            escaped(&tip),
            LABELS - 12.0,
            y + 4.0,
            escaped(&label)
        );
    }
    svg += "</svg></div>\n";
    svg
}

const WIDTH: f64 = 940.0;
const LEFT: f64 = 70.0;
const RIGHT: f64 = WIDTH - 20.0;
const BOTTOM: f64 = 240.0;

/// The start of a plot with so many series, and its axis of figures.
fn open_series(
    what: &str,
    title: &Title,
    series: usize,
    figures: impl Iterator<Item = f64>,
) -> (String, Axis) {
    let height = BOTTOM + 34.0 + series as f64 * 18.0;
    let axis = Axis::over(figures, (BOTTOM, 12.0));
    let mut svg = open(what, &title.to_string(), WIDTH, height);
    for tick in axis.ticks() {
        let y = axis.at(tick);
        let _ = writeln!(
            svg,
            "<line class=\"grid\" x1=\"{LEFT}\" x2=\"{RIGHT}\" y1=\"{y:.1}\" y2=\"{y:.1}\"/>\
             <text class=\"soft\" x=\"62\" y=\"{:.1}\" text-anchor=\"end\">{}</text>",
            y + 4.0,
            plain(tick)
        );
    }
    (svg, axis)
}

/// A label below the plot.
fn label(svg: &mut String, x: f64, text: &str) {
    let _ = writeln!(
        svg,
        "<text class=\"soft\" x=\"{x:.1}\" y=\"{}\" text-anchor=\"middle\">{}</text>",
        BOTTOM + 18.0,
        escaped(text)
    );
}

/// A series: a line through its points, each with a tip, and its name below the plot.
fn draw_series(svg: &mut String, number: usize, name: &str, points: &[(f64, f64, String)]) {
    let class = format!("s{} d{}", number % SERIES, number / SERIES % DASHES);
    let path: Vec<_> = points
        .iter()
        .map(|(x, y, _)| format!("{x:.1},{y:.1}"))
        .collect();
    let _ = writeln!(
        svg,
        "<polyline class=\"{class}\" points=\"{}\"/>",
        path.join(" ")
    );
    for (x, y, tip) in points {
        let _ = writeln!(
            svg,
            "<circle class=\"{class}\" cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"4\"><title>{}</title></circle>",
            escaped(tip)
        );
    }
    let y = BOTTOM + 40.0 + number as f64 * 18.0;
    let middle = y - 4.0;
    let _ = writeln!(
        svg,
        "<line class=\"key {class}\" x1=\"{LEFT}\" x2=\"{}\" y1=\"{middle:.1}\" y2=\"{middle:.1}\"/>\
         <text x=\"{}\" y=\"{y:.1}\">{}</text>",
        LEFT + 30.0,
        LEFT + 38.0,
        escaped(name)
    );
}

/// The figures of each series against the size.
fn plot_by_size(title: &Title, lines: &[Line<'_>]) -> String {
    let points = || lines.iter().flat_map(|(_, points)| points);
    let figures = points().map(|(_, row)| row.figure);
    let (mut svg, y_axis) = open_series("by size", title, lines.len(), figures);
    let x_axis = Axis::over(points().map(|(size, _)| *size as f64), (LEFT, RIGHT));
    let sizes: std::collections::BTreeSet<usize> = points().map(|(size, _)| *size).collect();
    let mut free_from = 0.0;
    for size in sizes {
        let x = x_axis.at(size as f64);
        // labels do not overlap
        if x < free_from {
            continue;
        }
        free_from = x + 52.0;
        label(&mut svg, x, &bytes(size));
    }
    for (number, (name, points)) in lines.iter().enumerate() {
        let points = points.iter().map(|(size, row)| {
            let tip = format!(
                "{name}, {}: {} {}",
                bytes(*size),
                short(row.figure),
                title.unit
            );
            (x_axis.at(*size as f64), y_axis.at(row.figure), tip)
        });
        draw_series(&mut svg, number, name, &points.collect::<Vec<_>>());
    }
    svg + "</svg></div>\n"
}

/// The percentiles of each row, at equal distances.
fn plot_percentiles(title: &Title, rows: &[&Record]) -> String {
    let times = rows.iter().flat_map(|row| percentiles(row));
    let times = times.filter_map(|(_, time)| time);
    let (mut svg, axis) = open_series("percentiles", title, rows.len(), times);
    let names = percentiles(rows[0]).map(|(name, _)| name);
    let step = (RIGHT - LEFT) / names.len() as f64;
    let at = |place: usize| LEFT + (place as f64 + 0.5) * step;
    for (place, name) in names.into_iter().enumerate() {
        label(&mut svg, at(place), name);
    }
    for (number, row) in rows.iter().enumerate() {
        let name = series(row);
        let points = percentiles(row).into_iter().enumerate();
        let points = points.filter_map(|(place, (percentile, time))| {
            let time = time?;
            let tip = format!("{name}, {percentile}: {} ns", short(time));
            Some((at(place), axis.at(time), tip))
        });
        draw_series(&mut svg, number, &name, &points.collect::<Vec<_>>());
    }
    svg + "</svg></div>\n"
}

fn table(rows: &[&Record]) -> String {
    let class = |column: usize| {
        if column < TEXTS {
            " class=\"text\""
        } else {
            ""
        }
    };
    let mut text =
        String::from("<details><summary>Table</summary><div class=\"wide\"><table>\n<tr>");
    for (column, head) in HEADS.iter().enumerate() {
        text += &format!("<th{}>{head}</th>", class(column));
    }
    text += "</tr>\n";
    for row in rows {
        text += if row.verified {
            "<tr>"
        } else {
            "<tr class=\"wrong\">"
        };
        for (column, cell) in cells(row).iter().enumerate() {
            text += &format!("<td{}>{}</td>", class(column), escaped(cell));
        }
        text += "</tr>\n";
    }
    text + "</table></div></details>\n"
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sweep::record::tests::record;

    #[test]
    fn a_page_has_a_plot_of_each_step_and_loads_nothing() {
        let mut rows = vec![
            record("a<b", "ns", &[1.0, 2.0]),
            record("c", "M/s", &[0.5]),
            record("c", "M/s", &[0.25]),
        ];
        rows[1].cell.step = "two".into();
        rows[2].cell.step = "two".into();
        rows[2].cell.size_bytes = 1024;
        rows[2].verified = false;
        let page = render(&rows);
        assert_eq!(
            page.matches("<svg").count(),
            3,
            "two steps, and one scenario by size"
        );
        assert_eq!(page.matches("<polyline").count(), 1);
        assert!(page.contains("a&lt;b") && !page.contains("a<b"));
        assert!(page.contains("prefers-color-scheme: dark"));
        assert!(page.contains("1 of 3 rows could NOT be verified"));
        assert!(page.contains("c on shm, 1 KiB, near, NOT VERIFIED"));
        for from_outside in ["http", "src=", "href=", "url(", "@import", "<script"] {
            assert!(!page.contains(from_outside), "{from_outside}");
        }
    }
}
