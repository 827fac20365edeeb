//! `--json FILE`: an array with one object per row, each with the origin of the rows.

use std::fs;
use std::path::Path;

use serde::Serialize;

use crate::machine::Origin;
use crate::scenario::Failure;

/// A row, and where it comes from.
#[derive(Serialize)]
struct Line<'a, R> {
    #[serde(flatten)]
    row: &'a R,
    #[serde(flatten)]
    origin: &'a Origin,
}

/// Writes the file whole or not at all.
pub(crate) fn write(path: &Path, rows: &[impl Serialize], origin: &Origin) -> Result<(), Failure> {
    let lines: Vec<_> = rows.iter().map(|row| Line { row, origin }).collect();
    let mut text = serde_json::to_string_pretty(&lines)?;
    text.push('\n');
    replace(path, &text)
}

/// Replaces the file by this text.
pub(crate) fn replace(path: &Path, text: &str) -> Result<(), Failure> {
    let mut partial = path.as_os_str().to_owned();
    partial.push(".partial");
    fs::write(&partial, text)
        .and_then(|()| fs::rename(&partial, path))
        .map_err(|error| format!("{}: {error}", path.display()).into())
}
