//! A message with every kind of value, random messages of that type, and the requirements that every codec must
//! meet for them.
#![allow(dead_code, reason = "each test file uses its part")]

use std::collections::BTreeMap;

use myelon::{Codec, CodecError};
use proptest::collection::{btree_map, vec};
use proptest::prelude::*;
use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(
    feature = "rkyv",
    derive(rkyv::Archive, rkyv::Serialize, rkyv::Deserialize),
    rkyv(
        serialize_bounds(
            __S: rkyv::ser::Writer + rkyv::ser::Allocator,
            __S::Error: rkyv::rancor::Source,
        ),
        deserialize_bounds(__D::Error: rkyv::rancor::Source),
        bytecheck(bounds(
            __C: rkyv::validation::ArchiveContext,
            __C::Error: rkyv::rancor::Source,
        )),
    )
)]
pub(crate) struct Message {
    pub(crate) id: u64,
    pub(crate) wide: u128,
    pub(crate) signed: i64,
    pub(crate) flag: bool,
    pub(crate) letter: char,
    pub(crate) name: Option<String>,
    pub(crate) bytes: Vec<u8>,
    pub(crate) prices: Vec<f64>,
    pub(crate) counts: BTreeMap<String, u32>,
    #[cfg_attr(feature = "rkyv", rkyv(omit_bounds))]
    pub(crate) body: Body,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(
    feature = "rkyv",
    derive(rkyv::Archive, rkyv::Serialize, rkyv::Deserialize),
    rkyv(
        serialize_bounds(
            __S: rkyv::ser::Writer + rkyv::ser::Allocator,
            __S::Error: rkyv::rancor::Source,
        ),
        deserialize_bounds(__D::Error: rkyv::rancor::Source),
        bytecheck(bounds(
            __C: rkyv::validation::ArchiveContext,
            __C::Error: rkyv::rancor::Source,
        )),
    )
)]
pub(crate) enum Body {
    #[default]
    Empty,
    Units(Vec<()>),
    Pair(i8, f32),
    Named {
        name: String,
        tags: Vec<String>,
    },
    Nested(#[cfg_attr(feature = "rkyv", rkyv(omit_bounds))] Box<Message>),
}

/// Any message, nested a few levels deep.
pub(crate) fn message() -> impl Strategy<Value = Message> {
    let flat = prop_oneof![
        Just(Body::Empty),
        (0..20_usize).prop_map(|n| Body::Units(vec![(); n])),
        any::<(i8, f32)>().prop_map(|(a, b)| Body::Pair(a, b)),
        (any::<String>(), vec(any::<String>(), 0..4))
            .prop_map(|(name, tags)| Body::Named { name, tags }),
    ];
    around(flat).prop_recursive(3, 16, 1, |inner| {
        around(inner.prop_map(|message| Body::Nested(Box::new(message))))
    })
}

fn around(body: impl Strategy<Value = Body>) -> impl Strategy<Value = Message> {
    let plain = any::<(u64, u128, i64, bool, char, Option<String>)>();
    let lists = (
        vec(any::<u8>(), 0..200),
        vec(any::<f64>(), 0..20),
        btree_map(any::<String>(), any::<u32>(), 0..6),
    );
    (plain, lists, body).prop_map(|(plain, lists, body)| {
        let (id, wide, signed, flag, letter, name) = plain;
        let (bytes, prices, counts) = lists;
        Message {
            id,
            wide,
            signed,
            flag,
            letter,
            name,
            bytes,
            prices,
            counts,
            body,
        }
    })
}

/// A message with a value in every field.
pub(crate) fn full_message() -> Message {
    let inner = Message {
        body: Body::Named {
            name: "inner".into(),
            tags: vec!["a longer tag than fits inline".into(), String::new()],
        },
        ..Message::default()
    };
    Message {
        id: 7,
        wide: u128::MAX - 1,
        signed: -3,
        flag: true,
        letter: 'é',
        name: Some("gold".into()),
        bytes: (0..100).collect(),
        prices: vec![1.5, -0.25],
        counts: [("one".into(), 1), ("two".into(), 2)].into(),
        body: Body::Nested(Box::new(inner)),
    }
}

/// Asserts that all ways of encoding give the same bytes, and that every output that is too short is refused.
pub(crate) fn encodes_alike<C: Codec>(message: &C) {
    let bytes = message.encode().expect("encodes");
    let mut appended = vec![9; 3];
    message.encode_append(&mut appended).expect("encodes");
    assert_eq!(
        appended,
        [&[9; 3], &bytes[..]].concat(),
        "what was there stays, the rest is the same"
    );
    let mut room = vec![0xAA; bytes.len() + 8];
    assert_eq!(
        message.encode_into(&mut room).expect("encodes"),
        Some(bytes.len())
    );
    assert_eq!(room, [&bytes[..], &[0xAA; 8]].concat());
    assert_eq!(
        message
            .encode_into(&mut room[..bytes.len()])
            .expect("exact"),
        Some(bytes.len())
    );
    if let Some(short) = bytes.len().checked_sub(1) {
        assert_eq!(
            message.encode_into(&mut room[..short]).expect("short"),
            None
        );
        assert_eq!(
            message.encode_into(&mut room[..short / 2]).expect("short"),
            None
        );
        assert_eq!(message.encode_into(&mut []).expect("none"), None);
    }
}

/// Calls `look` with every truncation of the bytes, every single flipped bit, and every byte replaced by an
/// extreme value.
pub(crate) fn damaged(bytes: &[u8], mut look: impl FnMut(&[u8])) {
    for len in 0..bytes.len() {
        look(&bytes[..len]);
    }
    let mut copy = bytes.to_vec();
    for at in 0..bytes.len() {
        let before = copy[at];
        for damage in (0..8).map(|bit| before ^ (1 << bit)).chain([0, 0xFF]) {
            copy[at] = damage;
            look(&copy);
        }
        copy[at] = before;
    }
}

/// Asserts that a message that can be decoded is encoded to bytes that represent the same message, and that
/// otherwise there is an error with a text.
pub(crate) fn sane<C: Codec>(bytes: &[u8]) {
    match C::decode(bytes) {
        Ok(message) => {
            let once = message.encode().expect("decoded, so it encodes");
            let again = C::decode(&once).expect("encoded, so it decodes");
            assert_eq!(again.encode().expect("again"), once);
        }
        Err(error) => assert!(!error.to_string().is_empty()),
    }
}

/// The text of the error.
pub(crate) fn text<T>(result: Result<T, CodecError>) -> String {
    result.err().expect("an error").to_string()
}
