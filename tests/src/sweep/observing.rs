//! A ring with observers: whatever happens to its producer, an observer sees the same events as the consumers.

use super::Flaw;
use super::publishing::struck;
use super::stage::{SOON, Stage};
use crate::Actor;

/// The producer is struck after it has marked a slot busy and overwritten it, with a single event.
pub(crate) fn one(stage: &mut Stage) {
    open(stage, stage.case.in_flight);
    let watcher = watch(stage);
    struck(stage, &format!("publish n=1 {SOON}"), 1, &[]);
    assert_saw_the_end(watcher);
}

/// The producer is struck in the same way in a batch, after each of its events.
pub(crate) fn batch(stage: &mut Stage) {
    open(stage, 0);
    let watcher = watch(stage);
    let n = stage.case.in_flight + 1;
    struck(stage, &format!("batch n={n} {SOON}"), n, &[]);
    assert_saw_the_end(watcher);
}

fn open(stage: &mut Stage, unread: i64) {
    stage.is_observed = true;
    stage.open_for_role(unread);
}

/// The line that starts an observer with a ledger, which is judged together with those of the consumers.
pub(crate) fn observe_line(stage: &mut Stage, how: &str) -> String {
    let index = stage.seat("observer", false);
    let seat = &mut stage.seats[index];
    // no process waits for an observer, and it may miss any number of events; but it sees no event twice
    (seat.is_gone, seat.redelivery, seat.unwritten) = (true, 0, i64::from(i32::MAX));
    let log = stage.world.ledger("0-observer");
    let flaw = match stage.case.flaw {
        Some(Flaw::SkippedEvent) => "wrong=skip",
        _ => "",
    };
    let (capacity, interval) = (stage.capacity, stage.reader_interval_ms);
    format!(
        "observe cap={capacity} strategy=block interval_ms={interval} log={} {flaw} {how}",
        log.display()
    )
}

/// Starts an observer that reads from the oldest retained event to the end.
fn watch(stage: &mut Stage) -> Actor {
    let mut watcher = stage.world.actor();
    let line = observe_line(stage, "start=oldest");
    watcher.ok(&line);
    watcher.tell("watch");
    watcher
}

fn assert_saw_the_end(mut watcher: Actor) {
    let reply = watcher.expect_ok();
    assert_eq!(reply.word("end"), "Closed", "{}", reply.text());
    assert!(reply.number("seen") > 0, "{}", reply.text());
    watcher.leave();
}
