//! A hostile peer of a process that sends or receives messages. It stores any value in lines and slots, and
//! headers that are consistent by themselves, with any length. The victims must not touch memory outside the
//! mapping (guard pages), panic, wait beyond a deadline or allocate a length that a peer claims.
//!
//! `MYELON_HOSTILE_SEED` repeats a run.
#![cfg(all(target_os = "linux", not(miri)))]

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use disruptor_mp::{Deadline, MmapTransportLayout, RecvError};
use myelon::transport::{
    FrameMeta, MAX_MESSAGE_BYTES, MmapFramedTransportConsumer, MmapFramedTransportProducer,
    MyelonWaitStrategy, ReassemblyBuffer, frame_flags, recv_framed_message,
};
use myelon_tests::Hostile;
use myelon_tests::frames::{FRAME_BYTES, Frame};

#[path = "../src/guards.rs"]
mod guards;
#[path = "../src/bin/victim/largest.rs"]
mod largest;

const DEPTH: usize = 16;
/// Attacks in one run.
const ROUNDS: u64 = 20_000;
/// Longer messages are refused, because a peer may really send them.
const LIMIT: usize = 16 << 10;
/// A ring of 16 frames needs far less. A forged length would be far more.
const ALLOCATION_MAX: usize = 256 << 10;
const CALLS_MIN: u64 = 100;
/// How long a call may take: many times its deadline, because other programs load the machine.
const PATIENCE: Duration = Duration::from_secs(30);

type Tx = MmapFramedTransportProducer<Frame>;
type Rx = MmapFramedTransportConsumer<Frame>;

/// The ring's place, and the progress of both victims.
struct Ground {
    layout: MmapTransportLayout,
    is_over: AtomicBool,
    calls: [AtomicU64; 2],
    messages: AtomicU64,
}

fn soon() -> Deadline {
    Deadline::after(Duration::from_micros(500))
}

impl Ground {
    /// Sends messages of all lengths. When the peer has broken the ring, it creates another one.
    fn send(&self, mut random: fastrand::Rng) {
        let mut tx = None;
        while !self.is_over.load(Ordering::Relaxed) {
            self.calls[0].fetch_add(1, Ordering::Relaxed);
            let Some(producer) = &mut tx else {
                tx = Tx::create(&self.layout, DEPTH).ok();
                continue;
            };
            let message = vec![random.u8(..); random.usize(..FRAME_BYTES * DEPTH * 2)];
            producer.stamp_send_times(random.bool());
            let _ = match random.u8(..4) {
                0 => producer.try_publish(&message, 1),
                1 => producer
                    .try_reserve(random.usize(..64), 1)
                    .map(|mut reservation| {
                        reservation.fill(7);
                        reservation.publish()
                    }),
                _ => producer.send(&message, 1, soon()),
            };
            if random.u32(..500) == 0 {
                tx = None;
            }
        }
    }

    /// Receives in every form that copies.
    fn receive(&self, mut random: fastrand::Rng) {
        let (mut rx, mut buffer) = (None, ReassemblyBuffer::new());
        while !self.is_over.load(Ordering::Relaxed) {
            self.calls[1].fetch_add(1, Ordering::Relaxed);
            let Some(consumer) = &mut rx else {
                let strategy = MyelonWaitStrategy::Block;
                let attached = Rx::attach_with_consumer_id(&self.layout, DEPTH, "reader", strategy);
                rx = attached.ok();
                rx.iter_mut()
                    .for_each(|rx| _ = rx.limit_message_bytes(LIMIT));
                continue;
            };
            let see = |len: usize| {
                assert!(len <= LIMIT, "{len} bytes");
                self.messages.fetch_add(1, Ordering::Relaxed);
            };
            match random.u8(..5) {
                0 => drop(
                    consumer
                        .recv_owned(soon())
                        .map(|(_, message)| see(message.len())),
                ),
                1 => drop(consumer.recv_leased(&mut buffer, soon(), |_, message| {
                    see(message.to_vec().len());
                })),
                2 => drop(consumer.process_available_messages(|_, message| {
                    see(message.to_vec().len());
                })),
                3 => drop(consumer.recv(soon()).map(|message| {
                    message.meta();
                    message.release_uncommitted();
                })),
                _ => drop(
                    consumer
                        .try_recv()
                        .map(|message| message.map(|message| see(message.to_vec().len()))),
                ),
            }
            if random.u32(..500) == 0 {
                rx = None;
            }
        }
    }
}

