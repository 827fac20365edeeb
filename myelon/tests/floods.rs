//! Frames that cannot be delivered are published faster than they are dropped. No call is kept by them past its
//! limit, and no later message is lost.
//!
//! The frames of these tests publish more frames each time that their header is read, so the ring never runs
//! empty within a call, however fast the machine is. A call that does not end is stopped by a panic.
#![cfg(not(miri))]

#[macro_use]
mod own_frame;
mod text_codec;

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use myelon::transport::{
    FRAME_HEADER_BYTES, FixedFrame, FrameMeta, FramedTransportConsumer, FramedTransportProducer,
    MAX_MESSAGE_BYTES, MyelonTransportConfig, ReassemblyBuffer, RunnerMyelonTransportConfig,
    TransportError, frame_flags, recv_framed_message,
};
use myelon::{
    CancelToken, Deadline, Heap, HeapRing, KindTable, Producer, RecvError, Request, RingSet,
    Scheduler, Sequence, TypedConsumer, TypedRecvError, TypedServeError, Worker,
    portable_shm_segment_name,
};
use text_codec::Text;

type Result<T = ()> = std::result::Result<T, Box<dyn std::error::Error>>;
type Tx = FramedTransportProducer<Tapped, Heap>;
type Rx = TypedConsumer<Tapped, Heap>;

const DEPTH: usize = 64;
/// The deadline of a call under a flood.
const SHORT: Duration = Duration::from_millis(20);
/// A call that takes this long is taken to be endless.
const TIMEOUT: Duration = Duration::from_secs(10);

own_frame! {
    /// A frame that publishes more frames whenever its header is read.
    struct Tapped, holds 4, says 4, header: go_on
}

/// The closure that publishes more frames, and the time when the flood began.
type Tap = (Instant, Box<dyn FnMut()>);

thread_local! {
    static TAP: RefCell<Option<Tap>> = const { RefCell::new(None) };
}

fn go_on() {
    TAP.with(|tap| {
        if let Some((since, pour)) = &mut *tap.borrow_mut() {
            assert!(
                since.elapsed() < TIMEOUT,
                "a call goes on after {TIMEOUT:?}"
            );
            pour();
        }
    });
}

/// A flood, which ends when this is dropped.
struct Flooding;

impl Flooding {
    fn begin(mut pour: impl FnMut() + 'static) -> Self {
        pour();
        TAP.set(Some((Instant::now(), Box::new(pour))));
        Self
    }
}

impl Drop for Flooding {
    fn drop(&mut self) {
        TAP.set(None);
    }
}

/// Kinds of frames that cannot be delivered.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Flood {
    NoFrames,
    Orphans,
    StartsOnly,
    TooLong,
    OneEndlessMessage,
}

const FLOODS: [Flood; 5] = [
    Flood::NoFrames,
    Flood::Orphans,
    Flood::StartsOnly,
    Flood::TooLong,
    Flood::OneEndlessMessage,
];

impl Flood {
    fn header(self, sequence: Sequence) -> [u8; FRAME_HEADER_BYTES] {
        let (len, flags, first) = match self {
            Self::NoFrames => return [0; FRAME_HEADER_BYTES],
            Self::Orphans => (4, frame_flags::END, sequence - 1),
            Self::StartsOnly => (8, frame_flags::START, sequence),
            Self::TooLong => (4, frame_flags::START | frame_flags::END, sequence),
            Self::OneEndlessMessage => return long_message(MAX_MESSAGE_BYTES, sequence),
        };
        header(len, flags, first)
    }

    /// The limit for a message's length with which this flood cannot be delivered.
    fn limit(self) -> usize {
        match self {
            Self::TooLong => 3,
            _ => MAX_MESSAGE_BYTES,
        }
    }

    /// Fills the ring.
    fn pour<B>(self, ring: &mut Producer<Tapped, B>) {
        pour(ring, |sequence| self.header(sequence));
    }
}

fn header(len: usize, flags: u8, first: Sequence) -> [u8; FRAME_HEADER_BYTES] {
    FrameMeta {
        len: len as u32,
        kind: 1,
        flags,
        msg_id: first as u32,
    }
    .to_bytes()
}

/// The header of a frame of a message of `len` bytes that starts at sequence 0.
fn long_message(len: usize, sequence: Sequence) -> [u8; FRAME_HEADER_BYTES] {
    let rest = len - sequence as usize * 4;
    let start = if sequence == 0 { frame_flags::START } else { 0 };
    let end = if rest <= 4 { frame_flags::END } else { 0 };
    header(rest, start | end, 0)
}

