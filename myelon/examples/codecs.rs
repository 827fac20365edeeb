//! The same order sent with each codec over one transport: bincode and postcard decode an owned value, rkyv and
//! flatbuffers read in place. The flatbuffers schema is `flatbuffers_schema/order.fbs`.
//!
//! `cargo run -p myelon --all-features --example codecs`

use std::error::Error;
use std::process::Command;
use std::time::Duration;

use myelon::codec::{Bincode, FlatBuffer, FlatRoot, Postcard, Rkyv};
use myelon::flatbuffers::FlatBufferBuilder;
use myelon::prelude::*;
use myelon::transport::AlignedFixedFrame;
use myelon::{KindTable, TypedConsumer, TypedProducer};

/// Code that flatc generated.
#[allow(warnings, missing_docs, missing_debug_implementations)]
#[allow(
    clippy::all,
    clippy::undocumented_unsafe_blocks,
    clippy::multiple_unsafe_ops_per_block
)]
mod schema {
    include!("flatbuffers_schema/order_generated.rs");
}

/// An aligned frame, because archives are read in place.
type Frame = AlignedFixedFrame<1024>;

const DEPTH: usize = 64;
const TIMEOUT: Duration = Duration::from_secs(30);
const BINCODE: u8 = 1;
const POSTCARD: u8 = 2;
const RKYV: u8 = 3;
const FLATBUFFER: u8 = 4;

#[derive(
    Clone,
    Debug,
    PartialEq,
    serde::Serialize,
    serde::Deserialize,
    rkyv::Archive,
    rkyv::Serialize,
    rkyv::Deserialize,
)]
struct Order {
    id: u64,
    symbol: String,
}

impl FlatRoot for schema::shop::Order<'_> {
    type Root<'a> = schema::shop::Order<'a>;
    const IDENTIFIER: Option<&'static str> = Some(schema::shop::ORDER_IDENTIFIER);
}

fn main() -> Result<(), Box<dyn Error>> {
    match std::env::args().nth(1) {
        Some(ring) => send(&ring),
        None => receive(),
    }
}

fn order(id: u64) -> Order {
    let symbol = "XAU".into();
    Order { id, symbol }
}

fn send(ring: &str) -> Result<(), Box<dyn Error>> {
    let builder =
        myelon::build_shared_single_producer::<Frame>(ring, DEPTH).wait_for_consumers(1, TIMEOUT);
    let mut tx = TypedProducer::from_builder(builder)?;
    let deadline = Deadline::after(TIMEOUT);
    tx.send(&Bincode(order(1)), BINCODE, deadline)?;
    tx.send(Postcard::of(&order(2)), POSTCARD, deadline)?; // the order is not moved
    tx.send(&Rkyv(order(3)), RKYV, deadline)?;

    let mut builder = FlatBufferBuilder::new();
    let symbol = Some(builder.create_string("XAU"));
    let fields = schema::shop::OrderArgs {
        id: 4,
        symbol,
        ..Default::default()
    };
    let root = schema::shop::Order::create(&mut builder, &fields);
    tx.send(
        &FlatBuffer::<schema::shop::Order>::finish(builder, root),
        FLATBUFFER,
        deadline,
    )?;
    tx.close()?;
    Ok(())
}

fn receive() -> Result<(), Box<dyn Error>> {
    let ring = myelon::portable_shm_segment_name("codecs");
    let mut sender = Command::new(std::env::current_exe()?).arg(&ring).spawn()?;
    let builder = myelon::attach_shared_consumer::<Frame>(&ring, DEPTH)
        .with_consumer_id("desk")
        .wait_for_ring(TIMEOUT);
    let mut rx = TypedConsumer::from_builder(builder)?;

    let seen = std::cell::RefCell::new(Vec::new());
    let take = |id, symbol: &str| seen.borrow_mut().push((id, symbol.to_owned()));
    let mut table = KindTable::new()
        .on(BINCODE, |Bincode(order): Bincode<Order>| {
            take(order.id, &order.symbol)
        })?
        .on(POSTCARD, |Postcard(order): Postcard<Order>| {
            take(order.id, &order.symbol)
        })?
        .on_access::<Rkyv<Order>>(RKYV, |order| take(order.id.to_native(), &order.symbol))?
        .on_access::<FlatBuffer<schema::shop::Order>>(FLATBUFFER, |order| {
            take(order.id(), order.symbol());
        })?;
    for expected in [BINCODE, POSTCARD, RKYV, FLATBUFFER] {
        assert_eq!(rx.dispatch(&mut table, Deadline::after(TIMEOUT))?, expected);
    }
    drop(table);
    let orders: Vec<_> = (1..=4).map(|id| (id, "XAU".to_owned())).collect();
    assert_eq!(seen.into_inner(), orders);
    println!("the same order by four codecs");
    assert!(sender.wait()?.success());
    Ok(())
}
