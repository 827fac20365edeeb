//! The bytes of a recording, written and read. `docs/recording-format.md` has them one by one.
//!
//! A reader trusts nothing: each block has checksums, lengths are compared with what the header allows before memory is
//! taken, and sequences must follow each other. A recording that was ended in order has an end block.

use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::path::{Path, PathBuf};

use disruptor_mp::{Sequence, UntypedEvent};

/// The first bytes of a recording.
pub(crate) const MAGIC: [u8; 8] = *b"MYELNREC";
const VERSION: u32 = 1;
/// The length of the header's fixed part.
const FIXED_BYTES: usize = 104;
/// The most bytes of a header: two texts of at most 64 KiB.
const HEADER_BYTES_MAX: usize = 1 << 17;
const BLOCK_MAGIC: [u8; 4] = *b"BLK1";
const BLOCK_HEAD_BYTES: usize = 24;
/// A block is written when it has this many bytes of events.
const BLOCK_BYTES: usize = 256 << 10;
/// The largest event that can be recorded.
pub(crate) const EVENT_BYTES_MAX: u64 = 64 << 20;
/// The sequence after the last one that an event can have.
pub(crate) const SEQUENCE_END: Sequence = 1 << 61;

const COMPRESSED: u32 = 1;
const LOSSLESS: u32 = 2;
const OBSERVED: u32 = 4;

const EVENTS: u32 = 1;
const GAP: u32 = 2;
const END: u32 = 3;

/// The byte order of the machine that recorded: 1 little, 2 big.
const BYTE_ORDER: u32 = if cfg!(target_endian = "little") { 1 } else { 2 };

/// What a recording says about itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) event: UntypedEvent,
    pub(crate) capacity: u64,
    /// The first sequence that the recording accounts for.
    pub(crate) first: Sequence,
    pub(crate) is_compressed: bool,
    pub(crate) is_lossless: bool,
    /// Whether the ring was made for observers.
    pub(crate) is_observed: bool,
    pub(crate) started_unix_ns: u64,
    pub(crate) ring_created_unix_ns: u64,
    pub(crate) ring: String,
}

/// What follows the header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Block {
    /// Consecutive events.
    Events {
        first: Sequence,
        /// Nanoseconds from the start of the recording to the moment at which each was seen.
        times: Vec<u64>,
        bytes: Vec<u8>,
    },
    /// Events that were not recorded.
    Gap { first: Sequence, next: Sequence },
    /// The recording was ended in order.
    End,
}

/// What is wrong with a recording.
#[derive(Debug)]
pub(crate) enum Fault {
    NotARecording,
    Version(u32),
    ByteOrder,
    /// The file ends at this byte, before its end block.
    CutShort(u64),
    /// Something in the part that begins at this byte.
    Damaged(u64, &'static str),
    Io(io::Error),
}

/// A recording that cannot be read.
#[derive(Debug)]
pub(crate) struct RecordingError {
    path: PathBuf,
    fault: Fault,
}

impl RecordingError {
    /// One word for programs.
    pub(crate) fn word(&self) -> &'static str {
        match &self.fault {
            Fault::NotARecording => "foreign",
            Fault::Version(_) => "version",
            Fault::ByteOrder => "byte-order",
            Fault::CutShort(_) => "cut-short",
            Fault::Damaged(..) => "damaged",
            Fault::Io(error) if error.kind() == io::ErrorKind::NotFound => "missing",
            Fault::Io(_) => "system",
        }
    }

    pub(crate) fn text(&self) -> String {
        let path = self.path.display();
        match &self.fault {
            Fault::NotARecording => format!("{path} is not a recording: it does not begin as one"),
            Fault::Version(found) => format!(
                "{path} is a recording of version {found}, and this program reads version {VERSION}: use a program of that \
                 version"
            ),
            Fault::ByteOrder => format!(
                "{path} was recorded on a machine of another byte order: replay it on such a machine"
            ),
            Fault::CutShort(at) => format!(
                "{path} is cut short: it ends at byte {at}, before its end block; its recorder was stopped by force, or \
                 the file was not copied whole; --partial replays what is whole"
            ),
            Fault::Damaged(at, what) => format!(
                "{path} is damaged: in the part that begins at byte {at}, {what}; --partial replays what comes before"
            ),
            Fault::Io(error) => format!("{path}: {error}"),
        }
    }
}

