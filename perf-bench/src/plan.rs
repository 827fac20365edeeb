//! The cells of a run, in the order in which a round visits them.

use std::path::{Path, PathBuf};

use myelon::portable_shm_segment_name;

use crate::backend::Backend;
use crate::floor::operation::Operation;
use crate::floor::{copy, cursor, stream::shape};
use crate::payload::{PACKED_SIZES, SIZES};
use crate::scenario::BATCH;
use crate::spec::{Beside, Spec, Work};
use crate::strategy::Strategy;

/// The selection that the options make.
#[derive(Clone, Debug)]
pub(crate) struct Wanted {
    /// Replaces each scenario's own selection.
    pub(crate) sizes: Option<Vec<usize>>,
    /// Replaces each scenario's own selection.
    pub(crate) backends: Option<Vec<Backend>>,
    pub(crate) scenarios: Vec<Scenario>,
    /// Slots of a stream's ring.
    pub(crate) capacity: usize,
    /// Slots of a ping-pong's rings; small rings stay in the first-level cache.
    pub(crate) ping_pong_capacity: usize,
    pub(crate) mmap_root: PathBuf,
}

/// The scenarios that can be selected by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Scenario {
    /// The round trip of a message and its reply, with slots that consumers map writable.
    #[value(name = "ping_pong")]
    PingPong,
    /// The same with the default mapping, in which consumers cannot write slots.
    #[value(name = "ping_pong_read_only")]
    PingPongReadOnly,
    /// One way, with one publish per event.
    #[value(name = "stream")]
    Stream,
    /// One way, with one `send` per event, in a function that is never inlined.
    #[value(name = "stream_called")]
    StreamCalled,
    /// One way, with sixteen events per publish.
    #[value(name = "stream_batch16")]
    StreamBatch16,
    /// One way, with one publish per event, in packed slots; 8 and 24 bytes only.
    #[value(name = "stream_packed")]
    StreamPacked,
    /// One way, with sixteen events per publish, in packed slots; 8 and 24 bytes only.
    #[value(name = "stream_packed_batch16")]
    StreamPackedBatch16,
}

impl Scenario {
    fn work(self) -> Work {
        let (batch, packed) = match self {
            Self::PingPong => return Work::PingPong { writable: true },
            Self::PingPongReadOnly => return Work::PingPong { writable: false },
            Self::Stream => (1, false),
            Self::StreamCalled => return Work::StreamCalled,
            Self::StreamBatch16 => (BATCH as usize, false),
            Self::StreamPacked => (1, true),
            Self::StreamPackedBatch16 => (BATCH as usize, true),
        };
        Work::Stream { batch, packed }
    }

    fn is_ping_pong(self) -> bool {
        matches!(self, Self::PingPong | Self::PingPongReadOnly)
    }

    /// The sizes at which this scenario is measured: those of `asked` that suit it, or else its own.
    fn sizes(self, asked: Option<&[usize]>) -> Vec<usize> {
        let own: &[usize] = match self {
            Self::PingPong | Self::Stream | Self::StreamBatch16 => &SIZES_BY_DEFAULT,
            Self::StreamCalled => &[56, 64],
            Self::PingPongReadOnly => &[56],
            Self::StreamPacked | Self::StreamPackedBatch16 => &[8],
        };
        let is_packed = matches!(self, Self::StreamPacked | Self::StreamPackedBatch16);
        let mut sizes = asked.unwrap_or(own).to_vec();
        sizes.retain(|size| !is_packed || PACKED_SIZES.contains(size));
        sizes
    }

    /// The backends on which this scenario is measured.
    fn backends(self, asked: Option<&[Backend]>) -> Vec<Backend> {
        let own: &[Backend] = match self {
            Self::PingPong | Self::Stream | Self::StreamBatch16 => &[Backend::Shm, Backend::Mmap],
            _ => &[Backend::Shm],
        };
        asked.unwrap_or(own).to_vec()
    }
}

/// The sizes at which most scenarios are measured, in bytes.
const SIZES_BY_DEFAULT: [usize; 4] = [8, 56, 64, 248];

/// Slots of the bare streams that stay in the first-level cache.
const SMALL_CAPACITY: usize = 256;

/// The sizes at which copies are measured, in bytes.
const COPIED_SIZES: [usize; 11] = [
    64,
    256,
    1 << 10,
    1 << 12,
    1 << 14,
    1 << 16,
    1 << 18,
    1 << 20,
    1 << 22,
    1 << 24,
    1 << 26,
];

