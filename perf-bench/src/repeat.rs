//! `repeat`: the same plan several times, each time with a new second process and new rings. The spread of a ratio from
//! run to run is what a single run does not show.

use comfy_table::presets::NOTHING;
use comfy_table::{Cell, CellAlignment, Table};
use serde::Serialize;

use crate::machine::Origin;
use crate::measure::Spread;
use crate::options::Common;
use crate::plan::Plan;
use crate::report::{self, Row};
use crate::scenario::Failure;

/// The ratios of one cell in all runs. The serialised names are a contract with programs that read them.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Repeated {
    scenario: &'static str,
    backend: &'static str,
    size_bytes: usize,
    capacity: usize,
    /// The ratio to the floor in each run: the median of its rounds.
    ratios: Vec<f64>,
    ratio_to_floor: f64,
    ratio_min: f64,
    ratio_max: f64,
    /// The range of the ratios, in percent of their median.
    spread_percent: f64,
    verified: bool,
}

impl Repeated {
    /// `runs` are the rows of the same cell; there is at least one.
    fn of(runs: &[&Row]) -> Self {
        let ratios: Vec<_> = runs.iter().map(|row| row.ratio_to_floor).collect();
        let Spread { median, min, max } = Spread::of(ratios.clone());
        let Row {
            scenario,
            backend,
            size_bytes,
            capacity,
            ..
        } = *runs[0];
        Self {
            scenario,
            backend,
            size_bytes,
            capacity,
            ratios,
            ratio_to_floor: median,
            ratio_min: min,
            ratio_max: max,
            spread_percent: (max - min) * 100.0 / median,
            verified: runs.iter().all(|row| row.verified),
        }
    }
}

/// Measures the plan so many times; returns whether every row of every run was verified.
pub(crate) fn run(times: u64, plan: &mut Plan, common: &Common) -> Result<bool, Failure> {
    let ground = crate::Ground::prepare(common)?;
    let mut runs: Vec<Vec<Row>> = Vec::new();
    let mut is_good = true;
    for number in 1..=times {
        eprintln!("run {number} of {times}");
        plan.rename();
        let series = ground.measure_all(plan, common)?;
        let rows = report::rows(plan, &series);
        is_good &= crate::all_verified(rows.iter().map(Row::complaint));
        runs.push(rows);
    }
    let cells = 0..plan.cells.len();
    let repeated = cells.map(|cell| {
        let runs: Vec<_> = runs.iter().map(|rows| &rows[cell]).collect();
        Repeated::of(&runs)
    });
    // a floor is compared with nothing
    let is_compared = |row: &Repeated| row.backend != "none" || row.scenario == "bare_ping_pong";
    let repeated: Vec<_> = repeated.filter(is_compared).collect();
    println!("{}", render(&repeated));
    println!(
        "the ratio of a run is the median of its rounds; spread = (max - min) / median of the runs"
    );
    if let Some(path) = &common.json {
        report::json::write(path, &repeated, &Origin::of_process(ground.cores))?;
    }
    Ok(is_good)
}

fn render(rows: &[Repeated]) -> String {
    let mut table = Table::new();
    table.load_style(NOTHING).set_header([
        "ratio to the floor",
        "on",
        "bytes",
        "runs",
        "median",
        "min",
        "max",
        "spread",
        "verified",
    ]);
    for row in rows {
        let cells = [
            row.scenario.to_owned(),
            row.backend.to_owned(),
            row.size_bytes.to_string(),
            row.ratios.len().to_string(),
            format!("{:.2}", row.ratio_to_floor),
            format!("{:.2}", row.ratio_min),
            format!("{:.2}", row.ratio_max),
            format!("{:.1} %", row.spread_percent),
            if row.verified { "yes" } else { "NO" }.to_owned(),
        ];
        table.add_row(cells.into_iter().enumerate().map(|(column, text)| {
            let side = if column < 2 {
                CellAlignment::Left
            } else {
                CellAlignment::Right
            };
            Cell::new(text).set_alignment(side)
        }));
    }
    format!("{table}\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::Backend;
    use crate::measure::Series;
    use crate::plan::{Scenario, Wanted};

    #[test]
    fn the_spread_is_the_range_of_the_ratios_of_all_runs() {
        let plan = Plan::new(&Wanted {
            sizes: Some(vec![56]),
            backends: Some(vec![Backend::Shm]),
            scenarios: vec![Scenario::Stream],
            capacity: 64,
            ping_pong_capacity: 16,
            mmap_root: "no-such-directory".into(),
        });
        let run = |rate: f64| {
            let figures = [100.0, 200.0, 10e6, rate];
            let series = figures.map(|figure| {
                let mut series = Series::new().expect("a series");
                series.figures = vec![figure];
                series
            });
            report::rows(&plan, &series)[3].clone()
        };
        let runs = [run(8e6), run(9e6), run(12e6)];
        let repeated = Repeated::of(&runs.iter().collect::<Vec<_>>());
        assert_eq!(repeated.ratios, [0.8, 0.9, 1.2]);
        assert_eq!(repeated.ratio_to_floor, 0.9);
        assert_eq!((repeated.ratio_min, repeated.ratio_max), (0.8, 1.2));
        assert!((repeated.spread_percent - 400.0 / 9.0).abs() < 1e-9);
    }
}
