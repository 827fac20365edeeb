//! The names of all layers that most programs need: `use myelon::prelude::*;`. It has the
//! [prelude](disruptor_mp::prelude) of layer 0 with its counters, frames and messages, codecs, values,
//! topologies, and the names of rings.
//!
//! ```
//! # #[cfg(feature = "bincode")] {
//! use myelon::prelude::*;
//!
//! # let name = portable_shm_segment_name("doc");
//! let mut tx = TypedProducer::<FixedFrame<1024>>::create(&name, 64)?;
//! let mut rx = TypedConsumer::<FixedFrame<1024>>::attach(&name, 64, MyelonWaitStrategy::Block)?;
//! let counters = CountersFile::anonymous();
//! tx.attach_counters(&counters)?;
//! tx.send(&Bincode((7_u64, "gold".to_owned())), 1, Deadline::NEVER)?;
//! let (_kind, Bincode((id, symbol))) = rx.recv::<Bincode<(u64, String)>>(Deadline::NEVER)?;
//! assert_eq!((id, &*symbol), (7, "gold"));
//! # }
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! A name that your program defines itself takes precedence over one of these. The prelude leaves out names
//! that programs often give to their own types, such as `Message`, `Worker` and `Scheduler`. It also leaves out
//! modules, so that `use codec::…` still means the crate of that name.

#[doc(no_inline)]
pub use disruptor_mp::prelude::*;

#[cfg(feature = "bincode")]
#[doc(no_inline)]
pub use crate::codec::Bincode;
#[cfg(feature = "flatbuffers")]
#[doc(no_inline)]
pub use crate::codec::FlatBuffer;
#[cfg(feature = "postcard")]
#[doc(no_inline)]
pub use crate::codec::Postcard;
#[cfg(feature = "rkyv")]
#[doc(no_inline)]
pub use crate::codec::Rkyv;
#[doc(no_inline)]
pub use crate::codec::{Codec, CodecError, ZeroCopyCodec};
#[doc(no_inline)]
pub use crate::inference::{
    FixedTopology, InferenceTopologyError, InferenceTopologyResult, WorkerCount,
};
#[doc(no_inline)]
pub use crate::transport::{
    AlignedFixedFrame, FixedFrame, FrameMeta, FramedTransportConsumer, FramedTransportFrame,
    FramedTransportProducer, MmapFramedTransportConsumer, MmapFramedTransportProducer,
    MyelonTransportConfig, MyelonTransportLayout, MyelonWaitStrategy, ReassemblyBuffer,
    ReceivedMessageMeta, RunnerMyelonTransportConfig, TransportError, TransportResult,
};
#[doc(no_inline)]
pub use crate::typed_transport::{
    KindTable, MmapTypedConsumer, MmapTypedProducer, TypedConsumer, TypedProducer,
    TypedPublishError, TypedRecvError,
};
