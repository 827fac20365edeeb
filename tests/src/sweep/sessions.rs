//! The sweep over sessions. One member of a session is killed or stopped at each step that it comes to: the scheduler,
//! its successor, a worker, or a worker that has come back; also a scheduler or a worker for tasks. A killed member is
//! started again, a stopped one continues.
//!
//! The scheduler sends the requests of a [script](crate::sessions::SCRIPT). All members write one ledger, and at the end the [judge]
//! accounts for each request: it was answered once, or given up by a worker that had died over it, or reported by a
//! successor of the scheduler whose predecessor's death explains that.
//!
//! [judge]: crate::sessions::judge

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;
use std::time::{Duration, Instant};

use disruptor_mp::FAIL_POINTS;
use myelon::MyelonTransportLayout;

use super::Action;
use crate::checker::Summary;
use crate::sessions::judge::{Entry, Members, judge};
use crate::sessions::{PIECES_OF, WORKERS};
use crate::{Act, Actor, World, caught};

/// A lower bound on the number of cases, so that the sweep cannot shrink unnoticed.
pub const CASES_MIN: usize = 1_300;

/// The place of the scheduler among the members; those before it are the workers.
const SCHEDULER: usize = WORKERS;
/// How long a member that is stopped stays so: the others check liveness several times meanwhile.
const PAUSE: Duration = Duration::from_millis(12);
/// How long a session may take.
const PATIENCE: Duration = Duration::from_secs(60);
/// How long the scheduler may wait until workers that have left are started again: see [`Stage::recall`].
const IDLE: Duration = Duration::from_secs(1);
/// How often a case is played until the member comes to the point.
const ATTEMPTS: usize = 5;

/// The member that is killed or stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// The first scheduler; its successor resumes.
    Scheduler,
    /// The first scheduler; its successor does not receive the answers to its requests.
    Forgotten,
    /// The successor of a scheduler that was killed.
    Successor,
    /// The worker that streams its answers.
    Streamer,
    /// The worker that serves.
    Server,
    /// The worker that streams, come back after a kill.
    Returner,
    /// A scheduler for tasks; so is its successor, which resumes.
    TaskScheduler,
    /// A worker for tasks, which streams its answers; so is its successor.
    TaskWorker,
}

impl Role {
    const ALL: [Self; 8] = [
        Self::Scheduler,
        Self::Forgotten,
        Self::Successor,
        Self::Streamer,
        Self::Server,
        Self::Returner,
        Self::TaskScheduler,
        Self::TaskWorker,
    ];

    fn word(self) -> &'static str {
        match self {
            Self::Scheduler => "scheduler",
            Self::Forgotten => "forgotten-scheduler",
            Self::Successor => "succeeding-scheduler",
            Self::Streamer => "streaming-worker",
            Self::Server => "serving-worker",
            Self::Returner => "returning-worker",
            Self::TaskScheduler => "scheduler-for-tasks",
            Self::TaskWorker => "worker-for-tasks",
        }
    }

    fn member(self) -> usize {
        match self {
            Self::Scheduler | Self::Forgotten | Self::Successor | Self::TaskScheduler => SCHEDULER,
            Self::Streamer | Self::Returner | Self::TaskWorker => 0,
            Self::Server => 1,
        }
    }

    /// Where the member before this one was killed.
    fn predecessor(self) -> Option<&'static str> {
        match self {
            Self::Successor => Some("session.sent:5:kill"),
            Self::Returner => Some("session.noted:4:kill"),
            _ => None,
        }
    }
}

/// A mistake that a control's members make.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flaw {
    /// The streaming worker completes a request before it answers.
    Early,
    /// The scheduler forgets its predecessor's requests, and does not say so.
    Forgets,
}

