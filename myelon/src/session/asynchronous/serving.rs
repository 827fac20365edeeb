//! Serving in a task: a request is received, handed to a handler, and answered.

use std::future::{Future, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::task::Poll;

use super::super::config::OnHandlerPanic;
use super::super::head::{RequestId, check_len};
use super::super::worker::{DeliveryLimit, not_received, tell_of_a_panic};
use super::worker::{AsyncRequest, AsyncWorker, encoded};
use crate::codec::Codec;
#[cfg(doc)]
use crate::transport::TransportError;
use crate::transport::TransportResult;
use crate::typed_transport::{TypedPublishError, TypedRecvError, TypedServeError};

impl AsyncWorker {
    /// Hands the kind and the bytes of the scheduler's next request to `answer`, and sends back the result under the
    /// request's kind: see [`Worker::serve`](crate::Worker::serve). The request is done only after the answer is sent.
    /// If the future is dropped, the request is delivered again, unless its answer was sent.
    ///
    /// # Errors
    ///
    /// As [`recv`](Self::recv) and [`AsyncRequest::finish`]. A request whose answer is
    /// [too long](TransportError::MessageTooLong) is given up.
    ///
    /// # Examples
    ///
    /// ```
    /// # use myelon::transport::FixedFrame;
    /// # use myelon::{AsyncScheduler, AsyncWorker, Deadline, RunnerMyelonTransportConfig, Scheduler};
    /// # let config = RunnerMyelonTransportConfig::new(myelon::portable_shm_segment_name("doc"), 1);
    /// # tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
    /// # let scheduler = AsyncScheduler::new(Scheduler::<FixedFrame<256>>::start(&config)?)?;
    /// use myelon::OnHandlerPanic;
    ///
    /// let mut worker = AsyncWorker::start::<FixedFrame<256>, FixedFrame<256>>(&config, 0).await?;
    /// worker.set_panic_policy(OnHandlerPanic::GiveUp);
    /// worker.set_delivery_limit(3, |request, _kind, _bytes| eprintln!("gave up request {request}"));
    /// # let working = tokio::spawn(async move {
    /// loop {
    ///     let served = worker.serve(async |_kind, request: Vec<u8>| {
    ///         // tokio::time::sleep(…).await, or whatever the answer needs
    ///         request.to_ascii_uppercase()
    ///     });
    ///     if served.await.is_err() {
    ///         break; // in your program: by the kind of error, as `Worker` shows
    ///     }
    /// }
    /// worker.leave().await
    /// # });
    /// # assert_eq!(scheduler.call(0, &b"hello"[..], 1).await?.bytes, b"HELLO");
    /// # scheduler.shutdown(Deadline::NEVER).await?;
    /// # working.await??;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// # })?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub async fn serve<W>(
        &mut self,
        mut answer: impl FnMut(u8, Vec<u8>) -> W,
    ) -> TransportResult<()>
    where
        W: Future,
        W::Output: Into<Vec<u8>>,
    {
        let policy = self.on_panic;
        loop {
            let mut request = self.next_within_limit().await?;
            let (kind, bytes) = (request.kind(), request.take_bytes());
            let working = async { answer(kind, bytes).await };
            match unless_it_panics(policy, working).await {
                Some(answer) => return finish(request, answer.into(), kind).await,
                None if policy.gives_up(request.delivery()) => return request.give_up().await,
                None => drop(request),
            }
        }
    }

    /// As [`serve`](Self::serve), but with values: the request is decoded, and the answer is encoded.
    ///
    /// # Errors
    ///
    /// As [`Worker::serve_value`](crate::Worker::serve_value).
    ///
    /// # Examples
    ///
    /// ```
    /// # #[cfg(feature = "bincode")] {
    /// # use myelon::transport::FixedFrame;
    /// # use myelon::{AsyncScheduler, AsyncWorker, Deadline, RunnerMyelonTransportConfig, Scheduler};
    /// # let config = RunnerMyelonTransportConfig::new(myelon::portable_shm_segment_name("doc"), 1);
    /// # tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
    /// # let scheduler = AsyncScheduler::new(Scheduler::<FixedFrame<256>>::start(&config)?)?;
    /// # let mut worker = AsyncWorker::start::<FixedFrame<256>, FixedFrame<256>>(&config, 0).await?;
    /// use myelon::codec::{Bincode, Codec};
    ///
    /// let mut call = scheduler.call_streaming(0, Bincode(vec![1_u64, 2, 3]).encode()?, 1);
    /// worker.serve_value(async |_kind, Bincode(numbers): Bincode<Vec<u64>>| {
    ///     Bincode(numbers.iter().sum::<u64>())
    /// }).await?;
    /// assert_eq!(call.next().await.expect("an answer")?.decode::<Bincode<u64>>()?, Bincode(6));
    /// # worker.leave().await?;
    /// # scheduler.shutdown(Deadline::NEVER).await?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// # })?;
    /// # }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub async fn serve_value<Q: Codec, W>(
        &mut self,
        mut answer: impl FnMut(u8, Q) -> W,
    ) -> Result<(), TypedServeError>
    where
        W: Future,
        W::Output: Codec,
    {
        let policy = self.on_panic;
        loop {
            let request = self.next_within_limit().await;
            let request = request.map_err(not_received)?;
            let kind = request.kind();
            let value = match request.decode::<Q>() {
                Ok(value) => value,
                Err(error) => {
                    given_up(request).await?;
                    return Err(TypedRecvError::from(error).into());
                }
            };
            let working = async { answer(kind, value).await };
            let Some(answer) = unless_it_panics(policy, working).await else {
                if policy.gives_up(request.delivery()) {
                    return given_up(request).await;
                }
                drop(request);
                continue;
            };
            return match encoded(&answer, kind) {
                Ok(bytes) => {
                    let finished = finish(request, bytes, kind).await;
                    finished.map_err(|error| TypedPublishError::from(error).into())
                }
                Err(error) => {
                    given_up(request).await?;
                    Err(error.into())
                }
            };
        }
    }

    /// From now on, `serve` and `serve_value` give up a request that was delivered more than `deliveries` times: see
    /// [`Worker::set_delivery_limit`](crate::Worker::set_delivery_limit).
    ///
    /// # Examples
    ///
    /// See [`serve`](Self::serve).
    pub fn set_delivery_limit(
        &mut self,
        deliveries: u32,
        tell: impl FnMut(RequestId, u8, &[u8]) + Send + 'static,
    ) {
        self.given_up = Some(DeliveryLimit::new(deliveries, tell));
    }

    /// From now on, `serve` and `serve_value` do this if the handler, or its future, panics.
    ///
    /// # Examples
    ///
    /// See [`serve`](Self::serve).
    pub fn set_panic_policy(&mut self, policy: OnHandlerPanic) {
        self.on_panic = policy;
    }

    /// The next request that was not delivered too often. Those before it are given up.
    async fn next_within_limit(&mut self) -> TransportResult<AsyncRequest<'static>> {
        loop {
            let request = self.orders.next().await?;
            let limit = self.given_up.as_mut();
            let Some(limit) = limit.filter(|limit| request.delivery() > limit.deliveries) else {
                return Ok(request);
            };
            let (id, kind, bytes) = (request.id(), request.kind(), request.bytes().to_vec());
            request.give_up().await?;
            (limit.tell)(id, kind, &bytes);
        }
    }
}

