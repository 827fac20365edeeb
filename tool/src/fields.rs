//! An event's bytes in words, by the text in which its ring records the fields.
//!
//! ```text
//! demo::Tick { price: i64 @0, qty: u32 @8, venue: [u8; 4] @12 } size 16 align 8
//! ```
//!
//! Another process wrote that text, and it may be cut off: whatever cannot be read as a field is shown in hex.

use serde_json::{Map, Value, json};

use crate::text::printable;

/// Types in types are followed so far.
const DEPTH_MAX: usize = 16;
/// Elements of an array that are shown one by one.
const ELEMENTS_MAX: usize = 64;
/// Bytes of a frame's header; its payload follows, or begins at 16 if it is aligned.
const FRAME_HEADER: usize = 12;

/// What an event's bytes mean.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Layout {
    Type(Kind),
    /// A frame of a message: its payload begins here.
    Frame {
        payload_at: usize,
    },
    Unknown,
}

/// A type of bytes.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Kind {
    Scalar(Scalar),
    Array(Box<Kind>, usize),
    Struct {
        fields: Vec<Field>,
        size: usize,
        /// Whether the text was cut off before its end.
        is_cut: bool,
    },
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Field {
    name: String,
    kind: Kind,
    at: usize,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Scalar {
    class: u8,
    bytes: usize,
}

impl Layout {
    /// Reads a header's text. `size` is the event's.
    pub(crate) fn of(text: &str, size: usize) -> Self {
        for (frame, payload_at) in [
            ("{ FixedFrame with ", FRAME_HEADER),
            ("{ AlignedFixedFrame with ", 16),
        ] {
            if text.contains(frame) && size > payload_at {
                return Self::Frame { payload_at };
            }
        }
        // the type's name comes first, unless the whole text is a name
        let starts = [0]
            .into_iter()
            .chain(text.match_indices(' ').map(|(at, _)| at + 1));
        for start in starts {
            let mut input = Input {
                text: &text[start..],
                is_cut: false,
            };
            if let Some(kind) = input.kind(DEPTH_MAX)
                && input.text.is_empty()
                && kind.size().is_some_and(|bytes| bytes <= size)
            {
                return Self::Type(kind);
            }
        }
        Self::Unknown
    }

    /// The event as text. `bytes` may be shorter than the event.
    pub(crate) fn show(&self, bytes: &[u8]) -> String {
        match self {
            Self::Type(kind) => kind.show(bytes),
            Self::Frame { payload_at } => {
                let Some(frame) = Frame::of(bytes, *payload_at) else {
                    return hex(bytes);
                };
                format!(
                    "message {} kind {} {}, {} bytes to its end: {}",
                    frame.message,
                    frame.kind,
                    frame.part,
                    frame.length,
                    text_or_hex(frame.payload)
                )
            }
            Self::Unknown => hex(bytes),
        }
    }

    /// The same for programs.
    pub(crate) fn value(&self, bytes: &[u8]) -> Value {
        match self {
            Self::Type(kind) => kind.value(bytes),
            Self::Frame { payload_at } => match Frame::of(bytes, *payload_at) {
                Some(frame) => json!({
                    "message": frame.message,
                    "kind": frame.kind,
                    "part": frame.part,
                    "length": frame.length,
                    "payload": hex(frame.payload),
                }),
                None => Value::String(hex(bytes)),
            },
            Self::Unknown => Value::String(hex(bytes)),
        }
    }
}

/// A frame of a message: `myelon::transport` describes its header.
struct Frame<'a> {
    message: u32,
    kind: u8,
    part: &'static str,
    /// Bytes of the message from this frame on.
    length: usize,
    payload: &'a [u8],
}

impl<'a> Frame<'a> {
    fn of(bytes: &'a [u8], payload_at: usize) -> Option<Self> {
        let header: &[u8; FRAME_HEADER] = bytes.first_chunk()?;
        let word = |at: usize| u32::from_ne_bytes(core::array::from_fn(|i| header[at + i]));
        let part = match header[5] & 3 {
            3 => "whole",
            1 => "first",
            2 => "last",
            _ => "middle",
        };
        let length = word(0) as usize;
        let payload = bytes.get(payload_at..)?;
        Some(Self {
            message: word(8),
            kind: header[4],
            part,
            length,
            payload: &payload[..payload.len().min(length)],
        })
    }
}

