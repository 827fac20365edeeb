//! Publishing or consuming without waiting makes no system call and does not read the clock. This holds for
//! events, messages and values.
//!
//! The actor publishes and consumes 100,000 of them in every way under `SECCOMP_MODE_STRICT`, where the kernel
//! kills it at the first call but read, write and exit. Where possible, the processor's clock is switched off.
#![cfg(target_os = "linux")]

use myelon_tests::{Actor, World, wait_until};

const ACTOR: &str = env!("CARGO_BIN_EXE_actor");

/// How the loop ends: its exit status or its signal.
fn end_of_loop(mut actor: Actor, verb: &str, control: &str) -> String {
    actor.tell(&format!("{verb} control={control}"));
    let mut end = None;
    wait_until("the loop has ended", || {
        end = actor.end();
        end.is_some()
    });
    end.expect("it has ended").to_string()
}

fn run(mut world: World, control: &str) -> String {
    // the loop's process cannot close its ring, because that would be a system call
    world.leaves_the_name();
    end_of_loop(world.actor(), "hot-loop", control)
}

fn run_messages(control: &str) -> String {
    end_of_loop(World::shared_memory(ACTOR).actor(), "hot-messages", control)
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

/// Reading a clock that is not the processor's is a system call.
#[cfg(target_arch = "x86_64")]
fn is_noticed_read_of_the_clock(end: &str) -> bool {
    end.contains("SIGSEGV") || end.contains("SIGKILL")
}

#[test]
#[cfg(target_arch = "x86_64")]
fn one_reading_of_the_clock_would_be_noticed() {
    let end = run(World::shared_memory(ACTOR), "clock");
    assert!(is_noticed_read_of_the_clock(&end), "{end}");
}

#[test]
fn hundred_thousand_messages_without_a_system_call() {
    assert_eq!(run_messages("none"), "exit status: 0");
}

/// The time of a message costs one reading of the clock, and is added only on request.
#[test]
#[cfg(target_arch = "x86_64")]
fn a_message_with_a_time_reads_the_clock() {
    let end = run_messages("timed");
    assert!(is_noticed_read_of_the_clock(&end), "{end}");
}
