//! Support for the code that `#[derive(Event)]` writes. Not for direct use: it may change in any release,
//! together with the derive, which is pinned to the same version.
//!
//! The derive writes one list, `Event::__FIELDS`; everything that follows from the list is worked out here, at
//! compile time. `rfcs/0001-event-bound.md` says why a module of the user's own cannot stand in for this one.

use core::fmt::{self, Write};
use core::marker::PhantomData;

use super::{EVENT_ALIGN_MAX, Event, LayoutId};

/// The generated code reaches `core` through this, because in its crate the name may mean something else. No
/// proof rests on it.
pub use ::core;

/// One field of the struct `S`.
#[derive(Clone, Copy, Debug)]
pub struct Field<S> {
    name: &'static str,
    id: u64,
    size: usize,
    offset: usize,
    describe: fn(&mut dyn Write) -> fmt::Result,
    owner: PhantomData<fn(S)>,
}

impl<S> Field<S> {
    /// The field that `projection` selects, at `offset` bytes from the start.
    ///
    /// The compiler infers `T` from the projection, which is never called. The projection returns a tuple
    /// because nothing is coerced into one: `T` is the field's type, and no type that the field dereferences to.
    #[must_use]
    pub const fn of<T: Event>(
        projection: for<'a> fn(&'a S) -> (&'a T,),
        name: &'static str,
        offset: usize,
    ) -> Self {
        let _ = projection;
        Self {
            name,
            id: T::LAYOUT_ID,
            size: size_of::<T>(),
            offset,
            describe: T::describe_layout,
            owner: PhantomData,
        }
    }
}

impl<S: Event> Field<S> {
    /// The id of `S`, called `name` in messages; does not compile if `S` breaks a rule of layout.
    ///
    /// `track_caller`, here and on the functions that this one calls: the error is to show the user's struct
    /// and not the way through this file.
    #[must_use]
    #[track_caller]
    pub const fn layout_id(name: &str) -> u64 {
        require_layout(name, S::__FIELDS, size_of::<S>(), align_of::<S>());
        struct_id(S::__FIELDS, size_of::<S>(), align_of::<S>())
    }

    /// Reads the id. A function, so that a struct that is not `Copy` is reported only once.
    pub const fn judge() {
        let _ = S::LAYOUT_ID;
    }

    /// Writes `{ name: type @offset, … } size … align …`.
    ///
    /// # Errors
    ///
    /// Only those of `out`.
    pub fn describe_struct(out: &mut dyn Write) -> fmt::Result {
        let mut separator = "{ ";
        for field in S::__FIELDS {
            write!(out, "{separator}{}: ", field.name)?;
            (field.describe)(out)?;
            write!(out, " @{}", field.offset)?;
            separator = ", ";
        }
        write!(out, " }} size {} align {}", size_of::<S>(), align_of::<S>())
    }
}

const fn struct_id<S>(fields: &[Field<S>], size: usize, align: usize) -> u64 {
    let mut id = LayoutId::new("struct").number(fields.len() as u64);
    let mut at = 0;
    while at < fields.len() {
        let field = &fields[at];
        id = id
            .text(field.name)
            .number(field.id)
            .number(field.offset as u64)
            .number(field.size as u64);
        at += 1;
    }
    id.number(size as u64).number(align as u64).finish()
}

#[track_caller]
const fn require_layout<S>(name: &str, fields: &[Field<S>], size: usize, align: usize) {
    if fields.is_empty() {
        Message::new()
            .quoted(name)
            .text(" is not an event: the derive refused it, and this program's own `compile_error!` hid the reason")
            .panic();
    }
    if size == 0 {
        Message::new()
            .quoted(name)
            .text(" has no bytes, so there is nothing to publish: give it a field")
            .panic();
    }
    if align > EVENT_ALIGN_MAX {
        let message = Message::new()
            .quoted(name)
            .text(" is aligned to ")
            .number(align);
        message
            .text(" bytes; a ring can keep at most 4096: lower its `align(N)`")
            .panic();
    }
    require_order(name, fields);
    // `end` adds up sizes alone, so that this holds whatever is true of the offsets.
    let mut end = 0;
    let mut at = 0;
    while at < fields.len() {
        if fields[at].offset > end {
            padding(name, fields, at, fields[at].offset - end, size).panic();
        }
        end += fields[at].size;
        at += 1;
    }
    if size > end {
        padding(name, fields, fields.len(), size - end, size).panic();
    }
}

/// In `repr(C)` the first field is at the start, and each other one behind the one before it.
#[track_caller]
const fn require_order<S>(name: &str, fields: &[Field<S>]) {
    let mut end = 0;
    let mut at = 0;
    while at < fields.len() {
        if fields[at].offset < end || (at == 0 && fields[at].offset != 0) {
            Message::new()
                .quoted(name)
                .text(" does not keep its fields in the order of their declaration, see ")
                .quoted(fields[at].name)
                .text(": it needs `#[repr(C)]` where the compiler sees it, behind every attribute macro")
                .panic();
        }
        end = fields[at].offset + fields[at].size;
        at += 1;
    }
}

