//! SIGTERM ends a member of a session in order, whatever it is doing: the handler of the example `until_sigterm`
//! cancels the token of all calls that wait.

#[path = "../../examples/until_sigterm.rs"]
mod example;

use std::path::Path;
use std::thread;
use std::time::Duration;

use crate::members::{Member, exit_when_the_test_ends, role, say};
use crate::shared::{Backing, Frame, Result};
use myelon::{
    Deadline, MultiProcessError, RecvError, RunnerMyelonTransportConfig, Scheduler, SendError,
    SharedMemory, TransportError, TransportResult, Worker, portable_shm_segment_name,
};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

fn config(label: &str) -> RunnerMyelonTransportConfig {
    RunnerMyelonTransportConfig::new(label, 2)
}

/// Does nothing unless this process was started as a member: one of the example, or one that blocks in a call.
#[test]
fn a_member_of_a_test() -> Result {
    let Some((role, label)) = role() else {
        return Ok(());
    };
    exit_when_the_test_ends();
    match role.split_once(' ') {
        Some(("example", role)) => example::run(&label, role)?,
        Some(("scheduler", call)) => block_a_scheduler(&label, call)?,
        Some((_, call)) => block_a_worker(&label, call)?,
        None => panic!("no such role: {role}"),
    }
    say("ended");
    Ok(())
}

/// Fails if a call has not ended by the token.
fn check_cancelled(ended: TransportResult<()>) -> Result {
    match ended {
        Err(
            TransportError::Send(SendError::Cancelled)
            | TransportError::Recv(RecvError::Cancelled)
            | TransportError::Ring(MultiProcessError::CoordinationCancelled { .. }),
        ) => Ok(()),
        other => Err(format!("{other:?}").into()),
    }
}

fn block_a_scheduler(label: &str, call: &str) -> Result {
    let token = example::token_of_sigterm()?;
    let config = config(label).with_cancel_token(token);
    let mut scheduler = Scheduler::<Frame>::start(&config)?;
    say("blocks");
    let never = Deadline::NEVER;
    if call == "shutdown" {
        scheduler.broadcast(b"", 1, never)?;
        let report = scheduler.shutdown_unless(never, token, |_, _| ())?;
        assert_eq!(report.unanswered, [1, 1]);
        // a successor gives up what is kept
        scheduler = Scheduler::start(&config)?;
    } else {
        block_in(&mut scheduler, call)?;
    }
    for rank in [0, 1] {
        scheduler.remove_worker(rank)?;
    }
    scheduler.shutdown(Deadline::after(Duration::from_secs(1)), |_, _| ())?;
    Ok(())
}

fn block_in(scheduler: &mut Scheduler<Frame>, call: &str) -> Result {
    let never = Deadline::NEVER;
    check_cancelled(match call {
        "call" => scheduler.call(0, b"", 1, never).map(drop),
        "gather" => scheduler.gather(b"", 1, never, |_, _| ()).map(drop),
        "recv_any" => scheduler.recv_any(never).map(drop),
        "broadcast" => loop {
            if let Err(error) = scheduler.broadcast(b"", 1, never) {
                break Err(error);
            }
        },
        "send_to" => loop {
            if let Err(error) = scheduler.send_to(0, b"", 1, never) {
                break Err(error);
            }
        },
        other => panic!("no such call: {other}"),
    })
}

fn block_a_worker(label: &str, call: &str) -> Result {
    let config = config(label).with_cancel_token(example::token_of_sigterm()?);
    if call == "start" {
        say("blocks");
        return check_cancelled(Worker::<Frame>::start(&config, 0).map(drop));
    }
    let mut worker = Worker::<Frame>::start(&config, 0)?;
    say("blocks");
    let never = Deadline::NEVER;
    check_cancelled(match call {
        "recv" => worker.recv(never).map(drop),
        "serve" => worker.serve(never, |_, _| b"").map(drop),
        "respond" => loop {
            if let Err(error) = worker.respond(b"unread", 1, never) {
                break Err(error);
            }
        },
        other => panic!("no such call: {other}"),
    })?;
    Ok(worker.leave()?)
}

fn terminate(member: &Member) -> Result {
    Ok(kill(
        Pid::from_raw(member.process.id() as i32),
        Signal::SIGTERM,
    )?)
}

#[test]
fn a_member_that_is_blocked_in_a_call_ends_in_order() -> Result {
    let schedulers = [
        "call",
        "gather",
        "recv_any",
        "broadcast",
        "send_to",
        "shutdown",
    ];
    let schedulers = schedulers.map(|call| format!("scheduler {call}"));
    let workers = ["start", "recv", "serve", "respond"].map(|call| format!("worker {call}"));
    for role in schedulers.iter().chain(&workers) {
        let label = portable_shm_segment_name("sigterm");
        let scheduler = match role.starts_with("worker") && role != "worker start" {
            true => Some(Scheduler::<Frame>::start(&config(&label))?),
            false => None,
        };
        let mut member = Member::start(module_path!(), role, &label)?;
        assert_eq!(member.answer(), "blocks", "{role}");
        thread::sleep(Duration::from_millis(50));
        assert!(member.answers.try_recv().is_err(), "{role}: it waits");
        terminate(&member)?;
        assert_eq!(member.answer(), "ended", "{role}");
        assert!(member.process.wait()?.success(), "{role}");
        if let Some(scheduler) = scheduler {
            scheduler.close()?;
        }
        assert_eq!(
            SharedMemory::rings(&config(&label), Path::new("")),
            [""; 0],
            "{role}"
        );
    }
    Ok(())
}

/// The members of the example start, talk and end, and get the signal in any order and at any moment.
#[test]
fn members_that_are_terminated_in_the_middle_of_anything_leave_nothing() -> Result {
    let orders = [
        [0, 1, 2],
        [2, 1, 0],
        [1, 2, 0],
        [0, 2, 1],
        [2, 0, 1],
        [1, 0, 2],
    ];
    for (round, order) in orders.iter().cycle().take(24).enumerate() {
        let label = portable_shm_segment_name("sigterm");
        let mut members = Vec::new();
        for role in ["example 0", "example 1", "example scheduler"] {
            members.push(Member::start(module_path!(), role, &label)?);
        }
        // a handler is needed before the signal comes
        wait_for_handlers(&members);
        thread::sleep(Duration::from_millis(round as u64 * 7 % 60));
        for index in order {
            terminate(&members[*index])?;
            thread::sleep(Duration::from_millis(round as u64 % 4 * 5));
        }
        for member in &mut members {
            assert_eq!(member.answer(), "ended", "{order:?}");
            assert!(member.process.wait()?.success(), "{order:?}");
        }
        assert_eq!(
            SharedMemory::rings(&config(&label), Path::new("")),
            [""; 0],
            "{order:?}"
        );
    }
    Ok(())
}

/// Waits until each member catches SIGTERM: bit 14 of `SigCgt`.
fn wait_for_handlers(members: &[Member]) {
    crate::shared::wait_until("SIGTERM is caught", || {
        members.iter().all(|member| {
            let status = std::fs::read_to_string(format!("/proc/{}/status", member.process.id()));
            let status = status.unwrap_or_default();
            let mut lines = status.lines();
            let caught = lines.find_map(|line| line.strip_prefix("SigCgt:"));
            caught.is_some_and(|mask| {
                u64::from_str_radix(mask.trim(), 16).is_ok_and(|mask| mask & 1 << 14 != 0)
            })
        })
    });
}
