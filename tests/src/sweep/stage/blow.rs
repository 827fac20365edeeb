//! The strike: a process comes to the armed point, and is killed, stopped or delayed there. The stage checks
//! that the process reached the point.

use super::Stage;
use crate::sweep::Action;
use crate::{Actor, Reply};

/// A process that was told to do something that brings it to the point.
#[derive(Debug)]
pub(crate) struct Aimed {
    pub(crate) actor: Actor,
    points: i64,
}

impl Stage {
    /// Arms the case's point, and sends the line that brings the process there.
    pub(crate) fn aim(&mut self, actor: Actor, line: &str) -> Aimed {
        let arming = self.case.arming();
        self.aim_at(actor, &arming, line)
    }

    /// Like [`aim`](Self::aim), with other points armed in addition to the case's own.
    pub(crate) fn aim_at(&mut self, mut actor: Actor, arming: &str, line: &str) -> Aimed {
        actor.ok(&format!("arm at={arming}"));
        actor.tell(line);
        let points = arming.split(',').count() as i64;
        Aimed { actor, points }
    }

    /// Waits until the strike has happened; a stopped process continues after `meanwhile`. Returns the process
    /// and its answer, if it is alive.
    pub(crate) fn land(
        &mut self,
        aimed: Aimed,
        meanwhile: impl FnOnce(&mut Self),
    ) -> Option<(Actor, Reply)> {
        let Aimed { mut actor, points } = aimed;
        let never = |what: String| panic!("armed but never reached: {what}");
        match self.case.action {
            Action::Kill => {
                actor.expect_killed().unwrap_or_else(never);
                return None;
            }
            Action::Stop => {
                actor.expect_stopped().unwrap_or_else(never);
                meanwhile(self);
                actor.resume();
            }
            Action::Delay if self.is_quiet => {}
            Action::Delay => self.live(),
        }
        let reply = actor.answer();
        let fired = actor.ok("fired").number("fired");
        if fired != points {
            never(format!(
                "{fired} of {points} points acted, and it answered: {}",
                reply.text()
            ));
        }
        Some((actor, reply))
    }

    /// Lets every other process make a short call with any result, while the struck process is delayed and the
    /// others do not know it.
    fn live(&mut self) {
        if let Some(tx) = &mut self.tx {
            tx.tell("fill max=2");
        }
        for seat in self.present() {
            seat.tell("drain ms=2");
        }
        for seat in self.present() {
            seat.collect();
        }
        if let Some(tx) = &mut self.tx {
            self.last = tx.expect_ok().number("last");
        }
    }
}
