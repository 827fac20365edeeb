//! `pingpong`, `stream` and others: which cells a choice of layers, backends, wait strategies and sizes gives.

use std::path::Path;

use crate::backend::Backend;
use crate::layers::{DEPTH, LARGE_FRAME_BYTES};
use crate::payload::{SIZES, Words};
use crate::plan::{COPIED_TOGETHER, Cell, Plan};
use crate::scenario::{BATCH, FRAMES, LARGE_FRAMES};
use crate::spec::{Beside, Layer, Work};
use crate::strategy::Strategy;

/// Sizes of messages in frames, in bytes: powers of two within this range.
pub(crate) const FRAMED_SIZES: std::ops::RangeInclusive<usize> = 8..=1 << 26;
/// The shortest archive that is read in place, in bytes.
const ARCHIVE_MIN: usize = 64;
/// Bytes that a codec adds to a byte vector at most.
const ADDED_BY_CODECS: usize = 64;
/// Bytes of a ring, unless one message needs more.
const RING_BYTES: usize = 8 << 20;

/// A choice.
#[derive(Clone, Debug)]
pub(crate) struct Selection<'a> {
    pub(crate) layers: &'a [Layer],
    pub(crate) backends: &'a [Backend],
    pub(crate) strategies: &'a [Strategy],
    pub(crate) sizes: &'a [usize],
    /// Slots or frames of each ring; otherwise they follow from the size.
    pub(crate) capacity: Option<usize>,
    pub(crate) traffic: Traffic,
    /// What to measure each cell with.
    pub(crate) besides: &'a [Beside],
    /// The directories of file-backed rings: on tmpfs and on a disk.
    pub(crate) roots: (&'a Path, &'a Path),
}

/// What is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Traffic {
    /// Messages and their replies, at a fixed rate if there is one.
    PingPong { per_s: Option<u64> },
    /// Messages one way, `batch` per publish, or at a fixed rate.
    Stream { batch: usize, per_s: Option<u64> },
    /// Messages one way to so many receivers.
    Broadcast { receivers: usize },
}

impl Traffic {
    fn per_s(self) -> Option<u64> {
        match self {
            Self::PingPong { per_s } | Self::Stream { per_s, .. } => per_s,
            Self::Broadcast { .. } => None,
        }
    }
}

/// Messages one way, one by one.
pub(crate) const ONE_WAY: Traffic = Traffic::Stream {
    batch: 1,
    per_s: None,
};

/// Whether the layer has messages of that size.
fn suits(layer: Layer, size: usize) -> bool {
    match layer {
        Layer::Raw => SIZES.contains(&size),
        Layer::InPlace => size.is_power_of_two() && size >= ARCHIVE_MIN,
        _ => size.is_power_of_two(),
    }
}

/// The payload of the smallest frames that take a message whole; a longer message is split into the largest ones.
fn frame_bytes(layer: Layer, size: usize) -> usize {
    match layer {
        Layer::Raw => size,
        Layer::Framed => class_of(&FRAMES, size),
        Layer::InPlace => whole(size),
        _ => class_of(&FRAMES, size + ADDED_BY_CODECS),
    }
}

fn class_of(classes: &[usize], len: usize) -> usize {
    let fits = classes.iter().find(|&&class| class >= len);
    *fits.unwrap_or(&LARGE_FRAME_BYTES)
}

/// The payload of the smallest frames that take a message of this length whole, however long it is.
pub(crate) fn whole(len: usize) -> usize {
    class_of(&[&FRAMES[..], &LARGE_FRAMES].concat(), len)
}

/// The frames of a ring: `most`, or as many as [`RING_BYTES`] hold, but at least two messages.
pub(crate) fn depth(size: usize, frame_bytes: usize, most: usize) -> usize {
    let frames_of_message = (size + ADDED_BY_CODECS).div_ceil(frame_bytes);
    let needed = (2 * frames_of_message).next_power_of_two();
    let wanted = (RING_BYTES / frame_bytes).clamp(2, most);
    // the quotient of two powers of two, or of a power of two and a raw size
    let wanted = 1 << wanted.ilog2();
    needed.max(wanted)
}

