//! Flatbuffers, read in place, with generated code or without.

use std::any::type_name;
use std::error::Error;
use std::fmt;
use std::marker::PhantomData;

use ::flatbuffers::{
    FlatBufferBuilder, Follow, InvalidFlatbuffer, Table, Verifiable, Verifier, VerifierOptions,
    WIPOffset, root_with_opts,
};

use super::{Codec, CodecError, MAX_DEPTH, ZeroCopyCodec, check_len};

const NAME: &str = "flatbuffers";

/// Verifying may read this many times the input's length, plus [`APPARENT_SLACK_BYTES`], because tables may
/// share strings and tables.
const APPARENT_FACTOR: usize = 64;

const APPARENT_SLACK_BYTES: usize = 1 << 20;

/// The position of a message's identifier, if it has one: after the root's offset.
const IDENTIFIER_AT: usize = 4;

const IDENTIFIER_LEN: usize = 4;

/// A flatbuffers message: a root table in bytes that this value owns, built here or received.
///
/// [`access`](ZeroCopyCodec::access) verifies the root and everything it refers to, and returns the table's
/// accessor for the received bytes. It allocates nothing, and neither does [`encode_into`](Codec::encode_into),
/// which copies the finished bytes. The bytes may lie at any address. Tables may be nested
/// [`MAX_DEPTH`](super::MAX_DEPTH) deep, there may be a million of them, and shared parts may make the message
/// appear 64 times its length plus 1 MiB. A message does not mark its own end, so trailing bytes are not
/// detected.
///
/// `R` names the root table, see [`FlatRoot`]. No generated code is needed: `FlatBuffer<AnyTable>` reads any
/// message by field numbers. To reuse one builder, publish `builder.finished_data()` as raw bytes, or get the
/// builder back with [`into_builder`](Self::into_builder).
///
/// # Examples
///
/// ```
/// # #[allow(warnings)]
/// # mod order { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/examples/flatbuffers_schema/order_generated.rs")); }
/// # use order::shop::{Order, OrderArgs};
/// # use myelon::codec::FlatRoot;
/// # impl FlatRoot for Order<'_> { type Root<'a> = Order<'a>; }
/// use myelon::codec::{Codec, FlatBuffer, ZeroCopyCodec};
/// use myelon::flatbuffers::FlatBufferBuilder;
///
/// let mut builder = FlatBufferBuilder::new();
/// let symbol = Some(builder.create_string("XAU"));
/// let order = Order::create(&mut builder, &OrderArgs { id: 7, symbol, ..Default::default() });
/// let message = FlatBuffer::<Order>::finish(builder, order);
/// assert_eq!((message.root()?.id(), message.bytes()), (7, &*message.encode()?));
///
/// let mut frame = [0; 128];
/// let used = message.encode_into(&mut frame)?.expect("it fits");
/// let order = FlatBuffer::<Order>::access(&frame[..used])?;
/// assert_eq!((order.id(), order.symbol()), (7, "XAU"));
/// let mut builder = message.into_builder(); // for the next message, which allocates nothing
/// # Ok::<(), myelon::CodecError>(())
/// ```
pub struct FlatBuffer<R> {
    bytes: Bytes,
    root: PhantomData<fn() -> R>,
}

enum Bytes {
    Built(FlatBufferBuilder<'static>),
    Received(Vec<u8>),
}

impl<R: FlatRoot> FlatBuffer<R> {
    /// The message whose root table is `root`. The root must be the last object made with `builder`, and the
    /// builder must not be finished.
    pub fn finish(
        mut builder: FlatBufferBuilder<'static>,
        root: WIPOffset<R::Root<'static>>,
    ) -> Self {
        const { check_identifier::<R>() };
        builder.finish(root, R::IDENTIFIER);
        Self::new(Bytes::Built(builder))
    }

    /// The root table, verified as [`access`](ZeroCopyCodec::access) does.
    ///
    /// # Errors
    ///
    /// The builder was given an object that is no such table.
    pub fn root(&self) -> Result<R::Root<'_>, CodecError> {
        Self::access(self.bytes())
    }
}

impl<R> FlatBuffer<R> {
    fn new(bytes: Bytes) -> Self {
        Self {
            bytes,
            root: PhantomData,
        }
    }

    /// The message's bytes.
    pub fn bytes(&self) -> &[u8] {
        match &self.bytes {
            Bytes::Built(builder) => builder.finished_data(),
            Bytes::Received(bytes) => bytes,
        }
    }

