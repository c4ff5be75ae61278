//! The data connections, as timely's communication threads see them.
//!
//! Left alone, timely 0.31 answers a lost peer with panics: its receive thread panics, which poisons the queues of the
//! local workers, which panic in turn, and dropping its guard panics again; a peer that only freezes is never noticed.
//! A [`Wire`] reports the loss instead, lets the workers leave in order, and then ends the thread without noise.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::Arc;

use timely::communication::allocator::zero_copy::stream::Stream;

use super::control::Peer;
use super::shared::Shared;

/// Bytes of the header with which timely ends a connection: all of them zero.
const END_BYTES: usize = 48;

pub(super) struct Wire {
    stream: TcpStream,
    peer: Arc<Peer>,
    shared: Arc<Shared>,
    /// Zero bytes at the end of what was read, counted up to [`END_BYTES`].
    zeros: usize,
}

impl Wire {
    pub(super) fn new(stream: TcpStream, peer: Peer, shared: Arc<Shared>) -> Self {
        Self { stream, peer: Arc::new(peer), shared, zeros: 0 }
    }
}

impl Read for Wire {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let reason = match self.stream.read(buffer) {
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => return Err(error),
            Ok(0) if self.zeros == END_BYTES => return Ok(0),
            Ok(0) => "its data connection was closed".to_owned(),
            Ok(length) => {
                let zeros =
                    buffer[..length].iter().rev().take(END_BYTES).take_while(|byte| **byte == 0).count();
                let before = if zeros == length { self.zeros } else { 0 };
                self.zeros = (before + zeros).min(END_BYTES);
                return Ok(length);
            }
            Err(error) => format!("its data connection broke: {error}"),
        };
        self.shared.suspect(self.peer.lost(reason));
        // While workers run they would see the queues that this thread leaves behind as poisoned.
        self.shared.wait_for_drivers(None);
        // Not a panic: nothing is printed. The thread was never to be joined in a run that failed.
        std::panic::resume_unwind(Box::new("the data connection has ended"))
    }
}

impl Write for Wire {
    fn write(&mut self, buffer: &[u8]) -> std::io::Result<usize> {
        match self.stream.write(buffer) {
            Err(error) if error.kind() != std::io::ErrorKind::Interrupted => {
                self.shared.suspect(self.peer.lost(format!("its data connection broke: {error}")));
                // Nobody will read it: the run has failed. timely's thread goes on to its end.
                Ok(buffer.len())
            }
            result => result,
        }
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.stream.flush()
    }
}

impl Stream for Wire {
    fn try_clone(&self) -> std::io::Result<Self> {
        Ok(Self {
            stream: self.stream.try_clone()?,
            peer: Arc::clone(&self.peer),
            shared: Arc::clone(&self.shared),
            zeros: 0,
        })
    }

    fn set_nonblocking(&self, nonblocking: bool) -> std::io::Result<()> {
        self.stream.set_nonblocking(nonblocking)
    }

    fn shutdown(&self, how: Shutdown) -> std::io::Result<()> {
        // It may have been closed because the run failed.
        let _ = self.stream.shutdown(how);
        Ok(())
    }
}
