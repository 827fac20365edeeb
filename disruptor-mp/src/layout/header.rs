//! Page 0: what a process has to know before it may map the rest.
//!
//! The creator writes the whole page before the segment has a name; `state` comes last, and nothing changes
//! afterwards. Readers copy the bytes once and validate the copy (R1): [`Header::decode`] trusts no value.

use super::control::{Control, Owner};
use super::event_record::EventRecord;
use super::slot::SlotShape;
use super::{CONTROL_OFFSET, LAYOUT_VERSION, LINE_BYTES, align_up};

/// Bytes of the header that carry a meaning; the rest of the page is zero.
pub(crate) const HEADER_BYTES: usize = LABEL_AT + LABEL_BYTES;
const CHECKSUM_AT: usize = 480;
/// Offset of the state word.
pub(crate) const STATE_AT: usize = 488;
/// The state word of a complete segment.
pub(crate) const READY: u32 = 0x5245_4459;
const LABEL_CHECKSUM_AT: usize = 492;
const LABEL_AT: usize = 496;

pub(crate) const MAGIC: [u8; 8] = *b"DISRPTMP";
const BYTE_ORDER: u32 = 0x0A0B_0C0D;
/// Required feature: a producer marks slots busy while it writes them (R13).
const OBSERVED: u64 = 1;
/// Optional feature: the label and its checksum are there.
const LABELLED: u64 = 1;
const TYPE_TEXT_BYTES: usize = 256;
const NAME_BYTES: usize = 64;
const LABEL_BYTES: usize = 128;
/// The longest mapping that this crate makes: half of a 47-bit address space.
const MAX_SEGMENT_BYTES: u64 = 1 << 46;

/// Where the parts of a segment are, in bytes. Private copy, validated once (R1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Geometry {
    pub(crate) segment_len: u64,
    pub(crate) slots_offset: u64,
    pub(crate) slots_len: u64,
    pub(crate) shape: SlotShape,
    pub(crate) capacity: u64,
}

impl Geometry {
    /// The geometry of a new segment, or `None` if it is too large to map. `unit` is the page size of the file system.
    /// One guard line lies between the control lines and the slots, and another one after the slots.
    pub(crate) fn new(capacity: usize, shape: SlotShape, unit: u64) -> Option<Self> {
        let head = CONTROL_OFFSET + size_of::<Control>() + LINE_BYTES;
        let slots_offset = align_up(head, usize::try_from(unit).ok()?) as u64;
        let slots_len = (capacity as u64)
            .checked_mul(shape.stride as u64)?
            .checked_add(LINE_BYTES as u64)?;
        let segment_len = slots_offset
            .checked_add(slots_len)?
            .checked_next_multiple_of(unit)?;
        (segment_len <= MAX_SEGMENT_BYTES).then_some(Self {
            segment_len,
            slots_offset,
            slots_len,
            shape,
            capacity: capacity as u64,
        })
    }
}

/// The header's content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) geometry: Geometry,
    pub(crate) event: EventRecord,
    pub(crate) first_sequence: i64,
    pub(crate) creator: Owner,
    pub(crate) created_unix_ns: u64,
    pub(crate) page_size: u32,
    /// Whether the slots are written so that observers can read them (R13).
    pub(crate) is_observed: bool,
    pub(crate) name: String,
    /// What the ring is for, in words; cut to 128 bytes. Empty: nobody said so.
    pub(crate) label: String,
}

/// The reason why bytes are not a header that this version can use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum HeaderFault {
    /// The bytes are no segment.
    Foreign { found: String },
    /// A power cut may have left this of a segment, or of a part of one, that was not on the disk yet.
    Remnant { found: String },
    /// A segment of another layout version, byte order or feature set.
    OtherVersion {
        what: &'static str,
        expected: String,
        found: String,
    },
    /// A segment whose header contradicts itself.
    Damaged {
        what: &'static str,
        expected: String,
        found: String,
    },
}

