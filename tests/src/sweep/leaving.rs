//! Leaving for good, detaching, being evicted, and being removed.

use super::stage::{SOON, Stage};
use super::{CAPACITY, stopped};

/// A reader is struck as it leaves and gives up its position.
pub(crate) fn leave(stage: &mut Stage) {
    stage.open(stage.case.in_flight);
    let name = match stage.case.row.role {
        "automatic" => "guest",
        _ => "left",
    };
    let index = stage.find(name);
    stage.seats[index].is_gone = true;
    let reader = stage.seats[index].actor.take().expect("a reader");
    let aimed = stage.aim(reader, "leave");
    stage.land(aimed, stopped::nobody_waits);
    stage.finish();
}

/// A durable reader is struck as it detaches and keeps its position.
pub(crate) fn detach(stage: &mut Stage) {
    stage.open(stage.case.in_flight);
    let left = stage.find("left");
    stage.seats[left].tell("recv n=1 ms=30000");
    stage.seats[left].collect();
    let reader = stage.seats[left].actor.take().expect("a reader");
    let aimed = stage.aim(reader, "detach");
    stage.land(aimed, |stage| {
        stopped::ring_is_held(stage, Some("left"));
        refuse_left(stage);
    });
    stage.finish();
}

/// The producer is struck as it evicts a dead automatic reader that blocks it.
pub(crate) fn evict(stage: &mut Stage) {
    stage.open_for_role(CAPACITY);
    let guest = stage.find("guest");
    stage.seats[guest].is_gone = true;
    stage.seats[guest].actor.take().expect("a reader").kill();
    stage.read_to(stage.last - stage.case.in_flight);
    strike_producer(
        stage,
        &format!("publish n=1 {SOON}"),
        stopped::production_is_held,
    );
    stage.finish();
}

/// The producer is struck as it removes a durable reader that is away.
pub(crate) fn remove(stage: &mut Stage) {
    stage.open_for_role(stage.case.in_flight);
    let left = stage.find("left");
    stage.seats[left]
        .actor
        .take()
        .expect("a reader")
        .ok("detach");
    let lives = strike_producer(stage, "remove id=left", |stage| {
        stopped::production_is_held(stage);
        refuse_left(stage);
    });
    // until the reader's line is FREE its position exists, and the reader comes back to it
    let too_early = matches!(stage.case.row.point, "remove.id_locked" | "remove.locked");
    stage.seats[left].is_gone = lives || !too_early;
    stage.finish();
}

/// Returns whether the producer is alive.
fn strike_producer(stage: &mut Stage, line: &str, meanwhile: fn(&mut Stage)) -> bool {
    let tx = stage.tx.take().expect("a producer");
    let aimed = stage.aim(tx, line);
    match stage.land(aimed, meanwhile) {
        Some((tx, reply)) => {
            stage.last = reply.number("last");
            stage.tx = Some(tx);
        }
        None => stage.drain_all("ProducerDead"),
    }
    stage.tx.is_some()
}

/// Another process holds the id of `left`, so a consumer with this id is refused.
fn refuse_left(stage: &mut Stage) {
    let mut twin = stage.world.actor();
    twin.err(
        "ConsumerAlreadyAttached",
        &format!("consume cap={CAPACITY} id=left"),
    );
}
