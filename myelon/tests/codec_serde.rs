//! Bincode and postcard: the same tests for both.
#![cfg(any(feature = "bincode", feature = "postcard"))]

mod codec_shared;

/// The tests of one serde codec.
macro_rules! serde_codec {
    ($module:ident, $codec:ident, $feature:literal) => {
        #[cfg(feature = $feature)]
        mod $module {
            use std::collections::BTreeMap;

            use myelon::codec::{
                BorrowedForm, $codec, Codec, CodecError, MAX_DEPTH, MAX_EMPTY_ELEMENTS,
                ZeroCopyCodec,
            };
            use proptest::prelude::*;
            use serde::{Deserialize, Serialize};

            use crate::codec_shared::*;

            /// The bytes of a value of this length: the length, encoded like a number, followed by `rest`.
            fn prefixed(len: usize, rest: &[u8]) -> Vec<u8> {
                [&units(len), rest].concat()
            }

            /// A sequence of `count` units is only its length, encoded like a number.
            fn units(count: usize) -> Vec<u8> {
                $codec(count).encode().expect("encodes")
            }

            proptest! {
                #[test]
                fn round_trips(message in message()) {
                    encodes_alike($codec::of(&message));
                    let bytes = $codec::of(&message).encode().unwrap();
                    prop_assert_eq!($codec::<Message>::decode(&bytes).unwrap().into_inner(), message);
                }

                #[test]
                fn random_bytes_are_no_harm(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
                    sane::<$codec<Message>>(&bytes);
                    sane::<$codec<Vec<Vec<String>>>>(&bytes);
                    sane::<$codec<BTreeMap<u16, Option<Box<Body>>>>>(&bytes);
                    sane::<$codec<(char, bool, Option<u128>, Result<i64, String>)>>(&bytes);
                }
            }

            #[test]
            fn damage_is_no_harm() {
                let bytes = $codec(full_message()).encode().unwrap();
                damaged(&bytes, sane::<$codec<Message>>);
                for len in 0..bytes.len() {
                    let cut = $codec::<Message>::decode(&bytes[..len]);
                    assert!(cut.is_err(), "{len} of {} bytes decoded", bytes.len());
                }
            }

            #[test]
            fn trailing_bytes_are_refused() {
                let mut bytes = $codec(full_message()).encode().unwrap();
                bytes.extend([0, 0]);
                match $codec::<Message>::decode(&bytes).unwrap_err() {
                    CodecError::TrailingBytes { consumed, len, .. } => {
                        assert_eq!((consumed, len), (bytes.len() - 2, bytes.len()));
                    }
                    other => panic!("{other}"),
                }
                let bytes = prefixed(1, b"ab");
                let error = $codec::<Name>::access(&bytes).unwrap_err();
                assert!(
                    matches!(
                        error,
                        CodecError::TrailingBytes { consumed, len, .. }
                            if (consumed, len) == (bytes.len() - 1, bytes.len())
                    ),
                    "{error}"
                );
            }

            #[test]
            fn a_forged_length_is_refused() {
                let forged = units(1 << 60);
                for bytes in [forged.clone(), [&forged[..], &[0; 40]].concat()] {
                    assert!($codec::<Vec<u64>>::decode(&bytes).is_err());
                    assert!($codec::<Vec<()>>::decode(&bytes).is_err());
                    assert!($codec::<String>::decode(&bytes).is_err());
                    assert!($codec::<BTreeMap<u8, ()>>::decode(&bytes).is_err());
                    assert!($codec::<Vec<Vec<Vec<u8>>>>::decode(&bytes).is_err());
                }
            }

            /// Elements that take no bytes are counted over the whole message.
            #[test]
            fn empty_elements_are_limited() {
                assert_eq!(MAX_EMPTY_ELEMENTS, 65_536);
                let at_most = $codec(vec![(); MAX_EMPTY_ELEMENTS]).encode().unwrap();
                assert_eq!(at_most, units(MAX_EMPTY_ELEMENTS));
                let decoded = $codec::<Vec<()>>::decode(&at_most).unwrap();
                assert_eq!(decoded.0.len(), MAX_EMPTY_ELEMENTS);

                let half = units(MAX_EMPTY_ELEMENTS / 2 + 20);
                let twice = prefixed(2, &[&half[..], &half].concat());
                let error = $codec::<Vec<Vec<()>>>::decode(&twice).unwrap_err();
                assert!(
                    matches!(error, CodecError::TooManyElements { len, .. } if len == twice.len()),
                    "{error}"
                );
            }

            /// Elements that take bytes never reach that limit.
            #[test]
            fn a_long_message_is_within_the_limits() {
                let long = vec![vec![1_u8; 3]; MAX_EMPTY_ELEMENTS];
                let bytes = $codec::of(&long).encode().unwrap();
                assert_eq!($codec::<Vec<Vec<u8>>>::decode(&bytes).unwrap().0, long);
            }

            #[derive(Debug, PartialEq, Serialize, Deserialize)]
            struct Link(Option<Box<Link>>);

            #[test]
            fn depth_is_limited() {
                let deep = vec![1; 1 << 20];
                let error = $codec::<Link>::decode(&deep).unwrap_err();
                assert!(matches!(error, CodecError::TooDeep { limit: MAX_DEPTH, .. }), "{error}");

                // each step adds a newtype and an option
                let mut link = Link(None);
                for _ in 1..MAX_DEPTH / 2 {
                    link = Link(Some(Box::new(link)));
                }
                let bytes = $codec::of(&link).encode().unwrap();
                assert_eq!($codec::<Link>::decode(&bytes).unwrap().0, link);
                let deeper = $codec(Link(Some(Box::new(link)))).encode().unwrap();
                assert!($codec::<Link>::decode(&deeper).is_err());
            }

            #[derive(Serialize, Deserialize)]
            struct Name(String);

            impl BorrowedForm for Name {
                type Borrowed<'a> = &'a str;
            }

            #[derive(Serialize, Deserialize)]
            struct Quote {
                symbol: String,
                prices: Vec<f64>,
                raw: serde_bytes::ByteBuf,
            }

            #[derive(Deserialize)]
            struct QuoteRef<'a> {
                symbol: &'a str,
                prices: Vec<f64>,
                raw: &'a [u8],
            }

            impl BorrowedForm for Quote {
                type Borrowed<'a> = QuoteRef<'a>;
            }

            #[test]
            fn strings_and_bytes_are_read_in_place() {
                let quote = Quote {
                    symbol: "XAU".into(),
                    prices: vec![2.5],
                    raw: serde_bytes::ByteBuf::from(vec![1, 2, 3]),
                };
                let bytes = $codec::of(&quote).encode().unwrap();
                let read = $codec::<Quote>::access(&bytes).unwrap();
                assert_eq!((read.symbol, read.raw), ("XAU", &[1_u8, 2, 3][..]));
                assert_eq!(read.prices, [2.5]);
                let place = bytes.as_ptr_range();
                assert!(place.contains(&read.symbol.as_ptr()));
                assert!(place.contains(&read.raw.as_ptr()));
                assert!($codec::<Name>::access(&prefixed(9, b"short")).is_err());
                assert!($codec::<Name>::access(&prefixed(2, b"\xFF\xFF")).is_err());
            }

            /// A message that cannot be encoded leaves the earlier contents of the output unchanged.
            #[test]
            fn an_error_of_the_message_is_passed_on() {
                struct Unwilling;

                impl Serialize for Unwilling {
                    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
                        use serde::ser::{Error, SerializeTuple};
                        let mut tuple = to.serialize_tuple(2)?;
                        tuple.serialize_element(&1_u8)?;
                        Err(S::Error::custom("not today"))
                    }
                }

                impl<'de> Deserialize<'de> for Unwilling {
                    fn deserialize<D: serde::Deserializer<'de>>(_: D) -> Result<Self, D::Error> {
                        Err(serde::de::Error::custom("never"))
                    }
                }

                let mut out = vec![5];
                let error = $codec(Unwilling).encode_append(&mut out).unwrap_err();
                assert!(matches!(error, CodecError::Encode { codec: $feature, .. }), "{error}");
                assert_eq!(out, [5]);
                assert!($codec(Unwilling).encode_into(&mut [0; 9]).is_err());
                assert!($codec(Unwilling).encode().is_err());
                let error = $codec::<Unwilling>::decode(&[]).err().expect("an error");
                assert!(matches!(error, CodecError::Decode { codec: $feature, len: 0, .. }));
            }
        }
    };
}

serde_codec!(bincode_codec, Bincode, "bincode");
serde_codec!(postcard_codec, Postcard, "postcard");
