//! Each relative link of a Markdown page leads to a file, and to a heading of it. `docs/SUMMARY.md`, the contents of
//! the book, has each page of `docs/` once. Links to pictures are followed too, and each picture is on a page.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/..");
/// Directories that may contain pages of others.
const NOT_OURS: [&str; 2] = ["target", ".git"];
/// Lower bounds, so that the test notices when it reads nothing any more.
const PAGES_MIN: usize = 30;
const LINKS_MIN: usize = 170;

/// Every page of the repository by its path from the root.
fn pages() -> BTreeMap<PathBuf, String> {
    let mut pages = BTreeMap::new();
    let mut directories = vec![PathBuf::new()];
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(Path::new(ROOT).join(&directory)).expect("a directory") {
            let entry = entry.expect("an entry");
            let path = directory.join(entry.file_name());
            let kind = entry.file_type().expect("its type");
            if kind.is_dir() && !NOT_OURS.iter().any(|name| path.ends_with(name)) {
                directories.push(path);
            } else if kind.is_file() && path.extension().is_some_and(|it| it == "md") {
                pages.insert(path, fs::read_to_string(entry.path()).expect("text"));
            }
        }
    }
    pages
}

/// The lines of a page that are not code.
fn prose(page: &str) -> impl Iterator<Item = &str> {
    let mut is_code = false;
    page.lines().filter(move |line| {
        let is_fence = line.trim_start().starts_with("```");
        is_code ^= is_fence;
        !is_code && !is_fence
    })
}

/// The targets of a page's links.
fn links(page: &str) -> Vec<String> {
    let mut links = Vec::new();
    for line in prose(page) {
        // a span of code may look like a link
        let text: String = line.split('`').step_by(2).collect();
        let targets = text.split("](").skip(1);
        links.extend(targets.filter_map(|rest| Some(rest.split_once(')')?.0.to_owned())));
    }
    links
}

/// The names of a page's headings in links.
fn anchors(page: &str) -> BTreeSet<String> {
    let mut anchors = BTreeSet::new();
    for line in prose(page).filter(|line| line.starts_with('#')) {
        let heading = line.trim_start_matches('#').trim();
        let kept = heading
            .chars()
            .filter(|&c| c.is_alphanumeric() || " -_".contains(c));
        let anchor = kept.collect::<String>().to_lowercase().replace(' ', "-");
        let again = (1..).map(|n| format!("{anchor}-{n}"));
        let mut names = std::iter::once(anchor.clone()).chain(again);
        names.find(|name| anchors.insert(name.clone()));
    }
    anchors
}

/// A path without `..`.
fn normal(path: &Path) -> PathBuf {
    let mut normal = PathBuf::new();
    for part in path {
        match part.to_str() {
            Some("..") => assert!(normal.pop(), "{} leads out", path.display()),
            _ => normal.push(part),
        }
    }
    normal
}

/// The links that lead nowhere, and how many there are in all.
fn faults_of(pages: &BTreeMap<PathBuf, String>) -> (Vec<String>, usize) {
    let mut faults = Vec::new();
    let mut count = 0;
    for (path, page) in pages {
        let relative = links(page)
            .into_iter()
            .filter(|link| !link.contains("://") && !link.starts_with("mailto:"));
        for link in relative {
            count += 1;
            let (file, anchor) = link.split_once('#').unwrap_or((&link, ""));
            let target = match file {
                "" => path.clone(),
                _ => normal(&path.parent().expect("a directory").join(file)),
            };
            let fault = match pages.get(&target) {
                None if !Path::new(ROOT).join(&target).exists() => "no such file",
                Some(page) if !anchor.is_empty() && !anchors(page).contains(anchor) => {
                    "no such heading"
                }
                _ => continue,
            };
            faults.push(format!("{}: {link}: {fault}", path.display()));
        }
    }
    (faults, count)
}

