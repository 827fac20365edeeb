//! Looking changes nothing: each command that only looks, at each kind of file, by a user that may read the files and
//! no more. The table has the exit code and the word of each, as `docs/tool.md` has them.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::SystemTime;

use disruptor_mp::CountersFile;
use nix::unistd::geteuid;
use serde_json::Value;

use crate::party::{Party, Rings};
use crate::{Run, copy_of_program};

/// A file of the directory, and what the commands say about it.
struct Kind {
    file: &'static str,
    /// The state in the listings; `None` for what is no ring.
    state: Option<&'static str>,
    /// The exit code of `show`.
    show: i32,
    /// The exit code of `lag` and `stat`.
    lag: i32,
    /// The exit code of `tail` and `record`.
    events: i32,
    /// The word of an error.
    word: &'static str,
    /// What `clean` would do with it; `None` if it says nothing about it.
    clean: Option<&'static str>,
}

const fn readable(file: &'static str, state: &'static str, clean: &'static str) -> Kind {
    Kind {
        file,
        state: Some(state),
        show: 0,
        lag: 0,
        events: 0,
        word: "",
        clean: Some(clean),
    }
}

const fn ring(file: &'static str, word: &'static str, clean: &'static str) -> Kind {
    Kind {
        state: Some(word),
        clean: Some(clean),
        ..no_ring(file, word)
    }
}

const fn no_ring(file: &'static str, word: &'static str) -> Kind {
    Kind {
        file,
        state: None,
        show: 3,
        lag: 3,
        events: 3,
        word,
        clean: None,
    }
}

const MAKING: &str = ".made.0123456789abcdef";
const LEFT: &str = ".left.0123456789abcdef";

const KINDS: [Kind; 17] = [
    readable("live", "live", "in-use"),
    readable("dead", "orphaned", "kept"),
    readable("ended", "closed", "kept"),
    readable("being-removed", "locked", "in-use"),
    Kind {
        show: 1,
        lag: 1,
        events: 1,
        word: "implausible",
        ..readable("lies", "live", "in-use")
    },
    Kind {
        events: 3,
        word: "in-doubt",
        ..readable("copy", "orphaned", "kept")
    },
    ring("damaged", "damaged", "kept"),
    ring("damaged-in-use", "damaged", "in-use"),
    ring("newer", "version", "kept"),
    ring(MAKING, "creating", "in-use"),
    ring(LEFT, "half-made", "would-remove"),
    no_ring("unreadable", "unreadable"),
    no_ring("foreign", "foreign"),
    no_ring("folder", "foreign"),
    no_ring("link", "foreign"),
    no_ring("counters", "counters"),
    no_ring("newer-counters", "counters"),
];

/// The directory, and the processes that are in its rings.
struct Scene {
    rings: Rings,
    /// Another directory, which the user of the program may write.
    elsewhere: tempfile::TempDir,
    /// The program, where that user may execute it.
    program: PathBuf,
    _parties: Vec<Party>,
    _counters: CountersFile,
}

