//! The section `[mail]`.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tradeflow_api::mail::MailConfig;
use tradeflow_ingest::Secret;

use super::node::hidden;

/// Mail to users, over SMTP: to set a forgotten password anew. Without it, letters stand in the log.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct MailSection {
    /// The server: `smtps://user:password@host:465` (TLS), or `smtp://user:password@host:587?tls=required` (STARTTLS);
    /// `smtp://host` alone, without encryption, only on this machine. Special characters of user and password are written
    /// as in any URL (`%40` for `@`).
    #[serde(serialize_with = "hidden", skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub url: Option<Secret>,
    /// The sender, `TradeFlow <trade@example.org>`. Must be given with a server.
    pub from: String,
    /// A PEM file with certificates that are trusted beside the public ones, for a server of your own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ca: Option<String>,
}

impl MailSection {
    /// How mail is sent; `None` where there is no server.
    pub fn config(&self) -> Option<MailConfig> {
        let url = self.url.as_ref()?.expose().to_owned();
        Some(MailConfig { url, from: self.from.clone(), ca: self.ca.as_ref().map(PathBuf::from) })
    }
}