/// One case.
#[derive(Clone, Copy, Debug)]
pub struct Case {
    /// The member.
    pub role: Role,
    /// The fail point.
    pub point: &'static str,
    /// The occurrence of the point, counted from 1.
    pub nth: u64,
    /// Whether the member comes to this occurrence whatever the timing.
    pub is_sure: bool,
    /// What is done to the member at the point.
    pub action: Action,
    /// A mistake, for controls only.
    pub flaw: Option<Flaw>,
}

/// `session/publish.stamped@3/serving-worker/kill`
impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (role, action) = (self.role.word(), self.action.word());
        let Self { point, nth, .. } = self;
        write!(f, "session/{point}@{nth}/{role}/{action}")
    }
}

/// The occurrences of a point at which a member is struck: so the names of the cases do not change with the numbers of
/// occurrences.
const OCCURRENCES: [u64; 6] = [1, 2, 3, 8, 16, 32];

/// Whether each member that gets so far comes to this point. To the others it comes if it has to wait, or if another
/// member was there before it.
fn is_certain(point: &str) -> bool {
    let kinds = ["create.", "publish.", "commit.", "session."];
    kinds.iter().any(|kind| point.starts_with(kind))
}

/// Every case: each point that the members come to, in two rehearsals each.
///
/// # Errors
///
/// As [`run`].
pub fn cases(program: &str) -> Result<Vec<Case>, String> {
    let mut cases = Vec::new();
    for role in Role::ALL {
        let (first, second) = (rehearse(program, role)?, rehearse(program, role)?);
        for point in FAIL_POINTS {
            let times = [&first, &second].map(|passed| passed.get(*point).copied().unwrap_or(0));
            let times = times[0].min(times[1]);
            for nth in OCCURRENCES.into_iter().filter(|nth| *nth <= times) {
                for action in [Action::Kill, Action::Stop] {
                    // a successor makes the difference
                    if role == Role::Forgotten && action == Action::Stop {
                        continue;
                    }
                    cases.push(Case {
                        role,
                        point,
                        nth,
                        // how often varies as well
                        is_sure: is_certain(point) && (nth == 1 || 2 * nth <= times),
                        action,
                        flaw: None,
                    });
                }
            }
        }
    }
    Ok(cases)
}

/// Plays a case. `program` is `env!("CARGO_BIN_EXE_actor")`.
///
/// # Errors
///
/// A description of what differs from the expected outcome.
pub fn run(program: &str, case: Case) -> Result<Summary, String> {
    let mut unstruck = None;
    for _ in 0..ATTEMPTS {
        let arming = format!("{}:{}:{}", case.point, case.nth, case.action.word());
        let stage = || Stage::open(program, case.role, case.flaw, &arming).play();
        let (is_struck, summary) = caught(stage)?;
        if is_struck {
            return Ok(summary);
        }
        unstruck = Some(summary).filter(|_| !case.is_sure);
    }
    unstruck.ok_or_else(|| String::from("armed but never reached"))
}

/// Plays a session in which nobody is struck but the predecessor of this role's member, and returns how often the
/// member came to each point.
///
/// # Errors
///
/// As [`run`].
fn rehearse(program: &str, role: Role) -> Result<BTreeMap<String, u64>, String> {
    caught(|| {
        let all = FAIL_POINTS
            .iter()
            .map(|point| format!("{point}:{}:kill", u32::MAX));
        let arming = all.collect::<Vec<_>>().join(",");
        let mut stage = Stage::open(program, role, None, &arming);
        stage.go_on();
        let passed = stage.members[role.member()].actor.ok("passed");
        stage.judge()?;
        let passed = passed.text().split_whitespace().skip(1);
        let passed = passed.filter_map(|word| word.split_once('='));
        let passed =
            passed.map(|(point, times)| (point.to_owned(), times.parse().expect("a number")));
        Ok(passed.filter(|(_, times)| *times > 0).collect())
    })
}

/// One process after the other.
struct Member {
    actor: Actor,
    deaths: u32,
    /// Whether it has answered its last line.
    is_done: bool,
}

