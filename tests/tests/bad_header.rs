//! Damaged segments. Attaching and creating must each refuse every fault with an error that names it, and leave
//! the file unchanged.
//!
//! Offsets are those of `docs/segment-layout.md`. Where a fault lies behind the checksum, the checksum is
//! forged, as a hostile writer would do, or an unlucky one might.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

use disruptor_mp::{MmapConsumer, MmapProducer, MmapTransportLayout, MultiProcessError};
use myelon_tests::assert_names;

const CAPACITY: usize = 16;
const HEADER_BYTES: usize = 624;
const CHECKSUM_AT: usize = 480;
const STATE_AT: usize = 488;

/// A sound segment whose producer died, in a directory of its own.
struct Segment {
    files: tempfile::TempDir,
    bytes: Vec<u8>,
}

impl Segment {
    fn new() -> Self {
        let files = tempfile::tempdir().expect("a directory");
        let layout = MmapTransportLayout::new(files.path(), "ring");
        let mut tx = MmapProducer::<u64>::create(&layout, CAPACITY, || 0).expect("create");
        tx.publish_batch(CAPACITY, |event, index| *event = index as u64);
        tx.keep().expect("keep");
        let bytes = fs::read(layout.path()).expect("read");
        Self { files, bytes }
    }

    fn layout(&self) -> MmapTransportLayout {
        MmapTransportLayout::new(self.files.path(), "ring")
    }

    fn path(&self) -> PathBuf {
        self.layout().path()
    }

    /// Gives the file these bytes. Attaching and creating must refuse it with an error that has all these
    /// words, and leave it unchanged.
    #[track_caller]
    fn refuse(&self, bytes: &[u8], kind: Kind, words: &[&str]) {
        fs::write(self.path(), bytes).expect("write");
        let before = fs::metadata(self.path()).expect("stat");
        let attach = MmapConsumer::<u64>::attach(&self.layout(), CAPACITY, "reader").map(drop);
        let create = MmapProducer::<u64>::create(&self.layout(), CAPACITY, || 0).map(drop);
        for (call, result) in [("attach", attach), ("create", create)] {
            let error = result.expect_err(call);
            assert!(kind.fits(&error), "{call}: {error:?}");
            assert_names(&error.to_string(), words);
            assert_names(&error.to_string(), &["ring"]);
        }
        let after = fs::metadata(self.path()).expect("stat");
        let identity =
            |stat: &fs::Metadata| (stat.ino(), stat.mtime(), stat.mtime_nsec(), stat.mode());
        assert_eq!(identity(&before), identity(&after));
        assert!(
            fs::read(self.path()).expect("read") == bytes,
            "the file was changed"
        );
        let entries = fs::read_dir(self.files.path()).expect("list").count();
        assert_eq!(entries, 1, "nothing else was made");
    }

    /// The sound bytes with `patch` at offset `at` and a matching checksum.
    fn forged(&self, at: usize, patch: &[u8]) -> Vec<u8> {
        let mut bytes = self.bytes.clone();
        bytes[at..at + patch.len()].copy_from_slice(patch);
        let sum = crc32fast::hash(&bytes[..CHECKSUM_AT]);
        bytes[CHECKSUM_AT..CHECKSUM_AT + 4].copy_from_slice(&sum.to_ne_bytes());
        bytes
    }

    fn word(&self, at: usize) -> u64 {
        u64::from_ne_bytes(self.bytes[at..at + 8].try_into().expect("eight bytes"))
    }
}

#[derive(Clone, Copy)]
enum Kind {
    NotARing,
    OtherVersion,
    Damaged,
}

impl Kind {
    fn fits(self, error: &MultiProcessError) -> bool {
        match self {
            Self::NotARing => matches!(error, MultiProcessError::NotARing { .. }),
            Self::OtherVersion => matches!(error, MultiProcessError::IncompatibleLayout { .. }),
            Self::Damaged => matches!(error, MultiProcessError::DamagedSegment { .. }),
        }
    }
}

const LEAVE_IT: &str = "it was left as it is";
const RECREATE: &str = "recreate() replaces it";

#[test]
fn control_an_unchanged_forgery_is_a_valid_ring() {
    let segment = Segment::new();
    let unchanged = segment.forged(0, b"DISRPTMP");
    assert!(
        unchanged == segment.bytes,
        "magic and checksum are where this test takes them to be"
    );
    assert_eq!(segment.word(32), segment.bytes.len() as u64);
    assert_eq!(segment.word(80), CAPACITY as u64);
    fs::write(segment.path(), unchanged).expect("write");
    let mut rx =
        MmapConsumer::<u64>::attach(&segment.layout(), CAPACITY, "reader").expect("attach");
    assert_eq!(rx.process_available(|_, _| {}), CAPACITY);
}

#[test]
fn foreign_file() {
    let segment = Segment::new();
    let text = "not a ring, but somebody's notes. ".repeat(40);
    segment.refuse(
        text.as_bytes(),
        Kind::NotARing,
        &["is not a ring", "starts with", "6e, 6f, 74", LEAVE_IT],
    );
}

