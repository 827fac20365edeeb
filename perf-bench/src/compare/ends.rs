//! The ends of a cell of `compare`: the same loops for every peer, and for the rings.
//!
//! A message is written in full where the peer lets its sender write, and read in full where the peer lets its receiver
//! read. A peer that takes or returns values gets and gives them by value.

use std::sync::Barrier;
use std::sync::atomic::Ordering::{Release, SeqCst};

use super::transport::{Ends, InProcess, Link, Receiver, Sender, Transport};
use super::{Flow, peer_of};
use crate::arena::{Arena, Role};
use crate::clock::{Clock, monotonic_ns};
use crate::fault::Round;
use crate::payload::{REPLY, expected, fold, for_size};
use crate::scenario::stream::wait_for_progress;
use crate::scenario::{Endpoint, Failure, Outcome, in_blocks};
use crate::spec::{Spec, Work};
use crate::watch::{self, Patience};

/// Between two tries.
#[derive(Clone, Copy, Debug)]
enum Waiting {
    /// Spin.
    Spinning,
    /// Give the core to another process.
    Yielding,
    /// The end has waited itself.
    Inside,
}

impl Waiting {
    fn of(spec: &Spec, flow: Flow) -> Result<Self, Failure> {
        Ok(match flow {
            _ if peer_of(spec)?.waits_inside => Self::Inside,
            _ if flow.is_broadcast() => Self::Yielding,
            _ => Self::Spinning,
        })
    }

    #[inline(always)]
    fn pause(self, patience: &mut Patience) {
        match self {
            Self::Spinning => patience.pause(),
            Self::Yielding => {
                std::thread::yield_now();
                patience.pause();
            }
            Self::Inside => watch::check(),
        }
    }

    #[inline(always)]
    fn send<const W: usize>(self, tx: &mut impl Sender<W>, write: &impl Fn(&mut [u64; W])) {
        let mut patience = Patience::default();
        while !tx.try_send(write) {
            self.pause(&mut patience);
        }
    }

    /// Receives the messages of a round.
    #[inline(always)]
    fn receive_all<const W: usize>(self, rx: &mut impl Receiver<W>, round: Round) -> Outcome {
        let (mut hash, mut seen) = (0, 0);
        let mut patience = Patience::default();
        while seen < round.count {
            let mut burst = hash;
            let messages = rx.receive(|words| burst = fold(burst, words));
            hash = burst;
            seen += messages as u64;
            if messages == 0 {
                self.pause(&mut patience);
            }
        }
        Outcome {
            // receiving more messages than were sent counts as wrong, too
            hash: hash ^ (seen - round.count),
            expected: expected::<W>(round.number, round.count, 0),
            ..Outcome::default()
        }
    }

    #[inline(always)]
    fn receive_one<const W: usize>(self, rx: &mut impl Receiver<W>, hash: u64) -> u64 {
        let (mut one, mut patience) = (hash, Patience::default());
        loop {
            match rx.receive_one(|words| one = fold(one, words)) {
                0 => self.pause(&mut patience),
                1 => return one,
                // more than was asked for: no hash is right after it
                _ => return !one,
            }
        }
    }

    /// Sends a request and waits for its reply, again and again.
    fn ask_all<const FAULTY: bool, const W: usize>(
        self,
        (tx, rx): (&mut impl Sender<W>, &mut impl Receiver<W>),
        clock: &Clock,
        round: Round,
    ) -> Outcome {
        let mut ticks = Vec::with_capacity(round.count as usize);
        let mut hash = 0;
        let mut before = clock.ticks();
        for index in 0..round.count {
            self.send(tx, &|words| round.fill::<FAULTY, W>(words, index, 0));
            tx.flush();
            hash = self.receive_one(rx, hash);
            let now = clock.ticks();
            ticks.push(now.wrapping_sub(before));
            before = now;
        }
        Outcome {
            ticks,
            hash,
            expected: expected::<W>(round.number, round.count, REPLY),
            ..Outcome::default()
        }
    }

