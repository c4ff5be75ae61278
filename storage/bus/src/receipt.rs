//! When a record is written.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use futures_channel::oneshot;

use crate::error::BusError;

/// Where the records of one call were written, in the order in which they were given: (partition, offset).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Written {
    /// Partition and offset of each record.
    pub places: Vec<(u32, u64)>,
}

/// The answer to a write: at once, or later. Resolves when the records are as durable as the writer promises. Dropping
/// it does not undo the write.
#[derive(Debug)]
pub struct Receipt(State);

#[derive(Debug)]
enum State {
    Ready(Option<Result<Written, BusError>>),
    Later(oneshot::Receiver<Result<Written, BusError>>),
}

impl Receipt {
    /// An answer that is there.
    pub fn ready(answer: Result<Written, BusError>) -> Self {
        Self(State::Ready(Some(answer)))
    }

    /// An answer that comes, and where to put it. A sender that is dropped answers with an error.
    pub fn later() -> (oneshot::Sender<Result<Written, BusError>>, Self) {
        let (sender, receiver) = oneshot::channel();
        (sender, Self(State::Later(receiver)))
    }

    /// The answer if it is there: lets a caller go on without a trip through an executor.
    pub fn try_now(&mut self) -> Option<Result<Written, BusError>> {
        match &mut self.0 {
            State::Ready(answer) => answer.take(),
            State::Later(receiver) => match receiver.try_recv() {
                Ok(answer) => answer,
                Err(oneshot::Canceled) => Some(Err(gone())),
            },
        }
    }

    /// Waits on this thread. Not for threads that run an executor.
    ///
    /// # Errors
    /// Those of the write.
    pub fn wait(self) -> Result<Written, BusError> {
        match self.0 {
            State::Ready(answer) => answer.unwrap_or_else(|| Err(gone())),
            State::Later(receiver) => futures_executor::block_on(receiver).unwrap_or_else(|_| Err(gone())),
        }
    }
}

fn gone() -> BusError {
    BusError::other("bus", "the writer ended before it answered")
}

impl Future for Receipt {
    type Output = Result<Written, BusError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        match &mut self.0 {
            State::Ready(answer) => Poll::Ready(answer.take().unwrap_or_else(|| Err(gone()))),
            State::Later(receiver) => {
                Pin::new(receiver).poll(context).map(|answer| answer.unwrap_or_else(|_| Err(gone())))
            }
        }
    }
}
