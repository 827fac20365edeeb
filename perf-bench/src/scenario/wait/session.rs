//! What a session costs beside the frames that it is made of: calls, addressed requests, streams of tokens, large
//! requests, requests after a pause, and idle members.
//!
//! The driver is the scheduler, and each worker is a party. The reference is in the same round: a pair of rings of the
//! same frames without a session, or four of them in a set. Both carry messages of 64 bytes with the default wait
//! strategy. A message is verified by its bytes when it comes back, a stream by its hash.

use std::time::{Duration, Instant};

use myelon::transport::{
    AlignedFixedFrame, FixedFrame, FramedTransportConsumer, FramedTransportFrame,
    FramedTransportProducer, MyelonWaitStrategy,
};
use myelon::{
    Deadline, RingSet, RunnerMyelonTransportConfig, Scheduler, TransportError,
    portable_shm_segment_name,
};

use super::latency::quantile;
use super::party::{self, Answer, Order, Party};
use super::{LIVENESS_INTERVAL, Name, Pairs, Setting};
use crate::affinity;
use crate::clock::monotonic_ns;
use crate::fault::Round;
use crate::floor::wake;
use crate::payload::{bytes_of, expected, fold, key, words_of};
use crate::report::comparison::{Row, Target};
use crate::scenario::Failure;
use crate::strategy::Strategy;
use crate::usage::Usage;
use crate::watch;

/// Frames with room for a message of 64 bytes and the head of a session.
pub(super) type Frame = FixedFrame<96>;
/// Frames with room for a tensor and the head of a session, and how many of them a ring has.
pub(super) type LargeFrame = AlignedFixedFrame<{ TENSOR_BYTES + 64 }>;
const LARGE_DEPTH: usize = 2;
const TENSOR_BYTES: usize = 8 << 20;
/// Tensors for one figure, which is their median.
const TENSORS: usize = 15;
const TENSORS_QUICK: usize = 3;
/// Frames of each ring.
pub(super) const DEPTH: usize = 256;
/// Words of a message: 64 bytes.
pub(super) const WORDS: usize = 8;
pub(super) const KIND: u8 = 1;
/// The kind of a request that asks for a stream of tokens.
pub(super) const TOKENS: u8 = 2;
/// The kind of a request that carries a tensor: the answer is what [`seen_of`] says.
pub(super) const TENSOR: u8 = 3;
/// The kind of a request that asks what the worker has taken from the system so far.
pub(super) const USAGE: u8 = 4;

const ROUNDS_MAX: usize = 10;
/// Number of round trips for one figure, which is their median.
const TRIPS: usize = 20_000;
const TRIPS_QUICK: usize = 2_000;
/// Time before the first measurement, in which the sides adapt to their cores.
const ADAPTING: Duration = LIVENESS_INTERVAL.saturating_mul(2);
const TOKENS_EACH: u64 = 200_000;
const TOKENS_EACH_QUICK: u64 = 20_000;
/// First requests of a round after pauses shorter than [`LONG_PAUSE`]; there is one after longer ones.
const FIRST_REQUESTS: usize = 4;
const LONG_PAUSE: Duration = Duration::from_secs(1);
/// Workers of the larger sessions.
const WORKERS: usize = 4;
/// Idle members are watched for so long, in each of a few rounds.
const IDLE_MS: u64 = 10_000;
const IDLE_ROUNDS: usize = 3;
const IDLE_QUICK_MS: u64 = 500;

/// The scenarios that can be selected by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum SessionScenario {
    /// A request to one worker and its answer, in sessions of one, four and eight workers, against a round trip of
    /// frames; the last one also against a request to all in a session of one worker.
    #[value(name = "call")]
    Call,
    /// Four workers that stream pieces as fast as they can, against four streams of frames into one set.
    #[value(name = "tokens")]
    Tokens,
    /// A tensor of 8 MiB for four workers, against a copy of it and a small request to all.
    #[value(name = "tensor")]
    Tensor,
    /// The first request after a pause and its answer, against a bare wake-up after the same pause and its answer.
    #[value(name = "first_request")]
    FirstRequest,
    /// The processor time of a session of four workers without requests, against a bare sleep.
    #[value(name = "idle_session")]
    Idle,
}

