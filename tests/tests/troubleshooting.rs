//! `docs/troubleshooting.md` must have a heading for the text of every error, and no heading for a text that no
//! error has.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/..");

const PAGE: &str = include_str!("../../docs/troubleshooting.md");

/// Every file of the libraries with errors that programs can get.
const SOURCES: [&str; 11] = [
    "disruptor-mp/src/cause.rs",
    "disruptor-mp/src/error.rs",
    "disruptor-mp/src/inspect/error.rs",
    "disruptor-mp/src/inspect/removal.rs",
    "disruptor-mp/src/liveness/mod.rs",
    "disruptor-mp/src/observability/error.rs",
    "disruptor-mp/src/handles/ring_set.rs",
    "myelon/src/codec/error.rs",
    "myelon/src/inference/error.rs",
    "myelon/src/transport/error.rs",
    "myelon/src/typed_transport/error.rs",
];

/// Files with lines that a program finds on its stderr without a request: each `write!(f, "…")`.
const PRINTED: [&str; 1] = ["disruptor-mp/src/liveness/mod.rs"];

/// Files whose errors are not visible outside.
const KEPT: [&str; 1] = ["myelon/src/codec/rkyv.rs"];

/// The placeholder in a heading for the parts that vary.
const DIFFERS: char = '…';

/// The texts of a source's `#[error("…")]`, except for errors that forward another error's text.
fn texts_of(source: &str) -> BTreeSet<String> {
    let errors = source.split("#[error(").skip(1);
    let own = errors.filter(|rest| !rest.starts_with("transparent)]"));
    own.map(|rest| heading_of(text_at(rest))).collect()
}

/// The lines as which a source's alerts are printed.
fn lines_of(source: &str) -> BTreeSet<String> {
    let writes = source.split("write!(").skip(1);
    let texts = writes.map(|rest| rest.trim_start().strip_prefix("f,").expect("a formatter"));
    texts.map(|rest| heading_of(text_at(rest))).collect()
}

/// The string literal at the start of this piece of a source.
fn text_at(rest: &str) -> &str {
    let rest = rest.trim_start().strip_prefix('"').expect("a text");
    let (text, _) = rest.split_once('"').expect("its end");
    assert!(!text.ends_with('\\'), "a quoted quote: {text}");
    text
}

/// A text as a heading has it: each placeholder, or several in a row, becomes `…`, and continued lines are joined.
fn heading_of(text: &str) -> String {
    let joined: Vec<&str> = text.split("\\\n").map(str::trim_start).collect();
    let mut heading = String::new();
    let mut is_within = false;
    for c in joined.concat().chars() {
        match c {
            '{' => is_within = true,
            '}' => {
                is_within = false;
                if !heading.ends_with(DIFFERS) {
                    heading.push(DIFFERS);
                }
            }
            c if !is_within => heading.push(c),
            _ => {}
        }
    }
    heading
}

fn read(path: impl AsRef<Path>) -> String {
    fs::read_to_string(path).expect("a source")
}

fn all_texts() -> BTreeSet<String> {
    let sources = SOURCES.map(|source| read(Path::new(ROOT).join(source)));
    let printed = PRINTED.map(|source| read(Path::new(ROOT).join(source)));
    let errors = sources.iter().flat_map(|source| texts_of(source));
    errors
        .chain(printed.iter().flat_map(|source| lines_of(source)))
        .collect()
}

/// The sources with errors in a directory and its subdirectories, as paths from the root.
fn sources_with_errors(directory: &Path, found: &mut BTreeSet<String>) {
    for entry in fs::read_dir(directory).expect("a directory") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            sources_with_errors(&path, found);
        } else if read(&path).contains("#[error(") {
            let path = path.strip_prefix(ROOT).expect("below the root");
            found.insert(path.display().to_string());
        }
    }
}

/// The texts that the page has headings for.
fn headings_of(page: &str) -> BTreeSet<String> {
    let headings = page.lines().filter_map(|line| line.strip_prefix("### `"));
    headings
        .map(|heading| heading.trim_end_matches('`').to_owned())
        .collect()
}

fn faults_of(page: &str) -> Vec<String> {
    let (texts, headings) = (all_texts(), headings_of(page));
    let missing = texts.difference(&headings).map(|it| format!("no '{it}'"));
    let stale = headings
        .difference(&texts)
        .map(|it| format!("nobody says '{it}'"));
    missing.chain(stale).collect()
}

#[test]
fn every_error_has_its_heading() {
    assert_eq!(faults_of(PAGE), Vec::<String>::new());
}

#[test]
fn every_heading_has_something_to_say() {
    let sections = PAGE.split("\n### ").skip(1);
    for section in sections {
        let (heading, body) = section.split_once('\n').expect("a heading");
        let body = body.trim();
        assert!(!body.is_empty() && !body.starts_with('#'), "{heading}");
    }
    for without_error in ["It hangs", "100 % CPU", "The first event is slow"] {
        assert!(PAGE.contains(&format!("\n### {without_error}\n")));
    }
}

#[test]
fn every_variant_is_found_in_the_sources() {
    for source in SOURCES {
        let source = read(Path::new(ROOT).join(source));
        let written = source.matches("#[error(").count();
        let texts = texts_of(&source);
        assert!(texts.len() <= written && texts.iter().all(|text| text.len() > 10));
    }
    for source in PRINTED {
        let source = read(Path::new(ROOT).join(source));
        assert_eq!(lines_of(&source).len(), source.matches("write!(").count());
    }
    // printed errors have the same fixed parts
    let said = [
        disruptor_mp::RecvError::Lagged(7).to_string(),
        myelon::KindTaken { kind: 7 }.to_string(),
    ];
    for said in said {
        assert!(all_texts().contains(&said.replace('7', "…")));
    }
}

/// The errors of a transport that have nothing to do with a session, besides those that forward another error's text.
const OF_MESSAGES: [&str; 5] = [
    "Full",
    "MessageTooLong",
    "NeedsRuns",
    "DoesNotFitFrame",
    "InvalidName",
];

#[test]
fn every_error_of_a_session_has_its_label() {
    let source = read(Path::new(ROOT).join("myelon/src/transport/error.rs"));
    let errors = source.split("#[error(").skip(1);
    let own = errors.filter(|rest| !rest.starts_with("transparent)]"));
    let of_sessions = own.filter(|rest| {
        let (_, variant) = rest.split_once(")]\n    ").expect("a variant");
        let (name, _) = variant.split_once(" {").expect("its fields");
        !OF_MESSAGES.contains(&name)
    });
    let mut texts = of_sessions.map(text_at).peekable();
    assert!(texts.peek().is_some());
    for text in texts {
        assert!(text.contains("session '{session}'"), "{text}");
    }
}

#[test]
fn no_source_is_forgotten() {
    let mut found = BTreeSet::new();
    for library in ["disruptor-mp/src", "myelon/src"] {
        sources_with_errors(&Path::new(ROOT).join(library), &mut found);
    }
    let known = SOURCES.into_iter().chain(KEPT).map(String::from);
    assert_eq!(found, known.collect());
}

#[test]
fn control_a_missing_and_a_stale_heading_are_noticed() {
    for text in all_texts() {
        let page = PAGE.replace(&format!("### `{text}`\n"), "");
        assert_eq!(faults_of(&page), [format!("no '{text}'")]);
    }
    let page = format!("{PAGE}\n### `no such thing`\n");
    assert_eq!(faults_of(&page), ["nobody says 'no such thing'"]);
}
