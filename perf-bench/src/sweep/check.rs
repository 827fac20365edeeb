//! `check OLD NEW`: each row of one file against the same row of another one.
//!
//! The ratio to the floor is compared, and not the figure, because the machine changes its pace. A row is worse if the
//! medians of the ratios differ by more than the rounds do: by more than the larger of the two interquartile ranges,
//! and by more than [`TOLERANCE`].

use std::collections::BTreeMap;

use super::record::{Cell, Record};
use crate::scenario::Failure;

/// Differences up to this share are no regression, however quiet the rounds were.
const TOLERANCE: f64 = 0.03;

/// The verdict about one cell.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Verdict {
    /// The new row could not be verified.
    NotVerified,
    Worse,
    Better,
    /// Within the noise.
    Same,
    OnlyOld,
    OnlyNew,
}

impl Verdict {
    fn name(self) -> &'static str {
        match self {
            Self::NotVerified => "NOT VERIFIED",
            Self::Worse => "WORSE",
            Self::Better => "better",
            Self::Same => "same",
            Self::OnlyOld => "only in OLD",
            Self::OnlyNew => "only in NEW",
        }
    }
}

/// The comparison of two files.
#[derive(Debug)]
pub(crate) struct Check {
    pub(crate) lines: Vec<(Verdict, String)>,
    /// Reasons to be careful with the comparison.
    pub(crate) warnings: Vec<String>,
}

impl Check {
    /// Compares the rows; an error if the files have no row in common.
    pub(crate) fn new(old: &[Record], new: &[Record]) -> Result<Self, Failure> {
        let by_cell = |records: &[Record]| -> BTreeMap<Cell, Record> {
            let records = records.iter().cloned();
            records.map(|row| (row.cell.clone(), row)).collect()
        };
        let (old, mut new) = (by_cell(old), by_cell(new));
        let mut warnings = Vec::new();
        if let (Some(before), Some(after)) = (old.values().next(), new.values().next()) {
            let (before, after) = (&before.facts.origin, &after.facts.origin);
            for (what, before, after) in [
                ("processor", &before.processor, &after.processor),
                ("cores", &before.cores, &after.cores),
                ("kernel", &before.kernel, &after.kernel),
                ("build", &before.build, &after.build),
            ] {
                if before != after {
                    warnings.push(format!(
                        "the {what} is another one: {before:?}, then {after:?}"
                    ));
                }
            }
        }
        let mut lines = Vec::new();
        let mut in_common = 0;
        for (cell, before) in &old {
            let name = cell.name();
            let Some(after) = new.remove(cell) else {
                lines.push((Verdict::OnlyOld, name));
                continue;
            };
            in_common += 1;
            let change = (after.ratio_to_floor / before.ratio_to_floor - 1.0) * 100.0;
            let text = format!(
                "{name}: ratio {:.3} before, {:.3} now ({change:+.1} %, noise {:.1} %)",
                before.ratio_to_floor,
                after.ratio_to_floor,
                noise(before, &after) * 100.0
            );
            lines.push((judge(before, &after), text));
        }
        if in_common == 0 {
            return Err("the files have no row in common: were they measured with the same tier, and with the \
                        cores in the same placement?"
                .into());
        }
        lines.extend(new.keys().map(|cell| (Verdict::OnlyNew, cell.name())));
        lines.sort();
        Ok(Self { lines, warnings })
    }

    /// Whether no row is worse, and all are verified.
    pub(crate) fn is_good(&self) -> bool {
        let mut verdicts = self.lines.iter().map(|(verdict, _)| verdict);
        !verdicts.any(|verdict| matches!(verdict, Verdict::Worse | Verdict::NotVerified))
    }

    /// The lines for people, the worst first.
    pub(crate) fn render(&self) -> String {
        let mut text = String::new();
        for warning in &self.warnings {
            text += &format!("careful: {warning}\n");
        }
        for (verdict, line) in &self.lines {
            text += &format!("{:<13} {line}\n", verdict.name());
        }
        let count = |wanted: Verdict| {
            let all = self.lines.iter().filter(|(verdict, _)| *verdict == wanted);
            all.count()
        };
        text += &format!(
            "{} worse, {} not verified, {} better, {} the same\n",
            count(Verdict::Worse),
            count(Verdict::NotVerified),
            count(Verdict::Better),
            count(Verdict::Same)
        );
        text
    }
}