/// Fills the ring with frames that have these headers.
fn pour<B>(ring: &mut Producer<Tapped, B>, header: impl Fn(Sequence) -> [u8; FRAME_HEADER_BYTES]) {
    let mut next = ring.last_published_sequence() + 1;
    while ring
        .try_publish(|frame| frame.header = header(next))
        .is_ok()
    {
        next += 1;
    }
}

fn pair(token: &CancelToken) -> Result<(Rc<RefCell<Tx>>, Rx)> {
    let ring = HeapRing::<Tapped>::new(DEPTH)?;
    let tx = Tx::from_builder(ring.builder())?;
    let builder = ring.builder().with_consumer_id("reader");
    let rx = Rx::from_builder(builder.with_cancel_token(token))?;
    Ok((Rc::new(RefCell::new(tx)), rx))
}

fn flooded(flood: Flood, token: &CancelToken) -> Result<(Flooding, Rc<RefCell<Tx>>, Rx)> {
    let (tx, mut rx) = pair(token)?;
    rx.raw().limit_message_bytes(flood.limit());
    let source = Rc::clone(&tx);
    let flooding = Flooding::begin(move || flood.pour(source.borrow_mut().ring()));
    Ok((flooding, tx, rx))
}

/// A deadline long enough for everything that must happen.
fn soon() -> Deadline {
    Deadline::after(TIMEOUT)
}

/// A call that waits. A message that it delivers is dropped.
type Waiting = fn(&mut Rx, Deadline) -> std::result::Result<(), RecvError>;

fn untyped<T>(
    outcome: std::result::Result<T, TypedRecvError>,
) -> std::result::Result<(), RecvError> {
    outcome.map(drop).map_err(|error| match error {
        TypedRecvError::Recv(error) => error,
        error => panic!("{error}"),
    })
}

const WAITING: [(&str, Waiting); 9] = [
    ("recv", |rx, deadline| rx.raw().recv(deadline).map(drop)),
    ("recv_owned", |rx, deadline| {
        rx.raw().recv_owned(deadline).map(drop)
    }),
    ("recv_leased", |rx, deadline| {
        let mut buffer = ReassemblyBuffer::new();
        rx.raw().recv_leased(&mut buffer, deadline, |_, _| {})
    }),
    ("typed recv", |rx, deadline| {
        untyped(rx.recv::<Text>(deadline))
    }),
    ("typed recv_raw", |rx, deadline| {
        rx.recv_raw(deadline).map(drop)
    }),
    ("typed recv_raw_owned", |rx, deadline| {
        rx.recv_raw_owned(deadline).map(drop)
    }),
    ("typed recv_raw_leased", |rx, deadline| {
        let mut buffer = ReassemblyBuffer::new();
        rx.recv_raw_leased(&mut buffer, deadline, |_, _| {})
    }),
    ("typed recv_leased_within", |rx, deadline| {
        let mut buffer = ReassemblyBuffer::new();
        untyped(rx.recv_leased_within::<Text, _, _>(&mut buffer, deadline, |_, _| {}))
    }),
    ("dispatch", |rx, deadline| {
        let mut table = KindTable::new().on(7, |_: Text| {}).expect("one kind");
        untyped(rx.dispatch(&mut table, deadline))
    }),
];

/// A call that does not wait. Returns whether it delivered a message.
type Trying = fn(&mut Rx) -> bool;

const TRYING: [(&str, Trying); 6] = [
    ("try_recv", |rx| {
        rx.raw().try_recv().expect("open").is_some()
    }),
    ("process_available_messages", |rx| {
        rx.raw()
            .process_available_messages(|_, _| {})
            .expect("open")
            > 0
    }),
    ("process_available_messages_with_meta", |rx| {
        let raw = rx.raw();
        raw.process_available_messages_with_meta(|_, _| {})
            .expect("open")
            > 0
    }),
    ("typed try_recv", |rx| {
        rx.try_recv::<Text>().expect("open").is_some()
    }),
    ("typed process_available", |rx| {
        rx.process_available::<Text>(|_, _| {}).expect("open") > 0
    }),
    ("typed process_available_zero_copy", |rx| {
        rx.process_available_zero_copy::<Text, _>(|_, _| {})
            .expect("open")
            > 0
    }),
];

