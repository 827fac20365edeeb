//! Random messages over random rings of random frames, compared with models: every message is delivered whole,
//! in order and once, and dropped messages are counted.

#[path = "frames_properties/by_hand.rs"]
mod by_hand;
#[path = "frames_properties/flow.rs"]
mod flow;
#[path = "frames_properties/model.rs"]
mod model;

use myelon::transport::{FramedTransportConsumer, FramedTransportProducer};
use myelon::{Heap, Sequence};
use proptest::prelude::*;

type Tx<F> = FramedTransportProducer<F, Heap>;
type Rx<F> = FramedTransportConsumer<F, Heap>;

/// Bytes of the time that a timed message ends with.
const TIME_BYTES: usize = 8;

/// Names of the consumers.
const IDS: [&str; 2] = ["one", "two"];

/// `len` bytes whose values depend on their position and their message.
fn bytes(len: usize, salt: usize) -> Vec<u8> {
    (0..len).map(|at| (at * 7 + salt * 31) as u8).collect()
}

/// The first sequence: also values near the point where the sequence's low 32 bits, which headers carry, wrap
/// around.
fn first_sequence() -> impl Strategy<Value = Sequence> {
    prop_oneof![3 => Just(0), 1 => (1i64 << 32) - 60..1 << 32]
}

/// Powers of two, each with the same probability.
fn depth() -> impl Strategy<Value = usize> {
    (0u32..=6).prop_map(|bits| 1 << bits)
}

/// Makes a test for each kind of frame: it calls `$play::<frame>` with random scenarios.
macro_rules! for_each_frame {
    ($play:ident, $cases:expr, $strategy:expr) => {
        for_each_frame!($play, $cases, $strategy,
            fixed_1: myelon::transport::FixedFrame<1>,
            fixed_4: myelon::transport::FixedFrame<4>,
            fixed_13: myelon::transport::FixedFrame<13>,
            fixed_300: myelon::transport::FixedFrame<300>,
            aligned_16: myelon::transport::AlignedFixedFrame<16>,
            aligned_64: myelon::transport::AlignedFixedFrame<64>
        );
    };
    ($play:ident, $cases:expr, $strategy:expr, $($name:ident: $frame:ty),*) => {
        proptest::proptest! {
            #![proptest_config(proptest::prelude::ProptestConfig {
                cases: $cases,
                failure_persistence: None,
                max_shrink_time: 10_000,
                ..proptest::prelude::ProptestConfig::default()
            })]

            $(#[test]
            fn $name(scenario in $strategy) {
                $play::<$frame>(scenario);
            })*
        }
    };
}
use for_each_frame;
