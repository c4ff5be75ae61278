//! Listening on loopback, and ending.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::serve::ListenerExt;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use super::Control;

/// How long [`Server::stop`] waits for connections to end.
const FAREWELL: Duration = Duration::from_secs(5);

/// A running server. Ends when it is dropped, or by [`Self::stop`].
#[derive(Debug)]
pub struct Server {
    address: SocketAddr,
    control: Arc<Control>,
    serving: JoinHandle<()>,
}

impl Server {
    /// Listens, and serves what [`Control::guard`] gave.
    ///
    /// # Errors
    /// When the address can't be listened on; the text names it.
    pub async fn start(listen: SocketAddr, control: &Arc<Control>, router: Router) -> io::Result<Self> {
        let refuse =
            |error: io::Error| io::Error::new(error.kind(), format!("can't listen on {listen}: {error}"));
        let listener = TcpListener::bind(listen).await.map_err(refuse)?;
        let address = listener.local_addr().map_err(refuse)?;
        // A quote that waits for the next one to fill a packet is late.
        let listener = listener.tap_io(|stream| drop(stream.set_nodelay(true)));
        let stop = control.stop.clone().cancelled_owned();
        let serving = async move {
            if let Err(error) = axum::serve(listener, router).with_graceful_shutdown(stop).await {
                tracing::error!(%address, %error, "the server ended");
            }
        };
        Ok(Self { address, control: Arc::clone(control), serving: tokio::spawn(serving) })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// `http://ADDRESS`.
    pub fn http(&self) -> String {
        format!("http://{}", self.address)
    }

    /// `ws://ADDRESS`.
    pub fn ws(&self) -> String {
        format!("ws://{}", self.address)
    }

    /// Its switches.
    pub fn control(&self) -> &Arc<Control> {
        &self.control
    }

    /// Drops its connections without a word, and frees the port.
    pub async fn stop(mut self) {
        self.control.stop.cancel();
        self.control.connections.close();
        let ended = async {
            let _ = (&mut self.serving).await;
            self.control.connections.wait().await;
        };
        if tokio::time::timeout(FAREWELL, ended).await.is_err() {
            tracing::warn!(address = %self.address, "connections did not end in time");
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.control.stop.cancel();
        self.serving.abort();
    }
}
