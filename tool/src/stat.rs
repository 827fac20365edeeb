//! `stat`: events per second over an interval.

use std::io::{Write, stdout};
use std::thread::sleep;

use serde_json::{Value, json};

use crate::implausible::Implausible;
use crate::options::Stat;
use crate::pace::{Pace, Watch};
use crate::requests::Requests;
use crate::text::printable;
use crate::{Failure, Outcome};

pub(crate) fn run(options: &Stat, json: bool) -> Result<Outcome, Failure> {
    let mut watch = Watch::open(&options.ring)?;
    let mut implausible = Implausible::new(json);
    for _ in 0..options.count {
        sleep(options.interval);
        watch.refresh()?;
        implausible.check(&watch.seen);
        let requests = Requests::of(&watch)?;
        let mut out = stdout().lock();
        match json {
            true => writeln!(out, "{}", object(&watch, &requests))?,
            false => writeln!(out, "{}", line(&watch, &requests))?,
        }
        out.flush()?;
    }
    Ok(implausible.or(Outcome::Fine))
}

fn object(watch: &Watch, requests: &Requests) -> Value {
    let with = |pace: Pace, mut object: Value| {
        pace.add_to(&mut object);
        object
    };
    let consumers: Vec<_> = watch
        .consumers()
        .map(|(consumer, pace)| {
            let mut object = with(pace, json!({"id": consumer.id, "lag": consumer.lag}));
            requests.add_to(consumer, &mut object);
            object
        })
        .collect();
    json!({
        "seconds": watch.interval.as_secs_f64(),
        "state": watch.seen.phase().to_string(),
        "published": watch.seen.published,
        "producer": with(watch.producer, json!({})),
        "consumers": consumers,
    })
}

fn line(watch: &Watch, requests: &Requests) -> String {
    let producer = watch.producer;
    let mut line = format!(
        "{:>10} published ({})",
        producer.rate(),
        producer.last_progress()
    );
    for (consumer, pace) in watch.consumers() {
        let id = printable(&consumer.id);
        line += &match pace.rate() {
            // it has come since the last snapshot
            rate if rate.is_empty() => format!("; {id}: {} behind", consumer.lag),
            rate => format!(
                "; {id}: {rate} released ({}), {} behind",
                pace.last_progress(),
                consumer.lag
            ),
        };
        if let Some(requests) = requests.text(consumer) {
            line += &format!(" ({requests})");
        }
    }
    line
}
