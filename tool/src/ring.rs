//! Opening rings, and their plain values as JSON.

use std::path::{Path, PathBuf};

use disruptor_mp::inspect::{
    ConsumerSeen, Found, HeldBy, Inspector, Process, Snapshot, rings_in, shared_memory_directory,
};
use serde_json::{Value, json};

use crate::Failure;
use crate::options::In;
use crate::text::printable;

/// The path of a ring that was given by its name in shared memory, or by its path.
pub(crate) fn path_of(ring: &str) -> PathBuf {
    match ring.contains('/') {
        true => PathBuf::from(ring),
        false => shared_memory_directory().join(ring),
    }
}

pub(crate) fn open(ring: &str) -> Result<Inspector, Failure> {
    Ok(Inspector::open(path_of(ring))?)
}

/// Refuses a ring whose events are in doubt (R17): what its slots hold may be of different moments.
pub(crate) fn check_order(ring: &Inspector, seen: &Snapshot) -> Result<(), Failure> {
    if seen.is_in_doubt != Some(true) {
        return Ok(());
    }
    let text = format!(
        "the events of the ring at {} are in doubt: the machine was restarted while the ring was in use, or the file is a \
         copy, so its slots may be of different moments; start its producer or one of its consumers, which settles that, \
         then run this again",
        ring.path().display()
    );
    Err(Failure::Failed("in-doubt", text))
}

impl In {
    pub(crate) fn directory(&self) -> PathBuf {
        self.dir.clone().unwrap_or_else(shared_memory_directory)
    }

    /// The rings in the directory.
    pub(crate) fn rings(&self) -> Result<impl Iterator<Item = Found> + use<>, Failure> {
        let directory = self.directory();
        let failed = |error| Failure::Io(format!("reading {}", directory.display()), error);
        rings_in(&directory).map_err(failed)
    }
}

/// What holds a full ring, in words.
pub(crate) fn held_by(seen: &Snapshot) -> Option<String> {
    Some(match seen.held_by.as_ref()? {
        HeldBy::Consumer(_) => {
            let held_by = seen.blocker()?;
            format!(
                "consumer '{}' ({}, {}), {} events behind",
                printable(&held_by.id),
                held_by.process,
                held_by.presence,
                held_by.lag
            )
        }
        HeldBy::FirstConsumer => {
            String::from("a first consumer: the producer sleeps until it comes")
        }
        HeldBy::Nobody => String::from(
            "no consumer: the producer runs free, or waits for its first consumer without sleeping",
        ),
        _ => String::from("something that this program does not know"),
    })
}

/// A ring and what was seen of it.
pub(crate) fn ring_json(name: &str, ring: &Inspector, seen: &Snapshot) -> Value {
    let info = ring.info();
    let since = info.created.duration_since(std::time::UNIX_EPOCH);
    json!({
        "ring": name,
        "path": path_json(ring.path()),
        "label": info.label,
        "state": seen.phase().to_string(),
        "layout_version": info.layout_version,
        "capacity": info.capacity,
        "segment_bytes": info.segment_bytes,
        "stride": info.stride,
        "event": {
            "size": info.event.size,
            "align": info.event.align,
            "layout_id": format!("{:016x}", info.event.layout_id),
            "text": info.event.text,
        },
        "first_sequence": info.first_sequence,
        "has_observers": info.has_observers,
        "created_unix_s": since.map_or(0, |since| since.as_secs()),
        "published": seen.published,
        "floor": seen.floor,
        "gate": seen.gate,
        "producer": {
            "process": process_json(&seen.producer.process),
            "liveness": seen.producer.liveness.to_string(),
            "epoch": seen.producer.epoch,
            "sleeps_for": seen.producer.sleeps_for,
        },
        "consumers": seen.consumers.iter().map(consumer_json).collect::<Vec<_>>(),
        "closed_at": seen.closed,
        "is_kept": seen.is_kept,
        "kept_for": seen.kept_for,
        "held_by": seen.held_by.as_ref().map(|_| held_by(seen)),
        "is_full": seen.held_by.is_some(),
        "is_in_doubt": seen.is_in_doubt,
        "faults": seen.faults,
    })
}

pub(crate) fn consumer_json(consumer: &ConsumerSeen) -> Value {
    json!({
        "id": consumer.id,
        "line": consumer.line,
        "is_durable": consumer.is_durable,
        "process": process_json(&consumer.process),
        "presence": consumer.presence.to_string(),
        "is_gating": consumer.is_gating,
        "position": consumer.position,
        "lag": consumer.lag,
        "is_asleep": consumer.is_asleep,
        "in_doubt": consumer.in_doubt,
    })
}

fn process_json(process: &Process) -> Value {
    json!({
        "pid": process.pid,
        "pid_namespace": process.pid_namespace,
        "is_in_this_namespace": process.is_in_this_namespace(),
    })
}

pub(crate) fn path_json(path: &Path) -> Value {
    Value::String(path.to_string_lossy().into_owned())
}
