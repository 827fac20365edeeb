//! The layer of sessions: completion, deliveries, answers that are sent again, and deaths of the scheduler.

use super::Family;
use crate::sessions::{Otherwise, Sessions};

/// RFC 0008.
pub(super) fn sessions() -> Family {
    let mut family = Family::new("sessions", "RFC 0008");
    let plan = |requests, pieces, workers| Sessions {
        requests,
        pieces,
        workers,
        schedulers: 1,
        resumes: true,
        shorter: false,
        otherwise: None,
    };
    for (requests, pieces, workers) in [(1, 1, 2), (1, 3, 3), (2, 1, 3), (2, 2, 2), (2, 2, 3)] {
        family.holds(
            &format!("{requests} requests, {pieces} pieces each, {workers} workers"),
            plan(requests, pieces, workers),
        );
    }
    family.holds(
        "2 requests, the second answer is shorter",
        Sessions {
            shorter: true,
            ..plan(2, 3, 2)
        },
    );
    for (requests, pieces, workers) in [(1, 2, 1), (2, 2, 1), (1, 2, 2), (2, 1, 2), (2, 2, 2)] {
        for resumes in [true, false] {
            let successor = if resumes { "resumes" } else { "begins anew" };
            family.holds(
                &format!(
                    "{requests} requests, {pieces} pieces each, {workers} workers, the scheduler's successor {successor}"
                ),
                Sessions {
                    schedulers: 2,
                    resumes,
                    ..plan(requests, pieces, workers)
                },
            );
        }
    }
    for (name, failure, otherwise, resumes) in [
        (
            "a piece released before the program has it",
            &["no way to an end", "stuck", "never received"][..],
            Otherwise::ReleasedEarly,
            true,
        ),
        (
            "a successor that resumes forgets",
            &["never received"],
            Otherwise::Forgets,
            true,
        ),
        (
            "a successor that begins anew receives all",
            &["an answer to a predecessor's request"],
            Otherwise::ReceivesAll,
            false,
        ),
        (
            "released before it is answered, and the scheduler dies",
            &["no way to an end", "stuck", "never received"],
            Otherwise::ReleasedFirst,
            true,
        ),
    ] {
        let model = Sessions {
            otherwise: Some(otherwise),
            schedulers: 2,
            resumes,
            ..plan(2, 2, 2)
        };
        family.fails(name, failure, model);
    }
    for (name, failure, otherwise) in [
        (
            "released before it is answered",
            &["no way to an end", "stuck"][..],
            Otherwise::ReleasedFirst,
        ),
        (
            "noted after it was handed out",
            &["more often than it says"],
            Otherwise::NotedLate,
        ),
        (
            "note not read",
            &["more often than it says"],
            Otherwise::NoteIgnored,
        ),
        (
            "every piece received",
            &["a piece twice"],
            Otherwise::NothingRemembered,
        ),
        (
            "only the request remembered",
            &["no way to an end", "stuck"],
            Otherwise::PiecesForgotten,
        ),
        (
            "the last piece dropped as an old one",
            &["no way to an end", "stuck"],
            Otherwise::LastDropped,
        ),
    ] {
        let model = Sessions {
            otherwise: Some(otherwise),
            shorter: otherwise == Otherwise::LastDropped,
            ..plan(2, 2, 3)
        };
        family.fails(name, failure, model);
    }
    family
}
