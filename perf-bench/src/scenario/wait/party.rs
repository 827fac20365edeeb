//! A process of the waiting scenarios: a [`crate::child`] with at most one end of one or two rings. It may be
//! killed in the middle of an order, which is the subject of the `death` scenarios.

use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use myelon::transport::{
    FramedTransportConsumer, FramedTransportFrame, FramedTransportProducer, MyelonWaitStrategy,
};
use myelon::{
    Deadline, HeapRing, RecvError, RequiredConsumerAlert, RequiredConsumerError,
    RequiredConsumerLivenessConfig, RingMember, RingSet, RunnerMyelonTransportConfig, SendError,
    SharedConsumer, SharedDisruptorBuilder, SharedObserver, SharedProducer, TransportError, Worker,
};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use serde::{Deserialize, Serialize};

use super::broadcast::{SLOW_BURST, SLOW_PAUSE};
use super::session::{self, Frame, LargeFrame};
use super::{END, Event, LIVENESS_INTERVAL};
use crate::arena::Arena;
use crate::child::{self, Child};
use crate::clock::{monotonic_ns, process_cpu_ns};
use crate::fault::Round;
use crate::floor::wake;
use crate::payload::{OfWords, bytes_of, fold, follows, key_of};
use crate::scenario::ends::Receiver;
use crate::scenario::{Failure, open_receiver};
use crate::spec::Spec;
use crate::strategy::Strategy;
use crate::usage::Usage;

/// A ring, as both sides open it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Ring {
    pub(crate) name: String,
    pub(crate) capacity: usize,
    pub(crate) strategy: Strategy,
    /// Whether the ring is made for observers.
    pub(crate) has_observers: bool,
}

impl Ring {
    /// Creates the ring.
    pub(crate) fn producer(&self) -> Result<SharedProducer<Event>, Failure> {
        let builder = myelon::build_shared_single_producer(&self.name, self.capacity);
        let mut builder = builder.with_wait_strategy(self.strategy.wait());
        if self.has_observers {
            builder = builder.with_observers();
        }
        Ok(builder.build_zeroed_producer()?)
    }

    /// Attaches to the ring with an automatic id.
    pub(crate) fn consumer(&self) -> Result<SharedConsumer<Event>, Failure> {
        Ok(self.attach().build_consumer()?)
    }

    /// Attaches to the ring with the id [`REQUIRED`].
    fn required_consumer(&self) -> Result<SharedConsumer<Event>, Failure> {
        Ok(self.attach().with_consumer_id(REQUIRED).build_consumer()?)
    }

    fn attach(&self) -> SharedDisruptorBuilder<Event> {
        let builder = myelon::attach_shared_consumer(&self.name, self.capacity);
        builder.with_wait_strategy(self.strategy.wait())
    }
}

/// The id of the consumer that its producer requires.
const REQUIRED: &str = "required";

