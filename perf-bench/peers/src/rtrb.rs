//! rtrb: a ring between two threads.

use std::error::Error;

use perf_bench::compare::{Ends, InProcess, Link, Peer, Receiver, Sender};
use rtrb::{Consumer, Producer, RingBuffer};

use crate::each::Each;

pub(crate) const PEER: Peer = Peer::within::<Rtrb>(
    "rtrb",
    "rtrb 0.3.6, threads: push, and chunks of all that is there for reading; a ring for each receiver",
);

pub(crate) struct Rtrb;
pub(crate) struct Tx<const W: usize>(Producer<[u64; W]>);
pub(crate) struct Rx<const W: usize>(Consumer<[u64; W]>);

impl InProcess for Rtrb {
    type Tx<const W: usize> = Each<Tx<W>>;
    type Rx<const W: usize> = Rx<W>;

    fn open<const W: usize>(link: &Link) -> Result<Ends<Each<Tx<W>>, Rx<W>>, Box<dyn Error>> {
        let mut receivers = Vec::new();
        let sender = Each::open(link, |_| {
            let (tx, rx) = RingBuffer::new(link.capacity);
            receivers.push(Rx(rx));
            Ok(Tx(tx))
        })?;
        Ok(Ends { sender, receivers })
    }
}

impl<const W: usize> Sender<W> for Tx<W> {
    #[inline(always)]
    fn try_send(&mut self, write: &impl Fn(&mut [u64; W])) -> bool {
        if self.0.is_full() {
            return false;
        }
        let mut words = [0; W];
        write(&mut words);
        self.0.push(words).is_ok()
    }
}

impl<const W: usize> Receiver<W> for Rx<W> {
    #[inline(always)]
    fn receive(&mut self, mut read: impl FnMut(&[u64; W])) -> usize {
        let slots = self.0.slots();
        let Ok(chunk) = self.0.read_chunk(slots) else {
            return 0;
        };
        let (first, second) = chunk.as_slices();
        first.iter().chain(second).for_each(&mut read);
        chunk.commit_all();
        slots
    }

    #[inline(always)]
    fn receive_one(&mut self, mut read: impl FnMut(&[u64; W])) -> usize {
        self.0.pop().map_or(0, |words| {
            read(&words);
            1
        })
    }
}
