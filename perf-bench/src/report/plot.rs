//! What all plots share: colours for light and dark screens, and axes.

/// The colours.
pub(super) const COLOURS: &str = "\
:root { color-scheme: light dark; --paper: #fcfcfa; --ink: #1d2228; --faint: #d5d8dc; --soft: #5d6670;
  --one: #0b63b0; --two: #b35400; --three: #1f7a46; --four: #8b3fa8; --wrong: #c01c28; }
@media (prefers-color-scheme: dark) { :root { --paper: #15181c; --ink: #e4e7ea; --faint: #363c43; --soft: #9aa4ae;
  --one: #6cb4f5; --two: #f0a35e; --three: #6fcf97; --four: #d59cf0; --wrong: #ff7b72; } }
";

/// The parts of a plot.
pub(super) const PARTS: &str = "\
svg { display: block; font: 12px system-ui, sans-serif; } svg text { fill: var(--ink); }
svg .soft { fill: var(--soft); } svg .grid { stroke: var(--faint); } svg .floor { stroke: var(--soft); }
.s0 { stroke: var(--one); fill: var(--one); } .s1 { stroke: var(--two); fill: var(--two); }
.s2 { stroke: var(--three); fill: var(--three); } .s3 { stroke: var(--four); fill: var(--four); }
.sx { stroke: var(--wrong); fill: var(--wrong); } .paper { fill: var(--paper); }
polyline { fill: none !important; stroke-width: 2; } .key { stroke-width: 2; }
polyline.d1, .key.d1 { stroke-dasharray: 8 4; } polyline.d2, .key.d2 { stroke-dasharray: 2 3; }
.range { stroke-width: 3; stroke-linecap: round; opacity: .55; }
";

/// A logarithmic axis from one pixel to another.
#[derive(Clone, Copy, Debug)]
pub(super) struct Axis {
    least: f64,
    most: f64,
    from: f64,
    to: f64,
}

impl Axis {
    /// An axis on which all positive `values` have a place.
    pub(super) fn over(values: impl Iterator<Item = f64>, (from, to): (f64, f64)) -> Self {
        let (least, most) = values
            .filter(|value| value.is_finite() && *value > 0.0)
            .fold((f64::INFINITY, 0.0_f64), |(least, most), value| {
                (least.min(value), most.max(value))
            });
        let (least, most) = if least <= most {
            (least, most)
        } else {
            (1.0, 1.0)
        };
        // a little room on both sides, and enough for a few ticks
        let room = (2.0 * least / most).sqrt().max(1.15);
        Self {
            least: least / room,
            most: most * room,
            from,
            to,
        }
    }

    pub(super) fn at(self, value: f64) -> f64 {
        let value = if value.is_finite() {
            value.clamp(self.least, self.most)
        } else {
            self.least
        };
        let share = (value / self.least).ln() / (self.most / self.least).ln();
        self.from + share * (self.to - self.from)
    }

    /// Round values on the axis: those of the coarsest kind of which there are at least three, so that their labels
    /// have room.
    pub(super) fn ticks(self) -> Vec<f64> {
        let powers = self.least.log10().floor() as i32..=self.most.log10().ceil() as i32;
        let of = |steps: &[f64]| -> Vec<f64> {
            let all = powers.clone();
            let all = all.flat_map(|power| steps.iter().map(move |step| step * 10_f64.powi(power)));
            all.filter(|tick| (self.least..=self.most).contains(tick))
                .collect()
        };
        let kinds: [&[f64]; 3] = [
            &[1.0],
            &[1.0, 2.0, 5.0],
            &[1.0, 1.2, 1.5, 2.0, 2.5, 3.0, 4.0, 5.0, 6.0, 8.0],
        ];
        let mut ticks = kinds.into_iter().map(of);
        let finest = of(kinds[2]);
        ticks.find(|ticks| ticks.len() >= 3).unwrap_or(finest)
    }
}

/// A number without needless digits; thousands from 10,000 on, and millions.
pub(super) fn plain(number: f64) -> String {
    let (number, unit) = match number {
        1e6.. => (number / 1e6, "M"),
        1e4.. => (number / 1e3, "k"),
        _ => (number, ""),
    };
    let text = format!("{number:.3}");
    let text = text.trim_end_matches('0').trim_end_matches('.');
    format!("{text}{unit}")
}

/// A size in the largest unit that divides it.
pub(super) fn bytes(size: usize) -> String {
    match size {
        _ if size >= 1 << 20 && size.is_multiple_of(1 << 20) => format!("{} MiB", size >> 20),
        _ if size >= 1 << 10 && size.is_multiple_of(1 << 10) => format!("{} KiB", size >> 10),
        _ => format!("{size} B"),
    }
}

/// The start of a plot on a page.
pub(super) fn open(what: &str, of: &str, width: f64, height: f64) -> String {
    let label = escaped(&format!("{of}: {what}"));
    format!(
        "<div class=\"wide\"><svg role=\"img\" aria-label=\"{label}\" width=\"{width}\" height=\"{height}\" \
         viewBox=\"0 0 {width} {height}\">\n"
    )
}

/// A text that ends no element and no attribute.
pub(super) fn escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_have_their_place_on_an_axis_whatever_they_are() {
        let axis = Axis::over([0.5, 8.0].into_iter(), (0.0, 100.0));
        assert!((axis.at(2.0) - 50.0).abs() < 0.001);
        assert_eq!(axis.ticks(), [0.5, 1.0, 2.0, 5.0]);
        let wide = Axis::over([1.0, 20_000.0].into_iter(), (0.0, 100.0));
        assert_eq!(wide.ticks(), [1.0, 10.0, 100.0, 1000.0, 10_000.0]);
        let narrow = Axis::over([3.0, 4.0].into_iter(), (0.0, 100.0));
        assert_eq!(narrow.ticks(), [2.5, 3.0, 4.0]);
        let odd = Axis::over([0.0, f64::NAN].into_iter(), (0.0, 100.0));
        for value in [0.0, 1.0, f64::INFINITY, f64::NAN] {
            assert!((0.0..=100.0).contains(&odd.at(value)), "{value}");
        }
    }

    #[test]
    fn sizes_and_numbers_are_short() {
        let sizes = [8, 1000, 1024, 65_536, 2 << 20].map(bytes);
        assert_eq!(sizes, ["8 B", "1000 B", "1 KiB", "64 KiB", "2 MiB"]);
        let numbers = [0.05, 2.0, 1000.0, 20_000.0, 1.5e6].map(plain);
        assert_eq!(numbers, ["0.05", "2", "1000", "20k", "1.5M"]);
    }
}
