//! What the kernel offers for bytes in order: Unix sockets, pipes and TCP on the loopback device.
//!
//! A sender makes a system call for each message, or for 8 KiB of a stream through `BufWriter`. Its calls wait in the
//! kernel. There is one connection for each receiver, and the buffers of sockets and pipes are set to the bytes of the
//! messages that a ring of the cell holds; those of TCP are the kernel's choice, as smaller ones stall it.

use std::error::Error;
use std::fs::{File, OpenOptions};
use std::io::{self, BufWriter, ErrorKind, Read, Write};
use std::marker::PhantomData;
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::net::{UnixListener, UnixStream};

use nix::fcntl::{FcntlArg, fcntl};
use nix::sys::stat::Mode;

use super::transport::{Link, Receiver, Sender, Transport};
use crate::payload::{bytes_of, bytes_of_mut};
use crate::watch::{self, stop};

/// Bytes that are read by one call at most, unless a message is longer, and those that a buffered sender gathers: as
/// many as the standard library's.
const BUFFER_BYTES: usize = 8 << 10;

/// Ends the run: for its own reason if there is one, because the end of a process ends its connections.
#[cold]
fn end() -> ! {
    watch::check();
    stop("a connection of `compare` has ended")
}

/// A medium of the kernel.
pub(super) trait Medium: 'static {
    /// What a receiver can connect to.
    type Offer;
    /// A connection.
    type Stream: Read + Write;

    fn offer(link: &Link) -> io::Result<Self::Offer>;

    /// The sender's connection to receiver `number`, which has connected.
    fn accept(
        offer: &Self::Offer,
        link: &Link,
        number: usize,
        bytes: usize,
    ) -> io::Result<Self::Stream>;

    fn connect(link: &Link) -> io::Result<Self::Stream>;
}

/// Messages over a medium, of which a sender gathers up to `GATHERED` bytes.
pub(super) struct Bytes<M, const GATHERED: usize>(PhantomData<M>);

pub(super) type Sockets = Bytes<Unix, 0>;
pub(super) type BufferedSockets = Bytes<Unix, BUFFER_BYTES>;
pub(super) type Pipes = Bytes<Pipe, 0>;
pub(super) type Loopback = Bytes<Tcp, 0>;

pub(super) struct BytesTx<M: Medium, const GATHERED: usize, const W: usize> {
    offer: M::Offer,
    link: Link,
    /// Empty until the first message is sent: receivers connect after the sender has been opened.
    streams: Vec<BufWriter<M::Stream>>,
    message: [u64; W],
}

pub(super) struct BytesRx<M: Medium> {
    stream: M::Stream,
    buffer: Vec<u64>,
    /// Bytes of the buffer that have been read and not handed on.
    filled: usize,
}

impl<M: Medium, const GATHERED: usize> Transport for Bytes<M, GATHERED> {
    type Tx<const W: usize> = BytesTx<M, GATHERED, W>;
    type Rx<const W: usize> = BytesRx<M>;

    fn sender<const W: usize>(link: &Link) -> Result<BytesTx<M, GATHERED, W>, Box<dyn Error>> {
        Ok(BytesTx {
            offer: M::offer(link)?,
            link: link.clone(),
            streams: Vec::new(),
            message: [0; W],
        })
    }

    fn receiver<const W: usize>(link: &Link) -> Result<BytesRx<M>, Box<dyn Error>> {
        Ok(BytesRx {
            stream: M::connect(link)?,
            buffer: vec![0; W.max(BUFFER_BYTES / 8)],
            filled: 0,
        })
    }
}

impl<M: Medium, const GATHERED: usize, const W: usize> BytesTx<M, GATHERED, W> {
    #[cold]
    fn accept(&mut self) {
        let bytes = self.link.capacity * W * 8;
        for number in 0..self.link.receivers {
            let stream = M::accept(&self.offer, &self.link, number, bytes);
            let stream = stream.unwrap_or_else(|_| end());
            self.streams
                .push(BufWriter::with_capacity(GATHERED, stream));
        }
    }
}

