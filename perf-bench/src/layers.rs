//! The cost that each layer adds to the one below: which cells are measured, and which are compared.

use std::path::Path;

use crate::backend::Backend;
use crate::measure::{Series, Spread};
use crate::plan::{Cell, Plan};
use crate::report::comparison::{Row, Target};
use crate::spec::{Format, Layer, Spec, Work};
use crate::{scenario, selection};

/// The scenarios that can be selected by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum LayerScenario {
    /// Round trips of 64 bytes: a message in a frame against an event in a slot of the same size, and a bincode
    /// value against that message plus the codec by itself.
    #[value(name = "ping_pong")]
    PingPong,
    /// Messages of 64 bytes in frames of 64 KiB against those in frames of 256 bytes, and bincode values against
    /// messages.
    #[value(name = "short")]
    Short,
    /// Messages of 64 KiB and 2 MiB in frames of 64 KiB, and archives that are read in place, against copying
    /// data that the other core has just written.
    #[value(name = "long")]
    Long,
    /// Reading one field of an rkyv archive in place, larger archives against the smallest.
    #[value(name = "access")]
    Access,
    /// Other codecs against bincode, each by itself.
    #[value(name = "codecs")]
    Codecs,
}

/// Slots of each ring of a ping-pong, the same number as for raw events.
const PING_PONG_CAPACITY: usize = 64;
/// Frames of the ring of short messages in frames of their own size, as many as slots in the raw streams.
const SHORT_DEPTH: usize = 1024;
/// Frames of all other rings, and blocks of the bare copy. The numbers are equal, so that all of them lie in the
/// same caches.
pub(crate) const DEPTH: usize = 64;
const SHORT_BYTES: usize = 64;
const SMALL_FRAME_BYTES: usize = 256;
pub(crate) const LARGE_FRAME_BYTES: usize = 65_536;
const LONG_BYTES: [usize; 2] = [LARGE_FRAME_BYTES, 2 << 20];
/// Archives of one byte vector.
const FLAT_BYTES: [usize; 4] = [64, 1 << 10, 1 << 16, 1 << 20];
/// Archives of many small values.
const NESTED_BYTES: [usize; 2] = [1 << 10, 1 << 16];

/// A comparison of one cell with another one, or with the sum of several.
#[derive(Clone, Debug)]
struct Comparison {
    name: &'static str,
    cell: usize,
    beside: Vec<usize>,
    unit: Unit,
    target: Option<Target>,
}

/// The backend of rings, and the directory of file-backed ones.
type Place<'a> = (Backend, &'a Path);

/// The unit in which figures are shown and compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Unit {
    /// Per message or round trip.
    Nanoseconds,
    NanosecondsPerKib,
    MillionsPerSecond,
    GigabytesPerSecond,
}

impl Unit {
    fn name(self) -> &'static str {
        match self {
            Self::Nanoseconds => "ns",
            Self::NanosecondsPerKib => "ns per KiB",
            Self::MillionsPerSecond => "M/s",
            Self::GigabytesPerSecond => "GB/s",
        }
    }

    /// Converts a round's figure of a cell to this unit.
    fn of(self, spec: &Spec, figure: f64) -> f64 {
        let per_s = if spec.is_latency() {
            1e9 / figure
        } else {
            figure
        };
        match self {
            Self::Nanoseconds => 1e9 / per_s,
            Self::NanosecondsPerKib => 1e9 / per_s * 1024.0 / spec.size_bytes as f64,
            Self::MillionsPerSecond => per_s / 1e6,
            Self::GigabytesPerSecond => per_s * spec.size_bytes as f64 / 1e9,
        }
    }
}

/// The cells of a run, and their comparisons.
#[derive(Debug, Default)]
pub(crate) struct Layers {
    pub(crate) plan: Plan,
    comparisons: Vec<Comparison>,
}

impl Layers {
    /// Adds the cells of each scenario. Cells that are compared with each other are neighbours in a round.
    pub(crate) fn new(scenarios: &[LayerScenario], backends: &[Backend], mmap_root: &Path) -> Self {
        let mut layers = Self::default();
        // the first ones, as in every plan; they tell the placement of the cores
        layers.plan.add_floor(Work::OneLineBounce, 8, 1);
        layers.plan.add_floor(Work::TwoLineBounce, 8, 1);
        for scenario in scenarios {
            match scenario {
                LayerScenario::Access => layers.add_access(),
                LayerScenario::Codecs => layers.add_codecs(),
                _ => {}
            }
            for &backend in backends {
                let place = (backend, mmap_root);
                match scenario {
                    LayerScenario::PingPong => layers.add_ping_pong(place),
                    LayerScenario::Short => layers.add_short(place),
                    LayerScenario::Long => layers.add_long(place),
                    LayerScenario::Access | LayerScenario::Codecs => {}
                }
            }
        }
        layers
    }

