//! Which cells a run consists of, in the order in which a round visits them.

use std::path::{Path, PathBuf};

use myelon::portable_shm_segment_name;

use crate::backend::Backend;
use crate::floor::stream::shape;
use crate::scenario::BATCH;
use crate::spec::{Spec, Work};

/// What the options ask for.
#[derive(Clone, Debug)]
pub(crate) struct Wanted {
    pub(crate) sizes: Vec<usize>,
    pub(crate) backends: Vec<Backend>,
    pub(crate) scenarios: Vec<Scenario>,
    /// For streams.
    pub(crate) capacity: usize,
    /// For ping-pong; small rings stay in the first-level cache.
    pub(crate) ping_pong_capacity: usize,
    pub(crate) mmap_root: PathBuf,
}

/// What can be asked for by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Scenario {
    /// A message there, a message back: the time of a round trip.
    #[value(name = "ping_pong")]
    PingPong,
    /// One way, one publish for each event.
    #[value(name = "stream")]
    Stream,
    /// One way, sixteen events for each publish.
    #[value(name = "stream_batch16")]
    StreamBatch16,
}

/// A cell and the floor that it is compared with.
#[derive(Clone, Debug)]
pub(crate) struct Cell {
    pub(crate) spec: Spec,
    /// Index of the cell measured just before it that is its floor; a floor's own is itself.
    pub(crate) floor: usize,
}

/// All cells; dropping the plan removes whatever name of theirs is still there.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) cells: Vec<Cell>,
    pub(crate) arena_bytes: usize,
}

impl Plan {
    /// The two bounces come first; each group of rings follows its floor.
    pub(crate) fn new(wanted: &Wanted) -> Self {
        let mut plan = Self {
            cells: Vec::new(),
            arena_bytes: 0,
        };
        plan.add_floor(Work::OneLineBounce, 8, 1);
        plan.add_floor(Work::TwoLineBounce, 8, 1);
        for &scenario in &wanted.scenarios {
            for &size in &wanted.sizes {
                plan.add_group(wanted, scenario, size);
            }
        }
        plan
    }

    fn add_group(&mut self, wanted: &Wanted, scenario: Scenario, size: usize) {
        let (floor, work, capacity) = match scenario {
            Scenario::PingPong => (
                Work::TwoLineBounce,
                Work::PingPong,
                wanted.ping_pong_capacity,
            ),
            Scenario::Stream => stream(1, wanted.capacity),
            Scenario::StreamBatch16 => stream(BATCH as usize, wanted.capacity),
        };
        // One bounce is enough for all ping-pongs of a round; the bare one shows what two rings add to it.
        let floor = match floor {
            Work::TwoLineBounce => {
                self.add_floor(Work::BarePingPong, size, capacity);
                1
            }
            _ => self.add_floor(floor, size, capacity),
        };
        for &backend in &wanted.backends {
            self.cells.push(Cell {
                floor,
                spec: Spec {
                    work,
                    backend,
                    size_bytes: size,
                    capacity,
                    name: portable_shm_segment_name("pb"),
                    root: wanted.mmap_root.to_string_lossy().into_owned(),
                    arena_offset: 0,
                },
            });
        }
    }

    fn add_floor(&mut self, work: Work, size: usize, capacity: usize) -> usize {
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
                arena_offset: self.arena_bytes,
            },
        });
        let streams = match work {
            Work::BareStream { .. } => 1,
            Work::BarePingPong => 2,
            _ => 0,
        };
        // A page boundary for each, as a segment has.
        self.arena_bytes += streams * (shape(size).1 * capacity).next_multiple_of(4096);
        index
    }
}

impl Drop for Plan {
    fn drop(&mut self) {
        for Cell { spec, .. } in &self.cells {
            for name in [spec.name.clone(), spec.reply_name()] {
                match spec.backend {
                    Backend::Shm => {
                        if let Ok(name) = std::ffi::CString::new(format!("/{name}")) {
                            // SAFETY: a terminated string; an absent name is an error without effect.
                            unsafe { libc::shm_unlink(name.as_ptr()) };
                        }
                    }
                    Backend::Mmap => {
                        let _ = std::fs::remove_file(Path::new(&spec.root).join(name));
                    }
                    Backend::None => {}
                }
            }
        }
    }
}

fn stream(batch: usize, capacity: usize) -> (Work, Work, usize) {
    (Work::BareStream { batch }, Work::Stream { batch }, capacity)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_ring_follows_its_floor_and_regions_do_not_overlap() {
        let plan = Plan::new(&Wanted {
            sizes: vec![8, 1024],
            backends: vec![Backend::Shm, Backend::Mmap],
            scenarios: vec![
                Scenario::PingPong,
                Scenario::Stream,
                Scenario::StreamBatch16,
            ],
            capacity: 64,
            ping_pong_capacity: 16,
            mmap_root: "no-such-directory".into(),
        });
        assert_eq!(plan.cells.len(), 2 + 2 * 3 + 2 * 3 + 2 * 3);
        let mut end = 0;
        for (index, cell) in plan.cells.iter().enumerate() {
            assert!(cell.floor <= index);
            assert_eq!(plan.cells[cell.floor].spec.layer(), "floor");
            if let Work::BareStream { .. } = cell.spec.work {
                assert!(cell.spec.arena_offset >= end);
                end = cell.spec.arena_offset + shape(cell.spec.size_bytes).1 * cell.spec.capacity;
            }
        }
        assert!(end <= plan.arena_bytes);
    }
}
