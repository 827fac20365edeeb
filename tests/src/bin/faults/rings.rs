//! Scenarios of events: creation, attaching, publishing, receiving, takeover, names, observers, counters and threads.

use std::path::Path;
use std::time::Duration;

use disruptor_mp::{
    AutoWaitStrategy, Consumer, CountersFile, DisruptorBuilder, Producer, RecvError, RingMember,
    RingSet, SendError,
};
use myelon_tests::faults::value;

use crate::{Backing, CAPACITY, DURABLE, Outcome, Stage, long, short};

fn builder<B: Backing>(stage: &Stage) -> DisruptorBuilder<u64, B> {
    B::builder(stage, CAPACITY)
}

fn producer<B: Backing>(stage: &Stage) -> Outcome<Producer<u64, B>> {
    let tx = builder(stage).build_zeroed_producer()?;
    stage.books.created();
    Ok(tx)
}

fn durable<B: Backing>(stage: &Stage) -> Outcome<Consumer<u64, B>> {
    let rx = builder(stage).with_consumer_id(DURABLE).build_consumer()?;
    stage.books.attached_at(rx.current_sequence() + 1);
    Ok(rx)
}

/// Reads `count` events, and records each in the books.
fn read<B>(stage: &Stage, rx: &mut Consumer<u64, B>, count: usize) -> Outcome {
    for _ in 0..count {
        let lease = rx.recv(long())?;
        let sequence = lease.sequence();
        check(sequence, *lease)?;
        stage.books.reads_up_to(sequence + 1);
        if stage.has_flaw("early") {
            // a control: recorded as released, but never released
            stage.books.has_read_up_to(sequence + 3);
            lease.release_uncommitted();
            continue;
        }
        drop(lease);
        stage.books.has_read_up_to(sequence + 1);
    }
    Ok(())
}

fn check(sequence: i64, event: u64) -> Outcome {
    match event == value(sequence) {
        true => Ok(()),
        false => Err(format!("WRONG: {event} is the event {sequence}").into()),
    }
}

/// Checks the error that a consumer gets when it has drained a closed ring.
pub(crate) fn expect_closed<T: std::fmt::Debug>(told: Result<T, RecvError>) -> Outcome {
    match told {
        Err(RecvError::Closed) => Ok(()),
        other => Err(format!("a closed ring said {other:?}").into()),
    }
}

fn end<B>(stage: &Stage, tx: Producer<u64, B>) -> Outcome {
    stage.books.ends();
    tx.close()?;
    Ok(())
}

/// A ring is created, whatever has its name, and is used and closed.
pub(crate) fn create<B: Backing>(stage: &Stage) -> Outcome {
    stage.start()?;
    if stage.has_flaw("litter") {
        std::fs::write(
            Path::new(&stage.directory).join(format!(".{}.litter", stage.name)),
            "",
        )?;
    }
    let built = builder::<B>(stage).build_zeroed_producer();
    let mut tx = match built {
        Err(error) if stage.has_flaw("panics") => panic!("{error}"),
        Err(_) if stage.has_flaw("hangs") => loop {
            std::thread::sleep(Duration::from_secs(1));
        },
        other => other?,
    };
    stage.books.created();
    for _ in 0..3 {
        stage.publish(&mut tx, 1)?;
    }
    end(stage, tx)
}

/// A dead ring of another size, without consumers.
pub(crate) fn prepare_replace<B: Backing>(stage: &Stage) -> Outcome {
    let tx = B::builder::<u64>(stage, CAPACITY * 4).build_zeroed_producer()?;
    die(tx)
}

/// A dead producer's ring, with a durable consumer that has not read everything.
pub(crate) fn prepare_takeover<B: Backing>(stage: &Stage) -> Outcome {
    let mut tx = producer::<B>(stage)?;
    let mut rx = durable::<B>(stage)?;
    for _ in 0..5 {
        stage.publish(&mut tx, 1)?;
    }
    read(stage, &mut rx, 2)?;
    die((tx, rx))
}