/// The driver's orders.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Order {
    /// Build the producer of this ring.
    Produce(Ring),
    /// Attach a consumer to this ring.
    Consume(Ring),
    /// Attach the consumer that this ring's producer requires.
    ConsumeRequired(Ring),
    /// Receive an event.
    Take,
    /// Attach to this ring of a chosen layer.
    Attach(Spec),
    /// Receive the messages of this round one by one, and report the time at which each came.
    TakeEach(Round),
    /// Receive as many messages of the round with this number as the driver announces.
    TakeAnnounced { number: u64 },
    /// Sleep until each of so many bare wake-ups, and report how long each took.
    BareWakes { first: u32, count: usize },
    /// Answer so many bare wake-ups.
    AnswerWakes { count: usize },
    /// Attach an observer to this ring.
    Observe(Ring),
    /// Receive until the end mark.
    TakeAll,
    /// The same with pauses.
    TakeSlowly,
    /// The same with an observer.
    Watch,
    /// Attach to this ring of a chosen layer, receive so many messages of the round with this number and detach, for so
    /// long and at least once.
    Churn {
        spec: Spec,
        round: u64,
        ms: u64,
        messages: u64,
    },
    /// Publish each received event again, until the ring's end. In the place of one with the end mark, publish what
    /// this process has taken from the system so far.
    Echo,
    /// Wait for an event that does not come.
    IdleConsumer { ms: u64 },
    /// The same in a set, with the consumer of another silent ring.
    IdleSet { ms: u64 },
    /// The same at a descriptor, as an event loop does.
    IdleDescriptor { ms: u64 },
    /// Fill the ring, then wait for space that does not come.
    IdleProducer { ms: u64 },
    /// Sleep without a ring.
    BareIdle { ms: u64 },
    /// Fill the ring, then wait for space until something changes.
    AwaitSpace,
    /// Wait for an event until something changes.
    AwaitEvent,
    /// Publish until the alert that the required consumer is dead.
    AwaitAlert,
    /// Be this worker of a session: answer each request with its own bytes, with a stream of tokens or with what it has
    /// seen of a tensor, until the session is closed.
    Serve {
        label: String,
        workers: usize,
        rank: usize,
        is_large: bool,
    },
    /// Attach to a ring of frames, and make one.
    OpenFrames {
        requests: Option<String>,
        answers: String,
    },
    /// Send each message back, until the ring's end.
    EchoFrames,
    /// Send the messages of this round, and then a message of the kind that ends them.
    StreamFrames(Round),
    /// Close the ring of frames.
    CloseFrames,
}

/// A party's answer to an order.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Answer {
    /// How long each wake-up or attaching took, or the time on the monotonic clock at which each message came, in ns.
    pub(crate) took_ns: Vec<u64>,
    /// How long each detaching took, in ns.
    pub(crate) left_ns: Vec<u64>,
    /// The number of events received.
    pub(crate) count: u64,
    /// The number of events that an observer missed.
    pub(crate) missed: u64,
    /// The hash of all received events.
    pub(crate) hash: u64,
    /// How the wait ended, in a word.
    pub(crate) end: String,
    /// The time on the monotonic clock at which the awaited change came, or otherwise at which the order was done.
    pub(crate) at_ns: u64,
    /// The processor time that the order took.
    pub(crate) cpu_ns: u64,
    /// What the order took from the system.
    pub(crate) usage: Usage,
    /// The last two, where they are not those of the whole order.
    #[serde(skip)]
    taken: Option<(u64, Usage)>,
}

/// The driver's handle; dropping it ends the process.
pub(crate) type Party = Child<Order, Answer>;

/// Starts a party on `core`, or on any core that this process may use.
pub(crate) fn start(arena: &Arena, core: Option<usize>) -> Result<Party, Failure> {
    Child::start("party", arena, core)
}

/// The main function of a party.
pub(crate) fn serve(descriptor: i32, core: Option<usize>) -> Result<(), Failure> {
    child::settle(core)?;
    let mut ends = Ends {
        arena: Arena::inherit(descriptor)?,
        tx: None,
        rx: None,
        chosen: None,
        observer: None,
        frames_tx: None,
        frames_rx: None,
    };
    child::obey_all(|order| {
        let before = Taken::so_far();
        let answer = ends.obey(order)?;
        let done_at = monotonic_ns();
        let (cpu_ns, usage) = answer.taken.unwrap_or_else(|| before.until_now());
        Ok(Answer {
            at_ns: if answer.at_ns > 0 {
                answer.at_ns
            } else {
                done_at
            },
            cpu_ns,
            usage,
            ..answer
        })
    })
}

/// What this process had taken from the system at one time.
#[derive(Clone, Copy, Debug)]
struct Taken {
    cpu_ns: u64,
    usage: Usage,
}

impl Taken {
    fn so_far() -> Self {
        Self {
            cpu_ns: process_cpu_ns(),
            usage: Usage::read(),
        }
    }

    /// The processor time since then, and all that was taken since then.
    fn until_now(self) -> (u64, Usage) {
        (process_cpu_ns() - self.cpu_ns, Usage::read() - self.usage)
    }
}

/// The arena and the ends that a party has.
struct Ends {
    arena: Arena,
    tx: Option<SharedProducer<Event>>,
    rx: Option<SharedConsumer<Event>>,
    /// The receiving end of a ring of a chosen layer.
    chosen: Option<Box<dyn Receiver>>,
    observer: Option<SharedObserver<Event>>,
    frames_tx: Option<FramedTransportProducer<Frame>>,
    frames_rx: Option<FramedTransportConsumer<Frame>>,
}

