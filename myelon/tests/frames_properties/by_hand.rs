//! Frames written by hand: sound, damaged and made up. A message is delivered exactly if its frames are, header
//! by header, the frames that its producer would have written.

use std::time::Duration;

use myelon::transport::{
    FRAME_HEADER_BYTES, FrameMeta, FramedTransportFrame, MAX_MESSAGE_BYTES, frame_flags,
};
use myelon::{Deadline, HeapRing, Sequence};
use proptest::collection::vec;
use proptest::prelude::*;

use super::{Rx, TIME_BYTES, Tx, bytes, depth, first_sequence, for_each_frame};

/// Under Miri a case takes seconds.
const CASES: u32 = if cfg!(miri) { 2 } else { 384 };
const PIECES: usize = if cfg!(miri) { 4 } else { 16 };

type Header = [u8; FRAME_HEADER_BYTES];

/// How the frames of a message are damaged.
#[derive(Clone, Copy, Debug)]
enum Damage {
    None,
    /// This bit of the header of this frame is flipped.
    Flip(usize, usize),
    /// This frame names a message that began this many sequences later.
    Foreign(usize, u32),
    /// This frame is missing.
    Missing(usize),
    /// This frame comes twice.
    Twice(usize),
    /// This frame and the next one are swapped.
    Swapped(usize),
    /// The message ends after this many frames.
    Cut(usize),
}

#[derive(Clone, Debug)]
enum Piece {
    Message(usize, bool, Damage),
    /// Any bytes.
    Bytes(Header),
    /// A header that is sound by itself. If the flag is true, its `msg_id` is that of its own sequence.
    Made(FrameMeta, bool),
}

#[derive(Clone, Debug)]
struct Scenario {
    depth: usize,
    first: Sequence,
    limit: usize,
    /// The consumer receives after this many frames.
    every: usize,
    pieces: Vec<Piece>,
}

fn piece() -> impl Strategy<Value = Piece> {
    let frame = 0usize..6;
    let damage = prop_oneof![
        2 => Just(Damage::None),
        3 => (frame.clone(), 0..8 * FRAME_HEADER_BYTES).prop_map(|(frame, bit)| Damage::Flip(frame, bit)),
        1 => (frame.clone(), 1u32..3).prop_map(|(frame, away)| Damage::Foreign(frame, away)),
        1 => frame.clone().prop_map(Damage::Missing),
        1 => frame.clone().prop_map(Damage::Twice),
        1 => frame.clone().prop_map(Damage::Swapped),
        1 => frame.prop_map(Damage::Cut),
    ];
    let len = prop_oneof![
        6 => 0u32..40,
        1 => Just(u32::MAX),
        1 => Just(MAX_MESSAGE_BYTES as u32),
        1 => any::<u32>(),
    ];
    let meta = (len, 0u8..2, 0u8..16, 0u32..3).prop_map(|(len, kind, flags, msg_id)| FrameMeta {
        len,
        kind,
        flags,
        msg_id,
    });
    prop_oneof![
        6 => (0usize..80, any::<bool>(), damage)
            .prop_map(|(len, is_timed, damage)| Piece::Message(len, is_timed, damage)),
        1 => any::<Header>().prop_map(Piece::Bytes),
        3 => (meta, any::<bool>()).prop_map(|(meta, is_here)| Piece::Made(meta, is_here)),
    ]
}

fn scenario() -> impl Strategy<Value = Scenario> {
    let limit = prop_oneof![3 => Just(MAX_MESSAGE_BYTES), 1 => 0usize..80];
    (
        depth(),
        first_sequence(),
        limit,
        1usize..20,
        vec(piece(), 1..PIECES),
    )
        .prop_map(|(depth, first, limit, every, pieces)| Scenario {
            depth,
            first,
            limit,
            every,
            pieces,
        })
}

for_each_frame!(play, CASES, scenario());

/// The headers of a sound message whose first frame has this `sequence`. `start.len` includes the time.
fn sound<F: FramedTransportFrame>(start: FrameMeta, sequence: Sequence) -> Vec<Header> {
    let frames = (start.len as usize).div_ceil(F::PAYLOAD_BYTES).max(1);
    let header = |index: usize| {
        let mut flags = start.flags & frame_flags::TIMED;
        if index == 0 {
            flags |= frame_flags::START;
        }
        if index + 1 == frames {
            flags |= frame_flags::END;
        }
        let meta = FrameMeta {
            len: start.len - (index * F::PAYLOAD_BYTES) as u32,
            kind: start.kind,
            flags,
            msg_id: sequence as u32,
        };
        meta.to_bytes()
    };
    (0..frames).map(header).collect()
}

