//! One call at a time on one core, whose cache has everything: the time of the instructions alone. What two cores add,
//! the program measures. `cargo bench -p perf-bench`.

use std::hint::black_box;

use criterion::{Criterion, Throughput};
use myelon::codec::{Bincode, Codec, Postcard};
use myelon::transport::{FixedFrame, FramedTransportConsumer, FramedTransportProducer};
use myelon::{Deadline, HeapRing};
use serde::{Deserialize, Serialize};

const CAPACITY: usize = 64;
const BATCH: usize = 16;

/// 56 bytes: a slot of one line.
type Event = [u64; 7];

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Order {
    id: u64,
    price: u64,
    quantity: u32,
    is_buy: bool,
    symbol: [u8; 8],
}

const ORDER: Order = Order {
    id: 7,
    price: 1_000_250,
    quantity: 300,
    is_buy: true,
    symbol: *b"MYELON  ",
};

fn events(c: &mut Criterion) {
    let mut group = c.benchmark_group("event");
    group.throughput(Throughput::Elements(1));

    let ring = HeapRing::<Event>::new(CAPACITY).expect("a ring");
    let mut tx = ring.producer().expect("a producer");
    group.bench_function("publish, nobody listens", |b| {
        b.iter(|| tx.publish(|event| *event = black_box([1; 7])));
    });

    let ring = HeapRing::<Event>::new(CAPACITY).expect("a ring");
    let mut tx = ring.producer().expect("a producer");
    let mut rx = ring.consumer("reader").expect("a consumer");
    group.bench_function("poll of an empty ring", |b| {
        b.iter(|| rx.try_recv().is_err());
    });
    group.bench_function("send and recv", |b| {
        b.iter(|| {
            tx.send(Deadline::NEVER, |event| *event = black_box([1; 7]))
                .expect("there is space");
            *rx.recv(Deadline::NEVER).expect("it was sent")
        });
    });
    group.throughput(Throughput::Elements(BATCH as u64));
    group.bench_function("a batch of 16, sent and processed", |b| {
        b.iter(|| {
            tx.send_batch(BATCH, Deadline::NEVER, |event, i| *event = [i as u64; 7])
                .expect("there is space");
            let mut sum = 0;
            rx.process_available(|event, _| sum += event[0]);
            sum
        });
    });
    group.finish();
}

fn messages(c: &mut Criterion) {
    let ring = HeapRing::<FixedFrame<256>>::new(CAPACITY).expect("a ring");
    let mut tx = FramedTransportProducer::from_builder(ring.builder()).expect("a producer");
    let reader = ring.builder().with_consumer_id("reader");
    let mut rx = FramedTransportConsumer::from_builder(reader).expect("a consumer");
    c.bench_function("message of 64 B, sent and received", |b| {
        b.iter(|| {
            tx.send(black_box(&[1; 64]), 0, Deadline::NEVER)
                .expect("there is space");
            rx.recv(Deadline::NEVER).expect("it was sent").len()
        });
    });
}

fn codec<T: Codec>(c: &mut Criterion, name: &str, value: &T) {
    let bytes = value.encode().expect("it can be expressed");
    let mut out = Vec::with_capacity(bytes.len());
    let mut group = c.benchmark_group(name);
    group.throughput(Throughput::Bytes(bytes.len() as u64));
    group.bench_function("encode", |b| {
        b.iter(|| {
            out.clear();
            black_box(value).encode_into(&mut out)
        });
    });
    group.bench_function("decode", |b| {
        b.iter(|| T::decode(black_box(&bytes)).is_ok())
    });
    group.finish();
}

fn codecs(c: &mut Criterion) {
    codec(c, "bincode", &Bincode(ORDER));
    codec(c, "postcard", &Postcard(ORDER));
}

fn main() {
    let mut c = Criterion::default().configure_from_args();
    events(&mut c);
    messages(&mut c);
    codecs(&mut c);
    c.final_summary();
}