impl Ends {
    fn obey(&mut self, order: Order) -> Result<Answer, Failure> {
        let mut answer = Answer::default();
        match order {
            Order::Produce(ring) => self.tx = Some(ring.producer()?),
            Order::Consume(ring) => self.rx = Some(ring.consumer()?),
            Order::ConsumeRequired(ring) => self.rx = Some(ring.required_consumer()?),
            Order::Take => drop(self.rx()?.recv(Deadline::NEVER)?),
            Order::Attach(spec) => self.chosen = Some(open_receiver(&spec)?),
            Order::TakeEach(round) => answer = take_each(self.chosen()?, round),
            Order::TakeAnnounced { number } => answer = self.take_announced(number)?,
            Order::BareWakes { first, count } => {
                answer.took_ns = wake::receive(&self.arena, first, count);
            }
            Order::AnswerWakes { count } => wake::answer(&self.arena, count),
            Order::Observe(ring) => self.observer = Some(ring.attach().build_observer()?),
            Order::TakeAll => (answer.count, answer.hash) = take_all(self.rx()?, || {})?,
            Order::TakeSlowly => {
                (answer.count, answer.hash) = take_all(self.rx()?, pause_after_bursts())?;
            }
            Order::Watch => {
                let observer = self.observer.as_mut().ok_or("no observer")?;
                (answer.count, answer.missed, answer.end) = watch(observer)?;
            }
            Order::Churn {
                spec,
                round,
                ms,
                messages,
            } => answer = churn(&spec, round, ms, messages)?,
            Order::Echo => answer.count = self.echo()?,
            Order::IdleConsumer { ms } => {
                answer.end = await_event(self.rx()?, within(ms));
            }
            Order::IdleSet { ms } => answer.end = await_set(self.rx()?, within(ms))?,
            Order::IdleDescriptor { ms } => {
                answer.end = await_descriptor(self.rx()?, within(ms))?;
            }
            Order::IdleProducer { ms } => {
                answer.end = await_space(self.tx()?, within(ms));
            }
            Order::BareIdle { ms } => wake::idle(Duration::from_millis(ms), LIVENESS_INTERVAL),
            Order::AwaitSpace => answer.end = await_space(self.tx()?, Deadline::NEVER),
            Order::AwaitEvent => answer.end = await_event(self.rx()?, Deadline::NEVER),
            Order::AwaitAlert => (answer.at_ns, answer.end) = await_alert(self.tx()?),
            Order::Serve {
                label,
                workers,
                rank,
                is_large,
            } => {
                let config = session::config(&label, workers, is_large);
                (answer.count, answer.taken) = match is_large {
                    true => work::<LargeFrame>(&config, rank)?,
                    false => work::<Frame>(&config, rank)?,
                };
            }
            Order::OpenFrames { requests, answers } => {
                if let Some(requests) = requests {
                    let wait = MyelonWaitStrategy::Block;
                    let rx = FramedTransportConsumer::attach(&*requests, session::DEPTH, wait)?;
                    self.frames_rx = Some(rx);
                }
                let tx = FramedTransportProducer::create(&*answers, session::DEPTH)?;
                self.frames_tx = Some(tx);
            }
            Order::EchoFrames => answer.count = self.echo_frames()?,
            Order::StreamFrames(round) => {
                let tx = self.frames_tx.as_mut().ok_or("no ring of frames")?;
                stream(round, |bytes| {
                    Ok(tx.send(bytes, session::KIND, Deadline::NEVER).map(drop)?)
                })?;
                tx.send(&[], session::TOKENS, Deadline::NEVER)?;
            }
            Order::CloseFrames => {
                if let Some(tx) = self.frames_tx.take() {
                    tx.close()?;
                }
            }
        }
        Ok(answer)
    }

