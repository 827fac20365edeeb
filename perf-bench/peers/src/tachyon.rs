//! Tachyon: a ring in shared memory, whose descriptor goes over a Unix socket.

use std::error::Error;
use std::thread::JoinHandle;
use std::time::Duration;

use perf_bench::compare::{Link, Peer, Receiver, Sender, Transport, bytes_of, words_of};
use tachyon::Bus;

use crate::each::Each;

pub(crate) const PEER: Peer = Peer::across::<Tachyon>(
    "tachyon",
    "tachyon-ipc 0.5.1, compiled by Clang 19: send, and drain_batch in a stream; receivers spin, and sleep in \
     broadcasts, with a bus for each receiver; an arena of at least as many messages with their headers",
);

pub(crate) struct Tachyon;

pub(crate) enum Tx {
    /// Until the first message is sent, a thread waits for the receiver.
    Listening(Option<JoinHandle<Result<Bus, String>>>),
    Connected(Bus),
}

pub(crate) struct Rx {
    bus: Bus,
    /// Polls before it sleeps.
    spins: u32,
}

/// Bytes of a header, and the unit of all lengths.
const LINE_BYTES: usize = 64;
/// Messages that are taken together at most.
const BATCH: usize = 64;

fn path(link: &Link, number: usize) -> String {
    link.path(number).display().to_string()
}

impl Transport for Tachyon {
    type Tx<const W: usize> = Each<Tx>;
    type Rx<const W: usize> = Rx;

    fn sender<const W: usize>(link: &Link) -> Result<Each<Tx>, Box<dyn Error>> {
        let message = LINE_BYTES + (W * 8).next_multiple_of(LINE_BYTES);
        let bytes = (message * link.capacity).next_power_of_two();
        Each::open(link, |number| {
            let (path, spins) = (path(link, number), link.has_cores);
            let listen = move || {
                let bus = Bus::listen(&path, bytes).map_err(|error| error.to_string())?;
                bus.set_polling_mode(i32::from(spins));
                Ok(bus)
            };
            Ok(Tx::Listening(Some(std::thread::spawn(listen))))
        })
    }

    fn receiver<const W: usize>(link: &Link) -> Result<Rx, Box<dyn Error>> {
        let path = path(link, link.receiver);
        let mut tries = 0..200;
        let bus = loop {
            match Bus::connect(&path) {
                Err(_) if tries.next().is_some() => std::thread::sleep(Duration::from_millis(10)),
                connected => break connected?,
            }
        };
        bus.set_polling_mode(i32::from(link.has_cores));
        let spins = if link.has_cores { u32::MAX } else { 100 };
        Ok(Rx { bus, spins })
    }
}

impl Tx {
    #[cold]
    fn connect(&mut self) -> bool {
        if let Self::Listening(listener) = self
            && let Some(listener) = listener.take()
        {
            let bus = listener.join().expect("the listener returns");
            *self = Self::Connected(bus.expect("the receiver has connected"));
        }
        false
    }
}

impl<const W: usize> Sender<W> for Tx {
    #[inline(always)]
    fn try_send(&mut self, write: &impl Fn(&mut [u64; W])) -> bool {
        let Self::Connected(bus) = self else {
            return self.connect();
        };
        let mut words = [0; W];
        write(&mut words);
        bus.send(bytes_of(&words), 1).is_ok()
    }
}

impl<const W: usize> Receiver<W> for Rx {
    fn receive(&mut self, mut read: impl FnMut(&[u64; W])) -> usize {
        let batch = self
            .bus
            .drain_batch(BATCH, self.spins)
            .expect("the bus works");
        for message in &batch {
            words_of(message.data()).iter().for_each(&mut read);
        }
        let count = batch.len();
        batch.commit().expect("the bus works");
        count
    }

    #[inline(always)]
    fn receive_one(&mut self, mut read: impl FnMut(&[u64; W])) -> usize {
        let message = self.bus.acquire_rx(self.spins).expect("the bus works");
        words_of(message.data()).iter().for_each(&mut read);
        message.commit().expect("the bus works");
        1
    }
}
