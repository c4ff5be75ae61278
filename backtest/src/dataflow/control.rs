//! Control connections: one from every process to process 0. They carry heartbeats, failures, the agreement on where
//! to stop, and the verdict that the run succeeded. A frame is a length (u32, little endian) and JSON.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::Arc;
use std::sync::mpsc::{RecvTimeoutError, sync_channel};
use std::time::Duration;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::shared::Shared;
use super::{DataflowError, Outcome};

/// A frame holds at most this many bytes; error texts are cut to fit.
const FRAME_BYTES_MAX: usize = 1 << 20;
/// Messages that may wait to be written; there are only a handful in a run.
const QUEUE_MAX: usize = 64;

/// What processes say to each other.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) enum Message {
    /// I am alive.
    Heartbeat,
    /// From 0: the ports on which the processes listen.
    Ports(Vec<u16>),
    /// The run has failed.
    Failed(DataflowError),
    /// To 0: the user wants to stop.
    StopWanted,
    /// From 0: hand out no more batches, and say how many you have.
    Pause,
    /// To 0: the number of batches handed out.
    Paused(u64),
    /// From 0: go on to this number of batches and end there.
    StopAt(u64),
    /// To 0: how the source ended.
    Ended(Outcome),
    /// From 0: everything has arrived and the sink has taken it.
    Succeeded,
}

/// Writes a frame.
pub(super) fn write_frame<T: Serialize>(stream: &mut TcpStream, message: &T) -> std::io::Result<()> {
    let body = serde_json::to_vec(message)?;
    if body.len() > FRAME_BYTES_MAX {
        return Err(std::io::Error::new(ErrorKind::InvalidInput, "the message is too long"));
    }
    let mut frame = (body.len() as u32).to_le_bytes().to_vec();
    frame.extend(body);
    stream.write_all(&frame)
}

/// Reads a frame; the stream's read timeout applies to each read.
pub(super) fn read_frame<T: DeserializeOwned>(stream: &mut TcpStream) -> std::io::Result<T> {
    let mut length = [0; 4];
    stream.read_exact(&mut length)?;
    let length = u32::from_le_bytes(length) as usize;
    if length > FRAME_BYTES_MAX {
        return Err(std::io::Error::new(ErrorKind::InvalidData, "it does not speak this protocol"));
    }
    let mut body = vec![0; length];
    stream.read_exact(&mut body)?;
    Ok(serde_json::from_slice(&body)?)
}

/// Whether a read ended because nothing came in time.
pub(super) fn is_timeout(error: &std::io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut)
}

/// The other end of a control connection.
pub(super) struct Peer {
    pub(super) process: usize,
    pub(super) host: String,
}

impl Peer {
    pub(super) fn lost(&self, reason: impl Into<String>) -> DataflowError {
        DataflowError::Lost { process: self.process, host: self.host.clone(), reason: reason.into() }
    }
}

/// Starts the two threads of a control connection. The writer ends when the links are closed.
pub(super) fn start(
    shared: &Arc<Shared>,
    stream: TcpStream,
    peer: Peer,
    silence_max: Duration,
) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(silence_max))?;
    stream.set_write_timeout(Some(silence_max))?;
    let (sender, messages) = sync_channel::<Message>(QUEUE_MAX);
    let process = peer.process;

    let mut incoming = stream.try_clone()?;
    let reader = Arc::clone(shared);
    std::thread::Builder::new().name(format!("replay:hear-{process}")).spawn(move || {
        while let Some(message) = next_message(&reader, &mut incoming, &peer, silence_max) {
            obey(&reader, peer.process, message);
        }
    })?;

    let mut outgoing = stream;
    let interval = (silence_max / 5).min(Duration::from_secs(1));
    let writer = std::thread::Builder::new().name(format!("replay:tell-{process}")).spawn(move || {
        loop {
            let message = match messages.recv_timeout(interval) {
                Ok(message) => message,
                Err(RecvTimeoutError::Timeout) => Message::Heartbeat,
                Err(RecvTimeoutError::Disconnected) => break,
            };
            // A peer that cannot be written to is noticed by the reader.
            if write_frame(&mut outgoing, &message).is_err() {
                break;
            }
        }
        let _ = outgoing.shutdown(Shutdown::Write);
    })?;
    shared.add_link(sender, writer);
    Ok(())
}

/// The peer's next message; none when the connection has ended, which is a failure unless the run is over.
fn next_message(
    shared: &Shared,
    stream: &mut TcpStream,
    peer: &Peer,
    silence_max: Duration,
) -> Option<Message> {
    let error = match read_frame(stream) {
        Ok(message) => return Some(message),
        Err(error) => error,
    };
    let reason = match &error {
        error if is_timeout(error) => format!("it gave no sign of life for {silence_max:?}"),
        error if error.kind() == ErrorKind::UnexpectedEof => "it closed its connection or died".to_owned(),
        error => format!("its control connection broke: {error}"),
    };
    shared.fail(peer.lost(reason));
    None
}

/// Does what a message says.
fn obey(shared: &Shared, from: usize, message: Message) {
    match message {
        Message::Heartbeat => {}
        Message::Ports(ports) => shared.update(|state| state.ports = Some(ports)),
        Message::Failed(error) => shared.fail(error),
        Message::StopWanted => shared.update(|state| state.stop_wanted = true),
        Message::Pause => {
            let batches = shared.pause();
            shared.broadcast(&Message::Paused(batches));
        }
        Message::Paused(batches) => shared.update(|state| state.pauses.extend([(from, batches)])),
        Message::StopAt(batches) => shared.stop_at(batches),
        Message::Ended(outcome) => shared.update(|state| state.ends.extend([(from, outcome)])),
        Message::Succeeded => drop(shared.conclude()),
    }
}
