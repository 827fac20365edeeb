//! What the workers of a session have to do, from outside: while their scheduler is busy with something else, and after
//! a worker was killed.

use myelon::transport::FixedFrame;
use myelon::{Deadline, MappedFile, Scheduler};
use serde_json::{Value, json};

use crate::party::{Rings, session};
use crate::serving::{Server, has};
use crate::{ends, wait_until};

type Frame = FixedFrame<64>;

/// What `show` or another command says of the requests of a worker.
fn requests(command: &str, ring: &str, id: &str) -> Value {
    let run = ends(0, &[command, ring, "--json", "--interval", "1ms"]);
    let object = run.json();
    let consumers = object["consumers"].as_array().expect("consumers").iter();
    let mut of_id = consumers.filter(|consumer| consumer["id"] == id);
    of_id.next().expect("the worker")["requests"].clone()
}

#[test]
fn a_busy_scheduler_and_a_killed_worker_hide_nothing() {
    let rings = Rings::new();
    let config = session("figures");
    let names = config.layout().expect("names");
    let (common, own) = (names.rpc_ring_name(), names.request_ring_name(0));
    let [to_all, to_one] = [&common, &own].map(|name| rings.named(name));
    // in this process, which makes none of its calls while the program reads
    let mut scheduler =
        Scheduler::<Frame, Frame, MappedFile>::start_in_files(&config, rings.directory())
            .expect("a scheduler");
    let mut worker = rings.party_that("figures", &["work 0"]);
    let _other = rings.party_that("figures", &["work 1"]);
    let soon = Deadline::NEVER;
    scheduler.broadcast(b"weights", 1, soon).expect("sent");
    // four frames, and a notice in the common ring
    scheduler.send_to(0, &[7; 200], 1, soon).expect("sent");
    scheduler.send_to(0, b"prompt", 1, soon).expect("sent");
    worker.ok("request done");
    worker.ok("request");
    worker.ok("request");
    for is_alive in [true, false] {
        if !is_alive {
            worker.kill();
        }
        for command in ["show", "stat"] {
            let [done, left, unread] = [
                (&to_all, "worker_0"),
                (&to_one, "worker_0"),
                (&to_all, "worker_1"),
            ]
            .map(|(ring, id)| requests(command, ring, id));
            assert_eq!(
                done,
                json!({"in_flight": 0, "oldest_seconds": null, "deliveries": 0})
            );
            let counts = |of: &Value| (of["in_flight"].clone(), of["deliveries"].clone());
            assert_eq!(counts(&left), (json!(2), json!(2)), "{left}");
            assert_eq!(counts(&unread), (json!(1), json!(0)), "{unread}");
            let age = |of: &Value| of["oldest_seconds"].as_f64().expect("an age");
            assert!(age(&unread) >= age(&left), "{unread} {left}");
            wait_until("the oldest request is older", || {
                age(&requests(command, &to_one, "worker_0")) > age(&left)
            });
        }
        ends(0, &["show", &to_one]).has(&["2 requests, the oldest sent ", "delivered 2 times"]);
        ends(0, &["stat", &to_one, "--interval", "1ms"]).has(&["(2 requests, the oldest"]);
        let server = Server::start(rings.directory().to_str().expect("UTF-8"));
        let of = |ring: &str, rank: usize| {
            format!(r#"{{ring="{ring}",role="consumer",id="worker_{rank}",line="{rank}"}}"#)
        };
        let text = server.metrics();
        has(
            &text,
            &[
                &format!("myelon_worker_requests{} 0", of(&common, 0)),
                &format!(
                    "myelon_worker_oldest_request_milliseconds{} 0",
                    of(&common, 0)
                ),
                &format!("myelon_worker_requests{} 2", of(&own, 0)),
                &format!("myelon_worker_deliveries{} 2", of(&own, 0)),
                &format!("myelon_worker_requests{} 1", of(&common, 1)),
                &format!(
                    "myelon_consumer_away{} {}",
                    of(&own, 0),
                    u8::from(!is_alive)
                ),
            ],
        );
        let age = format!("myelon_worker_oldest_request_milliseconds{} ", of(&own, 0));
        let age = text.lines().find_map(|line| line.strip_prefix(&age));
        assert!(
            age.is_some_and(|age| age.parse::<u64>().expect(age) > 0),
            "{text}"
        );
    }
    // its successor completes what it has left
    let mut worker = rings.party_that("figures", &["work 0"]);
    worker.ok("request done");
    worker.ok("request done");
    assert_eq!(requests("show", &to_one, "worker_0")["in_flight"], 0);
    // a ring of something else has no requests
    let _tx = rings.party_that("ticks", &["produce 8"]);
    let _rx = rings.party_that("ticks", &["consume 8 worker_0"]);
    let other = rings.named("ticks");
    assert_eq!(requests("show", &other, "worker_0"), Value::Null);
}