impl Header {
    /// The header's bytes; the state word is still zero.
    pub(crate) fn encode(&self) -> [u8; HEADER_BYTES] {
        let mut out = Writer {
            bytes: [0; HEADER_BYTES],
            at: 0,
        };
        let g = &self.geometry;
        out.put(&MAGIC);
        out.put(&BYTE_ORDER.to_ne_bytes());
        out.put(&LAYOUT_VERSION.to_ne_bytes());
        let required = if self.is_observed { OBSERVED } else { 0 };
        out.put(&required.to_ne_bytes());
        let optional = if self.label.is_empty() { 0 } else { LABELLED };
        out.put(&optional.to_ne_bytes());
        for word in [
            g.segment_len,
            CONTROL_OFFSET as u64,
            size_of::<Control>() as u64,
            g.slots_offset,
            g.shape.stride as u64,
            two_words(g.shape.event_offset as u32, g.shape.stamp_offset as u32),
            g.capacity,
            self.event.size,
            self.event.align,
            self.event.id,
            self.first_sequence as u64,
        ] {
            out.put(&word.to_ne_bytes());
        }
        out.put(&(super::DEFAULT_MAX_CONSUMERS as u32).to_ne_bytes());
        out.put(&self.page_size.to_ne_bytes());
        out.put(&u64::from(self.creator.pid).to_ne_bytes());
        out.put(&self.creator.namespace.to_ne_bytes());
        out.put(&self.creator.start_ticks.to_ne_bytes());
        out.put(&self.created_unix_ns.to_ne_bytes());
        out.put_text(&self.event.text, TYPE_TEXT_BYTES);
        out.put_text(&self.name, NAME_BYTES);
        debug_assert_eq!(out.at, CHECKSUM_AT);
        let sum = crc32fast::hash(&out.bytes[..CHECKSUM_AT]);
        out.put(&sum.to_ne_bytes());
        if !self.label.is_empty() {
            out.at = LABEL_AT;
            out.put_text(&self.label, LABEL_BYTES);
            let sum = crc32fast::hash(&out.bytes[LABEL_AT..]);
            out.at = LABEL_CHECKSUM_AT;
            out.put(&sum.to_ne_bytes());
        }
        out.bytes
    }

    /// Reads a private copy of page 0. `file_len` is the length of the file or memory that it was read from.
    pub(crate) fn decode(bytes: &[u8], file_len: u64) -> Result<Self, HeaderFault> {
        let Some(bytes) = bytes.first_chunk::<HEADER_BYTES>() else {
            return Err(HeaderFault::Foreign {
                found: format!("a file of {} bytes", bytes.len()),
            });
        };
        let mut input = Reader { bytes, at: 0 };
        let magic: [u8; 8] = input.take();
        if magic != MAGIC {
            return Err(HeaderFault::Foreign {
                found: format!("a file that starts with {:02x?}", magic),
            });
        }
        let (is_observed, is_labelled) = check_version(&mut input)?;
        check_sum(bytes)?;
        let label = match is_labelled {
            true => read_label(bytes)?,
            false => String::new(),
        };
        let header = Self {
            is_observed,
            label,
            ..Self::decode_fields(&mut input)?
        };
        check_geometry(&header, file_len)?;
        Ok(header)
    }

    fn decode_fields(input: &mut Reader<'_>) -> Result<Self, HeaderFault> {
        let segment_len = input.u64();
        agree("control offset", CONTROL_OFFSET as u64, input.u64())?;
        agree("control length", size_of::<Control>() as u64, input.u64())?;
        let slots_offset = input.u64();
        let stride = input.u64();
        let shape = SlotShape {
            stride: usize::try_from(stride).unwrap_or(usize::MAX),
            event_offset: input.u32() as usize,
            stamp_offset: input.u32() as usize,
        };
        let capacity = input.u64();
        let (size, align, id) = (input.u64(), input.u64(), input.u64());
        let first_sequence = input.u64() as i64;
        agree(
            "number of consumer lines",
            super::DEFAULT_MAX_CONSUMERS as u64,
            u64::from(input.u32()),
        )?;
        let page_size = input.u32();
        let pid = input.u64() as u32;
        let creator = Owner {
            pid,
            namespace: input.u64(),
            start_ticks: input.u64(),
        };
        let created_unix_ns = input.u64();
        let text = input.text(TYPE_TEXT_BYTES);
        let name = input.text(NAME_BYTES);
        let slots_len = capacity
            .saturating_mul(stride)
            .saturating_add(LINE_BYTES as u64);
        let geometry = Geometry {
            segment_len,
            slots_offset,
            slots_len,
            shape,
            capacity,
        };
        let event = EventRecord {
            id,
            size,
            align,
            text,
        };
        Ok(Self {
            geometry,
            event,
            first_sequence,
            creator,
            created_unix_ns,
            page_size,
            is_observed: false,
            name,
            label: String::new(),
        })
    }
}

/// Whether `page` may be what a power cut left of a segment: zeros, the beginning of one, or all but its
/// magic. `page` is the first page of a file, or the whole file if that is shorter.
pub(crate) fn is_remnant(page: &[u8]) -> bool {
    let begins = page.iter().zip(&MAGIC).all(|(found, ours)| found == ours);
    let without_magic = page.first_chunk::<HEADER_BYTES>().is_some_and(|bytes| {
        let mut bytes = *bytes;
        bytes[..MAGIC.len()].copy_from_slice(&MAGIC);
        check_sum(&bytes).is_ok()
    });
    begins || without_magic || page.iter().all(|byte| *byte == 0)
}

