//! Death at every instruction. Publish, refresh, takeover, commit, join and the other steps of the protocol are
//! executed one instruction at a time under ptrace, and the victim is killed after n of them.
//!
//! `MYELON_STEPPING=every` has a case for every n up to 3,000 and some beyond in shared memory, and a sample in
//! a mapped file. `long` has every n on both backings, and more beyond. By default a small sample of each
//! section is taken.
#![cfg(all(debug_assertions, target_os = "linux", target_arch = "x86_64"))]

mod consumer;
mod producer;
mod stage;

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::thread;

use consumer::{Commit, Visit, Visitor};
use myelon_tests::stepping::{Density, Scene, go_through};
use myelon_tests::{World, skip, tracer};
use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::unistd::Pid;
use producer::{Close, Eviction, Publication, Takeover};
use stage::{Backend, Stage};

type SetUp = fn(Backend) -> Box<dyn Scene>;

/// Every section, with the function that sets up its scene.
const SECTIONS: &[(&str, SetUp)] = &[
    ("takeover", |at| {
        Box::new(Takeover::new(Stage::new(at, 8, "")))
    }),
    ("join", |at| {
        Box::new(Visitor::new(Stage::new(at, 8, ""), Visit::Join))
    }),
    ("rejoin", |at| {
        Box::new(Visitor::new(Stage::new(at, 8, ""), Visit::Rejoin))
    }),
    ("leave", |at| {
        Box::new(Visitor::new(Stage::new(at, 8, ""), Visit::Leave))
    }),
    ("evict", |at| Box::new(Eviction::new(Stage::new(at, 4, "")))),
    ("close", |at| Box::new(Close::new(Stage::new(at, 8, "")))),
    ("refresh", |at| {
        Box::new(Publication::new(Stage::new(at, 4, ""), 4, 1))
    }),
    ("refresh for a batch", |at| {
        Box::new(Publication::new(Stage::new(at, 8, ""), 8, 5))
    }),
    ("publish", |at| {
        Box::new(Publication::new(Stage::new(at, 8, ""), 1, 1))
    }),
    ("publish a batch", |at| {
        Box::new(Publication::new(Stage::new(at, 8, ""), 1, 5))
    }),
    ("commit", |at| Box::new(Commit::new(Stage::new(at, 8, "")))),
];

/// How many cases a section gets. The protocol's instructions are the same on both backings, so only the long
/// mode goes through all of them twice.
fn density(backend: Backend) -> Density {
    match (std::env::var("MYELON_STEPPING").as_deref(), backend) {
        (Ok("every"), Backend::SharedMemory) => Density::Every { beyond: 100 },
        (Ok("every"), Backend::MappedFile) => Density::Sample(100),
        (Ok("long"), _) => Density::Every { beyond: 2_000 },
        (Ok(other), _) => panic!("MYELON_STEPPING={other}: want every or long"),
        (Err(_), _) => Density::Sample(12),
    }
}

/// Whether this process may trace its children.
fn may_trace(test: &str) -> bool {
    let world = World::shared_memory(env!("CARGO_BIN_EXE_actor"));
    match tracer::refusal(&world.actor()) {
        None => true,
        Some(error) => {
            skip(test, &format!("ptrace: {error}"));
            false
        }
    }
}

/// Pins this process to one core. Each step is two switches between tracer and traced process, which are fast
/// on one core. Actors inherit the affinity.
fn stay_on_one_core(worker: usize) {
    let here = Pid::from_raw(0);
    let allowed = sched_getaffinity(here).expect("its cores");
    let cores: Vec<usize> = (0..CpuSet::count())
        .filter(|core| allowed.is_set(*core) == Ok(true))
        .collect();
    let mut one = CpuSet::new();
    one.set(cores[worker % cores.len()]).expect("a core");
    sched_setaffinity(here, &one).expect("one of its cores");
}

#[test]
fn death_at_every_instruction_of_a_section_leaves_all_or_nothing() {
    if !may_trace("death_at_every_instruction_of_a_section_leaves_all_or_nothing") {
        return;
    }
    let (next, cases) = (AtomicUsize::new(0), AtomicU64::new(0));
    let backends = [Backend::SharedMemory, Backend::MappedFile];
    let work = || -> Result<(), String> {
        loop {
            let index = next.fetch_add(1, Ordering::Relaxed);
            let Some((name, set_up)) = SECTIONS.get(index / backends.len()) else {
                return Ok(());
            };
            let backend = backends[index % backends.len()];
            let report = go_through(density(backend), &|| set_up(backend))
                .map_err(|fault| format!("{name}, {backend:?}: {fault}"))?;
            println!("section {name}, {backend:?}: {report}");
            cases.fetch_add(report.cases, Ordering::Relaxed);
        }
    };
    thread::scope(|scope| {
        let workers = [0, 1].map(|worker| {
            scope.spawn(move || {
                stay_on_one_core(worker);
                work()
            })
        });
        for worker in workers {
            worker
                .join()
                .expect("a worker")
                .unwrap_or_else(|fault| panic!("{fault}"));
        }
    });
    println!("cases {}", cases.into_inner());
}

/// Goes through a section with a planted fault, which must be found.
#[track_caller]
fn assert_found(what: &str, words: &str, set_up: SetUp) {
    let density = Density::Every { beyond: 1 };
    let fault = go_through(density, &|| set_up(Backend::SharedMemory)).expect_err(what);
    assert!(fault.contains(words), "{what}: {fault}");
    println!("control {what}: {fault}");
}

#[test]
fn control_what_is_acknowledged_too_early_is_found() {
    if may_trace("control_what_is_acknowledged_too_early_is_found") {
        assert_found("acknowledged too early", "was published", |at| {
            Box::new(Publication::new(Stage::new(at, 8, "wrong=early"), 1, 1))
        });
    }
}

#[test]
fn control_what_is_released_before_it_is_written_down_is_found() {
    if may_trace("control_what_is_released_before_it_is_written_down_is_found") {
        assert_found("released too early", "saw up to", |at| {
            Box::new(Commit::new(Stage::new(at, 8, "wrong=late")))
        });
    }
}

#[test]
fn control_a_victim_that_never_comes_to_its_marker_is_found() {
    if !may_trace("control_a_victim_that_never_comes_to_its_marker_is_found") {
        return;
    }
    let mut stage = Stage::new(Backend::SharedMemory, 8, "");
    let victim = stage.world.actor_with("takeover.locked:1:trap");
    // there is no producer to take over from
    let line = format!("{} step", stage.produce());
    let fault = stage::kill_within(victim, &line, 0).expect_err("no marker");
    assert!(fault.contains("marker"), "{fault}");
    println!("control marker not reached: {fault}");
    stage.clear();
}

#[test]
fn control_where_ptrace_is_refused_it_is_noticed() {
    if !may_trace("control_where_ptrace_is_refused_it_is_noticed") {
        return;
    }
    let world = World::shared_memory(env!("CARGO_BIN_EXE_actor"));
    let mut actor = world.actor();
    // a process cannot be traced twice
    assert_eq!(tracer::refusal(&actor), None);
    let refusal = tracer::refusal(&actor).expect("a refusal");
    actor.kill();
    println!("control ptrace refused: {refusal}");
}
