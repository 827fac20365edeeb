//! Releasing events: by lease, by copy, in bursts, unread.

use super::stage::{SOON, Stage};
use super::{CAPACITY, stopped};

/// Up to how many events a burst of `n` has released after each of its commits.
pub(crate) fn burst_ends(n: i64) -> Vec<i64> {
    let every = (CAPACITY / 8).max(1);
    let mut ends: Vec<i64> = (1..=n / every).map(|count| count * every).collect();
    ends.push(n);
    ends
}

/// A reader is struck while it reads what is in flight.
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
    // what the documentation promises, and not an event more
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
            // nothing but what was not released comes again
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

/// A reader is struck while it reads and keeps what is in flight, or as it releases all of that at once.
pub(crate) fn hold(stage: &mut Stage) {
    let in_flight = stage.case.in_flight;
    stage.open(in_flight);
    let left = stage.find("left");
    let seat = &mut stage.seats[left];
    // nothing is released before all of them are
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

/// A newcomer who wants no old events skips those it got when it joined.
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
