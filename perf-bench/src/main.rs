//! The program of the package; see its library.

use std::process::ExitCode;

fn main() -> ExitCode {
    perf_bench::run(&[])
}
