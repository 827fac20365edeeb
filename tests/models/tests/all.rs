//! Every model holds, every control is caught.

use myelon_models::{Expect, families};

#[test]
fn every_model_holds_and_every_control_is_caught() {
    let only = std::env::var("MYELON_MODEL").unwrap_or_default();
    let traces = std::env::var_os("MYELON_MODEL_TRACES").is_some();
    let (mut cases, mut controls, mut wrong) = (0, 0, Vec::new());
    for family in families() {
        for case in &family.cases {
            if !format!("{}: {}", family.name, case.name).contains(&only) { continue; }
            let outcome = case.run();
            let found = outcome.failure.as_ref().map_or("holds", |failure| &failure.what);
            let seconds = outcome.took.as_secs_f64();
            println!("{:<9} {:<55} {:>8} states {:>5} ends {seconds:>6.2} s  {found}", family.name, case.name, outcome.states, outcome.ends);
            if let Some(failure) = &outcome.failure && (traces || !case.is_met_by(&outcome)) {
                println!("{}", failure.trace.join("\n"));
            }
            match (case.is_met_by(&outcome), case.expect) {
                (false, _) => wrong.push(format!("{}: {}", family.name, case.name)),
                (true, Expect::Holds) => cases += 1,
                (true, Expect::Fails(_)) => controls += 1,
            }
        }
    }
    println!("models proved cases={cases} controls={controls}");
    assert!(wrong.is_empty(), "{wrong:#?}");
}
