//! `docs/crash-behaviour.md` must agree with the tests: it has the points and roles of the sweep, and names
//! tests that exist. `docs/behaviour.md` must name tests that exist for each promise. `docs/architecture.md` and
//! `tests/README.md` must name files and functions that exist.
#![cfg(debug_assertions)]

use std::collections::BTreeSet;
use std::fs;

use disruptor_mp::FAIL_POINTS;
use myelon_tests::sweep::table;

const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/..");

/// The differences between the page and the tests.
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
    for point in FAIL_POINTS.iter().filter(|point| table::is_swept(point)) {
        if !in_page.iter().any(|(named, _)| named == point) {
            faults.push(format!("{point}: no row"));
        }
    }
    if others == 0 {
        faults.push(String::from("no test but the sweep"));
    }
    faults
}

/// The directories of tests that pages name: tests of processes, of the libraries, and of the operator's program.
const PLACES: [&str; 5] = [
    "tests/tests",
    "tests/refused/tests",
    "disruptor-mp/tests",
    "myelon/tests",
    "tool/tests/cli",
];

/// Whether there is a test `file::test` in one of these directories.
fn is_test(name: &str) -> bool {
    let Some((file, test)) = name.split_once("::") else {
        return false;
    };
    PLACES.iter().any(|place| {
        let path = format!("{ROOT}/{place}/{file}.rs");
        let source = fs::read_to_string(path).unwrap_or_default();
        let source = source.replace("#[tokio::test]", "#[test]");
        let mut tests = source.split("#[test]").skip(1);
        tests.any(|text| name_of(text) == Some(test)) || is_on_every_backing(&source, test)
    })
}

/// The name of the function at the start of this piece of a source, after its attributes.
fn name_of(text: &str) -> Option<&str> {
    let mut lines = text.lines().map(str::trim_start);
    let line = lines.find(|line| !line.is_empty() && !line.starts_with('#'))?;
    let line = line.strip_prefix("async ").unwrap_or(line);
    let (name, rest) = line.strip_prefix("fn ")?.split_once("()")?;
    rest.ends_with('{').then_some(name)
}

/// Whether a source's macro turns this function into tests, one for each backing.
fn is_on_every_backing(source: &str, test: &str) -> bool {
    let Some((_, list)) = source.split_once("\non_every_backing! {") else {
        return false;
    };
    let (list, _) = list.split_once("\n}").unwrap_or((list, ""));
    list.split(|c: char| c != '_' && !c.is_alphanumeric())
        .any(|word| word == test)
}

/// The differences between `docs/behaviour.md` and the tests.
fn faults_of_behaviour(page: &str) -> Vec<String> {
    let rows: Vec<&str> = page.lines().filter(|line| line.starts_with("| ")).collect();
    let mut faults = Vec::new();
    for row in &rows {
        let cells: Vec<&str> = row.trim_matches('|').split(" | ").map(str::trim).collect();
        let [what, tests] = cells[..] else {
            faults.push(format!("no row of a table: {row}"));
            continue;
        };
        for test in tests.split(", ").filter(|_| tests != "shown by") {
            if !is_test(test.trim_matches('`')) {
                faults.push(format!("{what} {test}: no such test"));
            }
        }
    }
    if rows.len() < PROMISES_MIN {
        faults.push(format!("only {} rows", rows.len()));
    }
    faults
}

/// A lower bound on the page's rows, including the heads of its tables, so that the page cannot shrink unnoticed.
const PROMISES_MIN: usize = 180;

fn page(name: &str) -> String {
    fs::read_to_string(format!("{ROOT}/docs/{name}.md")).expect("the page")
}

#[test]
fn behaviour_is_what_is_tested() {
    let faults = faults_of_behaviour(&page("behaviour"));
    assert!(faults.is_empty(), "\n{}", faults.join("\n"));
}

#[test]
fn control_promise_that_nothing_shows() {
    let page = page("behaviour");
    let a_row = page
        .lines()
        .find(|line| line.contains("`liveness::batches`"));
    let changes = [
        (
            "no such test",
            page.replace("liveness::batches", "liveness::scones"),
        ),
        (
            "no such test",
            page.replace("stream::ring_of", "stream::string_of"),
        ),
        (
            "no such test",
            page.replace("`typed::a_table_of_kinds`", "`typed::a_table_of_kings`"),
        ),
        ("no such test", page.replace("`liveness::batches`", "")),
        ("only ", page.replace(a_row.expect("a row"), "")),
    ];
    for (words, changed) in changes {
        let faults = faults_of_behaviour(&changed);
        assert!(
            faults.iter().any(|fault| fault.contains(words)),
            "{words}: {faults:?}"
        );
        println!("control caught: {words}");
    }
}

