//! The end of a ring: it is closed, kept or destroyed, then drained to the last event, and its name is removed.

use super::stage::{SOON, Stage};
use super::stopped;

/// The producer is struck while it ends the ring.
pub(crate) fn close(stage: &mut Stage) {
    stage.open_for_role(stage.case.in_flight);
    let (role, point) = (stage.case.row.role, stage.case.row.point);
    if role == "drained-producer" {
        // no durable reader needs the name: the producer removes it
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
        // the end was not announced yet: this is a death like any other
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

/// The producer ends the ring while a durable consumer that it expects has not come. What was published is kept
/// for that consumer.
pub(crate) fn keep_a_place(stage: &mut Stage) {
    stage.open(stage.case.in_flight);
    stage.kill_producer();
    let mut tx = stage.world.actor();
    let line = stage.produce_line("ids=late");
    tx.ok(&line);
    let is_said = matches!(
        stage.case.row.point,
        "close.closed" | "close.unlinked" | "close.unlocked"
    );
    let aimed = stage.aim(tx, "close");
    let lives = stage.land(aimed, |stage| match is_said {
        false => stopped::production_is_held(stage),
        true => stage.drain_all("Closed"),
    });
    stage.seat("late", true);
    if !is_said && lives.is_none() {
        // the end was not announced yet: this is a death like any other, and the late consumer gets everything
        // that the ring retains
        stage.drain_all("ProducerDead");
        stage.attach_all();
        stage.drain_all("ProducerDead");
        return stage.finish();
    }
    stage.drain_all("Closed");
    assert!(stage.world.is_named(), "'late' has not come");
    stage.attach_all();
    stage.drain_all("Closed");
    start_afresh(stage);
}

/// The last consumer that drains a closed ring removes its name.
pub(crate) fn drain(stage: &mut Stage) {
    stage.open_for_role(stage.case.in_flight);
    match stage.case.row.role {
        "drainer" => drain_alone(stage),
        "detacher" => detach_drained(stage),
        "automatic" => drain_after_a_death(stage),
        _ => drain_against_the_producer(stage),
    }
}

/// The only reader is struck at the end. Its successor comes back to the same position, or finds that the name is gone.
fn drain_alone(stage: &mut Stage) {
    stage.dismiss("right");
    stage.dismiss("guest");
    close_for_others(stage);
    strike_drainer(stage, "left", &format!("drain {SOON}"));
    go_on(stage);
}

/// A reader that has read everything is struck as it detaches. Another reader has yet to see the end.
fn detach_drained(stage: &mut Stage) {
    stage.dismiss("guest");
    close_for_others(stage);
    stage.read_to(stage.last);
    if !strike_drainer(stage, "left", "detach") {
        stage.drain_all("Closed");
    }
    start_afresh(stage);
}

/// The durable reader died while it removed the name, so that is left to an automatic reader.
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

/// The last reader drains while the producer holds the lock, after it found that the name is needed. The
/// producer checks again.
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
    // a reader that found the end again in the meantime might remove the name before the delayed producer does
    stage.is_quiet = true;
    stage.land(aimed, name_is_held);
    stage.is_quiet = false;
    // a reader that finds the end again checks the name again
    stage.drain_all("Closed");
    start_afresh(stage);
}

fn close_for_others(stage: &mut Stage) {
    stage.tx.take().expect("a producer").ok("close");
    assert!(stage.world.is_named(), "a durable reader needs the name");
}

/// Returns whether the reader is alive.
fn strike_drainer(stage: &mut Stage, name: &str, line: &str) -> bool {
    let index = stage.find(name);
    let reader = stage.seats[index].actor.take().expect("a reader");
    let aimed = stage.aim(reader, line);
    stage.is_quiet = true;
    let lives = stage.land(aimed, name_is_held).is_some();
    stage.seats[index].next = stage.last + 1;
    let is_named = stage.world.is_named();
    assert!(
        !(lives && is_named),
        "a living process takes the name along"
    );
    lives
}

/// A process is stopped while it removes the name. Until the name is gone no other process can become the
/// producer; afterwards any can. A consumer that drains does not wait.
fn name_is_held(stage: &mut Stage) {
    stage.drain_all("Closed");
    let is_unlinked = matches!(stage.case.row.point, "drain.unlinked" | "drain.unlocked");
    assert_eq!(stage.world.is_named(), !is_unlinked);
    let rival = stage.rival();
    assert_eq!(rival, if is_unlinked { "ok" } else { "AlreadyExists" });
}

/// Continues in the ring if it still has its name, otherwise in a new one.
fn go_on(stage: &mut Stage) {
    if stage.world.is_named() {
        let is_early = matches!(stage.case.row.point, "drain.locked" | "unlink.checked");
        assert!(is_early, "a name that was removed");
        stage.finish();
    } else {
        start_afresh(stage);
    }
}

/// Every reader has seen the end: the name is gone, and a new ring gets it.
pub(crate) fn start_afresh(stage: &mut Stage) {
    assert!(!stage.world.is_named(), "the name goes with the last one");
    for seat in &mut stage.seats {
        seat.actor = None;
    }
    stage.new_ring();
    stage.finish();
}
