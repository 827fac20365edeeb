//! The thread of an [`AsyncScheduler`](super::AsyncScheduler): it has the rings, and takes the orders of the tasks.

use std::cell::RefCell;
use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use disruptor_mp::{Consumer, Deadline, Heap, RecvError, SendError};

use super::super::super::clock::NextCheck;
use super::super::super::head::RequestId;
use super::super::super::received::Response;
use super::super::super::scheduler::{Awaits, Scheduler, UNTIL_IT_SAYS_SO};
use super::super::bell::silence;
use super::limits::Limits;
use super::unclaimed::Unclaimed;
use super::{Inbox, Listener, Order, Outgoing, Piece, Shutdown};
use crate::transport::{FramedTransportFrame, TransportError, TransportResult};

/// The first pause before the thread tries again to send what has found no space, unless an answer comes.
const UNTIL_IT_TRIES_AGAIN: Duration = Duration::from_millis(1);

/// How often the pause is doubled.
const LONGER_PAUSES_MAX: u32 = 5;

/// How long the first attempt to send a message of several runs may take. Meanwhile no answers are taken in.
const FIRST_RUNS: Duration = Duration::from_millis(10);

/// How often that time is doubled.
const LONGER_RUNS_MAX: u32 = 6;

/// After a failed attempt, the message is not tried again for this many times as long as the attempt took, so that
/// other calls go on.
const PAUSE_PER_RUNS: u32 = 8;

/// How many answers are taken in before the desk checks for orders again.
const ANSWERS_AT_ONCE: usize = 256;

/// The thread that has the rings.
pub(super) struct Desk<Req: FramedTransportFrame, Resp: FramedTransportFrame, B> {
    scheduler: Scheduler<Req, Resp, B>,
    inbox: Arc<Inbox>,
    /// The bell.
    heard: Consumer<u64, Heap>,
    /// What has found no space, in the order in which it was asked for.
    waiting: VecDeque<Outgoing>,
    /// How often it has waited for space since something was sent.
    pauses: u32,
    under_way: UnderWay,
    limits: Limits,
    unclaimed: Unclaimed,
    /// When it asks next what the absence of a worker means.
    next_check: NextCheck,
    /// When the log has said last that calls wait for a worker that is not there, by rank.
    told: Vec<Option<Instant>>,
}

/// The requests that were sent and not answered, by worker.
type UnderWay = HashMap<(usize, RequestId), Sent>;

/// A request that was sent.
struct Sent {
    listener: Listener,
    at: Instant,
}

impl<Req: FramedTransportFrame, Resp: FramedTransportFrame, B> Desk<Req, Resp, B> {
    pub(super) fn new(
        scheduler: Scheduler<Req, Resp, B>,
        inbox: Arc<Inbox>,
        heard: Consumer<u64, Heap>,
    ) -> Self {
        let told = vec![None; scheduler.workers()];
        Self {
            unclaimed: Unclaimed::new(scheduler.next_request()),
            scheduler,
            inbox,
            heard,
            waiting: VecDeque::new(),
            pauses: 0,
            under_way: HashMap::new(),
            limits: Limits::default(),
            next_check: NextCheck::now(),
            told,
        }
    }