/// A ring of events of 56 bytes in shared memory, for messages one way.
pub(crate) fn of_events(strategy: Strategy, capacity: Option<usize>) -> Plan {
    let selection = Selection {
        layers: &[Layer::Raw],
        backends: &[Backend::Shm],
        strategies: &[strategy],
        sizes: &[size_of::<Words<7>>()],
        capacity,
        traffic: ONE_WAY,
        besides: &[Beside::Nothing],
        roots: (Path::new(""), Path::new("")),
    };
    selection.rings()
}

impl Selection<'_> {
    /// The cells, each after the floor that it is compared with: round trips and latencies with the two-line bounce,
    /// streams with a bare stream or, above its sizes, with copying what the other core has written.
    pub(crate) fn plan(&self) -> Plan {
        let mut plan = Plan::default();
        plan.add_floor(Work::OneLineBounce, 8, 1);
        let two_lines = plan.add_floor(Work::TwoLineBounce, 8, 1);
        for &size in self.sizes {
            let layers = || {
                let all = self.layers.iter();
                all.copied().filter(|&layer| suits(layer, size))
            };
            if layers().next().is_none() {
                continue;
            }
            let floor = match self.traffic {
                Traffic::Stream { batch, per_s: None } => add_stream_floor(&mut plan, size, batch),
                _ => two_lines,
            };
            for layer in layers() {
                for &backend in self.backends {
                    for &strategy in self.strategies {
                        for &beside in self.besides {
                            let traffic = self.traffic;
                            let cell = self.add(&mut plan, (layer, size), backend, traffic);
                            cell.floor = floor;
                            cell.spec.strategy = strategy;
                            cell.spec.beside = beside;
                        }
                    }
                }
            }
        }
        plan
    }

    /// The rings alone, without floors; all have the first of the wait strategies.
    pub(crate) fn rings(&self) -> Plan {
        let mut plan = Plan::default();
        for &size in self.sizes {
            for &layer in self.layers.iter().filter(|&&layer| suits(layer, size)) {
                for &backend in self.backends {
                    let cell = self.add(&mut plan, (layer, size), backend, self.traffic);
                    cell.spec.strategy = self.strategies[0];
                }
            }
        }
        plan
    }

    /// The cells of broadcasts to so many receivers, each after the same ring with one receiver.
    pub(crate) fn broadcasts(&self, receivers: &[usize]) -> Plan {
        let mut plan = Plan::default();
        plan.add_floor(Work::OneLineBounce, 8, 1);
        plan.add_floor(Work::TwoLineBounce, 8, 1);
        let more = receivers.iter().copied().filter(|&number| number != 1);
        let numbers: Vec<_> = std::iter::once(1).chain(more).collect();
        for &size in self.sizes {
            for &layer in self.layers.iter().filter(|&&layer| suits(layer, size)) {
                for &backend in self.backends {
                    let one = plan.cells.len();
                    for &receivers in &numbers {
                        let traffic = Traffic::Broadcast { receivers };
                        let cell = self.add(&mut plan, (layer, size), backend, traffic);
                        cell.floor = one;
                        cell.spec.strategy = self.strategies[0];
                    }
                }
            }
        }
        plan
    }

    fn add<'p>(
        &self,
        plan: &'p mut Plan,
        (layer, size): (Layer, usize),
        backend: Backend,
        traffic: Traffic,
    ) -> &'p mut Cell {
        let frame_bytes = frame_bytes(layer, size);
        let (work, usual) = match traffic {
            Traffic::PingPong { .. } => (Work::ChosenPingPong { layer, frame_bytes }, 64),
            Traffic::Stream { batch, .. } => {
                let work = Work::ChosenStream {
                    layer,
                    frame_bytes,
                    batch,
                };
                (work, 1024)
            }
            Traffic::Broadcast { receivers } => {
                let work = Work::ChosenBroadcast {
                    layer,
                    frame_bytes,
                    receivers,
                };
                (work, 1024)
            }
        };
        let capacity = self
            .capacity
            .unwrap_or_else(|| depth(size, frame_bytes, usual));
        let root = match backend {
            Backend::Disk => self.roots.1,
            _ => self.roots.0,
        };
        let index = plan.add_ring(work, (size, capacity), backend, root);
        let cell = &mut plan.cells[index];
        cell.spec.per_s = traffic.per_s();
        cell
    }
}

