//! The ledger of a session whose members are killed, and its judge.

use std::collections::{BTreeMap, BTreeSet};

/// Pieces of each answer.
pub const PIECES: u32 = 3;

/// An entry of the ledger.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// How many schedulers came before the one that wrote it.
    pub life: u64,
    /// What it had done, or was about to do.
    pub fact: Fact,
}

/// What a scheduler writes down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fact {
    /// It is about to send this request to one worker, or to all.
    Intended {
        /// The request.
        request: u64,
        /// The worker; none for all.
        to: Option<u64>,
    },
    /// The request was sent.
    Sent {
        /// The request.
        request: u64,
    },
    /// It has received this piece of an answer, and not released it yet.
    Received {
        /// The request.
        request: u64,
        /// The number of the piece.
        piece: u32,
        /// The worker that has sent it.
        rank: u32,
    },
}

const BYTES: usize = 32;

impl Entry {
    /// The entry as it is written: by one system call, so that it is there as a whole or not at all.
    pub fn to_bytes(self) -> [u8; BYTES] {
        let [kind, request, more] = match self.fact {
            Fact::Intended { request, to } => [1, request, to.map_or(0, |to| to + 1)],
            Fact::Sent { request } => [2, request, 0],
            Fact::Received {
                request,
                piece,
                rank,
            } => [3, request, u64::from(piece) << 32 | u64::from(rank)],
        };
        let mut bytes = [0; BYTES];
        let words = [self.life, kind, request, more];
        for (place, word) in bytes.as_chunks_mut::<8>().0.iter_mut().zip(words) {
            *place = word.to_le_bytes();
        }
        bytes
    }

    /// All entries of a ledger.
    ///
    /// # Panics
    ///
    /// If an entry is none.
    pub fn all(ledger: &[u8]) -> Vec<Self> {
        let (entries, rest) = ledger.as_chunks::<BYTES>();
        assert!(rest.is_empty(), "half an entry");
        entries
            .iter()
            .map(|bytes| {
                let word = |at: usize| u64::from_le_bytes(bytes.as_chunks::<8>().0[at]);
                let (request, more) = (word(2), word(3));
                let fact = match word(1) {
                    1 => Fact::Intended {
                        request,
                        to: more.checked_sub(1),
                    },
                    2 => Fact::Sent { request },
                    3 => Fact::Received {
                        request,
                        piece: (more >> 32) as u32,
                        rank: more as u32,
                    },
                    other => panic!("no kind of entry: {other}"),
                };
                Self {
                    life: word(0),
                    fact,
                }
            })
            .collect()
    }
}

/// What a ledger shows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Judged {
    /// Requests that were sent.
    pub sent: usize,
    /// Answers that are complete.
    pub answered: usize,
    /// Pieces that two lives of the scheduler have received.
    pub again: usize,
}

/// Judges the ledger of a session of `workers` workers that has ended: each request that was sent is answered by each
/// worker that it was sent to, with all pieces, and no scheduler has received a piece twice. A request that a scheduler
/// was killed over may have been sent, or not.
///
/// # Errors
///
/// What is wrong.
pub fn judge(workers: usize, entries: &[Entry]) -> Result<Judged, String> {
    let mut to = BTreeMap::new();
    let mut sent = BTreeSet::new();
    let mut pieces = BTreeSet::new();
    let mut seen = BTreeSet::new();
    let mut judged = Judged::default();
    for entry in entries {
        match entry.fact {
            Fact::Intended { request, to: rank } => {
                to.insert(request, rank);
            }
            Fact::Sent { request } => {
                sent.insert(request);
            }
            Fact::Received {
                request,
                piece,
                rank,
            } => {
                if !seen.insert((entry.life, request, rank, piece)) {
                    return Err(format!(
                        "scheduler {} got piece {piece} of {request} from worker {rank} twice",
                        entry.life
                    ));
                }
                if !pieces.insert((request, rank, piece)) {
                    judged.again += 1;
                }
                let is_asked = match to.get(&request) {
                    None => false,
                    Some(None) => (rank as usize) < workers,
                    Some(Some(to)) => *to == u64::from(rank),
                };
                if !is_asked || piece >= PIECES {
                    return Err(format!(
                        "worker {rank} was not asked for {piece} of {request}"
                    ));
                }
            }
        }
    }
    for request in &sent {
        let ranks = match to.get(request) {
            Some(Some(rank)) => *rank as u32..*rank as u32 + 1,
            _ => 0..workers as u32,
        };
        for rank in ranks {
            for piece in 0..PIECES {
                if !pieces.contains(&(*request, rank, piece)) {
                    return Err(format!(
                        "request {request} was sent, and piece {piece} of worker {rank} is missing"
                    ));
                }
            }
            judged.answered += 1;
        }
    }
    judged.sent = sent.len();
    Ok(judged)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(life: u64, fact: Fact) -> Entry {
        Entry { life, fact }
    }

    fn received(life: u64, request: u64, piece: u32) -> Entry {
        let rank = 1;
        entry(
            life,
            Fact::Received {
                request,
                piece,
                rank,
            },
        )
    }

    #[test]
    fn a_ledger_is_judged() {
        let begin = [
            entry(
                0,
                Fact::Intended {
                    request: 7,
                    to: Some(1),
                },
            ),
            entry(0, Fact::Sent { request: 7 }),
            received(0, 7, 0),
            received(0, 7, 1),
        ];
        let with = |more: &[Entry]| judge(2, &[&begin[..], more].concat());
        let whole = with(&[received(1, 7, 1), received(1, 7, 2)]).expect("it holds");
        assert_eq!((whole.sent, whole.answered, whole.again), (1, 1, 1));
        assert!(with(&[]).unwrap_err().contains("missing"));
        let twice = with(&[received(0, 7, 1), received(1, 7, 2)]);
        assert!(twice.unwrap_err().contains("twice"));
        assert!(
            with(&[received(1, 8, 0)])
                .unwrap_err()
                .contains("not asked")
        );
        let bytes: Vec<u8> = begin.iter().flat_map(|entry| entry.to_bytes()).collect();
        assert_eq!(Entry::all(&bytes), begin);
    }
}
