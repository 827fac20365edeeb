//! The rows of a sweep as Markdown: one table for each step.

use super::comparison::short;
use crate::machine::Origin;
use crate::sweep::record::Record;

/// The whole text.
pub(crate) fn render(records: &[Record]) -> String {
    let mut text = String::from("# perf-bench\n\n");
    if let Some(first) = records.first() {
        text += &facts(&first.facts.origin);
    }
    text += &format!("\n{}\n", summary_of(records));
    for (step, rows) in steps(records) {
        text += &format!("\n## {}\n\n| {} |\n|", escaped(step), HEADS.join(" | "));
        for column in 0..HEADS.len() {
            text += if column < TEXTS { "---|" } else { "--:|" };
        }
        for row in rows {
            let cells = cells(row).map(|cell| escaped(&cell));
            text += &format!("\n| {} |", cells.join(" | "));
        }
        text.push('\n');
    }
    text
}

/// A list of the facts.
pub(super) fn facts(origin: &Origin) -> String {
    let facts = origin.facts().into_iter();
    facts.fold(String::new(), |text, (name, fact)| {
        text + &format!("- {name}: {}\n", escaped(fact))
    })
}

/// The columns of a table, texts first.
pub(super) const HEADS: [&str; 15] = [
    "scenario",
    "layer",
    "on",
    "wait",
    "cores",
    "unit",
    "bytes",
    "figure",
    "x floor",
    "range",
    "p50 ns",
    "p99 ns",
    "p99.99 ns",
    "max ns",
    "verified",
];

/// The number of columns with texts.
pub(super) const TEXTS: usize = 6;

/// The cells of a row.
pub(super) fn cells(record: &Record) -> [String; HEADS.len()] {
    let cell = &record.cell;
    let ns = |time: Option<f64>| time.map_or_else(String::new, |ns| format!("{ns:.0}"));
    [
        cell.scenario.clone(),
        cell.layer.clone(),
        cell.backend.clone(),
        cell.wait.clone(),
        cell.placement.clone(),
        cell.unit.clone(),
        cell.size_bytes.to_string(),
        short(record.figure),
        format!("{:.2}", record.ratio_to_floor),
        format!("{:.2} to {:.2}", record.ratio_min, record.ratio_max),
        ns(record.p50_ns),
        ns(record.p99_ns),
        ns(record.p9999_ns),
        ns(record.max_ns),
        String::from(if record.verified { "yes" } else { "NO" }),
    ]
}

/// How many rows of a sweep there are, and whether to believe them.
pub(super) fn summary_of(records: &[Record]) -> String {
    let wrong = records.iter().filter(|record| !record.verified).count();
    summary(records.len(), wrong)
}

/// How many rows there are, and whether to believe them.
pub(super) fn summary(all: usize, wrong: usize) -> String {
    if wrong == 0 {
        format!("All {all} rows were verified in every round.")
    } else {
        format!("Do not use these figures: {wrong} of {all} rows could NOT be verified.")
    }
}

/// The rows of each step, in the order of the file.
pub(super) fn steps(records: &[Record]) -> Vec<(&str, Vec<&Record>)> {
    let mut steps: Vec<(&str, Vec<&Record>)> = Vec::new();
    for record in records {
        let step = record.cell.step.as_str();
        match steps.iter_mut().find(|(name, _)| *name == step) {
            Some((_, rows)) => rows.push(record),
            None => steps.push((step, vec![record])),
        }
    }
    steps
}

/// A text that ends no cell and opens no element.
pub(super) fn escaped(text: &str) -> String {
    text.replace('|', "\\|")
        .replace('<', "&lt;")
        .replace('\n', " ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sweep::record::tests::record;

    #[test]
    fn each_step_has_a_table_with_a_line_for_each_row() {
        let mut rows = vec![
            record("a|b", "ns", &[1.0, 2.0]),
            record("c", "M/s", &[0.5]),
            record("d", "ns", &[3.0]),
        ];
        rows[1].cell.step = "two".into();
        let text = render(&rows);
        assert!(text.contains("- commit: c0ffee\n"), "{text}");
        assert!(text.contains("\nAll 3 rows were verified"), "{text}");
        assert_eq!(text.matches("\n## ").count(), 2);
        assert!(text.contains("\n| a\\|b | raw | shm |"), "{text}");
        let tables = text.lines().filter(|line| line.starts_with('|'));
        let columns: Vec<_> = tables
            .map(|line| line.replace("\\|", "").matches('|').count())
            .collect();
        assert_eq!(columns, [HEADS.len() + 1; 2 * 2 + 3]);
        rows[0].verified = false;
        assert!(render(&rows).contains("1 of 3 rows could NOT be verified"));
    }
}
