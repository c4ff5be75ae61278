//! The server: a thread with an actix system of its own, so that whoever starts it need not run actix.

use std::net::{SocketAddr, TcpListener};
use std::sync::mpsc::sync_channel;
use std::sync::{Arc, OnceLock, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use actix_cors::Cors;
use actix_web::dev::ServerHandle;
use actix_web::http::KeepAlive;
use actix_web::middleware::{Condition, DefaultHeaders, from_fn};
use actix_web::{App, HttpResponse, HttpServer, ResponseError, web};
use tokio_util::sync::CancellationToken;
use utoipa_actix_web::{AppExt, scope};
use utoipa_swagger_ui::{Config, SwaggerUi};

use crate::auth::guard::guard;
use crate::context::{Context, Shared};
use crate::metrics::{self, Metrics};
use crate::problem::{HEADERS, Problem};
use crate::source::NodeSource;
use crate::system_log::{SystemLogQueue, Writer};
use crate::tls::{Certificates, TlsError};
use crate::{alerts, health, housekeeping, jobs, openapi, ready, routes, socket, status, uploads};

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
    /// Certificate or key can't be used.
    #[error("TLS: {0}")]
    Tls(#[from] TlsError),
    /// rustls does not take what it was given.
    #[error("TLS: {0}")]
    Rustls(#[from] rustls::Error),
    /// The server's thread.
    #[error("the server's thread: {0}")]
    Thread(#[from] std::io::Error),
}

/// A running server. Dropping it stops it.
#[derive(Debug)]
pub struct Server {
    address: SocketAddr,
    tls: bool,
    handle: ServerHandle,
    ends: CancellationToken,
    thread: Option<JoinHandle<std::io::Result<()>>>,
}

impl Server {
    /// For so long a request that is being answered may hold up the end, in seconds.
    const FAREWELL_SECS: u64 = 2;
    /// Threads that answer.
    const WORKERS: usize = 2;
    /// For so long a connection is kept open for the next request.
    const KEEP_ALIVE: Duration = Duration::from_secs(30);

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
    /// When it can't be listened on, or certificate and key can't be used.
    pub fn start(listener: TcpListener, shared: Shared) -> Result<Self, ServerError> {
        let address = listener.local_addr()?;
        let failed = |source| ServerError::Listen { address, source };
        let queue = shared.system_log.lock().unwrap_or_else(PoisonError::into_inner).take();
        let shed = queue.as_ref().map(SystemLogQueue::shed);
        let metrics = web::Data::new(Metrics::new(shared.node.clone(), shed));
        let source: Source = web::Data::new(shared.node.clone());
        let certificates = shared.config.tls.as_ref().map(Certificates::read).transpose()?;
        let rustls = certificates.as_ref().map(Certificates::server).transpose()?;
        let (tls, origins) = (certificates.is_some(), shared.config.cors_origins.clone());
        let shared: Context = web::Data::new(shared);
        let (kept, ends) = (shared.clone(), shared.ends.clone());
        let (sender, receiver) = sync_channel(1);
        let thread = std::thread::Builder::new().name("api".into()).spawn(move || {
            actix_web::rt::System::new().block_on(async move {
                // Made of the routes when they are registered; the same for each worker.
                let document: Arc<OnceLock<web::Bytes>> = Arc::default();
                let app = move || {
                    let shown = document.clone();
                    let (app, routes) = App::new()
                        .app_data(shared.clone())
                        .app_data(source.clone())
                        .app_data(metrics.clone())
                        .into_utoipa_app()
                        .openapi(openapi::base())
                        .route("/health", web::get().to(health::get))
                        .route("/ready", web::get().to(ready::get))
                        .route("/metrics", web::get().to(metrics::get))
                        .route("/api/v1/status", web::get().to(status::get))
                        .route("/api/v1/asyncapi.json", web::get().to(messages))
                        .route("/api/v1/openapi.json", web::get().to(move || json(shown.clone())))
                        .map(|app| {
                            let page = SwaggerUi::new("/api/v1/docs/{_:.*}");
                            app.service(page.config(Config::from("/api/v1/openapi.json")))
                        })
                        .service(scope::scope("/api/v1").configure(routes::all))
                        .split_for_parts();
                    document.get_or_init(|| openapi::complete(routes).to_json().unwrap_or_default().into());
                    app.default_service(web::to(nowhere))
                        .wrap(from_fn(guard))
                        .wrap(Condition::new(!origins.is_empty(), cors(&origins)))
                        .wrap(headers(tls))
                };
                let server = HttpServer::new(app)
                    .workers(Self::WORKERS)
                    .keep_alive(KeepAlive::Timeout(Self::KEEP_ALIVE))
                    .shutdown_timeout(Self::FAREWELL_SECS)
                    .disable_signals();
                let server = match rustls {
                    Some(rustls) => server.listen_rustls_0_23(listener, rustls)?,
                    None => server.listen(listener)?,
                };
                let server = server.run();
                let _ = sender.send(server.handle());
                // Tasks of tokio and not of actix: what of these is left at the end is dropped where it may still use its
                // runtime, as sqlx does to give a connection back; outside it panics.
                let jobs = tokio::spawn(jobs::run(kept.clone()));
                let system_log = queue.map(|queue| Writer::start(kept.clone(), queue));
                let watch = certificates.map(|certificates| tokio::spawn(certificates.watch()));
                let mailed = kept.clone();
                let mail = tokio::spawn(async move { mailed.mail.run().await });
                let alerts = tokio::spawn(alerts::run(kept.clone()));
                let housekeeping = tokio::spawn(housekeeping::run(kept.clone()));
                let uploads = tokio::spawn(uploads::run(kept));
                let ended = server.await;
                jobs.abort();
                alerts.abort();
                mail.abort();
                watch.inspect(|watch| watch.abort());
                housekeeping.abort();
                uploads.abort();
                if let Some(system_log) = system_log {
                    system_log.end().await;
                }
                ended
            })
        })?;
        match receiver.recv() {
            Ok(handle) => Ok(Self { address, tls, handle, ends, thread: Some(thread) }),
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

    /// The same as a URL.
    pub fn url(&self) -> String {
        format!("{}://{}", if self.tls { "https" } else { "http" }, self.address)
    }

    /// Ends it: sockets are closed, and requests that are being answered get their answer, for up to two seconds.
    pub fn stop(mut self) {
        self.end();
    }

    fn end(&mut self) {
        let Some(thread) = self.thread.take() else { return };
        self.ends.cancel();
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

/// [`HEADERS`] on all answers.
fn headers(tls: bool) -> DefaultHeaders {
    let headers = DefaultHeaders::new();
    // Whoever was here by TLS once comes back by TLS alone, for a year.
    let headers = if tls { headers.add(("strict-transport-security", "max-age=31536000")) } else { headers };
    HEADERS.into_iter().fold(headers, DefaultHeaders::add)
}

/// Pages elsewhere that may ask: those that are named, exactly.
fn cors(origins: &[String]) -> Cors {
    let cors = Cors::default()
        .allowed_methods(["GET", "POST", "PUT", "PATCH", "DELETE"])
        .allowed_headers(["authorization", "content-type", "idempotency-key", "x-csrf-token"])
        .expose_headers(["retry-after", "x-ratelimit-limit", "x-ratelimit-remaining"])
        .supports_credentials()
        .max_age(600);
    origins.iter().fold(cors, |cors, origin| cors.allowed_origin(origin))
}

async fn json(document: Arc<OnceLock<web::Bytes>>) -> HttpResponse {
    HttpResponse::Ok().content_type("application/json").body(document.get().cloned().unwrap_or_default())
}

async fn messages() -> HttpResponse {
    HttpResponse::Ok().json(socket::messages::document())
}

async fn nowhere() -> HttpResponse {
    Problem::missing("route").error_response()
}
