//! Attaching: on a new line, on a dead consumer's line, or on the consumer's own line.

use super::stage::Stage;
use super::{CAPACITY, stopped};
use crate::actor::Reply;
use crate::{Actor, sweep::Action};

/// A new consumer takes a free line; an inheritor takes the line of a dead automatic reader.
pub(crate) fn join(stage: &mut Stage) {
    stage.open(stage.case.in_flight);
    let role = stage.case.row.role;
    let point = stage.case.row.point;
    let inherits = role == "inheritor";
    if inherits {
        let guest = stage.find("guest");
        stage.seats[guest].is_gone = true;
        stage.seats[guest].actor.take().expect("a reader").kill();
    }
    let late = stage.seat("late", role != "automatic-joiner");
    let line = stage.consume_line(late, "");
    let actor = stage.world.actor();
    let aimed = stage.aim(actor, &line);
    let landed = stage.land(aimed, |stage| {
        // a dead reader's line gates until the joiner stores JOINING: only the process that holds its lock may evict it
        let gates = match point {
            "join.settling" | "join.reread" | "join.active" => true,
            "join.locked" | "join.bit" => inherits,
            _ => false,
        };
        match gates {
            true => stopped::ring_is_held(stage, None),
            false => stopped::nobody_waits(stage),
        }
    });
    came(stage, late, landed);
    stage.finish();
}

/// A joiner has found a free line and is stopped. Another consumer takes and leaves the line, so that the
/// joiner finds it owned when it has the lock and goes on to the next line.
pub(crate) fn pass(stage: &mut Stage) {
    stage.open(stage.case.in_flight);
    let late = stage.seat("late", true);
    let line = stage.consume_line(late, "");
    let actor = stage.world.actor();
    // the first line that the joiner tries is the automatic reader's, whose lock it does not get
    let arming = format!("take.checked:2:stop,{}", stage.case.arming());
    let mut aimed = stage.aim_at(actor, &arming, &line);
    aimed
        .actor
        .expect_stopped()
        .expect("stopped after its check");
    let other = stage.seat("other", true);
    stage.attach_all_but(late);
    stage.seats[other]
        .actor
        .take()
        .expect("a reader")
        .ok("detach");
    aimed.actor.resume();
    let landed = stage.land(aimed, |stage| stopped::ring_is_held(stage, Some("other")));
    came(stage, late, landed);
    stage.finish();
}

/// A durable reader is struck as it comes back after it detached or was killed.
pub(crate) fn rejoin(stage: &mut Stage) {
    stage.open(stage.case.in_flight);
    let left = stage.find("left");
    stage.seats[left].tell("recv n=1 ms=30000");
    stage.seats[left].collect();
    let mut before = stage.seats[left].actor.take().expect("a reader");
    match stage.case.row.role {
        "rejoiner" => drop(before.ok("detach")),
        _ => before.kill(),
    }
    let line = stage.consume_line(left, "");
    let actor = stage.world.actor();
    let aimed = stage.aim(actor, &line);
    let landed = stage.land(aimed, |stage| {
        stopped::ring_is_held(stage, Some("left"));
        let mut twin = stage.world.actor();
        twin.err(
            "ConsumerAlreadyAttached",
            &format!("consume cap={CAPACITY} id=left"),
        );
    });
    came(stage, left, landed);
    stage.finish();
}

/// The reader that attached takes its seat. A durable reader that died comes again; an automatic one does not.
fn came(stage: &mut Stage, seat: usize, landed: Option<(Actor, Reply)>) {
    if let Some((actor, reply)) = landed {
        assert!(reply.kind().is_none(), "{}", reply.text());
        stage.take_seat(seat, actor, reply.number("next"));
    } else {
        debug_assert_eq!(stage.case.action, Action::Kill);
        stage.seats[seat].is_gone = !stage.seats[seat].is_durable;
        stage.attach_all();
    }
    let seat = &stage.seats[seat];
    // within what is retained
    let (oldest, next) = (stage.last - stage.capacity, seat.next);
    let is_right = seat.is_gone || (oldest..=stage.last + 1).contains(&next);
    assert!(
        is_right,
        "{} starts at {next}, {} is the last",
        seat.name, stage.last
    );
}
