//! Figures beside those that they are compared with, as a table and as JSON, with their targets.

use std::borrow::Cow;

use comfy_table::presets::NOTHING;
use comfy_table::{Cell, CellAlignment, Table};
use serde::Serialize;

use super::{USAGE_HEADS, usage_cells};
use crate::measure::Spread;
use crate::payload::Words;
use crate::usage::Usage;

/// The target of a comparison.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Target {
    /// A limit for the median of the ratios.
    RatioAtMost(f64),
    /// A limit for the median of the ratios.
    RatioAtLeast(f64),
    /// A limit for the figure of the worst round.
    WorstAtMost(f64),
}

/// One measured figure. The serialised names are a contract with programs that read them.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Row {
    pub(crate) scenario: &'static str,
    pub(crate) layer: &'static str,
    pub(crate) backend: &'static str,
    pub(crate) wait: &'static str,
    pub(crate) size_bytes: usize,
    pub(crate) capacity: usize,
    pub(crate) consumers: usize,
    pub(crate) rounds: usize,
    /// Number of messages in all counted rounds.
    pub(crate) messages: u64,
    pub(crate) unit: &'static str,
    /// The median of the rounds, followed by their range.
    pub(crate) figure: f64,
    pub(crate) figure_min: f64,
    pub(crate) figure_max: f64,
    /// The name of the floor that the figure is compared with, and the floor's median.
    pub(crate) floor: Cow<'static, str>,
    pub(crate) floor_figure: f64,
    /// The median over the rounds of the ratio within a round.
    pub(crate) ratio_to_floor: f64,
    pub(crate) ratio_min: f64,
    pub(crate) ratio_max: f64,
    /// The target in words; absent if there is none.
    pub(crate) target: Option<String>,
    pub(crate) is_met: Option<bool>,
    /// Of all processes of the measured case that have told it, in all counted rounds.
    #[serde(flatten)]
    pub(crate) usage: Usage,
    pub(crate) verified: bool,
    /// Why the row is not verified; printed on standard error.
    #[serde(skip)]
    pub(crate) reason: Option<String>,
    /// The ratio of each round. Used only by sweeps.
    #[serde(skip)]
    pub(crate) ratios: Vec<f64>,
}

impl Row {
    /// A row without figures.
    pub(crate) fn new(
        scenario: &'static str,
        wait: &'static str,
        unit: &'static str,
        capacity: usize,
    ) -> Self {
        Self {
            scenario,
            layer: "raw",
            backend: "shm",
            wait,
            size_bytes: size_of::<Words<7>>(),
            capacity,
            consumers: 1,
            rounds: 0,
            messages: 0,
            unit,
            figure: 0.0,
            figure_min: 0.0,
            figure_max: 0.0,
            floor: "".into(),
            floor_figure: 0.0,
            ratio_to_floor: 0.0,
            ratio_min: 0.0,
            ratio_max: 0.0,
            target: None,
            is_met: None,
            usage: Usage::default(),
            verified: false,
            reason: None,
            ratios: Vec::new(),
        }
    }

    /// The row with the reason why it is not verified, or as verified.
    pub(crate) fn judged(self, reason: Option<String>) -> Self {
        Self {
            verified: reason.is_none(),
            reason,
            ..self
        }
    }

    /// The row's name, and why it is not verified; `None` if it is.
    pub(crate) fn complaint(&self) -> Option<String> {
        let cell = (self.scenario, self.backend, self.size_bytes);
        super::complaint(cell, self.verified, self.reason.as_deref())
    }