/// The pages of `docs/` that the contents do not have exactly once, and what else they have.
fn faults_of_contents(pages: &BTreeMap<PathBuf, String>) -> Vec<String> {
    let contents = links(&pages[Path::new("docs/SUMMARY.md")]);
    let mut expected = BTreeSet::new();
    for path in pages.keys() {
        if let Ok(name) = path.strip_prefix("docs") {
            expected.insert(name.to_str().expect("text").to_owned());
        }
    }
    expected.remove("SUMMARY.md");
    let mut faults = Vec::new();
    for name in &expected {
        let count = contents.iter().filter(|link| *link == name).count();
        if count != 1 {
            faults.push(format!("{name}: {count} times in the contents"));
        }
    }
    let others = contents.iter().filter(|link| !expected.contains(*link));
    faults.extend(others.map(|link| format!("{link}: no page of the book")));
    faults
}

/// The pictures that no page shows.
fn faults_of_images(pages: &BTreeMap<PathBuf, String>) -> Vec<String> {
    let images = fs::read_dir(Path::new(ROOT).join("docs/images")).expect("the pictures");
    let names = images.map(|image| image.expect("an entry").file_name());
    let names = names.map(|name| name.into_string().expect("text"));
    let all: Vec<_> = pages.values().flat_map(|page| links(page)).collect();
    names
        .filter(|name| {
            !all.iter()
                .any(|link| link.ends_with(&format!("images/{name}")))
        })
        .map(|name| format!("docs/images/{name}: on no page"))
        .collect()
}

#[test]
fn links_lead_to_files_and_headings() {
    let pages = pages();
    let (faults, count) = faults_of(&pages);
    assert!(faults.is_empty(), "\n{}", faults.join("\n"));
    assert!(pages.len() >= PAGES_MIN, "only {} pages", pages.len());
    assert!(count >= LINKS_MIN, "only {count} links");
}

#[test]
fn each_picture_is_on_a_page() {
    let faults = faults_of_images(&pages());
    assert!(faults.is_empty(), "\n{}", faults.join("\n"));
}

#[test]
fn the_contents_have_each_page_once() {
    let faults = faults_of_contents(&pages());
    assert!(faults.is_empty(), "\n{}", faults.join("\n"));
}

#[test]
fn control_links_that_lead_nowhere() {
    let changes = [
        (
            "docs/guide.md: behaviours.md: no such file",
            "docs/guide.md",
            "](behaviour.md)",
            "](behaviours.md)",
        ),
        (
            "docs/architecture.md: images/layer.svg: no such file",
            "docs/architecture.md",
            "](images/layers.svg)",
            "](images/layer.svg)",
        ),
        (
            "docs/images/event.svg: on no page",
            "docs/architecture.md",
            "](images/event.svg)",
            "](images/ring.svg)",
        ),
        (
            "no such heading",
            "docs/operations.md",
            "## Environment",
            "## Surroundings",
        ),
        (
            "guide.md: 0 times",
            "docs/SUMMARY.md",
            "(guide.md)",
            "(sizing.md)",
        ),
        (
            "sizing.md: 2 times",
            "docs/SUMMARY.md",
            "(guide.md)",
            "(sizing.md)",
        ),
        (
            "../README.md: no page of the book",
            "docs/SUMMARY.md",
            "(guide.md)",
            "(../README.md)",
        ),
    ];
    let sound = pages();
    for (words, path, old, new) in changes {
        let mut pages = sound.clone();
        let page = pages.get_mut(Path::new(path)).expect("the page");
        *page = page.replacen(old, new, 1);
        let (mut faults, _) = faults_of(&pages);
        faults.extend(faults_of_contents(&pages));
        faults.extend(faults_of_images(&pages));
        assert!(
            faults.iter().any(|fault| fault.contains(words)),
            "{words}: {faults:?}"
        );
        println!("control caught: {words}");
    }
}

#[test]
fn headings_have_the_names_that_pages_link_to() {
    let page = "# A `b_c`\n## A `b_c`\n```sh\n# no heading\n```\n### 100 % of '…': … (x)\n";
    let expected = ["100--of---x", "a-b_c", "a-b_c-1"].map(String::from);
    assert_eq!(anchors(page), BTreeSet::from(expected));
}
