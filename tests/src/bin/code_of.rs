//! Prints the tokens of Rust files without their comments and layout: what `ci/prove` takes the hash of.
//!
//! ```sh
//! code_of disruptor-mp/src/protocol myelon/src/transport
//! ```

use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};

use proc_macro2::{Delimiter, TokenStream, TokenTree};

fn main() -> Result<(), Box<dyn Error>> {
    let mut files = Vec::new();
    for argument in std::env::args_os().skip(1) {
        add_files(Path::new(&argument), &mut files)?;
    }
    if files.is_empty() {
        return Err("no Rust file was named: give files and directories".into());
    }
    files.sort();
    for file in files {
        let text = fs::read_to_string(&file)?;
        let code: TokenStream = text
            .parse()
            .map_err(|error| format!("{}: {error}", file.display()))?;
        let mut line = file.display().to_string();
        print_code(code, &mut line);
        println!("{line}");
    }
    Ok(())
}

/// Adds `path`, or all Rust files below it.
fn add_files(path: &Path, files: &mut Vec<PathBuf>) -> Result<(), Box<dyn Error>> {
    let metadata = fs::metadata(path).map_err(|error| format!("{}: {error}", path.display()))?;
    if !metadata.is_dir() {
        files.push(path.to_owned());
        return Ok(());
    }
    for entry in fs::read_dir(path)? {
        let path = entry?.path();
        if path.is_dir() || path.extension().is_some_and(|extension| extension == "rs") {
            add_files(&path, files)?;
        }
    }
    Ok(())
}

/// Appends the tokens to `line`, each after a space. Doc comments are attributes here, and left out.
fn print_code(code: TokenStream, line: &mut String) {
    let tokens: Vec<TokenTree> = code.into_iter().collect();
    let mut at = 0;
    while at < tokens.len() {
        let skipped = doc_tokens(&tokens[at..]);
        if skipped > 0 {
            at += skipped;
            continue;
        }
        match &tokens[at] {
            TokenTree::Group(group) => {
                let (open, close) = match group.delimiter() {
                    Delimiter::Parenthesis => ("(", ")"),
                    Delimiter::Brace => ("{", "}"),
                    Delimiter::Bracket => ("[", "]"),
                    Delimiter::None => ("", ""),
                };
                line.push(' ');
                line.push_str(open);
                print_code(group.stream(), line);
                line.push(' ');
                line.push_str(close);
            }
            // rustfmt writes a comma behind the last item of a list that does not fit one line
            TokenTree::Punct(punct) if punct.as_char() == ',' && at + 1 == tokens.len() => {}
            other => {
                line.push(' ');
                line.push_str(&other.to_string());
            }
        }
        at += 1;
    }
}

/// The number of tokens at the start that make a doc comment: `#[doc = …]` or `#![doc = …]`.
fn doc_tokens(tokens: &[TokenTree]) -> usize {
    let is = |token: Option<&TokenTree>, wanted: char| matches!(token, Some(TokenTree::Punct(punct)) if punct.as_char() == wanted);
    if !is(tokens.first(), '#') {
        return 0;
    }
    let bracket = if is(tokens.get(1), '!') { 2 } else { 1 };
    match tokens.get(bracket) {
        Some(TokenTree::Group(group)) if group.delimiter() == Delimiter::Bracket => {
            let mut inner = group.stream().into_iter();
            let is_doc = matches!(inner.next(), Some(TokenTree::Ident(name)) if name == "doc");
            if is_doc && is(inner.next().as_ref(), '=') {
                bracket + 1
            } else {
                0
            }
        }
        _ => 0,
    }
}
