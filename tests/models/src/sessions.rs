//! Sessions (RFC 0008): when a request is done, how often it was delivered, and which pieces of its answer are new.
//!
//! The workers of one rank come one after the other, and any but the last may be killed at any step. Each request is
//! handed out, answered piece by piece, and only then released. The note, which stays with the worker's place, counts
//! how often a request was handed out. The scheduler drops the pieces that it has received before: it knows the highest
//! number that was answered, and how far. It may be killed, too: what it knows dies with it, and its place in the
//! worker's ring stays. Its successor receives the answers to its requests if it resumes, and drops them otherwise.
//! Receiving and sending are one step each: the rings have models of their own.

use crate::checker::{Cpu, End, Flow, Halt, Lock, Memory, Model, Process, Step, Word, broken};

/// What a control does otherwise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Otherwise {
    /// The request is released before it is answered.
    ReleasedFirst,
    /// The note is stored after the request was handed out.
    NotedLate,
    /// A worker that comes does not read the note of the one before it.
    NoteIgnored,
    /// The scheduler receives each piece that is sent.
    NothingRemembered,
    /// The scheduler remembers the request that was answered, but not how far.
    PiecesForgotten,
    /// The scheduler drops the last piece of an answer, too, if it has received a piece of this number.
    LastDropped,
    /// The scheduler releases a piece before its program has it.
    ReleasedEarly,
    /// A successor that resumes drops the answers to its predecessor's requests.
    Forgets,
    /// A successor that does not resume receives them.
    ReceivesAll,
}

/// The configuration.
#[derive(Clone, Debug)]
pub(crate) struct Sessions {
    pub(crate) requests: u8,
    pub(crate) pieces: u8,
    /// How many workers come, one after the other.
    pub(crate) workers: u8,
    /// How many schedulers come, one after the other.
    pub(crate) schedulers: u8,
    /// Whether a scheduler receives the answers to its predecessor's requests.
    pub(crate) resumes: bool,
    /// Whether each worker but the first answers in one piece less.
    pub(crate) shorter: bool,
    pub(crate) otherwise: Option<Otherwise>,
}

/// The note: the request, and the number of its deliveries.
const NOTE: u8 = 0;
const NOTE_OF: Word = 16;

const PIECES_SENT_MAX: usize = 16;

