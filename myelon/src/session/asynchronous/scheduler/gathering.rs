//! One answer of each worker.

use disruptor_mp::Deadline;

use super::super::super::received::Piece;
use super::super::super::scheduler::Gathered;
use super::AsyncScheduler;
use crate::transport::{TransportError, TransportResult};

impl AsyncScheduler {
    /// Sends a request to all workers and hands the first piece of each worker's answer to `each`, as they come; waits
    /// until the deadline. Returns the number of the request, and the ranks of the workers whose answers have not come,
    /// as [`Scheduler::gather`](crate::Scheduler::gather) does. Answers that come later, and further pieces, are
    /// dropped: [`gather_streaming`](Self::gather_streaming) has all pieces. If the future is dropped, the request is
    /// sent all the same.
    ///
    /// # Errors
    ///
    /// As [`Pieces::next`](super::Pieces::next), except [`TransportError::WorkerGone`], and
    /// [`TransportError::WorkerDied`] after the request was sent; [`TransportError::Send`] if it finds no space until
    /// the deadline; [`TransportError::SessionClosed`] if the session was shut down before.
    ///
    /// # Examples
    ///
    /// See [`AsyncScheduler`].
    pub async fn gather(
        &self,
        message: impl Into<Vec<u8>>,
        kind: u8,
        deadline: Deadline,
        mut each: impl FnMut(Piece),
    ) -> TransportResult<Gathered> {
        let mut pieces = self.send(None, message.into(), kind, deadline);
        let mut awaited: Vec<_> = (0..self.0.workers).collect();
        let mut missing = Vec::new();
        loop {
            let (request, rank, piece) = match pieces.next().await {
                Some(Ok(piece)) => (piece.request, piece.rank, Some(piece)),
                Some(Err(
                    TransportError::WorkerGone { rank, request, .. }
                    | TransportError::WorkerDied { rank, request, .. },
                )) if request.is_some() => (request, rank, None),
                Some(Err(TransportError::NoAnswer { rank, request, .. })) => {
                    (Some(request), rank, None)
                }
                Some(Err(error)) => return Err(error),
                None => return Err(self.closed()),
            };
            let Some(at) = awaited.iter().position(|awaited| *awaited == rank) else {
                continue;
            };
            awaited.swap_remove(at);
            match piece {
                Some(piece) => each(piece),
                None => missing.push(rank),
            }
            if let (Some(request), true) = (request, awaited.is_empty()) {
                missing.sort_unstable();
                return Ok(Gathered { request, missing });
            }
        }
    }
}
