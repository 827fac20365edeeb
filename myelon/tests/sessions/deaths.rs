//! What a scheduler is told, and what its log says, when the process of a worker is killed.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::mpsc;
use std::time::Duration;

use crate::members::{Member, exit_when_the_test_ends, role, say};
use crate::shared::{Backing, Frame, Result, soon};
use crate::text_codec::Text;
use disruptor_mp::inspect::Inspector;
use myelon::{
    Deadline, OnWorkerDeath, RunnerMyelonTransportConfig, Scheduler, SharedMemory, Worker,
    WorkerDeath, portable_shm_segment_name,
};

fn within(milliseconds: u64) -> Deadline {
    Deadline::after(Duration::from_millis(milliseconds))
}

/// A session whose scheduler checks for deaths every 5 ms.
fn config(label: &str, policy: OnWorkerDeath) -> RunnerMyelonTransportConfig {
    let config = RunnerMyelonTransportConfig::new(label, 2).with_on_worker_death(policy);
    let rings = config.transport.clone().with_rpc_depth(16);
    config.with_transport(rings.with_liveness_interval(Duration::from_millis(5)))
}

/// Does nothing unless this process was started as a member: a scheduler, or a worker of the rank that is its role.
#[test]
fn a_member_of_a_test() -> Result {
    let Some((rank, label)) = role() else {
        return Ok(());
    };
    match &*rank {
        "closes descriptors" => return close_descriptors(&label),
        #[cfg(feature = "tokio")]
        "calls in tasks" | "gathers in tasks" => return call_in_tasks(&label, &rank),
        _ => {}
    }
    let config = config(&label, OnWorkerDeath::Wait);
    let mut worker = Worker::<Frame>::start(&config, rank.parse()?)?;
    say("started");
    exit_when_the_test_ends();
    while worker.serve(Deadline::NEVER, |_, _| b"").is_ok() {}
    Ok(worker.leave()?)
}

fn worker(rank: usize, label: &str) -> Result<Member> {
    let mut member = Member::start(module_path!(), &rank.to_string(), label)?;
    assert_eq!(member.answer(), "started");
    Ok(member)
}

/// A session whose second worker has been killed, after `served` requests to it alone.
fn with_a_dead_worker(
    label: &str,
    scheduler: &mut Scheduler<Frame>,
    served: usize,
) -> Result<(Member, u32)> {
    let (first, mut second) = (worker(0, label)?, worker(1, label)?);
    for _ in 0..served {
        scheduler.call(1, b"", 1, soon())?.release();
    }
    second.kill()?;
    Ok((first, second.process.id()))
}

/// Ends the session, and what its dead workers have left.
fn end(label: &str, scheduler: Scheduler<Frame>, mut first: Member) -> Result {
    first.kill()?;
    let config = config(label, OnWorkerDeath::Wait);
    for rank in [0, 1] {
        Worker::<Frame>::start(&config, rank)?.leave()?;
    }
    scheduler.close()?;
    assert_eq!(SharedMemory::rings(&config, Path::new("")), [""; 0]);
    Ok(())
}

/// A scheduler that checks for deaths before and after it has closed descriptors that are not its own.
fn close_descriptors(label: &str) -> Result {
    let mut scheduler = Scheduler::<Frame>::start(&config(label, OnWorkerDeath::Wait))?;
    scheduler.set_death_hook(|death| say(&format!("dead: {death:?}")));
    say("started");
    for closes in [false, true] {
        std::io::stdin().read_line(&mut String::new())?;
        if closes {
            for descriptor in 3..1_000 {
                let _ = nix::unistd::close(descriptor);
            }
        }
        let states = scheduler.state();
        let states = states
            .iter()
            .map(|it| (it.is_attached, it.is_away, it.deaths));
        let states = states.collect::<Vec<_>>();
        say(&format!(
            "{states:?}, missing: {}",
            scheduler.missing_workers().len()
        ));
    }
    // dropping the scheduler would close descriptors that are closed
    std::process::exit(0);
}

