//! `sweep`: everything, step by step, into a file of one row per line. A sweep that was stopped goes on where it was.

pub(crate) mod check;
pub(crate) mod record;

use std::path::Path;
use std::time::Duration;

use clap::ValueEnum;

use self::record::{FORMAT, Facts, Record};
use crate::affinity::{self, Cores};
use crate::arena::Arena;
use crate::backend::Backend;
use crate::clock::Clock;
use crate::fault::Planted;
use crate::layers::{LayerScenario, Layers};
use crate::machine::{self, Origin};
use crate::measure::{Effort, Group, ROUNDS_MIN};
use crate::options::CONSUMERS;
use crate::payload::SIZES;
use crate::plan::{Plan, Scenario, Wanted};
use crate::report;
use crate::scenario::Failure;
use crate::scenario::wait::broadcast::Broadcast;
use crate::scenario::wait::{self, Setting, WaitScenario};
use crate::strategy::Strategy;

/// How much a sweep measures.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Tier {
    /// Every kind of step once, in a few rounds of few messages: less than a minute.
    Smoke,
    /// Both backends, the usual sizes, and every layer: less than five minutes.
    Quick,
    /// All sizes, in many rounds: about half an hour.
    Full,
}

impl Tier {
    fn name(self) -> &'static str {
        match self {
            Self::Smoke => "smoke",
            Self::Quick => "quick",
            Self::Full => "full",
        }
    }

    fn rounds(self) -> usize {
        match self {
            Self::Smoke => 3,
            Self::Quick => ROUNDS_MIN,
            Self::Full => 25,
        }
    }

    fn steps(self) -> Vec<Step> {
        let sizes: &[usize] = match self {
            Self::Smoke => &[8, 56],
            Self::Quick => &[8, 56, 64, 248],
            Self::Full => &SIZES,
        };
        let mut steps: Vec<_> = sizes.iter().map(|&size| Step::Raw(size)).collect();
        let layers = LayerScenario::value_variants().iter();
        steps.extend(layers.map(|&scenario| Step::Layer(scenario)));
        let waiting: &[WaitScenario] = match self {
            Self::Smoke => &[WaitScenario::WakeLatency, WaitScenario::Death],
            _ => WaitScenario::value_variants(),
        };
        steps.extend(waiting.iter().map(|&scenario| Step::Wait(scenario)));
        steps.push(Step::Broadcast);
        if self != Self::Smoke {
            steps.push(Step::Limits);
        }
        steps
    }

    fn backends(self) -> Vec<Backend> {
        match self {
            Self::Smoke => vec![Backend::Shm],
            _ => vec![Backend::Shm, Backend::Mmap],
        }
    }
}

/// A part of a sweep that is measured, and written to the file, as a whole.
#[derive(Clone, Copy, Debug)]
enum Step {
    /// All raw scenarios at one size.
    Raw(usize),
    Layer(LayerScenario),
    Wait(WaitScenario),
    Broadcast,
    Limits,
}

impl Step {
    fn name(self) -> String {
        let value = |value: Option<clap::builder::PossibleValue>| {
            value.map_or_else(String::new, |value| value.get_name().to_owned())
        };
        match self {
            Self::Raw(size) => format!("raw {size} B"),
            Self::Layer(scenario) => format!("layers {}", value(scenario.to_possible_value())),
            Self::Wait(scenario) => format!("wait {}", value(scenario.to_possible_value())),
            Self::Broadcast => "broadcast".to_owned(),
            Self::Limits => "limits".to_owned(),
        }
    }

    /// Its share of the time of a sweep.
    fn weight(self) -> u64 {
        match self {
            Self::Raw(_) | Self::Layer(_) => 2,
            Self::Wait(_) | Self::Broadcast | Self::Limits => 5,
        }
    }
}