impl Header {
    fn encode(&self) -> Vec<u8> {
        let event = &self.event;
        let texts = event.text.len() + self.ring.len();
        let flag = |is_set, flag| if is_set { flag } else { 0 };
        let mut out = Vec::with_capacity(FIXED_BYTES + texts + 4);
        out.extend(MAGIC);
        out.extend(VERSION.to_le_bytes());
        out.extend(((FIXED_BYTES + texts + 4) as u32).to_le_bytes());
        let flags = flag(self.is_compressed, COMPRESSED)
            | flag(self.is_lossless, LOSSLESS)
            | flag(self.is_observed, OBSERVED);
        out.extend(flags.to_le_bytes());
        out.extend(BYTE_ORDER.to_le_bytes());
        for word in [event.size, event.align, event.layout_id, event.stride] {
            out.extend(word.to_le_bytes());
        }
        for word in [event.event_offset, event.stamp_offset] {
            out.extend((word as u32).to_le_bytes());
        }
        out.extend(self.capacity.to_le_bytes());
        out.extend(self.first.to_le_bytes());
        out.extend(self.started_unix_ns.to_le_bytes());
        out.extend(self.ring_created_unix_ns.to_le_bytes());
        out.extend((event.text.len() as u32).to_le_bytes());
        out.extend((self.ring.len() as u32).to_le_bytes());
        debug_assert_eq!(out.len(), FIXED_BYTES);
        out.extend(event.text.as_bytes());
        out.extend(self.ring.as_bytes());
        out.extend(crc32fast::hash(&out).to_le_bytes());
        out
    }

    /// The header of these bytes, whose checksum is right.
    fn decode(bytes: &[u8]) -> Result<Self, &'static str> {
        let texts = |from: usize, length: u32| {
            let text = bytes.get(from..)?.get(..length as usize)?;
            String::from_utf8(text.to_vec()).ok()
        };
        let (text_length, ring_length) = (u32_at(bytes, 96), u32_at(bytes, 100));
        let flags = u32_at(bytes, 16);
        let header = Self {
            event: UntypedEvent {
                size: u64_at(bytes, 24),
                align: u64_at(bytes, 32),
                layout_id: u64_at(bytes, 40),
                stride: u64_at(bytes, 48),
                event_offset: u64::from(u32_at(bytes, 56)),
                stamp_offset: u64::from(u32_at(bytes, 60)),
                text: texts(FIXED_BYTES, text_length).ok_or("the text of the event is wrong")?,
            },
            capacity: u64_at(bytes, 64),
            first: u64_at(bytes, 72) as Sequence,
            is_compressed: flags & COMPRESSED != 0,
            is_lossless: flags & LOSSLESS != 0,
            is_observed: flags & OBSERVED != 0,
            started_unix_ns: u64_at(bytes, 80),
            ring_created_unix_ns: u64_at(bytes, 88),
            ring: texts(
                FIXED_BYTES.saturating_add(text_length as usize),
                ring_length,
            )
            .ok_or("the ring's name is wrong")?,
        };
        if flags & !(COMPRESSED | LOSSLESS | OBSERVED) != 0 {
            return Err("there are flags that this version does not know");
        }
        if !header.event.is_valid() || header.event.size > EVENT_BYTES_MAX {
            return Err("the event layout is one that no ring has");
        }
        let is_sequence = (0..=SEQUENCE_END).contains(&header.first);
        if !header.capacity.is_power_of_two() || !is_sequence {
            return Err("the number of slots or the first sequence is one that no ring has");
        }
        Ok(header)
    }

    /// The most bytes of a block's content.
    fn content_bytes_max(&self) -> usize {
        // a block ends with the event that fills it; each event has a time beside its bytes
        let size = self.event.size as usize;
        16 + BLOCK_BYTES.div_ceil(size) * (8 + size)
    }
}

