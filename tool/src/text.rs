//! Plain text: tables, numbers, and words that other processes wrote.

use std::fmt;
use std::io::{Write, stderr};
use std::time::Duration;

use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

/// Writes a line to standard error. Nobody may read it, or its disk may be full: that changes nothing else.
pub(crate) fn warn(line: fmt::Arguments<'_>) {
    let _ = writeln!(stderr(), "{line}");
}

/// Text with its control characters escaped: whatever a ring or a file name holds, the terminal obeys none of it.
pub(crate) fn printable(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        // beside control characters, those that change the direction of text
        let is_format = matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}');
        match c.is_control() || is_format {
            true => out.extend(c.escape_unicode()),
            false => out.push(c),
        }
    }
    out
}

/// How many columns of a terminal a text takes: some characters take two, and some none.
pub(crate) fn width_of(text: &str) -> usize {
    text.width()
}

/// The first characters of a text, and a mark if it has more. Takes at most this many columns.
pub(crate) fn cut(text: &str, width: usize) -> String {
    if width_of(text) <= width {
        return text.to_owned();
    }
    let mut taken = 0;
    let kept = text.chars().take_while(|c| {
        taken += c.width().unwrap_or(0);
        taken < width
    });
    kept.chain((width > 0).then_some('…')).collect()
}

/// Lines with aligned columns; the first row is the head. Numbers are aligned to the right.
pub(crate) fn table(rows: &[Vec<String>]) -> Vec<String> {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let cell = |row: &[String], column: usize| row.get(column).cloned().unwrap_or_default();
    let widths: Vec<usize> = (0..columns)
        .map(|column| {
            rows.iter()
                .map(|row| width_of(&cell(row, column)))
                .max()
                .unwrap_or(0)
        })
        .collect();
    let is_number = |text: &str| {
        text.starts_with(|c: char| c.is_ascii_digit() || c == '-') && !text.contains(' ')
    };
    let is_right: Vec<bool> = (0..columns)
        .map(|column| {
            let mut cells = rows.iter().skip(1).map(|row| cell(row, column));
            rows.len() > 1 && cells.all(|text| text.is_empty() || is_number(&text))
        })
        .collect();
    let line = |row: &Vec<String>| {
        let mut line = String::new();
        for column in 0..columns {
            let text = cell(row, column);
            let pad = " ".repeat(widths[column] - width_of(&text));
            if column > 0 {
                line.push_str("  ");
            }
            match is_right[column] {
                true => line += &(pad + &text),
                false => line += &(text + &pad),
            }
        }
        line.trim_end().to_owned()
    };
    rows.iter().map(line).collect()
}

/// Bytes with a unit.
pub(crate) fn bytes(count: u64) -> String {
    let units = ["B", "KiB", "MiB", "GiB", "TiB"];
    let mut value = count as f64;
    let mut unit = 0;
    while value >= 1024.0 && unit + 1 < units.len() {
        value /= 1024.0;
        unit += 1;
    }
    match unit {
        0 => format!("{count} B"),
        _ => format!("{value:.1} {}", units[unit]),
    }
}

/// A rate in few characters: 950, 12.5k, 3.1M.
pub(crate) fn rate(per_second: f64) -> String {
    match per_second {
        rate if rate < 999.5 => format!("{rate:.0}"),
        rate if rate < 999_500.0 => format!("{:.1}k", rate / 1e3),
        rate => format!("{:.1}M", rate / 1e6),
    }
}

/// A time that has passed, in its two largest units at most: 350 ms, 12 s, 4 min, 3 h 20 min, 2 d 5 h.
pub(crate) fn age(time: Duration) -> String {
    let seconds = time.as_secs();
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3600 % 24, seconds / 60 % 60);
    match (days, hours, minutes) {
        (0, 0, 0) if seconds == 0 => format!("{} ms", time.as_millis()),
        (0, 0, 0) => format!("{seconds} s"),
        (0, 0, _) => format!("{minutes} min"),
        (0, ..) => format!("{hours} h {minutes} min"),
        _ => format!("{days} d {hours} h"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_terminal_obeys_nothing_of_a_ring() {
        assert_eq!(
            printable("a\u{1b}[2J\nb\u{202e}ü"),
            "a\\u{1b}[2J\\u{a}b\\u{202e}ü"
        );
    }

    #[test]
    fn columns_are_aligned() {
        let row = |cells: [&str; 2]| cells.map(String::from).to_vec();
        let rows = [
            row(["RING", "LAG"]),
            row(["a", "7"]),
            row(["ticks", "4096"]),
        ];
        assert_eq!(table(&rows), ["RING    LAG", "a         7", "ticks  4096"]);
        assert_eq!(table(&[row(["RING", ""])]), ["RING"]);
        // characters of two columns, and one of none
        let rows = [row(["環環", "a"]), row(["e\u{301}", "b"])];
        assert_eq!(table(&rows), ["環環  a", "e\u{301}     b"]);
        // words that begin with a number
        let rows = [
            row(["A", "LAST"]),
            row(["a", "3 s ago"]),
            row(["b", "12 s ago"]),
        ];
        assert_eq!(table(&rows), ["A  LAST", "a  3 s ago", "b  12 s ago"]);
    }

    #[test]
    fn numbers_are_short() {
        assert_eq!(
            [rate(0.0), rate(999.9), rate(12_500.0), rate(3.14e6)],
            ["0", "1.0k", "12.5k", "3.1M"]
        );
        let ages = [350, 12_900, 250_000, 12_000_000, 190_800_000];
        assert_eq!(
            ages.map(|milliseconds| age(Duration::from_millis(milliseconds))),
            ["350 ms", "12 s", "4 min", "3 h 20 min", "2 d 5 h"]
        );
        assert_eq!(
            [bytes(12), bytes(1 << 20), bytes(1 << 46)],
            ["12 B", "1.0 MiB", "64.0 TiB"]
        );
        assert_eq!(
            [cut("ticks", 5), cut("ticks", 4), cut("ticks", 0)],
            ["ticks", "tic…", ""]
        );
        assert_eq!(
            [
                cut("環環環", 6),
                cut("環環環", 5),
                cut("環環環", 4),
                cut("e\u{301}e", 1)
            ],
            ["環環環", "環環…", "環…", "…"]
        );
    }
}
