//! `lag`: how far each consumer is behind.

use std::io::{self, Write, stdout};

use disruptor_mp::inspect::{ConsumerSeen, Snapshot};
use serde_json::json;

use crate::implausible::Implausible;
use crate::options::Lag;
use crate::ring::{consumer_json, open};
use crate::text::{printable, table};
use crate::{Failure, Outcome, reported};

pub(crate) fn run(options: &Lag, json: bool) -> Result<Outcome, Failure> {
    let seen = open(&options.ring)?.snapshot()?;
    let mut implausible = Implausible::new(json);
    implausible.check(&seen);
    let is_any_over = seen.consumers.iter().any(|it| is_over(it, options));
    let outcome = Outcome::finding_if(is_any_over);
    reported(print(&seen, options, json), implausible.or(outcome))
}

fn is_over(consumer: &ConsumerSeen, options: &Lag) -> bool {
    // a consumer that is just joining has no position yet, and the producer does not wait for it
    consumer.is_gating && options.max.is_some_and(|max| consumer.lag > max)
}

fn print(seen: &Snapshot, options: &Lag, json: bool) -> io::Result<()> {
    let mut out = stdout().lock();
    if json {
        let consumers: Vec<_> = seen.consumers.iter().map(consumer_json).collect();
        let object = json!({
            "published": seen.published,
            "max": options.max,
            "is_over": seen.consumers.iter().any(|it| is_over(it, options)),
            "consumers": consumers,
        });
        writeln!(out, "{object}")?;
    } else if seen.consumers.is_empty() {
        crate::text::warn(format_args!("no consumer has a place in this ring"));
    } else {
        let row = |consumer: &ConsumerSeen| {
            let over = match is_over(consumer, options) {
                true => "over",
                false => "",
            };
            vec![
                printable(&consumer.id),
                consumer.lag.to_string(),
                consumer.presence.to_string(),
                String::from(over),
            ]
        };
        let rows: Vec<_> = [vec![]]
            .into_iter()
            .chain(seen.consumers.iter().map(row))
            .collect();
        for line in table(&rows).iter().skip(1) {
            writeln!(out, "{line}")?;
        }
    }
    Ok(())
}
