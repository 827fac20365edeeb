//! The ledger of a session whose members are killed, and its judge.

use std::collections::{BTreeMap, BTreeSet};

/// An entry of the ledger.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// How many schedulers came before the one that wrote it; 0 if a worker wrote it.
    pub life: u64,
    /// What the process had done, or was about to do.
    pub fact: Fact,
}

/// What a member writes down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fact {
    /// A scheduler is about to send this request to one worker, or to all.
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
        /// Its number in the session.
        id: u64,
    },
    /// A scheduler has received this piece of an answer, and not released it yet.
    Received {
        /// The request.
        request: u64,
        /// The number of the piece.
        piece: u32,
        /// The worker that has sent it.
        rank: u32,
        /// Whether it ends the answer.
        end: End,
    },
    /// A scheduler has started.
    Started {
        /// Whether it receives the answers to its predecessor's requests.
        resumes: bool,
    },
    /// A scheduler is about to wait for one answer of this worker: the library copies what comes before it.
    Calls {
        /// The worker.
        rank: u32,
    },
    /// A worker has received this request.
    Delivered {
        /// The request.
        request: u64,
        /// The worker.
        rank: u32,
        /// For which time, as the library says; 0 if the program does not learn it.
        delivery: u32,
    },
    /// A scheduler has found that all workers are done, and that this answer is not there.
    Unaccounted {
        /// The request.
        request: u64,
        /// The worker.
        rank: u32,
    },
}

/// Whether a piece ends its answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// It does not.
    More,
    /// It is the last piece.
    Last,
    /// The worker has given the request up.
    GivenUp,
}

const BYTES: usize = 32;

