//! The end of the output: what each column means, and the verdict in three sentences.

use super::Row;

/// What each column of the tables means.
pub(crate) const COLUMNS: &str = "\
layer       what was measured: floor is no ring, raw events of fixed size; see --help for the others
wait        how both ends wait for each other
on          where the ring is: shm is shared memory, mmap a mapped file, none no ring: a floor, without the library
bytes       size of an event
capacity    slots of the ring
p50 ... max the time that 50, 90, 99, 99.9, 99.99 and 100 % of the round trips did not exceed
M/s, GB/s   millions of events per second, and their bytes
x two-line  p50 divided by the bounce of two cache lines in the same round: lower is better, and 1 is the floor
x bare      the rate divided by that of the bare stream in the same round: higher is better, and 1 is the floor
min - max   the range of this ratio over the rounds; the ratio itself is their median
cpu s       processor time of both processes: user + system
faults      page faults of both processes: without input or output + with
switches    context switches of both processes: because they waited + because their core was taken away
verified    whether both processes received exactly the messages that were sent, in every round";

/// The size that the verdict is about, if it was measured: an event with its stamp fills a line.
pub(super) const TYPICAL_BYTES: usize = 56;

/// The verdict: one sentence about round trips, one about streams, and one on whether to believe them.
pub(crate) fn verdict(rows: &[Row], has_cores: bool) -> [String; 3] {
    let round_trip = match typical(rows, "ping_pong") {
        Some(row) => format!(
            "A round trip of {} bytes took {:.0} ns, which is {:.2} times the bounce of two cache lines ({:.0} ns), \
             the least that two processes need.",
            row.size_bytes,
            row.p50_ns.unwrap_or_default(),
            row.ratio_to_floor,
            row.floor_two_line_ns
        ),
        None => String::from("No round trip was measured."),
    };
    let stream = match typical(rows, "stream") {
        Some(row) => format!(
            "A stream moved {:.1} million events of {} bytes per second, which is {:.2} times the rate of a bare loop \
             without a library.",
            row.msgs_per_s / 1e6,
            row.size_bytes,
            row.ratio_to_floor
        ),
        None => String::from("No stream was measured."),
    };
    [round_trip, stream, trust(rows, has_cores)]
}

/// The row of the scenario at the typical size, in shared memory; otherwise its first row.
fn typical<'a>(rows: &'a [Row], scenario: &str) -> Option<&'a Row> {
    let of_scenario = || rows.iter().filter(|row| row.scenario == scenario);
    let is_typical = |row: &&Row| row.size_bytes == TYPICAL_BYTES && row.backend == "shm";
    of_scenario()
        .find(is_typical)
        .or_else(|| of_scenario().next())
}

/// Whether to believe the figures, in one sentence.
pub(crate) fn trust(rows: &[Row], has_cores: bool) -> String {
    let wrong = rows.iter().filter(|row| !row.verified).count();
    let all = rows.len();
    if wrong > 0 {
        return format!(
            "Do not use these figures: {wrong} of {all} rows could NOT be verified, and standard error names them."
        );
    }
    let rounds = rows.iter().map(|row| row.rounds).min().unwrap_or_default();
    let but = if cfg!(debug_assertions) {
        "but this is a debug build, whose figures mean nothing"
    } else if !has_cores {
        "but the processes had no core of their own each, so the figures mean little"
    } else if rounds < crate::measure::ROUNDS_MIN {
        "but there were too few rounds for a median"
    } else {
        "and each process had a core of its own"
    };
    format!("All {all} rows were verified in every one of {rounds} rounds, {but}.")
}

#[cfg(test)]
mod tests {
    use super::super::tests::{plan, series};
    use super::super::{Row, rows};
    use super::*;
    use crate::plan::Scenario;

    fn measured() -> Vec<Row> {
        let plan = plan(vec![Scenario::PingPong, Scenario::Stream]);
        let figures = [
            [50.0; 3],
            [100.0, 200.0, 400.0],
            [110.0; 3],
            [150.0, 400.0, 600.0],
            [10e6, 20e6, 40e6],
            [8e6, 10e6, 36e6],
        ];
        rows(&plan, &figures.map(series))
    }

    #[test]
    fn the_verdict_is_about_the_typical_rows() {
        let [round_trip, stream, trust] = verdict(&measured(), true);
        assert_eq!(
            round_trip,
            "A round trip of 56 bytes took 400 ns, which is 1.50 times the bounce of two cache lines (200 ns), the \
             least that two processes need."
        );
        assert_eq!(
            stream,
            "A stream moved 10.0 million events of 56 bytes per second, which is 0.80 times the rate of a bare loop \
             without a library."
        );
        assert!(trust.starts_with("All 6 rows were verified in every one of 3 rounds, but "));
    }

    #[test]
    fn a_row_that_is_not_verified_spoils_the_verdict() {
        let mut rows = measured();
        rows[2].verified = false;
        let [.., trust] = verdict(&rows, true);
        assert!(trust.starts_with("Do not use these figures: 1 of 6 rows"));
    }

    #[test]
    fn what_was_not_measured_is_not_judged() {
        let rows: Vec<_> = measured().drain(..2).collect();
        let [round_trip, stream, _] = verdict(&rows, true);
        assert_eq!(round_trip, "No round trip was measured.");
        assert_eq!(stream, "No stream was measured.");
    }
}
