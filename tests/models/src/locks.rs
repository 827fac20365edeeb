//! The kernel's lock as a sign of a party's life (R8). A lock belongs to an open file description, and a
//! description lives as long as any descriptor or mapping in any process refers to it. The kernel's part is
//! modelled; the program's part is `os/lock.rs` and `os/fork.rs`.
//!
//! An owner maps a segment, locks, forks, and dies or detaches. Its child lives on for ever. Another process
//! wants the lock. It must get the lock once the owner is gone, and not before.

use crate::checker::{Address, Cpu, Flow, Halt, Memory, Model, Process, Step, broken};

/// A step of the protocol that a control leaves out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LeftOut {
    /// The lock is on a description of its own, never mapped.
    OwnDescription,
    /// Mappings are not inherited. This is shown with the lock on the mapped description, whose descriptors the
    /// child closes.
    DontFork,
    /// The child closes the lock's descriptor.
    ChildCloses,
    /// The child only closes; here it unlocks, as detaching would.
    ChildOnlyCloses,
    /// The lock's description is opened through the mapped one's descriptor; here by name.
    ByDescriptor,
    /// Detaching unlocks; here it closes the descriptors, while a child that is about to close still has them.
    Unlock,
}

/// The configuration: the processes and their behaviour.
#[derive(Clone, Debug)]
pub(crate) struct Locks {
    /// The owner detaches and its process goes on; otherwise the owner dies.
    pub(crate) detaches: bool,
    /// Another process replaces the name while the owner attaches.
    pub(crate) replaced: bool,
    pub(crate) left_out: Option<LeftOut>,
}

const OWNER: usize = 0;
const CHILD: usize = 1;
const OTHER: usize = 2;

/// An open file description: its file, and the processes that refer to it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
struct Description {
    file: u8,
    /// Bit i: process i has a descriptor.
    descriptors: u8,
    /// Bit i: process i has a mapping.
    mappings: u8,
    has_lock: bool,
}

const MAPPED: usize = 0;
const LOCKED: usize = 1;
const OTHERS: usize = 2;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct World {
    /// The description that the owner has mapped, that of its lock, and that of the other process's lock.
    descriptions: [Description; 3],
    /// The file that the name refers to.
    name: u8,
    is_forked: bool,
    /// Whether the owner takes itself for the owner, in a live process; then the same for the other process.
    owns: [bool; 2],
}

impl World {
    /// Removes each description to which no process refers, and its lock with it.
    fn release(&mut self) {
        for description in &mut self.descriptions {
            if description.descriptors | description.mappings == 0 {
                *description = Description::default();
            }
        }
    }

