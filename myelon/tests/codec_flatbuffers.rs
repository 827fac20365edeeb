//! Flatbuffers: read with the code that flatc generated from `examples/flatbuffers_schema/order.fbs`, and by
//! field numbers.
#![cfg(feature = "flatbuffers")]

mod codec_shared;

/// Code that flatc generated.
#[allow(warnings, missing_docs, missing_debug_implementations)]
#[allow(
    clippy::all,
    clippy::undocumented_unsafe_blocks,
    clippy::multiple_unsafe_ops_per_block
)]
mod order {
    include!("../examples/flatbuffers_schema/order_generated.rs");
}

use codec_shared::{damaged, encodes_alike, text};
use flatbuffers::{FlatBufferBuilder, ForwardsUOffset, Vector, WIPOffset};
use myelon::codec::{AnyTable, Codec, CodecError, FlatBuffer, FlatRoot, MAX_DEPTH, ZeroCopyCodec};
use order::shop::{Instant, Item, ItemArgs, ORDER_IDENTIFIER, Order, OrderArgs, Side};
use proptest::prelude::*;

impl FlatRoot for Order<'_> {
    type Root<'a> = Order<'a>;
    const IDENTIFIER: Option<&'static str> = Some(ORDER_IDENTIFIER);
}

/// The type by which a table refers to a list of items.
type Items = WIPOffset<Vector<'static, ForwardsUOffset<Item<'static>>>>;

fn item(id: u64, count: u32, parts: Option<Items>) -> ItemArgs<'static> {
    ItemArgs { id, count, parts }
}

fn order_of(
    mut builder: FlatBufferBuilder<'static>,
    symbol: &str,
    items: &[(u64, u32)],
    note: &[u8],
) -> FlatBuffer<Order<'static>> {
    let items: Vec<_> = items
        .iter()
        .map(|&(id, count)| Item::create(&mut builder, &item(id, count, None)))
        .collect();
    let args = OrderArgs {
        id: 7,
        side: Side::Sell,
        symbol: Some(builder.create_string(symbol)),
        at: Some(&Instant::new(12, 34)),
        items: Some(builder.create_vector(&items)),
        note: Some(builder.create_vector(note)),
    };
    let order = Order::create(&mut builder, &args);
    FlatBuffer::finish(builder, order)
}

fn full_order() -> FlatBuffer<Order<'static>> {
    order_of(
        FlatBufferBuilder::new(),
        "XAU",
        &[(1, 2), (3, 4)],
        b"by noon",
    )
}

/// Reads every field.
fn read(order: Order<'_>) -> (u64, usize, u64) {
    let items = order.items().into_iter().flatten();
    let sum = items.fold(0, |sum: u64, item| {
        sum.wrapping_add(item.id())
            .wrapping_add(item.count().into())
    });
    let at = order
        .at()
        .map_or(0, |at| at.seconds().wrapping_add(at.nanos().into()));
    let lengths = order.symbol().len() + order.note().map_or(0, |note| note.bytes().len());
    (order.id().wrapping_add(at), lengths, sum)
}

proptest! {
    #[test]
    fn round_trips(
        symbol in any::<String>(),
        items in proptest::collection::vec(any::<(u64, u32)>(), 0..20),
        note in proptest::collection::vec(any::<u8>(), 0..100),
    ) {
        let message = order_of(FlatBufferBuilder::new(), &symbol, &items, &note);
        encodes_alike(&message);
        let bytes = message.encode().unwrap();
        let order = FlatBuffer::<Order>::access(&bytes).unwrap();
        prop_assert_eq!(order.symbol(), &symbol);
        prop_assert_eq!(order.note().unwrap().bytes(), &note);
        let read: Vec<_> = order.items().unwrap().iter().map(|i| (i.id(), i.count())).collect();
        prop_assert_eq!(read, items);
        let decoded = FlatBuffer::<Order>::decode(&bytes).unwrap();
        prop_assert_eq!(decoded.bytes(), bytes);
    }

    #[test]
    fn random_bytes_are_no_harm(mut bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        drop(FlatBuffer::<AnyTable>::access(&bytes).map(read_any));
        if let Some(identifier) = bytes.get_mut(4..8) {
            identifier.copy_from_slice(ORDER_IDENTIFIER.as_bytes());
        }
        drop(FlatBuffer::<Order>::access(&bytes).map(read));
    }
}