    /// Sends each event back; returns their number.
    fn echo(&mut self) -> Result<u64, Failure> {
        let (Some(tx), Some(rx)) = (&mut self.tx, &mut self.rx) else {
            return Err("no ring, or no way back".into());
        };
        let mut count = 0;
        loop {
            let event = match rx.recv(Deadline::NEVER) {
                Ok(event) => *event,
                Err(RecvError::Closed) => break,
                Err(error) => return Err(error.into()),
            };
            if key_of(event.words()).is_some_and(|key| key & END != 0) {
                let words = Usage::read().to_words();
                tx.send(Deadline::NEVER, |slot| {
                    slot.words_mut()[..words.len()].copy_from_slice(&words);
                })?;
                continue;
            }
            tx.send(Deadline::NEVER, |slot| *slot = event)?;
            count += 1;
        }
        self.rx = None;
        if let Some(tx) = self.tx.take() {
            tx.close()?;
        }
        Ok(count)
    }

    /// Sends each message back; returns their number.
    fn echo_frames(&mut self) -> Result<u64, Failure> {
        let (Some(tx), Some(rx)) = (&mut self.frames_tx, &mut self.frames_rx) else {
            return Err("no ring of frames, or no way back".into());
        };
        let mut count = 0;
        loop {
            match rx.recv(Deadline::NEVER) {
                Ok(message) => {
                    tx.send(&message, message.kind(), Deadline::NEVER)?;
                    count += 1;
                }
                Err(RecvError::Closed) => break,
                Err(error) => return Err(error.into()),
            }
        }
        self.frames_rx = None;
        if let Some(tx) = self.frames_tx.take() {
            tx.close()?;
        }
        Ok(count)
    }

    fn tx(&mut self) -> Result<&mut SharedProducer<Event>, Failure> {
        Ok(self.tx.as_mut().ok_or("no producer")?)
    }

    fn rx(&mut self) -> Result<&mut SharedConsumer<Event>, Failure> {
        Ok(self.rx.as_mut().ok_or("no consumer")?)
    }

    fn chosen(&mut self) -> Result<&mut dyn Receiver, Failure> {
        Ok(self.chosen.as_deref_mut().ok_or("no ring was chosen")?)
    }

    /// Receives messages until the driver has announced no more; returns their number, and whether they are right.
    fn take_announced(&mut self, number: u64) -> Result<Answer, Failure> {
        let announced = self.arena.driver_progress();
        let rx = self.chosen.as_deref_mut().ok_or("no ring was chosen")?;
        let (before, mut count, mut hash) = (Taken::so_far(), 0, 0);
        let mut end = 0;
        loop {
            // a burst may have gone beyond the last known end, but not beyond what is announced by now
            if count >= end {
                end = announced.load(Ordering::Acquire) as u64;
            }
            if count == end {
                break;
            }
            let burst = rx.receive_burst(hash, number, count..end);
            hash = burst.0;
            count += burst.1;
        }
        // without the time that it takes to know what they should be
        Ok(Answer {
            count,
            at_ns: monotonic_ns(),
            taken: Some(before.until_now()),
            end: String::from(wholeness(hash == rx.expected(number, count))),
            ..Answer::default()
        })
    }
}

/// The word for messages that are as they were sent.
pub(super) const WHOLE: &str = "whole";

fn wholeness(is_whole: bool) -> &'static str {
    if is_whole { WHOLE } else { "torn" }
}

/// The messages of a round, with its fault.
fn stream(round: Round, mut send: impl FnMut(&[u8]) -> Result<(), Failure>) -> Result<(), Failure> {
    let mut words = [0; session::WORDS];
    for index in 0..round.count {
        round.fill::<true, { session::WORDS }>(&mut words, index, 0);
        send(bytes_of(&words))?;
    }
    Ok(())
}