/// The selection that the options make.
#[derive(Debug)]
pub(crate) struct Sweep<'a> {
    pub(crate) tier: Tier,
    pub(crate) out: &'a Path,
    pub(crate) is_fresh: bool,
    pub(crate) commit: Option<&'a str>,
    pub(crate) mmap_root: &'a Path,
    pub(crate) round_limit: Duration,
    pub(crate) faults: Planted,
    pub(crate) cores: Option<&'a [usize]>,
}

/// The machine's part of a sweep.
#[derive(Clone, Copy, Debug)]
struct Host {
    cores: Option<Cores>,
    clock: Clock,
}

impl Sweep<'_> {
    /// Measures the steps that are not in the file yet, and returns all rows of the file. `on_step` is called before
    /// each step with its name, and with the weights of the steps that are done and of all.
    pub(crate) fn run(
        &self,
        mut on_step: impl FnMut(&str, u64, u64),
    ) -> Result<Vec<Record>, Failure> {
        let cores = affinity::two_cores(self.cores)?;
        let cores = cores.filter(|&cores| affinity::keep_to(cores));
        let host = Host {
            cores,
            clock: Clock::calibrate(),
        };
        let machine = machine::Machine::read(cores);
        println!("{machine}");
        let facts = self.facts(&machine);
        let mut records = self.begin(&facts)?;
        let steps = self.tier.steps();
        let total = steps.iter().map(|step| step.weight()).sum();
        let mut done = 0;
        for step in steps {
            let name = step.name();
            on_step(&name, done, total);
            if !records.iter().any(|record| record.cell.step == name) {
                let new = self.measure(step, &facts, host)?;
                record::append(self.out, &new)?;
                records.extend(new);
            }
            done += step.weight();
        }
        on_step("done", done, total);
        Ok(records)
    }

    fn facts(&self, machine: &machine::Machine) -> Facts {
        let commit = self.commit.map(str::to_owned);
        let commit = commit.or_else(machine::commit_of_program);
        let tier = self.tier.name();
        Facts {
            format: FORMAT,
            tier: tier.to_owned(),
            origin: Origin::new(machine, commit, format!("perf-bench sweep --tier {tier}")),
        }
    }

    /// The rows that are in the file already, if they are of the same sweep.
    fn begin(&self, facts: &Facts) -> Result<Vec<Record>, Failure> {
        if self.is_fresh || !self.out.exists() {
            record::write(self.out, &[])?;
            return Ok(Vec::new());
        }
        let records = record::read(self.out)?;
        let shown = self.out.display();
        if let Some(other) = records.iter().find(|record| record.facts != *facts) {
            let Facts { tier, origin, .. } = &other.facts;
            let Origin {
                commit,
                processor,
                kernel,
                ..
            } = origin;
            return Err(format!(
                "{shown} has rows of another sweep (tier {tier}, commit {commit}, on {processor} with {kernel}): give \
                 another file with --out, or --fresh to replace this one"
            )
            .into());
        }
        // without the step that a dying process may have left behind
        record::write(self.out, &records)?;
        Ok(records)
    }

    fn measure(&self, step: Step, facts: &Facts, host: Host) -> Result<Vec<Record>, Failure> {
        let name = step.name();
        match step {
            Step::Raw(size) => {
                let plan = Plan::new(&self.wanted(Some(vec![size]), self.tier.backends()));
                self.raw(&plan, &name, facts, host)
            }
            Step::Limits => {
                let wanted = self.wanted(None, Vec::new());
                let mut plan = Plan::new(&wanted);
                plan.add_limits(&wanted);
                self.raw(&plan, &name, facts, host)
            }
            Step::Layer(scenario) => {
                let layers = Layers::new(&[scenario], &self.tier.backends(), self.mmap_root);
                let groups = self.groups(&layers.plan, host)?;
                let rows = groups.iter().flat_map(|Group { placement, series }| {
                    let placement = placement.map_or("", |(placement, _)| placement.name());
                    let rows = layers.rows(series).into_iter();
                    rows.map(move |row| (row, placement))
                });
                let records = rows.map(|(row, placement)| {
                    complain(row.complaint());
                    Record::of_comparison(facts, &name, &row, placement)
                });
                Ok(records.collect())
            }
            Step::Wait(_) | Step::Broadcast => {
                if let Some(cores) = host.cores {
                    affinity::keep_to(cores);
                }
                let arena = Arena::create(wait::ARENA_BYTES)?;
                let setting = Setting {
                    arena: &arena,
                    cores: host.cores,
                    rounds: self.tier.rounds(),
                    is_quick: self.tier != Tier::Full,
                    round_limit: self.round_limit,
                    faults: self.faults,
                };
                let rows = match step {
                    Step::Wait(scenario) => wait::run(&[scenario], setting)?,
                    _ => Broadcast {
                        consumers: CONSUMERS.to_vec(),
                        strategy: Strategy::Block,
                        capacity: 1024,
                    }
                    .run(setting)?,
                };
                let records = rows.iter().map(|row| {
                    complain(row.complaint());
                    Record::of_comparison(facts, &name, row, "")
                });
                Ok(records.collect())
            }
        }
    }

    fn wanted(&self, sizes: Option<Vec<usize>>, backends: Vec<Backend>) -> Wanted {
        Wanted {
            sizes,
            backends: Some(backends),
            scenarios: Scenario::value_variants().to_vec(),
            capacity: 1024,
            ping_pong_capacity: 64,
            mmap_root: self.mmap_root.to_owned(),
        }
    }

    fn raw(
        &self,
        plan: &Plan,
        name: &str,
        facts: &Facts,
        host: Host,
    ) -> Result<Vec<Record>, Failure> {
        let mut records = Vec::new();
        for Group { placement, series } in self.groups(plan, host)? {
            for mut row in report::rows(plan, &series) {
                row.placement = placement.map(|(placement, _)| placement.name());
                complain(row.complaint());
                records.push(Record::of_raw(facts, name, &row));
            }
        }
        Ok(records)
    }

    fn groups(&self, plan: &Plan, host: Host) -> Result<Vec<Group>, Failure> {
        if let Some(cores) = host.cores {
            affinity::pin(cores.driver);
        }
        let effort = Effort {
            rounds: self.tier.rounds(),
            budget: Duration::from_secs(60),
            is_quick: self.tier == Tier::Smoke,
            round_limit: self.round_limit,
            faults: self.faults,
            by_placement: true,
        };
        crate::run_plan(plan, effort, host.cores, host.clock, || {})
    }
}

