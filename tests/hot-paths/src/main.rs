//! The hot calls, each in a function of its own, as a user's program compiles them. `tests/codegen.rs` reads
//! their code.
//!
//! Every function returns in a register whether it succeeded, and only success writes to memory. For
//! `tests/executed.rs` the program is an actor: a producer or a consumer that obeys its input, with breakpoints
//! around a call.

use std::hint::black_box;
use std::io::stdin;
use std::time::Duration;

use disruptor_mp::{
    AutoWaitStrategy, Deadline, Event, RequiredConsumerLivenessConfig, SharedConsumer,
    SharedProducer, attach_shared_consumer, build_shared_single_producer,
};
use myelon::transport::FixedFrame;
use myelon::{
    Codec, CodecError, FramedTransportConsumer, FramedTransportProducer, TypedConsumer,
    TypedProducer,
};

/// An event of eight bytes.
#[derive(Clone, Copy, Debug, Default, Event)]
#[repr(C)]
pub struct Small {
    word: u64,
}

/// An event that fills a line with its stamp.
#[derive(Clone, Copy, Debug, Default, Event)]
#[repr(C)]
pub struct Line {
    words: [u64; 7],
}

/// The hot calls for one type of event.
macro_rules! hot_paths {
    ($event:ty, $try_publish:ident, $publish:ident, $managed:ident, $publish_value:ident, $send:ident,
     $claim:ident, $try_consume:ident, $leased:ident, $recv:ident) => {
        #[doc = "`try_publish`"]
        // SAFETY: no other symbol has this name.
        #[unsafe(no_mangle)]
        pub fn $try_publish(tx: &mut SharedProducer<$event>, value: &$event) -> bool {
            tx.try_publish(|event| *event = *value).is_ok()
        }

        #[doc = "`publish`"]
        // SAFETY: no other symbol has this name.
        #[unsafe(no_mangle)]
        pub fn $publish(tx: &mut SharedProducer<$event>, value: &$event) {
            tx.publish(|event| *event = *value);
        }

        #[doc = "`publish_managed`, as [`publish`](SharedProducer::publish): nothing is returned"]
        // SAFETY: no other symbol has this name.
        #[unsafe(no_mangle)]
        pub fn $managed(tx: &mut SharedProducer<$event>, value: &$event) {
            let _ = tx.publish_managed(|event| *event = *value);
        }

        #[doc = "`publish_value`"]
        // SAFETY: no other symbol has this name.
        #[unsafe(no_mangle)]
        pub fn $publish_value(tx: &mut SharedProducer<$event>, value: &$event) {
            tx.publish_value(*value);
        }

        #[doc = "`send`"]
        // SAFETY: no other symbol has this name.
        #[unsafe(no_mangle)]
        pub fn $send(tx: &mut SharedProducer<$event>, value: &$event) -> bool {
            tx.send(Deadline::NEVER, |event| *event = *value).is_ok()
        }

        #[doc = "`try_claim` and `publish`"]
        // SAFETY: no other symbol has this name.
        #[unsafe(no_mangle)]
        pub fn $claim(tx: &mut SharedProducer<$event>, value: &$event) -> bool {
            let Ok(mut claim) = tx.try_claim() else {
                return false;
            };
            *claim = *value;
            claim.publish();
            true
        }

        #[doc = "`try_consume_next`"]
        // SAFETY: no other symbol has this name.
        #[unsafe(no_mangle)]
        pub fn $try_consume(rx: &mut SharedConsumer<$event>, out: &mut $event) -> bool {
            match rx.try_consume_next() {
                Some((_, event)) => {
                    *out = event;
                    true
                }
                None => false,
            }
        }

        #[doc = "`try_consume_next_leased`, read and commit"]
        // SAFETY: no other symbol has this name.
        #[unsafe(no_mangle)]
        pub fn $leased(rx: &mut SharedConsumer<$event>, out: &mut $event) -> bool {
            match rx.try_consume_next_leased() {
                Some(lease) => {
                    *out = *lease;
                    lease.commit();
                    true
                }
                None => false,
            }
        }

        #[doc = "`recv`, read and commit"]
        // SAFETY: no other symbol has this name.
        #[unsafe(no_mangle)]
        pub fn $recv(rx: &mut SharedConsumer<$event>, out: &mut $event) -> bool {
            match rx.recv(Deadline::NEVER) {
                Ok(lease) => {
                    *out = *lease;
                    lease.commit();
                    true
                }
                Err(_) => false,
            }
        }
    };
}