/// A worker of a session; returns how many requests it has served, and what it has taken since the first one.
fn work<F: FramedTransportFrame>(
    config: &RunnerMyelonTransportConfig,
    rank: usize,
) -> Result<(u64, Option<(u64, Usage)>), Failure> {
    let (mut requests, mut responses) = Worker::<F, Frame>::start(config, rank)?.split();
    let (mut count, mut since) = (0, None);
    loop {
        let request = match requests.recv(Deadline::NEVER) {
            Ok(request) => request,
            Err(TransportError::Recv(RecvError::Closed)) => break,
            Err(error) => return Err(error.into()),
        };
        let mut reply = responses.reply(request.id());
        if request.kind() == session::TENSOR {
            let seen = session::seen_of(&request, request.is_in_place());
            reply.finish(&seen, session::TENSOR, Deadline::NEVER)?;
        } else if request.kind() == session::TOKENS {
            let round: Round = serde_json::from_slice(&request)?;
            stream(round, |bytes| {
                Ok(reply
                    .send(bytes, session::KIND, Deadline::NEVER)
                    .map(drop)?)
            })?;
            reply.finish(&[], session::TOKENS, Deadline::NEVER)?;
        } else if request.kind() == session::USAGE {
            let usage = serde_json::to_vec(&Usage::read())?;
            reply.finish(&usage, session::USAGE, Deadline::NEVER)?;
        } else {
            reply.finish(&request, request.kind(), Deadline::NEVER)?;
        }
        request.done();
        count += 1;
        since.get_or_insert_with(Taken::so_far);
    }
    let taken = since.map(Taken::until_now);
    responses.close()?;
    requests.leave()?;
    Ok((count, taken))
}

fn within(ms: u64) -> Deadline {
    Deadline::after(Duration::from_millis(ms))
}

/// Receives the messages of a round; returns the time at which each came, and whether they are right.
fn take_each(rx: &mut dyn Receiver, round: Round) -> Answer {
    let Round { number, count, .. } = round;
    let mut took_ns = Vec::with_capacity(count as usize);
    let hash = (0..count).fold(0, |hash, index| {
        let hash = rx.receive(hash, number, index..index + 1);
        took_ns.push(monotonic_ns());
        hash
    });
    Answer {
        took_ns,
        end: String::from(wholeness(hash == rx.expected(number, count))),
        ..Answer::default()
    }
}

/// Receives events until the one with the end mark, and calls `after_each` in between. Returns the number of events
/// before the mark and their hash.
#[inline(always)]
fn take_all(
    rx: &mut SharedConsumer<Event>,
    mut after_each: impl FnMut(),
) -> Result<(u64, u64), Failure> {
    let (mut count, mut hash, mut is_over) = (0, 0, false);
    while !is_over {
        rx.process_within(Deadline::NEVER, |event, _, is_last| {
            if is_last && key_of(event.words()).is_some_and(|key| key & END != 0) {
                is_over = true;
                return;
            }
            count += 1;
            hash = fold(hash, event.words());
            after_each();
        })?;
    }
    Ok((count, hash))
}

/// Sleeps after each burst of events.
fn pause_after_bursts() -> impl FnMut() {
    let mut count = 0;
    move || {
        count += 1;
        if count % SLOW_BURST == 0 {
            std::thread::sleep(SLOW_PAUSE);
        }
    }
}

/// Observes events until the one with the end mark; returns how many events were seen before it and how many were
/// missed, and whether all were whole and in order.
fn watch(observer: &mut SharedObserver<Event>) -> Result<(u64, u64, String), Failure> {
    let (mut seen, mut missed, mut offset, mut is_whole) = (0, 0, None, true);
    loop {
        match observer.recv(Deadline::NEVER) {
            Ok((sequence, event)) => {
                let key = key_of(event.words());
                if key.is_some_and(|key| key & END != 0) {
                    break;
                }
                seen += 1;
                // within a round, the keys count the events as the sequences do
                let own = key.map(|key| key.wrapping_sub(sequence as u64));
                is_whole &= own.is_some() && own == *offset.get_or_insert(own);
            }
            Err(RecvError::Lagged(events)) => missed += events,
            Err(error) => return Err(error.into()),
        }
    }
    Ok((seen, missed, String::from(wholeness(is_whole))))
}

