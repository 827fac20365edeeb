//! The program and the rings in different containers: other pid and mount namespaces, with the same shared memory.

use std::process::Command;

use crate::party::{Party, Rings};
use crate::{Run, ends, needs_root, wait_until};

/// Starts a program in namespaces of its own, as a container has them.
const CONTAINER: [&str; 5] = ["unshare", "--pid", "--fork", "--kill-child", "--mount-proc"];

/// The program in another container.
#[track_caller]
fn ends_elsewhere(code: i32, arguments: &[&str]) -> Run {
    let mut command = Command::new(CONTAINER[0]);
    command
        .args(&CONTAINER[1..])
        .arg(env!("CARGO_BIN_EXE_myelon"));
    let run = Run::of(command.args(arguments).output().expect("it starts"));
    assert_eq!(run.code, code, "{arguments:?}: {run:?}");
    run
}

/// Asserts that the ring is seen as it is, by a program for which its processes are others' or its own.
#[track_caller]
fn is_alive(ends: impl Fn(i32, &[&str]) -> Run, rings: &Rings, is_here: bool) {
    let ring = rings.named("ring");
    let all = ["--dir", rings.directory().to_str().expect("UTF-8")];
    let json = ends(0, &["show", &ring, "--json"]).json();
    let consumer = &json["consumers"][0];
    assert_eq!(json["state"], "live");
    assert_eq!(json["producer"]["liveness"], "alive");
    assert_eq!(consumer["presence"], "attached");
    for party in [&json["producer"], consumer] {
        assert_eq!(party["process"]["is_in_this_namespace"], is_here, "{json}");
    }
    let shown = ends(0, &["show", &ring]);
    shown.has(&["live", "alive", "attached"]);
    let is_named = shown
        .out
        .contains("a process of another pid namespace (pid ");
    assert_eq!(is_named, !is_here, "{shown:?}");
    ends(0, &[&["list"][..], &all].concat()).has(&["live"]);
    // nothing that is alive is removed, by force neither
    for forced in [&[][..], &["--force"]] {
        ends(0, &[&["clean"][..], &all, forced].concat()).has(&["nothing to remove"]);
        ends(4, &[&["rm", &ring], forced].concat()).has(&["in use by its producer"]);
    }
    assert!(rings.path("ring").exists());
}

/// Asserts that the dead ring is seen as such, and cleaned.
#[track_caller]
fn is_dead(ends: impl Fn(i32, &[&str]) -> Run, rings: &Rings) {
    let ring = rings.named("ring");
    // the kernel kills a container's processes after its first one has died
    wait_until("the locks are free", || {
        let json = ends(0, &["show", &ring, "--json"]).json();
        json["state"] == "orphaned" && json["consumers"][0]["presence"] == "away"
    });
    let all = ["--dir", rings.directory().to_str().expect("UTF-8")];
    ends(0, &[&["clean"][..], &all].concat()).has(&["ring: kept", "place of consumer \"reader\""]);
    ends(0, &[&["clean", "--force"][..], &all].concat()).has(&["ring: removed"]);
    assert!(!rings.path("ring").exists());
}

fn start(rings: &Rings, by: &[&str]) -> [Party; 2] {
    let mut tx = rings.party_by(by, "ring");
    tx.ok("produce 8");
    let mut rx = rings.party_by(by, "ring");
    rx.ok("consume 8 reader");
    tx.ok("publish 3");
    rx.ok("recv 1");
    [tx, rx]
}

#[test]
fn rings_of_another_container_are_seen_as_they_are() {
    if !needs_root("rings_of_another_container_are_seen_as_they_are") {
        return;
    }
    // the program is in the container
    let rings = Rings::in_shared_memory();
    let mut parties = start(&rings, &[]);
    is_alive(ends_elsewhere, &rings, false);
    is_alive(ends, &rings, true);
    parties[0].ok("publish 1");
    parties[1].ok("recv 3");
    parties.iter_mut().for_each(Party::kill);
    is_dead(ends_elsewhere, &rings);
    // the rings' processes are, each in one of its own
    let mut parties = start(&rings, &CONTAINER);
    is_alive(ends, &rings, false);
    is_alive(ends_elsewhere, &rings, false);
    parties[0].ok("publish 1");
    parties.iter_mut().for_each(Party::kill);
    is_dead(ends, &rings);
}
