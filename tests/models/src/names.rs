//! Names (R15): creators that race, and the replacement of a dead segment that does not fit:
//! `create_or_take_over`, `create_new`, `take_existing` and `may_replace`. All steps are system calls, so the
//! order of stores does not matter.
//!
//! Where there are no nameless files, a segment is built under a temporary name, and creators remove the
//! leftovers of dead creators: `remove_leftovers` and `NewFile::is_intact`.

use crate::checker::{Address, Cpu, End, Flow, Halt, Lock, Memory, Model, Process, Step, broken};

/// The largest number of segments: one that exists at first, and one or two of each creator.
const SEGMENTS: usize = 6;

/// A step of the protocol that a control leaves out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LeftOut {
    /// The name is compared after the lock.
    Compare,
    /// A segment is replaced only under its producer's lock.
    ReplaceLock,
    /// A new segment is locked before it gets its name.
    LockBeforeLink,
    /// `linkat` fails if the name is taken; here it replaces.
    Exclusive,
    /// A segment with consumers attached or away is not replaced.
    InUse,
    /// A leftover is removed only under its lock.
    CleanLock,
    /// A builder that has the lock checks whether its temporary name still exists.
    Intact,
}

/// The configuration. Each creator wants one of two layouts. Two creators with different layouts replace each
/// other's dead segments.
#[derive(Clone, Debug)]
pub(crate) struct Names {
    /// The layout that each creator wants, 0 or 1.
    pub(crate) creators: &'static [u8],
    /// The layout of a dead segment that has the name at first, if there is one.
    pub(crate) dead: Option<u8>,
    /// Whether a durable consumer is away in that segment.
    pub(crate) has_away: bool,
    /// Whether files are built under temporary names.
    pub(crate) is_fallback: bool,
    pub(crate) deaths: u8,
    pub(crate) left_out: Option<LeftOut>,
}

/// A file in the kernel.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
struct File {
    producer: Lock,
    layout: u8,
    has_away: bool,
    /// Whether it has a temporary name.
    is_temporary: bool,
    /// Bit i: process i has it open.
    open: u8,
}

/// The directory and the files. The name refers to one of the files, which are numbered from 1, or to none, 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct World {
    name: u8,
    files: [File; SEGMENTS + 1],
}

impl World {
    /// A number of no file. The kernel, too, reuses inode numbers.
    fn unused(&self) -> Option<u8> {
        (1..=SEGMENTS as u8).find(|i| {
            let file = self.files[usize::from(*i)];
            *i != self.name && !file.is_temporary && file.open == 0
        })
    }

    fn close(&mut self, file: u8, who: usize) {
        let file = &mut self.files[usize::from(file)];
        file.producer.unlock(who);
        file.open &= !(1 << who);
        self.forget_unused();
    }

