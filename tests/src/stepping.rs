//! A run over a section of code: in each case the victim is killed after another number of instructions.
//!
//! There is a case for every n up to [`EVERY_UP_TO`], then for every k-th, so that a long section ends in a
//! bounded time. A scene reports for each case what the surviving processes saw. The n at which that outcome
//! changes is where the protocol's step took effect.

use std::time::Instant;

use crate::tracer::Stepped;

/// Up to this number every instruction has a case of its own.
pub const EVERY_UP_TO: u64 = 3_000;

/// The result of one case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Case {
    /// How many steps the victim took.
    pub stepped: Stepped,
    /// What the surviving processes saw, in words that are equal for equal outcomes.
    pub outcome: String,
}

/// A scene in which a victim is killed within a section, once per case.
pub trait Scene {
    /// Kills a victim after `n` steps, and lets the other processes run to the end.
    ///
    /// # Errors
    ///
    /// A description of the fault.
    fn case(&mut self, n: u64) -> Result<Case, String>;

    /// Removes the scene.
    fn end(self: Box<Self>);
}

/// Which instructions get a case.
#[derive(Clone, Copy, Debug)]
pub enum Density {
    /// About this many cases, spread over the section.
    Sample(u64),
    /// Every instruction up to [`EVERY_UP_TO`], then about `beyond` more cases.
    Every {
        /// How many cases beyond [`EVERY_UP_TO`].
        beyond: u64,
    },
}

impl Density {
    /// The distance to the next case, at `n` of `length`.
    fn stride(self, n: u64, length: u64) -> u64 {
        match self {
            Self::Sample(cases) => length.div_ceil(cases).max(1),
            Self::Every { .. } if n < EVERY_UP_TO => 1,
            Self::Every { beyond } => (length - EVERY_UP_TO.min(length)).div_ceil(beyond).max(1),
        }
    }
}

/// How many cases a scene serves before it is set up anew. Its ledgers grow, and each case reads them.
const CASES_PER_SCENE: u64 = 24;

/// The result of one section.
#[derive(Clone, Debug)]
pub struct Report {
    /// How many cases ran and passed.
    pub cases: u64,
    /// How many steps the section has.
    pub length: u64,
    /// The distance between the cases beyond [`EVERY_UP_TO`]; in a sample, between all cases.
    pub stride: u64,
    /// The n from which on each outcome was seen, with that outcome.
    pub flips: Vec<(u64, String)>,
    /// The duration of the run, in seconds.
    pub seconds: f64,
}

impl std::fmt::Display for Report {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self {
            cases,
            length,
            stride,
            flips,
            seconds,
        } = self;
        write!(
            f,
            "{length} steps, {cases} cases (k = {stride}), {seconds:.1} s:"
        )?;
        for (n, outcome) in flips {
            write!(f, " [{n}] {outcome};")?;
        }
        Ok(())
    }
}

/// Runs all cases of a section.
///
/// # Errors
///
/// The n and the description of the first case that failed.
pub fn go_through(density: Density, set_up: &dyn Fn() -> Box<dyn Scene>) -> Result<Report, String> {
    let started = Instant::now();
    let mut run = Run {
        scene: Some(set_up()),
        set_up,
        cases: 0,
    };
    let Stepped::ToTheEnd(length) = run.case(u64::MAX)?.stepped else {
        return Err(String::from("the section has no end"));
    };
    let mut flips = Vec::<(u64, String)>::new();
    let mut n = 0;
    loop {
        let case = run.case(n)?;
        if flips.last().is_none_or(|(_, last)| *last != case.outcome) {
            flips.push((n, case.outcome));
        }
        if case.stepped != Stepped::Within {
            break;
        }
        n += density.stride(n, length);
    }
    run.end_scene();
    Ok(Report {
        cases: run.cases,
        length,
        stride: density.stride(EVERY_UP_TO, length),
        flips,
        seconds: started.elapsed().as_secs_f64(),
    })
}

/// A run in progress.
struct Run<'a> {
    scene: Option<Box<dyn Scene>>,
    set_up: &'a dyn Fn() -> Box<dyn Scene>,
    cases: u64,
}

impl Run<'_> {
    fn case(&mut self, n: u64) -> Result<Case, String> {
        if self.cases > 0 && self.cases.is_multiple_of(CASES_PER_SCENE) {
            self.end_scene();
        }
        let case = self.scene.get_or_insert_with(self.set_up).case(n);
        self.cases += 1;
        case.map_err(|fault| {
            let fault = match n {
                u64::MAX => format!("whole section: {fault}"),
                n => format!("killed after {n} steps: {fault}"),
            };
            // printed at once, because clearing the scene after a fault may fail as well
            println!("{fault}");
            self.end_scene();
            fault
        })
    }

    fn end_scene(&mut self) {
        if let Some(scene) = self.scene.take() {
            scene.end();
        }
    }
}