/// The rest of a text.
struct Input<'a> {
    text: &'a str,
    is_cut: bool,
}

impl Input<'_> {
    fn take(&mut self, word: &str) -> Option<()> {
        self.text = self.text.strip_prefix(word)?;
        Some(())
    }

    fn word(&mut self) -> Option<String> {
        let end = self
            .text
            .find(|c: char| c != '_' && !c.is_alphanumeric())
            .unwrap_or(self.text.len());
        let (word, rest) = self.text.split_at(end);
        self.text = rest;
        (!word.is_empty()).then(|| word.to_owned())
    }

    fn number(&mut self) -> Option<usize> {
        self.word()?.parse().ok()
    }

    fn kind(&mut self, depth: usize) -> Option<Kind> {
        let depth = depth.checked_sub(1)?;
        if self.take("[").is_some() {
            let element = self.kind(depth)?;
            self.take("; ")?;
            let count = self.number()?;
            self.take("]")?;
            return (count > 0).then(|| Kind::Array(Box::new(element), count));
        }
        if self.take("{ ").is_some() {
            return self.fields(depth);
        }
        let word = self.word()?;
        let (class, bits) = word.split_at_checked(1)?;
        let class = class.bytes().next()?;
        let bits: usize = bits.parse().ok()?;
        let is_known = match class {
            b'u' | b'i' => [8, 16, 32, 64, 128].contains(&bits),
            b'f' => [32, 64].contains(&bits),
            _ => false,
        };
        is_known.then_some(Kind::Scalar(Scalar {
            class,
            bytes: bits / 8,
        }))
    }

    fn fields(&mut self, depth: usize) -> Option<Kind> {
        let mut fields: Vec<Field> = Vec::new();
        loop {
            let Some(field) = self.field(depth) else {
                // the text was cut off: the fields before that are known
                self.text = "";
                self.is_cut = true;
                let end = fields.iter().filter_map(Field::end).max()?;
                return Some(Kind::Struct {
                    fields,
                    size: end,
                    is_cut: true,
                });
            };
            fields.push(field);
            if self.is_cut {
                let end = fields.iter().filter_map(Field::end).max()?;
                return Some(Kind::Struct {
                    fields,
                    size: end,
                    is_cut: true,
                });
            }
            if self.take(" } size ").is_some() {
                break;
            }
            if self.take(", ").is_none() {
                let is_end_of_text =
                    " } size ".starts_with(self.text) || ", ".starts_with(self.text);
                if !is_end_of_text {
                    return None;
                }
                self.text = "";
            }
        }
        // a number at the end of the text may have lost digits
        let size = self.number().filter(|_| !self.text.is_empty());
        let align = self.take(" align ").and_then(|()| self.number());
        let end = fields.iter().filter_map(Field::end).max()?;
        if size.is_none() || align.is_none() {
            self.text = "";
            self.is_cut = true;
            return Some(Kind::Struct {
                fields,
                size: end,
                is_cut: true,
            });
        }
        let size = size.unwrap_or(end);
        (end <= size).then_some(Kind::Struct {
            fields,
            size,
            is_cut: false,
        })
    }

    fn field(&mut self, depth: usize) -> Option<Field> {
        let name = self.word()?;
        self.take(": ")?;
        let kind = self.kind(depth)?;
        let at = match self.is_cut {
            // a struct that was cut off has no offset: it begins after the field before it, which is not known here
            true => return None,
            false => {
                self.take(" @")?;
                // a number at the end of the text may have lost digits
                self.number().filter(|_| !self.text.is_empty())?
            }
        };
        Some(Field { name, kind, at })
    }
}

impl Field {
    fn end(&self) -> Option<usize> {
        self.at.checked_add(self.kind.size()?)
    }
}

impl Kind {
    fn size(&self) -> Option<usize> {
        match self {
            Self::Scalar(scalar) => Some(scalar.bytes),
            Self::Array(element, count) => element.size()?.checked_mul(*count),
            Self::Struct { size, .. } => Some(*size),
        }
    }

