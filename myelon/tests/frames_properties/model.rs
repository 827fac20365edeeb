//! One thread that uses every way of sending and receiving, panics, deaths and returns. A model predicts which
//! message each consumer receives next, how far it has released, and what it has counted.

use std::mem::forget;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use myelon::transport::{
    FramedTransportFrame, REASSEMBLY_ALIGN, ReassemblyBuffer, Received, ReceivedMessageMeta,
    TransportError,
};
use myelon::{Deadline, HeapRing, RecvError, Sequence};
use proptest::collection::vec;
use proptest::prelude::*;

use super::{IDS, Rx, TIME_BYTES, Tx, bytes, depth, first_sequence, for_each_frame};

/// Under Miri a case takes seconds.
const CASES: u32 = if cfg!(miri) { 1 } else { 192 };
const OPERATIONS: usize = if cfg!(miri) { 25 } else { 120 };

#[derive(Clone, Copy, Debug)]
enum Send {
    Publish,
    Within,
    Try,
    Managed,
    Reserve,
    TryReserve,
    ReserveManaged,
    /// Reserved longer than the message, then truncated.
    Truncate,
}

#[derive(Clone, Copy, Debug)]
enum Receive {
    Recv,
    TryRecv,
    Owned,
    OwnedWithMeta,
    Leased,
    BlockingOwned,
    BlockingLeased,
    Process,
    ProcessWithMeta,
    /// The handler panics at this message of the burst.
    ProcessPanics(usize),
    LeasedPanics,
    MessagePanics,
    Uncommitted,
    Forgotten,
}

#[derive(Clone, Debug)]
enum Operation {
    /// A message whose length is this many tenths of a ring plus this many bytes.
    Send(Send, usize, usize),
    Time(bool),
    Receive(usize, Receive),
    /// The consumer is dropped, and comes back with its id.
    Rejoin(usize),
    /// The producer dies, and another one takes over.
    Die,
    Abandon,
    /// The caller takes the ring itself, and holds a frame.
    Lend(usize),
}

fn operation() -> impl Strategy<Value = Operation> {
    let send = prop_oneof![
        Just(Send::Publish),
        Just(Send::Within),
        Just(Send::Try),
        Just(Send::Managed),
        Just(Send::Reserve),
        Just(Send::TryReserve),
        Just(Send::ReserveManaged),
        Just(Send::Truncate),
    ];
    let receive = prop_oneof![
        2 => Just(Receive::Recv),
        2 => Just(Receive::TryRecv),
        2 => Just(Receive::Owned),
        2 => Just(Receive::OwnedWithMeta),
        2 => Just(Receive::Leased),
        2 => Just(Receive::BlockingOwned),
        2 => Just(Receive::BlockingLeased),
        4 => Just(Receive::Process),
        2 => Just(Receive::ProcessWithMeta),
        2 => (0usize..4).prop_map(Receive::ProcessPanics),
        1 => Just(Receive::LeasedPanics),
        1 => Just(Receive::MessagePanics),
        1 => Just(Receive::Uncommitted),
        1 => Just(Receive::Forgotten),
    ];
    let tenths = prop_oneof![6 => Just(0usize), 4 => 0usize..10, 1 => 10usize..30];
    prop_oneof![
        12 => (send, tenths, 0usize..20).prop_map(|(how, tenths, more)| Operation::Send(how, tenths, more)),
        16 => (0..IDS.len(), receive).prop_map(|(who, how)| Operation::Receive(who, how)),
        1 => any::<bool>().prop_map(Operation::Time),
        1 => (0..IDS.len()).prop_map(Operation::Rejoin),
        1 => Just(Operation::Die),
        1 => Just(Operation::Abandon),
        1 => (0..IDS.len()).prop_map(Operation::Lend),
    ]
}

#[derive(Clone, Debug)]
struct Scenario {
    depth: usize,
    first: Sequence,
    /// The second consumer's limit in bytes.
    limit: Option<usize>,
    operations: Vec<Operation>,
}

