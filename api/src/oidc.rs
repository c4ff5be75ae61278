//! Providers of log-ins that speak OpenID Connect: authorisation code flow with PKCE, state and nonce.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use openidconnect::core::{
    CoreAuthenticationFlow, CoreClient, CoreIdToken, CoreJwsSigningAlgorithm, CoreProviderMetadata,
};
use openidconnect::{
    AuthorizationCode, ClaimsVerificationError, ClientId, ClientSecret, CsrfToken, IssuerUrl, Nonce,
    PkceCodeChallenge, PkceCodeVerifier, RedirectUrl, Scope, TokenResponse,
};
use tradeflow_state::Role;

/// For so long what a provider says of itself is good; its keys are asked for again when one is not among them.
const KNOWN_FOR: Duration = Duration::from_secs(3600);
/// How long a provider may take for an answer.
const PATIENCE: Duration = Duration::from_secs(10);
/// Signatures that are taken: those of keys of which the provider shows one half.
const ALGORITHMS: [CoreJwsSigningAlgorithm; 7] = [
    CoreJwsSigningAlgorithm::RsaSsaPkcs1V15Sha256,
    CoreJwsSigningAlgorithm::RsaSsaPkcs1V15Sha384,
    CoreJwsSigningAlgorithm::RsaSsaPkcs1V15Sha512,
    CoreJwsSigningAlgorithm::RsaSsaPssSha256,
    CoreJwsSigningAlgorithm::EcdsaP256Sha256,
    CoreJwsSigningAlgorithm::EcdsaP384Sha384,
    CoreJwsSigningAlgorithm::EdDsa,
];

/// A provider.
#[derive(Clone)]
pub struct ProviderConfig {
    /// Its name, in addresses.
    pub name: String,
    /// The address that it is known by; `/.well-known/openid-configuration` is below it.
    pub issuer: String,
    /// What it calls us.
    pub client_id: String,
    /// What it gave us; without it we are a public client.
    pub client_secret: Option<String>,
    /// What it is asked for beside `openid`.
    pub scopes: Vec<String>,
    /// Whether users whom no one has registered come in.
    pub create_users: bool,
    /// The claim that says what a user may do.
    pub role_claim: Option<String>,
    /// What its values mean.
    pub roles: BTreeMap<String, Role>,
    /// A PEM file with certificates that are trusted beside the public ones.
    pub ca: Option<PathBuf>,
}

/// A provider, and what it says of itself.
struct Provider {
    config: ProviderConfig,
    http: reqwest::Client,
    redirect: RedirectUrl,
    known: Mutex<Option<(Instant, Arc<CoreProviderMetadata>)>>,
}

/// The providers.
#[derive(Default)]
pub struct Oidc(Vec<Provider>);

/// What is wrong with a provider's configuration.
#[derive(Debug, thiserror::Error)]
#[error("[[oidc]] {name}: {why}")]
pub struct OidcError {
    name: String,
    why: String,
}

/// Where a user is to be sent, and what must come back.
pub(crate) struct Begun {
    pub url: String,
    pub state: String,
    pub nonce: String,
    pub verifier: String,
}

/// Whom a provider says it is.
#[derive(Debug)]
pub(crate) struct Known {
    pub subject: String,
    /// Where the provider says that it is his.
    pub email: Option<String>,
    pub name: String,
    pub role: Option<Role>,
}

/// Why a provider does not help.
#[derive(Debug)]
pub(crate) enum Failed {
    /// It is away, or its answer makes no sense.
    Away(String),
    /// What it sent does not hold.
    Refused(String),
}

impl Oidc {
    /// Of these providers, which send users back to this address. None is asked anything yet.
    ///
    /// # Errors
    /// What can't be used.
    pub fn new(configs: Vec<ProviderConfig>, public_url: &str) -> Result<Self, OidcError> {
        configs
            .into_iter()
            .map(|config| Provider::new(config, public_url))
            .collect::<Result<_, _>>()
            .map(Self)
    }

    /// Their names.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|provider| provider.config.name.as_str())
    }

    fn provider(&self, name: &str) -> Option<&Provider> {
        self.0.iter().find(|provider| provider.config.name == name)
    }

    /// The configuration of a provider.
    pub(crate) fn config(&self, name: &str) -> Option<&ProviderConfig> {
        self.provider(name).map(|provider| &provider.config)
    }

    /// Begins a log-in; `None` for a provider that is not there.
    pub(crate) async fn begin(&self, name: &str) -> Option<Result<Begun, Failed>> {
        Some(self.provider(name)?.begin().await)
    }

    /// Whom a provider says it is; `None` for one that is not there.
    pub(crate) async fn finish(
        &self,
        name: &str,
        code: String,
        verifier: String,
        nonce: String,
    ) -> Option<Result<Known, Failed>> {
        Some(self.provider(name)?.finish(code, verifier, Nonce::new(nonce)).await)
    }
}

impl Provider {
    fn new(config: ProviderConfig, public_url: &str) -> Result<Self, OidcError> {
        let wrong = |why: String| OidcError { name: config.name.clone(), why };
        let redirect = format!("{public_url}/api/v1/auth/oidc/{}/callback", config.name);
        let redirect = RedirectUrl::new(redirect).map_err(|error| wrong(error.to_string()))?;
        let mut http = reqwest::Client::builder()
            .timeout(PATIENCE)
            // An answer that leads elsewhere could have us ask machines that no one else reaches.
            .redirect(reqwest::redirect::Policy::none());
        if let Some(path) = &config.ca {
            let failed = |why: String| wrong(format!("ca: file {}: {why}", path.display()));
            let pem = std::fs::read(path).map_err(|error| failed(error.to_string()))?;
            let certificates = reqwest::Certificate::from_pem_bundle(&pem);
            for certificate in certificates.map_err(|error| failed(error.to_string()))? {
                http = http.add_root_certificate(certificate);
            }
        }
        let http = http.build().map_err(|error| wrong(error.to_string()))?;
        Ok(Self { http, redirect, known: Mutex::default(), config })
    }

