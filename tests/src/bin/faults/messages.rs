//! Scenarios of messages: rings of frames, and a session of a scheduler and a worker.

use myelon::transport::{FramedTransportConsumer, FramedTransportProducer};
use myelon::{Scheduler, Worker};
use myelon_tests::frames::{FRAME_BYTES, Frame, identify, message};

use crate::rings::expect_closed;
use crate::{Backing, CAPACITY, DURABLE, Outcome, Stage, long};

/// The writer of the scenario's messages, and the writer of the clean process's.
const BEFORE: u64 = 1;
const AFTERWARDS: u64 = 2;
/// One frame, three frames, one frame. More than the ring holds at a time would need two threads.
const LENGTHS: [usize; 3] = [24, FRAME_BYTES * 3, FRAME_BYTES];

fn producer<B: Backing>(stage: &Stage) -> Outcome<FramedTransportProducer<Frame, B>> {
    Ok(FramedTransportProducer::from_builder(B::builder(
        stage, CAPACITY,
    ))?)
}

fn consumer<B: Backing>(stage: &Stage) -> Outcome<FramedTransportConsumer<Frame, B>> {
    let builder = B::builder(stage, CAPACITY).with_consumer_id(DURABLE);
    Ok(FramedTransportConsumer::from_builder(builder)?)
}

/// Messages of one frame and of several, from a producer to a consumer in one process.
pub(crate) fn frames<B: Backing>(stage: &Stage) -> Outcome {
    let books = &stage.books;
    stage.start()?;
    let mut tx = producer::<B>(stage)?;
    books.created();
    let mut rx = consumer::<B>(stage)?;
    books.attached_at(0);
    for (number, len) in (0..).zip(LENGTHS) {
        books.intends_up_to(number + 1);
        tx.send(&message(BEFORE, number as u64, len), number as u8, long())?;
        books.published_up_to(number + 1);
    }
    for number in 0..2 {
        let received = rx.recv(long())?;
        books.reads_up_to(number + 1);
        let (_, found) = identify(received.kind(), &received)?;
        if found != number as u64 {
            return Err(format!("WRONG: message {found} came for {number}").into());
        }
        drop(received);
        books.has_read_up_to(number + 1);
    }
    books.ends();
    rx.leave()?;
    tx.close()?;
    Ok(())
}

/// The clean process: the messages that were not released must come, whole and in order, and then its own.
pub(crate) fn frames_afterwards<B: Backing>(stage: &Stage) -> Outcome {
    let mut tx = producer::<B>(stage)?;
    let mut rx = consumer::<B>(stage)?;
    tx.send(&message(AFTERWARDS, 0, 100), 0, long())?;
    let mut seen = Vec::new();
    loop {
        let received = rx.recv(long())?;
        let (writer, number) = identify(received.kind(), &received)?;
        if writer == AFTERWARDS {
            break;
        }
        seen.push(number as i64);
    }
    stage.books.judge_messages(&seen)?;
    tx.close()?;
    expect_closed(rx.recv(long()).map(|message| message.len()))?;
    Ok(rx.leave()?)
}

/// A request and its answer.
pub(crate) fn sessions<B: Backing>(stage: &Stage) -> Outcome {
    stage.start()?;
    let mut scheduler = B::scheduler(stage)?;
    let mut worker = B::worker(stage)?;
    ask(&mut scheduler, &mut worker, b"before")?;
    worker.leave()?;
    scheduler.close()?;
    Ok(())
}

/// The clean process: another scheduler and another worker of the same session.
pub(crate) fn session_afterwards<B: Backing>(stage: &Stage) -> Outcome {
    let mut scheduler = B::scheduler(stage)?;
    let mut worker = B::worker(stage)?;
    ask(&mut scheduler, &mut worker, b"afterwards")?;
    worker.leave()?;
    // answers are read to the end of their ring, which then loses its name
    while let Ok(_unread) = scheduler.recv_any(crate::short()) {}
    scheduler.close()?;
    Ok(())
}

/// Sends a request and waits until it was served and answered. Requests and answers that the scenario left come first.
fn ask<B>(
    scheduler: &mut Scheduler<Frame, Frame, B>,
    worker: &mut Worker<Frame, Frame, B>,
    request: &[u8],
) -> Outcome {
    scheduler.broadcast(request, 1, long())?;
    let mut is_served = false;
    while !is_served {
        worker.serve(long(), |_, found| {
            is_served = found == request;
            found.to_vec()
        })?;
    }
    loop {
        match scheduler.recv_any(long()) {
            Ok((_, answer)) if *answer == *request => return Ok(()),
            Ok((_, answer)) if *answer == *b"before" => {}
            Ok((_, answer)) => return Err(format!("WRONG: the answer {:?}", &*answer).into()),

            Err(error) => return Err(error.into()),
        }
    }
}