fn scenario() -> impl Strategy<Value = Scenario> {
    let limit = proptest::option::of(0usize..100);
    (
        depth(),
        first_sequence(),
        limit,
        vec(operation(), 1..OPERATIONS),
    )
        .prop_map(|(depth, first, limit, operations)| Scenario {
            depth,
            first,
            limit,
            operations,
        })
}

for_each_frame!(play, CASES, scenario());

/// A call with this deadline only does what it can do at once.
fn at_once() -> Deadline {
    Deadline::after(Duration::ZERO)
}

/// A message, or the published part of one, in the ring from `first` on.
#[derive(Clone, Debug)]
struct Item {
    first: Sequence,
    /// How many frames were published.
    frames: usize,
    /// How many frames the whole message takes.
    whole: usize,
    kind: u8,
    message: Vec<u8>,
    is_timed: bool,
}

impl Item {
    fn is_whole(&self) -> bool {
        self.frames == self.whole
    }
}

/// A consumer, and the model's state for it.
struct Reader<F: FramedTransportFrame> {
    id: &'static str,
    rx: Option<Rx<F>>,
    limit: usize,
    buffer: ReassemblyBuffer,
    /// The index of the item that it receives next.
    at: usize,
    /// Set if the item before has no end and nothing has followed it: its first sequence, and whether its
    /// frames are held.
    cut: Option<(Sequence, bool)>,
    counted: Received,
}

