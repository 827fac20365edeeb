//! Fails as programs of users do: `main` returns the error of one call. Prints its sentence on stdout first.
//!
//! `fails WHAT NAME`: the call, and the name of a ring or of a session that no other program uses.

use std::error::Error;
use std::time::Duration;

use myelon::codec::Bincode;
use myelon::inspect::{Inspector, remove_dead};
use myelon::transport::{FixedFrame, FramedTransportConsumer};
use myelon::{
    CountersFile, Deadline, FixedTopology, HeapRing, MyelonWaitStrategy,
    RequiredConsumerLivenessConfig, RunnerMyelonTransportConfig, Scheduler, TypedConsumer,
    TypedProducer, WorkerCount,
};

type Frame = FixedFrame<64>;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().collect();
    fail(&arguments[1], &arguments[2]).inspect_err(|error| print!("{error}"))
}

fn fail(what: &str, name: &str) -> Result<(), Box<dyn Error>> {
    match what {
        "subscribe" => drop(myelon::subscriber::<u64>(name)?),
        "publish-twice" => {
            let _first = myelon::publisher::<u64>(name, 8)?;
            myelon::publisher::<u64>(name, 8)?;
        }
        "send" => {
            let ring = HeapRing::<u64>::new(1)?;
            let (mut tx, _rx) = (ring.producer()?, ring.consumer("reader")?);
            tx.send_value(1, Deadline::NEVER)?;
            tx.send_value(2, Deadline::after(Duration::from_millis(1)))?;
        }
        "try-send" => {
            let ring = HeapRing::<u64>::new(1)?;
            let (mut tx, _rx) = (ring.producer()?, ring.consumer("reader")?);
            tx.send_value(1, Deadline::NEVER)?;
            tx.try_send(|event| *event = 2)?;
        }
        "receive" => {
            let ring = HeapRing::<u64>::new(1)?;
            let (tx, mut rx) = (ring.producer()?, ring.consumer("reader")?);
            tx.close()?;
            rx.recv_owned(Deadline::NEVER)?;
        }
        "publish-managed" => {
            let mut tx = HeapRing::<u64>::new(1)?.producer()?;
            let config = RequiredConsumerLivenessConfig {
                startup_wait_timeout: Duration::from_millis(1),
                ..RequiredConsumerLivenessConfig::new(["reader"])
            };
            tx.enable_required_consumer_liveness(config);
            tx.publish_managed(|event| *event = 1)?;
        }
        "inspect" => drop(Inspector::open_shared_memory(name)?),
        "remove" => drop(remove_dead("/dev/null", false)?),
        "counters" => drop(CountersFile::open(format!("/nowhere/{name}"))?),
        "topology" => {
            FixedTopology::new(name, 8, WorkerCount::Two).worker_consumer_id(2)?;
        }
        "decode" => {
            let ring = HeapRing::<Frame>::new(8)?;
            let mut tx = TypedProducer::from_builder(ring.builder())?;
            let mut rx = TypedConsumer::from_builder(ring.builder())?;
            tx.raw().send(b"\xFF", 7, Deadline::NEVER)?;
            rx.recv::<Bincode<u64>>(Deadline::NEVER)?;
        }
        "receive-messages" => {
            FramedTransportConsumer::<Frame>::attach(name, 8, MyelonWaitStrategy::Block)?;
        }
        "schedule-twice" => {
            let config = RunnerMyelonTransportConfig::new(name, 1);
            let _first = Scheduler::<Frame>::start(&config)?;
            Scheduler::<Frame>::start(&config)?;
        }
        other => return Err(format!("there is no '{other}'").into()),
    }
    Ok(())
}