hot_paths!(
    Small,
    hot_try_publish_8,
    hot_publish_8,
    hot_publish_managed_8,
    hot_publish_value_8,
    hot_send_8,
    hot_claim_8,
    hot_try_consume_next_8,
    hot_try_consume_next_leased_8,
    hot_recv_8
);
hot_paths!(
    Line,
    hot_try_publish_56,
    hot_publish_56,
    hot_publish_managed_56,
    hot_publish_value_56,
    hot_send_56,
    hot_claim_56,
    hot_try_consume_next_56,
    hot_try_consume_next_leased_56,
    hot_recv_56
);

/// `send`, with a closure that refers to a variable
// SAFETY: no other symbol has this name.
#[unsafe(no_mangle)]
pub fn hot_send_key_8(tx: &mut SharedProducer<Small>, key: u64) -> bool {
    tx.send(Deadline::NEVER, |event| event.word = key).is_ok()
}

/// `send`, with a closure that refers to a variable
// SAFETY: no other symbol has this name.
#[unsafe(no_mangle)]
pub fn hot_send_key_56(tx: &mut SharedProducer<Line>, key: u64) -> bool {
    tx.send(Deadline::NEVER, |event| event.words = [key; 7])
        .is_ok()
}

/// A message whose length is known at compile time, so that copying it needs no call.
type Message = [u8; 40];
type Frame = FixedFrame<48>;

/// The message as a value: its bytes.
#[derive(Debug)]
pub struct Value(Message);

impl Codec for Value {
    fn encode(&self) -> Result<Vec<u8>, CodecError> {
        Ok(self.0.to_vec())
    }

    #[inline]
    fn encode_into(&self, out: &mut [u8]) -> Result<Option<usize>, CodecError> {
        let Some(place) = out.first_chunk_mut() else {
            return Ok(None);
        };
        *place = self.0;
        Ok(Some(self.0.len()))
    }

    #[inline]
    fn decode(bytes: &[u8]) -> Result<Self, CodecError> {
        match bytes.first_chunk() {
            Some(message) => Ok(Self(*message)),
            None => Err(CodecError::custom("too short")),
        }
    }
}

/// `send`, of a message
// SAFETY: no other symbol has this name.
#[unsafe(no_mangle)]
pub fn hot_send_message(tx: &mut FramedTransportProducer<Frame>, message: &Message) -> bool {
    tx.send(message, 1, Deadline::NEVER).is_ok()
}

/// `publish`, of a message of any length; copying it needs a call
// SAFETY: no other symbol has this name.
#[unsafe(no_mangle)]
pub fn hot_publish_bytes(tx: &mut FramedTransportProducer<Frame>, message: &[u8]) -> bool {
    tx.publish(message, 1).is_ok()
}

/// `try_publish`, of a message
// SAFETY: no other symbol has this name.
#[unsafe(no_mangle)]
pub fn hot_try_publish_message(tx: &mut FramedTransportProducer<Frame>, message: &Message) -> bool {
    tx.try_publish(message, 1).is_ok()
}

/// `reserve` and `publish`, of a message that is written in place
// SAFETY: no other symbol has this name.
#[unsafe(no_mangle)]
pub fn hot_reserve_message(tx: &mut FramedTransportProducer<Frame>, message: &Message) -> bool {
    let Ok(mut frame) = tx.reserve(message.len(), 1, Deadline::NEVER) else {
        return false;
    };
    frame.copy_from_slice(message);
    frame.publish();
    true
}

