//! The fuzz drivers without a fuzzer: the committed corpus, then random inputs, on any compiler.
//!
//! Each target runs on a thread of its own under a watchdog, and every mapping of a file lies between guard
//! pages. When a process dies, the input that was running is in `last-<target>` of the build's temporary
//! directory. `MYELON_FUZZ_SEED` repeats a random run.
#![cfg(all(target_os = "linux", not(miri)))]

use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::Duration;

use disruptor_mp::{MmapConsumer, MmapProducer, MmapTransportLayout};
use myelon_tests::fuzz::{self, TARGETS};

#[path = "../src/guards.rs"]
mod guards;

/// The least number of files in a corpus.
const FILES_MIN: usize = 10;
/// The least number of files of each kind in a codec's corpus.
const KIND_MIN: usize = 3;
/// Random inputs for each target.
const RANDOM_INPUTS: u64 = 400;
const INPUT_BYTES_MAX: usize = 600;
/// How long one input may take: far longer than any input needs.
const PATIENCE: Duration = Duration::from_secs(30);

#[test]
fn header() {
    replay("header");
}

#[test]
fn attach_raw() {
    replay("attach_raw");
}

#[test]
fn attach_mutated() {
    replay("attach_mutated");
}

#[test]
fn interleaved() {
    replay("interleaved");
}

#[test]
fn counters_file() {
    replay("counters_file");
}

#[test]
fn frames() {
    replay("frames");
}

#[test]
fn codec_bincode() {
    replay("codec_bincode");
}

#[test]
fn codec_postcard() {
    replay("codec_postcard");
}

#[test]
fn codec_rkyv() {
    replay("codec_rkyv");
}

#[test]
fn codec_flatbuffers() {
    replay("codec_flatbuffers");
}

#[test]
fn every_target_has_a_binary_and_a_corpus() {
    let mut expected = TARGETS.map(|(name, _)| name);
    expected.sort_unstable();
    assert_eq!(names(&repository().join("fuzz/corpus")), expected);
    assert_eq!(
        names(&repository().join("fuzz/fuzz_targets")),
        expected.map(|name| format!("{name}.rs"))
    );
}

/// The kinds of input that a codec's corpus lacks: bytes that are decoded, bytes that are refused, messages to encode.
fn lacking(target: &str, files: &[Vec<u8>]) -> Vec<String> {
    let kinds = [Some(true), Some(false), None].map(|kind| {
        let found = files.iter().map(|bytes| fuzz::is_decoded(target, bytes));
        (kind, found.filter(|found| *found == kind).count())
    });
    let few = kinds.iter().filter(|(_, count)| *count < KIND_MIN);
    few.map(|(kind, count)| format!("{target}: {count} of {kind:?}"))
        .collect()
}

/// A corpus in a format other than the present one would be refused as a whole, and would test only the first field.
#[test]
fn corpora_of_codecs_have_bytes_that_are_decoded_and_bytes_that_are_refused() {
    let codecs = TARGETS.map(|(name, _)| name);
    let codecs = codecs.iter().filter(|name| name.starts_with("codec_"));
    let mut count = 0;
    for target in codecs {
        let files = corpus(target);
        assert_eq!(lacking(target, &files), [""; 0]);
        count += 1;

        // negative control: cut to its first two bytes, no input is decoded
        let mut cut = files.clone();
        cut.retain(|bytes| fuzz::is_decoded(target, bytes).is_some());
        cut.iter_mut().for_each(|bytes| bytes.truncate(2));
        let found = lacking(target, &cut);
        assert!(
            found.iter().any(|it| it.contains("Some(true)")),
            "{found:?}"
        );
        println!("fuzz control caught: {target}, a corpus that is refused");
    }
    assert_eq!(count, 4);
}

/// The memory next to a ring's mapping is inaccessible.
#[test]
fn every_mapping_lies_between_guards() {
    let directory = tempfile::tempdir().expect("a directory");
    let layout = MmapTransportLayout::new(directory.path(), "guarded");
    let _tx = MmapProducer::<u64>::create(&layout, 64, || 0).expect("create");
    let _rx = MmapConsumer::<u64>::attach(&layout, 64, "reader").expect("attach");
    guards::assert_guarded(&format!("{}", directory.path().display()), 3);
}

