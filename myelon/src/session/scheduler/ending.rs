//! The end of a session.

use std::time::{Duration, Instant};

use disruptor_mp::{
    CloseReport, Deadline, MultiProcessError, MultiProcessResult, RecvError, perform_sleep_wait,
};

use super::super::received::Response;
use super::Scheduler;
use super::sender::Awaits;
use crate::transport::{FramedTransportFrame, TransportError, TransportResult};

/// How often a scheduler that shuts down polls once everything is done.
const POLLS_AT_THE_END: u32 = 3;

/// How often a scheduler that shuts down asks whether everything is done.
const UNTIL_IT_ASKS_AGAIN: Duration = Duration::from_millis(1);

impl<Req: FramedTransportFrame, Resp: FramedTransportFrame, B> Scheduler<Req, Resp, B> {
    /// Lets the workers finish what they have, and then [closes](Self::close) the session. Until the deadline it hands
    /// each answer to `each`, with the worker's rank; it returns sooner if all requests are done and all answers
    /// received. The result names the workers with requests that were not done: they have not come, are away, or have
    /// not finished. A cancelled token does not end this call.
    ///
    /// # Errors
    ///
    /// As [`recv_any`](Self::recv_any), except for the time-out, and as [`close`](Self::close). The session is closed all
    /// the same.
    pub fn shutdown(
        self,
        deadline: Deadline,
        each: impl FnMut(usize, Response<'_, Resp, B>),
    ) -> TransportResult<CloseReport> {
        self.shutdown_unless(deadline, each, || false)
    }

    /// As [`shutdown`](Self::shutdown), but no longer than until `is_over`.
    pub(in crate::session) fn shutdown_unless(
        mut self,
        deadline: Deadline,
        mut each: impl FnMut(usize, Response<'_, Resp, B>),
        is_over: impl Fn() -> bool,
    ) -> TransportResult<CloseReport> {
        if self.sender.is_forked() {
            return Err(MultiProcessError::Forked.into());
        }
        let mut quiet = 0;
        let mut next_look = Instant::now();
        let received = loop {
            // asked first: an answer is sent before its request is done
            let is_done = self.sender.is_everything_done();
            if is_done {
                // a worker may have come, done everything and gone since it last looked
                self.receiver.look_for_workers_now();
            }
            let now = Deadline::after(match is_done {
                true => Duration::ZERO,
                false => UNTIL_IT_ASKS_AGAIN.min(deadline.remaining().unwrap_or(Duration::MAX)),
            });
            match self.recv_any(now) {
                Ok((rank, response)) => {
                    quiet = 0;
                    each(rank, response);
                }
                Err(TransportError::Recv(error @ (RecvError::Cancelled | RecvError::Timeout))) => {
                    // one call may find the end of a ring, and only the next one its successor
                    quiet += u32::from(is_done);
                    if error == RecvError::Cancelled {
                        // the program's token ends waits, and this is how such a program ends
                        perform_sleep_wait(now.remaining().unwrap_or_default());
                    }
                }
                Err(error) => break Err(error),
            }
            if deadline.has_passed() || quiet == POLLS_AT_THE_END || is_over() {
                break Ok(());
            }
            if !is_done && next_look <= Instant::now() {
                next_look = Instant::now() + self.sender.liveness_interval();
                if let Err(error) = self.sender.look_for_deaths(Awaits::End) {
                    break Err(error);
                }
            }
        };
        let report = self.close()?;
        received.map(|()| report)
    }

    /// Ends the session in order: workers receive the messages that were sent, and then the end. Answers that
    /// were not received are given up, and so are the answers to requests that workers have not handled yet:
    /// receive the answers you need before you close. Dropping the scheduler does the same. If a panic drops
    /// it, the session is left as after a death. Never waits.
    ///
    /// Sent messages are kept for workers that have not come or are away;
    /// [`remove_worker`](Self::remove_worker) gives up a worker that will not come.
    ///
    /// # Errors
    ///
    /// [`TransportError::Ring`]; the session is closed all the same.
    pub fn close(self) -> MultiProcessResult<CloseReport> {
        let Self {
            sender,
            mut receiver,
        } = self;
        let closed = sender.close();
        if matches!(closed, Err(MultiProcessError::Forked)) {
            return closed;
        }
        let given_up = receiver.answers.give_up();
        let report = closed?;
        given_up.map(|()| report)
    }
}