impl<M: Medium, const GATHERED: usize, const W: usize> Sender<W> for BytesTx<M, GATHERED, W> {
    fn try_send(&mut self, write: &impl Fn(&mut [u64; W])) -> bool {
        if self.streams.is_empty() {
            self.accept();
        }
        write(&mut self.message);
        for stream in &mut self.streams {
            if stream.write_all(bytes_of(&self.message)).is_err() {
                end();
            }
        }
        true
    }

    fn flush(&mut self) {
        for stream in &mut self.streams {
            if stream.flush().is_err() {
                end();
            }
        }
    }
}

impl<M: Medium, const W: usize> Receiver<W> for BytesRx<M> {
    fn receive(&mut self, mut read: impl FnMut(&[u64; W])) -> usize {
        let size = W * 8;
        while self.filled < size {
            let bytes = bytes_of_mut(&mut self.buffer);
            match self.stream.read(&mut bytes[self.filled..]) {
                Ok(0) => end(),
                Ok(count) => self.filled += count,
                Err(error) if error.kind() == ErrorKind::Interrupted => watch::check(),
                Err(_) => end(),
            }
        }
        let whole = self.filled / size;
        self.buffer.as_chunks::<W>().0[..whole]
            .iter()
            .for_each(&mut read);
        bytes_of_mut(&mut self.buffer).copy_within(whole * size..self.filled, 0);
        self.filled -= whole * size;
        whole
    }
}

/// A Unix socket.
pub(super) struct Unix;

impl Medium for Unix {
    type Offer = UnixListener;
    type Stream = UnixStream;

    fn offer(link: &Link) -> io::Result<UnixListener> {
        UnixListener::bind(link.path(0))
    }

    fn accept(offer: &UnixListener, _: &Link, _: usize, bytes: usize) -> io::Result<UnixStream> {
        let stream = offer.accept()?.0;
        set_send_buffer(&stream, bytes)?;
        Ok(stream)
    }

    fn connect(link: &Link) -> io::Result<UnixStream> {
        UnixStream::connect(link.path(0))
    }
}

/// TCP, whose port is written to a file.
pub(super) struct Tcp;

impl Medium for Tcp {
    type Offer = TcpListener;
    type Stream = TcpStream;

    fn offer(link: &Link) -> io::Result<TcpListener> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        std::fs::write(link.path(0), listener.local_addr()?.to_string())?;
        Ok(listener)
    }

    fn accept(offer: &TcpListener, _: &Link, _: usize, _: usize) -> io::Result<TcpStream> {
        let stream = offer.accept()?.0;
        stream.set_nodelay(true)?;
        Ok(stream)
    }

    fn connect(link: &Link) -> io::Result<TcpStream> {
        TcpStream::connect(std::fs::read_to_string(link.path(0))?)
    }
}

/// Sets the bytes that a socket holds for its receiver; the kernel has its own bounds.
fn set_send_buffer(socket: &impl AsRawFd, bytes: usize) -> io::Result<()> {
    let bytes = bytes as libc::c_int;
    // SAFETY: the descriptor is open, and the option's value is an integer of the size that is given.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_SNDBUF,
            (&raw const bytes).cast(),
            size_of::<libc::c_int>() as libc::socklen_t,
        )
    };
    if result == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

/// A pipe, which has a name until the run ends.
pub(super) struct Pipe;

impl Medium for Pipe {
    /// Ends of each pipe that neither wait for another process nor notice its end. They exist until all receivers have
    /// opened theirs.
    type Offer = Vec<File>;
    type Stream = File;

    fn offer(link: &Link) -> io::Result<Vec<File>> {
        let open = |number| {
            let path = link.path(number);
            nix::unistd::mkfifo(&path, Mode::S_IRUSR | Mode::S_IWUSR)?;
            OpenOptions::new().read(true).write(true).open(path)
        };
        (0..link.receivers).map(open).collect()
    }

    fn accept(_: &Vec<File>, link: &Link, number: usize, bytes: usize) -> io::Result<File> {
        let pipe = OpenOptions::new().write(true).open(link.path(number))?;
        fcntl(pipe.as_fd(), FcntlArg::F_SETPIPE_SZ(bytes as libc::c_int))?;
        Ok(pipe)
    }

    fn connect(link: &Link) -> io::Result<File> {
        File::open(link.path(link.receiver))
    }
}
