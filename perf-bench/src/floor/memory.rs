//! How fast this core copies memory that is already in its cache.

use std::hint::black_box;

use crate::clock::Clock;

/// Bytes per second when `size_bytes` are copied at a time inside a buffer that fits the second-level cache.
pub(crate) fn copy_bytes_per_s(clock: &Clock, size_bytes: usize) -> f64 {
    const BUFFER_BYTES: usize = 128 * 1024;
    const PASSES: usize = 64;
    let from = vec![1_u8; BUFFER_BYTES];
    let mut to = vec![0_u8; BUFFER_BYTES];
    let mut best = u64::MAX;
    for _ in 0..7 {
        let start = clock.ticks();
        for _ in 0..PASSES {
            for (to, from) in to
                .chunks_exact_mut(size_bytes)
                .zip(from.chunks_exact(size_bytes))
            {
                to.copy_from_slice(black_box(from));
            }
            black_box(&mut to);
        }
        best = best.min(clock.nanos(clock.ticks().wrapping_sub(start)).max(1));
    }
    let copied = PASSES * (BUFFER_BYTES / size_bytes) * size_bytes;
    copied as f64 * 1e9 / best as f64
}