/// Reads every field of a table as types that may be wrong.
fn read_any(table: AnyTable<'_>) {
    for field in (0..8).chain([0x7FFD, 0x7FFE, u16::MAX]) {
        drop(table.get::<bool>(field));
        drop(table.get::<u64>(field));
        drop(table.get::<ForwardsUOffset<&str>>(field));
        drop(table.get::<ForwardsUOffset<Vector<'_, u32>>>(field));
        drop(table.get::<ForwardsUOffset<AnyTable<'_>>>(field));
        let tables = table.get::<ForwardsUOffset<Vector<'_, ForwardsUOffset<AnyTable<'_>>>>>(field);
        for table in tables.ok().flatten().iter().flatten() {
            drop(table.get::<u32>(1));
        }
    }
}

#[test]
fn damage_is_no_harm() {
    let bytes = full_order().encode().unwrap();
    damaged(&bytes, |bytes| {
        drop(FlatBuffer::<Order>::access(bytes).map(read));
        drop(FlatBuffer::<AnyTable>::access(bytes).map(read_any));
    });
}

/// The length of a vector or string stands directly before its contents.
#[test]
fn a_forged_length_is_refused() {
    let sound = full_order().encode().unwrap();
    for content in [&b"XAU"[..], b"by noon"] {
        let mut contents = sound.windows(content.len());
        let at = contents
            .position(|window| window == content)
            .expect("it is there")
            - 4;
        let beyond = (sound.len() - at) as u32;
        for forged in [beyond, 1 << 20, i32::MAX as u32, u32::MAX] {
            let mut bytes = sound.clone();
            bytes[at..at + 4].copy_from_slice(&forged.to_le_bytes());
            let error = FlatBuffer::<Order>::decode(&bytes).unwrap_err();
            assert!(matches!(error, CodecError::Decode { .. }), "{error}");
        }
    }
}

/// No code was generated for this table: field numbers are enough.
#[test]
fn fields_are_read_by_number() {
    let bytes = full_order().encode().unwrap();
    let order = FlatBuffer::<AnyTable>::access(&bytes).unwrap();
    assert_eq!(order.get::<u64>(0).unwrap(), Some(7));
    assert_eq!(order.get::<i8>(1).unwrap(), Some(1));
    assert_eq!(order.get::<ForwardsUOffset<&str>>(2).unwrap(), Some("XAU"));
    let items = order
        .get::<ForwardsUOffset<Vector<'_, ForwardsUOffset<AnyTable<'_>>>>>(4)
        .unwrap()
        .unwrap();
    let counts: Vec<_> = items
        .iter()
        .map(|item| item.get::<u32>(1).unwrap())
        .collect();
    assert_eq!(counts, [Some(2), Some(4)]);
    assert_eq!(order.get::<u64>(99).unwrap(), None);
    assert_eq!(order.get::<u64>(u16::MAX).unwrap(), None);

    let wrong = text(order.get::<ForwardsUOffset<&str>>(0));
    assert!(
        wrong.contains("field 0: ") && !wrong.contains('\n'),
        "{wrong}"
    );
}

#[test]
fn a_wrong_root_is_refused() {
    let mut bytes = full_order().encode().unwrap();
    bytes[4..8].copy_from_slice(b"DUCK");
    let error = text(FlatBuffer::<Order>::decode(&bytes));
    assert!(
        error.contains("its identifier is 'DUCK', expected 'ORDR'"),
        "{error}"
    );
    let error = text(FlatBuffer::<Order>::access(b"\x04\0\0\0"));
    assert!(
        error.contains("its identifier is '', expected 'ORDR'"),
        "{error}"
    );

    // a required field is missing
    let mut builder = FlatBufferBuilder::new();
    let table = builder.start_table();
    let table = builder.end_table(table);
    let message = FlatBuffer::<Order>::finish(builder, WIPOffset::new(table.value()));
    let error = text(message.root());
    assert!(error.contains("Missing required field `symbol`"), "{error}");
}

/// A few bytes that refer to the same long string many times.
#[test]
fn apparent_size_is_limited() {
    let mut builder = FlatBufferBuilder::new();
    let text = builder.create_string(&"x".repeat(1 << 16));
    let texts = builder.create_vector(&vec![text; 10_000]);
    let table = builder.start_table();
    builder.push_slot_always(4, texts);
    let table = builder.end_table(table);
    let message = FlatBuffer::<AnyTable>::finish(builder, WIPOffset::new(table.value()));
    let root = message.root().unwrap();
    let error = root
        .get::<ForwardsUOffset<Vector<'_, ForwardsUOffset<&str>>>>(0)
        .unwrap_err();
    assert!(
        error.to_string().contains("Apparent size too large"),
        "{error}"
    );
}

/// An order whose item has a part, which has a part, and so on, `depth` levels deep.
fn nested_order(depth: usize) -> FlatBuffer<Order<'static>> {
    let mut builder = FlatBufferBuilder::new();
    let mut items = None;
    for _ in 0..depth {
        let whole = Item::create(&mut builder, &item(1, 1, items));
        items = Some(builder.create_vector(&[whole]));
    }
    let symbol = Some(builder.create_string("XAU"));
    let order = OrderArgs {
        symbol,
        items,
        ..OrderArgs::default()
    };
    let order = Order::create(&mut builder, &order);
    FlatBuffer::finish(builder, order)
}

#[test]
fn depth_is_limited() {
    // the order is a table as well
    nested_order(MAX_DEPTH - 1).root().unwrap();
    let error = nested_order(MAX_DEPTH).root().unwrap_err();
    assert!(
        matches!(
            error,
            CodecError::TooDeep {
                limit: MAX_DEPTH,
                ..
            }
        ),
        "{error}"
    );
}

#[test]
fn a_builder_comes_back_clean() {
    let first = full_order();
    let expected = first.encode().unwrap();
    let second = order_of(first.into_builder(), "XAU", &[(1, 2), (3, 4)], b"by noon");
    assert_eq!(second.bytes(), expected);
    assert!(format!("{second:?}").contains("Order"), "{second:?}");
}
