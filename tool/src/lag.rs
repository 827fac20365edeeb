//! `lag`: how far each consumer is behind.

use std::io::{Write, stdout};

use serde_json::json;

use crate::options::Lag;
use crate::ring::{consumer_json, open};
use crate::text::{printable, table};
use crate::{Failure, Outcome};

pub(crate) fn run(options: &Lag, json: bool) -> Result<Outcome, Failure> {
    let seen = open(&options.ring)?.snapshot()?;
    let exceeds = |lag: u64| options.max.is_some_and(|max| lag > max);
    // a consumer that is just joining has no position yet, and the producer does not wait for it
    let is_over = seen
        .consumers
        .iter()
        .any(|consumer| consumer.is_gating && exceeds(consumer.lag));
    let mut out = stdout().lock();
    if json {
        let consumers: Vec<_> = seen.consumers.iter().map(consumer_json).collect();
        let object = json!({
            "published": seen.published,
            "max": options.max,
            "is_over": is_over,
            "consumers": consumers,
        });
        writeln!(out, "{object}")?;
    } else if seen.consumers.is_empty() {
        eprintln!("no consumer has a place in this ring");
    } else {
        let row = |consumer: &disruptor_mp::inspect::ConsumerSeen| {
            let over = consumer.is_gating && exceeds(consumer.lag);
            vec![
                printable(&consumer.id),
                consumer.lag.to_string(),
                consumer.presence.to_string(),
                if over {
                    String::from("over")
                } else {
                    String::new()
                },
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
    Ok(if is_over {
        Outcome::Finding
    } else {
        Outcome::Fine
    })
}