/// Measures these scenarios, in this order. `pause` is the time before a first request.
pub(crate) fn run(
    scenarios: &[SessionScenario],
    pause: Duration,
    setting: Setting<'_>,
) -> Result<Vec<Row>, Failure> {
    let mut rows = Vec::new();
    for scenario in scenarios {
        rows.extend(match scenario {
            SessionScenario::Call => calls(setting)?,
            SessionScenario::Tokens => tokens(setting)?,
            SessionScenario::Tensor => tensor(setting)?,
            SessionScenario::FirstRequest => first_request(pause, setting)?,
            SessionScenario::Idle => idle(setting)?,
        });
    }
    Ok(rows)
}

/// The settings of a session, as all its members make them.
pub(super) fn config(label: &str, workers: usize, is_large: bool) -> RunnerMyelonTransportConfig {
    let config = RunnerMyelonTransportConfig::new(label, workers);
    let depth = if is_large { LARGE_DEPTH } else { DEPTH };
    let rings = config.transport.clone();
    let rings = rings.with_rpc_depth(depth).with_response_depth(DEPTH);
    config.with_transport(rings)
}

/// Removes the names of a session's rings when it is dropped, however the processes ended.
struct Names {
    _names: Vec<Name>,
}

impl Names {
    fn of(config: &RunnerMyelonTransportConfig) -> Result<Self, Failure> {
        let layout = config.layout()?;
        let ranks = 0..config.workers;
        let own = ranks.flat_map(|rank| {
            [
                layout.response_ring_name(rank),
                layout.request_ring_name(rank),
            ]
        });
        let names = own.chain([layout.rpc_ring_name()]).map(Name).collect();
        Ok(Self { _names: names })
    }
}

/// A scheduler with its workers.
struct Session<F: FramedTransportFrame = Frame> {
    scheduler: Scheduler<F, Frame>,
    workers: Vec<Party>,
    _names: Names,
}

impl<F: FramedTransportFrame> Session<F> {
    /// Starts a session whose first worker has the core of the peer; the others may use any.
    fn start(setting: Setting<'_>, workers: usize, is_large: bool) -> Result<Self, Failure> {
        let label = portable_shm_segment_name("pb").to_string();
        let config = config(&label, workers, is_large);
        let names = Names::of(&config)?;
        let scheduler = Scheduler::start(&config)?;
        let mut parties = Vec::new();
        for rank in 0..workers {
            let core = setting.cores.filter(|_| rank == 0).map(|cores| cores.peer);
            let mut party = party::start(setting.arena, core)?;
            party.order(&Order::Serve {
                label: label.clone(),
                workers,
                rank,
                is_large,
            })?;
            parties.push(party);
        }
        Ok(Self {
            scheduler,
            workers: parties,
            _names: names,
        })
    }

    /// What all workers have taken from the system so far. Each of them wakes up to say it.
    fn usage_of_workers(&mut self, deadline: Deadline) -> Result<Usage, Failure> {
        let mut usage = Usage::default();
        for rank in 0..self.workers.len() {
            let answer = self.scheduler.call(rank, &[], USAGE, deadline)?;
            usage += serde_json::from_slice(&answer)?;
        }
        Ok(usage)
    }

    /// Ends the session; returns the answers of its workers.
    fn close(self) -> Result<Vec<Answer>, Failure> {
        self.scheduler.close()?;
        let workers = self.workers.into_iter();
        workers.map(|mut party| party.answer()).collect()
    }
}

/// Rings of frames in both directions between this process and a party, without a session.
struct Framed {
    tx: FramedTransportProducer<Frame>,
    rx: FramedTransportConsumer<Frame>,
    party: Party,
    _names: [Name; 2],
}

impl Framed {
    fn start(setting: Setting<'_>) -> Result<Self, Failure> {
        let names = [Name::new(), Name::new()];
        let [there, back] = [&names[0].0, &names[1].0];
        let tx = FramedTransportProducer::create(&**there, DEPTH)?;
        let core = setting.cores.map(|cores| cores.peer);
        let mut party = party::start(setting.arena, core)?;
        party.ask(&Order::OpenFrames {
            requests: Some(there.clone()),
            answers: back.clone(),
        })?;
        let rx = FramedTransportConsumer::attach(&**back, DEPTH, MyelonWaitStrategy::Block)?;
        party.order(&Order::EchoFrames)?;
        Ok(Self {
            tx,
            rx,
            party,
            _names: names,
        })
    }
}

