//! Creating a ring where there is none, or where there is one that does not fit.

use super::stage::Stage;
use crate::Actor;

/// The suffix of a temporary name that a creator left behind.
const LEFTOVER: &str = "0123456789abcdef";

/// The first producer of a ring is struck.
pub(crate) fn create(stage: &mut Stage) {
    let cleans = stage.case.row.point.starts_with("leftovers.");
    if cleans {
        let leaf = format!(".{}.{LEFTOVER}", stage.world.name());
        std::fs::write(stage.world.directory().join(leaf), "DISRPTMP\0\0").expect("a leftover");
    }
    build(stage, "", false);
}

/// A dead ring of another capacity has the name. Either its readers have left, or they are away and the ring is
/// recreated.
pub(crate) fn replace(stage: &mut Stage) {
    stage.open(stage.case.in_flight);
    stage.kill_producer();
    let recreates = stage.case.row.role == "recreator";
    for seat in &mut stage.seats {
        let mut reader = seat.actor.take().expect("a reader");
        reader.ok(if recreates { "detach" } else { "leave" });
        seat.is_gone = true;
    }
    stage.new_ring();
    stage.capacity *= 2;
    let how = if recreates { "recreate" } else { "" };
    build(stage, how, true);
}

/// A process that can create files without a name, except in cases about temporary names.
fn new_creator(stage: &Stage) -> Actor {
    let mut actor = stage.world.actor();
    let point = stage.case.row.point;
    if point.starts_with("leftovers.") || point == "create.temporary" {
        actor.ok("forbid-nameless");
    }
    // a successor may run on another kernel
    if point == "create.two_names" && stage.world.leftovers().is_empty() {
        actor.ok("forbid-nameless");
    }
    actor
}

/// Strikes a creator, and then starts the ring with as many events as the case has in flight.
fn build(stage: &mut Stage, how: &str, replaces: bool) {
    let point = stage.case.row.point;
    let line = stage.produce_line(how);
    let creator = new_creator(stage);
    let aimed = stage.aim(creator, &line);
    // while a creator holds the name's producer lock, no other process gets the name; a creator of a nameless
    // file holds no lock
    let holds_name = matches!(
        point,
        "create.two_names" | "create.linked" | "replace.locked"
    );
    let landed = stage.land(aimed, |stage| {
        let rival = stage.produce_line(how);
        let mut actor = new_creator(stage);
        match holds_name {
            true => drop(actor.err("AlreadyExists", &rival)),
            false => {
                assert_eq!(actor.ok(&rival).number("next"), 0);
                stage.tx = Some(actor);
            }
        }
    });
    match landed {
        Some((_, reply)) if stage.tx.is_some() => {
            assert_eq!(reply.kind(), Some("AlreadyExists"), "{}", reply.text());
        }
        Some((creator, reply)) => {
            assert_eq!(reply.number("next"), 0, "{}", reply.text());
            stage.tx = Some(creator);
        }
        None => {
            assert_eq!(stage.world.is_named(), holds_name, "after the death");
            let names = match point {
                "create.temporary" | "leftovers.locked" => 1,
                "create.two_names" => 2,
                _ => usize::from(holds_name),
            };
            assert_eq!(
                stage.world.leftovers().len(),
                names,
                "what the dead one left"
            );
            restart(stage, how, replaces);
        }
    }
    stage.publish(stage.case.in_flight);
    stage.finish();
}

/// The next creator does the same, and gets its ring.
fn restart(stage: &mut Stage, how: &str, replaces: bool) {
    let line = stage.produce_line(how);
    let mut tx = new_creator(stage);
    assert_eq!(
        tx.ok(&line).number("next"),
        0,
        "a new ring, replaced: {replaces}"
    );
    stage.tx = Some(tx);
}
