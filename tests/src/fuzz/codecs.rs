//! The drivers of codecs: any bytes are decoded and read in place, and any message is encoded and decoded again.

use std::hint::black_box;

use arbitrary::{Arbitrary, Result, Unstructured};
use myelon::codec::{AnyTable, Bincode, BorrowedForm, FlatBuffer, Postcard, Rkyv};
use myelon::flatbuffers::{FlatBufferBuilder, ForwardsUOffset, Vector, WIPOffset};
use myelon::rkyv;
use myelon::{Codec, ZeroCopyCodec};

/// How many fields of a table are read.
const FIELDS: u16 = 6;
/// How many levels of nested tables are read.
const LEVELS: usize = 2;

/// A message with values of every kind.
#[derive(
    Arbitrary,
    Clone,
    Debug,
    PartialEq,
    serde::Deserialize,
    serde::Serialize,
    rkyv::Archive,
    rkyv::Deserialize,
    rkyv::Serialize,
)]
#[rkyv(crate = rkyv, derive(Debug))]
struct Order {
    id: u64,
    wide: i128,
    is_open: bool,
    letter: char,
    symbol: String,
    bytes: Vec<u8>,
    note: Option<String>,
    sides: Vec<Side>,
}

#[derive(
    Arbitrary,
    Clone,
    Debug,
    PartialEq,
    serde::Deserialize,
    serde::Serialize,
    rkyv::Archive,
    rkyv::Deserialize,
    rkyv::Serialize,
)]
#[rkyv(crate = rkyv, derive(Debug))]
enum Side {
    Buy,
    Sell(u32),
    Both { buy: i16, sell: Vec<u16> },
}

#[derive(Debug, serde::Deserialize)]
#[allow(dead_code, reason = "made from bytes, and shown")]
struct OrderRef<'a> {
    id: u64,
    wide: i128,
    is_open: bool,
    letter: char,
    symbol: &'a str,
    bytes: Vec<u8>,
    note: Option<&'a str>,
    sides: Vec<Side>,
}

impl BorrowedForm for Order {
    type Borrowed<'a> = OrderRef<'a>;
}

pub(super) fn bincode(bytes: &[u8]) {
    drive(bytes, Bincode, |bytes| {
        let _ = Bincode::<Order>::access(bytes).map(|order| show(&order));
    });
}

pub(super) fn postcard(bytes: &[u8]) {
    drive(bytes, Postcard, |bytes| {
        let _ = Postcard::<Order>::access(bytes).map(|order| show(&order));
    });
}

pub(super) fn rkyv(bytes: &[u8]) {
    drive(bytes, Rkyv, |bytes| {
        // at several alignments, because a peer may put an archive at any address
        let mut place = rkyv::util::AlignedVec::<16>::new();
        place.resize(bytes.len() + 16, 0);
        for at in [0, 1, 4, 8] {
            place[at..at + bytes.len()].copy_from_slice(bytes);
            let archived = Rkyv::<Order>::access(&place[at..at + bytes.len()]);
            let _ = archived.map(show);
        }
    });
}

pub(super) fn flatbuffers(bytes: &[u8]) {
    drive(bytes, build, |bytes| {
        let _ = FlatBuffer::<AnyTable<'_>>::access(bytes).map(|table| read(table, LEVELS));
    });
}

/// Whether a codec's target decodes this input without an error; `None` for an input that is a message to encode.
pub fn is_decoded(target: &str, bytes: &[u8]) -> Option<bool> {
    let mut u = Unstructured::new(bytes);
    let bytes = foreign(&mut u).ok()??;
    Some(match target {
        "codec_bincode" => Bincode::<Order>::decode(bytes).is_ok(),
        "codec_postcard" => Postcard::<Order>::decode(bytes).is_ok(),
        "codec_rkyv" => Rkyv::<Order>::decode(bytes).is_ok(),
        "codec_flatbuffers" => FlatBuffer::<AnyTable<'_>>::decode(bytes).is_ok(),
        _ => panic!("{target} is no codec's"),
    })
}

/// The bytes to decode, if the input's first value selects decoding.
fn foreign<'a>(u: &mut Unstructured<'a>) -> Result<Option<&'a [u8]>> {
    match u.arbitrary()? {
        true => Ok(Some(u.bytes(u.len())?)),
        false => Ok(None),
    }
}