/// One round trip: sends a message and returns whether it has come back.
trait Trip {
    fn trip(
        &mut self,
        message: &[u8],
        expected: &[u8],
        deadline: Deadline,
    ) -> Result<bool, Failure>;

    /// What all processes have taken from the system so far; unknown for a side that others are only compared with.
    fn usage(&mut self, _: Deadline) -> Result<Usage, Failure> {
        Ok(Usage::default())
    }
}

impl Trip for Framed {
    fn trip(
        &mut self,
        message: &[u8],
        expected: &[u8],
        deadline: Deadline,
    ) -> Result<bool, Failure> {
        self.tx.send(message, KIND, deadline)?;
        Ok(*self.rx.recv(deadline)? == *expected)
    }
}

impl Trip for Session {
    fn trip(
        &mut self,
        message: &[u8],
        expected: &[u8],
        deadline: Deadline,
    ) -> Result<bool, Failure> {
        let answer = self.scheduler.call(0, message, KIND, deadline)?;
        Ok(*answer == *expected)
    }

    fn usage(&mut self, deadline: Deadline) -> Result<Usage, Failure> {
        Ok(self.usage_of_workers(deadline)? + Usage::read())
    }
}

/// A session of one worker, to which the requests go as requests to all.
struct ToAll<'a>(&'a mut Session);

impl Trip for ToAll<'_> {
    fn trip(
        &mut self,
        message: &[u8],
        expected: &[u8],
        deadline: Deadline,
    ) -> Result<bool, Failure> {
        let scheduler = &mut self.0.scheduler;
        let request = scheduler.broadcast(message, KIND, deadline)?;
        let answer = scheduler.recv_answer(0, request, deadline)?;
        Ok(*answer == *expected)
    }
}

/// The messages of one side, and whether all have come back.
struct Trips {
    sent: u64,
    is_right: bool,
    deadline: Deadline,
    round: Round,
}

impl Trips {
    fn one(&mut self, side: &mut dyn Trip) -> Result<(), Failure> {
        let (mut words, mut expected) = ([0; WORDS], [0; WORDS]);
        let sent = self.sent;
        self.sent += 1;
        self.round.fill::<true, WORDS>(&mut words, sent, 0);
        crate::payload::fill(&mut expected, key(self.round.number, sent));
        self.is_right &= side.trip(bytes_of(&words), bytes_of(&expected), self.deadline)?;
        Ok(())
    }

    fn adapt(&mut self, side: &mut dyn Trip) -> Result<(), Failure> {
        let end = Instant::now() + ADAPTING;
        while Instant::now() < end {
            self.one(side)?;
        }
        Ok(())
    }

    fn median_ns(&mut self, side: &mut dyn Trip, trips: usize) -> Result<f64, Failure> {
        watch::check();
        let mut took = Vec::with_capacity(trips);
        for _ in 0..trips {
            let start = monotonic_ns();
            self.one(side)?;
            took.push(monotonic_ns() - start);
        }
        took.sort_unstable();
        Ok(took[trips / 2] as f64)
    }
}

