//! What both sides can send: frames of their own, messages that are written in place, slices, and
//! messages of many kinds.

use std::io::IoSlice;
use std::path::Path;

use myelon::transport::AlignedFixedFrame;
use myelon::{Scheduler, TransportError, Worker};

use crate::shared::{Frame, Result, session, soon};

/// Long requests and short answers: each direction has frames of its own, and both sides must name the same ones.
#[test]
fn requests_and_answers_have_frames_of_their_own() -> Result {
    type Wide = AlignedFixedFrame<1024>;
    let config = session(1);
    let mut scheduler = Scheduler::<Wide, Frame>::start(&config)?;
    let error = Worker::<Frame>::start(&config, 0).expect_err("other frames");
    assert!(error.to_string().contains("frame"), "{error}");
    let mut worker = Worker::<Wide, Frame>::start(&config, 0)?;
    let id = scheduler.send_to(0, &[7; 1000], 1, soon())?;
    worker.serve(soon(), |_, request| [request.len() as u8])?;
    let answer = scheduler.recv_answer(0, id, soon())?;
    assert_eq!(*answer, [1000_usize as u8]);
    answer.release();
    let bytes = |name: &str| {
        Path::new("/dev/shm")
            .join(name)
            .metadata()
            .map(|it| it.len())
    };
    let layout = config.layout()?;
    let requests = bytes(&layout.rpc_ring_name())?;
    let answers = bytes(&layout.response_ring_name(0))?;
    assert!(requests > answers + 14 * 960, "{requests}, {answers}");
    worker.leave()?;
    scheduler.close()?;
    Ok(())
}

/// A reservation that is dropped sends nothing, and one that is too long says how long it may be.
#[test]
fn a_reservation_is_sent_when_it_is_published() -> Result {
    let config = session(1);
    let mut scheduler = Scheduler::<Frame>::start(&config)?;
    let (mut requests, mut responses) = Worker::<Frame>::start(&config, 0)?.split();
    drop(scheduler.reserve_to(0, 10, 1, soon())?);
    drop(scheduler.reserve(10, 1, soon())?);
    let error = scheduler
        .reserve_to(0, 49, 1, soon())
        .map(drop)
        .unwrap_err();
    assert!(
        matches!(
            error,
            TransportError::DoesNotFitFrame { len: 49, limit: 48 }
        ),
        "{error}"
    );
    let mut sent = Vec::new();
    for is_to_all in [false, true] {
        let mut request = match is_to_all {
            true => scheduler.reserve(48, 1, soon())?,
            false => scheduler.reserve_to(0, 48, 1, soon())?,
        };
        request.fill(7);
        request.truncate(3);
        sent.push(request.publish());
    }
    for id in sent {
        let request = requests.recv(soon())?;
        assert_eq!((request.id(), &*request), (id, &[7; 3][..]));
        let mut reply = responses.reply(id);
        drop(reply.reserve(10, 1, soon())?);
        let error = reply.reserve(49, 1, soon()).map(drop).unwrap_err();
        assert!(matches!(
            error,
            TransportError::DoesNotFitFrame { limit: 48, .. }
        ));
        let mut piece = reply.reserve(1, 1, soon())?;
        piece[0] = 8;
        piece.publish();
        let mut piece = reply.reserve(2, 1, soon())?;
        piece.fill(9);
        piece.finish();
        assert!(reply.reserve(1, 1, soon()).is_err(), "it is complete");
        request.done();
        for (piece, bytes) in [&[8][..], &[9, 9]].into_iter().enumerate() {
            let answer = scheduler.recv_answer(0, id, soon())?;
            assert_eq!((answer.piece() as usize, &*answer), (piece, bytes));
            assert_eq!(answer.is_last(), piece == 1);
        }
    }
    drop(responses);
    requests.leave()?;
    scheduler.close()?;
    Ok(())
}

/// Slices are one message, whether it fits a frame or not.
#[test]
fn slices_are_sent_as_one_message() -> Result {
    let config = session(1);
    let mut requests_and_answers = Scheduler::<Frame>::start(&config)?.split();
    let (scheduler, answers) = (&mut requests_and_answers.0, &mut requests_and_answers.1);
    let (mut requests, mut responses) = Worker::<Frame>::start(&config, 0)?.split();
    for len in [0, 1, 24, 25, 200] {
        let half = vec![len as u8; len];
        let slices = [IoSlice::new(&half), IoSlice::new(&[]), IoSlice::new(&half)];
        let to_all = scheduler.broadcast_vectored(&slices, 1, soon())?;
        let to_one = scheduler.send_vectored_to(0, &slices, 1, soon())?;
        for id in [to_all, to_one] {
            let request = requests.recv(soon())?;
            assert_eq!((request.id(), request.len()), (id, 2 * len));
            assert!(request.iter().all(|byte| *byte == len as u8));
            let mut reply = responses.reply(id);
            reply.send_vectored(&slices, 1, soon())?;
            reply.finish(b"", 1, soon())?;
            request.done();
            assert_eq!(answers.recv_answer(0, id, soon())?.len(), 2 * len);
            assert!(answers.recv_answer(0, id, soon())?.is_last());
        }
    }
    drop(responses);
    requests.leave()?;
    requests_and_answers.0.close()?;
    Ok(())
}

/// Each side may have a handler for each kind of message.
#[cfg(feature = "bincode")]
#[test]
fn messages_are_dispatched_by_their_kinds_on_both_sides() -> Result {
    use myelon::codec::Bincode;
    use myelon::{KindTable, TypedRecvError};

    let config = session(1);
    let mut scheduler = Scheduler::<Frame>::start(&config)?;
    let (mut requests, mut responses) = Worker::<Frame>::start(&config, 0)?.split();
    scheduler.send_value_to(0, &Bincode(7_u64), 1, soon())?;
    scheduler.send_value_to(0, &Bincode(String::from("stop")), 2, soon())?;
    scheduler.send_to(0, b"", 3, soon())?;
    let (mut numbers, mut texts) = (Vec::new(), Vec::new());
    let mut table = KindTable::new()
        .on(1, |Bincode(number): Bincode<u64>| numbers.push(number))?
        .on(2, |Bincode(text): Bincode<String>| texts.push(text))?;
    for _ in 0..2 {
        let request = requests.recv(soon())?;
        request.dispatch(&mut table)?;
        let mut reply = responses.reply(request.id());
        reply.finish_value(&Bincode(request.len() as u64), 4, soon())?;
        request.done();
    }
    let request = requests.recv(soon())?;
    let error = request.dispatch(&mut table).unwrap_err();
    assert!(
        matches!(error, TypedRecvError::UnknownKind { kind: 3, .. }),
        "{error}"
    );
    let error = request.dispatch(&mut KindTable::new()).unwrap_err();
    assert!(matches!(error, TypedRecvError::NoKinds), "{error}");
    request.done();
    drop(table);
    assert_eq!((numbers, texts), (vec![7], vec![String::from("stop")]));
    let mut lengths = Vec::new();
    let mut table = KindTable::new().on(4, |Bincode(len): Bincode<u64>| lengths.push(len))?;
    for _ in 0..2 {
        scheduler.recv_any(soon())?.1.dispatch(&mut table)?;
    }
    drop(table);
    assert_eq!(lengths, [8, 12]);
    drop(responses);
    requests.leave()?;
    scheduler.close()?;
    Ok(())
}
