//! The end of a session.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use disruptor_mp::{
    CancelToken, CloseReport, Deadline, MultiProcessError, MultiProcessResult, RecvError,
    fail_point, perform_sleep_wait,
};

use super::super::clock::NextCheck;
use super::super::received::Response;
use super::calls::UNTIL_IT_SAYS_SO;
use super::sender::Awaits;
use super::{ResponseReceiver, Scheduler};
use crate::transport::{FramedTransportFrame, TransportError, TransportResult};

/// How often a scheduler that shuts down polls once everything is done.
const POLLS_AT_THE_END: u32 = 3;

/// How often a scheduler that shuts down asks whether everything is done.
const UNTIL_IT_ASKS_AGAIN: Duration = Duration::from_millis(1);

/// What a scheduler that has shut its session down has left.
///
/// # Examples
///
/// ```
/// # use std::time::Duration;
/// # use myelon::transport::FixedFrame;
/// # use myelon::{Deadline, RunnerMyelonTransportConfig, Scheduler, ShutdownReport, Worker};
/// # let config = RunnerMyelonTransportConfig::new(myelon::portable_shm_segment_name("doc"), 2);
/// # let mut scheduler = Scheduler::<FixedFrame<256>>::start(&config)?;
/// let mut workers = [Worker::<FixedFrame<256>>::start(&config, 0)?, Worker::start(&config, 1)?];
/// scheduler.broadcast(b"compute", 1, Deadline::NEVER)?;
/// workers[0].serve(Deadline::NEVER, |_, _| b"computed")?;
/// let patience = Deadline::after(Duration::from_millis(50)); // worker 1 is too slow
/// let report: ShutdownReport = scheduler.shutdown(patience, |_rank, answer| assert_eq!(&*answer, b"computed"))?;
/// assert_eq!((&*report.unanswered, &*report.unread, &*report.kept_for), (&[0, 1][..], &[0, 0][..], &["worker_1".to_owned()][..]));
/// workers[1].recv(Deadline::NEVER)?.done(); // it was kept
/// # for worker in workers { worker.leave()?; }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ShutdownReport {
    /// Of each worker, by rank: how many requests of this scheduler it had not completed. They are kept for it.
    pub unanswered: Vec<usize>,
    /// Of each worker, by rank: how many of its messages were there and not received. They are dropped.
    pub unread: Vec<usize>,
    /// The ids of the workers for which rings are kept: see [`CloseReport::kept_for`]. Not of one that is attached and
    /// had completed every request: what is left for it is the notice of a ring of requests to one worker, which it
    /// passes over when it receives the next time, or leaves.
    pub kept_for: Vec<String>,
}

