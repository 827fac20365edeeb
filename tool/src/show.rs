//! `show`: everything that is known about one ring.

use std::io::{self, Write, stdout};
use std::thread::sleep;
use std::time::SystemTime;

use disruptor_mp::inspect::Snapshot;

use crate::options::Show;
use crate::pace::Watch;
use crate::requests::Requests;
use crate::ring::held_by;
use crate::text::{age, bytes, printable, table};
use crate::{Failure, Outcome, reported};

pub(crate) fn run(options: &Show, json: bool) -> Result<Outcome, Failure> {
    let mut watch = Watch::open(&options.ring)?;
    sleep(options.interval);
    watch.refresh()?;
    let requests = Requests::of(&watch)?;
    let outcome = Outcome::finding_if(!watch.seen.faults.is_empty());
    reported(print(&watch, &requests, json), outcome)
}

fn print(watch: &Watch, requests: &Requests, json: bool) -> io::Result<()> {
    let mut out = stdout().lock();
    if json {
        let mut object = watch.json(&watch.ring.info().name);
        for (index, (consumer, _)) in watch.consumers().enumerate() {
            requests.add_to(consumer, &mut object["consumers"][index]);
        }
        return writeln!(out, "{object}");
    }
    for line in lines(watch, requests) {
        writeln!(out, "{line}")?;
    }
    Ok(())
}

fn lines(watch: &Watch, requests: &Requests) -> Vec<String> {
    let (ring, seen, info) = (&watch.ring, &watch.seen, watch.ring.info());
    let mut lines = Vec::new();
    let mut say = |label: &str, text: String| lines.push(format!("{label:<10} {text}"));
    say(
        "ring",
        format!(
            "{} ({})",
            printable(&info.name),
            printable(&ring.path().to_string_lossy())
        ),
    );
    if !info.label.is_empty() {
        say("for", printable(&info.label));
    }
    say("state", state(seen));
    say(
        "event",
        format!(
            "{} ({} bytes, layout id {:016x})",
            printable(&info.event.text),
            info.event.size,
            info.event.layout_id
        ),
    );
    say(
        "slots",
        format!(
            "{} of {} bytes, {} in all; layout version {}{}",
            info.capacity,
            info.stride,
            bytes(info.segment_bytes),
            info.layout_version,
            if info.has_observers {
                "; made for observers"
            } else {
                ""
            }
        ),
    );
    say("created", created(info.created, &info.creator.to_string()));
    say(
        "published",
        format!(
            "{} events, the last is {}; the slots of those up to {} may be reused",
            (seen.published - info.first_sequence + 1).max(0),
            seen.published,
            seen.floor
        ),
    );
    say("producer", producer(seen));
    say(
        "progress",
        format!(
            "{}, {} published",
            watch.producer.last_progress(),
            watch.producer.rate()
        ),
    );
    match held_by(seen) {
        Some(held_by) => say("full", format!("waits for {held_by}")),
        None => say("full", String::from("no")),
    }
    if !seen.kept_for.is_empty() {
        let ids: Vec<_> = seen.kept_for.iter().map(|id| printable(id)).collect();
        say("kept for", ids.join(", "));
    }
    match seen.is_in_doubt {
        Some(true) => say(
            "doubt",
            String::from("its events are in doubt: it was in use before a restart, or is a copy"),
        ),
        Some(false) => {}
        None => say(
            "doubt",
            String::from("not known: the boot's id cannot be read here"),
        ),
    }
    for fault in &seen.faults {
        say("implausible", fault.clone());
    }
    if seen.consumers.is_empty() {
        say("consumers", String::from("none; observers cannot be seen"));
        return lines;
    }
    lines.push(String::from("consumers"));
    let mut rows = vec![
        [
            "ID",
            "PRESENCE",
            "POSITION",
            "LAG",
            "RATE",
            "LAST PROGRESS",
            "PROCESS",
            "NOTE",
        ]
        .map(String::from)
        .to_vec(),
    ];
    for (consumer, pace) in watch.consumers() {
        let mut notes: Vec<_> = requests.text(consumer).into_iter().collect();
        if !consumer.is_durable {
            notes.push(String::from("automatic id"));
        }
        if consumer.is_asleep {
            notes.push(String::from("asleep"));
        }
        if let Some(count) = consumer.in_doubt {
            notes.push(format!("{count} events in doubt"));
        }
        rows.push(vec![
            printable(&consumer.id),
            consumer.presence.to_string(),
            consumer.position.to_string(),
            consumer.lag.to_string(),
            pace.rate(),
            pace.last_progress(),
            consumer.process.to_string(),
            notes.join(", "),
        ]);
    }
    lines.extend(table(&rows).into_iter().map(|line| format!("  {line}")));
    lines
}

fn state(seen: &Snapshot) -> String {
    let mut text = seen.phase().to_string();
    if let Some(last) = seen.closed {
        text += &format!(", closed after {last}");
    }
    if seen.is_kept {
        text += ", kept until it is removed";
    }
    text
}

fn producer(seen: &Snapshot) -> String {
    let producer = &seen.producer;
    let mut text = format!("{}, {}", producer.process, producer.liveness);
    if producer.epoch > 0 {
        text += &format!("; {} producers before it", producer.epoch);
    }
    if let Some(sequence) = producer.sleeps_for {
        text += &format!("; sleeps until {sequence} is released");
    }
    text
}

fn created(at: SystemTime, creator: &str) -> String {
    match at.elapsed() {
        Ok(time) => format!("{} ago by {creator}", age(time)),
        Err(_) => format!("at a time in the future, by {creator}"),
    }
}
