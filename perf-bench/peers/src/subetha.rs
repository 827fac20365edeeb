//! SubEtha: rings in files.

use std::error::Error;

use perf_bench::compare::{Link, Peer, Receiver, Sender, Transport, bytes_of, words_of};
use subetha::frame_ring::FrameRing;
use subetha::spsc_ring::SpscRingCore;

pub(crate) const PEER: Peer = Peer::across::<Subetha>(
    "subetha",
    "subetha-cxc 0.6.0: SpscRingCore, try_push and peek_slot, up to 64 bytes; FrameRing, send and recv_into, above; its \
     broadcast ring takes 52 bytes",
)
.limited_to(usize::MAX, 52);

pub(crate) struct Subetha;

pub(crate) enum Ring {
    /// Of slots of 64 bytes.
    Slots(SpscRingCore),
    /// Of frames of any length, with the receiver's copy of one.
    Frames(FrameRing, Vec<u8>),
}

/// The longest message that a slot takes, in bytes.
const SLOT_BYTES: usize = 64;

/// What a ring of frames is made of: messages, bytes of a descriptor, and bytes for the messages.
fn frames<const W: usize>(link: &Link) -> (usize, usize, usize) {
    (link.capacity, 64, link.capacity * W * 8)
}

fn text(error: impl std::fmt::Debug) -> Box<dyn Error> {
    format!("SubEtha: {error:?}").into()
}

impl Transport for Subetha {
    type Tx<const W: usize> = Ring;
    type Rx<const W: usize> = Ring;

    fn sender<const W: usize>(link: &Link) -> Result<Ring, Box<dyn Error>> {
        if W * 8 <= SLOT_BYTES {
            let ring = SpscRingCore::create(link.path(0), link.capacity);
            return Ok(Ring::Slots(ring.map_err(text)?));
        }
        let (capacity, slot, region) = frames::<W>(link);
        let ring = FrameRing::create(link.path(0), capacity, slot, region).map_err(text)?;
        Ok(Ring::Frames(ring, Vec::new()))
    }

    fn receiver<const W: usize>(link: &Link) -> Result<Ring, Box<dyn Error>> {
        if W * 8 <= SLOT_BYTES {
            let ring = SpscRingCore::open(link.path(0), link.capacity);
            return Ok(Ring::Slots(ring.map_err(text)?));
        }
        let (capacity, slot, region) = frames::<W>(link);
        let ring = FrameRing::open(link.path(0), capacity, slot, region).map_err(text)?;
        Ok(Ring::Frames(ring, Vec::new()))
    }
}

impl<const W: usize> Sender<W> for Ring {
    #[inline(always)]
    fn try_send(&mut self, write: &impl Fn(&mut [u64; W])) -> bool {
        let mut words = [0; W];
        write(&mut words);
        match self {
            Self::Slots(ring) => ring.try_push(bytes_of(&words)).is_ok(),
            Self::Frames(ring, _) => ring.send(bytes_of(&words)).is_ok(),
        }
    }
}

impl<const W: usize> Receiver<W> for Ring {
    #[inline(always)]
    fn receive(&mut self, mut read: impl FnMut(&[u64; W])) -> usize {
        match self {
            Self::Slots(ring) => {
                let Some(slot) = ring.peek_slot() else {
                    return 0;
                };
                words_of(slot.as_slice()).iter().for_each(&mut read);
                slot.confirm();
                1
            }
            Self::Frames(ring, message) => {
                if ring.recv_into(message).is_err() {
                    return 0;
                }
                words_of(message).iter().for_each(&mut read);
                1
            }
        }
    }
}