    /// Messages of these sizes in frames that take them whole, against frames of the next smaller class. The rings have
    /// about as many bytes.
    pub(crate) fn unfragmented(sizes: &[usize], backends: &[Backend], mmap_root: &Path) -> Self {
        let mut layers = Self::default();
        layers.plan.add_floor(Work::OneLineBounce, 8, 1);
        layers.plan.add_floor(Work::TwoLineBounce, 8, 1);
        for &size in sizes {
            for &backend in backends {
                let mut add = |frame_bytes| {
                    let work = Work::ChosenStream {
                        layer: Layer::Framed,
                        frame_bytes,
                        batch: 1,
                    };
                    let depth = selection::depth(size, frame_bytes, SHORT_DEPTH);
                    layers.add_ring(work, (size, depth), (backend, mmap_root))
                };
                let whole = selection::whole(size);
                let smaller = scenario::LARGE_FRAMES.iter().rev();
                let mut smaller = smaller.chain(scenario::FRAMES.iter().rev());
                let Some(&smaller) = smaller.find(|&&class| class < size) else {
                    continue;
                };
                let (split, whole) = (add(smaller), add(whole));
                layers.compare("nofrag", whole, &[split], Unit::GigabytesPerSecond, None);
            }
        }
        layers
    }

    fn add_ping_pong(&mut self, place: Place<'_>) {
        let mut add = |work| self.add_ring(work, (SHORT_BYTES, PING_PONG_CAPACITY), place);
        let raw = add(Work::PingPong { writable: true });
        let framed = add(Work::FramedPingPong);
        let typed = add(Work::TypedPingPong);
        let by_hand = add(Work::CodecByHand);
        let codec = self
            .plan
            .add_floor(Work::CodecAlone(Format::Bincode), SHORT_BYTES, 1);
        self.compare(
            "framed_ping_pong",
            framed,
            &[raw],
            Unit::Nanoseconds,
            Target::RatioAtMost(1.15),
        );
        self.compare(
            "typed_ping_pong",
            typed,
            &[by_hand],
            Unit::Nanoseconds,
            Target::RatioAtMost(1.1),
        );
        let sum = [framed, codec];
        self.compare(
            "typed_ping_pong",
            typed,
            &sum,
            Unit::Nanoseconds,
            Target::RatioAtMost(1.1),
        );
    }

    fn add_short(&mut self, place: Place<'_>) {
        let raw = Work::Stream {
            batch: 1,
            packed: false,
        };
        let raw = self.add_ring(raw, (SHORT_BYTES, SHORT_DEPTH), place);
        let mut add = |frame_bytes, depth| {
            let work = Work::FramedStream { frame_bytes };
            self.add_ring(work, (SHORT_BYTES, depth), place)
        };
        let exact = add(SHORT_BYTES, SHORT_DEPTH);
        let small = add(SMALL_FRAME_BYTES, DEPTH);
        let large = add(LARGE_FRAME_BYTES, DEPTH);
        self.compare(
            "framed_stream",
            exact,
            &[raw],
            Unit::MillionsPerSecond,
            Target::RatioAtLeast(0.7),
        );
        let unit = Unit::MillionsPerSecond;
        let work = Work::ReservedStream {
            frame_bytes: SHORT_BYTES,
        };
        let reserved = self.add_ring(work, (SHORT_BYTES, SHORT_DEPTH), place);
        self.compare(
            "reserved_stream",
            reserved,
            &[raw],
            unit,
            Target::RatioAtLeast(0.85),
        );
        self.compare(
            "short_in_large_frames",
            large,
            &[small],
            unit,
            Target::RatioAtLeast(0.3),
        );
        let work = Work::TypedStream {
            frame_bytes: SHORT_BYTES,
        };
        let typed = self.add_ring(work, (SHORT_BYTES, SHORT_DEPTH), place);
        self.compare("typed_stream", typed, &[exact], unit, None);
    }

    fn add_long(&mut self, place: Place<'_>) {
        let plan = &mut self.plan;
        let floor = plan.add_floor(Work::FreshCopy, LARGE_FRAME_BYTES, DEPTH);
        let work = Work::FramedCopy {
            frame_bytes: LARGE_FRAME_BYTES,
        };
        for (size, least) in LONG_BYTES.into_iter().zip([0.8, 0.7]) {
            let cell = self.add_ring(work, (size, DEPTH), place);
            self.compare(
                "framed_copy",
                cell,
                &[floor],
                Unit::GigabytesPerSecond,
                Target::RatioAtLeast(least),
            );
        }
        let work = Work::InPlace {
            frame_bytes: LARGE_FRAME_BYTES,
        };
        let archives = self.add_ring(work, (LARGE_FRAME_BYTES, DEPTH), place);
        let unit = Unit::GigabytesPerSecond;
        self.compare("in_place", archives, &[floor], unit, None);
    }

