//! The run over a section: a case for every instruction of it, each with the victim killed there.
//!
//! Every n up to [`EVERY_UP_TO`], then every k-th, so that a long section ends in a bounded time. A section says of each
//! case what the others saw; where that changes from one n to the next is where the protocol's step took effect.

use std::time::Instant;

use crate::tracer::Stepped;

/// Up to here every instruction has a case of its own.
pub const EVERY_UP_TO: u64 = 3_000;

/// What came of one case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Case {
    /// How far the victim came.
    pub stepped: Stepped,
    /// What the others saw of it, in words that are the same for the same outcome.
    pub outcome: String,
}

/// A scene in which a victim is killed within a section, again and again.
pub trait Scene {
    /// Kills a victim after `n` steps, and lets the others go on to the end.
    ///
    /// # Errors
    ///
    /// Whatever is not as it must be.
    fn case(&mut self, n: u64) -> Result<Case, String>;

    /// Clears the scene.
    fn end(self: Box<Self>);
}

/// Which instructions get a case.
#[derive(Clone, Copy, Debug)]
pub enum Density {
    /// About so many, spread over the section.
    Sample(u64),
    /// Every one up to [`EVERY_UP_TO`], then about so many.
    Every {
        /// How many beyond.
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

/// How many cases a scene serves until it is set up anew: its ledgers grow, and each case reads them.
const CASES_PER_SCENE: u64 = 24;

/// What came of a section.
#[derive(Clone, Debug)]
pub struct Report {
    /// How many cases ran and held.
    pub cases: u64,
    /// How many steps the section has.
    pub length: u64,
    /// The distance between the cases beyond [`EVERY_UP_TO`]; for a sample, between all.
    pub stride: u64,
    /// From which n on which outcome was seen.
    pub flips: Vec<(u64, String)>,
    /// How long it took.
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

/// Goes through a section.
///
/// # Errors
///
/// The first case that failed, with its n.
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

/// The cases so far.
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
            // told at once, as clearing what a fault left may fail as well
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