fn show(value: &impl std::fmt::Debug) {
    black_box(format!("{value:?}"));
}

/// Plays a message of this codec; messages are compared by their bytes.
fn drive<C: Codec>(bytes: &[u8], wrap: impl FnOnce(Order) -> C, access: impl Fn(&[u8])) {
    // an input that ends early is no failure
    let _ = play(&mut Unstructured::new(bytes), wrap, access);
}

fn play<C: Codec>(
    u: &mut Unstructured<'_>,
    wrap: impl FnOnce(Order) -> C,
    access: impl Fn(&[u8]),
) -> Result<()> {
    if let Some(bytes) = foreign(u)? {
        access(bytes);
        if let Ok(message) = C::decode(bytes) {
            assert_comes_back(&message);
        }
        return Ok(());
    }
    let flips: [(u16, u8); 4] = u.arbitrary()?;
    let mut bytes = assert_comes_back(&wrap(u.arbitrary()?));
    access(&bytes);
    for end in [bytes.len() / 2, bytes.len() - 1] {
        access(&bytes[..end]);
        let _ = C::decode(&bytes[..end]);
    }
    for (at, bits) in flips {
        let at = usize::from(at) % bytes.len();
        bytes[at] ^= bits;
        access(&bytes);
        let _ = C::decode(&bytes).map(|message| message.encode());
    }
    Ok(())
}

/// Asserts that an encoded message decodes to one that encodes to the same bytes, by every way of encoding.
/// Returns the bytes.
fn assert_comes_back<C: Codec>(message: &C) -> Vec<u8> {
    let bytes = message.encode().expect("it can be encoded");
    let again = C::decode(&bytes).expect("what was encoded is decoded");
    assert_eq!(again.encode().expect("so can its copy"), bytes);
    let mut appended = vec![7];
    message.encode_append(&mut appended).expect("at the end");
    assert_eq!((appended[0], &appended[1..]), (7, &bytes[..]));
    let mut place = vec![0; bytes.len()];
    let used = message.encode_into(&mut place).expect("in place");
    assert_eq!((used, &place), (Some(bytes.len()), &bytes));
    if let Some((_, short)) = place.split_first_mut() {
        assert_eq!(message.encode_into(short).expect("no error"), None);
    }
    bytes
}

/// The order as a table: two numbers, a string, bytes, and a table with the note.
fn build(order: Order) -> FlatBuffer<AnyTable<'static>> {
    let mut builder = FlatBufferBuilder::new();
    let symbol = builder.create_string(&order.symbol);
    let bytes = builder.create_vector(&order.bytes);
    let note = order.note.map(|note| builder.create_string(&note));
    let inner = builder.start_table();
    if let Some(note) = note {
        builder.push_slot_always(4, note);
    }
    let inner = builder.end_table(inner);
    let table = builder.start_table();
    builder.push_slot(4, order.id, 0);
    builder.push_slot(6, order.is_open, false);
    builder.push_slot_always(8, symbol);
    builder.push_slot_always(10, bytes);
    builder.push_slot_always(12, inner);
    let table = builder.end_table(table);
    FlatBuffer::finish(builder, WIPOffset::new(table.value()))
}

/// Reads every field as every type that it might have.
fn read(table: AnyTable<'_>, levels: usize) {
    for field in 0..FIELDS {
        let _ = table.get::<u64>(field).map(black_box);
        let _ = table.get::<bool>(field).map(black_box);
        if let Ok(Some(text)) = table.get::<ForwardsUOffset<&str>>(field) {
            show(&text);
        }
        if let Ok(Some(bytes)) = table.get::<ForwardsUOffset<Vector<'_, u8>>>(field) {
            show(
                &bytes
                    .bytes()
                    .iter()
                    .map(|byte| u64::from(*byte))
                    .sum::<u64>(),
            );
        }
        if let Ok(Some(texts)) =
            table.get::<ForwardsUOffset<Vector<'_, ForwardsUOffset<&str>>>>(field)
        {
            texts.iter().take(64).for_each(|text| show(&text.len()));
        }
        if levels > 0
            && let Ok(Some(inner)) = table.get::<ForwardsUOffset<AnyTable<'_>>>(field)
        {
            read(inner, levels - 1);
        }
    }
}
