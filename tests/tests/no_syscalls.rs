//! A publish or consume that does not wait makes no system call and looks at no clock.
//!
//! The actor publishes and consumes 100,000 events in every way under `SECCOMP_MODE_STRICT`, where the kernel kills it at
//! the first call but read, write and exit, with the processor's clock switched off where that is possible.
#![cfg(target_os = "linux")]

use myelon_tests::{Actor, World, wait_until};

const ACTOR: &str = env!("CARGO_BIN_EXE_actor");

/// How the loop ends: its exit status or its signal.
fn end_of_loop(mut actor: Actor, control: &str) -> String {
    actor.tell(&format!("hot-loop control={control}"));
    let mut end = None;
    wait_until("the loop has ended", || {
        end = actor.end();
        end.is_some()
    });
    end.expect("it has ended").to_string()
}

fn run(mut world: World, control: &str) -> String {
    // the loop's process cannot close its ring: that would be a system call
    world.leaves_the_name();
    end_of_loop(world.actor(), control)
}

#[test]
fn hundred_thousand_events_without_a_system_call() {
    for world in [World::shared_memory(ACTOR), World::mapped_file(ACTOR)] {
        assert_eq!(run(world, "none"), "exit status: 0");
    }
}

#[test]
fn one_system_call_would_be_noticed() {
    let end = run(World::shared_memory(ACTOR), "syscall");
    assert!(end.contains("SIGKILL"), "{end}");
}

#[test]
#[cfg(target_arch = "x86_64")]
fn one_look_at_the_clock_would_be_noticed() {
    let end = run(World::shared_memory(ACTOR), "clock");
    // a clock that is no processor's is a system call
    assert!(end.contains("SIGSEGV") || end.contains("SIGKILL"), "{end}");
}
