//! Names, numbers, members and rings that do not fit a session.

use myelon::transport::{FixedFrame, FramedTransportProducer};
use myelon::{
    MultiProcessError, MyelonTransportLayout, Scheduler, TransportError, TransportResult, Worker,
    compact_session_tag, validate_segment_name,
};
use proptest::prelude::*;

use crate::shared::{Frame, Result, session, soon};

#[test]
fn numbers_of_workers_that_no_session_has() -> Result {
    let config = session(2);
    let label = &config.session;
    let error = Worker::<Frame>::start(&config, 2).unwrap_err();
    assert_eq!(
        error.to_string(),
        format!("session '{label}' has no worker 2: it has 2, numbered from 0")
    );
    for workers in [0, 65] {
        let config = session(workers);
        let label = &config.session;
        let error = Scheduler::<Frame>::start(&config).unwrap_err();
        assert_eq!(
            error.to_string(),
            format!(
                "session '{label}' cannot have {workers} workers: it has 1 to 64, as many as a ring has consumers"
            )
        );
    }
    Ok(())
}

#[test]
fn two_of_the_same_are_refused_with_the_first_ones_process() -> Result {
    let config = session(1);
    let scheduler = Scheduler::<Frame>::start(&config)?;
    let worker = Worker::<Frame>::start(&config, 0)?;
    for error in [
        Scheduler::<Frame>::start(&config).unwrap_err(),
        Worker::<Frame>::start(&config, 0).unwrap_err(),
    ] {
        assert!(
            matches!(error, TransportError::MemberExists { .. }),
            "{error}"
        );
    }
    worker.leave()?;
    scheduler.close()?;
    Ok(())
}

#[test]
fn sides_that_disagree_on_depth_or_frame_are_refused() -> Result {
    let config = session(1);
    let scheduler = Scheduler::<Frame>::start(&config)?;
    let deeper = config.transport.clone().with_rpc_depth(32);
    let error = Worker::<Frame>::start(&config.clone().with_transport(deeper), 0).unwrap_err();
    assert!(
        error.to_string().contains("is 16 slots, expected 32 slots"),
        "{error}"
    );
    let error = Worker::<FixedFrame<65>>::start(&config, 0).unwrap_err();
    assert!(
        error
            .to_string()
            .contains("FixedFrame with 64 bytes of payload"),
        "{error}"
    );
    assert!(
        error
            .to_string()
            .contains("FixedFrame with 65 bytes of payload"),
        "{error}"
    );
    scheduler.close()?;
    Ok(())
}

#[test]
fn labels_that_are_no_names() -> Result {
    assert_eq!(
        MyelonTransportLayout::for_session("")
            .unwrap_err()
            .to_string(),
        "'' cannot name a segment: a session's label is not empty"
    );
    for label in ["日本語", "a/b", ".", "\0", &"x".repeat(1000)] {
        let layout = MyelonTransportLayout::for_session(label)?;
        validate_segment_name(&layout.rpc_ring_name())?;
        validate_segment_name(&layout.response_ring_name(63))?;
    }
    assert_eq!(
        MyelonTransportLayout::for_session_with_prefix("eleven-long", "s")
            .unwrap_err()
            .to_string(),
        "'eleven-long' cannot name a segment: a prefix has 9 bytes at the most"
    );
    for (name, reason) in [
        ("", "it is empty"),
        (
            "a/b",
            "it has other characters than ASCII letters, digits, '-', '_' and '.'",
        ),
        (
            "ünïcode",
            "it has other characters than ASCII letters, digits, '-', '_' and '.'",
        ),
        (
            ".hidden",
            "it starts with a dot: those are kept for temporary files",
        ),
        (
            &"x".repeat(31),
            "it is longer than the 29 bytes that macOS takes",
        ),
    ] {
        assert_eq!(
            validate_segment_name(name).unwrap_err().to_string(),
            format!("'{name}' cannot name a segment: {reason}")
        );
    }
    Ok(())
}

proptest! {
    /// Labels that share an ending, a beginning, or all but one character have different tags.
    #[test]
    fn labels_that_are_alike_do_not_collide(stem in "\\PC{0,40}", a in "\\PC{1,4}", b in "\\PC{1,4}") {
        prop_assume!(a != b);
        let tag = |label: String| compact_session_tag(&label).expect("a tag");
        prop_assert_ne!(tag(format!("{a}{stem}")), tag(format!("{b}{stem}")));
        prop_assert_ne!(tag(format!("{stem}{a}")), tag(format!("{stem}{b}")));
    }
}

#[test]
fn a_million_labels_have_a_million_tags() -> Result {
    let mut tags: Vec<_> = (0..1_000_000)
        .map(|number| compact_session_tag(&format!("session-{number}")))
        .collect::<TransportResult<_>>()?;
    tags.sort_unstable();
    tags.dedup();
    assert_eq!(tags.len(), 1_000_000);
    Ok(())
}

#[test]
fn a_response_ring_that_does_not_fit_is_an_error_and_not_a_hang() -> Result {
    let config = session(1);
    let name = config.layout()?.response_ring_name(0);
    let other = FramedTransportProducer::<FixedFrame<65>>::create(&name, 16)?;
    let mut scheduler = Scheduler::<Frame>::start(&config)?;
    let error = scheduler.recv_any(soon()).unwrap_err();
    assert!(matches!(
        error,
        TransportError::Ring(MultiProcessError::IncompatibleLayout { .. })
    ));
    scheduler.close()?;
    other.close()?;
    Ok(())
}
