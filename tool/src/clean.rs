//! `clean` and `rm`: removing dead rings.

use std::io::{self, Write, stdout};
use std::path::Path;

use disruptor_mp::inspect::{InspectError, RemovalCheck, RemovalError, check_removal, remove_dead};
use serde_json::{Value, json};

use crate::list::hidden;
use crate::options::{Clean, Rm};
use crate::ring::{path_json, path_of};
use crate::text::printable;
use crate::{Failure, Outcome, reported};

/// What happened to one ring.
struct Deed {
    name: String,
    path: std::path::PathBuf,
    /// `removed`, `would-remove`, `kept`, `in-use`, `refused`, or `unreadable`: the file may be no ring.
    result: &'static str,
    /// Why, or what is lost.
    words: Vec<String>,
}

pub(crate) fn clean(options: &Clean, json: bool) -> Result<Outcome, Failure> {
    let mut deeds = Vec::new();
    let mut is_refused = false;
    for found in options.place.rings()? {
        let (name, path) = (found.name, found.path);
        // its locks need not be open any longer
        let unreadable = found.ring.map(drop).err();
        let unreadable =
            unreadable.filter(|error| matches!(error, InspectError::Unreadable { .. }));
        let deed = match unreadable {
            Some(error) => Ok(("unreadable", vec![error.to_string()])),
            None => remove(&path, options.dry_run, options.force),
        };
        let (result, words) = match deed {
            Ok(deed) => deed,
            Err(
                RemovalError::Inspect(InspectError::NotFound { .. }) | RemovalError::Changed { .. },
            ) => continue,
            Err(error) => {
                is_refused = true;
                ("refused", vec![error.to_string()])
            }
        };
        deeds.push(Deed {
            name,
            path,
            result,
            words,
        });
    }
    let outcome = match is_refused {
        true => Outcome::Refused,
        false => Outcome::Fine,
    };
    reported(print(&deeds, &options.place.directory(), json), outcome)
}

fn print(deeds: &[Deed], directory: &Path, json: bool) -> io::Result<()> {
    let mut out = stdout().lock();
    if json {
        let array: Vec<_> = deeds.iter().map(Deed::json).collect();
        return writeln!(out, "{}", Value::Array(array));
    }
    let (unreadable, rings): (Vec<_>, Vec<_>) = deeds.iter().partition(|deed| deed.is_unreadable());
    // a ring in use is what an operator expects
    let mut told = 0;
    for deed in rings.iter().filter(|deed| deed.result != "in-use") {
        writeln!(out, "{}", deed.line())?;
        told += 1;
    }
    if told == 0 {
        writeln!(out, "nothing to remove in {}", directory.display())?;
    }
    if let Some(line) = hidden(unreadable.len()) {
        writeln!(out, "{line}")?;
    }
    Ok(())
}

pub(crate) fn rm(options: &Rm, json: bool) -> Result<Outcome, Failure> {
    let path = path_of(&options.ring);
    let (result, words) = remove(&path, options.dry_run, options.force)?;
    let deed = Deed {
        name: options.ring.clone(),
        path,
        result,
        words,
    };
    let outcome = match result {
        "removed" | "would-remove" => Outcome::Fine,
        _ => Outcome::Refused,
    };
    let said = match json {
        true => writeln!(stdout(), "{}", deed.json()),
        false => writeln!(stdout(), "{}", deed.line()),
    };
    reported(said, outcome)
}

/// Removes a ring, or says what would happen. Errors are those of the system, and files that are no rings.
fn remove(
    path: &Path,
    is_dry: bool,
    is_forced: bool,
) -> Result<(&'static str, Vec<String>), RemovalError> {
    let RemovalCheck {
        in_use_by, losses, ..
    } = check_removal(path)?;
    if !in_use_by.is_empty() {
        return Ok(("in-use", in_use_by));
    }
    if !losses.is_empty() && !is_forced {
        return Ok(("kept", losses));
    }
    if is_dry {
        return Ok(("would-remove", losses));
    }
    match remove_dead(path, is_forced) {
        Ok(losses) => Ok(("removed", losses)),
        // a process came between the check and the removal
        Err(RemovalError::InUse { by, .. }) => Ok(("in-use", by)),
        Err(RemovalError::WouldLose { losses, .. }) => Ok(("kept", losses)),
        Err(error) => Err(error),
    }
}

impl Deed {
    fn is_unreadable(&self) -> bool {
        self.result == "unreadable"
    }

    fn line(&self) -> String {
        let name = printable(&self.name);
        let words = printable(&self.words.join("; "));
        match (self.result, words.as_str()) {
            ("removed", "") => format!("{name}: removed"),
            ("removed", lost) => format!("{name}: removed; lost: {lost}"),
            ("would-remove", "") => format!("{name}: would be removed"),
            ("would-remove", lost) => format!("{name}: would be removed; lost: {lost}"),
            ("kept", lost) => {
                format!("{name}: kept, as this would lose {lost}; --force removes it all the same")
            }
            ("in-use", by) => format!("{name}: kept, as it is in use by {by}"),
            (_, why) => format!("{name}: {why}"),
        }
    }

    fn json(&self) -> Value {
        // of a file that may not be read, nothing says that it is a ring
        let ring = (!self.is_unreadable()).then_some(&self.name);
        json!({"ring": ring, "path": path_json(&self.path), "result": self.result, "words": self.words})
    }
}
