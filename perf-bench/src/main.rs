//! perf-bench.
fn main() {}
