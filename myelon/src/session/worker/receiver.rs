//! The half of a worker that receives requests.

use disruptor_mp::{Deadline, MultiProcessResult, RecvError, SharedMemory};

use crate::transport::{FramedTransportConsumer, FramedTransportFrame, Message};
use crate::typed_transport::TypedConsumer;

/// The half of a [`Worker`](super::Worker) that receives requests: [`Worker::split`](super::Worker::split) returns it.
///
/// Dropping it keeps the worker's place in the scheduler's ring for a successor.
///
/// # Examples
///
/// See [`Worker::split`](super::Worker::split).
#[derive(Debug)]
pub struct RequestReceiver<F: FramedTransportFrame, B = SharedMemory> {
    pub(super) requests: TypedConsumer<F, B>,
    pub(super) rank: usize,
}

impl<F: FramedTransportFrame, B> RequestReceiver<F, B> {
    /// The scheduler's next message: see [`Worker::recv`](super::Worker::recv).
    ///
    /// # Errors
    ///
    /// As [`FramedTransportConsumer::recv`].
    pub fn recv(&mut self, deadline: Deadline) -> Result<Message<'_, F, B>, RecvError> {
        self.requests.recv_raw(deadline)
    }

    /// The worker's rank.
    pub fn rank(&self) -> usize {
        self.rank
    }

    /// The transport on which the scheduler's messages are received.
    pub fn transport(&mut self) -> &mut FramedTransportConsumer<F, B> {
        self.requests.raw()
    }

    /// Gives up the worker's place in the scheduler's ring for good.
    ///
    /// # Errors
    ///
    /// [`TransportError::Ring`](crate::TransportError::Ring).
    pub fn leave(self) -> MultiProcessResult<()> {
        self.requests.leave()
    }
}