impl<F: FramedTransportFrame> Reader<F> {
    /// The next message, after items that are dropped.
    fn poll<'a>(&mut self, items: &'a [Item], depth: usize) -> Option<&'a Item> {
        while let Some(item) = items.get(self.at) {
            self.end_cut();
            if item.message.len() > self.limit {
                self.counted.too_long += 1;
                self.counted.orphans += item.frames as u64 - 1;
            } else if item.is_whole() {
                return Some(item);
            } else {
                self.cut = Some((item.first, item.whole <= depth));
            }
            self.at += 1;
        }
        None
    }

    fn end_cut(&mut self) {
        if self.cut.take().is_some() {
            self.counted.truncated += 1;
        }
    }

    /// Held frames are delivered again.
    fn go_back(&mut self) {
        if let Some((_, true)) = self.cut {
            self.cut = None;
            self.at -= 1;
        }
    }

    /// The caller takes the ring, and holds the next frame.
    fn lend(&mut self) {
        if let Ok(Some(frame)) = self.rx().ring().try_recv() {
            frame.hold();
        }
        self.go_back();
    }

    fn deliver(&mut self, item: &Item) {
        self.at += 1;
        self.counted.messages += 1;
        self.counted.reassembled += u64::from(item.frames > 1);
    }

    /// The first sequence that has not been released.
    fn position(&self, items: &[Item], tail: Sequence) -> Sequence {
        match self.cut {
            Some((first, true)) => first,
            _ => items.get(self.at).map_or(tail, |item| item.first),
        }
    }

    fn rx(&mut self) -> &mut Rx<F> {
        self.rx.as_mut().unwrap()
    }

    fn check(&mut self, items: &[Item], tail: Sequence) {
        let position = self.position(items, tail);
        let counted = self.counted;
        assert_eq!(self.rx().received(), counted, "{}", self.id);
        assert_eq!(
            self.rx().as_ring().current_sequence() + 1,
            position,
            "{}",
            self.id
        );
    }

    /// Receives once, in the given way.
    fn receive(&mut self, how: Receive, items: &[Item], depth: usize) {
        let Some(item) = self.poll(items, depth) else {
            return self.receive_nothing(how);
        };
        let rx = self.rx.as_mut().unwrap();
        let is_delivered = match how {
            Receive::Process | Receive::ProcessWithMeta | Receive::ProcessPanics(_) => {
                return self.process(how, items, depth);
            }
            Receive::Recv | Receive::TryRecv => {
                let message = match how {
                    Receive::Recv => rx.recv(at_once()).unwrap(),
                    _ => rx.try_recv().unwrap().unwrap(),
                };
                assert_eq!(message.is_in_place(), item.frames == 1);
                check(item, message.meta(), &message);
                assert_eq!(message.kind(), item.kind);
                true
            }
            Receive::Owned => {
                let message = rx.recv_owned(at_once()).unwrap();
                assert_eq!(message, (item.kind, item.message.clone()));
                true
            }
            Receive::OwnedWithMeta => {
                let (meta, message) = rx.recv_owned_with_meta(at_once()).unwrap();
                check_meta(item, meta);
                assert_eq!(message, item.message);
                true
            }
            Receive::BlockingOwned => {
                let message = rx.recv_message_blocking_owned();
                assert_eq!(message, (item.kind, item.message.clone()));
                true
            }
            Receive::Leased => {
                let handle = |meta, message: &[u8]| check(item, meta, message);
                rx.recv_leased(&mut self.buffer, at_once(), handle).unwrap();
                if item.frames > 1 {
                    assert_eq!(self.buffer.as_slice(), item.message);
                }
                true
            }
            Receive::BlockingLeased => {
                rx.recv_message_blocking_leased_with_meta(&mut self.buffer, |meta, message| {
                    check(item, meta, message);
                });
                true
            }
            Receive::LeasedPanics => {
                let buffer = &mut self.buffer;
                assert_panics(|| rx.recv_leased(buffer, at_once(), |_, _| panic!("on purpose")));
                false
            }
            Receive::MessagePanics => {
                assert_panics(|| {
                    let _message = rx.recv(at_once()).unwrap();
                    panic!("on purpose");
                });
                false
            }
            Receive::Uncommitted => {
                rx.recv(at_once()).unwrap().release_uncommitted();
                false
            }
            Receive::Forgotten => {
                forget(rx.try_recv().unwrap());
                false
            }
        };
        if is_delivered {
            self.deliver(item);
        }
    }

    fn receive_nothing(&mut self, how: Receive) {
        let rx = self.rx.as_mut().unwrap();
        match how {
            Receive::TryRecv => assert!(rx.try_recv().unwrap().is_none()),
            Receive::Process => assert_eq!(rx.process_available_messages(|_, _| {}), Ok(0)),
            Receive::Leased => {
                let none = rx.recv_leased(&mut self.buffer, at_once(), |_, _| {});
                assert_eq!(none, Err(RecvError::Timeout));
            }
            _ => assert_eq!(
                rx.recv(at_once()).map(drop).unwrap_err(),
                RecvError::Timeout
            ),
        }
    }

    /// A burst of up to a ring's worth of frames.
    fn process(&mut self, how: Receive, items: &[Item], depth: usize) {
        let mut expected = Vec::new();
        let mut frames = 0;
        let panics_at = match how {
            Receive::ProcessPanics(at) => at,
            _ => usize::MAX,
        };
        while frames < depth
            && expected.len() < panics_at
            && let Some(item) = self.poll(items, depth)
        {
            frames += item.frames;
            self.deliver(item);
            expected.push(item);
        }
        // one more message is handed to the handler, which panics, so that it comes again
        let is_panic =
            frames < depth && panics_at == expected.len() && self.poll(items, depth).is_some();
        let rx = self.rx.as_mut().unwrap();
        let mut seen = 0;
        let mut see = |kind, meta: Option<ReceivedMessageMeta>, message: &[u8]| {
            assert!(seen < panics_at, "on purpose");
            let item = expected[seen];
            meta.inspect(|meta| check(item, *meta, message));
            assert_eq!((kind, message), (item.kind, &item.message[..]));
            seen += 1;
        };
        let outcome = catch_unwind(AssertUnwindSafe(|| match how {
            Receive::ProcessWithMeta => rx.process_available_messages_with_meta(|meta, message| {
                see(meta.kind, Some(meta), message);
            }),
            _ => rx.process_available_messages(|kind, message| see(kind, None, message)),
        }));
        assert_eq!(outcome.is_err(), is_panic);
        assert_eq!(seen, expected.len());
        if let Ok(count) = outcome {
            assert_eq!(count, Ok(seen));
        }
    }
}