/// What the handler of a request returns. `None` if it panics and the policy goes on.
async fn unless_it_panics<A>(
    policy: OnHandlerPanic,
    working: impl Future<Output = A>,
) -> Option<A> {
    let mut working = pin!(working);
    poll_fn(|context| {
        if policy == OnHandlerPanic::Stop {
            return working.as_mut().poll(context).map(Some);
        }
        // the program has chosen this policy, whose documentation says what the handler must guarantee; a future that
        // has panicked is not polled again
        let polled = catch_unwind(AssertUnwindSafe(|| working.as_mut().poll(context)));
        match polled {
            Ok(polled) => polled.map(Some),
            Err(_) => {
                tell_of_a_panic(policy);
                Poll::Ready(None)
            }
        }
    })
    .await
}

/// Sends the answer to a request, or gives the request up if the answer is too long.
async fn finish(request: AsyncRequest<'_>, answer: Vec<u8>, kind: u8) -> TransportResult<()> {
    match check_len(answer.len()) {
        Ok(()) => request.finish(answer, kind).await,
        Err(error) => {
            request.give_up().await?;
            Err(error)
        }
    }
}

async fn given_up(request: AsyncRequest<'_>) -> Result<(), TypedServeError> {
    let given_up = request.give_up().await;
    given_up.map_err(|error| TypedPublishError::from(error).into())
}