#[test]
fn damaged_magic() {
    let segment = Segment::new();
    segment.refuse(
        &segment.forged(3, b"?"),
        Kind::NotARing,
        &["is not a ring", "starts with", LEAVE_IT],
    );
}

#[test]
fn empty_file() {
    let segment = Segment::new();
    segment.refuse(&[], Kind::NotARing, &["an empty file", LEAVE_IT]);
}

#[test]
fn file_shorter_than_a_header() {
    let segment = Segment::new();
    for length in [1, 8, HEADER_BYTES - 1] {
        let words = ["a file of ", &format!("{length} bytes"), LEAVE_IT];
        segment.refuse(&segment.bytes[..length], Kind::NotARing, &words);
    }
}

#[test]
fn truncated_file() {
    let segment = Segment::new();
    let full = segment.bytes.len();
    for length in [HEADER_BYTES, 4096, full / 2, full - 1] {
        let words = [
            "file length",
            &format!("is {length}"),
            &format!("expected {full}"),
            RECREATE,
        ];
        segment.refuse(&segment.bytes[..length], Kind::Damaged, &words);
    }
}

#[test]
fn file_longer_than_its_header_says() {
    let segment = Segment::new();
    let mut longer = segment.bytes.clone();
    longer.extend([0; 4096]);
    segment.refuse(
        &longer,
        Kind::Damaged,
        &["file length", &longer.len().to_string(), RECREATE],
    );
}

#[test]
fn other_byte_order() {
    let segment = Segment::new();
    let swapped = segment.forged(8, &0x0A0B_0C0D_u32.swap_bytes().to_ne_bytes());
    let words = ["byte order", "0d0c0b0a", "expected 0a0b0c0d"];
    segment.refuse(&swapped, Kind::OtherVersion, &words);
}

#[test]
fn other_layout_version() {
    let segment = Segment::new();
    let ours = u32::from_ne_bytes(segment.bytes[12..16].try_into().expect("four bytes"));
    for version in [0, ours + 1, u32::MAX] {
        let words = [
            "layout version",
            &format!("is {version},"),
            &format!("expected {ours}"),
        ];
        segment.refuse(
            &segment.forged(12, &version.to_ne_bytes()),
            Kind::OtherVersion,
            &words,
        );
    }
}

#[test]
fn required_features_that_are_unknown() {
    let segment = Segment::new();
    let bytes = segment.forged(16, &0x8000_0001_u64.to_ne_bytes());
    segment.refuse(
        &bytes,
        Kind::OtherVersion,
        &["required features", "0x80000001", "expected 0x1 or none"],
    );
}

#[test]
fn optional_features_that_are_unknown_do_no_harm() {
    let segment = Segment::new();
    fs::write(segment.path(), segment.forged(24, &(!1_u64).to_ne_bytes())).expect("write");
    let mut rx =
        MmapConsumer::<u64>::attach(&segment.layout(), CAPACITY, "reader").expect("attach");
    assert_eq!(rx.process_available(|_, _| {}), CAPACITY);
}

#[test]
fn checksum_that_does_not_fit() {
    let segment = Segment::new();
    for at in [40, 112, 160, 300, 470, CHECKSUM_AT, CHECKSUM_AT + 3] {
        let mut bytes = segment.bytes.clone();
        bytes[at] ^= 0x40;
        segment.refuse(&bytes, Kind::Damaged, &["checksum", "expected", RECREATE]);
    }
}

#[test]
fn state_that_is_not_ready() {
    let segment = Segment::new();
    for state in [0_u32, 1, u32::MAX] {
        let mut bytes = segment.bytes.clone();
        bytes[STATE_AT..STATE_AT + 4].copy_from_slice(&state.to_ne_bytes());
        let words = [
            "state",
            &format!("{state:08x}"),
            "a finished segment",
            RECREATE,
        ];
        segment.refuse(&bytes, Kind::Damaged, &words);
    }
}

#[test]
fn geometry_that_does_not_hold_together_under_a_valid_checksum() {
    let segment = Segment::new();
    let length = segment.word(32);
    // offset in the header, the value that is put there, and the field's name in the error
    let faults: [(usize, u64, &str); 28] = [
        (32, 0, "segment length"),
        (32, length - 4096, "segment length"),
        (32, length + 4096, "file length"),
        (32, u64::MAX, "segment length"),
        (40, 0, "control offset"),
        (40, 8192, "control offset"),
        (48, 0, "control length"),
        (48, u64::MAX, "control length"),
        (56, 0, "slots offset"),
        (56, 4096, "slots offset"),
        (56, segment.word(56) + 64, "slots offset"),
        (56, !4095, "slots offset"),
        (64, 0, "slot shape"),
        (64, 8, "slot shape"),
        (64, u64::MAX, "slot shape"),
        (72, u64::MAX, "slot shape"),
        (72, 1, "slot shape"),
        (80, 0, "capacity"),
        (80, 3, "capacity"),
        (80, 1 << 62, "capacity"),
        (80, 1 << 40, "segment length"),
        (88, 0, "event size"),
        (88, u64::MAX, "event size"),
        (88, 9, "event size"),
        (96, 0, "alignment"),
        (96, 3, "alignment"),
        (112, 1 << 61, "first sequence"),
        (112, u64::MAX, "first sequence"),
    ];
    for (at, value, what) in faults {
        segment.refuse(
            &segment.forged(at, &value.to_ne_bytes()),
            Kind::Damaged,
            &[what, "expected", RECREATE],
        );
    }
    for lines in [0_u32, 63, u32::MAX] {
        let bytes = segment.forged(120, &lines.to_ne_bytes());
        segment.refuse(
            &bytes,
            Kind::Damaged,
            &[
                "number of consumer lines",
                &lines.to_string(),
                "expected 64",
            ],
        );
    }
}