/// For fuzzers: the range of the file that holds the slots and the guard line after them, if the header is accepted.
#[cfg(feature = "fuzzing")]
pub fn ring_in_header(bytes: &[u8], file_len: u64) -> Result<core::ops::Range<u64>, String> {
    let header = Header::decode(bytes, file_len).map_err(|fault| format!("{fault:?}"))?;
    let from = header.geometry.slots_offset;
    Ok(from..from.saturating_add(header.geometry.slots_len))
}

/// Two adjacent 32-bit fields as one word.
fn two_words(first: u32, second: u32) -> u64 {
    let ([a, b, c, d], [e, f, g, h]) = (first.to_ne_bytes(), second.to_ne_bytes());
    u64::from_ne_bytes([a, b, c, d, e, f, g, h])
}

/// Returns whether the ring was created for observers, and whether it has a label.
fn check_version(input: &mut Reader<'_>) -> Result<(bool, bool), HeaderFault> {
    let other = |what, expected: String, found: String| {
        Err(HeaderFault::OtherVersion {
            what,
            expected,
            found,
        })
    };
    let order = input.u32();
    if order != BYTE_ORDER {
        return other(
            "byte order",
            format!("{BYTE_ORDER:08x}"),
            format!("{order:08x}"),
        );
    }
    let version = input.u32();
    if version != LAYOUT_VERSION {
        return other(
            "layout version",
            LAYOUT_VERSION.to_string(),
            version.to_string(),
        );
    }
    let required = input.u64();
    if required & !OBSERVED != 0 {
        return other(
            "required features",
            format!("{OBSERVED:#x} or none"),
            format!("{required:#x}"),
        );
    }
    let optional = input.u64();
    Ok((required & OBSERVED != 0, optional & LABELLED != 0))
}

fn read_label(bytes: &[u8; HEADER_BYTES]) -> Result<String, HeaderFault> {
    let mut input = Reader {
        bytes,
        at: LABEL_CHECKSUM_AT,
    };
    let found = input.u32();
    let sum = crc32fast::hash(&bytes[LABEL_AT..]);
    if sum != found {
        return damaged(
            "checksum of the label",
            format!("{sum:08x}"),
            format!("{found:08x}"),
        );
    }
    Ok(input.text(LABEL_BYTES))
}

fn check_sum(bytes: &[u8; HEADER_BYTES]) -> Result<(), HeaderFault> {
    let mut tail = Reader {
        bytes,
        at: CHECKSUM_AT,
    };
    let found = tail.u32();
    let sum = crc32fast::hash(&bytes[..CHECKSUM_AT]);
    if sum != found {
        return damaged("checksum", format!("{sum:08x}"), format!("{found:08x}"));
    }
    tail.at = STATE_AT;
    let state = tail.u32();
    if state != READY {
        return damaged(
            "state",
            "a finished segment".into(),
            format!("state word {state:08x}"),
        );
    }
    Ok(())
}

/// A checksum can be forged, or match by chance: the following checks must not rely on it.
fn check_geometry(header: &Header, file_len: u64) -> Result<(), HeaderFault> {
    let g = &header.geometry;
    if !g.capacity.is_power_of_two() || g.capacity > 1 << 40 {
        return damaged("capacity", "a power of two".into(), g.capacity.to_string());
    }
    let (Ok(size), Ok(align)) = (
        usize::try_from(header.event.size),
        usize::try_from(header.event.align),
    ) else {
        return damaged(
            "event size",
            "a size this machine can address".into(),
            header.event.size.to_string(),
        );
    };
    if size == 0
        || size > 1 << 40
        || !align.is_power_of_two()
        || align > 4096
        || !size.is_multiple_of(align)
    {
        return damaged(
            "event size and alignment",
            "a Rust type's".into(),
            format!("{size} and {align}"),
        );
    }
    if !(0..=super::stamp::MAX_SEQUENCE).contains(&header.first_sequence) {
        return damaged(
            "first sequence",
            "0 to 2^61 - 1".into(),
            header.first_sequence.to_string(),
        );
    }
    if !g.shape.is_for(size, align) {
        return damaged(
            "slot shape",
            format!("{:?}", SlotShape::new(size, align, false, 0)),
            format!("{:?}", g.shape),
        );
    }
    let head = (CONTROL_OFFSET + size_of::<Control>() + LINE_BYTES) as u64;
    if g.slots_offset < head || !g.slots_offset.is_multiple_of(4096) || g.slots_offset > 1 << 32 {
        return damaged(
            "slots offset",
            "a page boundary after the control lines".into(),
            g.slots_offset.to_string(),
        );
    }
    if g.segment_len > MAX_SEGMENT_BYTES
        || g.segment_len < g.slots_offset.saturating_add(g.slots_len)
    {
        return damaged(
            "segment length",
            format!("at least {}", g.slots_offset.saturating_add(g.slots_len)),
            g.segment_len.to_string(),
        );
    }
    if file_len != g.segment_len {
        return damaged(
            "file length",
            g.segment_len.to_string(),
            file_len.to_string(),
        );
    }
    Ok(())
}