/// How many frames were taken out of the ring.
fn position(rx: &mut Rx) -> usize {
    (rx.raw().as_ring().current_sequence() + 1) as usize
}

/// After the flood: the next message is delivered, and the frames dropped before it were counted.
fn assert_nothing_is_lost(tx: &RefCell<Tx>, rx: &mut Rx, flood: Flood, how: &str) -> Result {
    let mut tx = tx.borrow_mut();
    let poured = (tx.ring().last_published_sequence() + 1) as u64;
    while let Err(error) = tx.try_publish(b"ok", 7) {
        assert!(matches!(error, TransportError::Full { .. }), "{error}");
        assert!(rx.raw().try_recv()?.is_none());
    }
    assert_eq!(
        rx.raw().recv_owned(soon())?,
        (7, b"ok".to_vec()),
        "{flood:?}, {how}"
    );
    let it = rx.raw().received();
    let counts = [
        it.messages,
        it.malformed,
        it.orphans,
        it.truncated,
        it.too_long,
    ];
    let expected = match flood {
        Flood::NoFrames => [1, poured, 0, 0, 0],
        Flood::Orphans => [1, 0, poured, 0, 0],
        Flood::StartsOnly => [1, 0, 0, poured, 0],
        Flood::TooLong => [1, 0, 0, 0, poured],
        Flood::OneEndlessMessage => [1, 0, 0, 1, 0],
    };
    assert_eq!(counts, expected, "{flood:?}, {how}");
    Ok(())
}

#[test]
fn no_flood_keeps_a_call_beyond_its_deadline() -> Result {
    for flood in FLOODS {
        for (how, wait) in WAITING {
            let (flooding, tx, mut rx) = flooded(flood, &CancelToken::new())?;
            let began = Instant::now();
            let outcome = wait(&mut rx, Deadline::after(SHORT));
            assert_eq!(outcome, Err(RecvError::Timeout), "{flood:?}, {how}");
            assert!(
                (SHORT..TIMEOUT).contains(&began.elapsed()),
                "{flood:?}, {how}"
            );
            drop(flooding);
            assert_nothing_is_lost(&tx, &mut rx, flood, how)?;
        }
    }
    Ok(())
}

#[test]
fn no_flood_keeps_a_call_over_a_ring_as_such() -> Result {
    for flood in FLOODS {
        let (flooding, tx, mut rx) = flooded(flood, &CancelToken::new())?;
        if flood == Flood::TooLong {
            continue; // this call has no limit other than the longest message
        }
        let outcome = recv_framed_message(rx.raw().ring(), Deadline::after(SHORT));
        assert_eq!(outcome, Err(RecvError::Timeout), "{flood:?}");
        drop(flooding);
        while tx.borrow_mut().try_publish(b"ok", 7).is_err() {
            assert!(rx.raw().try_recv()?.is_none());
        }
        assert_eq!(
            recv_framed_message(rx.raw().ring(), soon())?.1,
            b"ok",
            "{flood:?}"
        );
    }
    Ok(())
}

#[test]
fn what_does_not_wait_takes_in_one_rings_worth_of_a_flood() -> Result {
    for flood in FLOODS {
        for (how, is_delivered) in TRYING {
            let (flooding, tx, mut rx) = flooded(flood, &CancelToken::new())?;
            for _ in 0..3 {
                let before = position(&mut rx);
                assert!(!is_delivered(&mut rx), "{flood:?}, {how}");
                let taken = position(&mut rx) - before;
                assert!((1..=DEPTH).contains(&taken), "{taken}: {flood:?}, {how}");
            }
            drop(flooding);
            assert_nothing_is_lost(&tx, &mut rx, flood, how)?;
        }
    }
    Ok(())
}

/// Messages between dropped frames do not make the burst longer.
#[test]
fn a_burst_takes_in_one_rings_worth_with_what_it_drops() -> Result {
    let (tx, mut rx) = pair(&CancelToken::new())?;
    let source = Rc::clone(&tx);
    let _flooding = Flooding::begin(move || {
        pour(source.borrow_mut().ring(), |sequence| match sequence % 4 {
            0 => header(4, frame_flags::START | frame_flags::END, sequence),
            _ => [0; FRAME_HEADER_BYTES],
        });
    });
    let mut handled = 0;
    assert_eq!(
        rx.raw().process_available_messages(|_, _| handled += 1)?,
        handled
    );
    let taken = position(&mut rx);
    assert!(taken <= DEPTH, "{taken}");
    assert_eq!(handled, DEPTH / 4);
    Ok(())
}