/// The share by which the medians may differ: the larger interquartile range of the two.
fn noise(before: &Record, after: &Record) -> f64 {
    let range = |record: &Record| {
        let (lower, upper) = record.quartiles();
        upper - lower
    };
    let largest = range(before).max(range(after));
    (largest / before.ratio_to_floor).max(TOLERANCE)
}

fn judge(before: &Record, after: &Record) -> Verdict {
    if !after.verified {
        return Verdict::NotVerified;
    }
    let change = after.ratio_to_floor / before.ratio_to_floor - 1.0;
    let gain = if before.cell.is_rate() {
        change
    } else {
        -change
    };
    let noise = noise(before, after);
    match gain {
        _ if gain < -noise => Verdict::Worse,
        _ if gain > noise => Verdict::Better,
        _ => Verdict::Same,
    }
}

#[cfg(test)]
mod tests {
    use super::super::record::tests::record;
    use super::*;

    fn verdict(unit: &str, before: &[f64], after: &[f64]) -> Verdict {
        judge(&record("a", unit, before), &record("a", unit, after))
    }

    #[test]
    fn a_larger_ratio_is_worse_for_a_time_and_better_for_a_rate() {
        let (low, high) = ([1.0, 1.01, 0.99], [1.2, 1.21, 1.19]);
        for unit in ["ns", "ms", "cpu s per s", "ns per KiB"] {
            assert_eq!(verdict(unit, &low, &high), Verdict::Worse, "{unit}");
            assert_eq!(verdict(unit, &high, &low), Verdict::Better, "{unit}");
        }
        for unit in ["M/s", "GB/s"] {
            assert_eq!(verdict(unit, &low, &high), Verdict::Better, "{unit}");
            assert_eq!(verdict(unit, &high, &low), Verdict::Worse, "{unit}");
        }
    }

    #[test]
    fn a_difference_within_the_noise_of_either_file_is_none() {
        let noisy = [0.8, 0.9, 1.0, 1.2, 1.3];
        assert_eq!(verdict("ns", &noisy, &[1.2; 5]), Verdict::Same);
        assert_eq!(verdict("ns", &[1.2; 5], &noisy), Verdict::Same);
        assert_eq!(verdict("ns", &noisy, &[1.5; 5]), Verdict::Worse);
        // one round far out is not noise
        assert_eq!(
            verdict("ns", &[1.0, 1.0, 1.0, 1.0, 9.0], &[1.1; 5]),
            Verdict::Worse
        );
        assert_eq!(verdict("ns", &[1.0; 5], &[1.02; 5]), Verdict::Same);
    }

    #[test]
    fn files_are_compared_row_by_row() {
        let rows = |names: &[(&str, f64)]| -> Vec<Record> {
            let records = names.iter();
            records
                .map(|&(name, ratio)| record(name, "ns", &[ratio; 5]))
                .collect()
        };
        let old = rows(&[("gone", 1.0), ("same", 1.0), ("worse", 1.0)]);
        let mut new = rows(&[("new", 1.0), ("same", 1.0), ("worse", 1.5)]);
        let check = Check::new(&old, &new).expect("rows in common");
        let verdicts: Vec<_> = check.lines.iter().map(|(verdict, _)| *verdict).collect();
        let expected = [
            Verdict::Worse,
            Verdict::Same,
            Verdict::OnlyOld,
            Verdict::OnlyNew,
        ];
        assert_eq!(verdicts, expected);
        assert!(!check.is_good());
        assert!(check.render().contains("+50.0 %, noise 3.0 %"));
        assert!(Check::new(&old, &rows(&[("other", 1.0)])).is_err());

        new.remove(2);
        new[0].facts.origin.kernel = "another".into();
        let check = Check::new(&old, &new).expect("rows in common");
        assert!(check.is_good());
        assert_eq!(check.warnings.len(), 1);
        new[1].verified = false;
        assert!(!Check::new(&old, &new).expect("rows in common").is_good());
    }
}
