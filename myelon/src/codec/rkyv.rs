//! Rkyv archives, read in place.

use std::alloc::Layout;
use std::any::type_name;
use std::cell::Cell;
use std::ops::Range;

use ::rkyv::api::{access_with_context, deserialize_using, serialize_using};
use ::rkyv::bytecheck::CheckBytes;
use ::rkyv::de::Pool;
use ::rkyv::rancor::{Error, Source, Strategy};
use ::rkyv::ser::{Positional, Serializer, Writer, allocator::ArenaHandle, sharing::Share};
use ::rkyv::util::{AlignedVec, with_arena};
use ::rkyv::validation::{
    ArchiveContext, Validator, archive::ArchiveValidator, shared::SharedValidator,
};
use ::rkyv::{Archive, Deserialize, Serialize};
use ref_cast::RefCast;

use super::{Codec, CodecError, MAX_DEPTH, ZeroCopyCodec, check_len};

const NAME: &str = "rkyv";

/// The alignment that an `AlignedFixedFrame` gives its payload, and that rkyv's own buffers have, in bytes.
const FRAME_ALIGNMENT: usize = 16;

/// The alignment of a copy of misaligned bytes, in bytes: enough for types aligned to a pair of cache lines.
const COPY_ALIGNMENT: usize = 128;

type Checker<'a> = Strategy<Validator<Bounds<'a>, SharedValidator>, Error>;
type Encoder<'o, 'a> = Strategy<Serializer<Out<'o>, ArenaHandle<'a>, Share>, Error>;

/// An archive of rkyv 0.8: the whole message is read in place, without decoding.
///
/// [`access`](ZeroCopyCodec::access) checks everything that the message refers to and returns `&T::Archived`.
/// It allocates nothing unless the message has shared pointers. The check takes time for each value that needs
/// checking (strings, enums, references). In optimised builds it takes none for the elements of a `Vec<u8>` or
/// of other plain numbers: 64 MiB take as long as 1 KiB, about 100 ns. In debug builds it visits each element,
/// including those that a `Vec<()>` only claims to have. References may be nested
/// [`MAX_DEPTH`](super::MAX_DEPTH) deep. An archive has its root at the end, and bytes that nothing refers to
/// are not checked. So trailing garbage is noticed only if it makes the root wrong.
///
/// Archives must lie at an aligned address: a multiple of 16, unless they contain a type of greater alignment.
/// Receive into an `AlignedFixedFrame`, or call [`decode`](Codec::decode), which copies misaligned bytes. An
/// archive that contains only types of smaller alignment may lie at a multiple of less than 16.
///
/// [`encode_into`](Codec::encode_into) writes straight into its slice. Rkyv keeps the positions of nested
/// values in an arena of the thread, which is allocated once and grows to the largest message. A message with
/// shared pointers also takes a map.
///
/// # Examples
///
/// ```
/// use myelon::codec::{Codec, Rkyv, ZeroCopyCodec};
/// use myelon::rkyv::{self, Archive, Deserialize, Serialize, util::Align};
///
/// #[derive(Archive, Serialize, Deserialize)]
/// #[rkyv(crate = rkyv)]
/// struct Batch {
///     ids: Vec<u64>,
///     prompt: String,
/// }
///
/// let batch = Batch { ids: vec![4, 5, 6], prompt: "why is the sky blue".into() };
/// let mut frame = Align([0; 128]);
/// let used = Rkyv::of(&batch).encode_into(&mut frame[..])?.expect("it fits");
/// let archived = Rkyv::<Batch>::access(&frame[..used])?;
/// assert_eq!((archived.ids[2].to_native(), archived.prompt.as_str()), (6, "why is the sky blue"));
/// # Ok::<(), myelon::CodecError>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, RefCast)]
#[repr(transparent)]
pub struct Rkyv<T>(
    /// The message.
    pub T,
);

impl<T> Rkyv<T> {
    /// Views the message as an `Rkyv`, without moving it.
    pub fn of(message: &T) -> &Self {
        Self::ref_cast(message)
    }

    /// The wrapped message.
    ///
    /// # Examples
    ///
    /// ```
    /// use myelon::codec::Rkyv;
    ///
    /// assert_eq!(Rkyv(7_u64).into_inner(), 7);
    /// ```
    pub fn into_inner(self) -> T {
        self.0
    }
}

