//! The end of a ring: closed, kept, destroyed; drained to the last event, and the name taken along.

use super::stage::{SOON, Stage};
use super::stopped;

/// The producer ends the ring.
pub(crate) fn close(stage: &mut Stage) {
    stage.open_for_role(stage.case.in_flight);
    let (role, point) = (stage.case.row.role, stage.case.row.point);
    if role == "drained-producer" {
        // no durable reader needs the name: it goes with the producer
        let guest = stage.find("guest");
        let guest = stage.seats[guest].actor.take();
        stage.read_to(stage.last);
        let index = stage.find("guest");
        stage.seats[index].actor = guest;
    }
    let verb = match role {
        "keeper" => "keep",
        "destroyer" => "destroy",
        _ => "close",
    };
    let tx = stage.tx.take().expect("a producer");
    let aimed = stage.aim(tx, verb);
    let lives = stage.land(aimed, |stage| match point {
        "close.kept" => stopped::production_is_held(stage),
        _ => stage.drain_all("Closed"),
    });
    if point == "close.kept" && lives.is_none() {
        // nothing was said yet: a death like any other
        stage.drain_all("ProducerDead");
        return stage.finish();
    }
    stage.drain_all("Closed");
    if role == "keeper" {
        assert!(stage.world.is_named());
        return stage.finish();
    }
    start_afresh(stage);
}

/// The last one to drain a closed ring takes its name along.
pub(crate) fn drain(stage: &mut Stage) {
    stage.open_for_role(stage.case.in_flight);
    match stage.case.row.role {
        "drainer" => drain_alone(stage),
        "detacher" => detach_drained(stage),
        "automatic" => drain_after_a_death(stage),
        _ => drain_against_the_producer(stage),
    }
}

/// The only reader is struck at the end: its successor comes back to where it was, or finds that the name has gone.
fn drain_alone(stage: &mut Stage) {
    stage.dismiss("right");
    stage.dismiss("guest");
    close_for_others(stage);
    strike_drainer(stage, "left", &format!("drain {SOON}"));
    go_on(stage);
}

/// A reader that has read everything is struck as it detaches; another one has yet to see the end.
fn detach_drained(stage: &mut Stage) {
    stage.dismiss("guest");
    close_for_others(stage);
    stage.read_to(stage.last);
    if !strike_drainer(stage, "left", "detach") {
        stage.drain_all("Closed");
    }
    start_afresh(stage);
}

/// The durable reader died over the name, so it is left to an automatic one.
fn drain_after_a_death(stage: &mut Stage) {
    stage.dismiss("right");
    close_for_others(stage);
    let left = stage.find("left");
    let mut reader = stage.seats[left].actor.take().expect("a reader");
    reader.ok("arm at=drain.locked:1:kill");
    reader.tell("drain");
    reader.expect_killed().expect("killed over the name");
    stage.seats[left].next = stage.last + 1;
    strike_drainer(stage, "guest", &format!("drain {SOON}"));
    let guest = stage.find("guest");
    stage.seats[guest].is_gone = true;
    go_on(stage);
}

/// The last reader drains while the producer, who saw that it needs the name, has the lock: the producer looks again.
fn drain_against_the_producer(stage: &mut Stage) {
    stage.dismiss("right");
    stage.dismiss("guest");
    let tx = stage.tx.take().expect("a producer");
    let arming = format!("close.unlinked:1:stop,{}", stage.case.arming());
    let mut aimed = stage.aim_at(tx, &arming, "close");
    aimed.actor.expect_stopped().expect("stopped as it closes");
    stage.drain_all("Closed");
    assert!(stage.world.is_named());
    aimed.actor.resume();
    // a reader that saw the end once more meanwhile might take the name before the late producer does
    stage.is_quiet = true;
    stage.land(aimed, name_is_held);
    stage.is_quiet = false;
    // who finds the end again looks at the name again
    stage.drain_all("Closed");
    start_afresh(stage);
}

fn close_for_others(stage: &mut Stage) {
    stage.tx.take().expect("a producer").ok("close");
    assert!(stage.world.is_named(), "a durable reader needs the name");
}

/// Whether the reader lives.
fn strike_drainer(stage: &mut Stage, name: &str, line: &str) -> bool {
    let index = stage.find(name);
    let reader = stage.seats[index].actor.take().expect("a reader");
    let aimed = stage.aim(reader, line);
    stage.is_quiet = true;
    let lives = stage.land(aimed, name_is_held).is_some();
    stage.seats[index].next = stage.last + 1;
    let is_named = stage.world.is_named();
    assert!(!(lives && is_named), "who lives takes the name along");
    lives
}

/// Somebody is stopped over the name: nobody else can be the producer until it has gone, anybody can afterwards; whoever
/// drains does not wait.
fn name_is_held(stage: &mut Stage) {
    stage.drain_all("Closed");
    let is_unlinked = matches!(stage.case.row.point, "drain.unlinked" | "drain.unlocked");
    assert_eq!(stage.world.is_named(), !is_unlinked);
    let rival = stage.rival();
    assert_eq!(rival, if is_unlinked { "ok" } else { "AlreadyExists" });
}

/// Goes on in the ring that still has the name, else in a new one.
fn go_on(stage: &mut Stage) {
    if stage.world.is_named() {
        let is_early = matches!(stage.case.row.point, "drain.locked" | "unlink.looked");
        assert!(is_early, "a name that was removed");
        stage.finish();
    } else {
        start_afresh(stage);
    }
}

/// Everybody has had the end: the name is gone, and a new ring gets it.
pub(crate) fn start_afresh(stage: &mut Stage) {
    assert!(!stage.world.is_named(), "the name goes with the last one");
    for seat in &mut stage.seats {
        seat.actor = None;
    }
    stage.new_ring();
    stage.finish();
}
