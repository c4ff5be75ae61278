//! The server: a thread with an actix system of its own, so that whoever starts it need not run actix.

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::mpsc::sync_channel;
use std::thread::JoinHandle;

use actix_web::dev::ServerHandle;
use actix_web::http::KeepAlive;
use actix_web::{App, HttpServer, web};

use crate::metrics::{self, Metrics};
use crate::source::NodeSource;
use crate::{health, ready, status};

/// What requests look at.
pub(crate) type Source = web::Data<Arc<dyn NodeSource>>;

/// Why there is no server.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// The address can't be listened on.
    #[error(
        "can't listen on {address}: {source}; does another node run here? `listen` in [node] takes another address"
    )]
    Listen {
        /// The address.
        address: SocketAddr,
        /// What the system says.
        source: std::io::Error,
    },
    /// The server's thread.
    #[error("the server's thread: {0}")]
    Thread(#[from] std::io::Error),
}

/// A running server. Dropping it stops it.
#[derive(Debug)]
pub struct Server {
    address: SocketAddr,
    handle: ServerHandle,
    thread: Option<JoinHandle<std::io::Result<()>>>,
}

impl Server {
    /// For so long a request that is being answered may hold up the end, in seconds.
    const FAREWELL_SECS: u64 = 5;

    /// Takes the address, without answering yet; port 0 takes a free one. A node does it before it begins anything.
    ///
    /// # Errors
    /// When the address is taken, or not of this machine.
    pub fn bind(listen: SocketAddr) -> Result<TcpListener, ServerError> {
        TcpListener::bind(listen).map_err(|source| ServerError::Listen { address: listen, source })
    }

    /// Answers on an address that was taken with [`Self::bind`].
    ///
    /// # Errors
    /// When it can't be listened on.
    pub fn start(listener: TcpListener, source: Arc<dyn NodeSource>) -> Result<Self, ServerError> {
        let address = listener.local_addr()?;
        let failed = |source| ServerError::Listen { address, source };
        let metrics = web::Data::new(Metrics::new(source.clone()));
        let source: Source = web::Data::new(source);
        let (sender, receiver) = sync_channel(1);
        let thread = std::thread::Builder::new().name("api".into()).spawn(move || {
            actix_web::rt::System::new().block_on(async move {
                let server =
                    HttpServer::new(move || App::new().configure(|app| routes(app, &source, &metrics)))
                        .workers(1)
                        // A connection that is kept open would hold up the end.
                        .keep_alive(KeepAlive::Disabled)
                        .shutdown_timeout(Self::FAREWELL_SECS)
                        .disable_signals()
                        .listen(listener)?
                        .run();
                let _ = sender.send(server.handle());
                server.await
            })
        })?;
        match receiver.recv() {
            Ok(handle) => Ok(Self { address, handle, thread: Some(thread) }),
            Err(_) => {
                let ended = thread.join().unwrap_or_else(|_| Err(std::io::Error::other("it panicked")));
                Err(failed(ended.err().unwrap_or_else(|| std::io::Error::other("it ended at once"))))
            }
        }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Ends it: requests that are being answered get their answer, for up to five seconds.
    pub fn stop(mut self) {
        self.end();
    }

    fn end(&mut self) {
        let Some(thread) = self.thread.take() else { return };
        // The order is given by the call; what it returns only tells when it is done, which the thread's end does too.
        drop(self.handle.stop(true));
        if let Ok(Err(error)) = thread.join() {
            tracing::warn!(%error, "the server");
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.end();
    }
}

fn routes(app: &mut web::ServiceConfig, source: &Source, metrics: &web::Data<Metrics>) {
    app.app_data(source.clone())
        .app_data(metrics.clone())
        .route("/health", web::get().to(health::get))
        .route("/ready", web::get().to(ready::get))
        .route("/metrics", web::get().to(metrics::get))
        .route("/api/v1/status", web::get().to(status::get));
}