    fn answer_all<const FAULTY: bool, const W: usize>(
        self,
        (tx, rx): (&mut impl Sender<W>, &mut impl Receiver<W>),
        round: Round,
    ) -> Outcome {
        let mut hash = 0;
        for index in 0..round.count {
            hash = self.receive_one(rx, hash);
            self.send(tx, &|words| {
                round.fill::<FAULTY, W>(words, index, REPLY);
            });
            tx.flush();
        }
        Outcome {
            hash,
            expected: expected::<W>(round.number, round.count, 0),
            ..Outcome::default()
        }
    }

    /// Sends all messages of a round; `finish` waits until they have been received.
    fn send_all<const FAULTY: bool, const W: usize>(
        self,
        tx: &mut impl Sender<W>,
        clock: &Clock,
        round: Round,
        finish: impl FnOnce(),
    ) -> Outcome {
        let before = clock.ticks();
        let outcome = in_blocks(clock, round.count, |block| {
            for index in block {
                if FAULTY {
                    self.send(tx, &|words| round.fill::<FAULTY, W>(words, index, 0));
                    continue;
                }
                let key = round.sent_key::<FAULTY>(index);
                let mut patience = Patience::default();
                while !tx.try_send_key(key) {
                    self.pause(&mut patience);
                }
            }
        });
        tx.flush();
        finish();
        match self {
            Self::Spinning => outcome,
            // The buffers of the kernel may hold several blocks, which are filled faster than they are read. So the
            // whole round counts as one block.
            Self::Yielding | Self::Inside => Outcome {
                ticks: vec![clock.ticks().wrapping_sub(before)],
                ..Outcome::default()
            },
        }
    }
}

/// Runs `$body` with the const `$faulty`, which is whether messages of the round have faults.
macro_rules! for_faults {
    ($round:expr, $faulty:ident => $body:expr) => {
        if $round.has_faulty_messages() {
            const $faulty: bool = true;
            $body
        } else {
            const $faulty: bool = false;
            $body
        }
    };
}

/// Runs `$body` with the words of a message, for the sizes that are compared.
macro_rules! for_compared {
    ($size:expr, $words:ident => $body:expr) => {
        for_size!(@ $size, $words, $body, 1 7 8 128 512)
    };
}

fn flow_of(spec: &Spec) -> Result<Flow, Failure> {
    match spec.work {
        Work::Compared { flow, .. } => Ok(flow),
        _ => Err("not a cell of `compare`".into()),
    }
}

/// The connection from driver to peer.
fn link_of(spec: &Spec, flow: Flow) -> Link {
    let (receivers, receiver) = match flow {
        Flow::Broadcast { receiver } => (super::RECEIVERS, receiver),
        _ => (1, 0),
    };
    Link {
        name: spec.name.clone(),
        directory: spec.root.clone().into(),
        capacity: spec.capacity,
        receivers,
        receiver,
        has_cores: receivers == 1,
    }
}

/// The connection from peer to driver.
fn reply_link(spec: &Spec, flow: Flow) -> Link {
    Link {
        name: spec.reply_name(),
        ..link_of(spec, flow)
    }
}

/// Opens an end of a peer that connects processes.
pub(super) fn open_across<T: Transport>(
    spec: &Spec,
    role: Role,
) -> Result<Box<dyn Endpoint>, Failure> {
    for_compared!(spec.size_bytes, W => across::<T, W>(spec, role))
}

