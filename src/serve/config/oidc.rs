//! The sections `[[oidc]]`.

use std::collections::BTreeMap;
use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tradeflow_api::oidc::ProviderConfig;
use tradeflow_ingest::Secret;
use tradeflow_state::Role;

use super::node::hidden;

/// A provider of log-ins that speaks OpenID Connect. `public_url` in `[api]` must be given; register
/// `<public_url>/api/v1/auth/oidc/<name>/callback` at the provider.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct OidcSection {
    /// Its name, in addresses: 1 to 32 lower-case letters, digits and `-`.
    pub name: String,
    /// Its address; `/.well-known/openid-configuration` is below it. `https://`, or `http://` on this machine.
    pub issuer: String,
    /// What it calls the server.
    pub client_id: String,
    /// What it gave the server. Better given by the variable `TRADEFLOW__OIDC__0__CLIENT_SECRET` than in the file.
    #[serde(default, serialize_with = "hidden", skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub client_secret: Option<Secret>,
    /// What it is asked for beside `openid`.
    #[serde(default = "scopes")]
    pub scopes: Vec<String>,
    /// Whether users come in whom no one has registered, as traders without accounts. Their email must be one that the
    /// provider has verified.
    #[serde(default)]
    pub create_users: bool,
    /// The claim of the ID token that says what a user may do, such as `groups`: text, or a list of texts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role_claim: Option<String>,
    /// What the values of that claim mean: `{ trade-admins = "administrator" }`. Of several the most holds, from each log-in
    /// on; where none is among them the role stays.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(with = "BTreeMap<String, String>")]
    pub roles: BTreeMap<String, Role>,
    /// A PEM file with certificates that are trusted beside the public ones, for a provider of your own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca: Option<String>,
}

fn scopes() -> Vec<String> {
    vec!["email".into(), "profile".into()]
}

impl OidcSection {
    /// As the server takes it.
    pub fn config(&self) -> ProviderConfig {
        ProviderConfig {
            name: self.name.clone(),
            issuer: self.issuer.clone(),
            client_id: self.client_id.clone(),
            client_secret: self.client_secret.as_ref().map(|secret| secret.expose().to_owned()),
            scopes: self.scopes.clone(),
            create_users: self.create_users,
            role_claim: self.role_claim.clone(),
            roles: self.roles.clone(),
            ca: self.ca.as_ref().map(PathBuf::from),
        }
    }
}
