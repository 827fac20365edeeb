//! The names of errors' variants. Their `Debug` text does not show them: it is the sentence for users.

use std::error::Error;

use myelon::inspect::{InspectError, RemovalError};
use myelon::{
    CodecError, CountersError, MultiProcessError, RecvError, RequiredConsumerError, SendError,
    TransportError, TypedPublishError, TypedRecvError, TypedServeError,
};

/// For each type: if the error is of it, returns the name of its variant.
macro_rules! return_variant {
    ($error:ident; $($type:ident: $($variant:ident)+;)+) => {$(
        if let Some(error) = $error.downcast_ref::<$type>() {
            return String::from(match error {
                $($type::$variant { .. } => stringify!($variant),)+
                _ => stringify!($type),
            });
        }
    )+};
}

/// The name of the error's variant, or of its type if that has no variants. Of an error of another library, the first
/// word of its `Debug` text, which is the name of its variant.
pub fn kind_of(error: &(dyn Error + 'static)) -> String {
    return_variant! { error;
        MultiProcessError: NotFound AlreadyExists IncompatibleLayout DamagedSegment NotARing ForeignOwner InUse
            PermissionDenied NoSpace InvalidName InvalidCapacity InvalidConsumerId TooManyConsumers
            ConsumerAlreadyAttached NoSuchConsumer SequenceNotRetained CoordinationTimeout CoordinationCancelled
            NetworkFileSystem Forked Io;
        SendError: Timeout BatchTooLarge SequenceExhausted Cancelled Disk LockLost Forked;
        RecvError: Closed ProducerDead NameRemoved InDoubt Lagged Cancelled Timeout LockLost Forked NothingToWaitFor
            System;
        RequiredConsumerError: StartupTimeout GracefulShutdownTriggered BatchTooLarge SequenceExhausted Cancelled Disk
            LockLost Forked;
        CountersError: NotFound NotACountersFile PermissionDenied NoSpace Full LabelTooLong InvalidLabel ReservedId
            NotCounted Forked Io;
        CodecError: Encode Decode TrailingBytes TooLong TooDeep TooManyElements Misaligned Custom;
        TransportError: Ring Send Recv RequiredConsumer Counters Full MessageTooLong NeedsRuns DoesNotFitFrame
            InvalidName WorkerCount SessionClosed SessionClosing NoAnswer TooManyUnread WorkerDied WorkerGone AnswerComplete
            MemberExists WorkerCountDiffers NoSuchWorker;
        TypedPublishError: Encode Transport;
        TypedRecvError: Recv Decode UnknownKind NoKinds;
        TypedServeError: Recv Publish;
        InspectError: NotFound Unreadable NotARing CountersFile OtherVersion Damaged BeingCreated HalfMade System;
        RemovalError: Inspect InUse WouldLose Changed System;
    }
    for (is_it, name) in [
        (error.is::<myelon::RingBufferFull>(), "RingBufferFull"),
        (error.is::<myelon::MissingFreeSlots>(), "MissingFreeSlots"),
    ] {
        if is_it {
            return name.to_owned();
        }
    }
    let debug = format!("{error:?}");
    let end = debug.find(|c: char| !c.is_alphanumeric());
    debug[..end.unwrap_or(debug.len())].to_owned()
}

/// The error's kind, and in brackets that of the error of a lower layer that it passes on.
pub fn kinds_of(error: &(dyn Error + 'static)) -> String {
    let kind = kind_of(error);
    match passed_on(error) {
        Some(lower) => format!("{kind}({})", kinds_of(lower)),
        None => kind,
    }
}

fn passed_on<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a (dyn Error + 'static)> {
    match error.downcast_ref() {
        Some(TransportError::Ring(lower)) => return Some(lower),
        Some(TransportError::Send(lower)) => return Some(lower),
        Some(TransportError::Recv(lower)) => return Some(lower),
        Some(TransportError::RequiredConsumer(lower)) => return Some(lower),
        _ => {}
    }
    if let Some(TypedPublishError::Transport(lower)) = error.downcast_ref() {
        return Some(lower);
    }
    if let Some(TypedRecvError::Recv(lower)) = error.downcast_ref() {
        return Some(lower);
    }
    None
}
