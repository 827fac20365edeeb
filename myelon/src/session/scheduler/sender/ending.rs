//! The end of the half of a scheduler that sends requests.

use core::ops::{Deref, DerefMut};
use std::time::Duration;

use disruptor_mp::{CloseReport, Deadline, MultiProcessError, MultiProcessResult, fail_point};

use super::RequestSender;
use crate::transport::{FramedTransportFrame, TransportError};

/// What is taken out at the end.
#[derive(Debug)]
pub(super) struct UntilTheEnd<T>(pub(super) Option<T>);

impl<T> Deref for UntilTheEnd<T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        self.0.as_ref().expect("it has not ended")
    }
}

impl<T> DerefMut for UntilTheEnd<T> {
    #[inline]
    fn deref_mut(&mut self) -> &mut T {
        self.0.as_mut().expect("it has not ended")
    }
}

impl<F: FramedTransportFrame, B> RequestSender<F, B> {
    /// Ends the session in order: workers receive the messages that were sent, and then the end. Never waits. Sent
    /// messages are kept for workers that have not come or are away.
    ///
    /// # Errors
    ///
    /// [`MultiProcessError`].
    pub fn close(mut self) -> MultiProcessResult<CloseReport> {
        let (kept_for, others) = self.end_own();
        fail_point("session.own_ended");
        let Some(common) = self.common.0.take() else {
            return Err(MultiProcessError::Forked);
        };
        let mut report = common.close()?;
        others?;
        for id in kept_for {
            if !report.kept_for.contains(&id) {
                report.kept_for.push(id);
            }
        }
        Ok(report)
    }

    /// Ends the rings of requests to one worker: before the common ring, whose end workers take for the session's. If
    /// one of them is kept for its worker, a notice keeps the common ring, too: a successor of this scheduler then
    /// takes over both, and gives higher numbers. Returns the ids of those workers.
    fn end_own(&mut self) -> (Vec<String>, MultiProcessResult<()>) {
        let mut kept_for = Vec::new();
        let mut result = match self.open_all() {
            Err(TransportError::Ring(error)) => Err(error),
            _ => Ok(()),
        };
        for rank in 0..self.own.len() {
            let Some(own) = self.own[rank].take() else {
                continue;
            };
            match own.close() {
                Ok(report) if report.kept_for.is_empty() => {}
                Ok(report) => {
                    kept_for.extend(report.kept_for);
                    // without space, what fills the common ring keeps it
                    let _ = self.announce(rank, Deadline::after(Duration::ZERO));
                }
                Err(error) => result = result.and(Err(error)),
            }
        }
        (kept_for, result)
    }
}

impl<F: FramedTransportFrame, B> Drop for RequestSender<F, B> {
    fn drop(&mut self) {
        // a panic leaves the rings as a death does, and so does a forked child
        let is_ending = self.common.0.is_some() && !std::thread::panicking();
        if is_ending && !self.is_forked() {
            // a drop cannot return the errors; `close()` does
            let _ = self.end_own();
        }
    }
}