fn add_stream_floor(plan: &mut Plan, size: usize, batch: usize) -> usize {
    if SIZES.contains(&size) {
        let batch = if batch == 1 { 1 } else { BATCH as usize };
        let packed = false;
        return plan.add_floor(Work::BareStream { batch, packed }, size, 1024);
    }
    let blocks = (COPIED_TOGETHER / size).clamp(2, DEPTH);
    plan.add_floor(Work::FreshCopy, size, blocks)
}

#[cfg(test)]
mod tests {
    use clap::ValueEnum;

    use super::*;

    fn plan(sizes: &[usize], traffic: Traffic) -> Plan {
        let selection = Selection {
            layers: Layer::value_variants(),
            backends: &[Backend::Shm],
            strategies: &[Strategy::Block],
            sizes,
            capacity: None,
            traffic,
            besides: &[Beside::Nothing],
            roots: (Path::new("none"), Path::new("none")),
        };
        selection.plan()
    }

    #[test]
    fn each_layer_has_the_sizes_that_suit_it() {
        let stream = Traffic::Stream {
            batch: 1,
            per_s: None,
        };
        // two bounces; then a floor and the layers of each size
        for (size, layers) in [(8, 6), (56, 1), (64, 7), (1 << 26, 6)] {
            let plan = plan(&[size], stream);
            assert_eq!(plan.cells.len(), 3 + layers, "{size}");
            assert!(plan.cells[3..].iter().all(|cell| cell.floor == 2));
        }
        let paced = Traffic::Stream {
            batch: 1,
            per_s: Some(10),
        };
        let plan = plan(&[1 << 20], paced);
        assert_eq!(plan.cells.len(), 2 + 6);
        assert!(plan.cells[2..].iter().all(|cell| cell.floor == 1));
    }

    #[test]
    fn rings_for_scenarios_with_floors_of_their_own_come_alone() {
        let usual = of_events(Strategy::Block, None);
        let [cell] = &usual.cells[..] else {
            panic!("{usual:?}");
        };
        let spec = &cell.spec;
        assert_eq!((spec.layer(), spec.backend.name()), ("raw", "shm"));
        assert_eq!((spec.size_bytes, spec.capacity), (56, 1024));
        assert_eq!(spec.strategy, Strategy::Block);
        assert_eq!(
            of_events(Strategy::Block, Some(64)).cells[0].spec.capacity,
            64
        );
    }

    #[test]
    fn broadcasts_are_compared_with_one_receiver() {
        let selection = Selection {
            layers: &[Layer::Raw, Layer::Framed],
            backends: &[Backend::Shm, Backend::Mmap],
            strategies: &[Strategy::Block],
            sizes: &[56, 64],
            capacity: Some(64),
            traffic: Traffic::Broadcast { receivers: 1 },
            besides: &[Beside::Nothing],
            roots: (Path::new("none"), Path::new("none")),
        };
        let plan = selection.broadcasts(&[2, 4]);
        // frames have no messages of 56 bytes
        assert_eq!(plan.cells.len(), 2 + (1 + 2) * 2 * 3);
        for (index, cell) in plan.cells.iter().enumerate().skip(2) {
            let one = index - (index - 2) % 3;
            assert_eq!(cell.floor, one);
            assert_eq!(cell.spec.receivers(), [1, 2, 4][index - one]);
        }
    }

    #[test]
    fn a_message_takes_the_smallest_frame_that_holds_it() {
        assert_eq!(frame_bytes(Layer::Framed, 64), 64);
        assert_eq!(frame_bytes(Layer::Bincode, 64), 256);
        assert_eq!(frame_bytes(Layer::Bincode, 1 << 16), 1 << 16);
        for size in [1 << 16, 1 << 20, 1 << 26] {
            assert_eq!(frame_bytes(Layer::InPlace, size), size);
        }
        assert_eq!(whole(1 << 17), 1 << 20);
    }

    #[test]
    fn a_ring_holds_two_messages_at_least() {
        assert_eq!(depth(8, 64, 1024), 1024);
        assert_eq!(depth(1 << 16, 1 << 16, 1024), 128);
        assert_eq!(depth(1 << 26, 1 << 26, 64), 4);
        assert_eq!(depth(1 << 26, 1 << 16, 64), 4096);
        assert_eq!(depth(56, 56, 64), 64);
    }
}