#[test]
fn a_burst_takes_in_one_rings_worth_of_messages() -> Result {
    for frames in [1, 3] {
        let (tx, mut rx) = pair(&CancelToken::new())?;
        let source = Rc::clone(&tx);
        let _flooding = Flooding::begin(move || {
            let mut tx = source.borrow_mut();
            while tx.try_publish(&vec![b'a'; 4 * frames], 7).is_ok() {}
        });
        for _ in 0..3 {
            let before = position(&mut rx);
            let count = rx.raw().process_available_messages(|_, _| {})?;
            // a message that was begun is delivered by the next call
            let most = DEPTH.div_ceil(frames);
            assert!(
                (most - 1..=most).contains(&count),
                "{count} of {frames} frames"
            );
            let taken = position(&mut rx) - before;
            assert!(taken < DEPTH + frames, "{taken}");
        }
    }
    Ok(())
}

/// A caller that waits for the ring by other means learns that there are more frames.
#[test]
fn after_a_call_that_only_dropped_there_is_news() -> Result {
    let (_flooding, _tx, mut rx) = flooded(Flood::NoFrames, &CancelToken::new())?;
    #[cfg(target_os = "linux")]
    let readiness = rx.raw().as_ring().readiness()?;
    for (how, is_delivered) in TRYING {
        assert!(!is_delivered(&mut rx), "{how}");
        let mut set = RingSet::of([rx.raw().as_ring()])?;
        assert_eq!(set.wait(Deadline::after(Duration::ZERO)), Ok(0), "{how}");
        #[cfg(target_os = "linux")]
        assert!(readiness.arm(rx.raw().as_ring())?, "{how}");
    }
    Ok(())
}

#[test]
fn a_token_ends_a_call_that_a_flood_keeps() -> Result {
    for flood in FLOODS {
        for (how, wait) in WAITING {
            let token = CancelToken::new();
            let (flooding, tx, mut rx) = flooded(flood, &token)?;
            drop(flooding);
            let (source, mut left) = (Rc::clone(&tx), 10 * DEPTH);
            let _flooding = Flooding::begin(move || {
                flood.pour(source.borrow_mut().ring());
                left = left.saturating_sub(1);
                if left == 0 {
                    token.cancel();
                }
            });
            let outcome = wait(&mut rx, Deadline::NEVER);
            assert_eq!(outcome, Err(RecvError::Cancelled), "{flood:?}, {how}");
        }
    }
    Ok(())
}

/// If the ring is full of frames that are dropped, the call still reports its end, however many frames were
/// dropped before.
#[test]
fn the_end_is_told_by_the_call_that_drops_what_lies_before_it() -> Result {
    for before in [0, 10, DEPTH - 1] {
        for (how, wait) in WAITING {
            let (tx, mut rx) = pair(&CancelToken::new())?;
            let mut tx = Rc::into_inner(tx).expect("the only one").into_inner();
            for count in [before, DEPTH] {
                tx.ring().publish_batch(count, |_, _| {});
                if count < DEPTH {
                    assert!(rx.raw().try_recv()?.is_none());
                }
            }
            tx.close()?;
            let passed = Deadline::after(Duration::ZERO);
            assert_eq!(wait(&mut rx, passed), Err(RecvError::Closed), "{how}");
        }
    }
    Ok(())
}

/// A call whose deadline has passed still delivers a message that the ring holds.
#[test]
fn a_message_that_is_there_is_delivered_after_its_deadline() -> Result {
    for (how, wait) in WAITING {
        let (tx, mut rx) = pair(&CancelToken::new())?;
        let passed = Deadline::after(Duration::ZERO);
        for _ in 0..10 {
            let mut tx = tx.borrow_mut();
            tx.ring()
                .publish_batch(DEPTH - 8, |frame, _| frame.header.fill(0));
            tx.try_publish(&[b'a'; 4 * 8], 7)?;
            assert_eq!(wait(&mut rx, passed), Ok(()), "{how}");
            assert_eq!(wait(&mut rx, passed), Err(RecvError::Timeout), "{how}");
        }
    }
    Ok(())
}