    pub(super) fn run(mut self) {
        /// No order is taken any more when the thread ends, however it ends.
        struct Closing(Arc<Inbox>);
        impl Drop for Closing {
            fn drop(&mut self) {
                drop(self.0.close());
            }
        }
        let closing = Closing(Arc::clone(&self.inbox));
        let shutdown = loop {
            match self.turn() {
                Ok(None) => {}
                Ok(Some(End::Over)) => break None,
                Ok(Some(End::Shutdown(shutdown))) => break Some(shutdown),
                Err(error) => self.fail_all(&error),
            }
        };
        drop(closing);
        self.waiting.clear();
        let Self {
            scheduler,
            inbox,
            under_way,
            mut limits,
            mut unclaimed,
            ..
        } = self;
        if let Some(Shutdown {
            deadline,
            token,
            report,
        }) = shutdown
        {
            let session = scheduler.label().to_owned();
            let under_way = RefCell::new(under_way);
            let take = |rank, response: Response<'_, Resp, B>| {
                deliver(&mut under_way.borrow_mut(), &mut unclaimed, rank, &response);
            };
            let is_over = || {
                while let Some(request) = limits.pop_passed() {
                    end_late(&mut under_way.borrow_mut(), &session, request, |_| {
                        String::new()
                    });
                }
                token.is_cancelled() || inbox.state().is_over
            };
            let ended = scheduler.shutdown_until(deadline, take, is_over);
            // whoever has asked may have gone
            let _ = report.send(ended);
        }
    }

    /// Does what there is to do, and then waits.
    fn turn(&mut self) -> TransportResult<Option<End>> {
        silence(&mut self.heard);
        let end = self.take_orders();
        // what was asked for before the end is sent before the end, if there is space
        self.send_waiting(end.is_some());
        if end.is_some() {
            return Ok(end);
        }
        let mut taken = 0;
        let now = Deadline::after(Duration::ZERO);
        while taken < ANSWERS_AT_ONCE {
            match self.scheduler.recv_any(now) {
                Ok((rank, response)) => {
                    deliver(&mut self.under_way, &mut self.unclaimed, rank, &response);
                    taken += 1;
                }
                Err(TransportError::Recv(RecvError::Timeout)) => break,
                Err(error) => return Err(error),
            }
        }
        while let Some(request) = self.limits.pop_passed() {
            // what is there has come in time
            self.take_in_what_is_there();
            let session = self.scheduler.label().to_owned();
            let scheduler = &mut self.scheduler;
            end_late(&mut self.under_way, &session, request, |rank| {
                scheduler.why_no_answer(rank)
            });
        }
        let interval = self.scheduler.liveness_interval();
        let is_idle = self.waiting.is_empty() && self.under_way.is_empty();
        if !is_idle && self.next_check.is_due(interval) {
            self.check_for_deaths();
        }
        if taken == 0 {
            let until = match (self.waiting.is_empty(), is_idle) {
                (false, _) => {
                    let longer = 1 << self.pauses.min(LONGER_PAUSES_MAX);
                    self.pauses += 1;
                    Deadline::after(UNTIL_IT_TRIES_AGAIN.saturating_mul(longer).min(interval))
                }
                (true, false) => Deadline::after(interval),
                (true, true) if self.scheduler.is_to_check() => Deadline::after(interval),
                (true, true) => Deadline::NEVER,
            };
            let ranks = 0..self.scheduler.workers();
            let is_under_way = |request| {
                ranks
                    .clone()
                    .any(|rank| self.under_way.contains_key(&(rank, request)))
            };
            let until = match self.limits.next(is_under_way) {
                Some(instant) => until.within(instant.saturating_duration_since(Instant::now())),
                None => until,
            };
            self.scheduler.sleep_beside(&self.heard, until)?;
        }
        Ok(None)
    }

    fn take_orders(&mut self) -> Option<End> {
        loop {
            let (order, is_over) = {
                let mut state = self.inbox.state();
                (state.orders.pop_front(), state.is_over)
            };
            match order {
                Some(Order::Send(outgoing)) => self.waiting.push_back(outgoing),
                Some(Order::HearUnasked(listener)) => self.unclaimed.hear_unasked(listener),
                Some(Order::HearEarlier(listener)) => self.unclaimed.hear_earlier(listener),
                Some(Order::State(told)) => {
                    self.send_waiting(false);
                    // whoever has asked may have gone
                    let _ = told.send(self.scheduler.state());
                }
                Some(Order::Shutdown(shutdown)) => return Some(End::Shutdown(shutdown)),
                None if is_over => return Some(End::Over),
                None => return None,
            }
        }
    }

    /// Sends what finds space. Requests to one worker keep their order, and nothing overtakes a request to all. At the
    /// end it waits for nobody.
    fn send_waiting(&mut self, is_end: bool) {
        // bit i: worker i has a request that waits
        let mut full = 0_u64;
        let mut left = VecDeque::new();
        while let Some(mut outgoing) = self.waiting.pop_front() {
            let has_to_wait = match outgoing.to {
                None => full != 0,
                Some(rank) => rank < 64 && full & 1 << rank != 0,
            };
            let is_early = outgoing
                .not_before
                .is_some_and(|instant| Instant::now() < instant);
            if !has_to_wait && !is_early && self.try_send(&mut outgoing, is_end) {
                self.pauses = 0;
                continue;
            }
            if outgoing.deadline.has_passed() {
                let blocked_on = self.held_up_by();
                tell(
                    &outgoing.listener,
                    Err(SendError::Timeout { blocked_on }.into()),
                );
                continue;
            }
            full |= match outgoing.to {
                None => u64::MAX,
                Some(rank) => 1 << rank,
            };
            left.push_back(outgoing);
        }
        self.waiting = left;
    }

    /// What a request to all waits for.
    fn held_up_by(&mut self) -> String {
        let blocked_on = self.scheduler.requests().ring().blocked_on();
        // requests to one worker that are earlier, and wait for space
        let earlier = || String::from("earlier requests of other tasks wait for space");
        blocked_on.map_or_else(earlier, |blocked_on| blocked_on.to_string())
    }

    /// Whether there is nothing left to do for this request: it was sent, or cannot be.
    fn try_send(&mut self, outgoing: &mut Outgoing, is_end: bool) -> bool {
        let patience = match self.scheduler.takes_runs(outgoing.message.len()) {
            _ if is_end => Duration::ZERO,
            false => Duration::ZERO,
            // its parts are lost if it is not sent as a whole, and meanwhile no answers are taken in
            true => FIRST_RUNS.saturating_mul(1 << outgoing.attempts.min(LONGER_RUNS_MAX)),
        };
        outgoing.attempts = outgoing.attempts.saturating_add(1);
        let deadline = outgoing.deadline.within(patience);
        let (message, kind) = (&outgoing.message, outgoing.kind);
        let ranks = match outgoing.to {
            None => 0..self.scheduler.workers(),
            Some(_) => 0..0,
        };
        // a worker that attaches after the request was sent does not receive it
        let gone: Vec<_> = ranks
            .filter(|rank| !self.scheduler.is_kept_for(*rank))
            .collect();
        let sent = match outgoing.to {
            None => self.scheduler.broadcast(message, kind, deadline),
            Some(rank) => self.scheduler.send_to(rank, message, kind, deadline),
        };
        let listener = &outgoing.listener;
        let under_way = || Sent {
            listener: listener.clone(),
            at: Instant::now(),
        };
        match (sent, outgoing.to) {
            (Err(TransportError::Send(SendError::Timeout { .. })), _) => {
                let pause = patience.saturating_mul(PAUSE_PER_RUNS);
                outgoing.not_before = (!pause.is_zero()).then(|| Instant::now() + pause);
                return false;
            }
            (Err(error), _) => tell(listener, Err(error)),
            (Ok(id), Some(rank)) => {
                self.under_way.insert((rank, id), under_way());
            }
            (Ok(id), None) => {
                self.limits.add(outgoing.deadline, id);
                for rank in 0..self.scheduler.workers() {
                    if gone.contains(&rank) {
                        let error = TransportError::WorkerGone {
                            session: self.scheduler.label().to_owned(),
                            rank,
                            request: Some(id),
                        };
                        tell(listener, Err(error));
                    } else {
                        self.under_way.insert((rank, id), under_way());
                    }
                }
            }
        }
        true
    }

    /// Ends what waits for a worker that is gone, or whose death means an end. Warns of what goes on waiting.
    fn check_for_deaths(&mut self) {
        // nobody listens any more: the answer is dropped when it comes
        self.under_way.retain(|_, sent| !sent.listener.is_closed());
        let mut ranks: Vec<_> = self.under_way.keys().map(|(rank, _)| *rank).collect();
        ranks.sort_unstable();
        ranks.dedup();
        for rank in ranks {
            let of_rank = self.under_way.iter().filter(|((of, _), _)| *of == rank);
            let Some((&(_, request), sent)) = of_rank.min_by_key(|(_, sent)| sent.at) else {
                continue;
            };
            let sent_at = sent.at;
            let Err(error) = self.scheduler.go_on_waiting_for(rank, request) else {
                // one warning is for all calls that wait at that time
                let is_news = self.told[rank].is_none_or(|told_at| told_at < sent_at);
                if is_news
                    && sent_at.elapsed() >= UNTIL_IT_SAYS_SO
                    && self.scheduler.is_missing(rank)
                {
                    self.told[rank] = Some(Instant::now());
                    self.scheduler.say_what_it_waits_for(rank, request);
                }
                continue;
            };
            // it may have answered before it went, in a ring that was not attached
            self.take_in_what_is_there();
            let ended: Vec<_> = self
                .under_way
                .extract_if(|(of, _), _| *of == rank)
                .collect();
            for ((rank, id), Sent { listener, .. }) in ended {
                let request = Some(id);
                let session = self.scheduler.label().to_owned();
                let error = match error {
                    TransportError::WorkerDied { is_removed, .. } => TransportError::WorkerDied {
                        session,
                        rank,
                        request,
                        is_removed,
                    },
                    TransportError::WorkerGone { .. } => TransportError::WorkerGone {
                        session,
                        rank,
                        request,
                    },
                    _ => again(&error).into(),
                };
                tell(&listener, Err(error));
            }
        }
        let mut places: Vec<_> = self.waiting.iter().map(|outgoing| outgoing.to).collect();
        places.sort_unstable();
        places.dedup();
        for only in places {
            let Err(TransportError::WorkerDied {
                rank, is_removed, ..
            }) = self.scheduler.check_for_deaths(Awaits::Space { only })
            else {
                self.scheduler.warn_of_the_absent(only);
                continue;
            };
            for outgoing in self.waiting.iter().filter(|outgoing| outgoing.to == only) {
                let request = None;
                let error = TransportError::WorkerDied {
                    session: self.scheduler.label().to_owned(),
                    rank,
                    request,
                    is_removed,
                };
                tell(&outgoing.listener, Err(error));
            }
            self.waiting.retain(|outgoing| outgoing.to != only);
        }
    }

    fn take_in_what_is_there(&mut self) {
        let now = Deadline::after(Duration::ZERO);
        self.scheduler.attach_workers_now();
        for _ in 0..self.scheduler.answers_max() {
            let Ok((rank, response)) = self.scheduler.recv_any(now) else {
                return;
            };
            deliver(&mut self.under_way, &mut self.unclaimed, rank, &response);
        }
    }

    /// The rings cannot be used, or the program's token is cancelled: ends all that waits, and waits for orders.
    fn fail_all(&mut self, error: &TransportError) {
        if let TransportError::Recv(error @ RecvError::InDoubt { .. }) = error {
            // told once; what is certain goes on
            tracing::warn!(
                session = self.scheduler.label(),
                "of one worker's answers: {error}"
            );
            return;
        }
        let is_final = matches!(
            error,
            TransportError::Recv(RecvError::Cancelled | RecvError::Forked | RecvError::LockLost)
        );
        let waiting = self.waiting.drain(..).map(|outgoing| outgoing.listener);
        let under_way = self.under_way.drain().map(|(_, sent)| sent.listener);
        let others = is_final.then(|| self.unclaimed.end());
        for listener in waiting.chain(under_way).chain(others.into_iter().flatten()) {
            tell(&listener, Err(again(error).into()));
        }
        let until = match is_final {
            true => Deadline::NEVER,
            // a ring that does not fit may go
            false => Deadline::after(self.scheduler.liveness_interval()),
        };
        let _ = self.heard.recv(until).map(drop);
    }
}