    fn add_codecs(&mut self) {
        let mut add = |format| {
            self.plan
                .add_floor(Work::CodecAlone(format), SHORT_BYTES, 1)
        };
        let bincode = add(Format::Bincode);
        let others = [
            ("codec_postcard", Format::Postcard),
            ("codec_rkyv", Format::Rkyv),
            ("codec_flatbuffers", Format::FlatBuffers),
        ]
        .map(|(name, format)| (name, add(format)));
        for (name, other) in others {
            self.compare(name, other, &[bincode], Unit::Nanoseconds, None);
        }
    }

    fn add_access(&mut self) {
        let mut add = |nested, size| self.plan.add_floor(Work::Access { nested }, size, 1);
        let shortest = add(false, FLAT_BYTES[0]);
        let flat = FLAT_BYTES[1..].iter().map(|&size| add(false, size));
        let flat: Vec<_> = flat.collect();
        let nested = NESTED_BYTES.map(|size| add(true, size));
        for cell in flat {
            self.compare(
                "rkyv_access",
                cell,
                &[shortest],
                Unit::Nanoseconds,
                Target::RatioAtMost(1.2),
            );
        }
        let unit = Unit::NanosecondsPerKib;
        self.compare("rkyv_access_nested", nested[1], &nested[..1], unit, None);
    }

    fn add_ring(&mut self, work: Work, shape: (usize, usize), (backend, root): Place<'_>) -> usize {
        self.plan.add_ring(work, shape, backend, root)
    }

    fn compare(
        &mut self,
        name: &'static str,
        cell: usize,
        beside: &[usize],
        unit: Unit,
        target: impl Into<Option<Target>>,
    ) {
        self.comparisons.push(Comparison {
            name,
            cell,
            beside: beside.to_vec(),
            unit,
            target: target.into(),
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
        let all = [&comparison.cell].into_iter().chain(&comparison.beside);
        let reason = all
            .filter_map(|&cell| {
                let reason = series[cell].reason.as_deref()?;
                Some(format!(
                    "{}: {reason}",
                    self.plan.cells[cell].spec.scenario()
                ))
            })
            .next();
        Row {
            layer: spec.layer(),
            backend: spec.backend.name(),
            size_bytes: spec.size_bytes,
            messages: series[comparison.cell].messages,
            usage: series[comparison.cell].usage,
            ..row.judged(reason).with(
                (Spread::of(own.clone()), own.len()),
                (names.join(" + "), Spread::of(beside.clone())),
                ratios.collect(),
                comparison.target,
            )
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_figure_is_converted_to_the_unit_of_its_row() {
        let layers = Layers::new(
            &[LayerScenario::PingPong, LayerScenario::Long],
            &[Backend::Shm],
            Path::new("none"),
        );
        let spec = |name: &str| {
            let mut cells = layers.plan.cells.iter();
            &cells
                .find(|cell| cell.spec.scenario() == name)
                .expect("a cell")
                .spec
        };
        let (trip, copy) = (spec("ping_pong"), spec("fresh_copy"));
        assert_eq!(Unit::Nanoseconds.of(trip, 250.0), 250.0);
        assert_eq!(Unit::MillionsPerSecond.of(trip, 250.0), 4.0);
        assert_eq!(Unit::MillionsPerSecond.of(copy, 2e6), 2.0);
        assert_eq!(Unit::Nanoseconds.of(copy, 2e6), 500.0);
        assert_eq!(Unit::NanosecondsPerKib.of(copy, 1e6), 1000.0 / 64.0);
        assert_eq!(Unit::GigabytesPerSecond.of(copy, 1e6), 65.536);
    }

    #[test]
    fn a_row_is_divided_by_the_sum_of_what_it_is_compared_with() {
        let layers = Layers::new(
            &[LayerScenario::PingPong],
            &[Backend::Shm],
            Path::new("none"),
        );
        // raw, framed, typed, by hand, and the codec alone, which is a rate
        let figures = [
            [1.0, 1.0],
            [1.0, 1.0],
            [64.0, 128.0],
            [64.0, 144.0],
            [104.0, 276.0],
            [104.0, 138.0],
            [25e6, 25e6],
        ];
        let mut series: Vec<_> = figures
            .into_iter()
            .map(|figures| {
                let mut series = Series::new().expect("a series");
                series.figures = figures.to_vec();
                series
            })
            .collect();
        let rows = layers.rows(&series);
        let ratios: Vec<_> = rows
            .iter()
            .map(|row| (row.ratio_min, row.ratio_max))
            .collect();
        assert_eq!(ratios, [(1.0, 1.125), (1.0, 2.0), (1.0, 1.5)]);
        assert_eq!(rows[2].floor_figure, 144.0);
        assert_eq!(rows[0].is_met, Some(true));
        assert_eq!(rows[2].is_met, Some(false));
        assert!(rows.iter().all(|row| row.verified));
        series[6].reason = Some(String::from("round 1: wrong"));
        let verified = layers.rows(&series).into_iter().map(|row| row.verified);
        assert!(verified.eq([true, true, false]));
    }
}
