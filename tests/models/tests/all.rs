//! Every model must hold, every control must be caught, and no rule may be without a model.
//!
//! By default every control runs, and every third case that must hold; `MYELON_MODELS=all` (`ci/models`) runs all.
//! `MYELON_MODEL=takeover` runs the cases whose line contains this word. `MYELON_MODEL_TRACES=1` also prints
//! the way to the failure that each control finds.

use std::time::Instant;

use myelon_models::{Case, Expect, Family, Outcome, families};

/// The cases that had the expected result.
#[derive(Debug, Default, PartialEq, Eq)]
struct Proved {
    cases: usize,
    controls: usize,
}

fn report(family: &Family, case: &Case, outcome: &Outcome, prints_traces: bool) {
    let Outcome {
        states, ends, took, ..
    } = outcome;
    let name = format!("{:<10} {:<58}", family.name, case.name);
    let found = match &outcome.failure {
        None => "holds",
        Some(failure) => &failure.what,
    };
    let seconds = took.as_secs_f64();
    println!("{name} {states:>8} states {ends:>5} ends {seconds:>6.2} s  {found}");
    if let Some(failure) = &outcome.failure
        && (prints_traces || !case.is_met_by(outcome))
    {
        println!("{}", failure.trace.join("\n"));
    }
}

#[test]
fn every_model_holds_and_every_control_is_caught() {
    let only = std::env::var("MYELON_MODEL").unwrap_or_default();
    let is_sample = only.is_empty() && std::env::var("MYELON_MODELS").is_err();
    let prints_traces = std::env::var_os("MYELON_MODEL_TRACES").is_some();
    let started = Instant::now();
    let (mut proved, mut wrong) = (Proved::default(), Vec::new());
    for family in families() {
        let mut of_family = Proved::default();
        for (index, case) in family.cases.iter().enumerate() {
            let line = format!("{}: {}", family.name, case.name);
            let is_left_out = is_sample && case.expect == Expect::Holds && index % 3 != 0;
            if is_left_out || !line.contains(&only) {
                continue;
            }
            let outcome = case.run();
            report(&family, case, &outcome, prints_traces);
            match (case.is_met_by(&outcome), case.expect) {
                (false, _) => wrong.push(line),
                (true, Expect::Holds) => of_family.cases += 1,
                (true, Expect::Fails(_)) => of_family.controls += 1,
            }
        }
        if only.is_empty() && (of_family.cases == 0 || of_family.controls == 0) {
            wrong.push(format!("{} has shown nothing: {of_family:?}", family.name));
        }
        proved.cases += of_family.cases;
        proved.controls += of_family.controls;
    }
    let Proved { cases, controls } = proved;
    println!(
        "models cases={cases} controls={controls} seconds={:.0}",
        started.elapsed().as_secs_f64()
    );
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert_ne!(proved, Proved::default(), "no model ran");
}

/// Each rule that can be modelled must have a model, and each model must have a case that must hold and one
/// that must fail.
#[test]
fn every_rule_has_a_model_with_controls() {
    let families = families();
    for rule in [2, 4, 5, 6, 7, 8, 9, 10, 11, 13, 14, 15, 16] {
        let rule = format!("R{rule}");
        let holds_it = |family: &&Family| family.rules.split(", ").any(|held| held == rule);
        assert!(
            families.iter().any(|family| holds_it(&family)),
            "{rule} has no model"
        );
    }
    for family in &families {
        let is_control = |case: &&Case| matches!(case.expect, Expect::Fails(_));
        let controls = family.cases.iter().filter(is_control).count();
        assert!(
            controls > 0 && controls < family.cases.len(),
            "{}",
            family.name
        );
        for case in &family.cases {
            let same = family.cases.iter().filter(|other| other.name == case.name);
            assert_eq!(same.count(), 1, "{}: {}", family.name, case.name);
        }
    }
}