/// A header that is consistent by itself.
fn header(random: &mut fastrand::Rng, sequence: u64) -> [u8; 16] {
    let meta = FrameMeta {
        len: match random.u8(..4) {
            0 => random.u32(..),
            1 => MAX_MESSAGE_BYTES as u32,
            2 => random.u32(..2000),
            _ => random.u32(..100),
        },
        kind: 1,
        flags: random.u8(..=frame_flags::ALL),
        msg_id: (sequence as u32).wrapping_sub(random.u32(..3)),
    };
    let mut bytes = [0xA5; 16];
    bytes[..12].copy_from_slice(&meta.to_bytes());
    bytes
}

/// Ends the victims' work, even if the attack fails.
struct Over<'a>(&'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Attacks until the rounds are over. A call that does not end ends the process.
fn attack(ground: &Ground, mut random: fastrand::Rng) {
    let _over = Over(&ground.is_over);
    let path = ground.layout.path();
    let mut hostile = Hostile::new(&path, random.u64(..));
    while ground
        .calls
        .iter()
        .any(|calls| calls.load(Ordering::Relaxed) < 10)
    {
        thread::sleep(Duration::from_millis(1));
    }
    let mut progress = [(0, Instant::now()); 2];
    let mut sequence = 0;
    for round in 0..ROUNDS {
        match random.u8(..8) {
            0 => hostile.round(),
            1 => sequence = random.u64(..64),
            _ => {
                hostile.overwrite_slot(sequence, &header(&mut random, sequence));
                if random.bool() {
                    hostile.forge_stamp(sequence);
                }
                sequence += 1;
            }
        }
        if round % 64 != 0 {
            continue;
        }
        thread::sleep(Duration::from_micros(300));
        if round % 1024 == 0 {
            // gives the victims a working ring for a while
            hostile.relent();
            thread::sleep(Duration::from_millis(10));
        }
        for ((before, at), calls) in progress.iter_mut().zip(&ground.calls) {
            let calls = calls.load(Ordering::Relaxed);
            if core::mem::replace(before, calls) != calls {
                *at = Instant::now();
            }
            if at.elapsed() > PATIENCE {
                eprintln!("no end after {PATIENCE:?}");
                std::process::abort();
            }
        }
    }
    hostile.relent();
}

#[test]
fn senders_and_receivers_survive_a_hostile_peer() {
    let seed = match std::env::var("MYELON_HOSTILE_SEED") {
        Ok(text) => text.parse().expect("MYELON_HOSTILE_SEED is a number"),
        Err(_) => fastrand::u64(..),
    };
    println!("hostile seed: messages MYELON_HOSTILE_SEED={seed}");
    let directory = tempfile::tempdir_in("/dev/shm").expect("a directory");
    let ground = Ground {
        layout: MmapTransportLayout::new(directory.path(), "ring"),
        is_over: AtomicBool::new(false),
        calls: Default::default(),
        messages: AtomicU64::new(0),
    };
    let mut random = fastrand::Rng::with_seed(seed);
    let (for_tx, for_rx) = (random.fork(), random.fork());
    thread::scope(|scope| {
        let victims = [
            scope.spawn(|| ground.send(for_tx)),
            scope.spawn(|| ground.receive(for_rx)),
        ];
        attack(&ground, random);
        for victim in victims {
            victim.join().expect("a victim");
        }
    });
    let [sent, received] = ground.calls.map(AtomicU64::into_inner);
    let messages = ground.messages.into_inner();
    println!("hostile victim: messages sent={sent} received={received} delivered={messages}");
    println!("hostile run: messages rounds={ROUNDS}");
    assert!(sent >= CALLS_MIN && received >= CALLS_MIN && messages > 0);
    assert!(
        largest::bytes() <= ALLOCATION_MAX,
        "{} bytes",
        largest::bytes()
    );
}