/// Round trips of calls in sessions of 1, 4 and 8 workers, beside those of frames; and those of the last session beside
/// requests to all in the first.
fn calls(setting: Setting<'_>) -> Result<Vec<Row>, Failure> {
    const SESSIONS: [usize; 3] = [1, WORKERS, 8];
    let trips = if setting.is_quick { TRIPS_QUICK } else { TRIPS };
    let all_cores = affinity::allowed();
    let mut framed = Framed::start(setting)?;
    let mut sessions: Vec<Session> = Vec::new();
    for workers in SESSIONS {
        sessions.push(Session::start(setting, workers, false)?);
    }
    // after the parties, which would have this core, too
    if let Some(cores) = setting.cores {
        affinity::pin(cores.driver);
    }
    let mut pairs = SESSIONS.map(|_| Pairs::default());
    let mut addressed = Pairs::default();
    let mut reason = None;
    let rounds = setting.rounds.min(ROUNDS_MAX);
    for number in 0..=rounds {
        let running = setting.start_round(number);
        let mut is_right = true;
        let mut measure = |side: &mut dyn Trip| -> Result<(f64, Usage), Failure> {
            let mut of_side = Trips {
                sent: 0,
                is_right: true,
                deadline: setting.deadline(),
                round: Round {
                    number: number as u64,
                    count: trips as u64,
                    fault: running.fault,
                },
            };
            of_side.adapt(side)?;
            let before = side.usage(of_side.deadline)?;
            let figure = of_side.median_ns(side, trips)?;
            let usage = side.usage(of_side.deadline)? - before;
            is_right &= of_side.is_right;
            Ok((figure, usage))
        };
        let (reference, _) = measure(&mut framed)?;
        let (to_all, _) = measure(&mut ToAll(&mut sessions[0]))?;
        let mut of_last = (0.0, Usage::default());
        for (session, pairs) in sessions.iter_mut().zip(&mut pairs) {
            of_last = measure(session)?;
            // round 0 is the warm-up
            if number > 0 {
                pairs.push(of_last, reference);
            }
        }
        if number > 0 {
            addressed.push(of_last, to_all);
        }
        let wrong = (!is_right).then_some("a message did not come back as it was sent");
        running.end(&mut reason, number, wrong);
    }
    for session in sessions {
        session.close()?;
    }
    framed.tx.close()?;
    framed.party.answer()?;
    affinity::allow(&all_cores);
    let row = |(scenario, workers, pairs, limit): (_, usize, &Pairs, f64), floor| Row {
        layer: "session",
        size_bytes: WORDS * 8,
        consumers: workers,
        messages: (trips * rounds) as u64,
        ..pairs.fill(
            Row::new(scenario, Strategy::Block.name(), "ns", DEPTH).judged(reason.clone()),
            floor,
            Some(Target::RatioAtMost(limit)),
        )
    };
    let [of_1, of_4, of_8] = &pairs;
    Ok(vec![
        row(("call", 1, of_1, 1.25), "framed_round_trip"),
        row(("call_one_of_4", WORKERS, of_4, 1.5), "framed_round_trip"),
        row(("call_one_of_8", 8, of_8, 1.5), "framed_round_trip"),
        row(
            ("addressed_one_of_8", 8, &addressed, 1.3),
            "broadcast_to_one",
        ),
    ])
}

/// Four workers that stream pieces, beside four streams of frames into one set.
fn tokens(setting: Setting<'_>) -> Result<Vec<Row>, Failure> {
    let each = if setting.is_quick {
        TOKENS_EACH_QUICK
    } else {
        TOKENS_EACH
    };
    // as those that send the frames, no worker has a core of its own
    let unpinned = Setting {
        cores: None,
        ..setting
    };
    let mut session = Session::<Frame>::start(unpinned, WORKERS, false)?;
    let mut streams = Streams::start(unpinned)?;
    let mut pairs = Pairs::default();
    let mut reason = None;
    let rounds = setting.rounds.min(ROUNDS_MAX);
    for number in 0..=rounds {
        watch::check();
        let running = setting.start_round(number);
        let round = Round {
            number: number as u64,
            count: each,
            fault: running.fault,
        };
        let (reference, is_reference_right) = streams.run(setting, round)?;
        let before = session.usage(setting.deadline())?;
        let (figure, is_right) = session.stream(setting, round)?;
        let usage = session.usage(setting.deadline())? - before;
        let wrong = (!is_right || !is_reference_right).then_some("a stream was not what was sent");
        running.end(&mut reason, number, wrong);
        if number > 0 {
            pairs.push((figure / 1e6, usage), reference / 1e6);
        }
    }
    session.close()?;
    streams.close()?;
    let row = Row::new("tokens", Strategy::Block.name(), "M/s", DEPTH).judged(reason);
    Ok(vec![Row {
        layer: "session",
        size_bytes: WORDS * 8,
        consumers: WORKERS,
        messages: each * (WORKERS * rounds) as u64,
        ..pairs.fill(row, "framed_streams", Some(Target::RatioAtLeast(0.7)))
    }])
}

/// What has come of one stream.
#[derive(Clone, Copy, Default)]
struct Taken {
    count: u64,
    hash: u64,
}

impl Taken {
    fn add(&mut self, bytes: &[u8]) {
        self.count += 1;
        if let Some(words) = words_of::<WORDS>(bytes) {
            self.hash = fold(self.hash, &words);
        }
    }

    fn is_whole(self, round: Round) -> bool {
        self.count == round.count && self.hash == expected::<WORDS>(round.number, round.count, 0)
    }
}