/// Attaches and detaches for `ms`; the answer has how long each took. While the ring is silent, `messages` is 0.
fn churn(spec: &Spec, round: u64, ms: u64, messages: u64) -> Result<Answer, Failure> {
    let mut answer = Answer::default();
    let mut is_whole = true;
    let end = monotonic_ns() + ms * 1_000_000;
    while answer.took_ns.is_empty() || monotonic_ns() < end {
        let before = monotonic_ns();
        let mut rx = open_receiver(spec)?;
        answer.took_ns.push(monotonic_ns() - before);
        let mut last = None;
        for _ in 0..messages {
            // first come those that the ring retains, perhaps of an earlier stream
            let key = rx.receive_any(round);
            is_whole &= key.is_some_and(|key| last.is_none_or(|last| follows(key, last)));
            last = key;
        }
        let before = monotonic_ns();
        rx.detach()?;
        answer.left_ns.push(monotonic_ns() - before);
    }
    answer.end = String::from(wholeness(is_whole));
    Ok(answer)
}

fn await_event(rx: &mut SharedConsumer<Event>, deadline: Deadline) -> String {
    match rx.recv(deadline) {
        Ok(_) => String::from("event"),
        Err(end) => end_of_recv(&end),
    }
}

fn await_set(rx: &SharedConsumer<Event>, deadline: Deadline) -> Result<String, Failure> {
    let silent = HeapRing::<u64>::new(1)?;
    let (_tx, other) = (silent.producer()?, silent.builder().build_consumer()?);
    let mut set = RingSet::of([rx as &dyn RingMember, &other])?;
    Ok(match set.wait(deadline) {
        Ok(_) => String::from("event"),
        Err(end) => end_of_recv(&end),
    })
}

fn await_descriptor(rx: &SharedConsumer<Event>, deadline: Deadline) -> Result<String, Failure> {
    let readiness = rx.readiness()?;
    while !readiness.arm(rx)? {
        let rest = deadline.remaining().unwrap_or(Duration::MAX);
        let patience = PollTimeout::try_from(rest).unwrap_or(PollTimeout::MAX);
        let mut descriptors = [PollFd::new(readiness.as_fd(), PollFlags::POLLIN)];
        if poll(&mut descriptors, patience)? == 0 {
            return Ok(String::from("Timeout"));
        }
    }
    Ok(String::from("event"))
}

/// Publishes until the alert; returns the time at which the hook was called, and the error's name. The grace
/// period is short, so that the time after the alert is negligible; all other settings are the defaults.
fn await_alert(tx: &mut SharedProducer<Event>) -> (u64, String) {
    let alerted_at = Arc::new(AtomicU64::new(0));
    let hook = {
        let alerted_at = Arc::clone(&alerted_at);
        move |alert: &RequiredConsumerAlert| {
            // an alert about a live consumer that was held up is not the awaited one
            if !alert.is_alive {
                alerted_at.store(monotonic_ns(), Ordering::Relaxed);
            }
        }
    };
    tx.print_required_consumer_alerts(false);
    tx.enable_required_consumer_liveness(RequiredConsumerLivenessConfig {
        required_consumer_ids: vec![String::from(REQUIRED)],
        shutdown_grace_period: Duration::from_millis(1),
        alert_hook: Some(Arc::new(hook)),
        ..Default::default()
    });
    let end = loop {
        if let Err(end) = tx.publish_managed(|_| {}) {
            break end;
        }
    };
    match alerted_at.load(Ordering::Relaxed) {
        0 => (0, String::from("no alert")),
        at => {
            let end = match end {
                RequiredConsumerError::GracefulShutdownTriggered { .. } => {
                    String::from("GracefulShutdownTriggered")
                }
                other => other.to_string(),
            };
            (at, end)
        }
    }
}

fn await_space(tx: &mut SharedProducer<Event>, deadline: Deadline) -> String {
    while tx.try_publish(|_| {}).is_ok() {}
    match tx.send(deadline, |_| {}) {
        Ok(_) => String::from("space"),
        Err(SendError::Timeout { .. }) => String::from("Timeout"),
        Err(end) => end.to_string(),
    }
}

/// How a consumer's wait ended, in a word if it may be expected.
fn end_of_recv(end: &RecvError) -> String {
    match end {
        RecvError::Timeout => String::from("Timeout"),
        RecvError::ProducerDead { .. } => String::from("ProducerDead"),
        other => other.to_string(),
    }
}
