//! Values in a ring that cannot be true: a finding of every command that reads the ring.

use disruptor_mp::inspect::Snapshot;
use serde_json::json;

use crate::Outcome;
use crate::text::{printable, warn};

/// Whether a ring had such values in any snapshot, and so whether they were told.
pub(crate) struct Implausible {
    is_json: bool,
    is_told: bool,
}

impl Implausible {
    pub(crate) fn new(is_json: bool) -> Self {
        Self {
            is_json,
            is_told: false,
        }
    }

    /// Tells the faults of a snapshot in one line on standard error, once.
    pub(crate) fn check(&mut self, seen: &Snapshot) {
        if seen.faults.is_empty() || self.is_told {
            return;
        }
        self.is_told = true;
        let text = printable(&format!("implausible: {}", seen.faults.join("; ")));
        match self.is_json {
            true => warn(format_args!(
                "{}",
                json!({"error": "implausible", "text": text})
            )),
            false => warn(format_args!("myelon: {text}")),
        }
    }

    /// A finding if there were any, or else what the command has found.
    pub(crate) fn or(&self, outcome: Outcome) -> Outcome {
        match self.is_told {
            true => Outcome::Finding,
            false => outcome,
        }
    }
}