impl Session {
    /// Has every worker stream so many pieces; returns the pieces per second of all, and whether they are right.
    fn stream(&mut self, setting: Setting<'_>, round: Round) -> Result<(f64, bool), Failure> {
        let order = serde_json::to_vec(&round)?;
        let deadline = setting.deadline();
        let mut taken = [Taken::default(); WORKERS];
        let mut complete = 0;
        let start = monotonic_ns();
        self.scheduler.broadcast(&order, TOKENS, deadline)?;
        while complete < WORKERS {
            let (rank, piece) = self.scheduler.recv_any(deadline)?;
            if piece.is_last() {
                complete += 1;
            } else {
                taken[rank].add(&piece);
            }
        }
        let took_s = (monotonic_ns() - start) as f64 / 1e9;
        let count: u64 = taken.iter().map(|taken| taken.count).sum();
        let is_right = taken.iter().all(|taken| taken.is_whole(round));
        Ok((count as f64 / took_s, is_right))
    }
}

/// Four streams of frames from a party each.
struct Streams {
    rings: Vec<FramedTransportConsumer<Frame>>,
    parties: Vec<Party>,
    _names: Vec<Name>,
}

impl Streams {
    fn start(setting: Setting<'_>) -> Result<Self, Failure> {
        let names: Vec<_> = (0..WORKERS).map(|_| Name::new()).collect();
        let (mut rings, mut parties) = (Vec::new(), Vec::new());
        for name in &names {
            let mut party = party::start(setting.arena, None)?;
            party.ask(&Order::OpenFrames {
                requests: None,
                answers: name.0.clone(),
            })?;
            let wait = MyelonWaitStrategy::Block;
            rings.push(FramedTransportConsumer::attach(&*name.0, DEPTH, wait)?);
            parties.push(party);
        }
        Ok(Self {
            rings,
            parties,
            _names: names,
        })
    }

    fn run(&mut self, setting: Setting<'_>, round: Round) -> Result<(f64, bool), Failure> {
        let deadline = setting.deadline();
        let mut taken = [Taken::default(); WORKERS];
        let mut complete = 0;
        let start = monotonic_ns();
        for party in &mut self.parties {
            party.order(&Order::StreamFrames(round))?;
        }
        while complete < WORKERS {
            let mut is_idle = true;
            for (ring, taken) in self.rings.iter_mut().zip(&mut taken) {
                while let Some(message) = ring.try_recv()? {
                    is_idle = false;
                    if message.kind() == TOKENS {
                        complete += 1;
                    } else {
                        taken.add(&message);
                    }
                }
            }
            if is_idle {
                let rings = self.rings.iter_mut().map(|ring| ring.as_ring());
                RingSet::of(rings)?.wait(deadline)?;
            }
        }
        let took_s = (monotonic_ns() - start) as f64 / 1e9;
        for party in &mut self.parties {
            party.answer()?;
        }
        let count: u64 = taken.iter().map(|taken| taken.count).sum();
        let is_right = taken.iter().all(|taken| taken.is_whole(round));
        Ok((count as f64 / took_s, is_right))
    }

    fn close(self) -> Result<(), Failure> {
        for mut party in self.parties {
            party.ask(&Order::CloseFrames)?;
        }
        Ok(())
    }
}

/// What a worker says of a tensor: its first words, whether it lies where the scheduler has put it, and words from all
/// parts of it.
pub(super) fn seen_of(tensor: &[u8], is_in_place: bool) -> Vec<u8> {
    const PARTS: usize = 64;
    let parts = tensor.chunks(tensor.len().div_ceil(PARTS).max(1));
    let words = parts.filter_map(|part| part.last_chunk::<8>());
    let sum = words.fold(0_u64, |sum, word| {
        sum.wrapping_mul(31).wrapping_add(u64::from_ne_bytes(*word))
    });
    let first = &tensor[..tensor.len().min(WORDS * 8)];
    [
        first,
        &u64::from(is_in_place).to_ne_bytes(),
        &sum.to_ne_bytes(),
    ]
    .concat()
}