fn across<T: Transport, const W: usize>(
    spec: &Spec,
    role: Role,
) -> Result<Box<dyn Endpoint>, Failure> {
    let flow = flow_of(spec)?;
    let (link, waiting) = (link_of(spec, flow), Waiting::of(spec, flow)?);
    Ok(match (flow, role) {
        (Flow::PingPong, Role::Driver) => Box::new(Asking::<T, W> {
            replies: None,
            requests: T::sender(&link)?,
            reply_link: reply_link(spec, flow),
            waiting,
        }),
        (Flow::PingPong, Role::Peer) => Box::new(Answering::<T, W> {
            requests: T::receiver(&link)?,
            replies: T::sender(&reply_link(spec, flow))?,
            waiting,
        }),
        (Flow::Stream | Flow::Broadcast { .. }, Role::Driver) => Box::new(Sending::<T, W> {
            tx: T::sender(&link)?,
            waiting,
            is_met: flow == Flow::Stream,
        }),
        (Flow::Stream | Flow::Broadcast { .. }, Role::Peer) => Box::new(Receiving::<T, W> {
            rx: T::receiver(&link)?,
            waiting,
            is_met: flow == Flow::Stream,
        }),
    })
}

struct Asking<T: Transport, const W: usize> {
    // dropped first, while its sender lives
    replies: Option<T::Rx<W>>,
    requests: T::Tx<W>,
    reply_link: Link,
    waiting: Waiting,
}

impl<T: Transport, const W: usize> Endpoint for Asking<T, W> {
    fn finish_opening(&mut self) -> Result<(), Failure> {
        self.replies = Some(T::receiver(&self.reply_link)?);
        Ok(())
    }

    fn run(&mut self, arena: &mut Arena, clock: &Clock, round: Round) -> Outcome {
        let replies = self.replies.as_mut();
        let replies = replies.expect("the driver finishes opening before the first round");
        let ends = (&mut self.requests, replies);
        arena.meet();
        for_faults!(round, FAULTY => self.waiting.ask_all::<FAULTY, W>(ends, clock, round))
    }
}

struct Answering<T: Transport, const W: usize> {
    requests: T::Rx<W>,
    replies: T::Tx<W>,
    waiting: Waiting,
}

impl<T: Transport, const W: usize> Endpoint for Answering<T, W> {
    fn run(&mut self, arena: &mut Arena, _: &Clock, round: Round) -> Outcome {
        let ends = (&mut self.replies, &mut self.requests);
        arena.meet();
        for_faults!(round, FAULTY => self.waiting.answer_all::<FAULTY, W>(ends, round))
    }
}

struct Sending<T: Transport, const W: usize> {
    tx: T::Tx<W>,
    waiting: Waiting,
    /// Whether the ends meet in the arena. The receivers of a broadcast do not, as they are several.
    is_met: bool,
}

impl<T: Transport, const W: usize> Endpoint for Sending<T, W> {
    fn run(&mut self, arena: &mut Arena, clock: &Clock, round: Round) -> Outcome {
        if self.is_met {
            arena.progress().store(0, SeqCst);
            arena.meet();
        }
        let finish = || {
            if self.is_met {
                wait_for_progress(arena, round.number + 1);
            }
        };
        let (tx, waiting) = (&mut self.tx, self.waiting);
        for_faults!(round, FAULTY => waiting.send_all::<FAULTY, W>(tx, clock, round, finish))
    }
}

struct Receiving<T: Transport, const W: usize> {
    rx: T::Rx<W>,
    waiting: Waiting,
    is_met: bool,
}

impl<T: Transport, const W: usize> Endpoint for Receiving<T, W> {
    fn run(&mut self, arena: &mut Arena, _: &Clock, round: Round) -> Outcome {
        if self.is_met {
            arena.meet();
        }
        let mut outcome = self.waiting.receive_all(&mut self.rx, round);
        if self.is_met {
            arena.progress().store(round.number as i64 + 1, Release);
        } else {
            outcome.took_ns = vec![monotonic_ns()];
        }
        outcome
    }
}

/// Opens an end of a peer that connects threads: the driver has all ends, and the other processes have none.
pub(super) fn open_within<T: InProcess>(
    spec: &Spec,
    role: Role,
) -> Result<Box<dyn Endpoint>, Failure> {
    match role {
        Role::Driver => for_compared!(spec.size_bytes, W => within::<T, W>(spec)),
        Role::Peer => Ok(Box::new(Absent(flow_of(spec)?))),
    }
}

