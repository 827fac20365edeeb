//! What may live in a slot: the [`Event`] bound, its layout id, and the types that satisfy it out of the box.
//!
//! An event is written by one process and read by others, straight from shared bytes. Nobody serialises it, so nothing
//! checks it on the way: two programs that were built apart must agree on where each byte is, and every value that the
//! bytes can hold must be a value of the type. [`Event`] is that promise; the derive proves it field by field. The id
//! ([`Event::LAYOUT_ID`]) goes into the segment's header, and an attach that brings another one is refused with both
//! layouts in the text. Nothing here outlives a process, so nothing here cares who dies.

use core::fmt::{self, Write};
use core::marker::PhantomData;
use core::num::{Saturating, Wrapping};

#[doc(hidden)]
pub mod derived;

/// Largest alignment of an event, in bytes: a ring starts on a page, and nothing guarantees a larger alignment.
pub const EVENT_ALIGN_MAX: usize = 4096;

/// A type whose bytes other processes may read in place.
///
/// Derive it. The derive checks every obligation below, on the fields as they are compiled, and works out both the
/// layout id and its text:
///
/// ```
/// use disruptor_mp::Event;
///
/// #[derive(Clone, Copy, Default, Event)]
/// #[repr(C)]
/// struct Tick {
///     price: i64,
///     qty: u32,
///     venue: [u8; 4],
/// }
///
/// let layout = disruptor_mp::EventLayout::<Tick>::new().to_string();
/// assert_eq!(layout, "{ price: i64 @0, qty: u32 @8, venue: [u8; 4] @12 } size 16 align 8");
/// ```
///
/// Structs with named or numbered fields, generic structs and const-generic arrays are accepted, under `#[repr(C)]`
/// (with `align(N)` if you like) or `#[repr(transparent)]`. Integers of fixed width, floats, arrays, [`Wrapping`] and
/// [`Saturating`] are events already.
///
/// Padding is refused and not filled in: the error shows the gap, and you decide what goes there.
///
/// ```compile_fail
/// #[derive(Clone, Copy, disruptor_mp::Event)]
/// #[repr(C)]
/// struct Tick {
///     price: i64,
///     qty: u32, // error: `Tick` has 4 bytes of padding after the field `qty`
/// }
/// ```
///
/// The checks are made on the struct in the compiled program, behind every macro, and only this crate can
/// make them. They refuse an attribute macro below the derive that turns an integer into a reference, and so
/// they do `#[event(crate = path)]` with a module that is not this crate: the derive adds no way from
/// `#![forbid(unsafe_code)]` to undefined behaviour.
///
/// ```compile_fail
/// mod rings {
///     pub use disruptor_mp::Event;
///     pub mod __event {
///         pub use core;
///         pub struct Field<S>(S); // checks nothing, and counts for nothing
///     }
/// }
///
/// #[derive(Clone, Copy, disruptor_mp::Event)] // error: expected `disruptor_mp::__event::Field<Call>`
/// #[repr(C)]
/// #[event(crate = rings)]
/// struct Call {
///     code: Option<fn() -> u64>,
/// }
/// ```
///
/// # Options of the derive
///
/// * `#[event(packed_slots)]` sets [`PACKED_SLOTS`](Event::PACKED_SLOTS).
/// * `#[event(crate = path::to::crate)]` names the crate that provides `Event`. Without it the derive searches the
///   `Cargo.toml` of the crate at hand for `disruptor-mp`, then for `myelon`, renamed or not. So the option is for a
///   macro that expands into crates which depend on neither, and for a crate that has `myelon` among its dependencies
///   and `disruptor-mp` only among those for tests.
///
/// # Safety
///
/// An implementation by hand promises, for every value and every build of every program that uses the type:
///
/// * **Fixed layout.** Size, alignment and the place of each byte follow from the source alone (`repr(C)`,
///   `repr(transparent)` or a scalar), so that another build agrees. Hence no `usize`, no `isize`, no `repr(Rust)`.
/// * **No padding.** Every byte of a value is initialised.
/// * **Every bit pattern is valid.** Any bytes of the right length, at the right alignment, are a value. That rules out
///   `bool`, `char`, `NonZero`, `Option`, and enums unless they use up every value of their integer.
/// * **Nothing that means something in one process only:** no references, pointers, function pointers or handles.
/// * **No interior mutability, no drop glue.** Readers hold shared references to a slot and never run a destructor.
/// * **Not zero-sized, and aligned to at most [`EVENT_ALIGN_MAX`] bytes.**
/// * [`LAYOUT_ID`](Event::LAYOUT_ID) differs whenever the layout or the meaning of the bytes does.
///
/// The size, the alignment and the id are checked at compile time when a ring of the type is built;
/// everything else is the implementation's duty. A generic type computes its id from the ids of its
/// parameters. Unsafe code that relies on `E: Event` without a ring must read `E::LAYOUT_ID` in a `const`
/// block: only that read finds padding in a generic struct with a derive.
///
/// ```
/// use core::fmt::{self, Write};
/// use disruptor_mp::{Event, LayoutId};
///
/// /// A direction in the two lowest bits of a byte; the other bits are ignored.
/// #[derive(Clone, Copy)]
/// #[repr(transparent)]
/// struct Direction(u8);
///
/// // SAFETY: one `u8` and nothing else: fixed layout, no padding, all 256 values are meaningful, no pointers.
/// unsafe impl Event for Direction {
///     const LAYOUT_ID: u64 = LayoutId::new("direction").number(u8::LAYOUT_ID).finish();
///
///     fn describe_layout(out: &mut dyn Write) -> fmt::Result {
///         out.write_str("direction in u8")
///     }
/// }
/// assert_ne!(Direction::LAYOUT_ID, u8::LAYOUT_ID);
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not an `Event`: other processes could not read it from its bytes alone",
    label = "not an `Event`",
    note = "a struct of your own becomes one by `#[derive(Clone, Copy, Event)]` together with `#[repr(C)]`; a type parameter by the bound `: Event`",
    note = "in its fields use `u8` for `bool`, `u32` for `char`, `u64` or `u32` for `usize`, the integer for an enum, `[u8; N]` for text, and a number that names the thing for a reference or a pointer"
)]
pub unsafe trait Event: Copy + Send + Sync + 'static {
    /// Stands for the layout in the segment's header: a hash of names, ids, offsets and sizes of the fields,
    /// of the size and of the alignment. The name of the struct is not part of it, so a type may be renamed
    /// or moved between crates.
    ///
    /// ```
    /// # use disruptor_mp::Event;
    /// #[derive(Clone, Copy, Event)]
    /// #[repr(C)]
    /// struct Bid { price: i64 }
    /// #[derive(Clone, Copy, Event)]
    /// #[repr(C)]
    /// struct Quote { price: i64 }
    /// #[derive(Clone, Copy, Event)]
    /// #[repr(C)]
    /// struct Volume { qty: i64 }
    ///
    /// assert_eq!(Bid::LAYOUT_ID, Quote::LAYOUT_ID);
    /// assert_ne!(Bid::LAYOUT_ID, Volume::LAYOUT_ID);
    /// ```
    const LAYOUT_ID: u64;

    /// Whether slots lie densely, several to a cache line, instead of each on lines of its own. This pays for
    /// tiny events that are published in batches. The derive sets it for `#[event(packed_slots)]`.
    const PACKED_SLOTS: bool = false;

    /// How many bytes at the start of an event are read before the rest, for instance a length. In slots
    /// whose event starts on a cache line of its own (from 249 bytes on), these bytes lie in the line of the
    /// readiness word instead, if there is room, and the bytes after them start the next line. Must be the
    /// same on both sides, as the layout id must.
    const HEAD_BYTES: usize = 0;

    /// The list that the derive writes. An implementation by hand has none; its author has promised the rest.
    #[doc(hidden)]
    const __FIELDS: &'static [derived::Field<Self>] = &[];

    /// Writes the layout for people, as it appears in the error for an attach with another layout:
    /// `{ price: i64 @0, qty: u32 @8, venue: [u8; 4] @12 } size 16 align 8`.
    ///
    /// # Errors
    ///
    /// Only those of `out`.
    fn describe_layout(out: &mut dyn Write) -> fmt::Result;
}

