//! Messages that no call of a task waits for.

use std::collections::VecDeque;

use tokio::sync::mpsc::error::SendError;

use super::super::super::head::RequestId;
use super::{Listener, Piece};
use crate::transport::TransportResult;

/// Where they go.
#[derive(Debug)]
pub(super) struct Unclaimed {
    /// Hears what workers send by themselves.
    unasked: Option<Listener>,
    /// Hears the answers to requests before `first`.
    earlier: Option<Listener>,
    /// The first request of a task.
    first: RequestId,
    /// Answers to earlier requests that no task has heard yet.
    kept: VecDeque<TransportResult<Piece>>,
}

impl Unclaimed {
    pub(super) fn new(first: RequestId) -> Self {
        Self {
            unasked: None,
            earlier: None,
            first,
            kept: VecDeque::new(),
        }
    }

    pub(super) fn hear_unasked(&mut self, listener: Listener) {
        self.unasked = Some(listener);
    }

    /// The listener hears what was kept, too.
    pub(super) fn hear_earlier(&mut self, listener: Listener) {
        self.earlier = Some(listener);
        for piece in core::mem::take(&mut self.kept) {
            self.take_earlier(piece);
        }
    }

    pub(super) fn take_unasked(&mut self, piece: impl FnOnce() -> Piece) {
        if let Some(listener) = &self.unasked
            && listener.send(Ok(piece())).is_err()
        {
            self.unasked = None;
        }
    }

    /// Of an answer that no task waits for. The answer to a request of a task is dropped: that task does not listen any
    /// more.
    pub(super) fn take_answer(&mut self, request: RequestId, piece: impl FnOnce() -> Piece) {
        if request < self.first {
            self.take_earlier(Ok(piece()));
        }
    }

    fn take_earlier(&mut self, piece: TransportResult<Piece>) {
        let told = match &self.earlier {
            Some(listener) => listener.send(piece),
            None => Err(SendError(piece)),
        };
        if let Err(SendError(piece)) = told {
            self.earlier = None;
            self.kept.push_back(piece);
        }
    }

    /// Those that listen, for the last time.
    pub(super) fn end(&mut self) -> impl Iterator<Item = Listener> {
        self.unasked.take().into_iter().chain(self.earlier.take())
    }
}