#[test]
fn crash_behaviour_is_what_is_tested() {
    let faults = faults_of(&page("crash-behaviour"));
    assert!(faults.is_empty(), "\n{}", faults.join("\n"));
}

#[test]
fn control_page_that_is_wrong() {
    let page = page("crash-behaviour");
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

/// Where the paths of the maps begin.
const BASES: [&str; 3] = [".", "disruptor-mp/src", "tests"];

/// A page, and a lower bound on the names in it.
const MAPS: [(&str, usize); 2] = [("docs/architecture.md", 100), ("tests/README.md", 100)];

/// The names of a map that name nothing. Every span of code is a path, or an item of a file that the same paragraph,
/// list item or row names: `name()` is a function there, and any other word occurs there.
fn faults_of_map(page: &str, names_min: usize) -> Vec<String> {
    let mut names = 0;
    let mut faults = Vec::new();
    for block in blocks_of(page) {
        let mut sources = String::new();
        let mut items = Vec::new();
        for span in block.split('`').skip(1).step_by(2) {
            names += 1;
            let name = span.split([' ', '=']).next().unwrap_or_default();
            match file_of(name) {
                Some(path) => sources += &fs::read_to_string(path).unwrap_or_default(),
                None if name.contains(['/', '.']) => faults.push(format!("{name}: no such file")),
                None => items.push(name),
            }
        }
        let words: BTreeSet<_> = sources
            .split(|c: char| c != '_' && !c.is_alphanumeric())
            .collect();
        faults.extend(items.into_iter().filter_map(|item| {
            let is_there = match item.strip_suffix("()") {
                Some(name) => ["(", "<"]
                    .iter()
                    .any(|next| sources.contains(&format!("fn {name}{next}"))),
                None => words.contains(item),
            };
            (!is_there).then(|| format!("{item}: no such item in: {block}"))
        }));
    }
    if names < names_min {
        faults.push(format!("only {names} names"));
    }
    faults
}

/// The paragraphs, list items and rows of a page, without its code.
fn blocks_of(page: &str) -> Vec<String> {
    let mut blocks = vec![String::new()];
    for line in page.split("```").step_by(2).flat_map(str::lines) {
        if line.is_empty() || line.starts_with(['|', '-', '#']) {
            blocks.push(String::new());
        }
        let block = blocks.last_mut().expect("at least one");
        *block += line;
        *block += " ";
    }
    blocks
}

/// The file or directory of this name, or of this module.
fn file_of(name: &str) -> Option<std::path::PathBuf> {
    BASES
        .iter()
        .flat_map(|base| ["", ".rs"].map(|end| format!("{ROOT}/{base}/{name}{end}").into()))
        .find(|path: &std::path::PathBuf| !name.is_empty() && path.exists())
}

#[test]
fn maps_name_what_exists() {
    for (map, names_min) in MAPS {
        let page = fs::read_to_string(format!("{ROOT}/{map}")).expect("the page");
        let faults = faults_of_map(&page, names_min);
        assert!(faults.is_empty(), "{map}:\n{}", faults.join("\n"));
    }
}

#[test]
fn control_map_that_is_wrong() {
    let page = page("architecture");
    let changes = [
        (
            "waiting/tactics.rs: no such file",
            page.replace("waiting/strategies.rs", "waiting/tactics.rs"),
        ),
        (
            "publish_two(): no such item",
            page.replace("publish_one()", "publish_two()"),
        ),
        (
            "Religion: no such item",
            page.replace("`Region`", "`Religion`"),
        ),
        ("only 0 names", String::from("# Empty")),
    ];
    for (words, changed) in changes {
        let faults = faults_of_map(&changed, 1);
        assert!(
            faults.iter().any(|fault| fault.contains(words)),
            "{words}: {faults:?}"
        );
        println!("control caught: {words}");
    }
}

/// The blocks of a page that are not compiled there and are no part of the program.
fn not_in_program<'a>(page: &'a str, program: &str) -> (usize, Vec<&'a str>) {
    let blocks = page.split("```rust,ignore\n").skip(1);
    let blocks: Vec<_> = blocks.filter_map(|rest| rest.split("```").next()).collect();
    let count = blocks.len();
    let strange = blocks.into_iter().filter(|block| !program.contains(block));
    (count, strange.collect())
}

#[test]
fn the_server_of_the_readme_is_a_part_of_the_example() {
    let read = |path| fs::read_to_string(format!("{ROOT}/{path}")).expect("a file");
    let readme = read("README.md");
    let program = read("myelon/examples/inference_server.rs");
    assert_eq!(not_in_program(&readme, &program), (1, vec![]));
    // control: one word changed
    let changed = readme.replace("reply.finish(piece", "reply.send(piece");
    assert_eq!(not_in_program(&changed, &program).1.len(), 1);
}
