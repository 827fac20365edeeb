//! Where each receiving call reads: in the ring's own bytes, which a hostile producer may change meanwhile, or in a
//! copy. The table in `SECURITY.md` must say the same.
//!
//! Each call receives one event, message or value. The test compares the address of what the call hands over, or
//! of the bytes that it gives to the codec, with the mappings of the ring's file.

use std::collections::BTreeMap;
use std::fs;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::time::Duration;

use disruptor_mp::{AsyncConsumer, MmapProducer, MmapTransportLayout, RecvError};
use myelon::transport::{
    FixedFrame, FramedTransportConsumer, FramedTransportProducer, ReassemblyBuffer,
    recv_framed_message,
};
use myelon::{
    Codec, CodecError, Deadline, KindTable, MappedFile, RunnerMyelonTransportConfig, Scheduler,
    TypedConsumer, TypedProducer, Worker, ZeroCopyCodec,
};

type Frame = FixedFrame<64>;
/// More than a frame holds.
const LONG: usize = 100;
const NEVER: Deadline = Deadline::NEVER;

/// Where a call reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Side {
    InPlace,
    Copied,
}

/// What was found for each call, by the call's name.
type Found = BTreeMap<String, Side>;

/// The address of a value, or of the first of its bytes.
fn address<T: ?Sized>(it: &T) -> usize {
    std::ptr::from_ref(it).addr()
}

/// The mappings of every file in the ring's directory.
struct Rings {
    directory: PathBuf,
    found: Found,
}

impl Rings {
    fn in_directory(directory: &Path) -> Self {
        Self {
            directory: directory.to_owned(),
            found: Found::new(),
        }
    }

    /// The mappings at this moment, also those that were made before their file had its name.
    fn mappings(&self) -> Vec<Range<usize>> {
        let maps = fs::read_to_string("/proc/self/maps").expect("maps");
        let directory = self.directory.to_str().expect("utf-8");
        let ours = maps.lines().filter(|line| line.contains(directory));
        let ranges = ours.filter_map(|line| line.split_once(' ')?.0.split_once('-'));
        let number = |digits| usize::from_str_radix(digits, 16).expect("an address");
        ranges
            .map(|(start, end)| number(start)..number(end))
            .collect()
    }

    /// Notes where the call `name` has read.
    fn note(&mut self, name: &str, address: usize) {
        let mappings = self.mappings();
        assert!(!mappings.is_empty(), "no ring is mapped");
        let side = match mappings.iter().any(|range| range.contains(&address)) {
            true => Side::InPlace,
            false => Side::Copied,
        };
        let before = self.found.insert(name.to_owned(), side);
        assert_eq!(before, None, "{name} was noted before");
    }
}

/// The row of this layer in `SECURITY.md`.
fn listed(layer: &str) -> Found {
    let page = include_str!("../../SECURITY.md");
    let rows = page.lines().filter_map(|line| line.strip_prefix("| "));
    let mut rows = rows.filter(|row| row.split(" | ").next() == Some(layer));
    let row = rows.next().expect("a row of the layer");
    assert_eq!(rows.next(), None, "one row of {layer}");
    let cells: Vec<&str> = row.trim_end_matches('|').split(" | ").collect();
    let [_, in_place, copied] = cells[..] else {
        panic!("no row of the table: {row}");
    };
    let names = |cell: &'static str, side| {
        let names = cell.split('`').skip(1).step_by(2);
        names.map(move |name| (name.to_owned(), side))
    };
    names(in_place, Side::InPlace)
        .chain(names(copied, Side::Copied))
        .collect()
}

/// A ring of `E` in a file of a directory of its own, with one event for each call.
struct Ring {
    directory: tempfile::TempDir,
    layout: MmapTransportLayout,
}

impl Ring {
    const CAPACITY: usize = 64;

    fn new() -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let layout = MmapTransportLayout::new(directory.path(), "ring");
        Self { directory, layout }
    }

    fn builder<E: myelon::Event>(&self) -> disruptor_mp::DisruptorBuilder<E, MappedFile> {
        MmapProducer::builder(&self.layout, Self::CAPACITY)
    }

    fn rings(&self) -> Rings {
        Rings::in_directory(self.directory.path())
    }
}

