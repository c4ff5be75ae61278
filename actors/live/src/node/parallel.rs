//! Work that mostly waits for the bus, done on several threads.

use std::convert::Infallible;
use std::sync::mpsc::sync_channel;
use std::sync::{Mutex, PoisonError};

/// Pieces of work that are done at a time.
const AT_A_TIME: usize = 4;

/// Does each piece of work, and hands what came of it to `take`, in the order in which they are done. After an error of `take`
/// no other is begun.
///
/// # Errors
/// The first of `take`.
pub(super) fn each<W: Send, D: Send, E>(
    work: Vec<W>,
    run: impl Fn(W) -> D + Sync,
    take: impl FnMut(D) -> Result<(), E>,
) -> Result<(), E> {
    let threads = work.len().min(AT_A_TIME);
    let work = Mutex::new(work.into_iter());
    let next = || work.lock().unwrap_or_else(PoisonError::into_inner).next();
    std::thread::scope(|scope| {
        let (sender, done) = sync_channel(threads);
        for _ in 0..threads {
            let (sender, run, next) = (sender.clone(), &run, &next);
            scope.spawn(move || while next().is_some_and(|piece| sender.send(run(piece)).is_ok()) {});
        }
        drop(sender);
        done.into_iter().try_for_each(take)
    })
}

/// Drops them, where the end of each takes its time.
pub(super) fn drop_all<T: Send>(all: Vec<T>) {
    let Ok(()) = each(all, drop, |()| Ok::<_, Infallible>(()));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_is_done_once() {
        let mut done = Vec::new();
        let take = |number: u32| {
            done.push(number);
            Ok::<_, ()>(())
        };
        assert_eq!(each((0..100).collect(), |number| number * 2, take), Ok(()));
        done.sort_unstable();
        assert_eq!(done, (0..200).step_by(2).collect::<Vec<_>>());
        assert_eq!(each(Vec::<u32>::new(), |number| number, |_| Err("nothing was to be done")), Ok(()));
    }

    #[test]
    fn nothing_is_begun_after_an_error() {
        let begun = Mutex::new(0);
        let run = |number: u32| {
            *begun.lock().unwrap() += 1;
            number
        };
        let first = each((0..10_000).collect(), run, Err);
        assert!(first.is_err());
        // What was under way, what was handed over, and what each thread has begun since.
        assert!(*begun.lock().unwrap() <= 3 * AT_A_TIME + 1);
    }
}