    fn show(&self, bytes: &[u8]) -> String {
        match self {
            Self::Scalar(scalar) => scalar.show(bytes),
            Self::Array(element, count) => match element.size() {
                Some(1) => text_or_hex(&bytes[..bytes.len().min(*count)]),
                _ => {
                    let mut elements: Vec<_> = self
                        .elements(bytes)
                        .map(|part| element.show(part))
                        .collect();
                    if elements.len() < *count {
                        elements.push(String::from("…"));
                    }
                    format!("[{}]", elements.join(", "))
                }
            },
            Self::Struct {
                fields,
                size,
                is_cut,
            } => {
                let shown = fields.iter().map(|field| {
                    let part = bytes.get(field.at..).unwrap_or_default();
                    format!("{}: {}", printable(&field.name), field.kind.show(part))
                });
                let mut shown: Vec<_> = shown.collect();
                if let Some(rest) = bytes
                    .get(*size..)
                    .filter(|rest| *is_cut && !rest.is_empty())
                {
                    shown.push(format!("then {}", hex(rest)));
                }
                format!("{{ {} }}", shown.join(", "))
            }
        }
    }

    fn value(&self, bytes: &[u8]) -> Value {
        match self {
            Self::Scalar(scalar) => scalar.value(bytes),
            Self::Array(element, count) => match element.size() {
                Some(1) => Value::String(hex(&bytes[..bytes.len().min(*count)])),
                _ => self
                    .elements(bytes)
                    .map(|part| element.value(part))
                    .collect(),
            },
            Self::Struct {
                fields,
                size,
                is_cut,
            } => {
                let mut object = Map::new();
                for field in fields {
                    let part = bytes.get(field.at..).unwrap_or_default();
                    object.insert(field.name.clone(), field.kind.value(part));
                }
                if let Some(rest) = bytes
                    .get(*size..)
                    .filter(|rest| *is_cut && !rest.is_empty())
                {
                    object.insert(String::from("…"), Value::String(hex(rest)));
                }
                Value::Object(object)
            }
        }
    }

    /// The bytes of an array's first elements, as far as they were read.
    fn elements<'a>(&self, bytes: &'a [u8]) -> impl Iterator<Item = &'a [u8]> {
        let (size, count) = match self {
            Self::Array(element, count) => (element.size().unwrap_or(0), *count),
            Self::Scalar(_) | Self::Struct { .. } => (0, 0),
        };
        bytes
            .chunks_exact(size.max(1))
            .take(count.min(ELEMENTS_MAX))
    }
}

impl Scalar {
    fn show(self, bytes: &[u8]) -> String {
        match self.value(bytes) {
            Value::String(text) => text,
            value => value.to_string(),
        }
    }

    /// The number; numbers of 128 bits as text, and `?` where the bytes were not read.
    fn value(self, bytes: &[u8]) -> Value {
        let Some(bytes) = bytes.get(..self.bytes) else {
            return Value::String(String::from("?"));
        };
        // little-endian machines only differ in where the lower bytes are
        let mut wide = [0; 16];
        let at = if cfg!(target_endian = "big") {
            16 - self.bytes
        } else {
            0
        };
        wide[at..at + self.bytes].copy_from_slice(bytes);
        let unsigned = u128::from_ne_bytes(wide);
        let shift = 128 - 8 * self.bytes as u32;
        let signed = ((unsigned << shift) as i128) >> shift;
        match (self.class, self.bytes) {
            (b'u', 16) => Value::String(unsigned.to_string()),
            (b'i', 16) => Value::String(signed.to_string()),
            (b'u', _) => json!(unsigned as u64),
            (b'i', _) => json!(signed as i64),
            (_, 4) => float(f64::from(f32::from_bits(unsigned as u32))),
            _ => float(f64::from_bits(unsigned as u64)),
        }
    }
}

/// A float; as text if it is no number, which JSON has no word for.
fn float(value: f64) -> Value {
    match value.is_finite() {
        true => json!(value),
        false => Value::String(value.to_string()),
    }
}