#[test]
fn recreate_replaces_what_is_damaged_or_of_another_version() {
    let segment = Segment::new();
    let mut unsummed = segment.bytes.clone();
    unsummed[112] ^= 1;
    let version = segment.forged(12, &77_u32.to_ne_bytes());
    let truncated = segment.bytes[..4096].to_vec();
    for bytes in [unsummed, version, truncated] {
        fs::write(segment.path(), &bytes).expect("write");
        // held open, so that the new file does not get the old one's inode number
        let old = fs::File::open(segment.path()).expect("open");
        let before = old.metadata().expect("stat").ino();
        let mut tx = MmapProducer::<u64>::builder(&segment.layout(), 32)
            .recreate()
            .build_producer(|| 7)
            .expect("recreate");
        assert_ne!(
            fs::metadata(segment.path()).expect("stat").ino(),
            before,
            "replaced, not repaired"
        );
        assert_eq!(tx.try_publish(|event| *event += 1), Ok(0));
        tx.keep().expect("keep");
    }
}

/// The states in which a power cut leaves a segment that was not on the disk, or only in part.
fn remnants(segment: &Segment) -> Vec<Vec<u8>> {
    let sound = &segment.bytes;
    let zeros = vec![0; sound.len()];
    let mut without_header = sound.clone();
    without_header[..4096].fill(0);
    let mut without_magic = sound.clone();
    without_magic[..8].fill(0);
    let short = |length: usize| sound[..length].to_vec();
    let whole = [Vec::new(), zeros.clone(), without_header, without_magic];
    let parts = [
        short(5),
        short(100),
        short(HEADER_BYTES),
        zeros[..300].to_vec(),
    ];
    whole.into_iter().chain(parts).collect()
}

#[test]
fn recreate_replaces_what_a_power_cut_left() {
    let segment = Segment::new();
    for bytes in remnants(&segment) {
        fs::write(segment.path(), &bytes).expect("write");
        let builder = || MmapProducer::<u64>::builder(&segment.layout(), 32);
        let refused = builder().build_producer(|| 7).expect_err("not by itself");
        assert_names(&refused.to_string(), &["recreate()"]);
        let attached = builder().build_consumer().expect_err("nor by a consumer");
        assert_names(&attached.to_string(), &["recreate()"]);
        assert!(fs::read(segment.path()).expect("read") == bytes);
        let mut tx = builder().recreate().build_producer(|| 7).expect("recreate");
        assert_eq!(tx.try_publish(|event| *event += 1), Ok(0));
        tx.keep().expect("keep");
    }
}

#[test]
fn recreate_leaves_a_damaged_ring_alone_while_a_process_uses_it() {
    let segment = Segment::new();
    let rx = MmapConsumer::<u64>::attach(&segment.layout(), CAPACITY, "reader").expect("attach");
    for bytes in remnants(&segment)
        .into_iter()
        .filter(|bytes| bytes.len() > HEADER_BYTES)
    {
        // only page 0: the reader has mapped the other pages
        let file = fs::File::options()
            .write(true)
            .open(segment.path())
            .expect("open");
        std::os::unix::fs::FileExt::write_all_at(&file, &bytes[..HEADER_BYTES], 0).expect("write");
        let builder = MmapProducer::<u64>::builder(&segment.layout(), 32).recreate();
        let error = builder.build_producer(|| 7).expect_err("a reader");
        assert!(
            matches!(error, MultiProcessError::InUse { .. }),
            "{error:?}"
        );
        assert_names(&error.to_string(), &["a live process uses it"]);
    }
    drop(rx);
    let builder = MmapProducer::<u64>::builder(&segment.layout(), 32).recreate();
    builder
        .build_producer(|| 7)
        .expect("recreate")
        .destroy()
        .expect("destroy");
}

#[test]
fn recreate_leaves_alone_what_is_no_ring() {
    let segment = Segment::new();
    let mut disk_image = vec![0; 8192];
    disk_image[1024 + 56..1024 + 58].copy_from_slice(&[0x53, 0xef]);
    for bytes in [&b"somebody's notes"[..], b"\0\0\0\0\x01", &disk_image] {
        fs::write(segment.path(), bytes).expect("write");
        let result = MmapProducer::<u64>::builder(&segment.layout(), 32)
            .recreate()
            .build_producer(|| 7);
        let error = result.expect_err("no ring");
        assert!(Kind::NotARing.fits(&error), "{error:?}");
        assert!(fs::read(segment.path()).expect("read") == bytes);
    }
}