/// A scheduler whose lock descriptors are gone cannot probe any lock. That is no death.
#[test]
fn a_scheduler_that_cannot_probe_locks_takes_nobody_for_dead() -> Result {
    let label = portable_shm_segment_name("deaths");
    let mut blind = Member::start(module_path!(), "closes descriptors", &label)?;
    assert_eq!(blind.answer(), "started");
    let config = config(&label, OnWorkerDeath::Wait);
    // they receive nothing, so they do not notice that the scheduler counts as dead without its lock
    let workers = [0, 1].map(|rank| Worker::<Frame>::start(&config, rank).expect("starts"));
    for _ in 0..2 {
        blind.tell("check")?;
        let alive = "[(true, false, 0), (true, false, 0)], missing: 0";
        assert_eq!(blind.answer(), alive);
    }
    blind.process.wait()?;
    let scheduler = Scheduler::<Frame>::start(&config)?;
    for worker in workers {
        worker.leave()?;
    }
    scheduler.close()?;
    assert_eq!(SharedMemory::rings(&config, Path::new("")), [""; 0]);
    Ok(())
}

/// Words of its place that do not say which absence it is may change, or be read late.
#[test]
fn a_death_is_told_once_whatever_else_its_place_shows() -> Result {
    let label = portable_shm_segment_name("deaths");
    let config = config(&label, OnWorkerDeath::Wait);
    let mut scheduler = Scheduler::<Frame>::start(&config)?;
    let (told, deaths) = mpsc::channel::<WorkerDeath>();
    scheduler.set_death_hook(move |death| told.send(death).expect("the test hears"));
    let (first, _) = with_a_dead_worker(&label, &mut scheduler, 0)?;
    let ring = config.layout()?.rpc_ring_name();
    let path = Path::new("/dev/shm").join(&ring);
    let seen = Inspector::open(&path)?.snapshot()?;
    let mut consumers = seen.consumers.iter();
    let line = consumers.find(|it| it.id == "worker_1").expect("its line");
    // by docs/segment-layout.md: the note is the last word of the line
    let at = 4096 + 1024 + 128 * line.line as u64 + 120;
    let file = File::options().write(true).open(&path)?;
    for note in 1..=3_u64 {
        file.write_all_at(&note.to_ne_bytes(), at)?;
        let _ = scheduler.recv_any(within(30)).map(drop);
        assert_eq!(scheduler.state()[1].deaths, 1);
    }
    assert_eq!(deaths.try_iter().count(), 1);
    end(&label, scheduler, first)
}

/// Whatever the policy, and whichever call waits or receives.
#[test]
fn a_hook_is_told_of_each_death_once() -> Result {
    type Waits = fn(&mut Scheduler<Frame>);
    let waits: [(&str, Waits); 5] = [
        ("call", |scheduler| {
            _ = scheduler.call(1, b"", 1, within(200)).map(drop)
        }),
        ("recv_any", |scheduler| {
            _ = scheduler.recv_any(within(200)).map(drop)
        }),
        ("recv_any_value", |scheduler| {
            _ = scheduler.recv_any_value::<Text>(within(200)).map(drop)
        }),
        ("state", |scheduler| _ = scheduler.state()),
        ("broadcast", |scheduler| {
            // until the ring is full, and then until the deadline
            while scheduler.broadcast(b"", 1, within(200)).is_ok() {}
        }),
    ];
    let policies = [
        OnWorkerDeath::Wait,
        OnWorkerDeath::Fail,
        OnWorkerDeath::RemoveAfter(Duration::from_secs(3_600)),
    ];
    for (policy, (name, wait)) in policies.iter().flat_map(|it| waits.map(|wait| (*it, wait))) {
        let label = portable_shm_segment_name("deaths");
        let mut scheduler = Scheduler::<Frame>::start(&config(&label, policy))?;
        let (told, deaths) = mpsc::channel::<WorkerDeath>();
        scheduler.set_death_hook(move |death| told.send(death).expect("the test hears"));
        let (first, pid) = with_a_dead_worker(&label, &mut scheduler, 0)?;
        wait(&mut scheduler);
        let death = deaths.try_recv()?;
        assert_eq!(
            (death.rank, death.pid, death.policy),
            (1, pid, policy),
            "{name}"
        );
        // also when the worker has requests of its own, and calls wait again
        let _ = scheduler.send_to(1, b"", 1, within(0));
        let _ = scheduler.recv_any(within(30)).map(drop);
        scheduler.state();
        assert_eq!(deaths.try_recv().ok(), None, "{name}, {policy:?}");

        let mut third = worker(1, &label)?;
        scheduler.state();
        third.kill()?;
        let _ = scheduler.recv_any(within(200)).map(drop);
        assert_eq!(
            deaths.try_recv()?.pid,
            third.process.id(),
            "{name}, {policy:?}"
        );
        assert_eq!(deaths.try_recv().ok(), None, "{name}, {policy:?}");
        end(&label, scheduler, first)?;
    }
    Ok(())
}

