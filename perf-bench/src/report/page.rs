//! The rows of a sweep as one HTML page: plots in SVG and the tables behind them, for light and dark screens. The page
//! loads nothing.

use std::collections::BTreeMap;
use std::fmt::Write;

use super::comparison::short;
use super::markdown::{HEADS, TEXTS, cells, facts, steps, summary};
use crate::sweep::record::Record;

const STYLE: &str = "\
:root { color-scheme: light dark; --paper: #fcfcfa; --ink: #1d2228; --faint: #d5d8dc; --soft: #5d6670;
  --one: #0b63b0; --two: #b35400; --three: #1f7a46; --four: #8b3fa8; --wrong: #c01c28; }
@media (prefers-color-scheme: dark) { :root { --paper: #15181c; --ink: #e4e7ea; --faint: #363c43; --soft: #9aa4ae;
  --one: #6cb4f5; --two: #f0a35e; --three: #6fcf97; --four: #d59cf0; --wrong: #ff7b72; } }
body { background: var(--paper); color: var(--ink); font: 15px/1.5 system-ui, sans-serif; max-width: 62rem;
  margin: 2rem auto; padding: 0 1rem; }
h1, h2, h3 { line-height: 1.2; } h2 { margin-top: 2.5rem; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: 0 1rem; } dt { color: var(--soft); } dd { margin: 0; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-size: 13px; white-space: nowrap; }
th, td { padding: .15rem .6rem; border-bottom: 1px solid var(--faint); text-align: right; }
th.text, td.text { text-align: left; } .wrong { color: var(--wrong); font-weight: 600; }
summary { cursor: pointer; color: var(--soft); }
svg { display: block; font: 12px system-ui, sans-serif; } svg text { fill: var(--ink); }
svg .soft { fill: var(--soft); } svg .grid { stroke: var(--faint); } svg .floor { stroke: var(--soft); }
.s0 { stroke: var(--one); fill: var(--one); } .s1 { stroke: var(--two); fill: var(--two); }
.s2 { stroke: var(--three); fill: var(--three); } .s3 { stroke: var(--four); fill: var(--four); }
.sx { stroke: var(--wrong); fill: var(--wrong); }
polyline { fill: none !important; stroke-width: 2; } .range { stroke-width: 3; stroke-linecap: round; opacity: .55; }
";

/// Colours of series; further series begin again.
const COLOURS: usize = 4;

/// The whole page.
pub(crate) fn render(records: &[Record]) -> String {
    let mut page = format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <title>perf-bench</title>\n<style>\n{STYLE}</style>\n</head>\n<body>\n<h1>perf-bench</h1>\n<p>{}</p>\n",
        escaped(&summary(records))
    );
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
    page += "</body>\n</html>\n";
    page
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

/// A logarithmic axis from one pixel to another.
#[derive(Clone, Copy, Debug)]
struct Axis {
    least: f64,
    most: f64,
    from: f64,
    to: f64,
}

impl Axis {
    /// An axis on which all positive `values` have a place.
    fn over(values: impl Iterator<Item = f64>, (from, to): (f64, f64)) -> Self {
        let (least, most) = values
            .filter(|value| value.is_finite() && *value > 0.0)
            .fold((f64::INFINITY, 0.0_f64), |(least, most), value| {
                (least.min(value), most.max(value))
            });
        let (least, most) = if least <= most {
            (least, most)
        } else {
            (1.0, 1.0)
        };
        // a little room on both sides
        Self {
            least: least / 1.15,
            most: most * 1.15,
            from,
            to,
        }
    }

    fn at(self, value: f64) -> f64 {
        let value = if value.is_finite() {
            value.clamp(self.least, self.most)
        } else {
            self.least
        };
        let share = (value / self.least).ln() / (self.most / self.least).ln();
        self.from + share * (self.to - self.from)
    }

    /// The values 1, 2 and 5 of each power of ten on the axis, or only 1 if there are many.
    fn ticks(self) -> Vec<f64> {
        let powers = self.least.log10().floor() as i32..=self.most.log10().ceil() as i32;
        let steps: &[f64] = if powers.clone().count() > 4 {
            &[1.0]
        } else {
            &[1.0, 2.0, 5.0]
        };
        let all = powers.flat_map(|power| steps.iter().map(move |step| step * 10_f64.powi(power)));
        all.filter(|tick| (self.least..=self.most).contains(tick))
            .collect()
    }
}

/// A number without needless digits.
fn plain(number: f64) -> String {
    let text = format!("{number:.3}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// A size in the largest unit that divides it.
fn bytes(size: usize) -> String {
    match size {
        _ if size >= 1 << 20 && size.is_multiple_of(1 << 20) => format!("{} MiB", size >> 20),
        _ if size >= 1 << 10 && size.is_multiple_of(1 << 10) => format!("{} KiB", size >> 10),
        _ => format!("{size} B"),
    }
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
        let class = number % COLOURS;
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

fn open(what: &str, of: &str, width: f64, height: f64) -> String {
    let label = escaped(&format!("{of}: {what}"));
    format!(
        "<div class=\"wide\"><svg role=\"img\" aria-label=\"{label}\" width=\"{width}\" height=\"{height}\" \
         viewBox=\"0 0 {width} {height}\">\n"
    )
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

/// A text that ends no element and no attribute.
fn escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
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

    #[test]
    fn values_have_their_place_on_an_axis_whatever_they_are() {
        let axis = Axis::over([0.5, 8.0].into_iter(), (0.0, 100.0));
        assert!((axis.at(2.0) - 50.0).abs() < 0.001);
        assert_eq!(axis.ticks(), [0.5, 1.0, 2.0, 5.0]);
        let odd = Axis::over([0.0, f64::NAN].into_iter(), (0.0, 100.0));
        for value in [0.0, 1.0, f64::INFINITY, f64::NAN] {
            assert!((0.0..=100.0).contains(&odd.at(value)), "{value}");
        }
    }

    #[test]
    fn sizes_and_numbers_are_short() {
        let sizes = [8, 1000, 1024, 65_536, 2 << 20].map(bytes);
        assert_eq!(sizes, ["8 B", "1000 B", "1 KiB", "64 KiB", "2 MiB"]);
        assert_eq!([0.05, 2.0, 100.0].map(plain), ["0.05", "2", "100"]);
    }
}
