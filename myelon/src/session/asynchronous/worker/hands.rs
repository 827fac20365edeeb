//! The thread that has the rings of a worker for tasks.

use std::sync::mpsc;
use std::time::Duration;

use disruptor_mp::{Consumer, Deadline, Heap};
use tokio::sync::oneshot;

use super::super::super::received::Request;
use super::super::super::worker::{RequestReceiver, ResponseSender};
use super::super::bell::silence;
use super::{Handed, Order, Told};
use crate::transport::{FramedTransportFrame, TransportError, TransportResult};

/// The thread that has the rings.
pub(super) struct Hands<Req: FramedTransportFrame, Resp: FramedTransportFrame, B> {
    pub(super) requests: RequestReceiver<Req, B>,
    pub(super) responses: ResponseSender<Resp, B>,
    pub(super) orders: mpsc::Receiver<Order>,
    /// The bell.
    pub(super) heard: Consumer<u64, Heap>,
    /// See [`tell`].
    pub(super) untold: Option<TransportError>,
}

/// Some errors are told once, such as that the session closes: what no task hears is kept for the next one.
fn tell(
    untold: &mut Option<TransportError>,
    handed: oneshot::Sender<TransportResult<Handed>>,
    error: TransportError,
) {
    if let Err(Err(error)) = handed.send(Err(error)) {
        *untold = Some(error);
    }
}

impl<Req: FramedTransportFrame, Resp: FramedTransportFrame, B> Hands<Req, Resp, B> {
    /// Ends when the worker leaves, or nobody is left who could give orders. Dropping the halves keeps the places.
    pub(super) fn run(mut self) {
        let mut next = None;
        while let Some(order) = next.take().or_else(|| self.orders.recv().ok()) {
            match order {
                Order::Next(handed) => next = self.serve(handed),
                Order::Respond(message, kind, told) => {
                    let sent = self.responses.respond(&message, kind, Deadline::NEVER);
                    let _ = told.send(sent.map(drop));
                }
                Order::Leave(told) => {
                    self.leave(told);
                    return;
                }
                // of a request that was returned already
                Order::Piece { told, .. } | Order::GiveUp(told) => drop(told),
                Order::Return => {}
            }
        }
    }

    fn leave(self, told: Told) {
        let Self {
            requests,
            responses,
            heard,
            ..
        } = self;
        let closed = responses.close().map(drop);
        let left = requests.leave();
        // the thread has no ring any more when the task hears of it
        drop(heard);
        let _ = told.send(closed.and(left).map_err(TransportError::from));
    }

    /// Waits until there is a request or an order, and returns the order. An order comes only when the task has dropped
    /// the future that waited for a request.
    fn wait(&mut self) -> TransportResult<Option<Order>> {
        loop {
            silence(&mut self.heard);
            if let Ok(order) = self.orders.try_recv() {
                return Ok(Some(order));
            }
            if self.requests.has_next_beside(&self.heard)? {
                return Ok(None);
            }
        }
    }

    /// Hands out the next request and does what the task asks for it. Returns an order that is not about the request.
    fn serve(&mut self, handed: oneshot::Sender<TransportResult<Handed>>) -> Option<Order> {
        if let Some(error) = self.untold.take() {
            tell(&mut self.untold, handed, error);
            return None;
        }
        match self.wait() {
            Ok(None) => {}
            Ok(order) => return order,
            Err(error) => {
                tell(&mut self.untold, handed, error);
                return None;
            }
        }
        if handed.is_closed() {
            return None;
        }
        // it is there
        let request = match self.requests.recv(Deadline::after(Duration::ZERO)) {
            Ok(request) => request,
            Err(error) => {
                tell(&mut self.untold, handed, error);
                return None;
            }
        };
        let (id, kind) = (request.id(), request.kind());
        let copy = Handed {
            id,
            kind,
            delivery: request.delivery(),
            bytes: request.to_vec(),
        };
        if handed.send(Ok(copy)).is_err() {
            drop(request);
            self.requests.uncount_delivery();
            return None;
        }
        let mut reply = self.responses.reply(id);
        loop {
            let order = self.orders.recv();
            match order {
                Ok(Order::Piece {
                    bytes,
                    kind,
                    is_last: false,
                    told,
                }) => {
                    let sent = reply.send(&bytes, kind, Deadline::NEVER);
                    let _ = told.send(sent.map(drop));
                }
                Ok(Order::Piece {
                    bytes, kind, told, ..
                }) => {
                    let sent = reply.finish(&bytes, kind, Deadline::NEVER);
                    end(request, sent.map(drop), told);
                    return None;
                }
                Ok(Order::GiveUp(told)) => {
                    let sent = reply.sender().give_up(id, kind, Deadline::NEVER);
                    end(request, sent.map(drop), told);
                    return None;
                }
                // nobody waits for the answer of a closed session: it would come again for ever
                Ok(Order::Return) if reply.sender().is_closing() => {
                    request.done();
                    return of_another(order);
                }
                _ => {
                    drop(request);
                    let is_unseen = !matches!(order, Ok(Order::Return));
                    if is_unseen {
                        // it was handed to a future that was dropped before it was polled
                        self.requests.uncount_delivery();
                    }
                    return of_another(order);
                }
            }
        }
    }
}

/// The order, if it is not the return of the request.
fn of_another(order: Result<Order, mpsc::RecvError>) -> Option<Order> {
    order.ok().filter(|order| !matches!(order, Order::Return))
}

/// A request is done if its last piece was sent, or if nobody waits for it any more.
fn end<F: FramedTransportFrame, B>(
    request: Request<'_, F, B>,
    sent: TransportResult<()>,
    told: Told,
) {
    match sent {
        Ok(()) | Err(TransportError::SessionClosed { .. }) => request.done(),
        Err(_) => drop(request),
    }
    let _ = told.send(sent);
}
