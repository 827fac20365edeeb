//! `stat`: events per second over an interval.

use std::io::{Write, stdout};
use std::thread::sleep;
use std::time::Instant;

use disruptor_mp::inspect::Snapshot;
use serde_json::json;

use crate::options::Stat;
use crate::ring::open;
use crate::text::{printable, rate};
use crate::{Failure, Outcome};

pub(crate) fn run(options: &Stat, json: bool) -> Result<Outcome, Failure> {
    let mut ring = open(&options.ring)?;
    let mut before = (ring.snapshot()?, Instant::now());
    for _ in 0..options.count {
        sleep(options.interval);
        let now = (ring.snapshot()?, Instant::now());
        let seconds = (now.1 - before.1).as_secs_f64();
        let rates = Rates::between(&before.0, &now.0, seconds);
        let mut out = stdout().lock();
        if json {
            let consumers: Vec<_> = rates
                .released
                .iter()
                .map(|(id, rate, lag)| json!({"id": id, "released_per_s": rate, "lag": lag}))
                .collect();
            let object = json!({
                "seconds": seconds,
                "state": now.0.phase().to_string(),
                "published": now.0.published,
                "published_per_s": rates.published,
                "consumers": consumers,
            });
            writeln!(out, "{object}")?;
        } else {
            write!(out, "{:>8}/s published", rate(rates.published))?;
            for (id, released, lag) in &rates.released {
                write!(
                    out,
                    "; {}: {}/s released, {lag} behind",
                    printable(id),
                    rate(*released)
                )?;
            }
            writeln!(out)?;
        }
        out.flush()?;
        before = now;
    }
    Ok(Outcome::Fine)
}

/// Rates in events per second.
pub(crate) struct Rates {
    pub(crate) published: f64,
    /// For each consumer that was there both times: its id, its rate and its lag.
    pub(crate) released: Vec<(String, f64, u64)>,
}

impl Rates {
    pub(crate) fn between(before: &Snapshot, now: &Snapshot, seconds: f64) -> Self {
        let per_second = |from: i64, to: i64| to.saturating_sub(from).max(0) as f64 / seconds;
        let released = now.consumers.iter().filter_map(|consumer| {
            let same = before
                .consumers
                .iter()
                .find(|earlier| (earlier.line, &earlier.id) == (consumer.line, &consumer.id))?;
            let rate = per_second(same.position, consumer.position);
            Some((consumer.id.clone(), rate, consumer.lag))
        });
        Self {
            published: per_second(before.published, now.published),
            released: released.collect(),
        }
    }
}
