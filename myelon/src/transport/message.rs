//! A message that was received and is lent: where its bytes are, and what ends the loan.

use core::ops::Deref;

use disruptor_mp::{Lease, SharedMemory};

use super::assembly::{ReceivedMessageMeta, Single};
use super::consumer::FramedTransportConsumer;
use super::frame::FramedTransportFrame;

/// A message, lent: its bytes are in the ring, or in the consumer's buffer. Dropping it releases it, except during a
/// panic: then it comes again. One that is forgotten comes again, too.
#[derive(Debug)]
#[must_use = "dropping a message releases it"]
pub struct Message<'a, F: FramedTransportFrame, B = SharedMemory>(Source<'a, F, B>);

/// Where a message's bytes are.
#[derive(Debug)]
enum Source<'a, F: FramedTransportFrame, B> {
    /// In the ring's next frame.
    Frame { frame: Lease<'a, F>, single: Single },
    /// Where the consumer's assembler has them.
    Assembled(Loan<'a, F, B>),
}

/// A message that an assembler has; dropping the loan releases it, except during a panic.
#[derive(Debug)]
struct Loan<'a, F: FramedTransportFrame, B>(&'a mut FramedTransportConsumer<F, B>);

impl<F: FramedTransportFrame, B> Drop for Loan<'_, F, B> {
    // whoever drops a message then needs not have it in memory
    #[inline(always)]
    fn drop(&mut self) {
        if !std::thread::panicking() {
            self.0.delivered();
        }
    }
}

impl<'a, F: FramedTransportFrame, B> Message<'a, F, B> {
    /// The message that a frame is by itself.
    #[inline(always)]
    pub(super) fn in_frame(frame: Lease<'a, F>, single: Single) -> Self {
        Self(Source::Frame { frame, single })
    }

    /// The message that the consumer's assembler has whole, and has put together.
    #[inline(always)]
    pub(super) fn assembled(consumer: &'a mut FramedTransportConsumer<F, B>) -> Self {
        Self(Source::Assembled(Loan(consumer)))
    }
}

impl<F: FramedTransportFrame, B> Message<'_, F, B> {
    /// What the message is; the program's choice.
    #[inline]
    pub fn kind(&self) -> u8 {
        match &self.0 {
            Source::Frame { single, .. } => single.kind(),
            Source::Assembled(_) => self.meta().kind,
        }
    }

    /// Everything that is known of it.
    #[inline]
    pub fn meta(&self) -> ReceivedMessageMeta {
        match &self.0 {
            Source::Frame { frame, single } => single.meta(frame),
            Source::Assembled(loan) => loan.0.assembled_meta(),
        }
    }

    /// Whether the bytes are read where their producer wrote them, without a copy.
    pub fn is_in_place(&self) -> bool {
        match &self.0 {
            Source::Frame { .. } => true,
            Source::Assembled(_) => self.meta().frames == 1,
        }
    }

    /// Releases the message, as dropping does.
    #[inline]
    pub fn release(self) {
        drop(self);
    }

    /// Lets the message come again.
    pub fn release_uncommitted(self) {
        core::mem::forget(self);
    }
}

impl<F: FramedTransportFrame, B> Deref for Message<'_, F, B> {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        match &self.0 {
            Source::Frame { frame, single } => single.message(frame),
            Source::Assembled(loan) => loan.0.assembled_bytes(),
        }
    }
}
