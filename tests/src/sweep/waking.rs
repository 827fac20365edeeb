//! Waking sleepers. A waker that is struck after it has taken a bit or a wish away, and before it has called
//! the kernel, leaves the sleepers to their liveness interval. They continue after it, whether the waker is
//! dead or stopped.

use super::stage::{SOON, Stage};
use super::{CAPACITY, Flaw, ending, stopped};
use crate::waiters::{NEVER_MS, wait_for_sleepers, wait_for_wish, woken};

/// The liveness interval of sleepers whose waker may be lost, long enough that they sleep in the kernel by then.
const INTERVAL_MS: u64 = 200;

/// The two readers that have read everything and sleep. A third one has the events in flight to read.
const SLEEPERS: [&str; 2] = ["left", "guest"];

fn fall_asleep(stage: &mut Stage, line: &str) {
    for name in SLEEPERS {
        let index = stage.find(name);
        let n = stage.last + 1 - stage.seats[index].next;
        let seat = &mut stage.seats[index];
        seat.tell(&format!("recv n={n} {SOON}"));
        seat.collect();
        seat.tell(line);
    }
    wait_for_sleepers(&stage.world, SLEEPERS.len() as u32);
}

/// The liveness interval of readers whose waker may be lost.
fn interval_ms(stage: &Stage) -> u64 {
    match stage.case.flaw {
        Some(Flaw::NeverLooksUp) => NEVER_MS,
        _ => INTERVAL_MS,
    }
}

/// Waits until both sleepers have continued, each with this result if one is given.
fn collect(stage: &mut Stage, end: Option<&str>) {
    for name in SLEEPERS {
        let index = stage.find(name);
        let reply = woken(name, || stage.seats[index].collect());
        match end {
            Some(end) => assert_eq!(reply.word("end"), end, "{name}: {}", reply.text()),
            None => assert_eq!(reply.number("count"), 1, "{name}: {}", reply.text()),
        }
    }
}

/// The producer is struck as it wakes the consumers that wait for an event, which is published by then. They
/// wait in their own calls, in sets of rings, or as tasks.
pub(crate) fn by_publishing(stage: &mut Stage) {
    stage.reader_interval_ms = interval_ms(stage);
    let (n, line) = match stage.case.row.role {
        "batching-producer" => (stage.case.in_flight, "batch"),
        _ => (1, "publish"),
    };
    let by = match stage.case.row.role {
        "set-waker" => "by=set",
        "task-waker" => "by=task",
        _ => "",
    };
    let unread = CAPACITY.min(stage.case.in_flight + n) - n;
    stage.open_for_role(unread.max(1));
    fall_asleep(stage, &format!("recv n=1 {by} {SOON}"));
    let tx = stage.tx.take().expect("a producer");
    let aimed = stage.aim(tx, &format!("{line} n={n} {SOON}"));
    stage.last += n;
    stage.is_quiet = true;
    let mut have_got_on = false;
    let landed = stage.land(aimed, |stage| {
        collect(stage, None);
        have_got_on = true;
        stopped::production_is_held(stage);
    });
    if !have_got_on {
        collect(stage, None);
    }
    match landed {
        Some((tx, reply)) => {
            assert_eq!(reply.number("last"), stage.last);
            stage.tx = Some(tx);
        }
        None => {
            stage.drain_all("ProducerDead");
            stage.succeed();
            stage.one_and_no_more();
        }
    }
    stage.finish();
}

/// The producer is struck as it wakes the waiting consumers because it has closed the ring.
pub(crate) fn by_closing(stage: &mut Stage) {
    stage.reader_interval_ms = INTERVAL_MS;
    stage.open(stage.case.in_flight);
    fall_asleep(stage, &format!("drain {SOON}"));
    let tx = stage.tx.take().expect("a producer");
    let aimed = stage.aim(tx, "close");
    stage.is_quiet = true;
    let mut have_got_on = false;
    stage.land(aimed, |stage| {
        collect(stage, Some("Closed"));
        have_got_on = true;
    });
    if !have_got_on {
        collect(stage, Some("Closed"));
    }
    stage.drain_all("Closed");
    ending::start_afresh(stage);
}

/// A candidate is struck as it wakes the consumers that slept through the death, so that they poll again.
pub(crate) fn by_taking_over(stage: &mut Stage) {
    stage.open(stage.case.in_flight);
    stage.kill_producer();
    // a bit stays set for the next waker
    stage.drain_all("ProducerDead");
    let line = stage.produce_line("");
    let candidate = stage.world.actor();
    let aimed = stage.aim(candidate, &line);
    match stage.land(aimed, stopped::production_is_held) {
        Some((tx, reply)) => {
            assert_eq!(reply.number("next"), stage.last + 1, "{}", reply.text());
            stage.tx = Some(tx);
        }
        None => {
            stage.drain_all("ProducerDead");
            stage.succeed();
        }
    }
    stage.one_and_no_more();
    stage.finish();
}

/// A consumer is struck as it wakes the producer, which waits for space.
pub(crate) fn by_releasing(stage: &mut Stage) {
    let (role, point, in_flight) = (
        stage.case.row.role,
        stage.case.row.point,
        stage.case.in_flight,
    );
    stage.producer_interval_ms = match point {
        // the producer has been woken by then
        "wake.space_woken" => NEVER_MS,
        _ => interval_ms(stage),
    };
    stage.open(CAPACITY);
    let left = stage.find("left");
    let reader = stage.seats[left].actor.take().expect("a reader");
    // the consumer that is struck is the last one that the producer waits for
    stage.read_to(stage.last - in_flight);
    stage.producer().tell(&format!("publish n=1 {SOON}"));
    wait_for_wish(&stage.world);
    let asked_for = CAPACITY / 4;
    let line = match role {
        "batch-releaser" => format!("recv-batches n={asked_for} {SOON}"),
        "leaver" => String::from("leave"),
        _ => format!("recv n={asked_for} {SOON}"),
    };
    if role == "batch-releaser" {
        stage.seats[left].redelivery = (CAPACITY / 8).max(1);
    }
    let aimed = stage.aim(reader, &line);
    stage.is_quiet = true;
    let mut has_got_on = false;
    let landed = stage.land(aimed, |stage| {
        producer_gets_on(stage);
        has_got_on = true;
        stage.read_to(stage.last);
        match role {
            "leaver" => stopped::nobody_waits(stage),
            _ => stopped::ring_is_held(stage, Some("left")),
        }
    });
    if !has_got_on {
        producer_gets_on(stage);
    }
    let seat = &mut stage.seats[left];
    match landed {
        _ if role == "leaver" => seat.is_gone = true,
        Some((reader, reply)) => {
            seat.actor = Some(reader);
            seat.note(&reply);
        }
        // the consumer had released what the producer asked for
        None => seat.next += asked_for,
    }
    stage.finish();
}

fn producer_gets_on(stage: &mut Stage) {
    let reply = woken("the producer", || stage.producer().expect_ok());
    stage.last += 1;
    assert_eq!(reply.number("last"), stage.last, "{}", reply.text());
}
