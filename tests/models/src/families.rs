//! All models, with their configurations and controls.

use crate::checker::{Model, Outcome, explore};

mod ends;
mod names;
mod reserved;
mod ring;
mod sessions;
mod waits;
mod wake;

/// The result that a case must have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expect {
    /// Every state is searched and no property is broken.
    Holds,
    /// A control: the failure must contain one of these texts. Any other failure does not count.
    Fails(&'static [&'static str]),
}

/// One configuration of a model, or one control.
pub struct Case {
    /// The configuration in words.
    pub name: String,
    /// The result that it must have.
    pub expect: Expect,
    run: Box<dyn Fn() -> Outcome>,
}

impl core::fmt::Debug for Case {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Case")
            .field("name", &self.name)
            .field("expect", &self.expect)
            .finish_non_exhaustive()
    }
}

impl Case {
    /// Searches all states of the case.
    pub fn run(&self) -> Outcome {
        (self.run)()
    }

    /// Whether an outcome is the expected one.
    pub fn is_met_by(&self, outcome: &Outcome) -> bool {
        match (self.expect, &outcome.failure) {
            (Expect::Holds, None) => outcome.ends > 0,
            (Expect::Fails(words), Some(failure)) => {
                words.iter().any(|word| failure.what.contains(word))
            }
            _ => false,
        }
    }
}

/// A model with its configurations that must hold and its controls.
#[derive(Debug)]
pub struct Family {
    /// Its name in the documentation.
    pub name: &'static str,
    /// The rules that it models.
    pub rules: &'static str,
    /// Its cases; those that must hold come first.
    pub cases: Vec<Case>,
}

impl Family {
    fn new(name: &'static str, rules: &'static str) -> Self {
        Self {
            name,
            rules,
            cases: Vec::new(),
        }
    }

    fn add(&mut self, name: &str, expect: Expect, model: impl Model + 'static) {
        self.cases.push(Case {
            name: name.into(),
            expect,
            run: Box::new(move || explore(&model)),
        });
    }

    fn holds(&mut self, name: &str, model: impl Model + 'static) {
        self.add(name, Expect::Holds, model);
    }

    fn fails(&mut self, name: &str, with: &'static [&'static str], model: impl Model + 'static) {
        self.add(name, Expect::Fails(with), model);
    }
}

/// Every model of the crate.
pub fn families() -> Vec<Family> {
    vec![
        ring::join(),
        ring::batch(),
        ring::takeover(),
        ring::lines(),
        ring::bitmap(),
        ends::ends(),
        names::names(),
        names::locks(),
        wake::wake(),
        waits::sets(),
        waits::readiness(),
        reserved::observers(),
        reserved::producers(),
        sessions::sessions(),
    ]
}