/// Stamps of frames that were never published are stored faster than the consumer can drop the frames.
#[test]
fn forged_stamps_keep_no_call_beyond_its_deadline() {
    /// With this many frames, dropping them takes longer than storing their stamps.
    const LARGE: usize = 4096;
    let directory = tempfile::tempdir_in("/dev/shm").expect("a directory");
    let layout = MmapTransportLayout::new(directory.path(), "ring");
    let mut tx = Tx::create(&layout, LARGE).expect("create");
    let mut rx = Rx::attach(&layout, LARGE, MyelonWaitStrategy::Block).expect("attach");
    let is_over = AtomicBool::new(false);
    let (attacks, mut buffer) = (AtomicU64::new(0), ReassemblyBuffer::new());
    let wait = || Deadline::after(Duration::from_millis(50));
    thread::scope(|scope| {
        let over = Over(&is_over);
        scope.spawn(|| {
            let mut hostile = Hostile::new(&layout.path(), 0);
            // a call that goes on for ever ends with this loop, and has failed by then
            let began = Instant::now();
            while !is_over.load(Ordering::Relaxed) && began.elapsed() < 2 * PATIENCE {
                hostile.run_ahead_of_the_first_consumer();
                attacks.fetch_add(1, Ordering::Relaxed);
            }
        });
        while attacks.load(Ordering::Relaxed) == 0 {
            thread::yield_now();
        }
        for call in 0..12 {
            let began = Instant::now();
            let outcome = match call % 6 {
                0 => rx.recv(wait()).map(drop),
                1 => rx.recv_owned(wait()).map(drop),
                2 => rx.recv_leased(&mut buffer, wait(), |_, _| {}),
                3 => rx.try_recv().map(|message| assert!(message.is_none())),
                4 => recv_framed_message(rx.ring(), wait()).map(drop),
                _ => rx
                    .process_available_messages(|_, _| {})
                    .map(|count| assert_eq!(count, 0)),
            };
            let expected = match call % 6 {
                3 | 5 => Ok(()),
                _ => Err(RecvError::Timeout),
            };
            assert_eq!(outcome, expected, "call {call}");
            assert!(
                began.elapsed() < PATIENCE,
                "call {call} took {:?}",
                began.elapsed()
            );
        }
        drop(over);
    });
    assert!(rx.received().malformed > 100, "{:?}", rx.received());
    assert!(tx.ring().capacity() == LARGE);
}

/// The first frame of a message that no ring holds. Memory is allocated for frames that have come, not for the
/// claimed length.
#[test]
fn claimed_lengths_are_not_set_aside() {
    let ring = disruptor_mp::HeapRing::<Frame>::new(DEPTH).expect("a ring");
    let mut tx = ring.producer().expect("a producer");
    let mut rx = myelon::FramedTransportConsumer::from_builder(ring.builder()).expect("a consumer");
    for claimed in [FRAME_BYTES * DEPTH + 1, 1 << 20, MAX_MESSAGE_BYTES] {
        for index in 0..4 {
            let meta = FrameMeta {
                len: (claimed - index * FRAME_BYTES) as u32,
                kind: 1,
                flags: if index == 0 { frame_flags::START } else { 0 },
                msg_id: (tx.last_published_sequence() + 1 - index as i64) as u32,
            };
            let next = tx.try_publish(|frame| {
                use myelon::transport::FramedTransportFrame;
                *frame.header_mut() = meta.to_bytes();
            });
            next.expect("space");
            assert!(rx.try_recv().expect("no end").is_none());
        }
    }
    assert_eq!((rx.received().malformed, rx.received().truncated), (0, 2));
    assert!(
        largest::bytes() <= ALLOCATION_MAX,
        "{} bytes",
        largest::bytes()
    );
}

#[test]
fn every_mapping_lies_between_guards() {
    let directory = tempfile::tempdir().expect("a directory");
    let layout = MmapTransportLayout::new(directory.path(), "guarded");
    let _tx = Tx::create(&layout, DEPTH).expect("create");
    let _rx = Rx::attach(&layout, DEPTH, MyelonWaitStrategy::Block).expect("attach");
    guards::assert_guarded(&format!("{}", directory.path().display()), 3);
}
