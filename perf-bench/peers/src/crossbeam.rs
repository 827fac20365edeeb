//! crossbeam-channel: a bounded channel between threads.

use std::error::Error;
use std::time::Duration;

use perf_bench::compare::{Ends, InProcess, Link, Peer, Receiver, Sender};

use crate::each::Each;

pub(crate) const PEER: Peer = Peer::within::<Crossbeam>(
    "crossbeam",
    "crossbeam-channel 0.5.17, threads: bounded, try_send and try_recv; broadcasts wait in recv_timeout, with a \
     channel for each receiver",
);

pub(crate) struct Crossbeam;
pub(crate) struct Tx<const W: usize>(crossbeam::Sender<[u64; W]>);
pub(crate) struct Rx<const W: usize> {
    channel: crossbeam::Receiver<[u64; W]>,
    has_core: bool,
}

impl InProcess for Crossbeam {
    type Tx<const W: usize> = Each<Tx<W>>;
    type Rx<const W: usize> = Rx<W>;

    fn open<const W: usize>(link: &Link) -> Result<Ends<Each<Tx<W>>, Rx<W>>, Box<dyn Error>> {
        let mut receivers = Vec::new();
        let sender = Each::open(link, |_| {
            let (tx, channel) = crossbeam::bounded(link.capacity);
            receivers.push(Rx {
                channel,
                has_core: link.has_cores,
            });
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
        self.0.try_send(words).is_ok()
    }
}

impl<const W: usize> Receiver<W> for Rx<W> {
    #[inline(always)]
    fn receive(&mut self, mut read: impl FnMut(&[u64; W])) -> usize {
        let message = if self.has_core {
            self.channel.try_recv().ok()
        } else {
            self.channel.recv_timeout(Duration::from_secs(1)).ok()
        };
        message.map_or(0, |words| {
            read(&words);
            1
        })
    }
}