impl Entry {
    /// The entry as it is written: by one system call, so that it is there as a whole or not at all.
    pub fn to_bytes(self) -> [u8; BYTES] {
        let with_rank = |number: u32, rank: u32| u64::from(number) << 32 | u64::from(rank);
        let [kind, request, more] = match self.fact {
            Fact::Intended { request, to } => [1, request, to.map_or(0, |to| to + 1)],
            Fact::Sent { request, id } => [2, request, id],
            Fact::Received {
                request,
                piece,
                rank,
                end,
            } => [3, request, with_rank(piece, rank) | (end as u64) << 16],
            Fact::Started { resumes } => [4, resumes.into(), 0],
            Fact::Calls { rank } => [5, 0, rank.into()],
            Fact::Delivered {
                request,
                rank,
                delivery,
            } => [6, request, with_rank(delivery, rank)],
            Fact::Unaccounted { request, rank } => [7, request, rank.into()],
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
                let (upper, rank) = ((more >> 32) as u32, u32::from(more as u16));
                let fact = match word(1) {
                    1 => Fact::Intended {
                        request,
                        to: more.checked_sub(1),
                    },
                    2 => Fact::Sent { request, id: more },
                    3 => Fact::Received {
                        request,
                        piece: upper,
                        rank,
                        end: match more as u32 >> 16 {
                            0 => End::More,
                            1 => End::Last,
                            _ => End::GivenUp,
                        },
                    },
                    4 => Fact::Started {
                        resumes: request != 0,
                    },
                    5 => Fact::Calls { rank },
                    6 => Fact::Delivered {
                        request,
                        rank,
                        delivery: upper,
                    },
                    7 => Fact::Unaccounted { request, rank },
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

/// The members of a session.
#[derive(Clone, Copy, Debug)]
pub struct Members<'a> {
    /// For each worker, the number of pieces of its answers.
    pub pieces: &'a [u32],
    /// How often each worker died, and then how often the scheduler did; none if that is not known.
    pub deaths: Option<&'a [u32]>,
}

impl Members<'_> {
    /// The most deaths that the worker `rank` can have died; after the last worker comes the scheduler.
    fn deaths(&self, rank: usize) -> u32 {
        self.deaths.map_or(u32::MAX, |deaths| deaths[rank])
    }

    /// The workers that a request is for.
    fn ranks(&self, to: Option<u64>) -> std::ops::Range<u32> {
        match to {
            Some(rank) => rank as u32..rank as u32 + 1,
            None => 0..self.pieces.len() as u32,
        }
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
    /// Deliveries after the first.
    pub redelivered: usize,
    /// Answers that give their request up.
    pub given_up: usize,
    /// Answers that a scheduler has reported as not to be had.
    pub unaccounted: usize,
}

/// What is known of one worker's answer.
#[derive(Clone, Debug, Default)]
struct Answer {
    pieces: BTreeSet<u32>,
    end: Option<End>,
    is_unaccounted: bool,
}

impl Answer {
    fn is_settled(&self) -> bool {
        self.end.is_some() || self.is_unaccounted
    }
}

/// The ledger as far as it is read.
#[derive(Debug, Default)]
struct Reading {
    /// Of each request: its worker, none for all, and the life of the scheduler that meant to send it.
    asked: BTreeMap<u64, (Option<u64>, u64)>,
    sent: BTreeSet<u64>,
    answers: BTreeMap<(u64, u32), Answer>,
    /// What each life has received; `None` is the end of an answer.
    seen: BTreeSet<(u64, u64, u32, Option<u32>)>,
    deliveries: BTreeMap<(u64, u32), u32>,
    /// The answers that the present scheduler may have copied, and so may take with it.
    copied: BTreeSet<(u64, u32)>,
    /// The answers that were lost with a scheduler.
    lost: BTreeSet<(u64, u32)>,
    /// Answers to requests of earlier lives are not received.
    first_life: u64,
    judged: Judged,
}

impl Reading {
    /// The answers that are expected and neither complete nor reported.
    fn open(&self, members: &Members<'_>) -> BTreeSet<(u64, u32)> {
        let all = self
            .asked
            .iter()
            .flat_map(|(request, (to, _))| members.ranks(*to).map(|rank| (*request, rank)));
        let is_settled = |key: &_| self.answers.get(key).is_some_and(Answer::is_settled);
        all.filter(|key| !is_settled(key)).collect()
    }

    /// Those of requests that were sent, or that a worker has begun to answer.
    fn owed(&self, members: &Members<'_>) -> BTreeSet<(u64, u32)> {
        let answered = self.answers.keys().map(|(request, _)| request);
        let sent: BTreeSet<_> = self.sent.iter().chain(answered).collect();
        let open = self.open(members).into_iter();
        open.filter(|(request, _)| sent.contains(request)).collect()
    }

    fn read(&mut self, members: &Members<'_>, entry: &Entry) -> Result<(), String> {
        let life = entry.life;
        match entry.fact {
            Fact::Started { resumes } => {
                let copied = core::mem::take(&mut self.copied);
                self.lost.extend(copied);
                if !resumes {
                    self.lost.extend(self.open(members));
                    self.first_life = life;
                }
            }
            Fact::Intended { request, to } => {
                self.asked.insert(request, (to, life));
            }
            Fact::Sent { request, .. } => {
                self.sent.insert(request);
            }
            Fact::Calls { rank } => {
                let open = self.open(members).into_iter();
                self.copied.extend(open.filter(|(_, of)| *of == rank));
            }
            Fact::Received {
                request,
                piece,
                rank,
                end,
            } => self.receive(members, life, (request, rank), piece, end)?,
            Fact::Delivered {
                request,
                rank,
                delivery,
            } => {
                let times = self.deliveries.entry((request, rank)).or_default();
                *times += 1;
                self.judged.redelivered += usize::from(*times > 1);
                if delivery > 0 && delivery < *times {
                    return Err(format!(
                        "worker {rank} got {request} for the {times}th time, and was told {delivery}"
                    ));
                }
                let most = members.deaths(rank as usize).saturating_add(1);
                if *times > most || delivery > most {
                    return Err(format!(
                        "worker {rank} got {request} {times} times, was told {delivery}, and died {} times",
                        most - 1
                    ));
                }
            }
            Fact::Unaccounted { request, rank } => {
                if !self.lost.contains(&(request, rank)) {
                    return Err(format!(
                        "the answer of worker {rank} to {request} is missing, and no death explains it"
                    ));
                }
                self.answers
                    .entry((request, rank))
                    .or_default()
                    .is_unaccounted = true;
                self.judged.unaccounted += 1;
            }
        }
        Ok(())
    }

    fn receive(
        &mut self,
        members: &Members<'_>,
        life: u64,
        (request, rank): (u64, u32),
        piece: u32,
        end: End,
    ) -> Result<(), String> {
        let asked = self.asked.get(&request);
        let asked = asked.filter(|(to, _)| members.ranks(*to).contains(&rank));
        let pieces = members.pieces[rank as usize];
        let Some((_, of_life)) = asked.filter(|_| piece < pieces) else {
            return Err(format!(
                "worker {rank} was not asked for {piece} of {request}"
            ));
        };
        if *of_life < self.first_life {
            return Err(format!(
                "scheduler {life} got an answer to {request} of scheduler {of_life}, and did not resume"
            ));
        }
        let is_lost = self.lost.contains(&(request, rank));
        let answer = self.answers.entry((request, rank)).or_default();
        let mut is_new = true;
        if end != End::GivenUp {
            is_new &= self.seen.insert((life, request, rank, Some(piece)));
            self.judged.again += usize::from(!answer.pieces.insert(piece));
            let is_whole = answer.pieces.len() == pieces as usize && piece + 1 == pieces;
            if end == End::Last && !is_whole {
                // its beginning went with a scheduler: it has to be reported
                return match is_lost && is_new {
                    true => Ok(()),
                    false => Err(format!(
                        "the answer of worker {rank} to {request} ended, and is missing a piece"
                    )),
                };
            }
        } else if members.deaths(rank as usize) == 0 {
            return Err(format!("worker {rank} gave {request} up, and never died"));
        }
        if end != End::More {
            is_new &= self.seen.insert((life, request, rank, None));
            let is_first = answer.end.replace(end).is_none();
            self.judged.given_up += usize::from(is_first && end == End::GivenUp);
            self.judged.answered += usize::from(is_first);
        }
        if !is_new {
            return Err(format!(
                "scheduler {life} got piece {piece} of {request} from worker {rank} twice"
            ));
        }
        Ok(())
    }
}

/// The answers that a session owes by this ledger: of requests that were sent, or that a worker has begun to answer.
/// `pieces` has the number of pieces of each worker's answers.
pub fn open_answers(pieces: &[u32], entries: &[Entry]) -> BTreeSet<(u64, u32)> {
    let members = Members {
        pieces,
        deaths: None,
    };
    let mut reading = Reading::default();
    for entry in entries {
        // faults are for the judge
        let _ = reading.read(&members, entry);
    }
    reading.owed(&members)
}

/// Judges the ledger of a session that has ended. Each request that was sent is answered by each worker that it was
/// sent to, with all pieces, or given up by a worker that died, or reported by a scheduler whose predecessor's death
/// explains that. No scheduler has received a piece twice. If the deaths are known, at most one piece came again after
/// each death of a scheduler. A request that a scheduler was killed over may have been sent, or not, but to all or to
/// none.
///
/// # Errors
///
/// What is wrong.
pub fn judge(members: Members<'_>, entries: &[Entry]) -> Result<Judged, String> {
    let mut reading = Reading::default();
    entries
        .iter()
        .try_for_each(|entry| reading.read(&members, entry))?;
    if let Some((request, rank)) = reading.owed(&members).first() {
        return Err(format!(
            "request {request} was sent, and the answer of worker {rank} is missing"
        ));
    }
    let mut judged = reading.judged;
    judged.sent = reading.sent.len();
    // each had one message lent when it died
    let most = members.deaths(members.pieces.len());
    if judged.again > most as usize {
        return Err(format!(
            "{} pieces were received again after {most} deaths of the scheduler",
            judged.again
        ));
    }
    Ok(judged)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(life: u64, fact: Fact) -> Entry {
        Entry { life, fact }
    }

    fn received(life: u64, request: u64, piece: u32, end: End) -> Entry {
        let rank = 1;
        entry(
            life,
            Fact::Received {
                request,
                piece,
                rank,
                end,
            },
        )
    }

    const MEMBERS: Members<'_> = Members {
        pieces: &[3, 3],
        deaths: Some(&[0, 1, 1]),
    };

    fn delivered(delivery: u32) -> Entry {
        let (request, rank) = (7, 1);
        entry(
            0,
            Fact::Delivered {
                request,
                rank,
                delivery,
            },
        )
    }

    #[test]
    fn a_ledger_is_judged() {
        let started = |life, resumes| entry(life, Fact::Started { resumes });
        let to = Some(1);
        let begin = [
            started(0, true),
            entry(0, Fact::Intended { request: 7, to }),
            entry(0, Fact::Sent { request: 7, id: 9 }),
            received(0, 7, 0, End::More),
            received(0, 7, 1, End::More),
        ];
        let with = |more: &[Entry]| judge(MEMBERS, &[&begin[..], more].concat());
        let whole = with(&[
            delivered(1),
            delivered(2),
            started(1, true),
            received(1, 7, 1, End::More),
            received(1, 7, 2, End::Last),
        ]);
        let whole = whole.expect("it holds");
        assert_eq!((whole.sent, whole.answered, whole.again), (1, 1, 1));
        assert_eq!(whole.redelivered, 1);
        let given_up = with(&[received(0, 7, 0, End::GivenUp)]).expect("it holds");
        assert_eq!((given_up.given_up, given_up.unaccounted), (1, 0));
        let lost = Fact::Unaccounted {
            request: 7,
            rank: 1,
        };
        let reported = [started(1, false), entry(1, lost)];
        assert_eq!(with(&reported).expect("it holds").unaccounted, 1);
        let call = entry(0, Fact::Calls { rank: 1 });
        let reported = [call, started(1, true), entry(1, lost)];
        assert_eq!(with(&reported).expect("it holds").unaccounted, 1);

        let (more, last) = (End::More, End::Last);
        let wrongs: [(&str, &[Entry]); 9] = [
            ("missing", &[]),
            ("twice", &[received(0, 7, 1, more), received(1, 7, 2, last)]),
            ("not asked", &[received(1, 8, 0, more)]),
            ("missing a piece", &[received(0, 7, 1, last)]),
            ("no death explains it", &[started(1, true), entry(1, lost)]),
            (
                "did not resume",
                &[started(1, false), received(1, 7, 2, last)],
            ),
            ("was told 1", &[delivered(1), delivered(1)]),
            ("died 1 times", &[delivered(1), delivered(2), delivered(3)]),
            (
                "again after 1 deaths",
                &[
                    received(1, 7, 0, more),
                    received(1, 7, 1, more),
                    received(1, 7, 2, last),
                ],
            ),
        ];
        for (words, wrong) in wrongs {
            let found = with(wrong).expect_err(words);
            assert!(found.contains(words), "{words}: {found}");
        }
        let bytes: Vec<u8> = begin.iter().flat_map(|entry| entry.to_bytes()).collect();
        assert_eq!(Entry::all(&bytes), begin);
        let others = [
            received(1, 2, 3, End::GivenUp),
            delivered(4),
            call,
            entry(2, lost),
        ];
        let bytes: Vec<u8> = others.iter().flat_map(|entry| entry.to_bytes()).collect();
        assert_eq!(Entry::all(&bytes), others);
    }
}