    /// An empty builder. If a builder made this message, its memory is reused.
    pub fn into_builder(self) -> FlatBufferBuilder<'static> {
        match self.bytes {
            Bytes::Built(mut builder) => {
                builder.reset();
                builder
            }
            Bytes::Received(_) => FlatBufferBuilder::new(),
        }
    }
}

impl<R> fmt::Debug for FlatBuffer<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FlatBuffer")
            .field("root", &type_name::<R>())
            .field("len", &self.bytes().len())
            .finish_non_exhaustive()
    }
}

impl<R: FlatRoot> Codec for FlatBuffer<R> {
    fn encode(&self) -> Result<Vec<u8>, CodecError> {
        check_len(NAME, self.bytes().len())?;
        Ok(self.bytes().to_vec())
    }

    fn encode_append(&self, out: &mut Vec<u8>) -> Result<(), CodecError> {
        check_len(NAME, self.bytes().len())?;
        out.extend_from_slice(self.bytes());
        Ok(())
    }

    fn encode_into(&self, out: &mut [u8]) -> Result<Option<usize>, CodecError> {
        let bytes = self.bytes();
        check_len(NAME, bytes.len())?;
        let Some(place) = out.get_mut(..bytes.len()) else {
            return Ok(None);
        };
        place.copy_from_slice(bytes);
        Ok(Some(bytes.len()))
    }

    /// Verifies the bytes and copies them as they are.
    fn decode(bytes: &[u8]) -> Result<Self, CodecError> {
        Self::access(bytes)?;
        Ok(Self::new(Bytes::Received(bytes.to_vec())))
    }
}

impl<R: FlatRoot> ZeroCopyCodec for FlatBuffer<R> {
    type Archived<'a> = R::Root<'a>;

    fn access(bytes: &[u8]) -> Result<R::Root<'_>, CodecError> {
        const { check_identifier::<R>() };
        check_len(NAME, bytes.len())?;
        if let Some(expected) = R::IDENTIFIER {
            let found = bytes.get(IDENTIFIER_AT..IDENTIFIER_AT + IDENTIFIER_LEN);
            if found != Some(expected.as_bytes()) {
                let found = found.unwrap_or_default().escape_ascii();
                return Err(decode_error::<R>(
                    bytes,
                    format!("its identifier is '{found}', expected '{expected}'"),
                ));
            }
        }
        root_with_opts::<R::Root<'_>>(&limits(bytes), bytes)
            .map_err(|e| refusal::<R>(bytes, None, &e))
    }
}

/// Names the table that is a message's root, for every lifetime of the bytes it is read from. A type that flatc
/// generates has one such lifetime.
///
/// # Examples
///
/// ```
/// # #[allow(warnings)]
/// # mod order { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/examples/flatbuffers_schema/order_generated.rs")); }
/// use myelon::codec::{Codec, FlatBuffer, FlatRoot};
/// use order::shop::{ORDER_IDENTIFIER, Order};
///
/// impl FlatRoot for Order<'_> {
///     type Root<'a> = Order<'a>;
///     const IDENTIFIER: Option<&'static str> = Some(ORDER_IDENTIFIER);
/// }
///
/// let error = FlatBuffer::<Order>::decode(b"\x08\0\0\0DUCK").unwrap_err();
/// assert!(error.to_string().contains("its identifier is 'DUCK', expected 'ORDR'"));
/// ```
pub trait FlatRoot {
    /// The root table in bytes that live for `'a`.
    type Root<'a>: Follow<'a, Inner = Self::Root<'a>> + Verifiable + 'a;

    /// The four letters of the schema's `file_identifier`, if it has one. [`FlatBuffer::finish`] writes it, and
    /// received messages must have it.
    const IDENTIFIER: Option<&'static str> = None;
}

/// A table of any kind, read by the numbers of its fields. The first field of a schema's table is number 0, and
/// a union takes two numbers.
///
/// The table itself was verified; each field is verified when it is read. `T` is `bool`, a number, a
/// byte-slice-like [`Vector`](::flatbuffers::Vector), a string or table behind a
/// [`ForwardsUOffset`](::flatbuffers::ForwardsUOffset), or any other type that the crate `flatbuffers` can
/// verify.
///
/// # Examples
///
/// ```
/// use myelon::codec::{AnyTable, Codec, FlatBuffer, ZeroCopyCodec};
/// use myelon::flatbuffers::{FlatBufferBuilder, ForwardsUOffset, WIPOffset};
///
/// // 4, 6, 8: fields 0, 1, 2
/// let mut builder = FlatBufferBuilder::new();
/// let symbol = builder.create_string("XAU");
/// let table = builder.start_table();
/// builder.push_slot(4, 7_u64, 0);
/// builder.push_slot_always(6, symbol);
/// let table = builder.end_table(table);
/// let bytes = FlatBuffer::<AnyTable>::finish(builder, WIPOffset::new(table.value())).encode()?;
///
/// let order = FlatBuffer::<AnyTable>::access(&bytes)?;
/// assert_eq!(order.get::<u64>(0)?, Some(7));
/// assert_eq!(order.get::<ForwardsUOffset<&str>>(1)?, Some("XAU"));
/// assert_eq!(order.get::<u32>(2)?.unwrap_or(1), 1);
/// # Ok::<(), myelon::CodecError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AnyTable<'a>(Table<'a>);