/// Negative controls: the corpus alone must reveal each of three planted mistakes.
#[test]
fn planted_mistakes_are_noticed() {
    for (plant, signal, text) in [
        ("read", Some(libc::SIGSEGV), ""),
        ("loop", Some(libc::SIGABRT), "interleaved: no end after"),
        ("panic", None, "planted:"),
    ] {
        let output = Command::new(std::env::current_exe().expect("this program"))
            .args(["--exact", "interleaved", "--nocapture"])
            .env("MYELON_FUZZ_PLANT", plant)
            .env("MYELON_FUZZ_PATIENCE_MS", "3000")
            .output()
            .expect("it starts");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success(), "{plant} was not noticed");
        assert_eq!(output.status.signal(), signal, "{plant}: {said}");
        assert!(said.contains(text), "{plant}: {said}");
        println!("fuzz control caught: {plant}");
    }
}

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// The visible names in a directory, sorted.
fn names(directory: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(directory)
        .unwrap_or_else(|error| panic!("{}: {error}", directory.display()));
    let mut names: Vec<String> = entries
        .map(|entry| {
            entry
                .expect("an entry")
                .file_name()
                .into_string()
                .expect("utf-8")
        })
        .filter(|name| !name.starts_with('.'))
        .collect();
    names.sort_unstable();
    names
}

/// A target's files.
fn corpus(target: &str) -> Vec<Vec<u8>> {
    let directory = repository().join("fuzz/corpus").join(target);
    names(&directory)
        .iter()
        .map(|name| std::fs::read(directory.join(name)).expect("a corpus file"))
        .collect()
}

fn replay(target: &'static str) {
    let files = corpus(target);
    assert!(files.len() >= FILES_MIN, "{target}: {} files", files.len());
    let seed = match std::env::var("MYELON_FUZZ_SEED") {
        Ok(text) => text.parse().expect("MYELON_FUZZ_SEED is a number"),
        Err(_) => fastrand::u64(..),
    };
    println!("fuzz seed: {target} MYELON_FUZZ_SEED={seed}");
    let count = files.len();
    run_watched(target, move |run| {
        files.iter().for_each(|bytes| run(bytes));
        let mut random = fastrand::Rng::with_seed(seed);
        for _ in 0..RANDOM_INPUTS {
            run(&random_input(&mut random, &files));
        }
    });
    println!("fuzz target: {target} files={count} random={RANDOM_INPUTS}");
}

/// Random bytes, or a corpus file with a few bytes changed, removed or inserted.
fn random_input(random: &mut fastrand::Rng, files: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = match random.bool() {
        true => Vec::new(),
        false => files[random.usize(..files.len())].clone(),
    };
    if bytes.is_empty() {
        bytes.resize(random.usize(..INPUT_BYTES_MAX), 0);
        random.fill(&mut bytes);
        return bytes;
    }
    for _ in 0..random.usize(1..8) {
        let at = random.usize(..bytes.len());
        match random.u8(..4) {
            0 => bytes.insert(at, random.u8(..)),
            1 if bytes.len() > 1 => {
                bytes.remove(at);
            }
            2 => bytes[at] ^= 1 << random.u8(..8),
            _ => bytes[at] = random.u8(..),
        }
    }
    bytes
}

/// Runs inputs on a thread, and aborts the process when an input does not end.
fn run_watched(target: &'static str, play: impl FnOnce(&dyn Fn(&[u8])) + Send + 'static) {
    let patience = match std::env::var("MYELON_FUZZ_PATIENCE_MS") {
        Ok(text) => Duration::from_millis(text.parse().expect("a number of milliseconds")),
        Err(_) => PATIENCE,
    };
    let last = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("last-{target}"));
    let (steps, watched) = channel();
    let thread = std::thread::spawn(move || {
        play(&|bytes| {
            std::fs::write(&last, bytes).expect("the last input");
            fuzz::run(target, bytes);
            steps.send(()).expect("the watchdog");
        });
    });
    loop {
        match watched.recv_timeout(patience) {
            Ok(()) => {}
            Err(RecvTimeoutError::Disconnected) => break,
            Err(RecvTimeoutError::Timeout) => {
                // there is no other way to end the thread
                eprintln!("{target}: no end after {patience:?}");
                std::process::abort();
            }
        }
    }
    if let Err(panic) = thread.join() {
        std::panic::resume_unwind(panic);
    }
}