struct Stage {
    world: World,
    role: Role,
    flaw: Option<Flaw>,
    members: Vec<Member>,
    /// Whether the member has come to the point.
    is_struck: bool,
    /// Whether the scheduler has ended the session.
    is_over: bool,
    /// Whether it was told to.
    is_ending: bool,
    /// Whether a worker came back after the end.
    is_late: bool,
    /// Whether workers that had left were started again.
    has_recalled: bool,
}

impl Stage {
    /// Starts all members. The member that is struck comes last if it has a predecessor.
    fn open(program: &str, role: Role, flaw: Option<Flaw>, arming: &str) -> Self {
        let world = World::shared_memory(program);
        let members = (0..=SCHEDULER).map(|_| Member {
            actor: world.actor(),
            deaths: 0,
            is_done: false,
        });
        let mut stage = Self {
            members: members.collect(),
            world,
            role,
            flaw,
            is_struck: false,
            is_over: false,
            is_ending: false,
            is_late: false,
            has_recalled: false,
        };
        let victim = role.member();
        let first = role.predecessor().unwrap_or(arming);
        stage.members[victim].actor.ok(&format!("arm at={first}"));
        (0..=SCHEDULER).for_each(|member| stage.tell(member));
        if role.predecessor().is_some() {
            let begun = Instant::now();
            while stage.members[victim].deaths == 0 {
                assert!(begun.elapsed() < PATIENCE, "the predecessor goes on");
                stage.follow_all(Some(arming));
            }
            stage.is_struck = false;
        }
        stage
    }

    /// Tells a member what it is.
    fn tell(&mut self, member: usize) {
        let log = self.world.ledger("session");
        let log = log.display();
        let flaw = match (self.flaw, member) {
            (Some(Flaw::Early), 0) => " wrong=early",
            (Some(Flaw::Forgets), SCHEDULER) => " wrong=forgets",
            _ => "",
        };
        let tasks = match self.role {
            Role::TaskScheduler | Role::TaskWorker if member == self.role.member() => " tasks",
            _ => "",
        };
        // one that comes after the end, or meanwhile, finds the ring or does not
        let patience = match (self.is_over, self.is_ending) {
            (true, _) => 50,
            (false, true) => 1_000,
            (false, false) => 5_000,
        };
        let line = match member {
            SCHEDULER => {
                let Member { deaths, .. } = self.members[member];
                let anew = match self.role {
                    Role::Forgotten if deaths > 0 => " anew",
                    _ => "",
                };
                format!("session-schedule log={log}{anew}{flaw}{tasks}")
            }
            rank => {
                format!("session-work rank={rank} patience_ms={patience} log={log}{flaw}{tasks}")
            }
        };
        self.members[member].actor.tell(&line);
    }

    /// Plays the session, and judges it. Also returns whether the member has come to the point.
    fn play(mut self) -> Result<(bool, Summary), String> {
        self.go_on();
        Ok((self.is_struck, self.judge()?))
    }

    /// Until all members have ended. Then the next session of this label takes what a dead member has left, if a worker
    /// that came back found no session.
    fn go_on(&mut self) {
        let begun = Instant::now();
        while self.members.iter().any(|member| !member.is_done) {
            if begun.elapsed() > IDLE && !self.members[SCHEDULER].is_done && !self.has_recalled {
                self.recall();
            }
            let hanging = self.members.iter().position(|member| !member.is_done);
            assert!(begun.elapsed() < PATIENCE, "member {hanging:?} hangs");
            self.follow_all(None);
        }
        if self.is_late {
            let log = self.world.ledger("session");
            let mut scheduler = self.world.actor();
            scheduler.ok(&format!("session-schedule log={}", log.display()));
            scheduler.ok(&format!("session-shutdown log={}", log.display()));
        }
    }