/// A tensor for all workers, until all have answered. No worker copies it; that costs the scheduler one copy, and the
/// way of a small request.
fn tensor(setting: Setting<'_>) -> Result<Vec<Row>, Failure> {
    let tensors = match setting.is_quick {
        true => TENSORS_QUICK,
        false => TENSORS,
    };
    let mut session = Session::<LargeFrame>::start(setting, WORKERS, true)?;
    let mut tensor: Vec<u8> = (0..TENSOR_BYTES).map(|at| (at % 251) as u8).collect();
    let mut copy = tensor.clone();
    let mut pairs = Pairs::default();
    let mut reason = None;
    let rounds = setting.rounds.min(ROUNDS_MAX);
    for number in 0..=rounds {
        watch::check();
        let running = setting.start_round(number);
        let round = Round {
            number: number as u64,
            count: tensors as u64,
            fault: running.fault,
        };
        let (mut took, mut beside) = (Vec::new(), Vec::new());
        let mut is_right = true;
        // of the workers with the small requests, which take little
        let before = session.usage_of_workers(setting.deadline())?;
        let mut usage = Usage::default();
        for sent in 0..tensors as u64 {
            let mut words = [0; WORDS];
            crate::payload::fill(&mut words, key(round.number, sent));
            tensor[..WORDS * 8].copy_from_slice(bytes_of(&words));
            let expected = seen_of(&tensor, true);
            round.fill::<true, WORDS>(&mut words, sent, 0);
            tensor[..WORDS * 8].copy_from_slice(bytes_of(&words));
            let before = Usage::read();
            let (ns, seen) = session.ask_all(&tensor, TENSOR, setting)?;
            usage += Usage::read() - before;
            is_right &= seen.len() == WORKERS && seen.iter().all(|seen| *seen == expected);
            took.push(ns);
            let start = monotonic_ns();
            std::hint::black_box(&mut copy).copy_from_slice(std::hint::black_box(&tensor));
            let copied = monotonic_ns() - start;
            let (ns, seen) = session.ask_all(b"", KIND, setting)?;
            is_right &= seen.len() == WORKERS;
            beside.push(copied + ns);
        }
        usage += session.usage_of_workers(setting.deadline())? - before;
        let wrong = (!is_right).then_some("a worker has not seen the tensor, or not in place");
        running.end(&mut reason, number, wrong);
        took.sort_unstable();
        beside.sort_unstable();
        if number > 0 {
            let us = |of: &[u64]| of[of.len() / 2] as f64 / 1e3;
            pairs.push((us(&took), usage), us(&beside));
        }
    }
    session.close()?;
    let row = Row::new("tensor", Strategy::Block.name(), "us", LARGE_DEPTH).judged(reason);
    Ok(vec![Row {
        layer: "session",
        size_bytes: TENSOR_BYTES,
        consumers: WORKERS,
        messages: (tensors * rounds) as u64,
        ..pairs.fill(
            row,
            "copy_and_small_request",
            Some(Target::RatioAtMost(1.1)),
        )
    }])
}

impl Session<LargeFrame> {
    /// Sends a request to all workers; returns the ns until all have answered, and the answers.
    fn ask_all(
        &mut self,
        request: &[u8],
        kind: u8,
        setting: Setting<'_>,
    ) -> Result<(u64, Vec<Vec<u8>>), Failure> {
        let mut answers = Vec::new();
        let start = monotonic_ns();
        self.scheduler
            .gather(request, kind, setting.deadline(), |_, answer| {
                answers.push(answer.to_vec());
            })?;
        Ok((monotonic_ns() - start, answers))
    }
}

