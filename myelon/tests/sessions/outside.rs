//! What a session looks like from outside, beside what its scheduler knows.

use std::time::Duration;

use crate::shared::{Frame, Result, session, soon, take};
use disruptor_mp::inspect::Inspector;
use myelon::{Deadline, MyelonTransportLayout, Scheduler, Worker, requests_seen};

/// Of the worker `rank`, in the rings that exist: the requests that it has not completed, the age of the oldest, and
/// how often it was delivered.
fn seen(layout: &MyelonTransportLayout, rank: usize) -> Result<(u64, Option<Duration>, u32)> {
    let mut sum = (0, None, 0);
    for name in [layout.rpc_ring_name(), layout.request_ring_name(rank)] {
        let Ok(mut ring) = Inspector::open_shared_memory(&name) else {
            continue;
        };
        let snapshot = ring.snapshot()?;
        let of_rank = requests_seen(&ring, &snapshot)?;
        let of_rank = of_rank.iter().find(|worker| worker.rank == rank);
        let of_rank = of_rank.expect("it is attached");
        sum.0 += of_rank.in_flight;
        sum.1 = sum.1.max(of_rank.oldest);
        sum.2 = sum.2.max(of_rank.deliveries);
    }
    Ok(sum)
}

/// Requests of one frame and of several, to all and to one, completed and returned, in an order that chance gives.
#[test]
fn readers_outside_count_what_the_scheduler_counts() -> Result {
    let config = session(2);
    let layout = config.layout()?;
    let mut scheduler = Scheduler::<Frame>::start(&config)?;
    let mut workers = [
        Worker::<Frame>::start(&config, 0)?,
        Worker::start(&config, 1)?,
    ];
    // a worker that has not heard of its own ring has no line there
    for (rank, worker) in workers.iter_mut().enumerate() {
        scheduler.send_to(rank, b"", 1, soon())?;
        take(worker)?;
    }
    let now = Deadline::after(Duration::ZERO);
    let mut chance = 0x9e37_79b9_7f4a_7c15_u64;
    let mut sent = 0;
    for _ in 0..600 {
        chance = chance
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        let [kind, rank, len] = [0, 1, 2].map(|at| (chance >> (40 + 8 * at)) as usize & 0xff);
        let (rank, message) = (rank % 2, vec![7; len]);
        // a full ring refuses, and an empty one has nothing
        match kind % 8 {
            0 => sent += u32::from(scheduler.broadcast(&message, 1, now).is_ok()),
            1 => sent += u32::from(scheduler.send_to(rank, &message, 1, now).is_ok()),
            2 => {
                if let Ok(reserved) = scheduler.reserve(len % 40, 1, now) {
                    reserved.publish();
                }
            }
            3 => drop(workers[rank].recv(now)),
            _ => {
                if let Ok(request) = workers[rank].recv(now) {
                    request.done();
                }
            }
        }
        for state in scheduler.state() {
            let (in_flight, oldest, deliveries) = seen(&layout, state.rank)?;
            assert_eq!(in_flight, state.in_flight as u64, "{state:?}");
            assert_eq!(deliveries, state.deliveries, "{state:?}");
            assert_eq!(oldest.is_some(), state.oldest.is_some(), "{state:?}");
            // one is cut to milliseconds, and was read earlier
            let ages = oldest.zip(state.oldest);
            let millisecond = Duration::from_millis(1);
            assert!(ages.is_none_or(|(outside, inside)| outside + millisecond >= inside));
        }
    }
    assert!(sent > 50, "{sent}");
    for worker in workers {
        worker.leave()?;
    }
    scheduler.close()?;
    Ok(())
}
