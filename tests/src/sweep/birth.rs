//! Creating a ring where there is none, or where one is that does not fit.

use super::stage::Stage;

/// A name that a creator left which had to build under one.
const LEFTOVER: &str = "0123456789abcdef";

/// The first producer of all.
pub(crate) fn create(stage: &mut Stage) {
    let cleans = stage.case.row.point.starts_with("leftovers.");
    if cleans {
        let leaf = format!(".{}.{LEFTOVER}", stage.world.name());
        std::fs::write(stage.world.directory().join(leaf), "half a ring").expect("a leftover");
    }
    build(stage, "", false);
}

/// A dead ring of another capacity is in the way: empty of readers, or to be replaced whoever is away.
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

/// Strikes a creator, and starts the ring with as many events as the case has in flight.
fn build(stage: &mut Stage, how: &str, replaces: bool) {
    let point = stage.case.row.point;
    let line = stage.produce_line(how);
    let creator = stage.world.actor();
    let aimed = stage.aim(creator, &line);
    // while it holds the name's producer lock nobody else gets the name; a creator of a nameless file holds nothing
    let holds_name = matches!(point, "create.linked" | "replace.locked");
    let landed = stage.land(aimed, |stage| {
        let rival = stage.produce_line(how);
        let mut actor = stage.world.actor();
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
                "leftovers.locked" => 1,
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

/// The next one does the same, and gets its ring.
fn restart(stage: &mut Stage, how: &str, replaces: bool) {
    let line = stage.produce_line(how);
    let mut tx = stage.world.actor();
    assert_eq!(
        tx.ok(&line).number("next"),
        0,
        "a new ring, replaced: {replaces}"
    );
    stage.tx = Some(tx);
}
