//! What each layer adds to the one below: which cells are measured, and which are compared.

use std::path::Path;

use crate::backend::Backend;
use crate::measure::{Series, Spread};
use crate::plan::{Cell, Plan};
use crate::report::comparison::{Row, Target};
use crate::spec::{Spec, Work};

/// What can be asked for by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum LayerScenario {
    /// Round trips of 64 bytes: a message in a frame against an event with slots of the same size, and a bincode value
    /// against that message and the codec by itself.
    #[value(name = "ping_pong")]
    PingPong,
    /// Messages of 64 bytes in frames of 64 KiB against those in frames of 256 bytes.
    #[value(name = "short")]
    Short,
    /// Messages of 64 KiB and 2 MiB in frames of 64 KiB against copying what the other core has just written.
    #[value(name = "long")]
    Long,
}

/// Slots of each ring of a ping-pong, as in the raw ones.
const PING_PONG_CAPACITY: usize = 64;
/// Frames of the rings of short messages.
const SHORT_DEPTH: usize = 64;
/// Frames of the rings of long ones.
const DEPTH: usize = 64;
/// Blocks of the bare copy: as many as the ring has frames, so that they lie in the same caches.
pub(crate) const BLOCKS: usize = DEPTH;
const SHORT_BYTES: usize = 64;
const SMALL_FRAME_BYTES: usize = 256;
pub(crate) const LARGE_FRAME_BYTES: usize = 65_536;
const LONG_BYTES: [usize; 2] = [LARGE_FRAME_BYTES, 2 << 20];

/// What is compared: one cell with one other, or with the sum of some.
#[derive(Clone, Debug)]
struct Comparison {
    name: &'static str,
    cell: usize,
    beside: Vec<usize>,
    unit: Unit,
    target: Option<Target>,
}

/// What figures are shown and compared in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Unit {
    /// For each message or round trip.
    Nanoseconds,
    MillionsPerSecond,
    GigabytesPerSecond,
}

impl Unit {
    fn name(self) -> &'static str {
        match self {
            Self::Nanoseconds => "ns",
            Self::MillionsPerSecond => "M/s",
            Self::GigabytesPerSecond => "GB/s",
        }
    }

    /// A round's figure of a cell in this unit.
    fn of(self, spec: &Spec, figure: f64) -> f64 {
        let per_s = if spec.is_latency() {
            1e9 / figure
        } else {
            figure
        };
        match self {
            Self::Nanoseconds => 1e9 / per_s,
            Self::MillionsPerSecond => per_s / 1e6,
            Self::GigabytesPerSecond => per_s * spec.size_bytes as f64 / 1e9,
        }
    }
}

/// The cells of a run, and what is compared of them.
#[derive(Debug, Default)]
pub(crate) struct Layers {
    pub(crate) plan: Plan,
    comparisons: Vec<Comparison>,
}

impl Layers {
    /// What is compared lies side by side in a round.
    pub(crate) fn new(scenarios: &[LayerScenario], backends: &[Backend], mmap_root: &Path) -> Self {
        let mut layers = Self::default();
        for scenario in scenarios {
            let mut floor = None;
            for &backend in backends {
                let mut ring = |layers: &mut Self, work, size, capacity| {
                    let (shape, plan) = ((size, capacity), &mut layers.plan);
                    plan.add_ring(work, shape, backend, mmap_root)
                };
                match scenario {
                    LayerScenario::PingPong => layers.add_ping_pong(&mut ring),
                    LayerScenario::Short => layers.add_short(&mut ring),
                    LayerScenario::Long => {
                        let floor = *floor.get_or_insert_with(|| {
                            let plan = &mut layers.plan;
                            plan.add_floor(Work::FreshCopy, LARGE_FRAME_BYTES, BLOCKS)
                        });
                        layers.add_long(floor, &mut ring);
                    }
                }
            }
        }
        layers
    }

