//! The permissions that a ring needs, and the errors where there is no space for one.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};

use myelon_tests::{World, assert_names, needs_root};

const ACTOR: &str = env!("CARGO_BIN_EXE_actor");
const NOBODY: &str = "user id=65534";

fn mode_of(world: &World) -> u32 {
    fs::metadata(world.path())
        .expect("the ring")
        .permissions()
        .mode()
        & 0o7777
}

#[test]
fn mode_is_what_was_asked_for_whatever_the_umask() {
    for world in World::both(ACTOR) {
        for umask in ["000", "022", "077", "777"] {
            for (option, mode) in [
                ("", 0o600),
                ("mode=660", 0o660),
                ("mode=644", 0o644),
                ("mode=600", 0o600),
            ] {
                let mut tx = world.actor();
                tx.ok(&format!("umask mode={umask}"));
                tx.ok(&format!("produce cap=8 {option}"));
                assert_eq!(mode_of(&world), mode, "umask {umask}, {option}");
                tx.ok("close");
            }
        }
    }
}

#[test]
fn no_permission_is_said_as_such() {
    if !needs_root("no_permission_is_said_as_such") {
        return;
    }
    for world in World::both(ACTOR) {
        // whatever is refused must be refused because of the ring's file, not of its directory
        world.open_directory(0o777);
        let (mut tx, mut rx, mut other) = (world.actor(), world.actor(), world.actor());
        rx.ok(NOBODY);
        other.ok(NOBODY);
        tx.ok("produce cap=8");
        tx.ok("publish n=3");
        let path = world.path().display().to_string();
        let words = [
            "no permission for",
            &path,
            "permission denied",
            "0600",
            "with_mode",
        ];
        assert_names(
            rx.err("PermissionDenied", "consume cap=8 id=reader").text(),
            &words,
        );
        assert_names(
            rx.err("PermissionDenied", "consume cap=8 any-owner").text(),
            &words,
        );
        assert_names(
            other.err("PermissionDenied", "produce cap=8").text(),
            &words,
        );
        assert_names(
            other
                .err("PermissionDenied", "produce cap=8 recreate any-owner")
                .text(),
            &words,
        );
        assert_eq!(tx.ok("count").number("consumers"), 0);
        assert_eq!(tx.ok("publish n=1").number("last"), 3);
        tx.ok("close");
    }
}

#[test]
fn no_permission_for_the_directory_is_said_as_such() {
    if !needs_root("no_permission_for_the_directory_is_said_as_such") {
        return;
    }
    let world = World::mapped_file(ACTOR);
    fs::set_permissions(world.directory(), fs::Permissions::from_mode(0o700)).expect("chmod");
    let (mut tx, mut rx) = (world.actor(), world.actor());
    tx.ok(NOBODY);
    rx.ok(NOBODY);
    for reply in [
        tx.err("PermissionDenied", "produce cap=8"),
        rx.err("PermissionDenied", "consume cap=8"),
    ] {
        assert_names(
            reply.text(),
            &["no permission", &world.directory().display().to_string()],
        );
    }
    // a directory that may be read but not written
    fs::set_permissions(world.directory(), fs::Permissions::from_mode(0o755)).expect("chmod");
    let refused = tx.err("PermissionDenied", "produce cap=8");
    assert_names(
        refused.text(),
        &["no permission", &world.path().display().to_string()],
    );
}

#[test]
fn another_users_ring_is_refused_unless_it_is_asked_for() {
    if !needs_root("another_users_ring_is_refused_unless_it_is_asked_for") {
        return;
    }
    for world in World::both(ACTOR) {
        // whatever is refused must be refused because of the ring's file, not of its directory
        world.open_directory(0o777);
        let (mut tx, mut rx, mut other) = (world.actor(), world.actor(), world.actor());
        tx.ok(NOBODY);
        tx.ok("produce cap=8");
        assert_eq!(fs::metadata(world.path()).expect("the ring").uid(), 65534);
        tx.ok("publish n=3");
        let words = ["a file of user 65534", "allow_any_owner", "left as it is"];
        // root has every permission, but does not use another user's ring by mistake
        assert_names(
            rx.err("ForeignOwner", "consume cap=8 id=reader").text(),
            &words,
        );
        assert_names(other.err("ForeignOwner", "produce cap=8").text(), &words);
        rx.ok("consume cap=8 id=reader any-owner");
        rx.ok("recv n=3").assert_saw(0, 2);
        let refused = other.err("AlreadyExists", "produce cap=8 any-owner");
        assert_names(refused.text(), &[&format!("pid {}", tx.pid())]);
        tx.ok("close");
        rx.err("Closed", "recv");
    }
}

#[test]
fn ring_for_everybody_serves_another_user() {
    if !needs_root("ring_for_everybody_serves_another_user") {
        return;
    }
    for world in World::both(ACTOR) {
        // whatever is refused must be refused because of the ring's file, not of its directory
        world.open_directory(0o777);
        let (mut tx, mut rx) = (world.actor(), world.actor());
        rx.ok(NOBODY);
        tx.ok("produce cap=8 mode=666");
        let refused = rx.err("ForeignOwner", "consume cap=8 id=reader");
        assert_names(refused.text(), &["a file of user 0", "allow_any_owner"]);
        rx.ok("consume cap=8 id=reader any-owner");
        tx.tell("publish n=100");
        rx.ok("recv n=100").assert_saw(0, 99);
        tx.expect_ok();
        tx.ok("close");
    }
}

#[test]
fn no_room_is_said_in_numbers_and_leaves_nothing() {
    if !needs_root("no_room_is_said_in_numbers_and_leaves_nothing") {
        return;
    }
    let world = World::mapped_file(ACTOR);
    let mut tx = world.actor();
    tx.ok("tmpfs size=1m");
    // 64 bytes for each slot: twice the space that there is
    let refused = tx.err("NoSpace", "produce cap=32768");
    let text = refused.text().to_owned();
    assert_names(
        &text,
        &[
            "no space for ring",
            world.name(),
            "make it smaller or free some",
        ],
    );
    let (needed, free) = needed_and_free(&text);
    assert!(needed > 32_768 * 64 && needed < 34_000 * 64, "{text}");
    assert!((900_000..=1 << 20).contains(&free), "{text}");
    assert_eq!(tx.ok("list").text(), "ok entries=0");
    // a ring that fits can be used to its last page
    tx.ok("produce cap=8192");
    assert_eq!(tx.ok("fill max=8192").number("count"), 8192);
    let mut again = world.actor();
    again.err("NotFound", "consume cap=8192");
    tx.ok("close");
    assert_eq!(tx.ok("list").text(), "ok entries=0");
}

#[test]
fn no_room_for_a_second_ring() {
    if !needs_root("no_room_for_a_second_ring") {
        return;
    }
    let world = World::mapped_file(ACTOR);
    let mut tx = world.actor();
    tx.ok("tmpfs size=1m");
    tx.ok("fill-disk bytes=1000000");
    let refused = tx.err("NoSpace", "produce cap=1024");
    let (needed, free) = needed_and_free(refused.text());
    assert!(free < needed && free < 50_000, "{}", refused.text());
    assert_eq!(
        tx.ok("list").text(),
        "ok entries=1",
        "the file that fills the disk"
    );
}

/// The two numbers in the error's text.
fn needed_and_free(text: &str) -> (u64, u64) {
    let numbers: Vec<u64> = text
        .split(|c: char| !c.is_ascii_alphanumeric())
        .filter_map(|word| word.parse().ok())
        .collect();
    let [.., needed, free] = numbers[..] else {
        panic!("two numbers in: {text}");
    };
    (needed, free)
}