/// Marks the last piece of an answer.
const LAST: u8 = 0x80;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct World {
    /// The lock of the worker's place.
    place: Lock,
    /// The lock of the scheduler.
    seat: Lock,
    /// How many requests were sent.
    published: u8,
    /// How many requests were released.
    released: u8,
    /// How often each request was handed out.
    deliveries: [u8; 2],
    /// The worker's ring: the number of each piece among all pieces of all requests.
    sent: [u8; PIECES_SENT_MAX],
    sent_count: u8,
    /// How many of them the schedulers have released.
    read: u8,
    /// Bit i: a program has got piece i.
    received: u8,
    /// Bit i: a program has got the last piece of request i.
    complete: u8,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Working {
    Start,
    Poll,
    Note,
    HandOut,
    NoteLate,
    Send(u8),
    Release,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Scheduling {
    Start,
    Publish,
    Receive,
    /// Of a control: the program gets this piece, which is released.
    HandOut(u8),
    Return,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Role {
    Worker(Working),
    Scheduler(Scheduling),
}

/// A process: of a worker its request and the number of its delivery; of the scheduler what it has received.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Local {
    role: Role,
    request: u8,
    delivery: u8,
    /// The first request that it sends, and the first whose answers it receives.
    begun: u8,
    first: u8,
    /// Bit i: its program has got piece i, and the last piece of request i.
    received: u8,
    complete: u8,
    /// The highest request that was answered, + 1.
    highest: u8,
    /// Its next piece.
    next_piece: u8,
    /// Whether its last piece was received.
    is_complete: bool,
}

impl Sessions {
    fn does(&self, otherwise: Otherwise) -> bool {
        self.otherwise == Some(otherwise)
    }

    fn work(&self, at: Working, local: &mut Local, cpu: &mut Cpu<'_, World>) -> Step {
        let me = cpu.me;
        let note = NOTE_OF * local.request as Word + local.delivery as Word;
        let next = match at {
            Working::Start => {
                let world = cpu.system("locks its place")?;
                if !world.place.try_lock(me) {
                    return Err(Halt::Waits);
                }
                Working::Poll
            }
            Working::Poll => {
                local.request = cpu.world.released;
                if local.request < self.requests && local.request == cpu.world.published {
                    return Err(Halt::Waits);
                }
                if local.request == self.requests {
                    let world = cpu.system("leaves")?;
                    world.place.unlock(me);
                    return Ok(Flow::Ends);
                }
                let found = cpu.load(NOTE);
                let is_of_it = found / NOTE_OF == local.request as Word;
                local.delivery = match is_of_it && !self.does(Otherwise::NoteIgnored) {
                    true => (found % NOTE_OF) as u8 + 1,
                    false => 1,
                };
                match self.does(Otherwise::NotedLate) {
                    true => Working::HandOut,
                    false => Working::Note,
                }
            }
            Working::Note => {
                cpu.store(NOTE, note)?;
                Working::HandOut
            }
            Working::HandOut => {
                let world = &mut *cpu.world;
                let count = &mut world.deliveries[usize::from(local.request)];
                *count += 1;
                if *count > local.delivery {
                    return broken("a request was delivered more often than it says");
                }
                match self.otherwise {
                    Some(Otherwise::NotedLate) => Working::NoteLate,
                    Some(Otherwise::ReleasedFirst) => Working::Release,
                    _ => Working::Send(0),
                }
            }
            Working::NoteLate => {
                cpu.store(NOTE, note)?;
                Working::Send(0)
            }
            Working::Send(piece) => {
                let pieces =
                    self.pieces - u8::from(self.shorter && me > usize::from(self.schedulers));
                let is_last = piece + 1 == pieces;
                let world = &mut *cpu.world;
                let number = local.request * self.pieces + piece;
                world.sent[usize::from(world.sent_count)] = number | if is_last { LAST } else { 0 };
                world.sent_count += 1;
                match (!is_last, self.otherwise) {
                    (true, _) => Working::Send(piece + 1),
                    (false, Some(Otherwise::ReleasedFirst)) => Working::Poll,
                    (false, _) => Working::Release,
                }
            }
            Working::Release => {
                cpu.world.released = local.request + 1;
                match self.does(Otherwise::ReleasedFirst) {
                    true => Working::Send(0),
                    false => Working::Poll,
                }
            }
        };
        local.role = Role::Worker(next);
        Ok(Flow::Goes)
    }

    fn schedule(&self, at: Scheduling, local: &mut Local, cpu: &mut Cpu<'_, World>) -> Step {
        let me = cpu.me;
        let next = match at {
            Scheduling::Start => {
                let world = cpu.system("takes the session over")?;
                if !world.seat.try_lock(me) {
                    return Err(Halt::Waits);
                }
                local.begun = world.published;
                let receives_all = self.resumes && !self.does(Otherwise::Forgets);
                local.first = match receives_all || self.does(Otherwise::ReceivesAll) {
                    true => 0,
                    false => local.begun,
                };
                Scheduling::Publish
            }
            Scheduling::Publish => {
                let world = &mut *cpu.world;
                world.published = self.requests.min(world.published + 1);
                match world.published == self.requests {
                    true => Scheduling::Receive,
                    false => Scheduling::Publish,
                }
            }
            Scheduling::Receive => return self.receive(local, cpu),
            Scheduling::HandOut(piece) => {
                self.hand_out(piece, local, cpu.world)?;
                Scheduling::Receive
            }
            Scheduling::Return => {
                cpu.world.read += 1;
                Scheduling::Receive
            }
        };
        local.role = Role::Scheduler(next);
        Ok(Flow::Goes)
    }

    /// The next piece is handed out, or dropped. The scheduler ends when its own requests are answered, or all are.
    fn receive(&self, local: &mut Local, cpu: &mut Cpu<'_, World>) -> Step {
        let all = (1_u8 << self.requests) - 1;
        let own = all & !((1 << local.first) - 1);
        if cpu.world.complete & own == own {
            let me = cpu.me;
            cpu.system("ends")?.seat.unlock(me);
            return Ok(Flow::Ends);
        }
        let world = &mut *cpu.world;
        if world.read == world.sent_count {
            return Err(Halt::Waits);
        }
        let found = world.sent[usize::from(world.read)];
        let (number, is_last) = (found & !LAST, found & LAST != 0);
        let (request, piece) = (number / self.pieces, number % self.pieces);
        let is_old = piece < local.next_piece && (!is_last || self.does(Otherwise::LastDropped));
        let is_answered = request + 1 == local.highest
            && (local.is_complete || is_old || self.does(Otherwise::PiecesForgotten));
        let is_known = is_answered && !self.does(Otherwise::NothingRemembered);
        if is_known || request < local.first {
            world.read += 1;
            return Ok(Flow::Goes);
        }
        if request + 1 >= local.highest {
            local.highest = request + 1;
            local.next_piece = piece + 1;
            local.is_complete = is_last;
        }
        let next = match self.does(Otherwise::ReleasedEarly) {
            true => {
                world.read += 1;
                Scheduling::HandOut(found)
            }
            false => {
                self.hand_out(found, local, world)?;
                Scheduling::Return
            }
        };
        local.role = Role::Scheduler(next);
        Ok(Flow::Goes)
    }

    /// The program gets a piece.
    fn hand_out(&self, found: u8, local: &mut Local, world: &mut World) -> Result<(), Halt> {
        let (number, is_last) = (found & !LAST, found & LAST != 0);
        let request = number / self.pieces;
        if !self.resumes && request < local.begun {
            return broken("an answer to a predecessor's request");
        }
        // the last piece of a shorter answer has a number that was there before
        let is_twice = local.received & (1 << number) != 0 && !(is_last && self.shorter);
        if is_twice || is_last && local.complete & (1 << request) != 0 {
            return broken("the program gets a piece twice");
        }
        local.received |= 1 << number;
        local.complete |= u8::from(is_last) << request;
        world.received |= local.received;
        world.complete |= local.complete;
        Ok(())
    }
}

impl Model for Sessions {
    type Local = Local;
    type World = World;

    fn processes(&self) -> Vec<Process<Local>> {
        let local = |role| Local {
            role,
            request: 0,
            delivery: 0,
            begun: 0,
            first: 0,
            received: 0,
            complete: 0,
            highest: 0,
            next_piece: 0,
            is_complete: false,
        };
        let mut all = Vec::new();
        let names = ["scheduler", "second scheduler"];
        for name in names.into_iter().take(usize::from(self.schedulers)) {
            all.push((name, local(Role::Scheduler(Scheduling::Start))));
        }
        let names = ["worker", "second worker", "third worker"];
        for name in names.into_iter().take(usize::from(self.workers)) {
            all.push((name, local(Role::Worker(Working::Start))));
        }
        all
    }
    fn memory(&self) -> Memory {
        let mut memory = Memory::default();
        // of no request
        memory.set(NOTE, NOTE_OF * 7);
        memory
    }
    fn world(&self) -> World {
        World::default()
    }
    fn word(&self, _: u8) -> String {
        "note".into()
    }
    fn deaths(&self) -> u8 {
        self.workers - 1 + self.schedulers - 1
    }
    fn is_mortal(&self, who: usize, local: &Local) -> bool {
        let schedulers = usize::from(self.schedulers);
        let last = schedulers + usize::from(self.workers) - 1;
        // one that waits for the place has done nothing
        match local.role {
            Role::Scheduler(at) => who + 1 < schedulers && at != Scheduling::Start,
            Role::Worker(at) => who < last && at != Working::Start,
        }
    }
    fn reap(&self, who: usize, world: &mut World) {
        world.place.unlock(who);
        world.seat.unlock(who);
    }
    fn step(&self, local: &mut Local, cpu: &mut Cpu<'_, World>) -> Step {
        match local.role {
            Role::Worker(at) => self.work(at, local, cpu),
            Role::Scheduler(at) => self.schedule(at, local, cpu),
        }
    }
    /// Over all lives of the scheduler, no piece is missing of an answer that was awaited.
    fn check_end(&self, end: &End<'_, Self>) -> Result<(), String> {
        let pieces = (1_u16 << (self.requests * self.pieces)) - 1;
        let is_whole = u16::from(end.world.received) == pieces;
        match self.resumes && !self.shorter && !is_whole {
            true => Err("a piece was never received".into()),
            false => Ok(()),
        }
    }
}