/// Kills the process, so that nothing is dropped.
fn die<T>(_held: T) -> Outcome {
    nix::sys::signal::raise(nix::sys::signal::Signal::SIGKILL)?;
    unreachable!("killed")
}

/// A durable consumer attaches, detaches and comes back; an automatic one comes and goes.
pub(crate) fn attach<B: Backing>(stage: &Stage) -> Outcome {
    let mut tx = producer::<B>(stage)?;
    for _ in 0..4 {
        stage.publish(&mut tx, 1)?;
    }
    stage.start()?;
    let mut rx = durable::<B>(stage)?;
    read(stage, &mut rx, 2)?;
    rx.detach()?;
    let mut passing = builder::<B>(stage).build_consumer()?;
    drop(passing.recv(long())?);
    drop(passing);
    let mut rx = durable::<B>(stage)?;
    read(stage, &mut rx, 2)?;
    stage.books.ends();
    rx.leave()?;
    end(stage, tx)
}

/// A producer fills its ring, waits for space until its deadline, and continues when there is some.
pub(crate) fn publish<B: Backing>(stage: &Stage) -> Outcome {
    let mut tx = producer::<B>(stage)?;
    let mut rx = durable::<B>(stage)?;
    stage.start()?;
    for _ in 0..CAPACITY {
        stage.publish(&mut tx, 1)?;
    }
    match tx.claim(short()) {
        Err(SendError::Timeout { .. }) => {}
        other => return Err(format!("a full ring said {other:?}").into()),
    }
    read(stage, &mut rx, 4)?;
    stage.publish(&mut tx, 4)?;
    stage.books.ends();
    tx.destroy()?;
    Ok(())
}

/// A consumer drains its ring, waits for an event until its deadline, and continues when there is one.
pub(crate) fn receive<B: Backing>(stage: &Stage) -> Outcome {
    let mut tx = producer::<B>(stage)?;
    let mut rx = durable::<B>(stage)?;
    stage.publish(&mut tx, 4)?;
    stage.start()?;
    read(stage, &mut rx, 4)?;
    match rx.recv(short()) {
        Err(RecvError::Timeout) => {}
        other => return Err(format!("an empty ring said {other:?}").into()),
    }
    stage.publish(&mut tx, 1)?;
    read(stage, &mut rx, 1)?;
    end(stage, tx)?;
    expect_closed(rx.recv(long()).map(|lease| lease.sequence()))?;
    Ok(rx.leave()?)
}

/// A successor takes a dead producer's ring over, and the durable consumer comes back to it.
pub(crate) fn takeover<B: Backing>(stage: &Stage) -> Outcome {
    stage.start()?;
    let mut tx = producer::<B>(stage)?;
    stage.publish(&mut tx, 1)?;
    stage.publish(&mut tx, 2)?;
    let mut rx = durable::<B>(stage)?;
    read(stage, &mut rx, 6)?;
    end(stage, tx)?;
    Ok(rx.leave()?)
}

/// A ring is kept without its producer and taken over. Its consumer is removed, and its name as well.
pub(crate) fn names<B: Backing>(stage: &Stage) -> Outcome {
    stage.start()?;
    let mut tx = producer::<B>(stage)?;
    stage.publish(&mut tx, 1)?;
    durable::<B>(stage)?.detach()?;
    tx.keep()?;
    let mut tx = producer::<B>(stage)?;
    stage.publish(&mut tx, 1)?;
    stage.books.ends();
    tx.remove_consumer(DURABLE)?;
    Ok(tx.destroy()?)
}

/// An observer reads along.
pub(crate) fn observers<B: Backing>(stage: &Stage) -> Outcome {
    stage.start()?;
    let mut tx = builder::<B>(stage)
        .with_observers()
        .build_zeroed_producer()?;
    stage.books.created();
    let mut observer = builder::<B>(stage).build_observer()?;
    stage.publish(&mut tx, 2)?;
    for _ in 0..2 {
        let (sequence, event) = observer.recv(long())?;
        check(sequence, event)?;
    }
    match observer.recv(short()) {
        Err(RecvError::Timeout) => {}
        other => return Err(format!("an observer was told {other:?}").into()),
    }
    end(stage, tx)
}