fn damaged<T>(what: &'static str, expected: String, found: String) -> Result<T, HeaderFault> {
    Err(HeaderFault::Damaged {
        what,
        expected,
        found,
    })
}

fn agree(what: &'static str, expected: u64, found: u64) -> Result<(), HeaderFault> {
    if expected == found {
        Ok(())
    } else {
        damaged(what, expected.to_string(), found.to_string())
    }
}

struct Writer {
    bytes: [u8; HEADER_BYTES],
    at: usize,
}

impl Writer {
    fn put(&mut self, part: &[u8]) {
        self.bytes[self.at..self.at + part.len()].copy_from_slice(part);
        self.at += part.len();
    }

    /// UTF-8, cut at a character boundary, zero padded to `room` bytes.
    fn put_text(&mut self, text: &str, room: usize) {
        let end = text.floor_char_boundary(room);
        self.bytes[self.at..self.at + end].copy_from_slice(&text.as_bytes()[..end]);
        self.at += room;
    }
}

struct Reader<'a> {
    bytes: &'a [u8; HEADER_BYTES],
    at: usize,
}

impl Reader<'_> {
    fn take<const N: usize>(&mut self) -> [u8; N] {
        let mut out = [0; N];
        out.copy_from_slice(&self.bytes[self.at..self.at + N]);
        self.at += N;
        out
    }

    fn u32(&mut self) -> u32 {
        u32::from_ne_bytes(self.take())
    }

    fn u64(&mut self) -> u64 {
        u64::from_ne_bytes(self.take())
    }

    /// Untrusted text: bytes that are not UTF-8 are replaced, and control characters are dropped.
    fn text(&mut self, room: usize) -> String {
        let bytes = &self.bytes[self.at..self.at + room];
        self.at += room;
        let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(room);
        String::from_utf8_lossy(&bytes[..end])
            .chars()
            .filter(|c| !c.is_control())
            .collect()
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    fn sample() -> Header {
        let shape = SlotShape::new(8, 8, false, 0);
        Header {
            geometry: Geometry::new(16, shape, 4096).expect("fits"),
            event: EventRecord {
                id: 7,
                size: 8,
                align: 8,
                text: "u64".into(),
            },
            first_sequence: 0,
            creator: Owner {
                pid: 1,
                namespace: 2,
                start_ticks: 3,
            },
            created_unix_ns: 4,
            page_size: 4096,
            is_observed: true,
            name: "ticks".into(),
            label: "session llama-70b, to its workers".into(),
        }
    }

    fn ready(header: &Header) -> [u8; HEADER_BYTES] {
        let mut bytes = header.encode();
        bytes[STATE_AT..STATE_AT + 4].copy_from_slice(&READY.to_ne_bytes());
        bytes
    }

    #[test]
    fn round_trip() {
        let header = sample();
        assert_eq!(
            Header::decode(&ready(&header), header.geometry.segment_len),
            Ok(header)
        );
    }

    #[test]
    fn every_flipped_bit_is_found() {
        let header = sample();
        let good = ready(&header);
        // one bit of each byte under Miri, which takes minutes for all bits
        let step = if cfg!(miri) { 9 } else { 1 };
        for bit in (0..HEADER_BYTES * 8).step_by(step) {
            if (CHECKSUM_AT + 4..STATE_AT).contains(&(bit / 8)) {
                continue; // padding
            }
            let mut bytes = good;
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert!(
                Header::decode(&bytes, header.geometry.segment_len).is_err(),
                "bit {bit}"
            );
        }
    }

    #[test]
    fn forged_checksums_are_not_enough() {
        for at in (32..128).step_by(8) {
            for value in [0, 1, 3, u64::MAX, 1 << 63, u64::MAX / 2, 4096, 1 << 40] {
                let mut bytes = ready(&sample());
                bytes[at..at + 8].copy_from_slice(&value.to_ne_bytes());
                let sum = crc32fast::hash(&bytes[..CHECKSUM_AT]);
                bytes[CHECKSUM_AT..CHECKSUM_AT + 4].copy_from_slice(&sum.to_ne_bytes());
                if let Ok(header) = Header::decode(&bytes, sample().geometry.segment_len) {
                    let g = header.geometry;
                    assert!(g.slots_offset + g.slots_len <= g.segment_len);
                    assert!(g.shape.stride as u64 >= header.event.size + 8);
                }
            }
        }
    }

    #[test]
    fn too_large_to_map() {
        assert_eq!(
            Geometry::new(1 << 60, SlotShape::new(8, 8, false, 0), 4096),
            None
        );
    }
}
