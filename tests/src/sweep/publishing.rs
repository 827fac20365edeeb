//! Publishing one event or a batch, and the refresh of the gate.

use super::stage::{SOON, Stage};
use super::{CAPACITY, stopped};

/// The producer is struck while it publishes one event after those in flight.
pub(crate) fn one(stage: &mut Stage) {
    stage.open_for_role(stage.case.in_flight);
    struck(stage, &format!("publish n=1 {SOON}"), 1, &[]);
}

/// A batch. All its events but the first count as in flight; the first event's stamp comes last.
pub(crate) fn batch(stage: &mut Stage) {
    stage.open_for_role(0);
    let n = stage.case.in_flight + 1;
    struck(stage, &format!("batch n={n} {SOON}"), n, &[]);
}

/// The slots that the claim needs are free, but the producer's private gate does not show it yet.
pub(crate) fn refresh(stage: &mut Stage) {
    let in_flight = stage.case.in_flight;
    let role = stage.case.row.role;
    if role == "lone-producer" {
        // without consumers the gate is at most an eighth of the ring ahead of the claim
        stage.succeed();
        stage.publish(CAPACITY + 5);
        let n = (in_flight + 2).min(CAPACITY);
        return struck(stage, &format!("batch n={n} {SOON}"), n, &[]);
    }
    if role == "blocked-producer" {
        stage.open(CAPACITY);
        let released = stage.last - in_flight;
        return struck(stage, &format!("publish n=1 {SOON}"), 1, &[released]);
    }
    stage.open(in_flight + 1);
    stage.read_to(stage.last - in_flight);
    if role == "successor" {
        stage.kill_producer();
        stage.succeed();
    }
    let n = CAPACITY - in_flight;
    struck(stage, &format!("batch n={n} {SOON}"), n, &[]);
}

/// The producer is struck while it publishes `n` events. Meanwhile the readers read up to each position in `reads`.
pub(crate) fn struck(stage: &mut Stage, line: &str, n: i64, reads: &[i64]) {
    let tx = stage.tx.take().expect("a producer");
    let aimed = stage.aim(tx, line);
    for last in reads {
        stage.read_to(*last);
    }
    match stage.land(aimed, stopped::production_is_held) {
        None => {
            if matches!(stage.case.row.point, "publish.stamped" | "batch.published") {
                stage.last += n;
            }
            stage.drain_all("ProducerDead");
            stage.succeed();
            stage.one_and_no_more();
        }
        Some((tx, reply)) => {
            assert_eq!(reply.number("last"), stage.last + n);
            stage.last += n;
            stage.tx = Some(tx);
        }
    }
    stage.finish();
}