    /// What the provider says of itself, asked for anew where that is wanted.
    async fn metadata(&self, anew: bool) -> Result<Arc<CoreProviderMetadata>, Failed> {
        let lock = || self.known.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        let known = lock().clone().filter(|(at, _)| !anew && at.elapsed() < KNOWN_FOR);
        if let Some((_, metadata)) = known {
            return Ok(metadata);
        }
        let away = |why: String| Failed::Away(format!("the provider {}: {why}", self.config.name));
        let issuer = IssuerUrl::new(self.config.issuer.clone()).map_err(|error| away(error.to_string()))?;
        let found = CoreProviderMetadata::discover_async(issuer, &self.http).await;
        let found = Arc::new(found.map_err(|error| away(chain(&error)))?);
        *lock() = Some((Instant::now(), found.clone()));
        Ok(found)
    }

    async fn begin(&self) -> Result<Begun, Failed> {
        let metadata = self.metadata(false).await?;
        let (id, secret) = self.credentials();
        let client = CoreClient::from_provider_metadata((*metadata).clone(), id, secret)
            .set_redirect_uri(self.redirect.clone());
        let (challenge, verifier) = PkceCodeChallenge::new_random_sha256();
        let mut request = client.authorize_url(
            CoreAuthenticationFlow::AuthorizationCode,
            CsrfToken::new_random,
            Nonce::new_random,
        );
        for scope in &self.config.scopes {
            request = request.add_scope(Scope::new(scope.clone()));
        }
        let (url, state, nonce) = request.set_pkce_challenge(challenge).url();
        Ok(Begun {
            url: url.to_string(),
            state: state.secret().clone(),
            nonce: nonce.secret().clone(),
            verifier: verifier.secret().clone(),
        })
    }

    fn credentials(&self) -> (ClientId, Option<ClientSecret>) {
        let secret = self.config.client_secret.clone().map(ClientSecret::new);
        (ClientId::new(self.config.client_id.clone()), secret)
    }

    async fn finish(&self, code: String, verifier: String, nonce: Nonce) -> Result<Known, Failed> {
        let metadata = self.metadata(false).await?;
        let (id, secret) = self.credentials();
        let client = CoreClient::from_provider_metadata((*metadata).clone(), id, secret)
            .set_redirect_uri(self.redirect.clone());
        let request = client.exchange_code(AuthorizationCode::new(code));
        let request = request.map_err(|error| Failed::Away(error.to_string()))?;
        let answer =
            request.set_pkce_verifier(PkceCodeVerifier::new(verifier)).request_async(&self.http).await;
        let answer = answer.map_err(|error| match error {
            openidconnect::RequestTokenError::ServerResponse(said) => {
                Failed::Refused(format!("the provider took no code: {}", said.error()))
            }
            error => Failed::Away(format!("the provider {}: {}", self.config.name, chain(&error))),
        })?;
        let token = answer.id_token().ok_or_else(|| Failed::Refused("there is no ID token".to_owned()))?;
        match self.read(&metadata, token, &nonce) {
            // It may have other keys by now.
            Err(ClaimsVerificationError::SignatureVerification(_)) => {
                let metadata = self.metadata(true).await?;
                self.read(&metadata, token, &nonce)
            }
            read => read,
        }
        .map_err(|error| Failed::Refused(format!("the ID token: {}", chain(&error))))
    }

    fn read(
        &self,
        metadata: &CoreProviderMetadata,
        token: &CoreIdToken,
        nonce: &Nonce,
    ) -> Result<Known, ClaimsVerificationError> {
        let (id, secret) = self.credentials();
        let client = CoreClient::from_provider_metadata(metadata.clone(), id, secret);
        let verifier = client.id_token_verifier().set_allowed_algs(ALGORITHMS);
        let claims = token.claims(&verifier, nonce)?;
        let email = claims.email().filter(|_| claims.email_verified() == Some(true));
        let name = claims.name().and_then(|name| name.get(None)).map(|name| name.to_string());
        Ok(Known {
            subject: claims.subject().to_string(),
            email: email.map(|email| email.to_string()),
            name: name.unwrap_or_default().chars().filter(|c| !c.is_control()).take(100).collect(),
            role: self.role(token),
        })
    }

    /// What the claim of a verified token says that the user may do: of several values the most.
    fn role(&self, token: &CoreIdToken) -> Option<Role> {
        use base64::Engine as _;
        let claim = self.config.role_claim.as_deref()?;
        let payload = token.to_string().split('.').nth(1).map(str::to_owned)?;
        let payload = base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(payload).ok()?;
        let claims: serde_json::Value = serde_json::from_slice(&payload).ok()?;
        let values = match claims.get(claim)? {
            serde_json::Value::Array(values) => values.clone(),
            value => vec![value.clone()],
        };
        values.iter().filter_map(|value| self.config.roles.get(value.as_str()?).copied()).max()
    }
}

/// An error with its causes: the first alone says that something failed, and not what.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(&format!(": {error}"));
        cause = error.source();
    }
    text
}