/// Bytes of all blocks between two cores that should stay in a cache.
pub(crate) const COPIED_TOGETHER: usize = 1 << 19;

/// A cell and the floor that it is compared with.
#[derive(Clone, Debug)]
pub(crate) struct Cell {
    pub(crate) spec: Spec,
    /// Index of this cell's floor, which is measured shortly before it in a round; a floor is its own floor.
    pub(crate) floor: usize,
}

/// All cells of a run. Dropping the plan removes any names of theirs that are still there.
#[derive(Debug, Default)]
pub(crate) struct Plan {
    pub(crate) cells: Vec<Cell>,
    pub(crate) arena_bytes: usize,
}

impl Plan {
    /// The two bounces come first, then the cells that are compared with them. Each group of rings follows its
    /// floor, and all groups of a size are neighbours, because they are compared with each other.
    pub(crate) fn new(wanted: &Wanted) -> Self {
        let mut plan = Self::default();
        plan.add_floor(Work::OneLineBounce, 8, 1);
        plan.add_floor(Work::TwoLineBounce, 8, 1);
        for is_ping_pong in [true, false] {
            for size in SIZES {
                for &scenario in &wanted.scenarios {
                    let is_due = scenario.is_ping_pong() == is_ping_pong;
                    if is_due && scenario.sizes(wanted.sizes.as_deref()).contains(&size) {
                        plan.add_group(wanted, scenario, size);
                    }
                }
            }
        }
        plan
    }

    /// Gives every ring a new name, so that the plan can be measured again.
    pub(crate) fn rename(&mut self) {
        for cell in &mut self.cells {
            if cell.spec.backend != Backend::None {
                cell.spec.name = portable_shm_segment_name("pb");
            }
        }
    }

    /// Whether the plan has rings, and not only floors.
    pub(crate) fn has_rings(&self) -> bool {
        self.cells
            .iter()
            .any(|cell| cell.spec.backend != Backend::None)
    }

    /// Adds the floors that only `limits` measures: cursor streams, copies and single operations.
    pub(crate) fn add_limits(&mut self, wanted: &Wanted) {
        for size in wanted.sizes.as_deref().unwrap_or(&SIZES_BY_DEFAULT) {
            for capacity in [wanted.capacity, SMALL_CAPACITY] {
                self.add_floor(Work::BareCursor, *size, capacity);
            }
            let work = Work::BareStream {
                batch: 1,
                packed: false,
            };
            self.add_floor(work, *size, SMALL_CAPACITY);
        }
        for size in COPIED_SIZES {
            self.add_floor(Work::HotCopy, size, 1);
        }
        for size in COPIED_SIZES {
            // as many as fit the second-level cache, but at least two
            let blocks = (COPIED_TOGETHER / size).clamp(2, crate::layers::DEPTH);
            self.add_floor(Work::FreshCopy, size, blocks);
        }
        for operation in Operation::ALL {
            self.add_floor(Work::Operation(operation), 8, 1);
        }
    }

    fn add_group(&mut self, wanted: &Wanted, scenario: Scenario, size: usize) {
        let work = scenario.work();
        let bare = match work {
            Work::Stream { batch, packed } => Some(Work::BareStream { batch, packed }),
            Work::StreamCalled => Some(Work::BareStreamCalled),
            _ => None,
        };
        let (capacity, floor) = match bare {
            Some(bare) => (wanted.capacity, self.add_floor(bare, size, wanted.capacity)),
            // One bounce is enough for all ping-pongs of a round. The bare ping-pong shows the cost that two
            // rings add to it.
            None => {
                let capacity = wanted.ping_pong_capacity;
                if scenario == Scenario::PingPong {
                    self.add_floor(Work::BarePingPong, size, capacity);
                }
                (capacity, 1)
            }
        };
        for backend in scenario.backends(wanted.backends.as_deref()) {
            let ring = self.add_ring(work, (size, capacity), backend, &wanted.mmap_root);
            self.cells[ring].floor = floor;
        }
    }

    /// Adds a cell of a ring, and returns its index.
    pub(crate) fn add_ring(
        &mut self,
        work: Work,
        (size_bytes, capacity): (usize, usize),
        backend: Backend,
        mmap_root: &Path,
    ) -> usize {
        let index = self.cells.len();
        self.cells.push(Cell {
            floor: index,
            spec: Spec {
                work,
                backend,
                size_bytes,
                capacity,
                name: portable_shm_segment_name("pb"),
                root: mmap_root.to_string_lossy().into_owned(),
                strategy: Strategy::BusySpin,
                per_s: None,
                beside: Beside::Nothing,
                arena_offset: 0,
            },
        });
        index
    }

