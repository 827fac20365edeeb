//! The rows of a sweep as one HTML page: plots in SVG and the tables behind them, for light and dark screens. The page
//! loads nothing.

use std::collections::BTreeMap;
use std::fmt::Write;

use super::comparison::short;
use super::markdown::{HEADS, TEXTS, cells, facts, steps, summary_of};
use super::plot::{Axis, COLOURS, PARTS, bytes, escaped, open, plain};
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

/// Colours of series; further series begin again.
const SERIES: usize = 4;

/// The page of a sweep.
pub(crate) fn render(records: &[Record]) -> String {
    let mut page = String::new();
    if let Some(first) = records.first() {
        page += "<dl>\n";
        for (name, fact) in facts(&first.facts) {
            page += &format!("<dt>{name}</dt><dd>{}</dd>\n", escaped(fact));
        }
        page += "</dl>\n";
    }
    let sizes = by_size(records);
    if !sizes.is_empty() {
        page += "<h2>By size</h2>\n<p>The median of the rounds. Both axes are logarithmic.</p>\n";
        for ((scenario, unit), lines) in &sizes {
            page += &format!("<h3>{}, {}</h3>\n", escaped(scenario), escaped(unit));
            page += &plot_by_size(scenario, unit, lines);
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

/// A series of sizes and figures, with its name.
type Line<'a> = (String, Vec<(usize, &'a Record)>);

/// The rows by name of the series and by size.
type Figures<'a> = BTreeMap<String, BTreeMap<usize, &'a Record>>;

/// The series of each scenario that was measured at several sizes; the key is its name and its unit.
fn by_size(records: &[Record]) -> BTreeMap<(String, String), Vec<Line<'_>>> {
    let mut plots: BTreeMap<(String, String), Figures<'_>> = BTreeMap::new();
    for record in records {
        let cell = &record.cell;
        let name = [&cell.layer, &cell.backend, &cell.wait, &cell.placement];
        let name: Vec<&str> = name
            .iter()
            .map(|part| part.as_str())
            .filter(|part| !part.is_empty())
            .collect();
        let plot = plots
            .entry((cell.scenario.clone(), cell.unit.clone()))
            .or_default();
        let line = plot.entry(name.join(", ")).or_default();
        line.entry(cell.size_bytes).or_insert(record);
    }
    let plots = plots.into_iter().filter_map(|(key, lines)| {
        let lines = lines.into_iter().filter(|(_, points)| points.len() > 1);
        let lines: Vec<Line<'_>> = lines
            .map(|(name, points)| (name, points.into_iter().collect()))
            .collect();
        (!lines.is_empty()).then_some((key, lines))
    });
    plots.collect()
}

/// A row for each record: the range of its ratios, and their median.
fn plot_ratios(step: &str, rows: &[&Record]) -> String {
    const WIDTH: f64 = 940.0;
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

/// A line for each series, with its name below the plot.
fn plot_by_size(scenario: &str, unit: &str, lines: &[Line<'_>]) -> String {
    const WIDTH: f64 = 940.0;
    const BOTTOM: f64 = 240.0;
    let height = BOTTOM + 34.0 + lines.len() as f64 * 18.0;
    let points = || lines.iter().flat_map(|(_, points)| points);
    let x_axis = Axis::over(points().map(|(size, _)| *size as f64), (70.0, WIDTH - 20.0));
    let y_axis = Axis::over(points().map(|(_, row)| row.figure), (BOTTOM, 12.0));
    let mut svg = open(&format!("{unit} by size"), scenario, WIDTH, height);
    for tick in y_axis.ticks() {
        let y = y_axis.at(tick);
        let _ = writeln!(
            svg,
            "<line class=\"grid\" x1=\"70\" x2=\"{}\" y1=\"{y:.1}\" y2=\"{y:.1}\"/>\
             <text class=\"soft\" x=\"62\" y=\"{:.1}\" text-anchor=\"end\">{}</text>",
            WIDTH - 20.0,
            y + 4.0,
            plain(tick)
        );
    }
    let sizes: std::collections::BTreeSet<usize> = points().map(|(size, _)| *size).collect();
    let mut free_from = 0.0;
    for size in sizes {
        let x = x_axis.at(size as f64);
        // labels do not overlap
        if x < free_from {
            continue;
        }
        free_from = x + 52.0;
        let _ = writeln!(
            svg,
            "<text class=\"soft\" x=\"{x:.1}\" y=\"{}\" text-anchor=\"middle\">{}</text>",
            BOTTOM + 18.0,
            bytes(size)
        );
    }
    for (number, (name, points)) in lines.iter().enumerate() {
        let class = number % SERIES;
        let path = points.iter().fold(String::new(), |path, (size, row)| {
            path + &format!(
                "{:.1},{:.1} ",
                x_axis.at(*size as f64),
                y_axis.at(row.figure)
            )
        });
        let _ = writeln!(
            svg,
            "<polyline class=\"s{class}\" points=\"{}\"/>",
            path.trim_end()
        );
        for (size, row) in points {
            let tip = format!("{name}, {}: {} {unit}", bytes(*size), short(row.figure));
            let _ = writeln!(
                svg,
                "<circle class=\"s{class}\" cx=\"{:.1}\" cy=\"{:.1}\" r=\"4\"><title>{}</title></circle>",
                x_axis.at(*size as f64),
                y_axis.at(row.figure),
                escaped(&tip)
            );
        }
        let y = BOTTOM + 40.0 + number as f64 * 18.0;
        let _ = writeln!(
            svg,
            "<circle class=\"s{class}\" cx=\"76\" cy=\"{:.1}\" r=\"5\"/><text x=\"88\" y=\"{y:.1}\">{}</text>",
            y - 4.0,
            escaped(name)
        );
    }
    svg += "</svg></div>\n";
    svg
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