/// `recv`, of a message, read and released
// SAFETY: no other symbol has this name.
#[unsafe(no_mangle)]
pub fn hot_recv_message(rx: &mut FramedTransportConsumer<Frame>, out: &mut Message) -> bool {
    let Ok(message) = rx.recv(Deadline::NEVER) else {
        return false;
    };
    let Some(bytes) = message.first_chunk() else {
        return false;
    };
    *out = *bytes;
    true
}

/// `send`, of a value
// SAFETY: no other symbol has this name.
#[unsafe(no_mangle)]
pub fn hot_send_value(tx: &mut TypedProducer<Frame>, value: &Value) -> bool {
    tx.send(value, 1, Deadline::NEVER).is_ok()
}

/// `recv`, of a value
// SAFETY: no other symbol has this name.
#[unsafe(no_mangle)]
pub fn hot_recv_value(rx: &mut TypedConsumer<Frame>, out: &mut Message) -> bool {
    match rx.recv::<Value>(Deadline::NEVER) {
        Ok((_, value)) => {
            *out = value.0;
            true
        }
        Err(_) => false,
    }
}

const CAPACITY: usize = 64;

/// Started as `hot_paths shm DIRECTORY NAME`. It answers each line of input with `ok`.
fn main() {
    nix::sys::prctl::set_pdeathsig(nix::sys::signal::Signal::SIGKILL).expect("prctl");
    let name = std::env::args()
        .nth(3)
        .expect("hot_paths shm DIRECTORY NAME");
    let (mut tx, mut rx) = (None, None);
    let mut line = Line::default();
    for order in stdin().lines().map_while(Result::ok) {
        match order.as_str() {
            "produce" => {
                let builder = build_shared_single_producer::<Line>(&name, CAPACITY);
                tx = Some(builder.build_zeroed_producer().expect("a producer"));
            }
            "consume blocking" => rx = Some(consumer(&name, AutoWaitStrategy::Block)),
            "consume spinning" => rx = Some(consumer(&name, AutoWaitStrategy::BusySpin)),
            "receive" => {
                assert!(hot_recv_56(known(&mut rx), &mut line), "the ring ended");
            }
            "require" => {
                let tx: &mut SharedProducer<Line> = known(&mut tx);
                tx.enable_required_consumer_liveness(RequiredConsumerLivenessConfig {
                    required_consumer_ids: vec![String::from(READER)],
                    progress_timeout: Duration::from_secs(60),
                    ..Default::default()
                });
            }
            "fill" => {
                let tx = known(&mut tx);
                (0..CAPACITY / 2).for_each(|_| hot_publish_56(tx, &line));
            }
            "publish" => between_breakpoints(hot_publish_56, known(&mut tx), &line),
            "manage" => between_breakpoints(hot_publish_managed_56, known(&mut tx), &line),
            "send" => assert!(between_breakpoints(hot_send_56, known(&mut tx), &line)),
            "claim" => assert!(between_breakpoints(hot_claim_56, known(&mut tx), &line)),
            "recv" => assert!(between_breakpoints(hot_recv_56, known(&mut rx), &mut line)),
            "lease" => {
                let call = hot_try_consume_next_leased_56;
                assert!(between_breakpoints(call, known(&mut rx), &mut line));
            }
            other => panic!("no such line: {other}"),
        }
        println!("ok");
    }
}

const READER: &str = "reader";

fn consumer(name: &str, strategy: AutoWaitStrategy) -> SharedConsumer<Line> {
    let builder = attach_shared_consumer(name, CAPACITY);
    let builder = builder
        .with_consumer_id(READER)
        .with_wait_strategy(strategy);
    builder.build_consumer().expect("a consumer")
}

/// Raises SIGTRAP, which kills a process that is not traced.
#[inline(always)]
fn breakpoint() {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: the instruction changes no register and no memory; the tracer continues the process after it.
    unsafe {
        core::arch::asm!("int3");
    }
}

/// The handle that an earlier line has made.
fn known<T>(handle: &mut Option<T>) -> &mut T {
    handle.as_mut().expect("a handle")
}

fn between_breakpoints<T, V, R>(call: fn(&mut T, V) -> R, handle: &mut T, value: V) -> R {
    let call = black_box(call);
    breakpoint();
    let result = call(handle, value);
    breakpoint();
    result
}