    /// Starts the workers again that have left. If a scheduler dies while it ends the session, some workers have heard
    /// of the end and some have not: then its successor goes on with the session, and expects all of them.
    fn recall(&mut self) {
        self.has_recalled = true;
        for rank in 0..WORKERS {
            if self.members[rank].is_done {
                self.members[rank].actor = self.world.actor();
                self.members[rank].is_done = false;
                self.tell(rank);
            }
        }
    }

    /// Sees what the members do next. `arming` is for the next process of a member that dies.
    fn follow_all(&mut self, arming: Option<&str>) {
        for index in 0..self.members.len() {
            let member = &mut self.members[index];
            if member.is_done {
                continue;
            }
            match member.actor.act(Duration::from_micros(300)) {
                None => {}
                Some(Act::Answers(reply)) if index != SCHEDULER => {
                    let is_late = self.is_over && (member.deaths > 0 || self.has_recalled);
                    let is_fine =
                        reply.kind().is_none() || is_late && reply.kind() == Some("NotFound");
                    assert!(is_fine, "worker {index}: {}", reply.text());
                    self.is_late |= reply.kind().is_some();
                    member.is_done = true;
                }
                Some(Act::Answers(reply)) => {
                    assert!(reply.kind().is_none(), "{}", reply.text());
                    match core::mem::replace(&mut self.is_ending, true) {
                        false => {
                            let log = self.world.ledger("session");
                            let line = format!("session-shutdown log={}", log.display());
                            member.actor.tell(&line);
                        }
                        true => {
                            assert_eq!(reply.number("unanswered"), 0, "requests are left");
                            (self.is_over, member.is_done) = (true, true);
                        }
                    }
                }
                Some(Act::Dies) => {
                    self.strike(index);
                    self.members[index].deaths += 1;
                    self.members[index].actor = self.world.actor();
                    if let Some(arming) = arming {
                        let actor = &mut self.members[index].actor;
                        actor.ok(&format!("arm at={arming}"));
                    }
                    self.is_ending &= index != SCHEDULER;
                    self.tell(index);
                }
                Some(Act::Stops) => {
                    self.strike(index);
                    std::thread::sleep(PAUSE);
                    self.members[index].actor.resume();
                }
            }
        }
    }

    fn strike(&mut self, member: usize) {
        assert_eq!(member, self.role.member(), "another member is struck");
        self.is_struck = true;
    }

    /// Checks that nothing is left, and judges the ledger.
    fn judge(&self) -> Result<Summary, String> {
        let left: Vec<_> = rings(self.world.name())
            .filter(|path| std::fs::remove_file(path).is_ok())
            .collect();
        if !left.is_empty() {
            return Err(format!("left behind: {left:?}"));
        }
        let ledger = std::fs::read(self.world.ledger("session")).map_err(|it| it.to_string())?;
        let deaths: Vec<_> = self.members.iter().map(|member| member.deaths).collect();
        let members = Members {
            pieces: &PIECES_OF,
            deaths: Some(&deaths),
        };
        let judged = judge(members, &Entry::all(&ledger))?;
        Ok(Summary {
            events: judged.sent as u64,
            sightings: judged.answered as u64,
            repeated: judged.redelivered as u64,
            unsent: judged.given_up as u64,
            missed: judged.unaccounted as u64,
            ..Summary::default()
        })
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        for member in &mut self.members {
            if !member.is_done {
                member.actor.kill();
            }
        }
        for path in rings(self.world.name()) {
            let _ = std::fs::remove_file(path);
        }
    }
}

/// The files of the session's rings.
fn rings(label: &str) -> impl Iterator<Item = std::path::PathBuf> {
    let layout = MyelonTransportLayout::for_session(label).expect("names");
    let names = (0..WORKERS).flat_map(move |rank| {
        [
            layout.response_ring_name(rank),
            layout.request_ring_name(rank),
        ]
    });
    let layout = MyelonTransportLayout::for_session(label).expect("names");
    let names = names.chain([layout.rpc_ring_name()]);
    names.map(|name| Path::new("/dev/shm").join(name))
}