/// A recording that is being written.
pub(crate) struct Writer {
    out: BufWriter<File>,
    size: usize,
    is_compressed: bool,
    /// The sequence that follows the last one that is accounted for.
    next: Sequence,
    times: Vec<u64>,
    bytes: Vec<u8>,
    /// What was written so far.
    pub(crate) events: u64,
    pub(crate) missed: u64,
    pub(crate) gaps: u64,
}

impl Writer {
    pub(crate) fn new(file: File, header: &Header) -> io::Result<Self> {
        let mut out = BufWriter::new(file);
        out.write_all(&header.encode())?;
        out.flush()?;
        Ok(Self {
            out,
            size: header.event.size as usize,
            is_compressed: header.is_compressed,
            next: header.first,
            times: Vec::new(),
            bytes: Vec::new(),
            events: 0,
            missed: 0,
            gaps: 0,
        })
    }

    /// Adds an event. Returns whether the block is full, so that [`flush`](Self::flush) is due.
    pub(crate) fn event(
        &mut self,
        sequence: Sequence,
        time: u64,
        bytes: &[u8],
    ) -> io::Result<bool> {
        debug_assert_eq!(bytes.len(), self.size);
        self.go_on_at(sequence)?;
        self.times.push(time);
        self.bytes.extend_from_slice(bytes);
        self.next = sequence + 1;
        self.events += 1;
        Ok(self.bytes.len() >= BLOCK_BYTES)
    }

    /// Records that everything before this sequence which has not been added was missed.
    pub(crate) fn go_on_at(&mut self, sequence: Sequence) -> io::Result<()> {
        if sequence <= self.next {
            return Ok(());
        }
        self.flush()?;
        let mut content = Vec::with_capacity(16);
        content.extend(self.next.to_le_bytes());
        content.extend(sequence.to_le_bytes());
        self.block(GAP, &content)?;
        self.gaps += 1;
        self.missed += (sequence - self.next) as u64;
        self.next = sequence;
        Ok(())
    }

    /// How many events are not in the file yet.
    pub(crate) fn pending(&self) -> usize {
        self.times.len()
    }

    /// Writes the events that were added to the file.
    pub(crate) fn flush(&mut self) -> io::Result<()> {
        if !self.times.is_empty() {
            let count = self.times.len();
            let mut content = Vec::with_capacity(16 + count * 8 + self.bytes.len());
            content.extend((count as u64).to_le_bytes());
            content.extend((self.next - count as Sequence).to_le_bytes());
            for time in self.times.drain(..) {
                content.extend(time.to_le_bytes());
            }
            content.append(&mut self.bytes);
            self.block(EVENTS, &content)?;
        }
        self.out.flush()
    }

    /// Ends the recording, and returns when it is on the disk.
    pub(crate) fn end(mut self) -> io::Result<()> {
        self.flush()?;
        let mut content = Vec::with_capacity(16);
        content.extend(self.next.to_le_bytes());
        content.extend(self.events.to_le_bytes());
        self.block(END, &content)?;
        self.out.flush()?;
        self.out.get_ref().sync_all()
    }

    fn block(&mut self, kind: u32, content: &[u8]) -> io::Result<()> {
        let compressed;
        let stored = match self.is_compressed {
            true => {
                compressed = lz4_flex::block::compress(content);
                &compressed[..]
            }
            false => content,
        };
        let mut head = Vec::with_capacity(BLOCK_HEAD_BYTES);
        head.extend(BLOCK_MAGIC);
        for word in [
            kind,
            stored.len() as u32,
            content.len() as u32,
            crc32fast::hash(stored),
        ] {
            head.extend(word.to_le_bytes());
        }
        head.extend(crc32fast::hash(&head).to_le_bytes());
        self.out.write_all(&head)?;
        self.out.write_all(stored)
    }
}

/// A recording that is being read.
pub(crate) struct Reader {
    path: PathBuf,
    input: BufReader<File>,
    header: Header,
    /// How many bytes were read.
    at: u64,
    next: Sequence,
    events: u64,
    has_ended: bool,
}