impl<T: Archive> Rkyv<T> {
    /// Reads the message in place, unchecked. Use it only with peers that are trusted with this process's
    /// memory.
    ///
    /// # Safety
    ///
    /// `bytes` are exactly the output of [`Codec::encode`] for a `T`, in a program with the same definition of
    /// `T`. They lie at a multiple of 16, or of the greatest alignment within `T::Archived` if that is more. No
    /// thread and no process writes to them while the result is in use.
    ///
    /// # Examples
    ///
    /// ```
    /// use myelon::codec::{Codec, Rkyv};
    /// use myelon::rkyv::util::Align;
    ///
    /// let mut frame = Align([0; 64]);
    /// let used = Rkyv(vec![1_u64, 2]).encode_into(&mut frame[..])?.expect("it fits");
    /// // SAFETY: these are the bytes of such a vector, at a multiple of 16, and the frame is ours.
    /// let archived = unsafe { Rkyv::<Vec<u64>>::access_unchecked(&frame[..used]) };
    /// assert_eq!(archived[1].to_native(), 2);
    /// # Ok::<(), myelon::CodecError>(())
    /// ```
    pub unsafe fn access_unchecked(bytes: &[u8]) -> &T::Archived {
        // SAFETY: the caller promises what rkyv requires: a valid, aligned archive that does not change.
        unsafe { ::rkyv::access_unchecked::<T::Archived>(bytes) }
    }
}

/// The bounds of a type that can be an [`Rkyv`] message: rkyv's three derives satisfy all of them.
///
/// # Examples
///
/// ```
/// use myelon::{Deadline, TypedProducer};
/// use myelon::codec::{Rkyv, RkyvMessage};
/// use myelon::transport::FramedTransportFrame;
///
/// /// Sends anything that rkyv's derives were put on.
/// fn archive<F: FramedTransportFrame>(tx: &mut TypedProducer<F>, message: &impl RkyvMessage) {
///     tx.send(Rkyv::of(message), 1, Deadline::NEVER).expect("sent");
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub trait RkyvMessage:
    Archive<
        Archived: 'static
                      + for<'a> CheckBytes<Checker<'a>>
                      + Deserialize<Self, Strategy<Pool, Error>>,
    > + for<'o, 'a> Serialize<Encoder<'o, 'a>>
    + Sized
{
}

impl<T> RkyvMessage for T where
    T: Archive<
            Archived: 'static
                          + for<'a> CheckBytes<Checker<'a>>
                          + Deserialize<T, Strategy<Pool, Error>>,
        > + for<'o, 'a> Serialize<Encoder<'o, 'a>>
{
}

impl<T: RkyvMessage> Codec for Rkyv<T> {
    fn encode(&self) -> Result<Vec<u8>, CodecError> {
        let mut out = Vec::new();
        self.encode_append(&mut out)?;
        Ok(out)
    }

    fn encode_append(&self, out: &mut Vec<u8>) -> Result<(), CodecError> {
        let start = out.len();
        let (_, result) = write(&self.0, Out::new(OutSpace::End(out)));
        let checked = result
            .map_err(encode_error::<T>)
            .and_then(|()| check_len(NAME, out.len() - start));
        if checked.is_err() {
            out.truncate(start);
        }
        checked
    }

    fn encode_into(&self, out: &mut [u8]) -> Result<Option<usize>, CodecError> {
        match write(&self.0, Out::new(OutSpace::Slice(out))) {
            (out, Ok(())) => check_len(NAME, out.used).map(|()| Some(out.used)),
            (out, Err(_)) if out.full => Ok(None),
            (_, Err(e)) => Err(encode_error::<T>(e)),
        }
    }

    fn decode(bytes: &[u8]) -> Result<Self, CodecError> {
        check_len(NAME, bytes.len())?;
        let in_place = check::<T>(bytes);
        if in_place.is_err() && past(bytes, COPY_ALIGNMENT) != 0 {
            let copy = aligned_copy(bytes);
            return read(bytes, check::<T>(&copy)?);
        }
        read(bytes, in_place?)
    }
}

impl<T: RkyvMessage> ZeroCopyCodec for Rkyv<T> {
    type Archived<'a> = &'a T::Archived;

    fn access(bytes: &[u8]) -> Result<&T::Archived, CodecError> {
        check_len(NAME, bytes.len())?;
        check::<T>(bytes).map_err(|e| refusal::<T>(bytes, e))
    }
}

/// Checks the archive and everything it refers to.
fn check<T: RkyvMessage>(bytes: &[u8]) -> Result<&T::Archived, CodecError> {
    let too_deep = Cell::new(false);
    let bounds = Bounds {
        bytes: ArchiveValidator::new(bytes),
        // the root counts as a level
        levels_left: MAX_DEPTH + 1,
        too_deep: &too_deep,
    };
    let mut validator = Validator::new(bounds, SharedValidator::new());
    access_with_context(bytes, &mut validator).map_err(|e| match too_deep.get() {
        false => decode_error::<T>(bytes, e),
        true => CodecError::TooDeep {
            codec: NAME,
            message: type_name::<T>(),
            limit: MAX_DEPTH,
        },
    })
}

fn read<T: RkyvMessage>(bytes: &[u8], archived: &T::Archived) -> Result<Rkyv<T>, CodecError> {
    let message = deserialize_using(archived, &mut Pool::new());
    message.map(Rkyv).map_err(|e| decode_error::<T>(bytes, e))
}