/// Refuses at compile time an event that no ring can hold. Call it in a `const` block wherever an `E` enters.
///
/// It also reads the layout id, because only that read triggers the checks of a generic event.
pub(crate) const fn require_event<E: Event>() {
    assert!(
        size_of::<E>() != 0,
        "an event of no bytes cannot be published: give it a field"
    );
    assert!(
        align_of::<E>() <= EVENT_ALIGN_MAX,
        "the event's alignment is over 4096 bytes, the most that a ring can keep: lower its `align(N)`"
    );
    assert!(
        E::LAYOUT_ID != 0,
        "a layout id of 0 stands for none: make it with `LayoutId`"
    );
}

/// Builds a layout id at compile time, for an [`Event`] that is implemented by hand.
///
/// FNV-1a over 64 bits. The start value carries a version of the scheme, each text carries its length, and
/// the result is never 0.
///
/// ```
/// use disruptor_mp::LayoutId;
///
/// const ID: u64 = LayoutId::new("fixed-point").text("i64").number(8).finish();
/// assert_ne!(ID, LayoutId::new("fixed-point").text("i64").number(9).finish());
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub struct LayoutId(u64);

impl LayoutId {
    const OFFSET_BASIS: u64 = 0xcbf2_9ce4_8422_2325;
    const PRIME: u64 = 0x0000_0100_0000_01b3;
    /// Changes when the recipe does, so that ids of two recipes differ.
    const SCHEME: &str = "disruptor-mp event layout 1";

    /// Starts an id for a `kind` of layout: any word that distinguishes it from the others.
    pub const fn new(kind: &str) -> Self {
        Self(Self::OFFSET_BASIS).text(Self::SCHEME).text(kind)
    }

