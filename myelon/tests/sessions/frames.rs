//! Frames whose size is chosen at run time.

use std::path::Path;

use crate::shared::{Result, session, soon};
use myelon::transport::{AlignedFixedFrame, FramedTransportFrame};
use myelon::{
    MultiProcessError, RunnerMyelonTransportConfig, Scheduler, TransportError, TransportResult,
    WithFrames, Worker, with_frames_for,
};

/// A worker that answers one request with as many bytes as it says. Returns whether it was read in place.
struct ServeOne<'a>(&'a RunnerMyelonTransportConfig, &'a Path, usize);

impl WithFrames for ServeOne<'_> {
    type Output = TransportResult<bool>;

    fn run<Req: FramedTransportFrame, Resp: FramedTransportFrame>(self) -> Self::Output {
        let Self(config, root, len) = self;
        let worker = Worker::<Req, Resp, _>::start_in_files(config, 0, root)?;
        let (mut requests, mut responses) = worker.split();
        let request = requests.recv(soon())?;
        let answer = vec![request[0]; len];
        let mut reply = responses.reply(request.id());
        reply.finish(&answer, request.kind(), soon())?;
        let is_in_place = request.is_in_place();
        request.done();
        responses.close()?;
        requests.leave()?;
        Ok(is_in_place)
    }
}

#[test]
fn members_that_choose_the_same_classes_meet_and_others_are_refused() -> Result {
    let (config, directory) = (session(1), tempfile::tempdir()?);
    let root = directory.path();
    for lengths in [(3_000, 100), (100, 3_000), (100_000, 3_000)] {
        let mut scheduler =
            Scheduler::<AlignedFixedFrame<4_112>, AlignedFixedFrame<256>, _>::start_in_files(
                &config, root,
            )?;
        let (request, answer) = lengths;
        scheduler.broadcast(&[7; 4_096], 1, soon())?;
        let served = with_frames_for(request, answer, ServeOne(&config, root, answer));
        match (lengths, served) {
            ((3_000, 100), Ok(is_in_place)) => {
                assert!(is_in_place, "the longest of its class");
                let (_, answer) = scheduler.recv_any(soon())?;
                assert_eq!(&*answer, [7; 100]);
                assert!(answer.is_in_place());
            }
            (_, Err(TransportError::Ring(MultiProcessError::IncompatibleLayout { .. }))) => {
                scheduler.remove_worker(0)?;
            }
            (_, served) => panic!("{lengths:?}: {served:?}"),
        }
        scheduler.close()?;
    }
    Ok(())
}
