//! Releasing events: by lease, by copy, in batches, and without reading them.

use super::stage::{SOON, Stage};
use super::{CAPACITY, stopped};

/// The positions, in events, up to which a batch of `n` has released after each of its commits.
pub(crate) fn burst_ends(n: i64) -> Vec<i64> {
    let every = (CAPACITY / 8).max(1);
    let mut ends: Vec<i64> = (1..=n / every).map(|count| count * every).collect();
    ends.push(n);
    ends
}

/// A reader is struck while it reads the events in flight.
pub(crate) fn commit(stage: &mut Stage) {
    let (role, in_flight, nth) = (stage.case.row.role, stage.case.in_flight, stage.case.nth);
    stage.open(in_flight);
    let (name, verb) = match role {
        "automatic" => ("guest", "recv"),
        "copier" => ("left", "recv-copies"),
        "batch-reader" => ("left", "recv-batches"),
        _ => ("left", "recv"),
    };
    let index = stage.find(name);
    let seat = &mut stage.seats[index];
    // exactly as many as the documentation allows
    (seat.redelivery, seat.unwritten) = match role {
        "copier" => (0, 1),
        "batch-reader" => ((CAPACITY / 8).max(1), 0),
        _ => (1, 0),
    };
    let first = seat.next;
    let reader = seat.actor.take().expect("a reader");
    let aimed = stage.aim(reader, &format!("{verb} n={in_flight} {SOON}"));
    let held_by = (role != "automatic").then_some(name);
    let landed = stage.land(aimed, |stage| stopped::ring_is_held(stage, held_by));
    let seat = &mut stage.seats[index];
    match landed {
        Some((reader, reply)) => {
            seat.actor = Some(reader);
            seat.note(&reply);
        }
        None if role == "automatic" => seat.is_gone = true,
        None => {
            let ends = match role {
                "batch-reader" => burst_ends(in_flight),
                _ => (1..=in_flight).collect(),
            };
            let commits = match stage.case.row.point {
                "commit.before" => nth - 1,
                _ => nth,
            };
            // only events that were not released come again
            seat.next = first
                + if commits == 0 {
                    0
                } else {
                    ends[commits as usize - 1]
                };
        }
    }
    stage.finish();
}

/// A reader is struck while it reads and holds the events in flight, or as it releases all of them at once.
pub(crate) fn hold(stage: &mut Stage) {
    let in_flight = stage.case.in_flight;
    stage.open(in_flight);
    let left = stage.find("left");
    let seat = &mut stage.seats[left];
    // no event is released before all of them are
    seat.redelivery = in_flight;
    let reader = seat.actor.take().expect("a reader");
    let aimed = stage.aim(reader, &format!("recv-held n={in_flight} {SOON}"));
    let landed = stage.land(aimed, |stage| stopped::ring_is_held(stage, Some("left")));
    let is_released = stage.case.row.point == "commit.after";
    let seat = &mut stage.seats[left];
    match landed {
        Some((reader, reply)) => {
            seat.actor = Some(reader);
            seat.note(&reply);
        }
        None if is_released => seat.next += in_flight,
        None => {}
    }
    stage.finish();
}

/// A new consumer that wants no old events is struck while it skips those that it got when it joined.
pub(crate) fn skip(stage: &mut Stage) {
    stage.open(stage.case.in_flight);
    let late = stage.seat("late", true);
    let line = stage.consume_line(late, "start=latest");
    let actor = stage.world.actor();
    let aimed = stage.aim(actor, &line);
    let landed = stage.land(aimed, |stage| stopped::ring_is_held(stage, Some("late")));
    match landed {
        Some((actor, reply)) => stage.take_seat(late, actor, reply.number("next")),
        None if stage.case.row.point == "commit.after" => {
            stage.seats[late].next = stage.last + 1;
        }
        None => {}
    }
    stage.finish();
}
