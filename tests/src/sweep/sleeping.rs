//! Going to sleep in the kernel: consumers, sets of rings, event loops, tasks, observers, and a producer that
//! waits for space.
//!
//! The process that is struck never makes a liveness check during the case. If it lives, it continues because
//! it is woken, or because it polls before it sleeps, whatever the others did while it was stopped or delayed.

use super::observing::observe_line;
use super::stage::{Aimed, SOON, Stage};
use super::{Action, CAPACITY, stopped};
use crate::waiters::{NEVER_MS, wait_for_sleepers, wait_for_wish, woken};

/// A consumer that has read everything is struck as it goes to sleep: by itself, in a set of rings, or while a
/// thread of its own sleeps for its event loop or its task's runtime.
pub(crate) fn reader(stage: &mut Stage) {
    stage.reader_interval_ms = NEVER_MS;
    // these events woke every consumer that slept before, and a consumer that has them to read does not sleep
    stage.open(stage.case.in_flight);
    let (name, by) = match stage.case.row.role {
        "automatic-sleeper" => ("guest", ""),
        "set" => ("left", "by=set"),
        "sentry" | "event-loop" => ("left", "by=loop"),
        "task" => ("left", "by=task"),
        _ => ("left", ""),
    };
    let index = stage.find(name);
    let seat = &mut stage.seats[index];
    seat.tell(&format!("recv n={} {SOON}", stage.case.in_flight));
    seat.collect();
    let reader = seat.actor.take().expect("a reader");
    let aimed = stage.aim(reader, &format!("recv n=1 {by} {SOON}"));
    let held_by = (name == "left").then_some(name);
    let landed = land(stage, aimed, |stage| {
        stage.read_to(stage.last);
        stopped::ring_is_held(stage, held_by);
    });
    let seat = &mut stage.seats[index];
    match landed {
        Some((reader, reply)) => {
            seat.actor = Some(reader);
            seat.note(&reply);
        }
        None => seat.is_gone = !seat.is_durable,
    }
    stage.finish();
}

/// An observer that has seen everything is struck as it goes to sleep. No process waits for it.
pub(crate) fn observer(stage: &mut Stage) {
    stage.reader_interval_ms = NEVER_MS;
    stage.is_observed = true;
    stage.open(stage.case.in_flight);
    let line = observe_line(stage, "start=latest");
    let mut observer = stage.world.actor();
    observer.ok(&line);
    let aimed = stage.aim(observer, &format!("watch n=1 {SOON}"));
    let landed = land(stage, aimed, stopped::nobody_waits);
    if let Some((_, reply)) = landed {
        assert_eq!(reply.number("seen"), 1, "{}", reply.text());
    }
    stage.finish();
}

/// Strikes the only sleeper. Where it reaches the point only after a wake-up, or is delayed, an event is
/// published once it sleeps.
fn land(
    stage: &mut Stage,
    aimed: Aimed,
    meanwhile: impl FnOnce(&mut Stage),
) -> Option<(crate::Actor, crate::Reply)> {
    stage.is_quiet = true;
    let comes_late = matches!(stage.case.row.point, "sleep.over" | "sentry.seen");
    if comes_late || stage.case.action == Action::Delay {
        wait_for_sleepers(&stage.world, 1);
        stage.publish(1);
    }
    woken("the sleeper", || stage.land(aimed, meanwhile))
}

/// The producer is struck while it waits for space.
pub(crate) fn producer(stage: &mut Stage) {
    let (point, action, in_flight) = (
        stage.case.row.point,
        stage.case.action,
        stage.case.in_flight,
    );
    stage.producer_interval_ms = NEVER_MS;
    stage.open_for_role(CAPACITY);
    let tx = stage.tx.take().expect("a producer");
    let aimed = stage.aim(tx, &format!("publish n=1 {SOON}"));
    if point == "sleep.space_over" || action == Action::Delay {
        wait_for_wish(&stage.world);
        // at least as many as the producer asks for, which is a quarter of the ring
        stage.read_to(stage.last - in_flight.min(CAPACITY / 2));
    }
    stage.is_quiet = true;
    // the readers read everything in the meantime
    let landed = woken("the producer", || {
        stage.land(aimed, stopped::production_is_held)
    });
    match landed {
        Some((tx, reply)) => {
            assert_eq!(reply.number("last"), stage.last + 1);
            stage.last += 1;
            stage.tx = Some(tx);
        }
        None => {
            stage.drain_all("ProducerDead");
            stage.succeed();
            stage.one_and_no_more();
        }
    }
    stage.finish();
}