fn assert_panics<R>(play: impl FnOnce() -> R) {
    assert!(catch_unwind(AssertUnwindSafe(play)).is_err());
}

fn check(item: &Item, meta: ReceivedMessageMeta, message: &[u8]) {
    check_meta(item, meta);
    assert_eq!(message, item.message);
    if item.frames > 1 {
        assert!(message.as_ptr().addr().is_multiple_of(REASSEMBLY_ALIGN));
    }
}

fn check_meta(item: &Item, meta: ReceivedMessageMeta) {
    assert_eq!(
        (meta.kind, meta.len, meta.frames, meta.first_sequence),
        (item.kind, item.message.len(), item.frames, item.first)
    );
    assert_eq!(meta.sent_at_ns.is_some(), item.is_timed);
}

/// The ring, its producer and consumers, and everything that was sent.
struct Bench<F: FramedTransportFrame> {
    ring: HeapRing<F>,
    depth: usize,
    tx: Option<Tx<F>>,
    is_timed: bool,
    items: Vec<Item>,
    /// The next sequence to be published.
    tail: Sequence,
    readers: Vec<Reader<F>>,
}

impl<F: FramedTransportFrame> Bench<F> {
    fn new(scenario: &Scenario) -> Self {
        let ring = HeapRing::<F>::with_first_sequence(scenario.depth, scenario.first).unwrap();
        let tx = Tx::from_builder(ring.builder()).unwrap();
        let limits = [usize::MAX, scenario.limit.unwrap_or(usize::MAX)];
        let mut bench = Self {
            ring,
            depth: scenario.depth,
            tx: Some(tx),
            is_timed: false,
            items: Vec::new(),
            tail: scenario.first,
            readers: Vec::new(),
        };
        for (id, limit) in IDS.into_iter().zip(limits) {
            bench.readers.push(Reader {
                id,
                rx: None,
                limit,
                buffer: ReassemblyBuffer::new(),
                at: 0,
                cut: None,
                counted: Received::default(),
            });
        }
        (0..IDS.len()).for_each(|who| bench.rejoin(who));
        bench
    }

    fn free(&self) -> usize {
        let positions = self
            .readers
            .iter()
            .map(|reader| reader.position(&self.items, self.tail));
        (positions.min().unwrap() + self.depth as i64 - self.tail) as usize
    }

    fn rejoin(&mut self, who: usize) {
        let reader = &mut self.readers[who];
        reader.rx = None;
        let builder = self.ring.builder().with_consumer_id(reader.id);
        let mut rx = Rx::from_builder(builder).unwrap();
        if reader.limit < usize::MAX {
            rx.limit_message_bytes(reader.limit);
        }
        reader.rx = Some(rx);
        reader.counted = Received::default();
        reader.go_back();
        reader.cut = None;
    }

    fn die(&mut self) {
        let tx = self.tx.take();
        assert_panics(|| {
            let _tx = tx;
            panic!("on purpose");
        });
        let mut tx = Tx::from_builder(self.ring.builder()).unwrap();
        assert_eq!(tx.ring().last_published_sequence() + 1, self.tail);
        self.tx = Some(tx);
        self.is_timed = false;
    }

