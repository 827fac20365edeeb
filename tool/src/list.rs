//! `list`: all rings, one line each.

use std::io::{Write, stdout};

use disruptor_mp::inspect::{Found, InspectError, Inspector, Snapshot};
use serde_json::{Value, json};

use crate::options::In;
use crate::ring::{path_json, ring_json};
use crate::text::{printable, table};
use crate::{Failure, Outcome, reported};

pub(crate) fn run(place: &In, json: bool) -> Result<Outcome, Failure> {
    let mut rows = vec![head()];
    let mut objects = Vec::new();
    let mut unreadable = 0;
    let mut is_finding = false;
    for found in place.rings()? {
        let (name, path) = (found.name.clone(), found.path.clone());
        match read(found) {
            Ok((ring, seen)) => {
                is_finding |= !seen.faults.is_empty();
                rows.push(row(&name, &ring, &seen));
                objects.push(ring_json(&name, &ring, &seen));
            }
            // it went away meanwhile
            Err(InspectError::NotFound { .. }) => {}
            Err(error) => {
                let is_ring = !matches!(error, InspectError::Unreadable { .. });
                match is_ring {
                    true => rows.push(vec![printable(&name), error.word().into()]),
                    false => unreadable += 1,
                }
                is_finding |= needs_attention(&error);
                objects.push(json!({
                    // of a file that may not be read, nothing says that it is one
                    "ring": is_ring.then_some(name),
                    "path": path_json(&path),
                    "state": error.word(),
                    "text": error.to_string(),
                }));
            }
        }
    }
    let lines = match rows.len() {
        _ if json => vec![Value::Array(objects).to_string()],
        1 => vec![format!("no rings in {}", place.directory().display())],
        _ => table(&rows),
    };
    let hidden = hidden(unreadable).filter(|_| !json);
    let mut out = stdout().lock();
    let said = lines
        .iter()
        .chain(&hidden)
        .try_for_each(|line| writeln!(out, "{line}"));
    reported(said, Outcome::finding_if(is_finding))
}

/// What a listing says of the files that this user may not read: nothing says that they are rings.
pub(crate) fn hidden(count: usize) -> Option<String> {
    (count > 0)
        .then(|| format!("files that may be rings, but may not be read by this user: {count}"))
}

/// Whether it is a finding that this ring cannot be shown. A listing may well find a ring that is being created, one
/// that was left half-made, and a file that this user may not read.
pub(crate) fn needs_attention(error: &InspectError) -> bool {
    !matches!(
        error,
        InspectError::BeingCreated { .. }
            | InspectError::HalfMade { .. }
            | InspectError::Unreadable { .. }
    )
}

/// Opens and reads a ring that was found.
pub(crate) fn read(found: Found) -> Result<(Inspector, Snapshot), InspectError> {
    let mut ring = found.ring?;
    let seen = ring.snapshot()?;
    Ok((ring, seen))
}

fn head() -> Vec<String> {
    [
        "RING",
        "STATE",
        "PUBLISHED",
        "CONSUMERS",
        "LAG",
        "SLOTS",
        "EVENT",
        "NOTE",
    ]
    .map(String::from)
    .to_vec()
}

fn row(name: &str, ring: &Inspector, seen: &Snapshot) -> Vec<String> {
    let info = ring.info();
    vec![
        printable(name),
        seen.phase().to_string(),
        (seen.published - info.first_sequence + 1)
            .max(0)
            .to_string(),
        seen.consumers.len().to_string(),
        seen.largest_lag()
            .map_or(String::new(), |lag| lag.to_string()),
        info.capacity.to_string(),
        type_name(&info.event.text),
        note(seen),
    ]
}

/// What needs attention, in a word or two.
pub(crate) fn note(seen: &Snapshot) -> String {
    let mut notes = Vec::new();
    if !seen.faults.is_empty() {
        notes.push("implausible");
    }
    if seen.is_in_doubt == Some(true) {
        notes.push("in doubt");
    }
    if seen.blocker().is_some() {
        notes.push("full");
    }
    if seen.is_kept || !seen.kept_for.is_empty() {
        notes.push("kept");
    }
    notes.join(", ")
}

/// The type's name without its fields and modules: `Tick` of `demo::Tick { price: i64 @0 } size 8 align 8`.
pub(crate) fn type_name(text: &str) -> String {
    let name = text.split(" {").next().unwrap_or_default();
    let (path, parameters) = name.split_at(name.find(['<', '[']).unwrap_or(name.len()));
    let last = path.rsplit("::").next().unwrap_or_default();
    printable(&format!("{last}{parameters}"))
}

#[cfg(test)]
mod tests {
    use super::type_name;

    #[test]
    fn names_are_short() {
        for (text, name) in [
            ("u64", "u64"),
            ("[u8; 16]", "[u8; 16]"),
            ("demo::Tick { price: i64 @0 } size 8 align 8", "Tick"),
            (
                "a::FixedFrame<256> { FixedFrame with 256 bytes",
                "FixedFrame<256>",
            ),
        ] {
            assert_eq!(type_name(text), name);
        }
    }
}
