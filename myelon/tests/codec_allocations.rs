//! Encoding into a frame and reading in place allocate nothing. Decoding allocates no more memory than the
//! input's length justifies.
#![cfg(any(
    feature = "bincode",
    feature = "postcard",
    feature = "rkyv",
    feature = "flatbuffers"
))]

mod codec_shared;
mod counting;

use counting::allocations_of;
use myelon::Codec;

/// A frame in which every test message fits, aligned as an archive requires.
#[repr(align(16))]
struct Frame([u8; 4096]);

impl Frame {
    const EMPTY: Self = Self([0; 4096]);
}

/// Encodes the message into a frame, which must allocate nothing, and returns the part that was used.
fn filled<'f>(message: &impl Codec, frame: &'f mut Frame) -> &'f [u8] {
    let mut used = None;
    let counted = allocations_of(|| used = message.encode_into(&mut frame.0).expect("encodes"));
    assert_eq!(counted.0, 0, "encode_into");
    &frame.0[..used.expect("it fits")]
}

/// The tests of one serde codec.
#[allow(unused_macros, reason = "without serde codecs")]
macro_rules! serde_codec {
    ($module:ident, $codec:ident, $feature:literal) => {
        #[cfg(feature = $feature)]
        mod $module {
            use std::collections::BTreeMap;

            use myelon::codec::{BorrowedForm, Codec, ZeroCopyCodec, $codec};
            use serde::{Deserialize, Serialize};

            use super::codec_shared::{Message, damaged, full_message};
            use super::{Frame, allocations_of, filled};

            #[derive(Serialize, Deserialize)]
            struct Quote {
                symbol: String,
                price: f64,
            }

            #[derive(Deserialize)]
            struct QuoteRef<'a> {
                symbol: &'a str,
                price: f64,
            }

            impl BorrowedForm for Quote {
                type Borrowed<'a> = QuoteRef<'a>;
            }

            #[test]
            fn a_message_that_fits_needs_no_heap() {
                let mut frame = Frame::EMPTY;
                filled($codec::of(&full_message()), &mut frame);
                let quote = Quote {
                    symbol: "XAU".into(),
                    price: 2.5,
                };
                let bytes = filled($codec::of(&quote), &mut frame);
                let counted = allocations_of(|| {
                    let quote = $codec::<Quote>::access(bytes).expect("encoded");
                    assert_eq!((quote.symbol, quote.price), ("XAU", 2.5));
                });
                assert_eq!(counted.0, 0, "access");
            }

            /// The largest single allocation of a decoding that fails, for lengths that the bytes only claim.
            fn largest_for<T: Serialize + serde::de::DeserializeOwned>(bytes: &[u8]) -> usize {
                allocations_of(|| assert!($codec::<T>::decode(bytes).is_err())).1
            }

            #[test]
            fn a_forged_length_sets_little_aside() {
                // the error's own text is an allocation as well
                const OF_THE_ERROR: usize = 512;
                for claimed in [1_u64 << 60, 1 << 40, 1 << 30, 1 << 20, 70_000] {
                    // a length is encoded like a number
                    let mut bytes = $codec(claimed).encode().unwrap();
                    bytes.extend([1; 50]);
                    let most = OF_THE_ERROR + bytes.len() * 8;
                    assert!(largest_for::<String>(&bytes) <= most, "String of {claimed}");
                    assert!(
                        largest_for::<Vec<u8>>(&bytes) <= most,
                        "Vec<u8> of {claimed}"
                    );
                    assert!(
                        largest_for::<Vec<u64>>(&bytes) <= most,
                        "Vec<u64> of {claimed}"
                    );
                    assert!(
                        largest_for::<Vec<Vec<()>>>(&bytes) <= 3 * most,
                        "lists of {claimed}"
                    );
                    assert!(
                        largest_for::<serde_bytes::ByteBuf>(&bytes) <= most,
                        "{claimed}"
                    );
                    assert!(
                        largest_for::<BTreeMap<u8, u8>>(&bytes) <= most,
                        "map of {claimed}"
                    );
                    let map = largest_for::<std::collections::HashMap<u64, u64>>(&bytes);
                    assert!(map <= 8 * most, "hash map of {claimed}: {map}");
                }
            }

            #[test]
            fn damage_sets_little_aside() {
                let bytes = $codec(full_message()).encode().unwrap();
                // at most one message in memory for each byte of input
                let most = bytes.len() * size_of::<Message>();
                damaged(&bytes, |bytes| {
                    let (_, largest) =
                        allocations_of(|| drop($codec::<Message>::decode(bytes).map(drop)));
                    assert!(largest <= most, "{largest} bytes for {}", bytes.len());
                });
            }
        }
    };
}

