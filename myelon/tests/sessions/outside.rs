//! What a session looks like from outside, beside what its scheduler knows.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::shared::{Backing, Frame, Result, session, soon, take};
use disruptor_mp::inspect::Inspector;
use myelon::{Deadline, MappedFile, MyelonTransportLayout, Scheduler, Worker, requests_seen};

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

/// Of worker 0, in the ring in this file: how many requests it has not completed, and whether the age of the oldest is
/// told.
fn seen_in(path: &Path) -> Result<(u64, bool)> {
    let mut ring = Inspector::open(path)?;
    let snapshot = ring.snapshot()?;
    let of_worker = requests_seen(&ring, &snapshot)?;
    Ok((of_worker[0].in_flight, of_worker[0].oldest.is_some()))
}

/// Changes the boot in which the ring in this file was in use, by docs/segment-layout.md.
fn restart(path: &Path) -> Result {
    let file = File::options().read(true).write(true).open(path)?;
    let (mut boot, at) = ([0; 16], 4096 + 64);
    file.read_exact_at(&mut boot, at)?;
    file.write_all_at(&boot.map(|byte| byte ^ 0x5a), at)?;
    Ok(())
}

/// A file outlives a boot, and the clock begins anew with each.
#[test]
fn no_age_is_told_of_requests_that_may_be_of_another_boot() -> Result {
    let root = tempfile::tempdir()?;
    let root = root.path();
    let config = session(1);
    let layout = config.layout()?;
    let names = [layout.rpc_ring_name(), layout.request_ring_name(0)];
    let paths: [PathBuf; 2] = names.map(|name| root.join(name));
    let both = || -> Result<[(u64, bool); 2]> { Ok([seen_in(&paths[0])?, seen_in(&paths[1])?]) };
    let mut scheduler = MappedFile::scheduler(&config, root)?;
    scheduler.broadcast(b"", 1, soon())?;
    scheduler.send_to(0, b"", 1, soon())?;
    // it has a place in both rings from then on
    drop(MappedFile::worker(&config, root, 0)?);
    assert_eq!(both()?, [(1, true); 2]);
    scheduler.close()?;
    assert_eq!(
        both()?,
        [(1, true); 2],
        "nor does the scheduler's end change the age"
    );
    for path in &paths {
        restart(path)?;
    }
    assert_eq!(both()?, [(1, false); 2]);

    // the next scheduler is of this boot, and so are its requests; the worker has the older ones before them
    let mut scheduler = MappedFile::scheduler(&config, root)?;
    scheduler.broadcast(b"", 1, soon())?;
    scheduler.send_to(0, b"", 1, soon())?;
    assert_eq!(both()?, [(2, false); 2]);
    let mut worker = MappedFile::worker(&config, root, 0)?;
    for _ in 0..2 {
        take(&mut worker)?;
    }
    assert_eq!(both()?, [(1, true); 2]);
    // what is in a ring that its scheduler has not come to may be older
    restart(&paths[1])?;
    assert_eq!(both()?, [(1, true), (1, false)]);
    restart(&paths[1])?;
    std::fs::rename(&paths[0], root.join("elsewhere"))?;
    assert_eq!(
        seen_in(&paths[1])?,
        (1, false),
        "nothing is known of its scheduler"
    );
    std::fs::rename(root.join("elsewhere"), &paths[0])?;
    assert_eq!(both()?, [(1, true); 2]);
    worker.leave()?;
    scheduler.close()?;
    Ok(())
}

/// Positions are those that any process with the right to write the ring has stored.
#[test]
fn a_hostile_position_costs_no_more_than_the_ring_holds() -> Result {
    let config = session(1);
    let mut scheduler = Scheduler::<Frame>::start(&config)?;
    let worker = Worker::<Frame>::start(&config, 0)?;
    for _ in 0..3 {
        scheduler.broadcast(b"", 1, soon())?;
    }
    let mut ring = Inspector::open_shared_memory(&config.layout()?.rpc_ring_name())?;
    let honest = ring.snapshot()?;
    let of_worker = |seen| requests_seen(&ring, &seen).map(|of_worker| of_worker[0]);
    assert_eq!(of_worker(honest.clone())?.in_flight, 3);
    let hostile = [i64::MIN, i64::MIN + 1, -2, 1 << 61, i64::MAX - 1, i64::MAX];
    for position in hostile {
        let mut seen = honest.clone();
        seen.consumers[0].position = position;
        let expected = if position < 0 { 3 } else { 0 };
        assert_eq!(of_worker(seen.clone())?.in_flight, expected, "{position}");
        for (published, floor) in hostile
            .iter()
            .flat_map(|it| hostile.map(|floor| (*it, floor)))
        {
            (seen.published, seen.floor) = (published, floor);
            let found = of_worker(seen.clone())?;
            let slots = ring.info().capacity;
            assert!(
                found.in_flight <= slots && found.deliveries == 0,
                "{found:?}"
            );
        }
    }
    worker.leave()?;
    scheduler.close()?;
    Ok(())
}
