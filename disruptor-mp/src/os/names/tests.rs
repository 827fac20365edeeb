//! Tests of `names`, each in a directory of its own.

use super::*;
use std::os::unix::fs::{PermissionsExt, symlink};

const MAGIC: Magic = *b"A RING\0\0";
const PRODUCER_BYTE: u64 = 0;
const KIND: Kind = Kind {
    magic: MAGIC,
    builder_byte: PRODUCER_BYTE,
};

fn directory() -> (tempfile::TempDir, Directory) {
    let path = tempfile::tempdir_in("/dev/shm").expect("directory");
    let directory = Directory::open(path.path()).expect("open");
    (path, directory)
}

fn names_in(directory: &Directory) -> Vec<String> {
    let entries = std::fs::read_dir(directory.path()).expect("read");
    let mut names: Vec<_> = entries
        .map(|e| e.expect("entry").file_name().into_string().expect("utf-8"))
        .collect();
    names.sort();
    names
}

#[test]
fn a_file_appears_complete_and_with_its_mode() {
    for force_fallback in [false, true] {
        let (_path, directory) = directory();
        let file = directory
            .create_nameless("ring", 0o666, KIND, force_fallback)
            .expect("create");
        assert_eq!(file.has_temporary_name(), force_fallback);
        assert_eq!(names_in(&directory).len(), usize::from(force_fallback));
        assert!(
            !directory
                .names_same_file("ring", file.as_fd())
                .expect("compare")
        );
        assert!(file.is_intact().expect("compare"));
        let fd = file.publish().expect("publish");
        assert_eq!(names_in(&directory), ["ring"]);
        assert!(
            directory
                .names_same_file("ring", fd.as_fd())
                .expect("compare")
        );
        let mode = std::fs::metadata(directory.path().join("ring"))
            .expect("stat")
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o666, "the umask must not matter");
        directory.unlink("ring").expect("unlink");
        assert_eq!(
            directory.unlink("ring").expect_err("gone").kind(),
            io::ErrorKind::NotFound
        );
        assert!(
            !directory
                .names_same_file("ring", fd.as_fd())
                .expect("compare")
        );
    }
}

#[test]
fn a_taken_name_gives_the_file_back() {
    for force_fallback in [false, true] {
        let (_path, directory) = directory();
        let first = directory
            .create_nameless("ring", 0o600, KIND, force_fallback)
            .expect("create")
            .publish()
            .expect("publish");
        let second = directory
            .create_nameless("ring", 0o600, KIND, force_fallback)
            .expect("create");
        let (error, second) = second.publish().expect_err("taken");
        assert_eq!(error.kind(), io::ErrorKind::AlreadyExists);
        assert!(
            directory
                .names_same_file("ring", first.as_fd())
                .expect("compare")
        );
        directory.unlink("ring").expect("unlink");
        let second = second.publish().expect("free now");
        assert!(
            directory
                .names_same_file("ring", second.as_fd())
                .expect("compare")
        );
        assert_eq!(names_in(&directory), ["ring"]);
    }
}

#[test]
fn an_unpublished_file_leaves_nothing() {
    let (_path, directory) = directory();
    drop(
        directory
            .create_nameless("ring", 0o600, KIND, false)
            .expect("create"),
    );
    drop(
        directory
            .create_nameless("ring", 0o600, KIND, true)
            .expect("create"),
    );
    assert!(names_in(&directory).is_empty());
}

#[test]
fn leftovers_go_when_nobody_holds_them() {
    let (_path, directory) = directory();
    let dead = ".ring.0123456789abcdef";
    let others = [
        ".ring.0123456789abcde",
        ".ring.0123456789abcdeg",
        ".ring.x.0123456789abcdef",
        "ring",
    ];
    let leave = |name: &str| std::fs::write(directory.path().join(name), "").expect("write");
    leave(dead);
    others.iter().for_each(|name| leave(name));
    // making a nameless file leaves them alone, and does not read the directory
    drop(
        directory
            .create_nameless("ring", 0o600, KIND, false)
            .expect("create"),
    );
    assert_eq!(directory.leftovers("ring").count(), 1);
    let building = directory
        .create_nameless("ring", 0o600, KIND, true)
        .expect("create");
    let lock = LockFile::reopen(building.as_fd()).expect("reopen");
    assert!(lock.try_lock(PRODUCER_BYTE).expect("lock"));
    assert_eq!(directory.leftovers("ring").count(), 1, "its own");
    leave(dead);
    assert_eq!(directory.leftovers("ring").count(), 2);
    assert_eq!(directory.remove_leftovers("ring", KIND).expect("remove"), 1);
    assert!(building.is_intact().expect("compare"));
    assert_eq!(names_in(&directory).len(), 1 + others.len());
    // Without its lock, a builder cannot be distinguished from a dead one, and finds out later.
    drop(lock);
    assert_eq!(directory.remove_leftovers("ring", KIND).expect("remove"), 1);
    assert!(!building.is_intact().expect("compare"));
    let (error, _) = building.publish().expect_err("taken away");
    assert_eq!(error.kind(), io::ErrorKind::NotFound);
}