/// The headers of all frames, in the order of the ring.
fn headers<F: FramedTransportFrame>(scenario: &Scenario) -> Vec<Header> {
    let mut all: Vec<Header> = Vec::new();
    for piece in &scenario.pieces {
        let sequence = scenario.first + all.len() as i64;
        match piece {
            Piece::Bytes(header) => all.push(*header),
            Piece::Made(meta, is_here) => all.push(
                FrameMeta {
                    msg_id: if *is_here {
                        sequence as u32
                    } else {
                        meta.msg_id
                    },
                    ..*meta
                }
                .to_bytes(),
            ),
            Piece::Message(len, is_timed, damage) => {
                let (time, flags) = match is_timed {
                    true => (TIME_BYTES, frame_flags::TIMED),
                    false => (0, 0),
                };
                let start = FrameMeta {
                    len: (len + time) as u32,
                    kind: *len as u8,
                    flags,
                    msg_id: 0,
                };
                let mut frames = sound::<F>(start, sequence);
                damage.act(&mut frames);
                all.extend(frames);
            }
        }
    }
    all
}

impl Damage {
    fn act(self, frames: &mut Vec<Header>) {
        let last = frames.len() - 1;
        match self {
            Self::None => {}
            Self::Flip(frame, bit) => frames[frame.min(last)][bit / 8] ^= 1 << (bit % 8),
            Self::Foreign(frame, away) => {
                let header = &mut frames[frame.min(last)];
                let mut meta = FrameMeta::from_bytes(header).expect("a sound header");
                meta.msg_id = meta.msg_id.wrapping_add(away);
                *header = meta.to_bytes();
            }
            Self::Missing(frame) => drop(frames.remove(frame.min(last))),
            Self::Twice(frame) => frames.insert(frame.min(last), frames[frame.min(last)]),
            Self::Swapped(frame) => frames.swap(frame.min(last), (frame + 1).min(last)),
            Self::Cut(frame) => frames.truncate(frame),
        }
    }
}

/// The message to be delivered that starts with the frame of this index, if one does.
fn message_at<F: FramedTransportFrame>(
    scenario: &Scenario,
    headers: &[Header],
    index: usize,
) -> Option<(u8, Vec<u8>)> {
    let start = FrameMeta::from_bytes(&headers[index])?;
    let is_timed = start.flags & frame_flags::TIMED != 0;
    let time = if is_timed { TIME_BYTES } else { 0 };
    let len = (start.len as usize).checked_sub(time)?;
    // a message longer than all frames together cannot be complete
    if len > scenario.limit || start.len as usize > headers.len() * F::PAYLOAD_BYTES {
        return None;
    }
    let frames = sound::<F>(start, scenario.first + index as i64);
    if !headers[index..].starts_with(&frames) {
        return None;
    }
    let payloads = (index..).flat_map(|index| bytes(F::PAYLOAD_BYTES, index));
    Some((start.kind, payloads.take(len).collect()))
}

/// Receives every message that is there, in a way that changes with `turn`.
fn drain<F: FramedTransportFrame>(rx: &mut Rx<F>, turn: usize, delivered: &mut Vec<(u8, Vec<u8>)>) {
    match turn % 3 {
        0 => {
            while let Some(message) = rx.try_recv().unwrap() {
                assert_eq!(message.meta().len, message.len());
                delivered.push((message.kind(), message.to_vec()));
            }
        }
        1 => {
            while let Ok(message) = rx.recv_owned(Deadline::after(Duration::ZERO)) {
                delivered.push(message);
            }
        }
        _ => {
            let mut take = |kind, message: &[u8]| delivered.push((kind, message.to_vec()));
            while rx.process_available_messages(&mut take).unwrap() > 0 {}
        }
    }
}

fn play<F: FramedTransportFrame>(scenario: Scenario) {
    let headers = headers::<F>(&scenario);
    let ring = HeapRing::<F>::with_first_sequence(scenario.depth, scenario.first).unwrap();
    let mut tx = Tx::<F>::from_builder(ring.builder()).unwrap();
    let mut rx = Rx::<F>::from_builder(ring.builder().with_consumer_id("reader")).unwrap();
    rx.limit_message_bytes(scenario.limit);
    let mut delivered = Vec::new();
    let write = |tx: &mut Tx<F>, index: usize| {
        tx.ring().try_publish(|frame| {
            *frame.header_mut() = headers[index];
            frame
                .payload_mut()
                .copy_from_slice(&bytes(F::PAYLOAD_BYTES, index));
        })
    };
    for index in 0..headers.len() {
        if write(&mut tx, index).is_err() {
            drain(&mut rx, index, &mut delivered);
            write(&mut tx, index).expect("what cannot be a message's is not held");
        }
        if index % scenario.every == 0 {
            drain(&mut rx, index, &mut delivered);
        }
    }
    drain(&mut rx, 0, &mut delivered);
    // whatever was in the ring, the next message arrives
    tx.try_publish(&[], 7).expect("space for one frame");
    let mut last = Vec::new();
    drain(&mut rx, 0, &mut last);
    assert_eq!(last, [(7, Vec::new())]);
    let expected: Vec<_> = (0..headers.len())
        .filter_map(|index| message_at::<F>(&scenario, &headers, index))
        .collect();
    assert_eq!(delivered, expected);
    assert_eq!(rx.received().messages, delivered.len() as u64 + 1);
}
