//! Explicit-state models of the protocol: small processes whose every interleaving is searched, with store buffers as on
//! x86, a death between any two steps, and from every state the question whether an end can still be reached.
//!
//! A model is no test of the library's code: it is the protocol's steps once more, in the order in which the library
//! takes them, small enough that nothing is left to chance. Each has configurations that must hold in every state, and
//! *controls*: one step left out or moved, upon which the search must find what that step is for, and nothing else.
//!
//! | model | rules | what it shows | steps of | controls |
//! |---|---|---|---|---|
//! | `join` | R3–R7 | a joiner gets every event after its start, whatever refresh does meanwhile; an expected one gets the first; rings of 1, 2 and 4 slots, batches, two joiners | `publish.rs` `refresh`, `lines.rs` `join` | either fence, the second scan, the second read; released before it was read; stamped before it is written; the floor of a free run while somebody is expected |
//! | `batch` | R2 | a batch is seen whole, a writer that panics takes it back, the position is found by the own stamps | `publish.rs` `publish_batch`, `next`, `Unseen` | first stamp first; stamps not taken back; the base left in slots that are reused |
//! | `takeover` | R2, R5, R6, R14 | a death at any step of an event, a batch, a refresh or a takeover loses nothing, repeats nothing, and invents nothing | `takeover.rs`, `publish.rs` | stamps above the head left; those below zeroed; head by the newest stamp; gate at the floor; no first refresh; no fence; an expected consumer forgotten |
//! | `lines` | R6, R16 | positions of durable consumers survive deaths, evictions, claims and removal; automatic ones hold nobody up | `lines.rs` | ACTIVE without SETTLING; rejoin at the floor, or through JOINING; evicted durable, without the lock, without a second look; claimed without a second look; removed without the id's byte |
//! | `bitmap` | R6, R16 | the registered word is a superset of the registered lines for whoever relies on it | `lines.rs` `join`, `set_free`; `control.rs` `maybe_registered` | bit cleared before FREE; set after the second read; cleared without the lock |
//! | `ends` | R11, R14, R15 | closed and dead are told apart and told only after everything was read; the last one to drain takes the name, and nobody else | `consumer.rs` `wait_for_event`, `look_around`; `ending.rs`; `segment.rs` `unlink_if_drained` | each second look (stamp, closed word, epoch); epoch after the closed word; closed word not cleared; no lock, no second look, no comparison, no look afterwards, no fence, no need |
//! | `names` | R15 | of creators that race one has the ring; a dead one that does not fit is replaced, never a live one | `segment.rs` `create_or_take_over`; `names.rs` `remove_leftovers` | no comparison after the lock; no lock; named before it is locked; a link that replaces; somebody away; leftovers without lock or look |
//! | `locks` | R8 | the kernel's lock falls when its owner is gone, and not before, whatever a forked child keeps | `os/lock.rs`, `os/fork.rs` | lock on the mapped description; inherited mapping; inherited descriptor; a child that unlocks; opened by name; no explicit unlock |
//! | `wake` | R9 | no wake-up is lost, on either side, with fences or with membarrier; a death costs one look around | `sleep.rs` | each step left out, or in another order |
//! | `sets` | R9 | nor is one that comes to any of several rings whose consumer sleeps on all of them at once | `sleep.rs` `sleep_until_any`, `ring_set.rs` | one ring without bit or look, no second look, word late, one word slept on, barrier before the last bit, no bump, no look around |
//! | `readiness` | R9 | nor by a thread that sleeps in an event loop's place, whatever the loop does meanwhile, and both come to an end | `readiness.rs` | fence, bit, either second look, word late; cleared late; not notified; an end that wakes nobody; no look around |
//! | `observers` | R13 | an observer never takes a torn event; also where stores and loads overtake each other | `observe.rs` | busy stamp, both fences, Release, Acquire, second look, floor |
//! | `producers` | R10 | claims of several producers, and holes that the dead leave | (to be built) | intent late, ignored or early back; slot not looked at again; holes left; no compare-and-swap |
//!
//! Where the library's order differs from the rule's first wording the models have the library's: batches stamp in
//! ascending order and the first event last; the producer finds its position by its own stamps; a refresh that does not
//! suffice moves nothing; a free run gives max(1, N/8, n).
//!
//! # What the models leave out
//!
//! Sequences are small numbers, laps few, and lines one or two. Memory is x86's, and for observers a weaker one too; the
//! orderings that other machines need are `disruptor-mp`'s loom models' subject. Words that only one process writes
//! while it has a lock are read in one step. Events are one word, compared at both ends of a lease.

mod checker;
mod ends;
mod families;
mod locks;
mod mpsc;
mod names;
mod observer;
mod publisher;
mod readiness;
mod ring;
mod sets;
mod wake;

pub use checker::{Failure, Outcome};
pub use families::{Case, Expect, Family, families};
