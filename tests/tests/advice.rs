//! No text advises removing what may be alive. Each part of an error, or of `docs/troubleshooting.md`, that may be
//! read as advice to remove something is in a list here, with the reason why nothing that is alive goes.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use proc_macro2::{TokenStream, TokenTree};

const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/..");

/// The libraries and the operator's program: whatever they print is a text in their sources.
const SOURCES: [&str; 3] = ["disruptor-mp/src", "myelon/src", "tool/src"];

/// The verbs of such advice, in the form of a command, and the commands that remove.
const VERBS: [&str; 7] = [
    "remove", "delete", "unlink", "erase", "rm", "clean", "destroy",
];

/// Parts of texts, each with the reason why nothing that is alive goes.
const ALLOWED: [(&str, &str); 13] = [
    (
        "remove_consumer can remove those that are away",
        "the call refuses a consumer whose lock is held",
    ),
    (
        "remove it with remove_worker(",
        "the call refuses a worker whose lock is held",
    ),
    (
        "so does 'myelon clean'",
        "the command refuses a ring of which a lock is held",
    ),
    ("see `myelon clean --dry-run", "it removes nothing"),
    ("remove a dead ring with 'myelon rm'", "as for clean"),
    ("`myelon rm --force` removes it", "as for clean"),
    ("names are removed by rm", "it tells a cause"),
    ("(rm, systemd's RemoveIPC at logout", "it tells a cause"),
    (
        "may remove the file's name: the file stays",
        "it tells who may do so, and that nothing has to be done",
    ),
    (
        "a user who may write a ring there may not remove it",
        "it tells who may do so",
    ),
    (
        "only the owner of a ring and root can remove it",
        "it tells who may do so",
    ),
    ("create or remove files in", "it tells who may do so"),
    ("nothing to remove in", "a report"),
];

/// Whole texts: what a program was doing when the system refused it.
const STEPS: [&str; 3] = ["remove its temporary name", "remove its name", "remove it"];

/// The parts of the page where such a step stands in a sentence.
const STEPS_OF_PAGE: [&str; 1] = ["*Could not remove its name*"];

/// The words of a text. A call such as `remove_consumer` is one word.
fn has_verb(text: &str) -> bool {
    let mut words = text.split(|c: char| c != '_' && !c.is_alphanumeric());
    words.any(|word| VERBS.contains(&word.to_lowercase().as_str()))
}

/// The text, if it may be read as advice to remove something, without what is allowed. Notes which parts it had.
fn advice_in(text: &str, used: &mut BTreeSet<&'static str>) -> Option<String> {
    if let Some(step) = STEPS.into_iter().find(|step| *step == text) {
        used.insert(step);
        return None;
    }
    let mut rest = text.to_owned();
    for part in ALLOWED
        .map(|(part, _)| part)
        .into_iter()
        .chain(STEPS_OF_PAGE)
    {
        if rest.contains(part) {
            used.insert(part);
            rest = rest.replace(part, "");
        }
    }
    has_verb(&rest).then(|| text.to_owned())
}

/// The sentences of a page: headings, items and tables are not joined with what stands beside them.
fn sentences_of(page: &str) -> Vec<String> {
    let mut blocks = vec![String::new()];
    for line in page.lines().map(str::trim) {
        let begins = line.is_empty() || line.starts_with(['#', '-', '|']);
        if begins || blocks.last().is_some_and(|block| block.starts_with('#')) {
            blocks.push(String::new());
        }
        let block = blocks.last_mut().expect("one");
        *block += line;
        block.push(' ');
    }
    let sentences = blocks.iter().flat_map(|block| block.trim().split(". "));
    sentences.map(str::to_owned).collect()
}

/// The text literals of a source, without its unit tests and comments.
fn literals_of(source: &str) -> Vec<String> {
    let (code, _) = source.split_once("\nmod tests {").unwrap_or((source, ""));
    let mut literals = Vec::new();
    collect(code.parse().expect("tokens"), &mut literals);
    literals
}