    /// Adds a text, with its length.
    pub const fn text(self, text: &str) -> Self {
        self.number(text.len() as u64).bytes(text.as_bytes())
    }

    /// Adds a number, for instance a size or the id of a part.
    pub const fn number(self, number: u64) -> Self {
        self.bytes(&number.to_le_bytes())
    }

    /// The id.
    #[must_use]
    pub const fn finish(self) -> u64 {
        if self.0 == 0 {
            Self::OFFSET_BASIS
        } else {
            self.0
        }
    }

    const fn bytes(mut self, bytes: &[u8]) -> Self {
        let mut at = 0;
        while at < bytes.len() {
            self.0 = (self.0 ^ bytes[at] as u64).wrapping_mul(Self::PRIME);
            at += 1;
        }
        self
    }
}

/// Shows the layout of `E`, for errors and logs.
///
/// ```
/// assert_eq!(disruptor_mp::EventLayout::<[u32; 3]>::new().to_string(), "[u32; 3]");
/// ```
pub struct EventLayout<E>(PhantomData<fn() -> E>);

impl<E: Event> EventLayout<E> {
    /// The layout of `E`, to be formatted.
    #[must_use]
    pub const fn new() -> Self {
        Self(PhantomData)
    }
}

impl<E: Event> Default for EventLayout<E> {
    fn default() -> Self {
        Self::new()
    }
}

impl<E: Event> fmt::Display for EventLayout<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        E::describe_layout(f)
    }
}

impl<E: Event> fmt::Debug for EventLayout<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        E::describe_layout(f)
    }
}

macro_rules! scalar_events {
    ($($scalar:ident)*) => {$(
        // SAFETY: a scalar of fixed width: its layout is the platform's and part of the id, it has no padding, and all
        // of its bit patterns are values. It points nowhere, hides no cell and needs no drop.
        unsafe impl Event for $scalar {
            const LAYOUT_ID: u64 = LayoutId::new("scalar")
                .text(stringify!($scalar))
                .number(size_of::<$scalar>() as u64)
                .number(align_of::<$scalar>() as u64)
                .finish();

            fn describe_layout(out: &mut dyn Write) -> fmt::Result {
                out.write_str(stringify!($scalar))
            }
        }
    )*};
}

// The 128-bit integers are included. Their alignment did change, but before the oldest compiler that builds this
// crate; and the alignment is part of the id, so that two programs which disagree get an error and do not misread.
scalar_events!(u8 u16 u32 u64 u128 i8 i16 i32 i64 i128 f32 f64);

// SAFETY: elements lie at multiples of their size, so a run of events has no padding that an element has not;
// what holds for the bytes of each element holds for those of all.
unsafe impl<T: Event, const N: usize> Event for [T; N] {
    const LAYOUT_ID: u64 = {
        require_elements(N);
        LayoutId::new("array")
            .number(T::LAYOUT_ID)
            .number(N as u64)
            .finish()
    };

    fn describe_layout(out: &mut dyn Write) -> fmt::Result {
        out.write_char('[')?;
        T::describe_layout(out)?;
        write!(out, "; {N}]")
    }
}

#[track_caller]
const fn require_elements(count: usize) {
    assert!(
        count != 0,
        "an array of no elements is not an event: leave the field out, or give the array a length"
    );
}

macro_rules! arithmetic_events {
    ($($wrapper:ident)*) => {$(
        // SAFETY: the wrapper is documented to have the layout of `T`, and its field is public, so any `T`
        // makes a valid value.
        unsafe impl<T: Event> Event for $wrapper<T> {
            /// The id of `T`: only the arithmetic differs, and the bytes mean the same.
            const LAYOUT_ID: u64 = T::LAYOUT_ID;

            fn describe_layout(out: &mut dyn Write) -> fmt::Result {
                T::describe_layout(out)
            }
        }
    )*};
}

arithmetic_events!(Wrapping Saturating);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_is_fnv_1a_over_64_bits() {
        // Published test vectors of the function.
        assert_eq!(
            LayoutId(LayoutId::OFFSET_BASIS).bytes(b"").0,
            0xcbf2_9ce4_8422_2325
        );
        assert_eq!(
            LayoutId(LayoutId::OFFSET_BASIS).bytes(b"a").0,
            0xaf63_dc4c_8601_ec8c
        );
        assert_eq!(
            LayoutId(LayoutId::OFFSET_BASIS).bytes(b"foobar").0,
            0x8594_4171_f739_67e8
        );
    }

    #[test]
    fn an_id_is_never_zero() {
        assert_ne!(LayoutId(0).finish(), 0);
    }

    #[test]
    fn texts_do_not_run_into_each_other() {
        assert_ne!(
            LayoutId::new("k").text("ab").text("c"),
            LayoutId::new("k").text("a").text("bc")
        );
    }

    #[test]
    fn what_a_ring_can_hold_passes() {
        const { require_event::<u8>() };
        const { require_event::<[f64; 512]>() };
    }
}