/// Names the first gap, which lies before the field `next`, and says how to close it.
const fn padding<S>(
    name: &str,
    fields: &[Field<S>],
    next: usize,
    gap: usize,
    size: usize,
) -> Message {
    let mut total = size;
    let mut at = 0;
    while at < fields.len() {
        total -= fields[at].size;
        at += 1;
    }
    let mut message = Message::new()
        .quoted(name)
        .text(" has ")
        .bytes(gap)
        .text(" of padding after the field ");
    message = message.quoted(fields[next - 1].name);
    if total != gap {
        message = message.text(" (").number(total).text(" in all)");
    }
    message = message.text(", which would reach other processes uninitialised: put a field there, such as `_pad: [u8; ");
    message
        .number(gap)
        .text("]`, or order the fields from the largest alignment to the smallest")
}

/// A text that is put together at compile time, because a panic there takes one finished `&str` and nothing else.
struct Message {
    text: [u8; Message::LEN_MAX],
    len: usize,
}

impl Message {
    const LEN_MAX: usize = 1024;

    const fn new() -> Self {
        Self {
            text: [0; Self::LEN_MAX],
            len: 0,
        }
    }

    /// Adds `text`, or nothing if there is no room: a cut name could end inside a character.
    const fn text(mut self, text: &str) -> Self {
        let bytes = text.as_bytes();
        if bytes.len() <= Self::LEN_MAX - self.len {
            let mut at = 0;
            while at < bytes.len() {
                self.text[self.len] = bytes[at];
                self.len += 1;
                at += 1;
            }
        }
        self
    }

    const fn quoted(self, name: &str) -> Self {
        self.text("`").text(name).text("`")
    }

    const fn bytes(self, count: usize) -> Self {
        self.number(count)
            .text(if count == 1 { " byte" } else { " bytes" })
    }

    const fn number(self, number: usize) -> Self {
        let rest = if number >= 10 {
            self.number(number / 10)
        } else {
            self
        };
        let digit = [b'0' + (number % 10) as u8];
        match core::str::from_utf8(&digit) {
            Ok(digit) => rest.text(digit),
            Err(_) => rest,
        }
    }

    const fn as_str(&self) -> &str {
        match core::str::from_utf8(self.text.split_at(self.len).0) {
            Ok(text) => text,
            Err(_) => "the event has padding, no bytes, or too large an alignment",
        }
    }

    #[track_caller]
    const fn panic(self) -> ! {
        panic!("{}", self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn bytes_at(name: &'static str, offset: usize) -> Field<[u8; 4]> {
        Field::of(|bytes: &[u8; 4]| (bytes,), name, offset)
    }

    #[test]
    fn dense_fields_pass() {
        require_layout("Dense", &[bytes_at("a", 0), bytes_at("b", 4)], 8, 4);
    }

    #[test]
    fn a_gap_in_the_middle_is_named_with_the_total() {
        let fields = [bytes_at("a", 0), bytes_at("b", 5)];
        let message = padding("Tick", &fields, 1, 1, 16);
        assert!(
            message
                .as_str()
                .starts_with("`Tick` has 1 byte of padding after the field `a` (8 in all), which")
        );
        assert!(message.as_str().contains("`_pad: [u8; 1]`"));
    }

    #[test]
    #[should_panic(expected = "`Tick` has 12 bytes of padding after the field `a`, which")]
    fn a_gap_at_the_end_is_refused() {
        require_layout("Tick", &[bytes_at("a", 0)], 16, 4);
    }

    #[test]
    #[should_panic(expected = "order of their declaration, see `b`")]
    fn a_field_before_the_one_declared_before_it_is_refused() {
        let fields = [bytes_at("a", 0), bytes_at("c", 8), bytes_at("b", 4)];
        require_layout("Tick", &fields, 12, 4);
    }

    #[test]
    #[should_panic(expected = "order of their declaration, see `a`")]
    fn a_first_field_that_is_not_at_the_start_is_refused() {
        require_layout("Tick", &[bytes_at("a", 4), bytes_at("b", 0)], 8, 4);
    }

    #[test]
    #[should_panic(expected = "`Tick` is not an event: the derive refused it")]
    fn a_list_of_no_fields_is_refused() {
        require_layout::<u64>("Tick", &[], 8, 8);
    }

    #[test]
    #[should_panic(expected = "`Page` is aligned to 8192 bytes")]
    fn alignment_over_a_page_is_refused() {
        require_layout("Page", &[bytes_at("a", 0)], 8192, 8192);
    }

    #[test]
    fn a_name_too_long_for_the_message_is_left_out_whole() {
        let name = "é".repeat(Message::LEN_MAX);
        assert_eq!(Message::new().text(&name).number(1203).as_str(), "1203");
    }
}