#[test]
fn events_are_lent_in_place_and_copied_where_the_page_says_so() {
    let ring = Ring::new();
    let mut tx = ring
        .builder::<u64>()
        .with_observers()
        .build_zeroed_producer()
        .expect("a producer");
    let mut observer = ring.builder::<u64>().build_observer().expect("an observer");
    let mut rx = ring.builder::<u64>().build_consumer().expect("a consumer");
    let mut rings = ring.rings();
    tx.publish_batch(32, |_, _| {});

    let lease = rx.recv(NEVER).expect("an event");
    rings.note("recv", address(&*lease));
    drop(lease);
    let lease = rx.try_recv().expect("no error").expect("an event");
    rings.note("try_recv", address(&*lease));
    drop(lease);
    let lease = rx.try_consume_next_leased().expect("an event");
    rings.note("try_consume_next_leased", address(&*lease));
    drop(lease);
    let lease = rx.consume_next_leased();
    rings.note("consume_next_leased", address(&*lease));
    drop(lease);
    let lease = rx.consume_next_leased_with_sleep(Duration::ZERO);
    rings.note("consume_next_leased_with_sleep", address(&*lease));
    drop(lease);
    rings.note("peek", address(rx.peek().expect("an event")));
    rx.recv(NEVER).expect("an event").hold();
    rings.note("held", address(rx.held(0).expect("a held event")));
    rx.release_held(1);
    rx.process_next_blocking(|event, _| rings.note("process_next_blocking", address(event)));
    let (_, event) = rx.recv_owned(NEVER).expect("an event");
    rings.note("recv_owned", address(&event));
    let received = rx.try_recv_owned().expect("a ring");
    let (_, event) = received.expect("an event");
    rings.note("try_recv_owned", address(&event));
    let (_, event) = rx.try_consume_next().expect("an event");
    rings.note("try_consume_next", address(&event));
    let (_, event) = rx.consume_next();
    rings.note("consume_next", address(&event));
    let (_, event) = rx.consume_next_with_sleep(Duration::ZERO);
    rings.note("consume_next_with_sleep", address(&event));
    let (_, event) = observer.recv(NEVER).expect("an event");
    rings.note("Observer::recv", address(&event));
    let (_, event) = observer.try_recv().expect("no error").expect("an event");
    rings.note("Observer::try_recv", address(&event));

    // calls that take everything there is
    let mut last = 0;
    rx.process_available(|event, _| last = address(event));
    rings.note("process_available", last);
    tx.publish_batch(2, |_, _| {});
    rx.process_available_blocking(|event, _, _| last = address(event));
    rings.note("process_available_blocking", last);
    tx.publish_batch(2, |_, _| {});
    rx.process_within(NEVER, |event, _, _| last = address(event))
        .expect("events");
    rings.note("process_within", last);

    for name in ["handle_events_with", "handle_events_batch"] {
        let (say, said) = mpsc::channel();
        let handle = move |event: &u64, _, _| say.send(address(event)).expect("the test listens");
        let builder = ring.builder::<u64>();
        let handler = match name {
            "handle_events_with" => builder.handle_events_with(handle),
            _ => builder.handle_events_batch(handle, disruptor_mp::AutoWaitStrategy::Block),
        };
        let handler = handler.expect("a handler");
        tx.publish(|_| {});
        rings.note(name, said.recv().expect("an event"));
        handler.shutdown_and_join().expect("it ends");
    }
    while rx.try_consume_next().is_some() {}
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .build()
        .expect("a runtime");
    runtime.block_on(async {
        let mut rx = AsyncConsumer::new(rx).expect("a consumer");
        tx.publish(|_| {});
        let lease = rx.recv().await.expect("an event");
        rings.note("AsyncConsumer::recv", address(&*lease));
    });
    assert_eq!(rings.found, listed("events"));
}

/// A consumer of messages, and a producer that has sent it `count` messages of one frame.
fn messages(
    ring: &Ring,
    count: usize,
) -> (
    FramedTransportProducer<Frame, MappedFile>,
    FramedTransportConsumer<Frame, MappedFile>,
) {
    let mut tx = FramedTransportProducer::from_builder(ring.builder()).expect("a producer");
    let reader = ring.builder().with_consumer_id("reader");
    let rx = FramedTransportConsumer::from_builder(reader).expect("a consumer");
    for _ in 0..count {
        tx.publish(b"message", 1).expect("sent");
    }
    (tx, rx)
}