    /// Resets files that no longer exist, so that their old contents do not distinguish states.
    fn forget_unused(&mut self) {
        for i in 1..=SEGMENTS as u8 {
            let file = &mut self.files[usize::from(i)];
            if i != self.name && !file.is_temporary && file.open == 0 {
                *file = File::default();
            }
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum At {
    Open,
    /// The steps of removing leftovers: searching from this file on, then the file that was found and locked.
    Clean(u8),
    CleanLocked(u8),
    Build,
    LockNew,
    Intact,
    Link,
    LateLock,
    Unlink,
    TryOld,
    Compare,
    Consumers,
    Replace,
    Close,
    Running,
    LetGo,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Local {
    at: At,
    /// The file that it has open.
    file: u8,
    is_locked: bool,
}

impl Names {
    fn lacks(&self, step: LeftOut) -> bool {
        self.left_out == Some(step)
    }

    /// A process that has the lock of the file that the name refers to is a live producer, unless it only
    /// checks the file.
    fn remove_name(&self, world: &mut World, me: usize) -> Result<(), Halt> {
        let file = world.files[usize::from(world.name)];
        if world.name != 0 && !file.producer.is_free() && file.producer != Lock::held_by(me) {
            return broken("the name of somebody else's live ring was removed");
        }
        if world.name != 0 && file.has_away {
            return broken("a ring in which somebody is away was replaced");
        }
        world.name = 0;
        Ok(())
    }

    /// The steps that make a new file, up to its name.
    fn create(&self, local: &mut Local, cpu: &mut Cpu<'_, World>) -> Result<At, Halt> {
        let me = cpu.me;
        let at = usize::from(local.file);
        Ok(match local.at {
            At::Clean(from) => {
                let world = cpu.system("searches for leftovers")?;
                let leftover =
                    (from..=SEGMENTS as u8).find(|i| world.files[usize::from(*i)].is_temporary);
                match leftover {
                    None => At::Build,
                    Some(i) => match self.lacks(LeftOut::CleanLock)
                        || world.files[usize::from(i)].producer.try_lock(me)
                    {
                        true => {
                            world.files[usize::from(i)].open |= 1 << me;
                            At::CleanLocked(i)
                        }
                        false => At::Clean(i + 1),
                    },
                }
            }
            At::CleanLocked(i) => {
                let world = cpu.system("removes a leftover")?;
                world.files[usize::from(i)].is_temporary = false;
                world.close(i, me);
                At::Clean(i + 1)
            }
            At::Build => {
                let layout = self.creators[me];
                let is_fallback = self.is_fallback;
                let world = cpu.system("makes a file")?;
                local.file = match world.unused() {
                    Some(file) => file,
                    None => return broken("the model has too few files"),
                };
                world.files[usize::from(local.file)] = File {
                    layout,
                    is_temporary: is_fallback,
                    open: 1 << me,
                    ..File::default()
                };
                match self.lacks(LeftOut::LockBeforeLink) {
                    true => At::Link,
                    false => At::LockNew,
                }
            }
            At::LockNew => match cpu.system("locks the new file")?.files[at]
                .producer
                .try_lock(me)
            {
                true if self.is_fallback && !self.lacks(LeftOut::Intact) => At::Intact,
                true => At::Link,
                // another creator removes this file as a leftover: build a new one
                false => At::LetGo,
            },
            At::Intact => match cpu.system("checks the temporary name")?.files[at].is_temporary {
                true => At::Link,
                false => At::LetGo,
            },
            At::Link => {
                let (fallback, exclusive) = (self.is_fallback, !self.lacks(LeftOut::Exclusive));
                let world = cpu.system("links the name")?;
                if fallback && !world.files[at].is_temporary {
                    return broken("a creator fails as its file was taken for a leftover");
                }
                match world.name {
                    0 => world.name = local.file,
                    _ if exclusive => return Ok(At::LetGo),
                    _ => {
                        self.remove_name(world, me)?;
                        world.name = local.file;
                    }
                }
                match self.lacks(LeftOut::LockBeforeLink) {
                    true => At::LateLock,
                    false if fallback => At::Unlink,
                    false => At::Running,
                }
            }
            At::LateLock => match cpu.system("locks the new file")?.files[at]
                .producer
                .try_lock(me)
            {
                true => At::Running,
                false => return broken("a creator lost its own new ring"),
            },
            _ => {
                cpu.system("removes the temporary name")?.files[at].is_temporary = false;
                At::Running
            }
        })
    }

    /// The steps that check the file that has the name.
    fn claim(&self, local: &mut Local, cpu: &mut Cpu<'_, World>) -> Result<At, Halt> {
        let me = cpu.me;
        let at = usize::from(local.file);
        Ok(match local.at {
            At::TryOld => {
                let world = cpu.system("tries the producer's byte")?;
                local.is_locked = world.files[at].producer.try_lock(me);
                At::Compare
            }
            At::Compare => {
                let lacks = (
                    self.lacks(LeftOut::Compare),
                    self.lacks(LeftOut::ReplaceLock),
                );
                let layout = self.creators[me];
                let world = cpu.system("compares the name")?;
                let is_ours = world.name == local.file || lacks.0;
                let fits = world.files[at].layout == layout;
                match (is_ours, local.is_locked, fits) {
                    (false, ..) => At::LetGo,
                    (true, true, true) => At::Running,
                    (true, true, false) => At::Consumers,
                    (true, false, false) if lacks.1 => At::Consumers,
                    // an error: another process has the ring
                    (true, false, _) => At::Close,
                }
            }
            At::Consumers => {
                let is_used = cpu.system("checks for consumers")?.files[at].has_away;
                match is_used && !self.lacks(LeftOut::InUse) {
                    true => At::Close,
                    false => At::Replace,
                }
            }
            _ => {
                let world = cpu.system("removes the old name")?;
                self.remove_name(world, me)?;
                At::LetGo
            }
        })
    }
}

impl Model for Names {
    type Local = Local;
    type World = World;

    fn processes(&self) -> Vec<Process<Local>> {
        let begin = Local {
            at: At::Open,
            file: 0,
            is_locked: false,
        };
        let names = ["creator 0", "creator 1", "creator 2"].into_iter();
        names
            .zip(self.creators)
            .map(|(name, _)| (name, begin))
            .collect()
    }

    fn memory(&self) -> Memory {
        Memory::default()
    }

    fn world(&self) -> World {
        let mut world = World::default();
        if let Some(layout) = self.dead {
            world.name = 1;
            world.files[1] = File {
                layout,
                has_away: self.has_away,
                ..File::default()
            };
        }
        world
    }

    fn word(&self, _: Address) -> String {
        String::new()
    }

    fn at(&self, local: &Local) -> String {
        format!("{:?} (file {})", local.at, local.file)
    }

    fn deaths(&self) -> u8 {
        self.deaths
    }

    fn is_mortal(&self, _: usize, _: &Local) -> bool {
        true
    }

    /// The kernel closes the open files, and releases their locks.
    fn reap(&self, who: usize, world: &mut World) {
        for file in 1..=SEGMENTS as u8 {
            world.close(file, who);
        }
    }

    fn step(&self, local: &mut Local, cpu: &mut Cpu<'_, World>) -> Step {
        let me = cpu.me;
        local.at = match local.at {
            At::Open => {
                let world = cpu.system("opens the name")?;
                match world.name {
                    0 if self.is_fallback => At::Clean(1),
                    0 => At::Build,
                    file => {
                        world.files[usize::from(file)].open |= 1 << me;
                        local.file = file;
                        At::TryOld
                    }
                }
            }
            At::TryOld | At::Compare | At::Consumers | At::Replace => self.claim(local, cpu)?,
            // closes its file and starts again
            At::LetGo => {
                let world = cpu.system("closes the file")?;
                // dropping a file that did not get its name removes the temporary name
                let is_named = world.name == local.file;
                world.files[usize::from(local.file)].is_temporary &= is_named;
                world.close(local.file, me);
                *local = self.processes()[0].1;
                At::Open
            }
            At::Running => {
                let world = cpu.system("runs")?;
                if world.name != local.file {
                    return broken("a live ring has no name");
                }
                At::Close
            }
            // ends with an error, or closes its ring and removes the name
            At::Close => {
                let world = cpu.system("ends")?;
                let owned = world.files[usize::from(local.file)].producer == Lock::held_by(me);
                let file = usize::from(local.file);
                if owned && world.name == local.file && !world.files[file].has_away {
                    world.name = 0;
                }
                world.close(local.file, me);
                return Ok(Flow::Ends);
            }
            _ => self.create(local, cpu)?,
        };
        Ok(Flow::Goes)
    }

    /// Only a death may leave a temporary name behind.
    fn check_end(&self, end: &End<'_, Self>) -> Result<(), String> {
        let left = end.world.files.iter().any(|file| file.is_temporary);
        match left && end.deaths == 0 {
            true => Err("a temporary name stays for ever".into()),
            false => Ok(()),
        }
    }
}