/// A scheduler for tasks that nobody calls checks for deaths as well.
#[cfg(feature = "tokio")]
#[test]
fn the_hook_of_a_scheduler_for_tasks_is_told_while_it_is_idle() -> Result {
    let label = portable_shm_segment_name("deaths");
    let mut scheduler = Scheduler::<Frame>::start(&config(&label, OnWorkerDeath::Wait))?;
    let (told, deaths) = mpsc::channel::<WorkerDeath>();
    scheduler.set_death_hook(move |death| told.send(death).expect("the test hears"));
    let scheduler = myelon::AsyncScheduler::new(scheduler)?;
    let (mut first, mut second) = (worker(0, &label)?, worker(1, &label)?);
    for member in [&mut first, &mut second] {
        member.kill()?;
        let death = deaths.recv_timeout(Duration::from_secs(10))?;
        assert_eq!(death.pid, member.process.id());
    }
    assert!(deaths.recv_timeout(Duration::from_millis(30)).is_err());
    for rank in [0, 1] {
        Worker::<Frame>::start(&config(&label, OnWorkerDeath::Wait), rank)?.leave()?;
    }
    drop(scheduler);
    Ok(())
}

/// The log names the worker, its process, what waits for it, and what may be done.
#[test]
fn a_broadcast_that_a_dead_worker_blocks_warns() -> Result {
    for is_to_all in [true, false] {
        let label = portable_shm_segment_name("deaths");
        let mut scheduler = Scheduler::<Frame>::start(&config(&label, OnWorkerDeath::Wait))?;
        let (first, pid) = with_a_dead_worker(&label, &mut scheduler, 1)?;
        let ((), heard) = crate::heard::while_it(|| {
            loop {
                let sent = match is_to_all {
                    true => scheduler.broadcast(b"", 1, within(1_200)),
                    false => scheduler.send_to(1, b"", 1, within(1_200)),
                };
                if sent.is_err() {
                    return;
                }
            }
        });
        let what_waits = match is_to_all {
            true => "requests to all workers wait for it",
            false => "requests to it wait",
        };
        let words = [
            &format!("pid {pid}"),
            "'worker_1'",
            what_waits,
            "Start a worker of this rank",
            "remove_worker()",
            "OnWorkerDeath::Wait",
            "RemoveAfter(duration)",
            "Fail",
        ];
        let about = |text: &&String| words.iter().all(|words| text.contains(*words));
        assert_eq!(heard.iter().filter(about).count(), 1, "{heard:?}");
        end(&label, scheduler, first)?;
    }
    Ok(())
}

/// The same for a call that waits for an answer.
#[test]
fn a_call_that_waits_for_a_dead_worker_warns() -> Result {
    let label = portable_shm_segment_name("deaths");
    let mut scheduler = Scheduler::<Frame>::start(&config(&label, OnWorkerDeath::Wait))?;
    let (first, pid) = with_a_dead_worker(&label, &mut scheduler, 1)?;
    let (_, heard) = crate::heard::while_it(|| scheduler.call(1, b"", 1, within(1_300)).map(drop));
    let words = format!("worker 1 has died (pid {pid}): a call waits for its answer to request");
    let about: Vec<_> = heard.iter().filter(|text| text.contains(&words)).collect();
    assert!(
        about.len() == 1 && about[0].contains("OnWorkerDeath::Wait"),
        "{heard:?}"
    );
    end(&label, scheduler, first)
}