fn within<T: InProcess, const W: usize>(spec: &Spec) -> Result<Box<dyn Endpoint>, Failure> {
    let flow = flow_of(spec)?;
    let there = T::open(&link_of(spec, flow))?;
    let back = match flow {
        Flow::PingPong => Some(T::open(&reply_link(spec, flow))?),
        _ => None,
    };
    Ok(Box::new(Threads::<T, W> {
        there,
        back,
        flow,
        waiting: Waiting::of(spec, flow)?,
    }))
}

/// The process of a peer that connects threads of another one.
struct Absent(Flow);

impl Endpoint for Absent {
    fn run(&mut self, arena: &mut Arena, _: &Clock, _: Round) -> Outcome {
        if !self.0.is_broadcast() {
            arena.meet();
        }
        Outcome::default()
    }
}

/// The ends of a connection of `T`.
type EndsOf<T, const W: usize> = Ends<<T as InProcess>::Tx<W>, <T as InProcess>::Rx<W>>;

/// All ends, each used by a thread of its own.
struct Threads<T: InProcess, const W: usize> {
    there: EndsOf<T, W>,
    back: Option<EndsOf<T, W>>,
    flow: Flow,
    waiting: Waiting,
}

impl<T: InProcess, const W: usize> Endpoint for Threads<T, W> {
    fn run(&mut self, arena: &mut Arena, clock: &Clock, round: Round) -> Outcome {
        let (flow, waiting) = (self.flow, self.waiting);
        let (tx, receivers) = (&mut self.there.sender, &mut self.there.receivers);
        let ready = &Barrier::new(receivers.len() + 1);
        if !flow.is_broadcast() {
            arena.meet();
        }
        let Some(back) = &mut self.back else {
            return std::thread::scope(|scope| {
                let receive = |rx| {
                    scope.spawn(move || {
                        enter(ready, flow);
                        let outcome = waiting.receive_all(rx, round);
                        let took_ns = vec![monotonic_ns()];
                        Outcome { took_ns, ..outcome }
                    })
                };
                let others: Vec<_> = receivers.iter_mut().map(receive).collect();
                ready.wait();
                let outcome = for_faults!(round, FAULTY => {
                    waiting.send_all::<FAULTY, W>(tx, clock, round, || ())
                });
                together(outcome, others.into_iter().map(join))
            });
        };
        let (rx, replies) = (&mut receivers[0], &mut back.receivers[0]);
        let answers = &mut back.sender;
        std::thread::scope(|scope| {
            let other = scope.spawn(move || {
                enter(ready, flow);
                let ends = (answers, rx);
                for_faults!(round, FAULTY => waiting.answer_all::<FAULTY, W>(ends, round))
            });
            ready.wait();
            let ends = (tx, replies);
            let outcome =
                for_faults!(round, FAULTY => waiting.ask_all::<FAULTY, W>(ends, clock, round));
            together(outcome, [join(other)])
        })
    }
}

/// A thread that has come so far runs on its core.
fn enter(ready: &Barrier, flow: Flow) {
    super::enter_thread(flow.is_broadcast());
    ready.wait();
}

/// A thread whose wait has to end unwinds, and so does the driver then.
fn join(thread: std::thread::ScopedJoinHandle<'_, Outcome>) -> Outcome {
    thread
        .join()
        .unwrap_or_else(|thrown| std::panic::resume_unwind(thrown))
}

/// The outcome of the driver's thread and of the others.
fn together(own: Outcome, others: impl IntoIterator<Item = Outcome>) -> Outcome {
    others.into_iter().fold(own, |own, other| Outcome {
        // right only if both are
        hash: own.hash ^ own.expected | other.hash ^ other.expected,
        expected: 0,
        took_ns: [own.took_ns, other.took_ns].concat(),
        ..own
    })
}