serde_codec!(bincode_codec, Bincode, "bincode");
serde_codec!(postcard_codec, Postcard, "postcard");

#[cfg(feature = "rkyv")]
mod rkyv_codec {
    use myelon::codec::{Codec, Rkyv, ZeroCopyCodec};
    use rkyv::util::AlignedVec;

    use super::codec_shared::{Message, damaged, full_message};
    use super::{Frame, allocations_of, filled};

    /// The first message allocates the thread's arena.
    #[test]
    fn a_message_that_fits_needs_no_heap() {
        let message = full_message();
        drop(Rkyv::of(&message).encode().unwrap());
        let mut frame = Frame::EMPTY;
        let bytes = filled(Rkyv::of(&message), &mut frame);
        let counted = allocations_of(|| {
            let archived = Rkyv::<Message>::access(bytes).expect("encoded");
            assert_eq!(archived.id.to_native(), message.id);
        });
        assert_eq!(counted.0, 0, "access");
    }

    #[test]
    fn damage_sets_little_aside() {
        let bytes = Rkyv(full_message()).encode().unwrap();
        damaged(&bytes, |bytes| {
            let mut aligned = AlignedVec::<128>::new();
            aligned.extend_from_slice(bytes);
            let (_, largest) = allocations_of(|| drop(Rkyv::<Message>::decode(&aligned).map(drop)));
            assert!(largest <= 4096, "{largest} bytes for {}", bytes.len());
        });
    }
}

#[cfg(feature = "flatbuffers")]
mod flatbuffers_codec {
    use flatbuffers::{FlatBufferBuilder, ForwardsUOffset, WIPOffset};
    use myelon::codec::{AnyTable, Codec, FlatBuffer, ZeroCopyCodec};

    use super::codec_shared::damaged;
    use super::{Frame, allocations_of, filled};

    fn message() -> FlatBuffer<AnyTable<'static>> {
        let mut builder = FlatBufferBuilder::new();
        let symbol = builder.create_string("XAU");
        let table = builder.start_table();
        builder.push_slot(4, 7_u64, 0);
        builder.push_slot_always(6, symbol);
        let table = WIPOffset::new(builder.end_table(table).value());
        FlatBuffer::finish(builder, table)
    }

    #[test]
    fn a_message_that_fits_needs_no_heap() {
        let mut frame = Frame::EMPTY;
        let message = message();
        let bytes = filled(&message, &mut frame);
        let counted = allocations_of(|| {
            let table = FlatBuffer::<AnyTable<'_>>::access(bytes).expect("built");
            assert_eq!(table.get::<u64>(0).expect("a number"), Some(7));
            let symbol = table.get::<ForwardsUOffset<&str>>(1).expect("a string");
            assert_eq!(symbol, Some("XAU"));
        });
        assert_eq!(counted.0, 0, "access");
    }

    /// If the input is refused, only the error's text is allocated.
    #[test]
    fn damage_sets_little_aside() {
        damaged(message().bytes(), |bytes| {
            let (_, largest) = allocations_of(|| {
                drop(FlatBuffer::<AnyTable<'_>>::decode(bytes));
                let table = FlatBuffer::<AnyTable<'_>>::access(bytes);
                drop(table.map(|table| table.get::<ForwardsUOffset<&str>>(1).map(drop)));
            });
            assert!(largest <= 4096, "{largest} bytes for {}", bytes.len());
        });
    }
}
