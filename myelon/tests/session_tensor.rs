//! A tensor of 8 MiB goes from a scheduler to four worker processes, which read it in place: none of them copies it.

mod counting;
#[allow(dead_code, reason = "the tests of sessions use the rest")]
#[path = "sessions/members.rs"]
mod members;

use std::path::Path;

use counting::allocations_of;
use members::{Member, exit_when_the_test_ends, role, say};
use myelon::transport::{AlignedFixedFrame, FixedFrame};
use myelon::{
    Deadline, RunnerMyelonTransportConfig, Scheduler, TransportResult, Worker,
    portable_shm_segment_name,
};

type Result<T = ()> = std::result::Result<T, Box<dyn std::error::Error + Send + Sync>>;

const TENSOR_BYTES: usize = 8 << 20;
/// Rounds that each worker measures, after one that it does not: twice through the ring.
const ROUNDS: u64 = 4;
/// The tensor, and the head of the request.
type Tensor = AlignedFixedFrame<{ TENSOR_BYTES + 64 }>;
type Answer = FixedFrame<64>;

fn config(label: &str, workers: usize) -> RunnerMyelonTransportConfig {
    let config = RunnerMyelonTransportConfig::new(label, workers);
    let rings = config.transport.clone().with_rpc_depth(2);
    config.with_transport(rings)
}

/// The memory of this process that no other one shares.
fn anonymous_bytes() -> Result<usize> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("RssAnon:"));
    let kib = line.and_then(|line| line.split_whitespace().next());
    Ok(kib.ok_or("no RssAnon")?.parse::<usize>()? * 1024)
}

fn sum(tensor: &[u8]) -> u64 {
    tensor.iter().map(|byte| u64::from(*byte)).sum()
}

/// Does nothing unless this process was started as a member: a worker. Its role is its rank, the number of workers, and
/// whether it copies the tensor.
#[test]
fn a_member_of_a_test() -> Result {
    let Some((role, label)) = role() else {
        return Ok(());
    };
    let words: Vec<_> = role.split(' ').collect();
    let (rank, workers, copies) = (words[0].parse()?, words[1].parse()?, words[2] == "copies");
    exit_when_the_test_ends();
    let worker = Worker::<Tensor, Answer>::start(&config(&label, workers), rank)?;
    let (mut requests, mut responses) = worker.split();
    let mut read = || -> TransportResult<()> {
        let request = requests.recv(Deadline::NEVER)?;
        assert!(request.is_in_place() && request.len() == TENSOR_BYTES);
        let copy = copies.then(|| request.to_vec());
        let mut reply = responses.reply(request.id());
        reply.finish(
            &sum(copy.as_deref().unwrap_or(&request)).to_ne_bytes(),
            1,
            Deadline::NEVER,
        )?;
        request.done();
        Ok(())
    };
    read()?;
    let before = anonymous_bytes()?;
    let mut result = Ok(());
    let (_, largest) = allocations_of(|| result = (0..ROUNDS).try_for_each(|_| read()));
    result?;
    let grown = anonymous_bytes()?.saturating_sub(before);
    say(&format!("{largest} {grown}"));
    responses.close()?;
    Ok(requests.leave()?)
}

/// Sends the tensor to workers, and returns of each the largest allocation and the growth of its own memory.
fn figures_of(workers: usize, how: &str) -> Result<Vec<(usize, usize)>> {
    let label = portable_shm_segment_name("tensor");
    let mut scheduler = Scheduler::<Tensor, Answer>::start(&config(&label, workers))?;
    let mut members = Vec::new();
    for rank in 0..workers {
        members.push(Member::start(
            module_path!(),
            &format!("{rank} {workers} {how}"),
            &label,
        )?);
    }
    for round in 0..=ROUNDS {
        let mut tensor = scheduler.reserve(TENSOR_BYTES, 1, Deadline::NEVER)?;
        tensor.fill(round as u8 + 1);
        let request = tensor.publish();
        for rank in 0..workers {
            let answer = scheduler.recv_answer(rank, request, Deadline::NEVER)?;
            let expected = (TENSOR_BYTES as u64) * (round + 1);
            assert_eq!(*answer, expected.to_ne_bytes());
        }
    }
    let mut figures = Vec::new();
    for member in &mut members {
        let said = member.answer();
        let (largest, grown) = said.split_once(' ').expect("two numbers");
        figures.push((largest.parse()?, grown.parse()?));
        assert!(member.process.wait()?.success());
    }
    scheduler.close()?;
    let layout = config(&label, workers).layout()?;
    assert!(!Path::new("/dev/shm").join(layout.rpc_ring_name()).exists());
    Ok(figures)
}

#[test]
fn four_processes_read_a_tensor_without_a_copy() -> Result {
    for (largest, grown) in figures_of(4, "reads")? {
        // far below the tensor, and above what waits and the program's own code need
        assert!(largest < 64 << 10, "an allocation of {largest} bytes");
        assert!(grown < 1 << 20, "{grown} bytes of memory of its own");
    }
    Ok(())
}

/// The control: a copy is found.
#[test]
fn a_copy_of_the_tensor_is_found() -> Result {
    let (largest, _) = figures_of(1, "copies")?[0];
    assert_eq!(largest, TENSOR_BYTES);
    Ok(())
}