impl<'a> AnyTable<'a> {
    /// The value of a field, or `None` if the message does not have the field and the schema's default applies.
    ///
    /// # Errors
    ///
    /// The field's bytes are no `T`.
    ///
    /// # Examples
    ///
    /// ```
    /// use myelon::codec::{AnyTable, FlatBuffer, ZeroCopyCodec};
    /// use myelon::flatbuffers::FlatBufferBuilder;
    ///
    /// let mut builder = FlatBufferBuilder::new();
    /// let start = builder.start_table();
    /// builder.push_slot_always::<u64>(4, 7);
    /// let table = builder.end_table(start);
    /// builder.finish_minimal(table);
    /// let table = FlatBuffer::<AnyTable>::access(builder.finished_data())?;
    /// assert_eq!(table.get::<u64>(0)?, Some(7), "slot 4 is that of the field 0");
    /// assert_eq!(table.get::<u64>(1)?, None);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn get<T: Follow<'a> + Verifiable + 'a>(
        &self,
        field: u16,
    ) -> Result<Option<T::Inner>, CodecError> {
        let bytes = self.0.buf();
        let Some(slot) = field.checked_mul(2).and_then(|n| n.checked_add(4)) else {
            return Ok(None);
        };
        Verifier::new(&limits(bytes), bytes)
            .visit_table(self.0.loc())
            .and_then(|table| table.visit_field::<T>("", slot, false).map(drop))
            .map_err(|e| refusal::<T>(bytes, Some(field), &e))?;
        // SAFETY: the statement above verified that this is a table, and that the field, if it is present,
        // holds a `T`.
        Ok(unsafe { self.0.get::<T>(slot, None) })
    }
}

impl<'a> Follow<'a> for AnyTable<'a> {
    type Inner = Self;

    unsafe fn follow(buf: &'a [u8], loc: usize) -> Self {
        // SAFETY: the caller promises that a table was verified at this position.
        Self(unsafe { Table::new(buf, loc) })
    }
}

impl Verifiable for AnyTable<'_> {
    fn run_verifier(verifier: &mut Verifier<'_, '_>, at: usize) -> Result<(), InvalidFlatbuffer> {
        verifier.visit_table(at)?.finish();
        Ok(())
    }
}

impl FlatRoot for AnyTable<'_> {
    type Root<'a> = AnyTable<'a>;
}

/// The limits for a message's depth and for the work of verifying it.
fn limits(bytes: &[u8]) -> VerifierOptions {
    VerifierOptions {
        max_depth: MAX_DEPTH,
        max_apparent_size: (bytes.len().saturating_mul(APPARENT_FACTOR))
            .saturating_add(APPARENT_SLACK_BYTES),
        ..VerifierOptions::default()
    }
}

/// Fails to compile if the identifier does not have the length that the format requires.
const fn check_identifier<R: FlatRoot>() {
    if let Some(identifier) = R::IDENTIFIER {
        assert!(
            identifier.len() == IDENTIFIER_LEN,
            "a file identifier has four letters"
        );
    }
}

/// The verifier's error in one line.
fn refusal<R>(bytes: &[u8], field: Option<u16>, error: &InvalidFlatbuffer) -> CodecError {
    if matches!(error, InvalidFlatbuffer::DepthLimitReached) {
        return CodecError::TooDeep {
            codec: NAME,
            message: type_name::<R>(),
            limit: MAX_DEPTH,
        };
    }
    let text = error.to_string();
    let lines = text.lines().map(|line| line.trim().trim_end_matches('.'));
    let place = field.map(|field| format!("field {field}"));
    let parts: Vec<&str> = place.as_deref().into_iter().chain(lines).collect();
    decode_error::<R>(bytes, parts.join(": "))
}

fn decode_error<R>(bytes: &[u8], source: impl Into<Box<dyn Error + Send + Sync>>) -> CodecError {
    CodecError::Decode {
        codec: NAME,
        message: type_name::<R>(),
        len: bytes.len(),
        source: source.into(),
    }
}