/// Counters in a file of their own.
pub(crate) fn counters<B: Backing>(stage: &Stage) -> Outcome {
    let mut tx = producer::<B>(stage)?;
    let mut rx = durable::<B>(stage)?;
    let path = Path::new(&stage.directory).join(format!("{}-counters", stage.name));
    stage.start()?;
    let file = CountersFile::create(&path)?;
    tx.attach_counters(&file)?;
    rx.attach_counters(&file)?;
    let handle = file.counter(0x100, "mine")?;
    handle.add(1);
    stage.publish(&mut tx, 1)?;
    read(stage, &mut rx, 1)?;
    file.sweep()?;
    stage.books.ends();
    rx.leave()?;
    tx.close()?;
    Ok(())
}

/// A handler's thread reads, its producer waits for it, and the handler is shut down.
pub(crate) fn threads<B: Backing>(stage: &Stage) -> Outcome {
    let mut tx = producer::<B>(stage)?;
    stage.start()?;
    let books = stage.books;
    let handler = builder::<B>(stage)
        .with_consumer_id(DURABLE)
        .handle_events_batch(
            move |event: &u64, sequence, _| {
                assert_eq!(*event, value(sequence), "WRONG");
                // released with its batch, so that it may come again
                books.reads_up_to(sequence + 1);
            },
            AutoWaitStrategy::Block,
        )?;
    books.attached_at(0);
    for _ in 0..5 {
        stage.publish(&mut tx, 1)?;
    }
    if !tx.wait_until_consumed_with_strategy(4, Duration::from_secs(5), AutoWaitStrategy::Block) {
        return Err("the handler does not read".into());
    }
    books.has_read_up_to(5);
    handler.shutdown_and_join()?;
    end(stage, tx)
}

/// A set of rings and an event loop's descriptor wait for a consumer's next event.
pub(crate) fn waiting<B: Backing>(stage: &Stage) -> Outcome {
    let mut tx = producer::<B>(stage)?;
    let mut rx = durable::<B>(stage)?;
    stage.start()?;
    match RingSet::of([&rx as &dyn RingMember])?.wait(short()) {
        Err(RecvError::Timeout) => {}
        other => return Err(format!("a set of silent rings said {other:?}").into()),
    }
    let readiness = rx.readiness()?;
    if readiness.arm(&rx)? {
        return Err("a silent ring is ready".into());
    }
    stage.publish(&mut tx, 1)?;
    let descriptor = nix::poll::PollFd::new(
        std::os::fd::AsFd::as_fd(&readiness),
        nix::poll::PollFlags::POLLIN,
    );
    nix::poll::poll(&mut [descriptor], 1_000_u16)?;
    read(stage, &mut rx, 1)?;
    drop(readiness);
    end(stage, tx)?;
    Ok(rx.leave()?)
}

/// The clean process: it creates the ring or takes it over, and must find the state that the books record.
pub(crate) fn afterwards<B: Backing>(stage: &Stage) -> Outcome {
    let books = &stage.books;
    let mut tx = builder::<B>(stage).build_zeroed_producer()?;
    let first = tx.last_published_sequence() + 1;
    let mut rx = builder::<B>(stage)
        .with_consumer_id(DURABLE)
        .build_consumer()?;
    let next = rx.current_sequence() + 1;
    books.judge(first, next)?;
    // the events that are there, then two laps
    for sequence in next..first + 2 * CAPACITY as i64 {
        let published = tx.last_published_sequence() + 1;
        if sequence >= published {
            let mut claim = tx.claim(long())?;
            *claim = value(published);
            claim.publish();
        }
        let lease = rx.recv(long())?;
        if lease.sequence() != sequence {
            return Err(format!("{} came after {}", lease.sequence(), sequence - 1).into());
        }
        check(sequence, *lease)?;
    }
    tx.close()?;
    expect_closed(rx.recv(long()).map(|lease| lease.sequence()))?;
    Ok(rx.leave()?)
}