impl Reader {
    pub(crate) fn open(path: &Path) -> Result<Self, RecordingError> {
        let failed = |fault| RecordingError {
            path: path.to_owned(),
            fault,
        };
        let file = File::open(path).map_err(|error| failed(Fault::Io(error)))?;
        let mut input = BufReader::new(file);
        let (header, at) = read_header(&mut input).map_err(failed)?;
        Ok(Self {
            path: path.to_owned(),
            input,
            at,
            next: header.first,
            header,
            events: 0,
            has_ended: false,
        })
    }

    pub(crate) fn header(&self) -> &Header {
        &self.header
    }

    /// The next block; `None` after the end block.
    pub(crate) fn block(&mut self) -> Result<Option<Block>, RecordingError> {
        self.read_block().map_err(|fault| RecordingError {
            path: self.path.clone(),
            fault,
        })
    }

    fn read_block(&mut self) -> Result<Option<Block>, Fault> {
        let at = self.at;
        let damaged = |what| Fault::Damaged(at, what);
        let mut head = [0; BLOCK_HEAD_BYTES];
        let count = read_up_to(&mut self.input, &mut head)?;
        if self.has_ended {
            return match count {
                0 => Ok(None),
                _ => Err(damaged("there are bytes after the end block")),
            };
        }
        if count < head.len() {
            return Err(Fault::CutShort(at + count as u64));
        }
        if !head.starts_with(&BLOCK_MAGIC) || crc32fast::hash(&head[..20]) != u32_at(&head, 20) {
            return Err(damaged("the block's head does not match its checksum"));
        }
        let (kind, sum) = (u32_at(&head, 4), u32_at(&head, 16));
        let (stored_length, length) = (u32_at(&head, 8) as usize, u32_at(&head, 12) as usize);
        let most = self.header.content_bytes_max();
        let stored_most = match self.header.is_compressed {
            true => lz4_flex::block::get_maximum_output_size(most),
            false => most,
        };
        if length > most || stored_length > stored_most {
            return Err(damaged("the block is longer than blocks are"));
        }
        let mut stored = vec![0; stored_length];
        let count = read_up_to(&mut self.input, &mut stored)?;
        self.at += (head.len() + count) as u64;
        if count < stored.len() {
            return Err(Fault::CutShort(self.at));
        }
        if crc32fast::hash(&stored) != sum {
            return Err(damaged("the block's content does not match its checksum"));
        }
        let content = match self.header.is_compressed {
            false => stored,
            true => lz4_flex::block::decompress(&stored, length)
                .map_err(|_| damaged("the block's content cannot be decompressed"))?,
        };
        if content.len() != length {
            return Err(damaged(
                "the block's content has another length than its head says",
            ));
        }
        self.decode(kind, content).map(Some).map_err(damaged)
    }

    fn decode(&mut self, kind: u32, mut content: Vec<u8>) -> Result<Block, &'static str> {
        if content.len() < 16 || (kind != EVENTS && content.len() != 16) {
            return Err("the block's content is of a wrong length");
        }
        let (first, second) = (u64_at(&content, 0), u64_at(&content, 8));
        match kind {
            EVENTS => {
                let size = self.header.event.size;
                let expected = first
                    .checked_mul(size + 8)
                    .and_then(|bytes| bytes.checked_add(16));
                if first == 0 || expected != Some(content.len() as u64) {
                    return Err("the block's content is of a wrong length");
                }
                if second as Sequence != self.next {
                    return Err("its events do not follow those before");
                }
                if first as Sequence > SEQUENCE_END - self.next {
                    return Err("its events have sequences that no ring has");
                }
                let bytes = content.split_off(16 + first as usize * 8);
                let times = content[16..].as_chunks::<8>().0;
                let sequence = self.next;
                self.next += first as Sequence;
                self.events += first;
                Ok(Block::Events {
                    first: sequence,
                    times: times.iter().map(|time| u64::from_le_bytes(*time)).collect(),
                    bytes,
                })
            }
            GAP => {
                let (from, next) = (first as Sequence, second as Sequence);
                if from != self.next || next <= from {
                    return Err("its gap does not follow the events before");
                }
                if next > SEQUENCE_END {
                    return Err("its gap goes on at a sequence that no ring has");
                }
                self.next = next;
                Ok(Block::Gap { first: from, next })
            }
            END => {
                if (first as Sequence, second) != (self.next, self.events) {
                    return Err("the end block counts other events than there are");
                }
                self.has_ended = true;
                Ok(Block::End)
            }
            _ => Err("the block is of a kind that this version does not know"),
        }
    }
}