    fn send(&mut self, how: Send, len: usize) {
        let kind = self.items.len() as u8;
        let message = bytes(len, self.items.len());
        let time = if self.is_timed { TIME_BYTES } else { 0 };
        let whole = (len + time).div_ceil(F::PAYLOAD_BYTES).max(1);
        let (free, run) = (self.free(), (self.depth / 2).max(1));
        let fits = len + time <= F::PAYLOAD_BYTES;
        let tx = self.tx.as_mut().unwrap();
        let mut frames = if whole <= free { whole } else { 0 };
        let reserved = match how {
            // these calls would wait
            Send::Publish | Send::Managed if free < whole => return,
            Send::ReserveManaged if fits && free == 0 => return,
            Send::Publish => Ok(tx.publish(&message, kind)),
            Send::Managed => Ok(tx.publish_managed(&message, kind)),
            Send::Within => {
                while frames < whole && (whole - frames).min(run) <= free - frames {
                    frames += (whole - frames).min(run);
                }
                Ok(tx.send(&message, kind, at_once()))
            }
            Send::Try => {
                if whole > run {
                    frames = 0;
                }
                Ok(tx.try_publish(&message, kind))
            }
            Send::Reserve => Err(tx.reserve(len, kind, at_once())),
            Send::TryReserve => Err(tx.try_reserve(len, kind)),
            Send::ReserveManaged => Err(tx.reserve_managed(len, kind)),
            Send::Truncate => {
                Err(tx.reserve((len + 3).min(tx.frame_limit().max(len)), kind, at_once()))
            }
        };
        let sent = reserved.unwrap_or_else(|reservation| {
            frames = frames.min(usize::from(fits));
            reservation.map(|mut reservation| {
                reservation.truncate(len);
                reservation.copy_from_slice(&message);
                reservation.publish()
            })
        });
        self.check_sent(how, sent, (fits, frames, whole));
        if frames > 0 {
            self.items.push(Item {
                first: self.tail,
                frames,
                whole,
                kind,
                message,
                is_timed: self.is_timed,
            });
            self.tail += frames as i64;
        }
    }

    fn check_sent(
        &self,
        how: Send,
        sent: Result<Sequence, TransportError>,
        (fits, frames, whole): (bool, usize, usize),
    ) {
        let in_place = matches!(
            how,
            Send::Reserve | Send::TryReserve | Send::ReserveManaged | Send::Truncate
        );
        match sent {
            Ok(last) => {
                assert_eq!((frames, last), (whole, self.tail + whole as i64 - 1));
            }
            Err(TransportError::DoesNotFitFrame { .. }) => assert!(in_place && !fits),
            Err(TransportError::NeedsRuns { .. }) => {
                assert!(matches!(how, Send::Try) && whole > (self.depth / 2).max(1));
            }
            Err(TransportError::Full { frames, .. }) => assert!(frames > self.free()),
            Err(TransportError::Send(_)) => assert!(frames < whole),
            Err(error) => panic!("{error}"),
        }
    }

    fn check(&mut self) {
        for reader in &mut self.readers {
            reader.check(&self.items, self.tail);
        }
    }

    /// The end: every consumer receives what is left, and then the end.
    fn end(mut self) {
        self.tx.take().unwrap().close().unwrap();
        for reader in &mut self.readers {
            while let Some(item) = reader.poll(&self.items, self.depth) {
                reader.deliver(item);
                let (meta, message) = reader.rx().recv_owned_with_meta(at_once()).unwrap();
                check_meta(item, meta);
                assert_eq!(message, item.message);
            }
            assert_eq!(
                reader.rx().recv(at_once()).map(drop).unwrap_err(),
                RecvError::Closed
            );
            reader.end_cut();
            reader.check(&self.items, self.tail);
            assert_eq!(
                reader.rx().try_recv().map(drop).unwrap_err(),
                RecvError::Closed
            );
        }
    }
}

fn play<F: FramedTransportFrame>(scenario: Scenario) {
    let mut bench = Bench::<F>::new(&scenario);
    for operation in scenario.operations {
        match operation {
            Operation::Send(how, tenths, more) => {
                let len = tenths * scenario.depth * F::PAYLOAD_BYTES / 10 + more;
                bench.send(how, len);
            }
            Operation::Time(is_timed) => {
                bench.is_timed = is_timed;
                bench.tx.as_mut().unwrap().stamp_send_times(is_timed);
            }
            Operation::Receive(who, how) => {
                bench.readers[who].receive(how, &bench.items, scenario.depth);
            }
            Operation::Rejoin(who) => bench.rejoin(who),
            Operation::Die => bench.die(),
            Operation::Lend(who) => bench.readers[who].lend(),
            Operation::Abandon => drop(bench.tx.as_mut().unwrap().try_reserve(1, 0)),
        }
        bench.check();
    }
    bench.end();
}
