//! `--json FILE`: an array with one object per row.

use std::fs;
use std::path::Path;

use serde::Serialize;

use crate::scenario::Failure;

/// Writes the file whole or not at all.
pub(crate) fn write(path: &Path, rows: &[impl Serialize]) -> Result<(), Failure> {
    let mut text = serde_json::to_string_pretty(rows)?;
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
