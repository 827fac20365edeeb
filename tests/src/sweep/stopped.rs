//! What the others can do while somebody is stopped: a stopped process is alive, so it keeps what it holds, and nothing
//! else stands still.

use super::stage::{Stage, TWO_LOOKS};

/// Somebody stands in nobody's way: two laps go through the ring.
pub(crate) fn nobody_waits(stage: &mut Stage) {
    stage.publish_and_read(2 * stage.capacity);
}

/// This reader's place holds the ring: the others go on for as long as it has room, and the producer is told who holds it.
pub(crate) fn ring_is_held(stage: &mut Stage, by: Option<&str>) {
    let most = stage.last + 2 * stage.capacity;
    loop {
        let filled = stage.producer().ok("fill");
        stage.last = filled.number("last");
        assert!(
            stage.last <= most,
            "nobody holds the ring: {}",
            filled.text()
        );
        if filled.number("count") == 0 {
            break;
        }
        stage.read_to(stage.last);
    }
    let late = stage
        .producer()
        .err("Timeout", &format!("send {TWO_LOOKS}"));
    if let Some(id) = by {
        crate::assert_names(late.text(), &[&format!("'{id}'")]);
    }
}

/// The producer, or whoever is about to be it, is stopped: the readers have what is published and are not told of a death;
/// nobody takes its place; who comes or goes does not wait for it.
pub(crate) fn production_is_held(stage: &mut Stage) {
    readers_are_told(stage, "Timeout");
}

/// As [`production_is_held`], where the readers are told something else.
pub(crate) fn readers_are_told(stage: &mut Stage, end: &str) {
    stage.drain(end, TWO_LOOKS);
    let mut passer_by = stage.world.actor();
    passer_by.ok(&format!("consume cap={}", stage.capacity));
    passer_by.ok("leave");
    assert_eq!(stage.rival(), "AlreadyExists");
}
