//! `docs/troubleshooting.md` has a heading for the text of every error, and none for a text that no error has.

use std::collections::BTreeSet;

/// The page, and every file of the library with errors in it.
const PAGE: &str = include_str!("../../docs/troubleshooting.md");
const SOURCES: [&str; 4] = [
    include_str!("../src/error.rs"),
    include_str!("../src/liveness.rs"),
    include_str!("../src/observability/error.rs"),
    include_str!("../src/ring_set.rs"),
];

/// What stands in a heading for what differs.
const DIFFERS: char = '…';

/// The texts of a source's `#[error("…")]`.
fn texts_of(source: &str) -> BTreeSet<String> {
    let texts = source.split("#[error(").skip(1).map(|rest| {
        let rest = rest.trim_start().strip_prefix('"').expect("a text");
        let (text, _) = rest.split_once('"').expect("its end");
        assert!(!text.ends_with('\\'), "a quoted quote: {text}");
        heading_of(text)
    });
    texts.collect()
}

/// A text as a heading has it: each placeholder as `…`, continued lines joined.
fn heading_of(text: &str) -> String {
    let joined: Vec<&str> = text.split("\\\n").map(str::trim_start).collect();
    let mut heading = String::new();
    let mut is_within = false;
    for c in joined.concat().chars() {
        match c {
            '{' => is_within = true,
            '}' => {
                is_within = false;
                heading.push(DIFFERS);
            }
            c if !is_within => heading.push(c),
            _ => {}
        }
    }
    heading
}

fn all_texts() -> BTreeSet<String> {
    SOURCES.into_iter().flat_map(texts_of).collect()
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
        let written = source.matches("#[error(").count();
        assert!(written > 0, "no errors are left in a source");
        let texts = texts_of(source);
        assert!(texts.len() <= written && texts.iter().all(|text| text.len() > 10));
    }
    // what programs really print has the same fixed parts
    let said = disruptor_mp::RecvError::Lagged(7).to_string();
    assert!(all_texts().contains(&said.replace('7', "…")));
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