#[test]
fn a_builder_that_died_between_link_and_unlink_left_a_second_name() {
    let (_path, directory) = directory();
    let at = |name: &str| directory.path().join(name);
    let fd = directory
        .create_nameless("ring", 0o600, KIND, false)
        .expect("create")
        .publish()
        .expect("publish");
    std::fs::write(at("ring"), MAGIC).expect("write");
    std::fs::hard_link(at("ring"), at(".ring.0123456789abcdef")).expect("link");
    let lock = LockFile::reopen(fd.as_fd()).expect("reopen");
    assert!(lock.try_lock(PRODUCER_BYTE).expect("a successor"));
    assert_eq!(directory.remove_leftovers("ring", KIND).expect("remove"), 0);
    drop(lock);
    assert_eq!(directory.remove_leftovers("ring", KIND).expect("remove"), 1);
    assert_eq!(names_in(&directory), ["ring"]);
}

#[test]
fn files_of_the_user_are_no_leftovers() {
    let (_path, directory) = directory();
    let at = |name: &str| directory.path().join(name);
    let files: [(&str, &[u8]); 4] = [
        (".ring.0000000000000000", b"notes"),
        (".ring.1111111111111111", b"A RING"),
        (".ring.2222222222222222", &[0; 8192]),
        (".ring.3333333333333333", b"a text of more than a magic"),
    ];
    for (name, text) in files {
        std::fs::write(at(name), text).expect("write");
    }
    // a ring that also has a name of the user's own
    std::fs::write(at("backup"), MAGIC).expect("write");
    std::fs::hard_link(at("backup"), at(".ring.4444444444444444")).expect("link");
    let before = names_in(&directory);
    assert_eq!(directory.remove_leftovers("ring", KIND).expect("remove"), 0);
    assert_eq!(names_in(&directory), before);
    // the files that a builder leaves at each of its steps
    for (name, text) in [
        ("5555555555555555", &b""[..]),
        ("6666666666666666", &MAGIC),
        ("7777777777777777", b"A RING\0\0\0\0"),
    ] {
        std::fs::write(at(&format!(".ring.{name}")), text).expect("write");
    }
    assert_eq!(directory.remove_leftovers("ring", KIND).expect("remove"), 3);
    assert_eq!(names_in(&directory), before);
}

#[test]
fn second_names_are_those_of_the_same_file() {
    let (_path, directory) = directory();
    let publish = |leaf: &str| {
        let file = directory.create_nameless(leaf, 0o600, KIND, false);
        file.expect("create").publish().expect("publish")
    };
    let at = |name: &str| directory.path().join(name);
    let (ring, _other) = (publish("ring"), publish("other"));
    std::fs::hard_link(at("ring"), at(".ring.0123456789abcdef")).expect("link");
    std::fs::hard_link(at("ring"), at(".ring.fedcba9876543210")).expect("link");
    // none of these was made by a creator: another name, another file, a symlink
    std::fs::hard_link(at("ring"), at("backup")).expect("link");
    std::fs::hard_link(at("other"), at(".ring.0000000000000000")).expect("link");
    symlink("ring", at(".ring.1111111111111111")).expect("symlink");
    directory
        .remove_second_names("ring", ring.as_fd())
        .expect("remove");
    let left = [
        ".ring.0000000000000000",
        ".ring.1111111111111111",
        "backup",
        "other",
        "ring",
    ];
    assert_eq!(names_in(&directory), left);
}

#[test]
fn opens_regular_files_only() {
    let (_path, directory) = directory();
    let at = |name: &str| directory.path().join(name);
    std::fs::write(at("file"), "").expect("write");
    std::fs::create_dir(at("dir")).expect("mkdir");
    symlink("file", at("link")).expect("symlink");
    nix::unistd::mkfifo(&at("fifo"), Mode::S_IRUSR | Mode::S_IWUSR).expect("mkfifo");
    let _socket = std::os::unix::net::UnixListener::bind(at("sock")).expect("bind");
    for read_write in [true, false] {
        let open = |name: &str| directory.open_existing(name, read_write, true);
        open("file").expect("a regular file");
        assert!(matches!(open("none"), Err(OpenError::NotFound)));
        assert!(matches!(open("link"), Err(OpenError::Symlink)));
        assert!(matches!(
            open("dir"),
            Err(OpenError::NotRegular { kind: "directory" })
        ));
        assert!(matches!(
            open("fifo"),
            Err(OpenError::NotRegular { kind: "FIFO" })
        ));
        assert!(matches!(
            open("sock"),
            Err(OpenError::NotRegular { kind: "socket" })
        ));
        assert!(matches!(open("a/b"), Err(OpenError::Failed(_))));
    }
    for bad in ["", ".", "..", "a/b", "a\0b", &"x".repeat(238)] {
        assert_eq!(
            directory.path_of(bad).expect_err("bad").kind(),
            io::ErrorKind::InvalidInput
        );
    }
    let long = "x".repeat(237);
    directory
        .create_nameless(&long, 0o600, KIND, true)
        .expect("the longest")
        .publish()
        .expect("publish");
    Directory::open(&at("file")).expect_err("not a directory");
}

#[test]
fn foreign_files_are_refused_unless_asked_for() {
    let (_path, own) = directory();
    std::fs::write(own.path().join("ring"), "").expect("write");
    // Root can give a file away; other users test with a file of root's.
    let (directory, leaf, owner) = if effective_user() == 0 {
        std::os::unix::fs::chown(own.path().join("ring"), Some(65_534), None).expect("chown");
        (own, "ring", 65_534)
    } else {
        (
            Directory::open(Path::new("/etc")).expect("/etc"),
            "passwd",
            0,
        )
    };
    let refused = directory.open_existing(leaf, false, true);
    assert!(matches!(refused, Err(OpenError::ForeignOwner { uid }) if uid == owner));
    directory
        .open_existing(leaf, false, false)
        .expect("asked for");
}