/// Each call ends at its deadline, and the next one continues where it was.
#[test]
fn a_long_message_goes_on_after_each_deadline() -> Result {
    const BYTES: usize = 4 * 10_000 + 1;
    let (tx, mut rx) = pair(&CancelToken::new())?;
    let source = Rc::clone(&tx);
    let _flooding = Flooding::begin(move || {
        let (mut tx, mut left) = (source.borrow_mut(), DEPTH);
        let ring = tx.ring();
        let mut next = ring.last_published_sequence() + 1;
        while next * 4 < BYTES as Sequence && left > 0 {
            let write = |frame: &mut Tapped| {
                frame.header = long_message(BYTES, next);
                frame.payload = (next as u32).to_ne_bytes();
            };
            left = if ring.try_publish(write).is_ok() {
                left - 1
            } else {
                0
            };
            next = ring.last_published_sequence() + 1;
        }
    });
    let mut timeouts = 0;
    let message = loop {
        let before = position(&mut rx);
        match rx.raw().recv_owned(Deadline::after(Duration::ZERO)) {
            Ok((_, message)) => break message,
            Err(error) => assert_eq!(error, RecvError::Timeout),
        }
        assert!(position(&mut rx) > before, "it goes on");
        timeouts += 1;
    };
    assert!(timeouts > 10, "{timeouts}");
    let frames = message.chunks(4).zip(0_u32..);
    assert!(
        message.len() == BYTES
            && frames
                .into_iter()
                .all(|(it, n)| n.to_ne_bytes().starts_with(it))
    );
    assert_eq!(
        (rx.raw().received().messages, rx.raw().received().dropped()),
        (1, 0)
    );
    Ok(())
}

/// A call also ends at its deadline if the frames of its message trickle in one by one.
#[test]
fn a_message_that_trickles_times_out_and_goes_on() -> Result {
    const FRAMES: Sequence = 3 * DEPTH as Sequence;
    let (tx, mut rx) = pair(&CancelToken::new())?;
    for number in 0..FRAMES {
        let began = Instant::now();
        let outcome = rx
            .raw()
            .recv_owned(Deadline::after(Duration::from_millis(1)));
        assert_eq!(outcome, Err(RecvError::Timeout));
        assert!(began.elapsed() < TIMEOUT);
        tx.borrow_mut().ring().publish(|frame| {
            frame.header = long_message(4 * FRAMES as usize, number);
            frame.payload = [number as u8; 4];
        });
    }
    let (_, message) = rx.raw().recv_owned(soon())?;
    let expected: Vec<u8> = (0..FRAMES).flat_map(|number| [number as u8; 4]).collect();
    assert_eq!(message, expected);
    Ok(())
}

fn session() -> RunnerMyelonTransportConfig {
    let rings = MyelonTransportConfig::default()
        .with_rpc_depth(16)
        .with_response_depth(16)
        .with_start_timeout(TIMEOUT);
    RunnerMyelonTransportConfig::new(portable_shm_segment_name("flood"), 1).with_transport(rings)
}

type Serving = fn(&mut Worker<Tapped>, Deadline) -> std::result::Result<(), TransportError>;

const SERVING: [(&str, Serving); 3] = [
    ("recv", |worker, deadline| {
        worker.recv(deadline).map(Request::done)
    }),
    ("serve", |worker, deadline| {
        worker.serve(deadline, |_, _| b"").map(drop)
    }),
    ("serve_value", |worker, deadline| {
        let served = worker.serve_value(deadline, |_, text: Text| text);
        served.map(drop).map_err(|error| match error {
            TypedServeError::Recv(TypedRecvError::Recv(error)) => error.into(),
            error => panic!("{error}"),
        })
    }),
];

#[test]
fn no_flood_keeps_a_worker() -> Result {
    for (how, serve) in SERVING {
        let config = session();
        let scheduler = Rc::new(RefCell::new(Scheduler::<Tapped>::start(&config)?));
        let mut worker = Worker::<Tapped>::start(&config, 0)?;
        let source = Rc::clone(&scheduler);
        let flooding = Flooding::begin(move || {
            Flood::NoFrames.pour(source.borrow_mut().requests().ring());
        });
        let outcome = serve(&mut worker, Deadline::after(SHORT));
        assert!(
            matches!(outcome, Err(TransportError::Recv(RecvError::Timeout))),
            "{how}"
        );
        drop(flooding);
        assert!(worker.requests().try_recv()?.is_none());
        scheduler.borrow_mut().broadcast(b"ok", 7, soon())?;
        serve(&mut worker, soon())?;
        assert_eq!(worker.requests().received().messages, 1, "{how}");
        worker.leave()?;
    }
    Ok(())
}