    /// Adds a cell without a ring, and returns its index.
    pub(crate) fn add_floor(&mut self, work: Work, size: usize, capacity: usize) -> usize {
        let index = self.cells.len();
        let is_ping_pong = matches!(work, Work::BarePingPong);
        self.cells.push(Cell {
            floor: if is_ping_pong { 1 } else { index },
            spec: Spec {
                work,
                backend: Backend::None,
                size_bytes: size,
                capacity,
                name: String::new(),
                root: String::new(),
                strategy: Strategy::BusySpin,
                per_s: None,
                beside: Beside::Nothing,
                arena_offset: self.arena_bytes,
            },
        });
        let (streams, stride) = match work {
            Work::BareStream { packed, .. } => (1, shape(size, packed).1),
            Work::BareStreamCalled => (1, shape(size, false).1),
            Work::BarePingPong => (2, shape(size, false).1),
            Work::BareCursor => (1, cursor::stride(size)),
            Work::FreshCopy => (1, copy::stride(size)),
            _ => (0, 0),
        };
        // Each region starts on a page boundary, as it does in a segment.
        self.arena_bytes += streams * (stride * capacity).next_multiple_of(4096);
        index
    }
}

impl Drop for Plan {
    fn drop(&mut self) {
        for Cell { spec, .. } in &self.cells {
            for name in [spec.name.clone(), spec.reply_name()] {
                if spec.beside == Beside::Counters {
                    let _ = std::fs::remove_file(spec.counters_path(&name));
                }
                match spec.backend {
                    Backend::Shm => {
                        if let Ok(name) = std::ffi::CString::new(format!("/{name}")) {
                            // SAFETY: the string is terminated; for a name that does not exist the call is an
                            // error without effect.
                            unsafe { libc::shm_unlink(name.as_ptr()) };
                        }
                    }
                    Backend::Mmap | Backend::Disk => {
                        let _ = std::fs::remove_file(Path::new(&spec.root).join(name));
                    }
                    Backend::None => {}
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::ValueEnum;

    use super::*;

    fn plan(sizes: Option<Vec<usize>>, backends: Option<Vec<Backend>>) -> Plan {
        Plan::new(&Wanted {
            sizes,
            backends,
            scenarios: Scenario::value_variants().to_vec(),
            capacity: 64,
            ping_pong_capacity: 16,
            mmap_root: "no-such-directory".into(),
        })
    }

    fn count(plan: &Plan, scenario: &str) -> usize {
        let is_it = |cell: &&Cell| cell.spec.scenario() == scenario;
        plan.cells.iter().filter(is_it).count()
    }

    #[test]
    fn every_ring_follows_its_floor_and_regions_do_not_overlap() {
        let plan = plan(Some(vec![8, 1024]), Some(vec![Backend::Shm, Backend::Mmap]));
        // Two bounces; two sizes of six groups, one of which has no floor of its own; and one size of two packed
        // groups.
        assert_eq!(plan.cells.len(), 2 + 2 * (4 * 3 + 2) + 2 * 3);
        let mut end = 0;
        for (index, cell) in plan.cells.iter().enumerate() {
            assert!(cell.floor <= index);
            assert_eq!(plan.cells[cell.floor].spec.layer(), "floor");
            if let Work::BareStream { packed, .. } = cell.spec.work {
                assert!(cell.spec.arena_offset >= end);
                let stride = shape(cell.spec.size_bytes, packed).1;
                end = cell.spec.arena_offset + stride * cell.spec.capacity;
            }
        }
        assert!(end <= plan.arena_bytes);
    }

    #[test]
    fn some_scenarios_have_fewer_sizes_and_backends_unless_asked() {
        let by_default = plan(None, None);
        assert_eq!(count(&by_default, "ping_pong"), 4 * 2);
        for scenario in [
            "ping_pong_read_only",
            "stream_packed",
            "stream_packed_batch16",
        ] {
            assert_eq!(count(&by_default, scenario), 1, "{scenario}");
        }
        let asked = plan(
            Some(vec![8, 24, 56]),
            Some(vec![Backend::Shm, Backend::Mmap]),
        );
        assert_eq!(count(&asked, "ping_pong_read_only"), 3 * 2);
        assert_eq!(count(&asked, "stream_packed"), 2 * 2);
        assert!(!plan(None, Some(Vec::new())).has_rings());
    }
}