/// Printable ASCII in quotes, without the zeros that pad it; anything else in hex.
fn text_or_hex(bytes: &[u8]) -> String {
    let end = bytes
        .iter()
        .rposition(|byte| *byte != 0)
        .map_or(0, |last| last + 1);
    let text = &bytes[..end];
    match !text.is_empty() && text.iter().all(|byte| matches!(byte, b' '..=b'~')) {
        true => format!("{:?}", String::from_utf8_lossy(text)),
        false => hex(bytes),
    }
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len() * 9 / 4);
    for (index, byte) in bytes.iter().enumerate() {
        if index > 0 && index % 4 == 0 {
            out.push(' ');
        }
        out += &format!("{byte:02x}");
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    const TICK: &str =
        "demo::Tick { price: i64 @0, qty: u32 @8, venue: [u8; 4] @12 } size 16 align 8";

    fn tick() -> Vec<u8> {
        [&(-5_i64).to_ne_bytes()[..], &7_u32.to_ne_bytes(), b"XAU\0"].concat()
    }

    #[test]
    fn fields_are_shown_by_name() {
        let layout = Layout::of(TICK, 16);
        assert_eq!(
            layout.show(&tick()),
            "{ price: -5, qty: 7, venue: \"XAU\" }"
        );
        assert_eq!(
            layout.value(&tick()),
            json!({"price": -5, "qty": 7, "venue": "58415500"})
        );
        assert_eq!(layout.show(&tick()[..10]), "{ price: -5, qty: ?, venue:  }");
    }

    #[test]
    fn types_in_types_are_followed() {
        let text = "a::Wrapping<u32> u32";
        assert_eq!(Layout::of(text, 4).show(&9_u32.to_ne_bytes()), "9");
        assert_eq!(
            Layout::of("[u16; 3]", 6).show(&[1, 0, 2, 0, 3, 0]),
            "[1, 2, 3]"
        );
        let text = "P<a::B, 3> { one: { x: u8 @0, y: i8 @1 } size 2 align 1 @0, two: f32 @4 } size 8 align 4";
        let bytes = [&[1, 255, 0, 0][..], &1.5_f32.to_ne_bytes()].concat();
        assert_eq!(
            Layout::of(text, 8).show(&bytes),
            "{ one: { x: 1, y: -1 }, two: 1.5 }"
        );
    }

    #[test]
    fn a_text_that_was_cut_off_still_gives_the_fields_before() {
        let parsed = (0..TICK.len()).map(|end| Layout::of(&TICK[..end], 16));
        let shown: Vec<_> = parsed.map(|layout| layout.show(&tick())).collect();
        assert_eq!(shown[5], hex(&tick()));
        assert_eq!(
            shown[TICK.find("qty").expect("it") + 2],
            "{ price: -5, then 07000000 58415500 }"
        );
        assert_eq!(
            shown[TICK.len() - 9],
            "{ price: -5, qty: 7, venue: \"XAU\" }"
        );
    }

    #[test]
    fn names_may_begin_with_any_letter() {
        assert_eq!(Layout::of("é", 4), Layout::Unknown);
        assert_eq!(Layout::of("a::é ü32", 4), Layout::Unknown);
        let text = "Pair<u8, Übel> { größe: u8 @0, é: i8 @1 } size 2 align 1";
        let layout = Layout::of(text, 2);
        assert_eq!(layout.show(&[7, 255]), "{ größe: 7, é: -1 }");
    }

    #[test]
    fn texts_that_lie_are_not_believed() {
        for text in [
            "",
            "{ a: u64 @0 } size 8 align 8",
            "T { a: u64 @18446744073709551615 } size 8 align 8",
            "T { a: [u64; 18446744073709551615] @0 } size 8 align 8",
            "T { a: [u8; 0] @0 } size 4 align 1",
            "u256",
            "T { a: u64 @8 } size 8 align 8",
        ] {
            assert_eq!(Layout::of(text, 4), Layout::Unknown, "{text}");
        }
        let deep = format!("T {}u8", "[".repeat(100_000));
        assert_eq!(Layout::of(&deep[..4096], 4), Layout::Unknown);
    }

    #[test]
    fn frames_show_their_message() {
        let layout = Layout::of(
            "m::FixedFrame<64> { FixedFrame with 64 bytes of payload } size 76 align 4",
            76,
        );
        let mut bytes = vec![0; 76];
        bytes[..4].copy_from_slice(&5_u32.to_ne_bytes());
        (bytes[4], bytes[5]) = (2, 3);
        bytes[8..12].copy_from_slice(&9_u32.to_ne_bytes());
        bytes[12..17].copy_from_slice(b"hello");
        assert_eq!(
            layout.show(&bytes),
            "message 9 kind 2 whole, 5 bytes to its end: \"hello\""
        );
    }
}