/// The header, and its length.
fn read_header(input: &mut impl Read) -> Result<(Header, u64), Fault> {
    let mut bytes = vec![0; FIXED_BYTES];
    let count = read_up_to(input, &mut bytes)?;
    let begins = bytes[..count.min(8)] == MAGIC[..count.min(8)];
    match count {
        0 => return Err(Fault::NotARecording),
        _ if !begins => return Err(Fault::NotARecording),
        // another version may have a shorter header
        16.. if u32_at(&bytes, 8) != VERSION => return Err(Fault::Version(u32_at(&bytes, 8))),
        FIXED_BYTES => {}
        _ => return Err(Fault::CutShort(count as u64)),
    }
    let length = u32_at(&bytes, 12) as usize;
    if !(FIXED_BYTES + 4..=HEADER_BYTES_MAX).contains(&length) {
        return Err(Fault::Damaged(
            0,
            "the header's length is one that no header has",
        ));
    }
    bytes.resize(length, 0);
    let count = FIXED_BYTES + read_up_to(input, &mut bytes[FIXED_BYTES..])?;
    if count < length {
        return Err(Fault::CutShort(count as u64));
    }
    if crc32fast::hash(&bytes[..length - 4]) != u32_at(&bytes, length - 4) {
        return Err(Fault::Damaged(0, "the header does not match its checksum"));
    }
    if u32_at(&bytes, 20) != BYTE_ORDER {
        return Err(Fault::ByteOrder);
    }
    let header = Header::decode(&bytes[..length - 4]).map_err(|what| Fault::Damaged(0, what))?;
    Ok((header, length as u64))
}