    fn add_ping_pong(&mut self, ring: &mut impl FnMut(&mut Self, Work, usize, usize) -> usize) {
        let mut add = |layers: &mut Self, work| ring(layers, work, SHORT_BYTES, PING_PONG_CAPACITY);
        let raw = add(self, Work::PingPong { writable: true });
        let framed = add(self, Work::FramedPingPong);
        let typed = add(self, Work::TypedPingPong);
        let by_hand = add(self, Work::CodecByHand);
        let codec = self.plan.add_floor(Work::CodecAlone, SHORT_BYTES, 1);
        let unit = Unit::Nanoseconds;
        self.compare(
            "framed_ping_pong",
            framed,
            &[raw],
            unit,
            Some(Target::RatioAtMost(1.15)),
        );
        let target = Some(Target::RatioAtMost(1.1));
        self.compare("typed_ping_pong", typed, &[by_hand], unit, target);
        self.compare("typed_ping_pong", typed, &[framed, codec], unit, None);
    }

    fn add_short(&mut self, ring: &mut impl FnMut(&mut Self, Work, usize, usize) -> usize) {
        let work = Work::Stream {
            batch: 1,
            packed: false,
        };
        let raw = ring(self, work, SHORT_BYTES, SHORT_DEPTH);
        let mut add = |layers: &mut Self, frame_bytes| {
            ring(
                layers,
                Work::FramedStream { frame_bytes },
                SHORT_BYTES,
                SHORT_DEPTH,
            )
        };
        let small = add(self, SMALL_FRAME_BYTES);
        let large = add(self, LARGE_FRAME_BYTES);
        let unit = Unit::MillionsPerSecond;
        self.compare("short_in_small_frames", small, &[raw], unit, None);
        let (unit, target) = (Unit::MillionsPerSecond, Some(Target::RatioAtLeast(0.3)));
        self.compare("short_in_large_frames", large, &[small], unit, target);
    }

    fn add_long(
        &mut self,
        floor: usize,
        ring: &mut impl FnMut(&mut Self, Work, usize, usize) -> usize,
    ) {
        let work = Work::FramedCopy {
            frame_bytes: LARGE_FRAME_BYTES,
        };
        for (size, least) in LONG_BYTES.into_iter().zip([0.8, 0.7]) {
            let cell = ring(self, work, size, DEPTH);
            let (unit, target) = (Unit::GigabytesPerSecond, Some(Target::RatioAtLeast(least)));
            self.compare("framed_copy", cell, &[floor], unit, target);
        }
    }

    fn compare(
        &mut self,
        name: &'static str,
        cell: usize,
        beside: &[usize],
        unit: Unit,
        target: Option<Target>,
    ) {
        self.comparisons.push(Comparison {
            name,
            cell,
            beside: beside.to_vec(),
            unit,
            target,
        });
    }

    /// The rows of a run, in the order of its comparisons.
    pub(crate) fn rows(&self, series: &[Series]) -> Vec<Row> {
        let rows = self.comparisons.iter();
        rows.map(|comparison| self.row(comparison, series))
            .collect()
    }

    fn row(&self, comparison: &Comparison, series: &[Series]) -> Row {
        let spec = |cell: usize| &self.plan.cells[cell].spec;
        let figures = |cell: usize| {
            let figures = series[cell].figures.iter();
            figures.map(move |&figure| comparison.unit.of(spec(cell), figure))
        };
        let own: Vec<f64> = figures(comparison.cell).collect();
        let beside = comparison
            .beside
            .iter()
            .fold(vec![0.0; own.len()], |sum, &cell| {
                sum.into_iter()
                    .zip(figures(cell))
                    .map(|(sum, figure)| sum + figure)
                    .collect()
            });
        let ratios = own.iter().zip(&beside).map(|(own, beside)| own / beside);
        let names: Vec<_> = comparison
            .beside
            .iter()
            .map(|&cell| spec(cell).scenario())
            .collect();
        let Cell { spec, .. } = &self.plan.cells[comparison.cell];
        let row = Row::new(
            comparison.name,
            "busy_spin",
            comparison.unit.name(),
            spec.capacity,
        );
        let all = comparison.beside.iter().chain([&comparison.cell]);
        Row {
            layer: spec.layer(),
            backend: spec.backend.name(),
            size_bytes: spec.size_bytes,
            messages: series[comparison.cell].messages,
            verified: all.fold(true, |all, &cell| all & series[cell].is_verified),
            ..row.with(
                (Spread::of(own.clone()), own.len()),
                (names.join(" + "), Spread::of(beside.clone())),
                Spread::of(ratios.collect()),
                comparison.target,
            )
        }
    }
}
