//! Taking over: from a producer that died in a batch, after another candidate, or from a producer that ended
//! and kept the ring.

use super::stage::{SOON, Stage};
use super::{Action, CAPACITY, stopped};

pub(crate) fn take_over(stage: &mut Stage) {
    let (role, point, in_flight) = (
        stage.case.row.role,
        stage.case.row.point,
        stage.case.in_flight,
    );
    let was_closed = role == "reopener";
    if was_closed {
        stage.open(in_flight);
        stage.tx.take().expect("a producer").ok("keep");
    } else {
        die_in_a_batch(stage);
    }
    if role == "candidate" {
        let line = stage.produce_line("");
        let mut first = stage.world.actor();
        first.ok("arm at=takeover.head:1:kill");
        first.tell(&line);
        first.expect_killed().expect("killed as it takes over");
    }
    let line = stage.produce_line("");
    let candidate = stage.world.actor();
    let aimed = stage.aim(candidate, &line);
    // a successor clears the closed word only after it has increased the epoch
    let is_closed = was_closed && matches!(point, "takeover.locked" | "takeover.epoch");
    let landed = stage.land(aimed, |stage| {
        let end = if is_closed { "Closed" } else { "Timeout" };
        stopped::readers_are_told(stage, end);
    });
    match landed {
        Some((tx, reply)) => {
            assert_eq!(reply.number("next"), stage.last + 1, "{}", reply.text());
            stage.tx = Some(tx);
        }
        None => {
            debug_assert_eq!(stage.case.action, Action::Kill);
            stage.drain_all(if is_closed { "Closed" } else { "ProducerDead" });
        }
    }
    if stage.tx.is_none() {
        stage.succeed();
    }
    stage.one_and_no_more();
    stage.finish();
}

/// The producer dies after it has stored the stamps of all events in flight, none of which is readable.
fn die_in_a_batch(stage: &mut Stage) {
    let n = stage.case.in_flight + 1;
    stage.open((CAPACITY - n).min(2));
    let mut tx = stage.tx.take().expect("a producer");
    tx.ok("arm at=batch.stamped:1:kill");
    tx.tell(&format!("batch n={n} {SOON}"));
    tx.expect_killed().expect("killed in its batch");
}