/// Reads until the buffer is full or the file ends.
fn read_up_to(input: &mut impl Read, bytes: &mut [u8]) -> Result<usize, Fault> {
    let mut count = 0;
    while count < bytes.len() {
        match input.read(&mut bytes[count..]) {
            Ok(0) => break,
            Ok(more) => count += more,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(Fault::Io(error)),
        }
    }
    Ok(count)
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(std::array::from_fn(|index| bytes[at + index]))
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(std::array::from_fn(|index| bytes[at + index]))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::FileExt;

    use super::*;

    fn header(is_compressed: bool) -> Header {
        Header {
            event: UntypedEvent {
                size: 8,
                align: 8,
                layout_id: 7,
                text: String::from("u64"),
                stride: 64,
                event_offset: 0,
                stamp_offset: 8,
            },
            capacity: 8,
            first: 3,
            is_compressed,
            is_lossless: false,
            is_observed: false,
            started_unix_ns: 1,
            ring_created_unix_ns: 2,
            ring: String::from("ring"),
        }
    }

    /// A recording with three events, a gap and another event.
    fn recorded(is_compressed: bool) -> (tempfile::TempDir, PathBuf) {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("recording");
        let file = File::create(&path).expect("create");
        let mut writer = Writer::new(file, &header(is_compressed)).expect("write");
        for sequence in [3, 4, 5, 9_i64] {
            let time = sequence as u64 * 10;
            writer
                .event(sequence, time, &sequence.to_le_bytes())
                .expect("write");
        }
        assert_eq!((writer.events, writer.gaps, writer.missed), (4, 1, 3));
        writer.end().expect("write");
        (directory, path)
    }

    fn read(path: &Path) -> Result<Vec<Block>, RecordingError> {
        let mut reader = Reader::open(path)?;
        let mut blocks = Vec::new();
        while let Some(block) = reader.block()? {
            blocks.push(block);
        }
        Ok(blocks)
    }

    #[test]
    fn a_recording_is_read_as_it_was_written() {
        for is_compressed in [false, true] {
            let (_directory, path) = recorded(is_compressed);
            assert_eq!(
                Reader::open(&path).expect("open").header(),
                &header(is_compressed)
            );
            let blocks = read(&path).expect("read");
            let bytes =
                |sequences: &[i64]| sequences.iter().flat_map(|it| it.to_le_bytes()).collect();
            let expected = [
                Block::Events {
                    first: 3,
                    times: vec![30, 40, 50],
                    bytes: bytes(&[3, 4, 5]),
                },
                Block::Gap { first: 6, next: 9 },
                Block::Events {
                    first: 9,
                    times: vec![90],
                    bytes: bytes(&[9]),
                },
                Block::End,
            ];
            assert_eq!(blocks, expected);
        }
    }

    #[test]
    fn a_block_may_be_as_long_as_the_writer_makes_one() {
        for (size, count) in [
            (1, 262_144),
            (8, 32_768),
            (262_143, 2),
            (262_144, 1),
            (EVENT_BYTES_MAX, 1),
        ] {
            let mut header = header(false);
            header.event.size = size;
            let expected = 16 + count * (8 + size);
            assert_eq!(header.content_bytes_max() as u64, expected, "{size}");
        }
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("recording");
        for (count, is_read) in [(32_768, true), (32_769, false)] {
            let file = File::create(&path).expect("create");
            let mut writer = Writer::new(file, &header(false)).expect("write");
            for index in 1..=count {
                let is_full = writer.event(2 + index, 0, &[0; 8]).expect("write");
                assert_eq!(is_full, index >= 32_768, "{index}");
            }
            writer.end().expect("write");
            let word = read(&path).err().map(|error| error.word());
            assert_eq!(word.is_none(), is_read, "{word:?}");
        }
    }

    #[test]
    fn sequences_that_no_ring_has_are_refused() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("recording");
        let word = |first: Sequence, add: &dyn Fn(&mut Writer) -> io::Result<()>| {
            let header = Header {
                first,
                ..header(false)
            };
            let file = File::create(&path).expect("create");
            let mut writer = Writer::new(file, &header).expect("write");
            add(&mut writer).expect("write");
            writer.end().expect("write");
            read(&path).err().map(|error| error.word())
        };
        let event = |writer: &mut Writer, sequence| writer.event(sequence, 0, &[0; 8]).map(drop);
        let last = SEQUENCE_END - 1;
        assert_eq!(word(last, &|writer| event(writer, last)), None);
        assert_eq!(word(3, &|writer| writer.go_on_at(SEQUENCE_END)), None);
        assert_eq!(word(SEQUENCE_END, &|_| Ok(())), None);
        for refused in [
            word(SEQUENCE_END, &|writer| event(writer, SEQUENCE_END)),
            word(3, &|writer| writer.go_on_at(SEQUENCE_END + 1)),
            word(3, &|writer| writer.go_on_at(i64::MAX)),
            word(i64::MAX, &|_| Ok(())),
            word(-1, &|_| Ok(())),
        ] {
            assert_eq!(refused, Some("damaged"));
        }
    }

    #[test]
    fn each_cut_and_each_flipped_bit_is_found() {
        for is_compressed in [false, true] {
            let (_directory, path) = recorded(is_compressed);
            let sound = std::fs::read(&path).expect("read");
            let options = File::options().write(true).open(&path);
            let file = options.expect("open");
            for bit in 0..sound.len() * 8 {
                let (at, byte) = ((bit / 8) as u64, sound[bit / 8]);
                file.write_all_at(&[byte ^ (1 << (bit % 8))], at)
                    .expect("write");
                assert!(read(&path).is_err(), "bit {bit}");
                file.write_all_at(&[byte], at).expect("write");
            }
            assert!(read(&path).is_ok());
            for length in (0..sound.len()).rev() {
                file.set_len(length as u64).expect("cut");
                let error = read(&path).expect_err("it is cut");
                let word = if length == 0 { "foreign" } else { "cut-short" };
                assert_eq!(error.word(), word, "{length}");
            }
        }
    }
}