/// Why [`check`] failed: because of the bytes, or only because of their address. To tell which, an aligned copy
/// is checked.
fn refusal<T: RkyvMessage>(bytes: &[u8], in_place: CodecError) -> CodecError {
    if past(bytes, COPY_ALIGNMENT) == 0 {
        return in_place;
    }
    if let Err(of_bytes) = check::<T>(&aligned_copy(bytes)) {
        return of_bytes;
    }
    let needed = match past(bytes, FRAME_ALIGNMENT) {
        0 => COPY_ALIGNMENT,
        _ => FRAME_ALIGNMENT,
    };
    CodecError::Misaligned {
        codec: NAME,
        message: type_name::<T>(),
        needed,
        found: past(bytes, needed),
    }
}

/// How far past a multiple of `alignment` the bytes begin.
fn past(bytes: &[u8], alignment: usize) -> usize {
    bytes.as_ptr().addr() % alignment
}

fn aligned_copy(bytes: &[u8]) -> AlignedVec<COPY_ALIGNMENT> {
    let mut copy = AlignedVec::with_capacity(bytes.len());
    copy.extend_from_slice(bytes);
    copy
}

fn decode_error<T>(bytes: &[u8], source: Error) -> CodecError {
    CodecError::Decode {
        codec: NAME,
        message: type_name::<T>(),
        len: bytes.len(),
        source: source.into(),
    }
}

fn encode_error<T>(source: Error) -> CodecError {
    CodecError::Encode {
        codec: NAME,
        message: type_name::<T>(),
        source: source.into(),
    }
}

/// The archive's bounds, and how deep its references may still go. Rkyv has a limit of its own, but does not
/// report that it was reached.
#[derive(Debug)]
pub struct Bounds<'a> {
    bytes: ArchiveValidator<'a>,
    levels_left: usize,
    too_deep: &'a Cell<bool>,
}

// SAFETY: rkyv's own validator decides which bytes may be read, through the same calls; the levels only make
// this context refuse more.
unsafe impl ArchiveContext<Error> for Bounds<'_> {
    fn check_subtree_ptr(&mut self, at: *const u8, layout: &Layout) -> Result<(), Error> {
        self.bytes.check_subtree_ptr(at, layout)
    }

    unsafe fn push_subtree_range(
        &mut self,
        root: *const u8,
        end: *const u8,
    ) -> Result<Range<usize>, Error> {
        let Some(left) = self.levels_left.checked_sub(1) else {
            self.too_deep.set(true);
            return Err(Error::new(Refused::TooDeep));
        };
        self.levels_left = left;
        // SAFETY: the caller's promise is the same.
        unsafe { self.bytes.push_subtree_range(root, end) }
    }

    unsafe fn pop_subtree_range(&mut self, range: Range<usize>) -> Result<(), Error> {
        self.levels_left += 1;
        // SAFETY: the caller's promise is the same.
        unsafe { self.bytes.pop_subtree_range(range) }
    }
}

/// Writes the archive with the thread's arena, and returns the output, which records whether the slice was
/// full.
fn write<'a>(message: &impl RkyvMessage, out: Out<'a>) -> (Out<'a>, Result<(), Error>) {
    with_arena(|arena| {
        let mut serializer = Serializer::new(out, arena.acquire(), Share::new());
        let result = serialize_using(message, &mut serializer);
        (serializer.into_writer(), result.map(drop))
    })
}

/// The output of an archive. Positions count from the archive's own start, wherever that lies.
#[derive(Debug)]
pub struct Out<'a> {
    place: OutSpace<'a>,
    used: usize,
    full: bool,
}

#[derive(Debug)]
enum OutSpace<'a> {
    Slice(&'a mut [u8]),
    End(&'a mut Vec<u8>),
}

impl<'a> Out<'a> {
    fn new(place: OutSpace<'a>) -> Self {
        Self {
            place,
            used: 0,
            full: false,
        }
    }
}

impl Positional for Out<'_> {
    fn pos(&self) -> usize {
        self.used
    }
}

impl Writer<Error> for Out<'_> {
    fn write(&mut self, bytes: &[u8]) -> Result<(), Error> {
        match &mut self.place {
            OutSpace::End(out) => out.extend_from_slice(bytes),
            OutSpace::Slice(out) => match out[self.used..].get_mut(..bytes.len()) {
                Some(to) => to.copy_from_slice(bytes),
                None => {
                    self.full = true;
                    return Err(Error::new(Refused::Full));
                }
            },
        }
        self.used += bytes.len();
        Ok(())
    }
}

/// Why rkyv was stopped. The error does not leave this file, because the caller already knows the reason.
#[derive(Debug, thiserror::Error)]
enum Refused {
    #[error("the slice is full")]
    Full,
    #[error("too deep")]
    TooDeep,
}
