//! What the code that `#[derive(Event)]` writes leans on. Not for people: it may change in any release, together with the
//! derive, which is pinned to the same version.
//!
//! The derive only lists the fields; everything that can be said about the list is worked out here, at compile time.

use core::fmt::{self, Write};

use super::{EVENT_ALIGN_MAX, Event, LayoutId};

/// The generated code reaches `core` through this, because in its crate the name may mean something else.
pub use ::core;

/// A struct whose fields the derive has listed, in the order of their declaration.
pub trait Struct: Sized {
    /// For messages. Not part of the id.
    const NAME: &'static str;
    /// All of them, none left out.
    const FIELDS: &'static [Field];
    /// `layout_id::<Self>()`. Here and not only in `Event`, so that it can be judged before the struct is known to be
    /// `Copy`: one complaint at a time. In the user's crate, so that the complaint points there.
    const ID: u64;
}

/// One field of a [`Struct`].
#[derive(Clone, Copy, Debug)]
pub struct Field {
    name: &'static str,
    id: u64,
    size: usize,
    offset: usize,
    describe: fn(&mut dyn Write) -> fmt::Result,
}

impl Field {
    /// A field of type `T`, at `offset` bytes from the start.
    #[must_use]
    pub const fn of<T: Event>(name: &'static str, offset: usize) -> Self {
        Self {
            name,
            id: T::LAYOUT_ID,
            size: size_of::<T>(),
            offset,
            describe: T::describe_layout,
        }
    }
}

/// The id of `S`; does not compile if `S` breaks a rule of layout.
///
/// `track_caller`, here and on what it calls: the error is to show the user's struct and not the way through this file.
#[must_use]
#[track_caller]
pub const fn layout_id<S: Struct>() -> u64 {
    require_layout(S::NAME, S::FIELDS, size_of::<S>(), align_of::<S>());
    struct_id(S::FIELDS, size_of::<S>(), align_of::<S>())
}

/// Writes `{ name: type @offset, … } size … align …`.
pub fn describe<S: Struct>(out: &mut dyn Write) -> fmt::Result {
    let mut separator = "{ ";
    for field in S::FIELDS {
        write!(out, "{separator}{}: ", field.name)?;
        (field.describe)(out)?;
        write!(out, " @{}", field.offset)?;
        separator = ", ";
    }
    write!(out, " }} size {} align {}", size_of::<S>(), align_of::<S>())
}

const fn struct_id(fields: &[Field], size: usize, align: usize) -> u64 {
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
const fn require_layout(name: &str, fields: &[Field], size: usize, align: usize) {
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
    let mut end = 0;
    let mut at = 0;
    while at < fields.len() {
        if fields[at].offset > end {
            padding(name, fields, at, fields[at].offset - end, size).panic();
        }
        end = fields[at].offset + fields[at].size;
        at += 1;
    }
    if size > end {
        padding(name, fields, fields.len(), size - end, size).panic();
    }
}

/// Names the first gap, which lies before the field `next`, and says how to close it.
const fn padding(name: &str, fields: &[Field], next: usize, gap: usize, size: usize) -> Message {
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

/// A text put together at compile time, because a panic there takes one finished `&str` and nothing else.
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

    const fn bytes_at(name: &'static str, offset: usize) -> Field {
        Field::of::<[u8; 4]>(name, offset)
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
