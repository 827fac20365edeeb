//! Frames whose size is chosen at run time: one of a few compiled types.

use super::head::HEAD_BYTES;
use crate::transport::{AlignedFixedFrame, FramedTransportFrame};

/// The longest messages, in bytes, that the frames of [`with_frames_for`] carry whole.
///
/// # Examples
///
/// See [`with_frames_for`].
pub const FRAME_CLASSES: [usize; 4] = [240, 4_096, 65_536, 1_048_576];

/// What a program does with the frames that [`with_frames_for`] chooses: as a rule, it starts a member of a session and
/// runs it.
///
/// # Examples
///
/// See [`with_frames_for`].
pub trait WithFrames {
    /// What it returns.
    type Output;

    /// Runs the program's part. Requests travel in frames of the type `Req`, and answers in frames of the type `Resp`.
    fn run<Req: FramedTransportFrame, Resp: FramedTransportFrame>(self) -> Self::Output;
}

/// Runs a member of a session with the smallest frames of [`FRAME_CLASSES`] that carry requests of `longest_request`
/// bytes and answers of `longest_answer` bytes whole, so that each is read in place. Longer messages than those of the
/// last class take several frames, as ever.
///
/// All members must be given lengths of the same classes: one that attaches with other frames is refused. A ring takes
/// its depth times the size of a frame, so choose the [depths](crate::MyelonTransportConfig) with the lengths. Within
/// `run` the frames are types like any other: the choice costs nothing in a call. It costs compilation, as `run` is
/// compiled for each of the 16 pairs of classes: keep code that does not depend on frames out of it.
///
/// # Examples
///
/// ```
/// use myelon::transport::FramedTransportFrame;
/// use myelon::{Deadline, RunnerMyelonTransportConfig, Scheduler, TransportResult, WithFrames, Worker, with_frames_for};
///
/// /// The longest answer, which the worker returns.
/// struct Largest<'a>(&'a RunnerMyelonTransportConfig, &'a [u8]);
///
/// impl WithFrames for Largest<'_> {
///     type Output = TransportResult<usize>;
///
///     fn run<Req: FramedTransportFrame, Resp: FramedTransportFrame>(self) -> Self::Output {
///         let Self(config, prompt) = self;
///         let mut scheduler = Scheduler::<Req, Resp>::start(config)?;
///         let mut worker = Worker::<Req, Resp>::start(config, 0)?; // as a rule in another process
///         let sent = scheduler.broadcast(prompt, 1, Deadline::NEVER)?;
///         worker.serve(Deadline::NEVER, |_kind, prompt| prompt.len().to_le_bytes())?;
///         let answer = scheduler.recv_answer(0, sent, Deadline::NEVER)?;
///         assert!(answer.is_in_place());
/// #       drop(answer);
/// #       worker.leave()?;
/// #       scheduler.close()?;
///         Ok(Req::PAYLOAD_BYTES)
///     }
/// }
///
/// // read from the program's configuration
/// let (longest_request, longest_answer) = (5_000, 8);
/// let config = RunnerMyelonTransportConfig::new(myelon::portable_shm_segment_name("doc"), 1)
///     .with_transport(myelon::MyelonTransportConfig::default().with_rpc_depth(16));
/// let prompt = vec![7; longest_request];
/// let frame = with_frames_for(longest_request, longest_answer, Largest(&config, &prompt))?;
/// assert!(myelon::FRAME_CLASSES.contains(&65_536) && frame >= 65_536);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn with_frames_for<M: WithFrames>(
    longest_request: usize,
    longest_answer: usize,
    member: M,
) -> M::Output {
    match class_of(longest_request) {
        0 => {
            with_answers_for::<M, Frame<{ FRAME_CLASSES[0] + HEAD_BYTES }>>(longest_answer, member)
        }
        1 => {
            with_answers_for::<M, Frame<{ FRAME_CLASSES[1] + HEAD_BYTES }>>(longest_answer, member)
        }
        2 => {
            with_answers_for::<M, Frame<{ FRAME_CLASSES[2] + HEAD_BYTES }>>(longest_answer, member)
        }
        _ => {
            with_answers_for::<M, Frame<{ FRAME_CLASSES[3] + HEAD_BYTES }>>(longest_answer, member)
        }
    }
}

type Frame<const N: usize> = AlignedFixedFrame<N>;

fn with_answers_for<M: WithFrames, Req: FramedTransportFrame>(
    longest: usize,
    member: M,
) -> M::Output {
    match class_of(longest) {
        0 => member.run::<Req, Frame<{ FRAME_CLASSES[0] + HEAD_BYTES }>>(),
        1 => member.run::<Req, Frame<{ FRAME_CLASSES[1] + HEAD_BYTES }>>(),
        2 => member.run::<Req, Frame<{ FRAME_CLASSES[2] + HEAD_BYTES }>>(),
        _ => member.run::<Req, Frame<{ FRAME_CLASSES[3] + HEAD_BYTES }>>(),
    }
}

/// The index of the smallest class for messages of this length, or of the largest one.
fn class_of(longest: usize) -> usize {
    let fits = FRAME_CLASSES.iter().position(|limit| longest <= *limit);
    fits.unwrap_or(FRAME_CLASSES.len() - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Payloads;

    impl WithFrames for Payloads {
        type Output = [usize; 2];

        fn run<Req: FramedTransportFrame, Resp: FramedTransportFrame>(self) -> [usize; 2] {
            [Req::PAYLOAD_BYTES, Resp::PAYLOAD_BYTES]
        }
    }

    #[test]
    fn the_smallest_frame_that_carries_a_message_whole_is_chosen_for_each_direction() {
        let chosen = |request, answer| {
            with_frames_for(request, answer, Payloads).map(|payload| payload - HEAD_BYTES)
        };
        let sizes = [
            0,
            240,
            241,
            4_096,
            4_097,
            65_536,
            65_537,
            1_048_576,
            usize::MAX,
        ];
        let classes = [
            240, 240, 4_096, 4_096, 65_536, 65_536, 1_048_576, 1_048_576, 1_048_576,
        ];
        for (request, of_request) in sizes.into_iter().zip(classes) {
            for (answer, of_answer) in sizes.into_iter().zip(classes) {
                assert_eq!(chosen(request, answer), [of_request, of_answer]);
            }
        }
    }
}