#[test]
fn messages_are_lent_in_place_and_copied_where_the_page_says_so() {
    let ring = Ring::new();
    let (mut tx, mut rx) = messages(&ring, 10);
    let mut rings = ring.rings();
    let mut buffer = ReassemblyBuffer::new();

    let message = rx.recv(NEVER).expect("a message");
    rings.note("recv", address(&*message));
    message.release();
    let message = rx.try_recv().expect("no error").expect("a message");
    rings.note("try_recv", address(&*message));
    message.release();
    rx.recv_leased(&mut buffer, NEVER, |_, bytes| {
        rings.note("recv_leased", address(bytes));
    })
    .expect("a message");
    rx.recv_message_blocking_leased(&mut buffer, |_, bytes| {
        rings.note("recv_message_blocking_leased", address(bytes));
    });
    rx.recv_message_blocking_leased_with_meta(&mut buffer, |_, bytes| {
        rings.note("recv_message_blocking_leased_with_meta", address(bytes));
    });
    let (_, bytes) = rx.recv_owned(NEVER).expect("a message");
    rings.note("recv_owned", address(&*bytes));
    let (_, bytes) = rx.recv_owned_with_meta(NEVER).expect("a message");
    rings.note("recv_owned_with_meta", address(&*bytes));
    let (_, bytes) = rx.recv_message_blocking_owned();
    rings.note("recv_message_blocking_owned", address(&*bytes));
    let (_, bytes) = rx.recv_message_blocking_owned_with_meta();
    rings.note("recv_message_blocking_owned_with_meta", address(&*bytes));
    let (_, bytes) = recv_framed_message(rx.ring(), NEVER).expect("a message");
    rings.note("recv_framed_message", address(&*bytes));

    tx.publish(b"message", 1).expect("sent");
    rx.process_available_messages(|_, bytes| {
        rings.note("process_available_messages", address(bytes));
    })
    .expect("a message");
    tx.publish(b"message", 1).expect("sent");
    rx.process_available_messages_with_meta(|_, bytes| {
        rings.note("process_available_messages_with_meta", address(bytes));
    })
    .expect("a message");
    let seen = rings.found;

    let mut rings = ring.rings();
    in_a_session(&mut rings, |rings, scheduler, worker| {
        scheduler.broadcast(b"request", 1, NEVER).expect("sent");
        let request = worker.recv(NEVER).expect("a request");
        rings.note("Worker::recv", address(&*request));
        request.done();
        scheduler.broadcast(b"request", 1, NEVER).expect("sent");
        let mut at = 0;
        let answer = |_, bytes: &[u8]| {
            at = address(bytes);
            b"answer"
        };
        worker.serve(NEVER, answer).expect("served");
        rings.note("Worker::serve", at);
        let (_, message) = scheduler.recv_any(NEVER).expect("an answer");
        rings.note("Scheduler::recv_any", address(&*message));
        message.release();
    });
    let found: Found = seen.into_iter().chain(rings.found).collect();
    assert_eq!(found, listed("messages"));
}

/// Runs `work` with both sides of a session whose rings lie in the directory.
fn in_a_session(
    rings: &mut Rings,
    work: impl FnOnce(
        &mut Rings,
        &mut Scheduler<Frame, Frame, MappedFile>,
        &mut Worker<Frame, Frame, MappedFile>,
    ),
) {
    let config = RunnerMyelonTransportConfig::new("places", 1);
    let mut scheduler = Scheduler::start_in_files(&config, &rings.directory).expect("a scheduler");
    let mut worker = Worker::start_in_files(&config, 0, &rings.directory).expect("a worker");
    work(rings, &mut scheduler, &mut worker);
    worker.leave().expect("it leaves");
    scheduler.close().expect("it closes");
}

/// A message that is put together from several frames is a copy, whichever call receives it.
#[test]
fn a_message_of_several_frames_is_copied_first() {
    let ring = Ring::new();
    let (mut tx, mut rx) = messages(&ring, 0);
    let mut rings = ring.rings();
    let mut buffer = ReassemblyBuffer::new();
    let mut send = || tx.publish(&[7; LONG], 1).expect("sent");
    send();
    let message = rx.recv(NEVER).expect("a message");
    rings.note("recv", address(&*message));
    message.release();
    send();
    rx.recv_leased(&mut buffer, NEVER, |_, bytes| {
        rings.note("recv_leased", address(bytes));
    })
    .expect("a message");
    send();
    rx.process_available_messages(|_, bytes| {
        rings.note("process_available_messages", address(bytes));
    })
    .expect("a message");
    assert_eq!(rings.found.len(), 3);
    assert!(rings.found.values().all(|side| *side == Side::Copied));
}

/// A value that says at which address its codec was given the bytes.
struct Place(usize);