    /// Fills in the figures of the rounds, the figures that they are compared with, and the ratios.
    pub(crate) fn with(
        self,
        (own, rounds): (Spread, usize),
        (floor, beside): (impl Into<Cow<'static, str>>, Spread),
        ratios: Vec<f64>,
        target: Option<Target>,
    ) -> Self {
        let ratio = Spread::of(ratios.clone());
        Self {
            ratios,
            rounds,
            figure: own.median,
            figure_min: own.min,
            figure_max: own.max,
            floor: floor.into(),
            floor_figure: beside.median,
            ratio_to_floor: ratio.median,
            ratio_min: ratio.min,
            ratio_max: ratio.max,
            target: target.map(|target| target.text()),
            is_met: target.map(|target| target.is_met(own, ratio)),
            ..self
        }
    }
}

impl Target {
    fn text(self) -> String {
        match self {
            Self::RatioAtMost(limit) => format!("ratio <= {limit}"),
            Self::RatioAtLeast(limit) => format!("ratio >= {limit}"),
            Self::WorstAtMost(limit) => format!("max <= {limit}"),
        }
    }

    fn is_met(self, own: Spread, ratio: Spread) -> bool {
        match self {
            Self::RatioAtMost(limit) => ratio.median <= limit,
            Self::RatioAtLeast(limit) => ratio.median >= limit,
            Self::WorstAtMost(limit) => own.max <= limit,
        }
    }
}

/// The table on standard output.
pub(crate) fn render(title: &str, rows: &[Row]) -> String {
    let mut table = Table::new();
    let heads = [
        title,
        "layer",
        "on",
        "bytes",
        "unit",
        "figure",
        "min - max",
        "beside",
        "its figure",
        "ratio",
        "min - max",
        "target",
        "",
        "rounds",
    ];
    let heads = heads.iter().chain(&USAGE_HEADS).chain(&["verified"]);
    table.load_style(NOTHING).set_header(heads);
    for row in rows {
        let verdict = match row.is_met {
            Some(true) => "met",
            Some(false) => "NOT met",
            None => "",
        };
        let cells = [
            row.scenario.to_owned(),
            row.layer.to_owned(),
            row.backend.to_owned(),
            row.size_bytes.to_string(),
            row.unit.to_owned(),
            short(row.figure),
            format!("{} - {}", short(row.figure_min), short(row.figure_max)),
            row.floor.clone().into_owned(),
            short(row.floor_figure),
            format!("{:.2}", row.ratio_to_floor),
            format!("{:.2} - {:.2}", row.ratio_min, row.ratio_max),
            row.target.clone().unwrap_or_default(),
            verdict.to_owned(),
            row.rounds.to_string(),
        ];
        let verified = if row.verified { "yes" } else { "NO" }.to_owned();
        let cells = cells
            .into_iter()
            .chain(usage_cells(&row.usage))
            .chain([verified]);
        table.add_row(cells.enumerate().map(|(column, text)| {
            let side = match column {
                0 | 1 | 2 | 4 | 7 | 11 | 12 => CellAlignment::Left,
                _ => CellAlignment::Right,
            };
            Cell::new(text).set_alignment(side)
        }));
    }
    format!("{table}\n")
}

/// About three digits, whatever the unit.
pub(super) fn short(figure: f64) -> String {
    match figure {
        _ if figure >= 100.0 => format!("{figure:.0}"),
        _ if figure >= 10.0 => format!("{figure:.1}"),
        _ if figure >= 0.1 || figure == 0.0 => format!("{figure:.2}"),
        _ => format!("{figure:.4}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_target_can_be_missed() {
        let spread = |median: f64| Spread {
            median,
            min: median / 2.0,
            max: median * 2.0,
        };
        for (target, met, missed) in [
            (Target::RatioAtMost(1.3), (9.0, 1.2), (0.0, 1.4)),
            (Target::RatioAtLeast(0.8), (0.0, 0.9), (9.0, 0.7)),
            (Target::WorstAtMost(10.0), (5.0, 99.0), (5.1, 0.0)),
        ] {
            assert!(target.is_met(spread(met.0), spread(met.1)), "{target:?}");
            assert!(
                !target.is_met(spread(missed.0), spread(missed.1)),
                "{target:?}"
            );
        }
        assert_eq!(Target::RatioAtMost(1.3).text(), "ratio <= 1.3");
    }
}
