//! The table on standard output.

use comfy_table::presets::NOTHING;
use comfy_table::{Cell, CellAlignment, Table};

use super::comparison::short;
use super::{Row, USAGE_HEADS, usage_cells};

/// One table of latencies and one of rates; floors are rows like any other.
pub(crate) fn render(rows: &[Row]) -> String {
    let (operations, others): (Vec<&Row>, Vec<&Row>) =
        rows.iter().partition(|row| row.is_operation);
    let (latencies, rates): (Vec<&Row>, Vec<&Row>) =
        others.into_iter().partition(|row| row.p50_ns.is_some());
    let mut text = String::new();
    if !latencies.is_empty() {
        let heads = [
            "round trip, ns",
            "layer",
            "wait",
            "on",
            "bytes",
            "capacity",
            "p50",
            "p90",
            "p99",
            "p99.9",
            "p99.99",
            "max",
            "x two-line",
            "min - max",
        ];
        text += &table(&heads, latencies, latency);
    }
    if !rates.is_empty() {
        let heads = [
            "stream, one way",
            "layer",
            "wait",
            "on",
            "bytes",
            "capacity",
            "M/s",
            "GB/s",
            "x bare",
            "min - max",
        ];
        text.push('\n');
        text += &table(&heads, rates, rate);
    }
    if !operations.is_empty() {
        let heads = [
            "operation",
            "layer",
            "wait",
            "on",
            "bytes",
            "capacity",
            "ns each",
        ];
        text.push('\n');
        text += &table(&heads, operations, |row| vec![short(1e9 / row.msgs_per_s)]);
    }
    text
}

fn table(heads: &[&str], rows: Vec<&Row>, cells: fn(&Row) -> Vec<String>) -> String {
    let mut table = Table::new();
    let heads = heads.iter().chain(&USAGE_HEADS).chain(&["verified"]);
    table.load_style(NOTHING).set_header(heads);
    for row in rows {
        let mut all = vec![
            match row.consumers {
                1 => row.scenario.to_owned(),
                consumers => format!("{} to {consumers}", row.scenario),
            },
            row.layer.to_owned(),
            row.wait.to_owned(),
            row.backend.to_owned(),
            row.size_bytes.to_string(),
            row.capacity.to_string(),
        ];
        all.extend(cells(row));
        all.extend(usage_cells(&row.usage));
        all.push(if row.verified { "yes" } else { "NO" }.to_owned());
        table.add_row(all.into_iter().enumerate().map(|(column, text)| {
            let side = if column < 4 {
                CellAlignment::Left
            } else {
                CellAlignment::Right
            };
            Cell::new(text).set_alignment(side)
        }));
    }
    format!("{table}\n")
}

fn latency(row: &Row) -> Vec<String> {
    let quantiles = [
        row.p50_ns,
        row.p90_ns,
        row.p99_ns,
        row.p999_ns,
        row.p9999_ns,
        row.max_ns,
    ];
    let shown = quantiles.map(|value| value.map_or(String::new(), |ns| format!("{ns:.0}")));
    let mut cells = Vec::from(shown);
    cells.extend(ratio(row));
    cells
}

fn rate(row: &Row) -> Vec<String> {
    let mut cells = vec![short(row.msgs_per_s / 1e6), short(row.bytes_per_s / 1e9)];
    cells.extend(ratio(row));
    cells
}

fn ratio(row: &Row) -> [String; 2] {
    if row.layer == "floor" && row.scenario != "bare_ping_pong" {
        return [String::from("floor"), String::new()];
    }
    [
        format!("{:.2}", row.ratio_to_floor),
        format!("{:.2} - {:.2}", row.ratio.min, row.ratio.max),
    ]
}
