//! Reading one field of an archive in place: the cost of checking the whole archive, by itself. The peer rests.

use std::hint::black_box;

use myelon::codec::{Codec, Rkyv, ZeroCopyCodec};
use myelon::rkyv::util::AlignedVec;
use myelon::rkyv::{self, Archive, Deserialize, Serialize};

use super::{Endpoint, Failure, Outcome, in_blocks};
use crate::arena::{Arena, Role};
use crate::clock::Clock;
use crate::fault::{Fault, Round};
use crate::payload::key;
use crate::spec::{Spec, Work};

/// A message that consists mainly of one byte vector.
#[derive(Archive, Serialize, Deserialize, serde::Serialize, serde::Deserialize)]
#[rkyv(crate = rkyv)]
pub(crate) struct Flat {
    pub(crate) bytes: Vec<u8>,
    pub(crate) id: u64,
}

impl Flat {
    /// Makes a message whose archive takes that many bytes.
    pub(crate) fn new(archive_bytes: usize) -> Self {
        Self {
            bytes: vec![1; archive_bytes - ROOT_BYTES],
            id: 0,
        }
    }
}

/// A message of many small values.
#[derive(Archive, Serialize, Deserialize)]
#[rkyv(crate = rkyv)]
struct Nested {
    parts: Vec<Part>,
    id: u64,
}

#[derive(Archive, Serialize, Deserialize)]
#[rkyv(crate = rkyv)]
struct Part {
    name: String,
    numbers: Vec<u32>,
}

/// Bytes of an archived [`Part`] with its numbers. The name is stored within the part.
const PART_BYTES: usize = 16 + NUMBERS * size_of::<u32>();
const NUMBERS: usize = 12;
/// Bytes of either message besides its bulk.
const ROOT_BYTES: usize = 16;

/// The driver's end.
pub(crate) struct Access {
    archive: AlignedVec,
    len: usize,
    is_nested: bool,
    id: u64,
}

impl Access {
    pub(crate) fn open(spec: &Spec) -> Result<Self, Failure> {
        let id = key(7, spec.size_bytes as u64);
        let mut archive = AlignedVec::new();
        archive.resize(spec.size_bytes, 0);
        let is_nested = spec.work == Work::Access { nested: true };
        let encoded = if is_nested {
            let part = |number: usize| Part {
                name: format!("{:07}", number % 10_000_000),
                numbers: vec![number as u32; NUMBERS],
            };
            let bulk = spec.size_bytes - ROOT_BYTES;
            let parts = (0..bulk / PART_BYTES).map(part).collect();
            Rkyv(Nested { parts, id }).encode_into(&mut archive)?
        } else {
            let mut flat = Flat::new(spec.size_bytes);
            flat.id = id;
            Rkyv(flat).encode_into(&mut archive)?
        };
        let len = encoded.ok_or("the archive is larger than it was made to be")?;
        Ok(Self {
            archive,
            len,
            is_nested,
            id,
        })
    }

    /// Reads the field from the archive.
    #[inline(always)]
    fn id<T: ZeroCopyCodec>(&self, read: impl FnOnce(T::Archived<'_>) -> u64) -> u64 {
        T::access(black_box(&self.archive[..self.len])).map_or(0, read)
    }
}

impl Endpoint for Access {
    fn run(&mut self, arena: &mut Arena, clock: &Clock, round: Round) -> Outcome {
        arena.meet();
        if arena.role() == Role::Peer {
            return Outcome::default();
        }
        let mut sum = 0_u64;
        let outcome = in_blocks(clock, round.count, |block| {
            for _ in block {
                sum = sum.wrapping_add(match self.is_nested {
                    true => self.id::<Rkyv<Nested>>(|nested| nested.id.to_native()),
                    false => self.id::<Rkyv<Flat>>(|flat| flat.id.to_native()),
                });
            }
        });
        // one read more, one less, or one of another value
        let surplus = match round.fault {
            Some(Fault::Flip) => 1,
            Some(Fault::Lose) => self.id.wrapping_neg(),
            Some(Fault::Double) => self.id,
            Some(Fault::Slow) | None => 0,
        };
        Outcome {
            hash: sum.wrapping_add(surplus),
            expected: self.id.wrapping_mul(round.count),
            ..outcome
        }
    }
}