fn complain(complaint: Option<String>) {
    if let Some(complaint) = complaint {
        eprintln!("perf-bench: {complaint}");
    }
}

/// A short table of the rows, by step.
pub(crate) fn render(records: &[Record]) -> String {
    let mut text = String::new();
    for record in records {
        let verified = if record.verified {
            ""
        } else {
            "  NOT VERIFIED"
        };
        text += &format!(
            "{:<22} {:>8.2} x floor ({:.2} to {:.2})  {}{verified}\n",
            record.cell.step,
            record.ratio_to_floor,
            record.ratio_min,
            record.ratio_max,
            record.cell.name()
        );
    }
    let placements: std::collections::BTreeSet<_> = records
        .iter()
        .map(|record| record.cell.placement.as_str())
        .filter(|placement| !placement.is_empty())
        .collect();
    let placements: Vec<_> = placements.into_iter().collect();
    text += &format!(
        "{} rows, all of them {}; placements of the cores: {}\n",
        records.len(),
        if records.iter().all(|record| record.verified) {
            "verified"
        } else {
            "measured, some NOT VERIFIED"
        },
        placements.join(", ")
    );
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_tier_has_steps_with_names_of_their_own() {
        let mut longest = 0;
        for &tier in Tier::value_variants() {
            let steps = tier.steps();
            let names: std::collections::BTreeSet<_> =
                steps.iter().map(|step| step.name()).collect();
            assert_eq!(names.len(), steps.len());
            assert!(steps.len() > longest || tier == Tier::Full);
            longest = steps.len();
        }
    }
}
