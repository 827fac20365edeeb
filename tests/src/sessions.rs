//! Sessions whose members are killed and stopped: the messages that they exchange, the ledger that all of them write,
//! and its [judge].

pub mod judge;
pub mod tasks;

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Write};
use std::path::Path;

use myelon::transport::{AlignedFixedFrame, FixedFrame};
use myelon::{Piece, RequestId, Response};

use judge::{End, Entry, Fact};

/// Pieces of each answer of the storm, and of an answer that a worker of the sweep streams.
pub const PIECES: u32 = 3;

/// Workers of the sweep.
pub const WORKERS: usize = 2;

/// Pieces of each answer of the workers of the sweep: worker 0 streams its answers.
pub const PIECES_OF: [u32; WORKERS] = [PIECES, 1];

/// What the scheduler of the sweep does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Task {
    /// Sends a request to this worker.
    To(usize),
    /// Sends a request to all workers.
    All,
    /// Calls this worker.
    Call(usize),
    /// Receives all answers.
    Drain,
}

/// What the scheduler of the sweep does, in this order. The place of a request is its number; the numbers also decide
/// how long the [`message`] is. The five requests to all are more than the rings hold. Before a call some answers are
/// under way, but no more than a call copies.
pub const SCRIPT: [Task; 20] = {
    use Task::{All, Call, Drain, To};
    [
        To(0),
        To(1),
        Drain,
        All,
        Call(0),
        Call(1),
        Drain,
        To(0),
        To(0),
        To(1),
        All,
        All,
        All,
        All,
        All,
        Drain,
        All,
        Call(1),
        Call(0),
        To(0),
    ]
};

/// The frames of requests.
pub type Requests = AlignedFixedFrame<128>;
/// The frames of answers.
pub type Answers = FixedFrame<64>;

/// The message of a request: its number, and as much more as makes some messages longer than a frame.
pub fn message(request: u64) -> Vec<u8> {
    let part = [request.to_ne_bytes(), [request as u8; 8]].concat();
    part.repeat(1 + request as usize % 13)
}

/// The number of a request, in this message or in a piece of its answer.
///
/// # Errors
///
/// The message is too short.
pub fn number_of(message: &[u8]) -> Result<u64, &'static str> {
    let number = message.first_chunk().ok_or("a message without a number")?;
    Ok(u64::from_ne_bytes(*number))
}

/// As [`number_of`], of a whole request.
///
/// # Errors
///
/// It is not the message that was sent.
pub fn number_of_request(bytes: &[u8]) -> Result<u64, String> {
    let request = number_of(bytes)?;
    match bytes == message(request) {
        true => Ok(request),
        false => Err(format!("request {request} is torn")),
    }
}

/// Appends entries to the ledger of a session, each by one system call, so that a kill loses none.
#[derive(Debug)]
pub struct Book {
    file: File,
    life: u64,
    /// What was written before it was opened.
    pub earlier: Vec<Entry>,
    /// The requests by their numbers in the session.
    ids: BTreeMap<u64, u64>,
}

impl Book {
    /// The book of the next scheduler.
    ///
    /// # Errors
    ///
    /// Those of the file.
    pub fn open(ledger: &Path) -> io::Result<Self> {
        let file = File::options().append(true).create(true).open(ledger)?;
        let earlier = Entry::all(&std::fs::read(ledger)?);
        let of_schedulers = earlier
            .iter()
            .filter(|entry| !matches!(entry.fact, Fact::Delivered { .. }));
        let ids = earlier.iter().filter_map(|entry| match entry.fact {
            Fact::Sent { request, id } => Some((id, request)),
            _ => None,
        });
        Ok(Self {
            file,
            life: of_schedulers.map(|entry| entry.life + 1).max().unwrap_or(0),
            ids: ids.collect(),
            earlier,
        })
    }

    /// The book of a worker.
    ///
    /// # Errors
    ///
    /// Those of the file.
    pub fn of_worker(ledger: &Path) -> io::Result<Self> {
        Ok(Self {
            file: File::options().append(true).create(true).open(ledger)?,
            life: 0,
            earlier: Vec::new(),
            ids: BTreeMap::new(),
        })
    }

    /// The first request that no scheduler has meant to send.
    pub fn next_request(&self) -> u64 {
        let intended = self.earlier.iter().filter_map(|entry| match entry.fact {
            Fact::Intended { request, .. } => Some(request + 1),
            _ => None,
        });
        intended.max().unwrap_or(0)
    }

    /// Writes a fact down.
    ///
    /// # Errors
    ///
    /// Those of the file.
    pub fn write(&mut self, fact: Fact) -> io::Result<()> {
        let life = self.life;
        self.file.write_all(&Entry { life, fact }.to_bytes())
    }

    /// Writes down that a request was sent.
    ///
    /// # Errors
    ///
    /// Those of the file.
    pub fn write_sent(&mut self, request: u64, id: RequestId) -> io::Result<()> {
        let id = id.get();
        self.ids.insert(id, request);
        self.write(Fact::Sent { request, id })
    }

    /// Writes a piece down that a scheduler has received of the worker `rank`, before it is released. Returns the
    /// request, and whether this was the last piece.
    ///
    /// # Errors
    ///
    /// Those of the file; a piece that names another request than it answers.
    pub fn write_piece<B>(
        &mut self,
        rank: usize,
        piece: &Response<'_, Answers, B>,
    ) -> io::Result<(u64, bool)> {
        let end = match (piece.is_given_up(), piece.is_last()) {
            (true, _) => End::GivenUp,
            (false, true) => End::Last,
            (false, false) => End::More,
        };
        self.write_received(rank, piece.request(), piece.piece(), end, piece)
    }

    /// As [`write_piece`](Self::write_piece), of a piece that a task has received.
    ///
    /// # Errors
    ///
    /// As [`write_piece`](Self::write_piece).
    pub fn write_copy(&mut self, piece: &Piece) -> io::Result<(u64, bool)> {
        let end = match (piece.is_given_up, piece.is_last) {
            (true, _) => End::GivenUp,
            (false, true) => End::Last,
            (false, false) => End::More,
        };
        self.write_received(piece.rank, piece.request, piece.number, end, &piece.bytes)
    }

    fn write_received(
        &mut self,
        rank: usize,
        id: Option<RequestId>,
        piece: u32,
        end: End,
        bytes: &[u8],
    ) -> io::Result<(u64, bool)> {
        let named = self.ids.get(&id.map_or(0, RequestId::get)).copied();
        let request = match end {
            // it is empty, and only the life that has sent the request knows its number for sure
            End::GivenUp => named.ok_or("a request without a number"),
            _ => number_of(bytes),
        };
        let request = request.map_err(io::Error::other)?;
        if named.is_some_and(|named| named != request) {
            let what = format!("an answer to {request} names {named:?}");
            return Err(io::Error::other(what));
        }
        self.write(Fact::Received {
            request,
            piece,
            rank: rank as u32,
            end,
        })?;
        Ok((request, end != End::More))
    }
}