impl<Req: FramedTransportFrame, Resp: FramedTransportFrame, B> Scheduler<Req, Resp, B> {
    /// Lets the workers finish what they have, and then [closes](Self::close) the session. Until the deadline it hands
    /// each answer to `each`, with the worker's rank; it returns sooner if all requests are done and all answers
    /// received. The result says what was left: requests of workers that have not come, are away, or have not
    /// finished, and answers that have come too late. A worker without further requests learns from
    /// [`SessionClosing`](TransportError::SessionClosing), within half a second by default, that no more come. After a
    /// second the log names the workers that are not there and hold this call up. The session's tokens do not end it: a
    /// program that is cancelled ends by it. [`shutdown_unless`](Self::shutdown_unless) takes a token of its own.
    ///
    /// # Errors
    ///
    /// As [`recv_any`](Self::recv_any), except for the time-out, and as [`close`](Self::close). The session is closed all
    /// the same.
    pub fn shutdown(
        self,
        deadline: Deadline,
        each: impl FnMut(usize, Response<'_, Resp, B>),
    ) -> TransportResult<ShutdownReport> {
        self.shutdown_until(deadline, each, || false)
    }

    /// As [`shutdown`](Self::shutdown), and ends as at its deadline once `token` is cancelled, or at once if it was
    /// cancelled before. Where a signal cancels the session's token, a second one may cancel this one.
    ///
    /// # Errors
    ///
    /// As [`shutdown`](Self::shutdown).
    ///
    /// # Examples
    ///
    /// ```
    /// # use myelon::transport::FixedFrame;
    /// # use myelon::{CancelToken, Deadline, RunnerMyelonTransportConfig, Scheduler};
    /// # let config = RunnerMyelonTransportConfig::new(myelon::portable_shm_segment_name("doc"), 1);
    /// # let mut scheduler = Scheduler::<FixedFrame<256>>::start(&config)?;
    /// scheduler.broadcast(b"compute", 1, Deadline::NEVER)?; // the worker does not come
    /// let now = CancelToken::new();
    /// let second_signal = now.clone();
    /// std::thread::spawn(move || second_signal.cancel());
    /// let report = scheduler.shutdown_unless(Deadline::NEVER, &now, |_rank, _answer| ())?;
    /// assert_eq!(report.unanswered, [1]);
    /// # let mut scheduler = Scheduler::<FixedFrame<256>>::start(&config)?;
    /// # scheduler.remove_worker(0)?;
    /// # scheduler.close()?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn shutdown_unless(
        self,
        deadline: Deadline,
        token: &CancelToken,
        each: impl FnMut(usize, Response<'_, Resp, B>),
    ) -> TransportResult<ShutdownReport> {
        self.shutdown_until(deadline, each, || token.is_cancelled())
    }

    /// As [`shutdown`](Self::shutdown), but no longer than until `is_over`.
    pub(in crate::session) fn shutdown_until(
        mut self,
        deadline: Deadline,
        mut each: impl FnMut(usize, Response<'_, Resp, B>),
        mut is_over: impl FnMut() -> bool,
    ) -> TransportResult<ShutdownReport> {
        if self.sender.is_forked() {
            return Err(MultiProcessError::Forked.into());
        }
        self.receiver.say_closing(self.sender.next_request());
        let mut quiet = 0;
        let started = Instant::now();
        let mut next_check = NextCheck::now();
        let mut told = BTreeSet::new();
        let received = loop {
            // asked first: an answer is sent before its request is done
            let is_done = self.sender.is_everything_done();
            if is_done {
                // a worker may have attached, done everything and left since the last check
                self.receiver.attach_workers_now();
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
            if !is_done && next_check.is_due(self.sender.liveness_interval()) {
                if let Err(error) = self.sender.check_for_deaths(Awaits::End) {
                    break Err(error);
                }
                if started.elapsed() >= UNTIL_IT_SAYS_SO {
                    self.say_what_the_end_waits_for(&mut told);
                }
            }
        };
        let states = self.sender.state();
        let attached = states.iter().filter(|state| state.is_attached);
        let ready = attached.filter(|state| self.sender.has_done_everything(state.rank));
        let config = &self.receiver.answers.places.config;
        let ready: Vec<_> = ready.map(|state| config.worker_id(state.rank)).collect();
        let (closed, unread) = self.end(ResponseReceiver::count_unread);
        let mut kept_for = closed?.kept_for;
        kept_for.retain(|id| !ready.contains(id));
        let report = ShutdownReport {
            unanswered: states.iter().map(|state| state.in_flight).collect(),
            unread,
            kept_for,
        };
        received.map(|()| report)
    }

    /// Warns, once of each absence, of each worker that is not there and has something to do.
    #[cold]
    fn say_what_the_end_waits_for(&mut self, told: &mut BTreeSet<(usize, Option<u32>)>) {
        for missing in self.sender.missing_workers() {
            let rank = missing.rank;
            let pid = self.sender.pid_of_the_dead(rank);
            if !self.sender.has_done_everything(rank) && told.insert((rank, pid)) {
                self.warn_of_absence(rank, "the shutdown waits for it to complete its requests");
            }
        }
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
        self.end(|_| ()).0
    }

    /// Closes the session, and asks about the answers that are left before they are given up.
    fn end<T: Default>(
        self,
        ask: impl FnOnce(&mut ResponseReceiver<Resp, B>) -> T,
    ) -> (MultiProcessResult<CloseReport>, T) {
        let Self {
            sender,
            mut receiver,
        } = self;
        let closed = sender.close();
        if matches!(closed, Err(MultiProcessError::Forked)) {
            return (closed, T::default());
        }
        fail_point("session.closed");
        let left = ask(&mut receiver);
        let given_up = receiver.answers.give_up();
        (closed.and_then(|report| given_up.map(|()| report)), left)
    }
}