fn collect(tokens: TokenStream, literals: &mut Vec<String>) {
    let mut is_doc = false;
    for token in tokens {
        match token {
            TokenTree::Group(group) => {
                collect(group.stream(), literals);
            }
            TokenTree::Ident(word) => is_doc = word == "doc",
            TokenTree::Literal(literal) if !is_doc => {
                let text = syn::parse_str::<syn::LitStr>(&literal.to_string());
                literals.extend(text.map(|text| text.value()));
            }
            _ => {}
        }
    }
}

/// The texts of all sources below a directory. A text of one word is a name.
fn texts_below(directory: &Path, texts: &mut Vec<String>) {
    for entry in fs::read_dir(directory).expect("a directory") {
        let path = entry.expect("an entry").path();
        if path
            .file_stem()
            .expect("a name")
            .to_string_lossy()
            .ends_with("tests")
        {
            continue;
        }
        if path.is_dir() {
            texts_below(&path, texts);
        } else if path.extension().is_some_and(|ending| ending == "rs") {
            let source = fs::read_to_string(&path).expect("a source");
            let literals = literals_of(&source).into_iter();
            texts.extend(literals.filter(|text| text.contains(' ')));
        }
    }
}

fn all_texts() -> Vec<String> {
    let page = fs::read_to_string(format!("{ROOT}/docs/troubleshooting.md")).expect("the page");
    let mut texts = sentences_of(&page);
    for source in SOURCES {
        texts_below(&Path::new(ROOT).join(source), &mut texts);
    }
    texts
}

#[test]
fn no_text_advises_removing_what_may_be_alive() {
    let texts = all_texts();
    // far fewer than there were when this was written: then nothing is read any more
    assert!(texts.len() > 1000, "only {} texts", texts.len());
    let mut used = BTreeSet::new();
    let found: Vec<_> = texts
        .iter()
        .filter_map(|text| advice_in(text, &mut used))
        .collect();
    assert_eq!(found, [""; 0], "say what to do instead, or why it is safe");
    let parts = ALLOWED.map(|(part, _)| part).into_iter();
    let stale: Vec<_> = parts
        .chain(STEPS)
        .chain(STEPS_OF_PAGE)
        .filter(|part| !used.contains(part))
        .collect();
    assert_eq!(stale, [""; 0], "no text says this any more");
}

#[test]
fn control_unsafe_advice_is_found() {
    let mut used = BTreeSet::new();
    let source = r##"
        /// Remove it, says a comment.
        #[error(
            "'{path}' is not a ring but {found}: choose another name, or, if no process uses it, remove it by \
             hand; it was left as it is"
        )]
        fn hint() -> &'static str { concat!("is in the way: ", r"delete the file") }
        mod words { const STEP: &str = "remove its name"; const NAME: &str = "remove"; }
    "##;
    let page = "Some file. The library removes nothing that it did not make, so\nyou have to remove it. It stays.\n\n\
                ### `'…' is damaged`\nRun `rm -f` on it.\n- *Could not remove its name*: it stays.";
    let advice = |texts: Vec<String>| -> Vec<String> {
        let texts = texts.into_iter();
        let mut used = BTreeSet::new();
        texts
            .filter_map(|text| advice_in(&text, &mut used))
            .collect()
    };
    assert_eq!(
        advice(literals_of(source)),
        [
            "'{path}' is not a ring but {found}: choose another name, or, if no process uses it, remove it by hand; it \
             was left as it is",
            "delete the file",
            "remove",
        ]
    );
    assert_eq!(
        advice(sentences_of(page)),
        [
            "The library removes nothing that it did not make, so you have to remove it",
            "Run `rm -f` on it.",
        ]
    );
    // what is allowed does not cover what stands beside it
    let mixed = "see `myelon clean --dry-run`, or remove it by hand";
    assert!(advice_in(mixed, &mut used).is_some());
    assert_eq!(advice_in("see `myelon clean --dry-run`", &mut used), None);
}
