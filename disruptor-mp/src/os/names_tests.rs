//! Tests of `names`, each in a directory of its own.

use super::*;
use std::os::unix::fs::{PermissionsExt, symlink};

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
            .create_nameless("ring", 0o666, force_fallback)
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
            .create_nameless("ring", 0o600, force_fallback)
            .expect("create")
            .publish()
            .expect("publish");
        let second = directory
            .create_nameless("ring", 0o600, force_fallback)
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
            .create_nameless("ring", 0o600, false)
            .expect("create"),
    );
    drop(
        directory
            .create_nameless("ring", 0o600, true)
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
    for name in [dead].iter().chain(&others) {
        std::fs::write(directory.path().join(name), "").expect("write");
    }
    let building = directory
        .create_nameless("ring", 0o600, true)
        .expect("create");
    let lock = LockFile::reopen(building.as_fd()).expect("reopen");
    assert!(lock.try_lock(PRODUCER_BYTE).expect("lock"));
    assert_eq!(directory.leftovers("ring").count(), 2);
    assert_eq!(directory.remove_leftovers("ring").expect("remove"), 1);
    assert!(building.is_intact().expect("compare"));
    assert_eq!(names_in(&directory).len(), 1 + others.len());
    // Without its lock a builder cannot be told from a dead one, and finds out.
    drop(lock);
    assert_eq!(directory.remove_leftovers("ring").expect("remove"), 1);
    assert!(!building.is_intact().expect("compare"));
    let (error, _) = building.publish().expect_err("taken away");
    assert_eq!(error.kind(), io::ErrorKind::NotFound);
}

#[test]
fn a_builder_that_died_between_link_and_unlink_left_a_second_name() {
    let (_path, directory) = directory();
    let fd = directory
        .create_nameless("ring", 0o600, false)
        .expect("create")
        .publish()
        .expect("publish");
    let lock = LockFile::reopen(fd.as_fd()).expect("reopen");
    assert!(lock.try_lock(PRODUCER_BYTE).expect("a successor"));
    std::fs::hard_link(
        directory.path().join("ring"),
        directory.path().join(".ring.0123456789abcdef"),
    )
    .expect("link");
    assert_eq!(directory.remove_leftovers("ring").expect("remove"), 1);
    assert_eq!(names_in(&directory), ["ring"]);
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
        assert!(matches!(open("a/b"), Err(OpenError::Io(_))));
    }
    for bad in ["", ".", "..", "a/b", "a\0b", &"x".repeat(238)] {
        assert_eq!(
            directory.path_of(bad).expect_err("bad").kind(),
            io::ErrorKind::InvalidInput
        );
    }
    let long = "x".repeat(237);
    directory
        .create_nameless(&long, 0o600, true)
        .expect("the longest")
        .publish()
        .expect("publish");
    Directory::open(at("file")).expect_err("not a directory");
}

#[test]
fn foreign_files_are_refused_unless_asked_for() {
    let (_path, own) = directory();
    std::fs::write(own.path().join("ring"), "").expect("write");
    // Root can give a file away; for everybody else there are root's files.
    let (directory, leaf, owner) = if effective_user() == 0 {
        std::os::unix::fs::chown(own.path().join("ring"), Some(65_534), None).expect("chown");
        (own, "ring", 65_534)
    } else {
        (Directory::open("/etc").expect("/etc"), "passwd", 0)
    };
    let refused = directory.open_existing(leaf, false, true);
    assert!(matches!(refused, Err(OpenError::ForeignOwner { uid }) if uid == owner));
    directory
        .open_existing(leaf, false, false)
        .expect("asked for");
}
