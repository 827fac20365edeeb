//! Requests to all workers that wait only as long as the required ones make progress.

use disruptor_mp::{Deadline, fail_point};

use super::super::super::head::{HeadedBytes, RequestId, check_len, only_of_the_transport};
use super::RequestSender;
use crate::transport::{FramedTransportFrame, TransportResult};

impl<F: FramedTransportFrame, B> RequestSender<F, B> {
    /// As [`broadcast`](Self::broadcast), but waits for space as long as the required workers make progress, in place
    /// of a deadline. They are named by the transport's
    /// [`enable_required_consumer_liveness`](crate::FramedTransportProducer::enable_required_consumer_liveness), with
    /// their [consumer ids](crate::RunnerMyelonTransportConfig::worker_id). So a program is told of a worker that is
    /// alive and does not move, and may have this call fail then.
    ///
    /// # Errors
    ///
    /// [`RequiredConsumer`](crate::TransportError::RequiredConsumer) for a required worker that has not come in time, or
    /// that holds the ring too long; [`MessageTooLong`](crate::TransportError::MessageTooLong).
    ///
    /// # Examples
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use myelon::transport::FixedFrame;
    /// # use myelon::{Deadline, RunnerMyelonTransportConfig, Scheduler, Worker};
    /// use myelon::RequiredConsumerLivenessConfig;
    ///
    /// # let config = RunnerMyelonTransportConfig::new(myelon::portable_shm_segment_name("doc"), 1);
    /// # let rings = config.transport.clone().with_rpc_depth(2);
    /// # let config = config.with_transport(rings);
    /// let mut scheduler = Scheduler::<FixedFrame<256>>::start(&config)?;
    /// let mut worker = Worker::<FixedFrame<256>>::start(&config, 0)?;
    /// let required = RequiredConsumerLivenessConfig::new([config.worker_id(0)])
    ///     .with_progress_timeout(Duration::from_millis(50))
    ///     .with_shutdown_grace_period(Duration::from_millis(50));
    /// scheduler.requests().enable_required_consumer_liveness(required);
    /// let error = loop {
    ///     // the worker receives nothing
    ///     if let Err(error) = scheduler.broadcast_managed(b"compute", 1) {
    ///         break error;
    ///     }
    /// };
    /// assert!(error.to_string().contains("worker_0"));
    /// # while worker.recv(Deadline::after(Duration::ZERO)).map(|request| request.done()).is_ok() {}
    /// # worker.leave()?;
    /// # scheduler.close()?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn broadcast_managed(&mut self, message: &[u8], kind: u8) -> TransportResult<RequestId> {
        check_len(message.len())?;
        while self.unannounced != 0 {
            // waits for the space of a notice; a claim that is dropped has no effect
            drop(self.common.raw().reserve_managed(0, kind)?);
            let rank = self.unannounced.trailing_zeros() as usize;
            self.announce(rank, Deadline::NEVER)
                .map_err(only_of_the_transport)?;
        }
        let id = self.next;
        let before = self.published(None);
        let head = self.number();
        let sent = self.common.send_managed(&HeadedBytes(head, message), kind);
        match sent {
            Ok(last) => {
                fail_point("session.sent");
                self.note_sent(None, last);
                Ok(id)
            }
            Err(error) => {
                self.note_part(None, before);
                Err(only_of_the_transport(error))
            }
        }
    }
}
