//! `docs/crash-behaviour.md` says what the tests do: the same points and roles as the sweep, and tests that exist.
#![cfg(debug_assertions)]

use std::collections::BTreeSet;
use std::fs;

use disruptor_mp::FAIL_POINTS;
use myelon_tests::sweep::table;

const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/..");

/// What the page and the tests disagree about.
fn faults_of(page: &str) -> Vec<String> {
    let mut faults = Vec::new();
    let mut in_page = BTreeSet::new();
    let mut others = 0;
    for line in page.lines().filter(|line| line.starts_with("| ")) {
        let cells: Vec<&str> = line.trim_matches('|').split(" | ").map(str::trim).collect();
        if cells.last() == Some(&"test") {
            continue;
        }
        match cells[..] {
            [step, role, _, _, _, test] => {
                let (point, test) = (step.trim_matches('`'), test.trim_matches('`'));
                if test != format!("sweep {point}/{role}") {
                    faults.push(format!("{point}, {role}: '{test}' is not its test"));
                }
                if !in_page.insert((point, role)) {
                    faults.push(format!("{point}, {role}: two rows"));
                }
            }
            [_, _, _, test] => {
                others += 1;
                if !is_test(test.trim_matches('`')) {
                    faults.push(format!("{test}: no such test"));
                }
            }
            _ => faults.push(format!("no row of a table: {line}")),
        }
    }
    let rows = table::rows();
    let swept: BTreeSet<_> = rows.iter().map(|row| (row.point, row.role)).collect();
    let missing = swept.difference(&in_page);
    faults.extend(missing.map(|(point, role)| format!("{point}, {role}: no row")));
    let unknown = in_page.difference(&swept);
    faults.extend(unknown.map(|(point, role)| format!("{point}, {role}: not swept")));
    for point in FAIL_POINTS {
        if !in_page.iter().any(|(named, _)| named == point) {
            faults.push(format!("{point}: no row"));
        }
    }
    if others == 0 {
        faults.push(String::from("no test but the sweep"));
    }
    faults
}

/// `file::test`, in this directory.
fn is_test(name: &str) -> bool {
    let Some((file, test)) = name.split_once("::") else {
        return false;
    };
    let source = fs::read_to_string(format!("{ROOT}/tests/tests/{file}.rs")).unwrap_or_default();
    source.contains(&format!("#[test]\nfn {test}() {{"))
}

fn page() -> String {
    fs::read_to_string(format!("{ROOT}/docs/crash-behaviour.md")).expect("the page")
}

#[test]
fn crash_behaviour_is_what_is_tested() {
    let faults = faults_of(&page());
    assert!(faults.is_empty(), "\n{}", faults.join("\n"));
}

#[test]
fn control_page_that_is_wrong() {
    let page = page();
    let row = page
        .lines()
        .find(|line| line.starts_with("| `commit.before` | durable |"));
    let row = row.expect("a row");
    let changes = [
        ("commit.before, durable: no row", page.replace(row, "")),
        (
            "commit.before, durable: two rows",
            page.replace(row, &format!("{row}\n{row}")),
        ),
        (
            "commit.before, butler: not swept",
            page.replace(row, &row.replace("durable", "butler")),
        ),
        (
            "not its test",
            page.replace(
                "`sweep commit.before/durable`",
                "`sweep commit.after/durable`",
            ),
        ),
        (
            "no such test",
            page.replace(
                "crash::killed_explicit_id_comes_back",
                "crash::killed_id_comes_back",
            ),
        ),
        (
            "no test but the sweep",
            page.replace("## Deaths between", "##")
                .lines()
                .filter(|line| !line.contains("::"))
                .collect::<Vec<_>>()
                .join("\n"),
        ),
    ];
    for (words, changed) in changes {
        let faults = faults_of(&changed);
        assert!(
            faults.iter().any(|fault| fault.contains(words)),
            "{words}: {faults:?}"
        );
        println!("control caught: {words}");
    }
}
