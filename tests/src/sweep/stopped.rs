//! What the other processes can do while one is stopped. A stopped process is alive, so it keeps what it holds.
//! Nothing else is blocked.

use super::stage::{Stage, TWO_CHECKS};

/// The stopped process blocks no other process: two laps go through the ring.
pub(crate) fn nobody_waits(stage: &mut Stage) {
    stage.publish_and_read(2 * stage.capacity);
}

/// The position of a reader holds the ring. The others continue as long as the ring has room, and then the
/// producer reports the reader that holds it.
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
        .err("Timeout", &format!("send {TWO_CHECKS}"));
    if let Some(id) = by {
        crate::assert_names(late.text(), &[&format!("'{id}'")]);
    }
}

/// The producer, or a candidate, is stopped. The readers get what is published and are told of no death. No
/// other process takes the producer's place. A consumer that attaches or leaves does not wait for it.
pub(crate) fn production_is_held(stage: &mut Stage) {
    readers_are_told(stage, "Timeout");
}

/// Like [`production_is_held`], where the readers get another result.
pub(crate) fn readers_are_told(stage: &mut Stage, end: &str) {
    stage.drain(end, TWO_CHECKS);
    let mut passer_by = stage.world.actor();
    passer_by.ok(&format!("consume cap={}", stage.capacity));
    passer_by.ok("leave");
    assert_eq!(stage.rival(), "AlreadyExists");
}