/// The first request after a pause, and its answer, in a session of one worker. Beside it, after a pause of its own,
/// the wake-up floor: the kernel wakes a party that sleeps on a word, and the party stores another value there, for
/// which this process spins.
fn first_request(pause: Duration, setting: Setting<'_>) -> Result<Vec<Row>, Failure> {
    let samples = match pause < LONG_PAUSE {
        true => FIRST_REQUESTS,
        false => 1,
    };
    // the pauses are no part of what a round may take
    let pauses = pause.saturating_mul(2 * samples as u32);
    let setting = Setting {
        round_limit: setting.round_limit.saturating_add(pauses),
        ..setting
    };
    let all_cores = affinity::allowed();
    let mut bare = party::start(setting.arena, setting.cores.map(|cores| cores.peer))?;
    let mut session = Session::<Frame>::start(setting, 1, false)?;
    // after the parties, which would have this core, too
    if let Some(cores) = setting.cores {
        affinity::pin(cores.driver);
    }
    let mut pairs = Pairs::default();
    let mut reason = None;
    let rounds = setting.rounds.min(ROUNDS_MAX);
    for number in 0..=rounds {
        watch::check();
        let running = setting.start_round(number);
        let mut trips = Trips {
            sent: 0,
            is_right: true,
            deadline: setting.deadline(),
            round: Round {
                number: number as u64,
                count: samples as u64,
                fault: running.fault,
            },
        };
        // of the worker with its sleep during the bare wake-ups, which takes little
        let before = session.usage_of_workers(setting.deadline())?;
        let mut usage = Usage::default();
        bare.order(&Order::AnswerWakes { count: samples })?;
        let (mut own, mut beside) = (Vec::new(), Vec::new());
        for sample in 0..samples {
            std::thread::sleep(pause);
            beside.push(wake::ask(setting.arena, sample));
            std::thread::sleep(pause);
            let (before, start) = (Usage::read(), monotonic_ns());
            trips.one(&mut session)?;
            own.push(monotonic_ns() - start);
            usage += Usage::read() - before;
        }
        usage += session.usage_of_workers(setting.deadline())? - before;
        bare.answer()?;
        wake::reset(setting.arena);
        let wrong = (!trips.is_right).then_some("a message did not come back as it was sent");
        running.end(&mut reason, number, wrong);
        // round 0 is the warm-up
        if number > 0 {
            let us = |of: &[u64]| quantile(of, 50) / 1e3;
            pairs.push((us(&own), usage), us(&beside));
        }
    }
    session.close()?;
    affinity::allow(&all_cores);
    let row = Row::new("first_request", Strategy::Block.name(), "us", DEPTH).judged(reason);
    Ok(vec![Row {
        layer: "session",
        size_bytes: WORDS * 8,
        messages: (samples * rounds) as u64,
        ..pairs.fill(row, "bare_wake_up", Some(Target::RatioAtMost(1.5)))
    }])
}

/// A session without requests: the processor time of the scheduler that waits for answers, and of each worker.
fn idle(setting: Setting<'_>) -> Result<Vec<Row>, Failure> {
    let ms = if setting.is_quick {
        IDLE_QUICK_MS
    } else {
        IDLE_MS
    };
    let mut bare = party::start(setting.arena, None)?;
    let (mut of_scheduler, mut of_worker) = (Pairs::default(), Pairs::default());
    let mut reason = None;
    let rounds = setting.rounds.min(IDLE_ROUNDS);
    let per_10_s = |cpu_ns: u64| cpu_ns as f64 / 1e6 * 10_000.0 / ms as f64;
    for number in 1..=rounds {
        watch::check();
        let running = setting.start_round(number);
        let mut session = Session::<Frame>::start(setting, WORKERS, false)?;
        // all have come, and have nothing to start any more
        let gathered = session
            .scheduler
            .gather(&[], KIND, setting.deadline(), |_, _| ())?;
        bare.order(&Order::BareIdle { ms })?;
        if running.has_surprise() {
            session.scheduler.broadcast(&[], KIND, setting.deadline())?;
        }
        let (before, usage) = (crate::clock::thread_cpu_ns(), Usage::read());
        let end = session
            .scheduler
            .recv_any(Deadline::after(Duration::from_millis(ms)));
        let is_idle = matches!(
            end.map(drop),
            Err(TransportError::Recv(myelon::RecvError::Timeout))
        );
        let own = crate::clock::thread_cpu_ns() - before;
        let own = (per_10_s(own), Usage::read() - usage);
        let bare = bare.answer()?;
        of_scheduler.push(own, per_10_s(bare.cpu_ns));
        // the one that has taken the most
        let workers = session.close()?.into_iter();
        let worst = workers.max_by_key(|worker| worker.cpu_ns);
        let worst = worst.unwrap_or_default();
        let own = (per_10_s(worst.cpu_ns), worst.usage);
        of_worker.push(own, per_10_s(bare.cpu_ns));
        let wrong = (!is_idle || !gathered.missing.is_empty())
            .then_some("a session without requests had an answer, or a worker had not come");
        running.end(&mut reason, number, wrong);
    }
    let row = |scenario, pairs: &Pairs| Row {
        layer: "session",
        size_bytes: 0,
        consumers: WORKERS,
        ..pairs.fill(
            Row::new(scenario, Strategy::Block.name(), "cpu ms per 10 s", DEPTH)
                .judged(reason.clone()),
            "bare_sleep",
            Some(Target::WorstAtMost(10.0)),
        )
    };
    Ok(vec![
        row("idle_scheduler", &of_scheduler),
        row("idle_worker", &of_worker),
    ])
}
