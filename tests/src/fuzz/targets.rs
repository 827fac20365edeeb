//! The drivers of rings and counters: each interprets its bytes.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::time::Duration;

use arbitrary::{Arbitrary, Result, Unstructured};
use disruptor_mp::inspect::{Inspector, check_removal};
use disruptor_mp::observability::{CounterId, CountersFile};
use disruptor_mp::{
    CounterHandle, HeapRing, MappedFile, MmapProducer, MmapTransportLayout, Sequence,
    ring_in_header,
};

use super::arena;
use super::calls::{Call, Party};
use super::mutation::{Mutation, Ring, repair};
use super::plant::PLANT;
use super::sample::{Packed, Sample, Wide};
use crate::Record;

/// How many steps one input takes at most.
const STEPS_MAX: usize = 64;
/// The greatest length of a foreign file, in bytes.
const FILE_MAX: usize = 64 << 10;
const PAGE: usize = 4096;
/// The offset of the slots in a small ring.
const SLOTS_AT: usize = 16384;
/// The offset of the slots in a counters file.
const COUNTERS_AT: usize = 128;
const COUNTER_BYTES: usize = 512;

/// Runs `play` on these bytes. An input that ends early is no failure.
fn drive(bytes: &[u8], play: impl FnOnce(&mut Unstructured<'_>) -> Result<()>) {
    let _ = play(&mut Unstructured::new(bytes));
}

/// Parses header bytes as they are, or with a forged checksum: a ring that is accepted must lie within the file.
pub(super) fn header(bytes: &[u8]) {
    drive(bytes, |u| {
        let (is_repaired, claimed) = (u.arbitrary::<bool>()?, u.arbitrary::<Option<u64>>()?);
        let mut page = {
            let rest = u.len();
            u.bytes(rest)?.to_vec()
        };
        if is_repaired {
            repair(&mut page);
        }
        // by default the file is as long as the header claims, because that length passes the most checks
        let own = page.get(32..40).and_then(|word| word.first_chunk::<8>());
        let file_len = claimed.unwrap_or(own.map_or(0, |word| u64::from_ne_bytes(*word)));
        if let Ok(ring) = ring_in_header(&page, file_len) {
            assert!(
                ring.start >= SLOTS_AT as u64 && ring.start < ring.end,
                "{ring:?}"
            );
            assert!(ring.end <= file_len, "{ring:?} of {file_len}");
        }
        Ok(())
    });
}

/// Takes any bytes as a segment file. Then every role tries to attach, and uses the handles that it gets.
pub(super) fn attach_raw(bytes: &[u8]) {
    drive(bytes, |u| match u.int_in_range(0..=3)? {
        0 => attach_raw_as::<u64>(u),
        1 => attach_raw_as::<Packed>(u),
        2 => attach_raw_as::<Wide>(u),
        _ => attach_raw_as::<Record>(u),
    });
}

fn attach_raw_as<E: Sample>(u: &mut Unstructured<'_>) -> Result<()> {
    let capacity = 1 << u.int_in_range(0..=4)?;
    let mut file = raw_file(u, SLOTS_AT + PAGE)?;
    if u.arbitrary()? {
        repair(&mut file);
    }
    let calls = steps::<Call>(u)?;
    arena::enter(|layout| {
        std::fs::write(layout.path(), &file).expect("write");
        see_from_outside(layout);
        let mut party = party::<E>(layout, capacity);
        for call in calls {
            party.call(call);
        }
    });
    Ok(())
}

/// Makes a file of any bytes: the fuzzer's bytes as they are, or patches on zeros.
fn raw_file(u: &mut Unstructured<'_>, most: usize) -> Result<Vec<u8>> {
    if u.arbitrary()? {
        let length = u.int_in_range(0..=FILE_MAX.min(u.len()))?;
        return Ok(u.bytes(length)?.to_vec());
    }
    let mut file = vec![0; u.int_in_range(0..=most)?];
    for _ in 0..u.int_in_range(0..=40)? {
        let at = u.int_in_range(0..=most)?;
        let length = u.int_in_range(0..=255.min(u.len()))?;
        let patch = u.bytes(length)?;
        if let Some(room) = file.get_mut(at..at + patch.len()) {
            room.copy_from_slice(patch);
        }
    }
    Ok(file)
}

/// Plays a sound segment that others have used, then a hostile peer's stores, then every role.
pub(super) fn attach_mutated(bytes: &[u8]) {
    drive(bytes, |u| for_any_event(u, false));
}

/// Alternates stores of a hostile peer with calls of every role.
pub(super) fn interleaved(bytes: &[u8]) {
    drive(bytes, |u| for_any_event(u, true));
}

fn for_any_event(u: &mut Unstructured<'_>, is_interleaved: bool) -> Result<()> {
    match u.int_in_range(0..=3)? {
        0 => mutated::<u64>(u, is_interleaved),
        1 => mutated::<Packed>(u, is_interleaved),
        2 => mutated::<Wide>(u, is_interleaved),
        _ => mutated::<Record>(u, is_interleaved),
    }
}

/// A store of the hostile peer, or a call of the party.
#[derive(Arbitrary, Clone, Copy, Debug)]
enum Step {
    Store(Mutation),
    Call(Call),
}

fn mutated<E: Sample>(u: &mut Unstructured<'_>, is_interleaved: bool) -> Result<()> {
    let capacity = 1 << u.int_in_range(0..=4)?;
    let first = first_sequence(u)?;
    let history = Story::arbitrary(u)?;
    let stores = match is_interleaved {
        true => Vec::new(),
        false => some::<Mutation>(u, 16)?,
    };
    let steps = match is_interleaved {
        true => steps::<Step>(u)?,
        false => steps::<Call>(u)?.into_iter().map(Step::Call).collect(),
    };
    arena::enter(|layout| {
        let mut party = party::<E>(layout, capacity);
        history.play::<E>(layout, capacity, first, &mut party, is_interleaved);
        let Ok(file) = OpenOptions::new()
            .read(true)
            .write(true)
            .open(layout.path())
        else {
            return; // the ring was closed and drained, so its name is gone
        };
        let ring = Ring::of(&file).expect("a sound header");
        for store in stores {
            store.apply(&file, &ring);
            act_out_plant(&file, &ring);
        }
        see_from_outside(layout);
        for step in steps {
            match step {
                Step::Store(store) => store.apply(&file, &ring),
                Step::Call(call) => party.call(call),
            }
            act_out_plant(&file, &ring);
        }
        see_from_outside(layout);
    });
    Ok(())
}

/// Reads whatever is there from outside. Whether it is a ring or not, this ends, and shows nothing impossible.
fn see_from_outside(layout: &MmapTransportLayout) {
    let Ok(mut ring) = Inspector::open(layout.path()) else {
        return;
    };
    let Ok(seen) = ring.snapshot() else {
        return;
    };
    let capacity = ring.info().capacity;
    assert!(
        seen.consumers
            .iter()
            .all(|consumer| consumer.lag <= capacity)
    );
    assert!(seen.floor <= seen.published, "{seen:?}");
    let mut bytes = [0; 64];
    for sequence in [seen.floor, seen.published, seen.published.wrapping_add(1)] {
        let _ = ring.read_event(sequence, &mut bytes);
    }
    let _ = check_removal(layout.path());
}

fn act_out_plant(file: &File, ring: &Ring) {
    if let Some(plant) = *PLANT {
        plant.act(file, ring);
    }
}

/// The ring's history before the first step.
#[derive(Arbitrary, Clone, Copy, Debug)]
struct Story {
    published: u8,
    consumed: u8,
    /// Which consumers attached, as bits.
    consumers: u8,
    /// How the producer ended.
    end: u8,
}

impl Story {
    fn play<E: Sample>(
        self,
        layout: &MmapTransportLayout,
        capacity: usize,
        first: Sequence,
        party: &mut Party<E, MappedFile>,
        stays: bool,
    ) {
        let tx = MmapProducer::builder(layout, capacity).with_first_sequence(first);
        let mut tx = tx.build_producer(E::default).expect("create");
        // one id that the party uses, and one that it does not use
        for (bit, id) in [(1, "alpha"), (2, "stranger")] {
            if self.consumers & bit == 0 {
                continue;
            }
            let rx = MmapProducer::<E>::builder(layout, capacity).with_consumer_id(id);
            let mut rx = rx.build_consumer().expect("attach");
            for number in 0..self.published % 8 {
                let _ = tx.try_publish(|event| *event = E::of(number.into()));
            }
            for _ in 0..self.consumed % 8 {
                rx.try_consume_next();
            }
        }
        if stays {
            // the ring is kept, and the party's own producer takes it over
            tx.keep().expect("keep");
            party.call(Call::Produce(112));
        } else if self.end & 1 == 0 {
            tx.keep().expect("keep");
        } else {
            let unread = [(); 2].map(|()| 0);
            let _ =
                tx.try_batch_publish(unread.len(), |event, index| *event = E::of(unread[index]));
            drop(tx);
        }
    }
}

fn first_sequence(u: &mut Unstructured<'_>) -> Result<Sequence> {
    Ok(*u.choose(&[
        0,
        0,
        5,
        (1 << 32) - 2,
        (1 << 61) - 1,
        (1 << 61) - 4,
        (1 << 61) - 40,
    ])?)
}

fn party<E: Sample>(layout: &MmapTransportLayout, capacity: usize) -> Party<E, MappedFile> {
    let layout = layout.clone();
    let builder = move |capacity| MmapProducer::builder(&layout, capacity);
    Party::new(builder, capacity, Duration::ZERO, 1)
}

/// As many steps as the bytes provide, up to [`STEPS_MAX`].
fn steps<'a, T: Arbitrary<'a>>(u: &mut Unstructured<'a>) -> Result<Vec<T>> {
    let mut steps = Vec::new();
    while !u.is_empty() && steps.len() < STEPS_MAX {
        steps.push(u.arbitrary()?);
    }
    Ok(steps)
}

fn some<'a, T: Arbitrary<'a>>(u: &mut Unstructured<'a>, most: usize) -> Result<Vec<T>> {
    let count = u.int_in_range(0..=most)?;
    (0..count).map(|_| u.arbitrary()).collect()
}

/// A call on a counters file.
#[derive(Arbitrary, Clone, Copy, Debug)]
enum CountersStep {
    Open,
    Create,
    Snapshot,
    Claim(u16, u8),
    Add(u64),
    Sweep,
    Attach,
    Drop,
    Store(u16, u8, u64),
}

/// Takes any bytes as a counters file, and makes stores in the file while it is in use.
pub(super) fn counters_file(bytes: &[u8]) {
    drive(bytes, |u| {
        let most = COUNTERS_AT + 4 * COUNTER_BYTES;
        let file = match u.arbitrary()? {
            true => Some(raw_file(u, most)?),
            false => None,
        };
        let is_sound = u.arbitrary()?;
        let steps = steps::<CountersStep>(u)?;
        arena::enter(|layout| {
            if let Some(mut bytes) = file {
                if is_sound {
                    forge_counters_header(&mut bytes);
                }
                std::fs::write(layout.path(), bytes).expect("write");
            }
            use_counters(layout, steps);
        });
        Ok(())
    });
}

/// Writes a header for as many slots as the file has room for.
fn forge_counters_header(bytes: &mut [u8]) {
    let count = (bytes.len().saturating_sub(COUNTERS_AT) / COUNTER_BYTES) as u32;
    let fields = [2, count, COUNTER_BYTES as u32, COUNTERS_AT as u32];
    let fields = fields.map(u32::to_ne_bytes).concat();
    if let Some(header) = bytes.get_mut(..24) {
        header[..8].copy_from_slice(b"MYLNCNT\0");
        header[8..].copy_from_slice(&fields);
    }
}

fn use_counters(layout: &MmapTransportLayout, steps: Vec<CountersStep>) {
    let ring = HeapRing::<u64>::new(4).expect("a ring");
    let mut tx = ring.producer().expect("a producer");
    let mut table: Option<CountersFile> = None;
    let mut handles: Vec<CounterHandle> = Vec::new();
    for step in steps {
        match (step, &table) {
            (CountersStep::Open, _) => table = CountersFile::open(layout.path()).ok().or(table),
            (CountersStep::Create, _) => table = CountersFile::create(layout.path()).ok().or(table),
            (CountersStep::Store(slot, word, value), _) => {
                let file = OpenOptions::new().write(true).open(layout.path());
                let at = COUNTERS_AT
                    + usize::from(slot % 5) * COUNTER_BYTES
                    + usize::from(word % 64) * 8;
                if let Ok(file) = file
                    && file.metadata().expect("stat").len() >= at as u64 + 8
                {
                    file.write_all_at(&value.to_ne_bytes(), at as u64)
                        .expect("a store");
                }
            }
            (CountersStep::Drop, _) => drop(handles.pop()),
            (CountersStep::Add(n), _) => handles.iter().for_each(|handle| {
                handle.add(n);
                std::hint::black_box(handle.get());
            }),
            (_, None) => {}
            (CountersStep::Snapshot, Some(file)) => {
                for counter in file.snapshot() {
                    assert!(counter.label.len() <= 3 * 432, "{counter:?}");
                }
            }
            (CountersStep::Claim(id, label), Some(file)) => {
                let id = CounterId::application(u32::from(id));
                handles.extend(file.counter(id, &"x".repeat(usize::from(label % 50))).ok());
            }
            (CountersStep::Sweep, Some(file)) => {
                let _ = file.sweep().map_err(|error| error.to_string());
            }
            (CountersStep::Attach, Some(file)) => {
                let _ = tx.attach_counters(file).map_err(|error| error.to_string());
                let _ = tx.try_publish(|event| *event = 1);
                std::hint::black_box(tx.counters());
            }
        }
    }
}
