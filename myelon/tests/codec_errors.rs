//! Each error says what was found, what was expected and what to do. Also codecs that a program implements
//! itself.

use myelon::codec::MAX_MESSAGE_BYTES;
use myelon::{Codec, CodecError};

#[test]
fn each_error_says_what_to_do() {
    let (codec, message) = ("bincode", "Order");
    let cases = [
        (
            CodecError::Encode {
                codec,
                message,
                source: "no length".into(),
            },
            "bincode cannot encode this Order: no length; change the type or choose another codec",
        ),
        (
            CodecError::Decode {
                codec,
                message,
                len: 9,
                source: "bad bool".into(),
            },
            "9 bytes are not a valid Order in bincode: bad bool; use the same type and codec on both sides",
        ),
        (
            CodecError::TrailingBytes {
                codec,
                message,
                consumed: 7,
                len: 9,
            },
            "Order in bincode took 7 of 9 bytes, expected all: use the same type and codec on both sides, and one message per call",
        ),
        (
            CodecError::TooLong {
                codec,
                len: MAX_MESSAGE_BYTES + 1,
                limit: MAX_MESSAGE_BYTES,
            },
            "a message of 1073741825 bytes is too long for bincode, which takes at most 1073741824: split it",
        ),
        (
            CodecError::TooDeep {
                codec,
                message,
                limit: 128,
            },
            "Order in bincode is nested more than 128 levels deep: use a flatter type, or check where the bytes come from",
        ),
        (
            CodecError::TooManyElements {
                codec,
                message,
                claimed: 1 << 60,
                allowed: 65_545,
                len: 9,
            },
            "Order in bincode claims 1152921504606846976 elements where 9 bytes allow for 65545 more: use the same type and codec on both sides",
        ),
        (
            CodecError::Misaligned {
                codec: "rkyv",
                message,
                needed: 16,
                found: 4,
            },
            "Order in rkyv is read in place at a multiple of 16 bytes, but these bytes begin 4 past one: receive into an AlignedFixedFrame, or decode, which copies",
        ),
        (
            CodecError::custom("a price is 8 bytes"),
            "a price is 8 bytes",
        ),
    ];
    for (error, text) in cases {
        assert_eq!(error.to_string(), text);
    }
}

/// Two methods make a codec; the others have default implementations.
#[test]
fn a_codec_of_one_s_own() {
    #[derive(Debug, PartialEq)]
    struct Flag(bool);

    impl Codec for Flag {
        fn encode(&self) -> Result<Vec<u8>, CodecError> {
            Ok(vec![u8::from(self.0)])
        }

        fn decode(bytes: &[u8]) -> Result<Self, CodecError> {
            match bytes {
                [0] => Ok(Self(false)),
                [1] => Ok(Self(true)),
                other => Err(CodecError::custom(format!("no flag: {other:?}"))),
            }
        }
    }

    let mut out = vec![7];
    Flag(true).encode_append(&mut out).unwrap();
    assert_eq!(out, [7, 1]);
    assert_eq!(Flag(true).encode_into(&mut out).unwrap(), Some(1));
    assert_eq!(out, [1, 1]);
    assert_eq!(Flag(true).encode_into(&mut []).unwrap(), None);
    assert_eq!(Flag::decode(&[0]).unwrap(), Flag(false));
    assert_eq!(Flag::decode(&[2]).unwrap_err().to_string(), "no flag: [2]");
}

/// A gibibyte of zeros that are never touched: an input that is too long is refused before it is read.
#[cfg(any(
    feature = "bincode",
    feature = "postcard",
    feature = "rkyv",
    feature = "flatbuffers"
))]
#[test]
fn too_long_is_refused_unread() {
    let zeros = vec![0_u8; MAX_MESSAGE_BYTES + 1];
    let check = |refused: Option<CodecError>| {
        let refused = refused.expect("refused");
        assert!(
            matches!(
                refused,
                CodecError::TooLong {
                    limit: MAX_MESSAGE_BYTES,
                    ..
                }
            ),
            "{refused}"
        );
    };
    #[cfg(feature = "bincode")]
    check(myelon::codec::Bincode::<u8>::decode(&zeros).err());
    #[cfg(feature = "postcard")]
    check(myelon::codec::Postcard::<u8>::decode(&zeros).err());
    #[cfg(feature = "rkyv")]
    check(myelon::codec::Rkyv::<u8>::decode(&zeros).err());
    #[cfg(feature = "flatbuffers")]
    check(myelon::codec::FlatBuffer::<myelon::codec::AnyTable<'_>>::decode(&zeros).err());
}