/// Two tasks call a worker, or more tasks than the ring has frames call all workers; what the log says of that is this
/// member's answer.
#[cfg(feature = "tokio")]
fn call_in_tasks(label: &str, role: &str) -> Result {
    use std::future::Future;
    use std::pin::pin;
    use std::task::{Context, Waker};
    use std::thread;
    use std::time::Instant;

    let heard = crate::heard::from_now_on();
    let scheduler = Scheduler::<Frame>::start(&config(label, OnWorkerDeath::Wait))?;
    let scheduler = myelon::AsyncScheduler::new(scheduler)?;
    say("started");
    std::io::stdin().read_line(&mut String::new())?;
    let calls: Vec<_> = match role {
        "calls in tasks" => (0..2)
            .map(|_| scheduler.call_streaming(1, &b""[..], 1))
            .collect(),
        _ => (0..20)
            .map(|_| scheduler.gather_streaming(&b""[..], 1))
            .collect(),
    };
    let mut about = Vec::new();
    let limit = Instant::now() + Duration::from_secs(8);
    while about.is_empty() && Instant::now() < limit {
        thread::sleep(Duration::from_millis(1));
        about.extend(
            heard()
                .into_iter()
                .filter(|text| text.contains("OnWorkerDeath")),
        );
    }
    // it is not said again
    thread::sleep(Duration::from_millis(200));
    about.extend(
        heard()
            .into_iter()
            .filter(|text| text.contains("OnWorkerDeath")),
    );
    let ended = calls.into_iter().map(|mut call| {
        let mut context = Context::from_waker(Waker::noop());
        format!("{:?}", pin!(call.next()).poll(&mut context))
    });
    match about.is_empty() {
        true => say(&ended.collect::<Vec<_>>().join(" | ")),
        false => say(&about.join(" | ")),
    }
    // as if it had died
    std::process::exit(0);
}

/// The same for calls of tasks: one warning for all that wait, for answers or for space.
#[cfg(feature = "tokio")]
#[test]
fn tasks_that_wait_for_a_dead_worker_are_warned_of_it() -> Result {
    for role in ["calls in tasks", "gathers in tasks"] {
        let label = portable_shm_segment_name("deaths");
        let mut tasks = Member::start(module_path!(), role, &label)?;
        assert_eq!(tasks.answer(), "started");
        let (first, mut second) = (worker(0, &label)?, worker(1, &label)?);
        second.kill()?;
        tasks.tell("call")?;
        let text = tasks.answer();
        let pid = second.pid();
        let what_waits = match role {
            "calls in tasks" => [
                format!("worker 1 has died ({pid}): a call waits for its answer to request"),
                pid,
            ],
            _ => [String::from("requests to all workers wait for it"), pid],
        };
        let words = [
            &*what_waits[0],
            &what_waits[1],
            "Start a worker of this rank",
            "remove_worker()",
            "OnWorkerDeath::Wait",
            "RemoveAfter(duration)",
            "Fail",
        ];
        assert!(words.iter().all(|words| text.contains(*words)), "{text}");
        assert_eq!(text.matches(&what_waits[0]).count(), 1, "{text}");
        tasks.process.wait()?;
        let scheduler = Scheduler::<Frame>::start(&config(&label, OnWorkerDeath::Wait))?;
        end(&label, scheduler, first)?;
    }
    Ok(())
}

/// A worker that is stopped has not died. It is named all the same.
#[cfg(feature = "tokio")]
#[test]
fn tasks_that_wait_for_a_stopped_worker_are_told_of_it() -> Result {
    use nix::sys::signal::{Signal, kill};
    use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
    use nix::unistd::Pid;

    let label = portable_shm_segment_name("stopped");
    let mut tasks = Member::start(module_path!(), "calls in tasks", &label)?;
    assert_eq!(tasks.answer(), "started");
    let (first, mut second) = (worker(0, &label)?, worker(1, &label)?);
    let pid = Pid::from_raw(second.process.id() as i32);
    kill(pid, Signal::SIGSTOP)?;
    // until then one of its threads may go on
    let stopped = waitpid(pid, Some(WaitPidFlag::WUNTRACED))?;
    assert!(matches!(stopped, WaitStatus::Stopped(..)), "{stopped:?}");
    tasks.tell("call")?;
    let text = tasks.answer();
    let start = format!(
        "worker 1 is alive ({}) and has not moved for ",
        second.pid()
    );
    assert_eq!(text.matches(&start).count(), 1, "{text}");
    assert!(
        text.contains("a call waits for its answer to request"),
        "{text}"
    );
    tasks.process.wait()?;
    second.kill()?;
    let scheduler = Scheduler::<Frame>::start(&config(&label, OnWorkerDeath::Wait))?;
    end(&label, scheduler, first)
}
