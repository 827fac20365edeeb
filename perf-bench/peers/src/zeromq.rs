//! ZeroMQ over Unix sockets.

use std::error::Error;

use perf_bench::compare::{Link, Peer, Receiver, Sender, Transport, bytes_of, words_of};
use zmq::{Context, Socket, SocketType};

use crate::each::Each;

pub(crate) const PEER: Peer = Peer::across::<Zeromq>(
    "zeromq",
    "zmq 0.10.0 with libzmq 4.3: PUSH and PULL over ipc, recv_into, half the capacity on either side; a pair of sockets \
     for each receiver, as PUB drops messages; calls wait in the kernel, and a thread of the library moves the bytes",
)
.waiting_inside();

pub(crate) struct Zeromq;
pub(crate) struct Tx(Socket);
pub(crate) struct Rx {
    socket: Socket,
    message: Vec<u8>,
}

/// How long a call waits, in ms.
const PATIENCE_MS: i32 = 1_000;

fn endpoint(link: &Link, number: usize) -> String {
    format!("ipc://{}", link.path(number).display())
}

fn socket(kind: SocketType, link: &Link) -> Result<Socket, Box<dyn Error>> {
    let socket = Context::new().socket(kind)?;
    let half = (link.capacity / 2).max(1) as i32;
    socket.set_sndhwm(half)?;
    socket.set_rcvhwm(half)?;
    socket.set_sndtimeo(PATIENCE_MS)?;
    socket.set_rcvtimeo(PATIENCE_MS)?;
    socket.set_linger(0)?;
    Ok(socket)
}

impl Transport for Zeromq {
    type Tx<const W: usize> = Each<Tx>;
    type Rx<const W: usize> = Rx;

    fn sender<const W: usize>(link: &Link) -> Result<Each<Tx>, Box<dyn Error>> {
        Each::open(link, |number| {
            let socket = socket(SocketType::PUSH, link)?;
            socket.bind(&endpoint(link, number))?;
            Ok(Tx(socket))
        })
    }

    fn receiver<const W: usize>(link: &Link) -> Result<Rx, Box<dyn Error>> {
        let socket = socket(SocketType::PULL, link)?;
        socket.connect(&endpoint(link, link.receiver))?;
        Ok(Rx {
            socket,
            message: vec![0; W * 8],
        })
    }
}

impl<const W: usize> Sender<W> for Tx {
    fn try_send(&mut self, write: &impl Fn(&mut [u64; W])) -> bool {
        let mut words = [0; W];
        write(&mut words);
        self.0.send(bytes_of(&words), 0).is_ok()
    }
}

impl<const W: usize> Receiver<W> for Rx {
    fn receive(&mut self, mut read: impl FnMut(&[u64; W])) -> usize {
        match self.socket.recv_into(&mut self.message, 0) {
            Ok(len) if len == W * 8 => {
                words_of(&self.message).iter().for_each(&mut read);
                1
            }
            _ => 0,
        }
    }
}