impl Scene {
    fn new() -> Self {
        let rings = Rings::new();
        let mut parties = vec![
            rings.party_that("live", &["produce 8 observers", "publish 3"]),
            rings.party_that("live", &["consume 8 reader", "recv 1"]),
        ];
        rings
            .party_that("dead", &["produce 8 observers", "publish 2"])
            .kill();
        let late = ["produce 8 expect=late", "publish 2", "close"];
        rings.party_that("ended", &late);
        rings.party_that("being-removed", &["produce 8"]).kill();
        parties.push(rings.party_that("being-removed", &["lock"]));
        for ring in ["lies", "damaged-in-use"] {
            parties.push(rings.party_that(ring, &["produce 8", "publish 3"]));
            parties.push(rings.party_that(ring, &["consume 8 reader"]));
        }
        let write = |name: &str, at: u64, bytes: &[u8]| {
            let file = fs::OpenOptions::new().write(true).open(rings.path(name));
            file.and_then(|file| file.write_all_at(bytes, at))
                .expect("write");
        };
        // the position of the first consumer, beyond what is published
        write("lies", 4096 + 1024, &99_i64.to_ne_bytes());
        write("damaged-in-use", 300, b"?");
        for name in ["copy", "damaged", "newer", "unreadable", "foreign"] {
            fs::copy(rings.path("dead"), rings.path(name)).expect("copy");
        }
        write("damaged", 300, b"?");
        write("newer", 12, &9_u32.to_ne_bytes());
        write("foreign", 0, b"ELF");
        let making = format!("half-make {MAKING}");
        parties.push(rings.party_that("x", &[&making]));
        let left = format!("half-make {LEFT}");
        rings.party_that("x", &[&left]).kill();
        let counters = CountersFile::create(rings.path("counters")).expect("a file");
        fs::copy(rings.path("counters"), rings.path("newer-counters")).expect("copy");
        write("newer-counters", 8, &3_u32.to_ne_bytes());
        fs::create_dir(rings.path("folder")).expect("a directory");
        std::os::unix::fs::symlink("live", rings.path("link")).expect("a link");
        let set_mode = |path: &Path, mode: u32| {
            fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("chmod");
        };
        for kind in &KINDS {
            match kind.file {
                "link" => {}
                "folder" => set_mode(&rings.path("folder"), 0o755),
                "unreadable" if geteuid().is_root() => set_mode(&rings.path("unreadable"), 0o600),
                "unreadable" => set_mode(&rings.path("unreadable"), 0),
                file => set_mode(&rings.path(file), 0o644),
            }
        }
        let elsewhere = tempfile::tempdir().expect("a directory");
        let program = copy_of_program(elsewhere.path());
        set_mode(elsewhere.path(), 0o777);
        set_mode(rings.directory(), 0o755);
        Self {
            rings,
            elsewhere,
            program,
            _parties: parties,
            _counters: counters,
        }
    }

    /// The program, run by a user that may read the files: if this is root, by another one.
    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        command.args(arguments).stdin(Stdio::null());
        if geteuid().is_root() {
            command.uid(65534).gid(65534);
        }
        command
    }

    /// Moves the file to a directory of its own.
    fn take(&self, file: &str) -> Rings {
        let alone = Rings::new();
        fs::set_permissions(alone.directory(), fs::Permissions::from_mode(0o755)).expect("chmod");
        fs::rename(self.rings.path(file), alone.path(file)).expect("rename");
        alone
    }

    /// Everything that can be known of the directory's files, by name.
    fn contents(&self) -> BTreeMap<String, (Vec<u8>, SystemTime, u64, u32, u64)> {
        let entries = fs::read_dir(self.rings.directory()).expect("read");
        let all = entries.map(|entry| {
            let entry = entry.expect("an entry");
            let found = entry.metadata().expect("its status");
            let bytes = match found.is_file() && entry.file_name() != "unreadable" {
                true => fs::read(entry.path()).expect("read"),
                false => Vec::new(),
            };
            let changed = found.modified().expect("its time");
            let known = (bytes, changed, found.ino(), found.mode(), found.nlink());
            (entry.file_name().into_string().expect("UTF-8"), known)
        });
        all.collect()
    }

    /// Runs the command plainly and with JSON. Asserts that it ends with this code, and that the directory is the same
    /// before and after. Returns the run with JSON.
    #[track_caller]
    fn ends(&self, code: i32, arguments: &[&str]) -> Run {
        let before = self.contents();
        let run = |arguments: &[&str]| {
            let run = Run::of(self.command(arguments).output().expect("it starts"));
            assert_eq!(run.code, code, "{arguments:?}: {run:?}");
            assert!(self.contents() == before, "{arguments:?} changed something");
            run
        };
        run(arguments);
        run(&[arguments, &["--json"]].concat())
    }

    /// As `ends`; asserts that an error, or the finding of a command but `show`, is one line with this word.
    #[track_caller]
    fn says(&self, code: i32, word: &str, arguments: &[&str]) {
        let run = self.ends(code, arguments);
        let is_told = match code {
            1 => arguments[0] != "show",
            code => code == 3,
        };
        if is_told {
            let error: Value = serde_json::from_str(&run.err).expect("an object");
            assert_eq!(error["error"], word, "{arguments:?}: {run:?}");
        }
        assert!(code != 3 || run.out.is_empty(), "{run:?}");
    }
}

/// The words of each ring under this key of an array.
fn words_of(json: &Value, key: &str) -> BTreeMap<String, String> {
    let rings = json.as_array().expect("an array").iter();
    let text = |value: &Value| value.as_str().expect("a text").to_owned();
    // a file that may not be read is not called a ring
    rings
        .filter(|ring| !ring["ring"].is_null())
        .map(|ring| (text(&ring["ring"]), text(&ring[key])))
        .collect()
}

