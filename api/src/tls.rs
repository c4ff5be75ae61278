//! TLS by rustls. Certificate and key are files, and read again when they change: whoever renews them need not stop the node.

use std::path::{Path, PathBuf};
use std::sync::{Arc, RwLock};
use std::time::{Duration, SystemTime};

use rustls::ServerConfig;
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

/// How often it looks whether the files have changed.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// Where certificate and key are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsConfig {
    /// A PEM file: the server's certificate, then those between it and the authority's.
    pub certificate: PathBuf,
    /// A PEM file: its private key.
    pub key: PathBuf,
}

/// What is wrong with a file.
#[derive(Debug, thiserror::Error)]
#[error("{path}: {why}")]
pub struct TlsError {
    /// The file.
    pub path: String,
    /// What is wrong with it.
    pub why: String,
}

/// The certificate that is shown, and where it is from.
#[derive(Debug)]
pub(crate) struct Certificates {
    config: TlsConfig,
    current: RwLock<Arc<CertifiedKey>>,
}

/// When files were changed, and how long they are.
type Stamp = [Option<(SystemTime, u64)>; 2];

impl TlsConfig {
    fn load(&self) -> Result<CertifiedKey, TlsError> {
        let wrong = |path: &Path, why: String| TlsError { path: path.display().to_string(), why };
        let certificate = |why: String| wrong(&self.certificate, why);
        let chain = CertificateDer::pem_file_iter(&self.certificate)
            .and_then(Iterator::collect::<Result<Vec<_>, _>>)
            .map_err(|error| certificate(format!("no certificate in PEM can be read: {error}")))?;
        if chain.is_empty() {
            return Err(certificate("there is no certificate in PEM in it".to_owned()));
        }
        let key = PrivateKeyDer::from_pem_file(&self.key)
            .map_err(|error| wrong(&self.key, format!("no private key in PEM can be read: {error}")))?;
        CertifiedKey::from_der(chain, key, &ring::default_provider()).map_err(|error| {
            let why =
                format!("it does not go with the certificate in {}: {error}", self.certificate.display());
            wrong(&self.key, why)
        })
    }

    fn stamp(&self) -> Stamp {
        [&self.certificate, &self.key].map(|path| {
            let metadata = std::fs::metadata(path).ok()?;
            Some((metadata.modified().ok()?, metadata.len()))
        })
    }
}

impl Certificates {
    /// Reads the files.
    ///
    /// # Errors
    /// What is wrong with which file.
    pub(crate) fn read(config: &TlsConfig) -> Result<Arc<Self>, TlsError> {
        let current = RwLock::new(Arc::new(config.load()?));
        Ok(Arc::new(Self { config: config.clone(), current }))
    }

    /// For a server that shows them: TLS 1.2 and 1.3.
    pub(crate) fn server(self: &Arc<Self>) -> Result<ServerConfig, rustls::Error> {
        let builder = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()));
        let builder = builder.with_safe_default_protocol_versions()?.with_no_client_auth();
        Ok(builder.with_cert_resolver(self.clone()))
    }

    /// Reads the files again when they change; what can't be read leaves what is shown as it is.
    pub(crate) async fn watch(self: Arc<Self>) {
        let mut seen = self.config.stamp();
        let mut ticks = tokio::time::interval(LOOK_EVERY);
        loop {
            ticks.tick().await;
            let stamp = self.config.stamp();
            if stamp == seen {
                continue;
            }
            seen = stamp;
            match self.config.load() {
                Ok(read) => {
                    *self.current.write().unwrap_or_else(|poisoned| poisoned.into_inner()) = Arc::new(read);
                    tracing::info!(certificate = %self.config.certificate.display(), "the certificate was read again");
                }
                Err(error) => tracing::warn!(%error, "the certificate that was read before stays"),
            }
        }
    }
}

impl ResolvesServerCert for Certificates {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.current.read().unwrap_or_else(|poisoned| poisoned.into_inner()).clone())
    }
}
