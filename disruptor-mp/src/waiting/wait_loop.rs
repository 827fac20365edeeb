//! The loop of a blocked call, the same for every kind of handle: for a consumer, an observer and a set of rings that
//! wait for an event, and for a producer that waits for space or until its events are consumed.
//!
//! A handle says how each step is made ([`Awaited`]); the order of the steps is here. A poll comes before the check
//! for a cancellation, so that a call that need not wait still succeeds. A liveness check comes before the poll that
//! follows it: an error that it returns ends the wait. After the deadline the loop polls no more: the caller polls once
//! more, in its own way.

use std::time::Duration;

use super::{AutoWaitStrategy, Habits, Pause, Waiter};

/// Something that a call waits for, and the steps of the wait.
pub(crate) trait Awaited {
    /// What ends the wait.
    type News;
    /// What ends the wait in vain.
    type Error;

    /// How the handle waits.
    fn habits_mut(&mut self) -> &mut Habits;

    /// The error if the wait was cancelled.
    fn cancelled(&self) -> Option<Self::Error>;

    /// Polls once. The errors are those that no wait can resolve.
    fn poll(&mut self) -> Result<Option<Self::News>, Self::Error>;

    /// Called after a pause that only spun or yielded. A handle whose spinning calls must react fast polls
    /// here a few times, without the loop's other steps.
    #[inline(always)]
    fn poll_tightly(&self, _strategy: AutoWaitStrategy) -> Option<Self::News> {
        None
    }

    /// Checks liveness. Returns an error if the wait can only be in vain.
    fn check_liveness(&mut self) -> Result<(), Self::Error>;

    /// Sleeps by R9 until there may be news or the wait is cancelled, for at most `longest`. If it was woken, returns
    /// how long the wake-up took.
    fn sleep(&mut self, longest: Duration) -> Option<Duration>;

    /// Called after each pause with the number of sleeps that it made or that follow it.
    #[inline(always)]
    fn count_sleeps(&mut self, _sleeps: u64) {}
}

/// Waits, after a first poll by the caller was in vain. Returns `None` once the waiter's deadline has passed.
#[inline(always)]
pub(crate) fn wait<A: Awaited>(
    awaited: &mut A,
    waiter: &mut Waiter,
) -> Result<Option<A::News>, A::Error> {
    loop {
        if let Some(cancelled) = awaited.cancelled() {
            return Err(cancelled);
        }
        let pause = waiter.pause();
        awaited.count_sleeps(waiter.take_sleeps());
        match pause {
            Pause::Again => {
                if let Some(news) = awaited.poll_tightly(waiter.strategy) {
                    return Ok(Some(news));
                }
            }
            Pause::CheckLiveness => awaited.check_liveness()?,
            Pause::Sleep(longest) => {
                let wake = awaited.sleep(longest);
                awaited.habits_mut().learn(wake);
            }
            Pause::TimedOut => return Ok(None),
        }
        if let Some(news) = awaited.poll()? {
            return Ok(Some(news));
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use crate::waiting::deadline::Deadline;
    use crate::waiting::participants::Participants;

    const INTERVAL: Duration = Duration::from_millis(1);

    /// Writes its steps down. The news is that there were `enough` polls.
    struct Diary {
        steps: Vec<&'static str>,
        enough: usize,
        is_cancelled: bool,
        is_alone: bool,
        habits: Habits,
    }

    impl Diary {
        fn new() -> Self {
            let habits = Habits {
                liveness_interval: INTERVAL,
                ..Habits::default()
            };
            Self {
                steps: Vec::new(),
                enough: usize::MAX,
                is_cancelled: false,
                is_alone: false,
                habits,
            }
        }

        fn wait(&mut self, deadline: Deadline) -> Result<Option<usize>, &'static str> {
            let strategy = AutoWaitStrategy::Block;
            let parties = Participants::here(2);
            let mut waiter = Waiter::new(&mut self.habits, strategy, deadline, parties);
            wait(self, &mut waiter)
        }
    }

    impl Awaited for Diary {
        type News = usize;
        type Error = &'static str;

        fn habits_mut(&mut self) -> &mut Habits {
            &mut self.habits
        }

        fn cancelled(&self) -> Option<&'static str> {
            self.is_cancelled.then_some("cancelled")
        }

        fn poll(&mut self) -> Result<Option<usize>, &'static str> {
            self.steps.push("poll");
            let polls = self.steps.iter().filter(|step| **step == "poll").count();
            Ok((polls >= self.enough).then_some(polls))
        }

        fn check_liveness(&mut self) -> Result<(), &'static str> {
            self.steps.push("check");
            if self.is_alone { Err("alone") } else { Ok(()) }
        }

        fn sleep(&mut self, longest: Duration) -> Option<Duration> {
            self.steps.push("sleep");
            std::thread::sleep(longest);
            None
        }
    }

    #[test]
    fn a_poll_follows_each_sleep_and_each_liveness_check() {
        let mut diary = Diary::new();
        // under Miri on a busy machine, a short wait is over before it has spun enough to sleep
        let mut longest = INTERVAL * 20;
        while !(diary.steps.contains(&"sleep") && diary.steps.contains(&"check")) {
            assert!(longest < Duration::from_secs(300), "it never sleeps");
            assert_eq!(diary.wait(Deadline::after(longest)), Ok(None));
            longest *= 2;
        }
        let pairs = diary.steps.windows(2);
        let mut after_others = pairs.filter(|pair| pair[0] != "poll");
        assert!(after_others.all(|pair| pair[1] == "poll"));
    }

    #[test]
    fn news_ends_the_wait() {
        let mut diary = Diary::new();
        diary.enough = 3;
        assert_eq!(diary.wait(Deadline::NEVER), Ok(Some(3)));
    }

    #[test]
    fn a_cancelled_wait_makes_no_step() {
        let mut diary = Diary::new();
        diary.is_cancelled = true;
        assert_eq!(diary.wait(Deadline::NEVER), Err("cancelled"));
        assert!(diary.steps.is_empty());
    }

    #[test]
    fn an_error_of_a_liveness_check_ends_the_wait_without_a_poll() {
        let mut diary = Diary::new();
        diary.is_alone = true;
        assert_eq!(diary.wait(Deadline::NEVER), Err("alone"));
        assert_eq!(diary.steps.last(), Some(&"check"));
    }
}