fn words(of: impl Fn(&Kind) -> Option<&'static str>) -> BTreeMap<String, String> {
    let kinds = KINDS.iter().filter_map(|kind| Some((kind.file, of(kind)?)));
    kinds
        .map(|(file, word)| (file.to_owned(), word.to_owned()))
        .collect()
}

#[test]
fn no_command_that_looks_changes_a_ring_of_any_kind() {
    let scene = Scene::new();
    for kind in &KINDS {
        let ring = &*scene.rings.named(kind.file);
        scene.says(kind.show, kind.word, &["show", ring, "--interval", "5ms"]);
        scene.says(kind.lag, kind.word, &["lag", ring]);
        scene.says(kind.lag, kind.word, &["stat", ring, "--interval", "5ms"]);
        let briefly = ["--from", "oldest", "--for", "30ms"];
        scene.says(
            kind.events,
            kind.word,
            &[&["tail", ring][..], &briefly].concat(),
        );
        let file = scene.elsewhere.path().join("recording");
        let forced = ["record", ring, file.to_str().expect("UTF-8"), "--force"];
        scene.says(kind.events, kind.word, &[&forced[..], &briefly].concat());
        assert_eq!(file.exists(), kind.events != 3, "{}", kind.file);
        let _ = fs::remove_file(&file);
    }
    let missing = &*scene.rings.named("missing");
    for command in ["show", "lag", "stat", "tail"] {
        scene.says(3, "missing", &[command, missing]);
    }
}

#[test]
fn no_command_that_looks_at_all_rings_changes_one() {
    let scene = Scene::new();
    let all = ["--dir", scene.rings.directory().to_str().expect("UTF-8")];
    let ends = |code, arguments: &[&str]| scene.ends(code, &[arguments, &all].concat());
    let states = words(|kind| kind.state);
    // those that are damaged, of another version or implausible are a finding
    let list = ends(1, &["list"]).json();
    assert_eq!(words_of(&list, "state"), states);
    let top = ends(1, &["top", "--count", "1", "--interval", "5ms"]).json();
    assert_eq!(words_of(&top, "state"), states);
    let clean = ends(0, &["clean", "--dry-run"]).json();
    assert_eq!(words_of(&clean, "result"), words(|kind| kind.clean));
    for (json, key) in [(&list, "state"), (&top, "state"), (&clean, "result")] {
        let others = json.as_array().expect("an array").iter();
        let others: Vec<_> = others.filter(|it| it["ring"].is_null()).collect();
        let [other] = &others[..] else {
            panic!("{json}");
        };
        assert_eq!(other[key], "unreadable", "{json}");
        let path = other["path"].as_str().expect("a path");
        assert!(path.ends_with("/unreadable"), "{json}");
    }
    let forced = words_of(
        &ends(0, &["clean", "--dry-run", "--force"]).json(),
        "result",
    );
    for (ring, result) in words(|kind| kind.clean) {
        let forced = &forced[&ring];
        assert_eq!(forced == "in-use", result == "in-use", "{ring}: {forced}");
    }
    // damaged rings are a finding
    let doctor = ends(1, &["doctor"]).json();
    let last = doctor.as_array().expect("an array").last().expect("one");
    assert_eq!(
        (&last["check"], &last["level"]),
        (&"rings".into(), &"warning".into())
    );
    let before = scene.contents();
    let text = scraped(&scene, &all);
    assert!(scene.contents() == before, "serve changed something");
    for (ring, state) in &states {
        let named = format!("ring=\"{ring}\"");
        let is_ring = |line: &&str| line.contains(&named);
        let word = match KINDS.iter().any(|kind| kind.file == ring && kind.show != 3) {
            true => format!("state=\"{state}\""),
            false => format!("reason=\"{state}\""),
        };
        let mut lines = text.lines().filter(is_ring);
        assert!(
            lines.any(|line| line.contains(&word)),
            "{ring} {word}: {text}"
        );
    }
    for kind in KINDS.iter().filter(|kind| kind.state.is_none()) {
        assert!(!text.contains(&format!("\"{}\"", kind.file)), "{text}");
    }
}