type Collecting =
    fn(&mut Scheduler<Tapped>, Deadline) -> std::result::Result<usize, TransportError>;

const COLLECTING: [(&str, Collecting); 2] = [
    ("recv_any", |scheduler, deadline| {
        scheduler.recv_any(deadline).map(|(rank, _)| rank)
    }),
    ("recv_any_value", |scheduler, deadline| {
        let received = scheduler.recv_any_value::<Text>(deadline);
        received.map(|(rank, _, _)| rank)
    }),
];

#[test]
fn no_flood_keeps_a_scheduler() -> Result {
    for (how, collect) in COLLECTING {
        let config = session();
        let mut scheduler = Scheduler::<Tapped>::start(&config)?;
        let worker = Rc::new(RefCell::new(Worker::<Tapped>::start(&config, 0)?));
        let source = Rc::clone(&worker);
        let flooding = Flooding::begin(move || {
            Flood::NoFrames.pour(source.borrow_mut().responses().ring());
        });
        let outcome = collect(&mut scheduler, Deadline::after(SHORT));
        assert!(
            matches!(outcome, Err(TransportError::Recv(RecvError::Timeout))),
            "{how}"
        );
        drop(flooding);
        let outcome = collect(&mut scheduler, Deadline::after(Duration::ZERO));
        assert!(
            matches!(outcome, Err(TransportError::Recv(RecvError::Timeout))),
            "{how}"
        );
        worker.borrow_mut().respond(b"ok", 7, soon())?;
        assert_eq!(collect(&mut scheduler, soon())?, 0, "{how}");
        scheduler.close()?;
        Rc::into_inner(worker)
            .expect("the last one")
            .into_inner()
            .leave()?;
    }
    Ok(())
}

/// Ends a flood of another thread, even if the test fails.
struct Over<'a>(&'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// A flood as a peer can make it, with safe calls alone.
#[test]
fn a_flood_from_another_thread_keeps_no_call() -> Result {
    const LARGE: usize = 1 << 16;
    let ring = HeapRing::<FixedFrame<64>>::new(LARGE)?;
    let mut tx = FramedTransportProducer::from_builder(ring.builder())?;
    let builder = ring.builder().with_consumer_id("reader");
    let mut rx = FramedTransportConsumer::from_builder(builder)?;
    let is_over = AtomicBool::new(false);
    let mut tx = thread::scope(|scope| -> Result<_> {
        let flooding = scope.spawn(|| {
            // stop after `TIMEOUT`, as the test would not end if the call did not
            let began = Instant::now();
            while !is_over.load(Ordering::Relaxed) && began.elapsed() < TIMEOUT {
                let _ = tx.ring().try_batch_publish(256, |_, _| {});
            }
            tx
        });
        let over = Over(&is_over);
        let mut buffer = ReassemblyBuffer::new();
        let deadline = || Deadline::after(Duration::from_millis(50));
        for call in 0..6 {
            let began = Instant::now();
            match call {
                0 => assert_eq!(rx.recv(deadline()).map(drop), Err(RecvError::Timeout)),
                1 => assert_eq!(rx.recv_owned(deadline()), Err(RecvError::Timeout)),
                2 => {
                    let outcome = rx.recv_leased(&mut buffer, deadline(), |_, _| {});
                    assert_eq!(outcome, Err(RecvError::Timeout));
                }
                3 => assert!(rx.try_recv()?.is_none()),
                _ => assert_eq!(rx.process_available_messages(|_, _| {})?, 0),
            }
            assert!(
                began.elapsed() < Duration::from_secs(2),
                "call {call}: {:?}",
                began.elapsed()
            );
        }
        drop(over);
        Ok(flooding.join().expect("no panic"))
    })?;
    let poured = (tx.ring().last_published_sequence() + 1) as u64;
    while tx.try_publish(b"ok", 7).is_err() {
        assert!(rx.try_recv()?.is_none());
    }
    assert_eq!(rx.recv_owned(soon())?, (7, b"ok".to_vec()));
    assert_eq!(
        (rx.received().messages, rx.received().malformed),
        (1, poured)
    );
    Ok(())
}