    fn try_lock(&mut self, which: usize) -> bool {
        let file = self.descriptions[which].file;
        let others = (0..3).filter(|i| *i != which);
        let is_taken = others
            .map(|i| self.descriptions[i])
            .any(|other| other.has_lock && other.file == file);
        self.descriptions[which].has_lock |= !is_taken;
        !is_taken
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Local {
    /// States of the owner.
    Open,
    Reopen,
    Lock,
    Map,
    Fork,
    Own,
    Disown,
    Unlock,
    CloseLock,
    CloseMapped,
    /// The owner's process goes on, and the mapping stays for its other endpoints.
    Detached,
    /// States of the child.
    Born,
    ChildDetaches,
    Lives,
    /// States of the other process.
    Wants,
    Has,
    /// The process that replaces the name.
    Replaces,
}

impl Locks {
    fn lacks(&self, step: LeftOut) -> bool {
        self.left_out == Some(step)
    }

    /// The owner's description that has the lock.
    fn lock_is_on(&self) -> usize {
        match self.lacks(LeftOut::OwnDescription) || self.lacks(LeftOut::DontFork) {
            true => MAPPED,
            false => LOCKED,
        }
    }

    fn own(&self, local: Local, world: &mut World) -> Result<Local, Halt> {
        let lock = self.lock_is_on();
        let mine = 1 << OWNER;
        Ok(match local {
            Local::Open => {
                world.descriptions[MAPPED].file = world.name;
                world.descriptions[MAPPED].descriptors = mine;
                Local::Reopen
            }
            Local::Reopen => {
                if lock == LOCKED {
                    let by_name = self.lacks(LeftOut::ByDescriptor);
                    let mapped = world.descriptions[MAPPED].file;
                    let file = if by_name { world.name } else { mapped };
                    world.descriptions[LOCKED].file = file;
                    world.descriptions[LOCKED].descriptors = mine;
                }
                Local::Lock
            }
            Local::Lock => match world.try_lock(lock) {
                true if world.descriptions[lock].file != world.descriptions[MAPPED].file => {
                    return broken("the lock is on another file than the mapping");
                }
                true => Local::Map,
                false => return Err(Halt::Waits),
            },
            Local::Map => {
                world.descriptions[MAPPED].mappings |= mine;
                world.owns[0] = true;
                Local::Fork
            }
            Local::Fork => {
                world.is_forked = true;
                let inherits = self.lacks(LeftOut::DontFork);
                for description in &mut world.descriptions {
                    description.descriptors |= (description.descriptors & mine) << CHILD;
                    if inherits {
                        description.mappings |= (description.mappings & mine) << CHILD;
                    }
                }
                Local::Own
            }
            Local::Own if self.detaches => Local::Disown,
            // the owner lives until it is killed, which the search does; here it exits, which is the same for
            // the kernel
            Local::Own => {
                for description in &mut world.descriptions {
                    description.descriptors &= !mine;
                    description.mappings &= !mine;
                }
                world.owns[0] = false;
                world.release();
                Local::Detached
            }
            Local::Disown => {
                world.owns[0] = false;
                match self.lacks(LeftOut::Unlock) || self.lacks(LeftOut::OwnDescription) {
                    true => Local::CloseLock,
                    false => Local::Unlock,
                }
            }
            Local::Unlock => {
                world.descriptions[lock].has_lock = false;
                Local::CloseLock
            }
            Local::CloseLock => {
                world.descriptions[LOCKED].descriptors &= !mine;
                world.release();
                Local::CloseMapped
            }
            _ => {
                // other endpoints of this process still use the mapping
                world.descriptions[MAPPED].descriptors &= !mine;
                world.release();
                Local::Detached
            }
        })
    }

    fn live(&self, local: Local, world: &mut World) -> Result<Local, Halt> {
        let mine = 1 << CHILD;
        let lock = self.lock_is_on();
        Ok(match local {
            Local::Born if !world.is_forked => return Err(Halt::Waits),
            Local::Born if self.lacks(LeftOut::ChildOnlyCloses) => {
                world.descriptions[lock].has_lock = false;
                Local::ChildDetaches
            }
            Local::Born if self.lacks(LeftOut::ChildCloses) => Local::Lives,
            // a child that is stopped before its handler ran keeps the descriptors for any length of time
            Local::Born if self.lacks(LeftOut::Unlock) => Local::Lives,
            _ => {
                world.descriptions[MAPPED].descriptors &= !mine;
                world.descriptions[LOCKED].descriptors &= !mine;
                world.release();
                Local::Lives
            }
        })
    }
}

impl Model for Locks {
    type Local = Local;
    type World = World;

    fn processes(&self) -> Vec<Process<Local>> {
        let mut all = vec![
            ("owner", Local::Open),
            ("child", Local::Born),
            ("other", Local::Wants),
        ];
        if self.replaced {
            all.push(("replacer", Local::Replaces));
        }
        all
    }
    fn memory(&self) -> Memory {
        Memory::default()
    }
    fn world(&self) -> World {
        World {
            name: 1,
            ..World::default()
        }
    }
    fn word(&self, _: Address) -> String {
        String::new()
    }

    fn step(&self, local: &mut Local, cpu: &mut Cpu<'_, World>) -> Step {
        let me = cpu.me;
        let ends = matches!(
            *local,
            Local::Detached | Local::Lives | Local::Replaces | Local::Has
        );
        let world = cpu.system(&format!("{local:?}"))?;
        *local = match (*local, me) {
            (Local::Detached | Local::Lives, _) => return Ok(Flow::Ends),
            (Local::Replaces, _) => {
                world.name = 2;
                return Ok(Flow::Ends);
            }
            (now, OWNER) => self.own(now, world)?,
            (now, CHILD) => self.live(now, world)?,
            // it wants the file that the owner has mapped, after the owner
            (Local::Wants, _) if !world.is_forked => return Err(Halt::Waits),
            (Local::Wants, _) => {
                world.descriptions[OTHERS].file = 1;
                world.descriptions[OTHERS].descriptors = 1 << OTHER;
                match world.try_lock(OTHERS) {
                    true => Local::Has,
                    false => return Err(Halt::Waits),
                }
            }
            (now, _) => now,
        };
        if *local == Local::Has && world.owns[0] && world.descriptions[MAPPED].file == 1 {
            return broken("two live owners");
        }
        match ends {
            true => Ok(Flow::Ends),
            false => Ok(Flow::Goes),
        }
    }
}