#[test]
fn rm_says_of_each_kind_what_would_become_of_it() {
    let scene = Scene::new();
    for kind in &KINDS {
        let ring = &*scene.rings.named(kind.file);
        for force in [&[][..], &["--force"]] {
            let result = match kind.clean {
                Some("kept") if !force.is_empty() => Some("would-remove"),
                result => result,
            };
            let rm = [&["rm", ring][..], force].concat();
            let dry = [&rm[..], &["--dry-run"]].concat();
            let Some(result) = result else {
                scene.says(3, kind.word, &dry);
                scene.says(3, kind.word, &rm);
                continue;
            };
            let code = match result {
                "would-remove" => 0,
                _ => 4,
            };
            assert_eq!(scene.ends(code, &dry).json()["result"], result, "{ring}");
            if code == 4 {
                assert_eq!(scene.ends(code, &rm).json()["result"], result, "{ring}");
            }
        }
    }
    scene.says(3, "missing", &["rm", &scene.rings.named("missing")]);
}

#[test]
fn a_listing_ends_with_1_where_a_ring_needs_attention() {
    let scene = Scene::new();
    for kind in &KINDS {
        let alone = scene.take(kind.file);
        let needs_attention =
            kind.word == "implausible" || matches!(kind.state, Some("damaged" | "version"));
        for command in ["list", "top"] {
            let arguments = [command, "--dir", alone.directory().to_str().expect("UTF-8")];
            let run = Run::of(scene.command(&arguments).output().expect("it starts"));
            let code = i32::from(needs_attention);
            assert_eq!(run.code, code, "{command} {}: {run:?}", kind.file);
        }
    }
}

#[test]
fn files_that_may_not_be_read_are_counted_also_where_nothing_else_is() {
    let scene = Scene::new();
    let alone = scene.take("unreadable");
    for (command, rest) in [
        ("list", "no rings in "),
        ("top", "no rings\n"),
        ("clean", "nothing to remove in "),
    ] {
        let arguments = [command, "--dir", alone.directory().to_str().expect("UTF-8")];
        let run = Run::of(scene.command(&arguments).output().expect("it starts"));
        run.has(&[
            rest,
            "files that may be rings, but may not be read by this user: 1\n",
        ]);
        assert_eq!(run.code, 0, "{run:?}");
    }
}

/// What `serve` answers to one request. A signal ends it afterwards.
fn scraped(scene: &Scene, all: &[&str]) -> String {
    let arguments = [&["serve", "--listen", "127.0.0.1:0"], all].concat();
    let mut command = scene.command(&arguments);
    let mut child = command.stdout(Stdio::piped()).spawn().expect("it starts");
    let mut line = String::new();
    let output = child.stdout.take().expect("piped");
    BufReader::new(output).read_line(&mut line).expect("a line");
    let (_, address) = line.split_once("http://").expect("an address");
    let (address, _) = address.split_once('/').expect("a path");
    let mut client = TcpStream::connect(address).expect("connect");
    client
        .write_all(b"GET /metrics HTTP/1.1\r\n\r\n")
        .expect("write");
    let mut text = String::new();
    client.read_to_string(&mut text).expect("an answer");
    let pid = nix::unistd::Pid::from_raw(child.id() as i32);
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM).expect("signal");
    assert_eq!(child.wait().expect("it ends").code(), Some(0));
    text
}

#[test]
fn the_page_of_the_program_has_the_words() {
    let page = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/tool.md"));
    let page = page.expect("the page");
    for kind in &KINDS {
        let words = kind.state.into_iter().chain(kind.clean).chain([kind.word]);
        for word in words.filter(|word| !word.is_empty()) {
            assert!(page.contains(&format!("`{word}`")), "{word}");
        }
        for code in [kind.show, kind.lag, kind.events] {
            assert!(page.contains(&format!("\n| {code} | ")), "{code}");
        }
    }
}

#[test]
fn control_a_change_of_any_file_is_noticed() {
    let scene = Scene::new();
    let before = scene.contents();
    assert_eq!(before.len(), KINDS.len());
    assert!(scene.contents() == before);
    let path = scene.rings.path("dead");
    let found = fs::metadata(&path).expect("its status");
    let file = fs::OpenOptions::new()
        .write(true)
        .open(&path)
        .expect("open");
    file.write_all_at(b"?", 4096).expect("write");
    file.set_modified(found.modified().expect("its time"))
        .expect("set");
    assert!(scene.contents() != before, "one byte");
    let before = scene.contents();
    fs::remove_file(scene.rings.path("foreign")).expect("remove");
    assert!(scene.contents() != before, "one name");
}