impl Codec for Place {
    fn encode(&self) -> Result<Vec<u8>, CodecError> {
        Ok(b"value".to_vec())
    }

    fn decode(bytes: &[u8]) -> Result<Self, CodecError> {
        Ok(Self(address(bytes)))
    }
}

impl ZeroCopyCodec for Place {
    type Archived<'a> = usize;

    fn access(bytes: &[u8]) -> Result<usize, CodecError> {
        Ok(address(bytes))
    }
}

#[test]
fn values_are_decoded_in_place_and_copied_where_the_page_says_so() {
    let ring = Ring::new();
    let mut tx = TypedProducer::<Frame, _>::from_builder(ring.builder()).expect("a producer");
    let reader = ring.builder().with_consumer_id("reader");
    let mut rx = TypedConsumer::<Frame, _>::from_builder(reader).expect("a consumer");
    let mut rings = ring.rings();
    let mut buffer = ReassemblyBuffer::new();
    let mut send = || tx.publish(&Place(0), 1).expect("sent");

    send();
    let (_, Place(at)) = rx.recv(NEVER).expect("a value");
    rings.note("recv", at);
    send();
    let (_, Place(at)) = rx.try_recv().expect("no error").expect("a value");
    rings.note("try_recv", at);
    send();
    let (_, Place(at)) = rx.recv_owned().expect("a value");
    rings.note("recv_owned", at);
    send();
    let message = rx.recv_raw(NEVER).expect("a message");
    rings.note("recv_raw", address(&*message));
    message.release();
    send();
    rx.recv_raw_leased(&mut buffer, NEVER, |_, bytes| {
        rings.note("recv_raw_leased", address(bytes));
    })
    .expect("a message");
    send();
    let at = rx.recv_leased::<Place, _, _>(&mut buffer, |_, at| at);
    rings.note("recv_leased", at.expect("a value"));
    send();
    let at = rx.recv_leased_within::<Place, _, _>(&mut buffer, NEVER, |_, at| at);
    rings.note("recv_leased_within", at.expect("a value"));
    send();
    rx.process_available::<Place>(|_, value| {
        rings.note("process_available", value.expect("a value").0);
    })
    .expect("a value");
    send();
    rx.process_available_zero_copy::<Place, _>(|_, at| {
        rings.note("process_available_zero_copy", at.expect("a value"));
    })
    .expect("a value");
    send();
    let (_, bytes) = rx.recv_raw_owned(NEVER).expect("a message");
    rings.note("recv_raw_owned", Place::decode(&bytes).expect("a value").0);

    // `dispatch` calls the handlers of its table, which decode or read in place
    let mut ats = Vec::new();
    send();
    let table = KindTable::new().on(1, |Place(at)| ats.push(at));
    rx.dispatch(&mut table.expect("a free kind"), NEVER)
        .expect("a value");
    send();
    let table = KindTable::new().on_access::<Place>(1, |at| ats.push(at));
    rx.dispatch(&mut table.expect("a free kind"), NEVER)
        .expect("a value");
    rings.note("KindTable::on", ats[0]);
    rings.note("KindTable::on_access", ats[1]);
    let seen = rings.found;

    let mut rings = ring.rings();
    in_a_session(&mut rings, |rings, scheduler, worker| {
        scheduler
            .broadcast_value(&Place(0), 1, NEVER)
            .expect("sent");
        let mut asked = 0;
        let answer = |_, Place(at)| {
            asked = at;
            Place(0)
        };
        worker.serve_value(NEVER, answer).expect("served");
        rings.note("Worker::serve_value", asked);
        let (_, _, value) = scheduler.recv_any_value::<Place>(NEVER).expect("an answer");
        rings.note("Scheduler::recv_any_value", value.expect("a value").0);
    });
    let found: Found = seen.into_iter().chain(rings.found).collect();
    assert_eq!(found, listed("values"));
}

#[test]
fn control_both_sides_are_told_apart() {
    let ring = Ring::new();
    let (_tx, mut rx) = messages(&ring, 1);
    let mut rings = ring.rings();
    let message = rx.recv(NEVER).expect("a message");
    let copy = message.to_vec();
    rings.note("in place", address(&*message));
    rings.note("a copy", address(&*copy));
    message.release();
    assert_eq!(rings.found["in place"], Side::InPlace);
    assert_eq!(rings.found["a copy"], Side::Copied);
    assert_eq!(
        rx.recv(Deadline::after(Duration::ZERO)).err(),
        Some(RecvError::Timeout)
    );
}
