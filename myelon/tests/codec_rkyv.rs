//! Rkyv archives: checked, and read in place or copied, at aligned and misaligned addresses.
#![cfg(feature = "rkyv")]

mod codec_shared;

use std::rc::Rc;

use codec_shared::*;
use myelon::codec::{Codec, CodecError, MAX_DEPTH, Rkyv, RkyvMessage, ZeroCopyCodec};
use proptest::prelude::*;
use rkyv::util::AlignedVec;

/// Calls `look` with the bytes at an address `past` a multiple of 128.
fn lying_at<R>(past: usize, bytes: &[u8], look: impl FnOnce(&[u8]) -> R) -> R {
    let mut place = AlignedVec::<128>::new();
    place.resize(past, 0);
    place.extend_from_slice(bytes);
    look(&place[past..])
}

proptest! {
    #[test]
    fn round_trips(message in message(), past in 0..16_usize) {
        encodes_alike(Rkyv::of(&message));
        let bytes = Rkyv::of(&message).encode().unwrap();
        lying_at(past, &bytes, |bytes| {
            assert_eq!(Rkyv::<Message>::decode(bytes).unwrap().into_inner(), message);
        });
        lying_at(16, &bytes, |bytes| {
            let archived = Rkyv::<Message>::access(bytes).unwrap();
            assert_eq!(archived.id.to_native(), message.id);
            assert_eq!(archived.bytes.as_slice(), message.bytes);
            assert_eq!(archived.name.as_ref().map(|name| name.as_str()), message.name.as_deref());
        });
    }

    #[test]
    fn random_bytes_are_no_harm(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        sane::<Rkyv<Message>>(&bytes);
        sane::<Rkyv<Vec<Vec<String>>>>(&bytes);
        sane::<Rkyv<Option<(char, bool, Rc<str>)>>>(&bytes);
        lying_at(0, &bytes, |bytes| drop(Rkyv::<Vec<Body>>::access(bytes)));
    }
}

#[test]
fn damage_is_no_harm() {
    let bytes = Rkyv(full_message()).encode().unwrap();
    damaged(&bytes, |bytes| {
        lying_at(0, bytes, sane::<Rkyv<Message>>);
        lying_at(0, bytes, |bytes| drop(Rkyv::<Message>::access(bytes)));
    });
}

/// An archive's length is in its last four bytes, next to the position of its elements.
#[test]
fn a_forged_length_is_refused() {
    fn refused<T: RkyvMessage>(message: T) {
        let sound = Rkyv(message).encode().unwrap();
        let (rest, len) = sound.split_last_chunk::<4>().expect("a length");
        let len = u32::from_le_bytes(*len);
        for forged in [len + 1, len + 1000, 1 << 20, i32::MAX as u32, u32::MAX] {
            let bytes = [rest, &forged.to_le_bytes()].concat();
            lying_at(0, &bytes, |bytes| {
                let error = Rkyv::<T>::access(bytes).map(drop).unwrap_err();
                assert!(matches!(error, CodecError::Decode { .. }), "{error}");
                assert!(Rkyv::<T>::decode(bytes).is_err());
            });
        }
    }
    refused(vec![1_u8; 40]);
    refused(vec![1_u64, 2, 3]);
    refused(vec![String::from("gold"), String::new()]);
    refused(vec![vec![1_u32], vec![2, 3]]);
}

/// The error distinguishes a wrong address from wrong bytes.
#[test]
fn misaligned_archives_are_named_as_such() {
    let bytes = Rkyv(full_message()).encode().unwrap();
    for past in 1..16 {
        lying_at(past, &bytes, |bytes| {
            let error = Rkyv::<Message>::access(bytes).map(drop).unwrap_err();
            match error {
                CodecError::Misaligned { needed, found, .. } => {
                    assert_eq!((needed, found), (16, past));
                }
                other => panic!("{other}"),
            }
            assert_eq!(Rkyv::<Message>::decode(bytes).unwrap().0, full_message());
        });
    }
    lying_at(3, &bytes[..bytes.len() - 2], |bytes| {
        let error = Rkyv::<Message>::access(bytes).map(drop).unwrap_err();
        assert!(matches!(error, CodecError::Decode { .. }), "{error}");
    });
}

/// A type that needs more alignment than a frame has can still be decoded.
#[test]
fn a_cache_line_s_alignment_is_copied_to() {
    #[derive(Clone, Copy, Debug, PartialEq, rkyv::Archive, rkyv::Serialize, rkyv::Deserialize)]
    #[rkyv(attr(repr(C, align(64))))]
    struct Line(u64);

    let bytes = Rkyv(Line(5)).encode().unwrap();
    lying_at(16, &bytes, |bytes| {
        let error = Rkyv::<Line>::access(bytes).map(drop).unwrap_err();
        assert!(
            matches!(
                error,
                CodecError::Misaligned {
                    needed: 128,
                    found: 16,
                    ..
                }
            ),
            "{error}"
        );
        assert_eq!(Rkyv::<Line>::decode(bytes).unwrap().0, Line(5));
    });
}

#[test]
fn depth_is_limited() {
    let decode = |depth: usize| {
        let mut message = Message::default();
        for _ in 0..depth {
            message = Message {
                body: Body::Nested(Box::new(message)),
                ..Message::default()
            };
        }
        let bytes = Rkyv(message).encode().unwrap();
        lying_at(0, &bytes, |bytes| Rkyv::<Message>::decode(bytes).map(drop))
    };
    // the innermost message refers to lists, which are one level more
    decode(MAX_DEPTH - 1).unwrap();
    for depth in [MAX_DEPTH, 3 * MAX_DEPTH] {
        let error = decode(depth).unwrap_err();
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
}

#[test]
fn shared_pointers_stay_shared() {
    let text: Rc<str> = "shared".into();
    let bytes = Rkyv((Rc::clone(&text), text)).encode().unwrap();
    let (a, b) = Rkyv::<(Rc<str>, Rc<str>)>::decode(&bytes)
        .unwrap()
        .into_inner();
    assert!(Rc::ptr_eq(&a, &b));
}

#[test]
fn unchecked_is_the_same_view() {
    let bytes = Rkyv(full_message()).encode().unwrap();
    lying_at(0, &bytes, |bytes| {
        let checked = Rkyv::<Message>::access(bytes).unwrap();
        // SAFETY: these are the bytes of such a message, they lie at a multiple of 128, and nothing else uses
        // them.
        let unchecked = unsafe { Rkyv::<Message>::access_unchecked(bytes) };
        assert!(std::ptr::eq(checked, unchecked));
    });
}