/// The same error, for one more listener.
fn again(error: &TransportError) -> RecvError {
    match error {
        TransportError::Recv(error) => error.clone(),
        error => RecvError::System {
            what: error.to_string(),
        },
    }
}

/// How the thread ends.
enum End {
    /// No handle is left: the scheduler is dropped.
    Over,
    Shutdown(Shutdown),
}

/// Whoever has asked may have gone.
fn tell(listener: &Listener, what: TransportResult<Piece>) {
    let _ = listener.send(what);
}

/// Tells of each worker that has not answered this request in time.
fn end_late(
    under_way: &mut UnderWay,
    session: &str,
    request: RequestId,
    mut why: impl FnMut(usize) -> String,
) {
    for ((rank, _), Sent { listener, .. }) in under_way.extract_if(|(_, id), _| *id == request) {
        let error = TransportError::NoAnswer {
            session: session.to_owned(),
            rank,
            request,
            why: why(rank),
        };
        tell(&listener, Err(error));
    }
}

/// Copies a piece for whoever waits for it.
fn deliver<F: FramedTransportFrame, B>(
    under_way: &mut UnderWay,
    unclaimed: &mut Unclaimed,
    rank: usize,
    response: &Response<'_, F, B>,
) {
    let piece = || Piece::of(rank, response);
    let Some(request) = response.request() else {
        unclaimed.take_unasked(piece);
        return;
    };
    let Some(sent) = under_way.get(&(rank, request)) else {
        unclaimed.take_answer(request, piece);
        return;
    };
    if sent.listener.send(Ok(piece())).is_err() || response.is_last() {
        under_way.remove(&(rank, request));
    }
}
