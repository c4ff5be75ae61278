//! Before any handler: who asks, and whether it is too much.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use actix_web::body::MessageBody;
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::header::{AUTHORIZATION, HeaderName, HeaderValue};
use actix_web::middleware::Next;
use actix_web::{Error, HttpMessage};
use tradeflow_state::{Identity, StateError};

use super::cookies;
use crate::context::{Context, Shared};
use crate::limits::Left;
use crate::problem::Problem;

/// What is known of the sender.
#[derive(Debug, Clone)]
pub(crate) enum Resolved {
    /// He sent no token.
    Absent,
    /// He sent one that is no one's.
    Unknown,
    /// He is known; whether by a cookie.
    Known(Arc<Identity>, bool),
    /// It could not be found out.
    Failed(Problem),
}

const LIMIT: HeaderName = HeaderName::from_static("x-ratelimit-limit");
const REMAINING: HeaderName = HeaderName::from_static("x-ratelimit-remaining");

/// Routes that may be guessed at.
const ATTEMPTS: [&str; 5] = ["login", "register", "forgot", "reset", "refresh"];

pub(crate) async fn guard<B: MessageBody + 'static>(
    request: ServiceRequest,
    next: Next<B>,
) -> Result<ServiceResponse<B>, Error> {
    if !request.path().starts_with("/api/") {
        return next.call(request).await;
    }
    let Some(shared) = request.app_data::<Context>().cloned() else { return next.call(request).await };
    let resolved = resolve(&request, &shared).await;
    let address = request.peer_addr().map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |peer| peer.ip());
    let auth = request.path().strip_prefix("/api/v1/auth/");
    let left = match &resolved {
        _ if auth.is_some_and(|route| ATTEMPTS.contains(&route)) => shared.limits.attempt(address),
        Resolved::Known(identity, _) => {
            shared.limits.user(identity.key.as_ref().unwrap_or(&identity.user.id))
        }
        _ => shared.limits.address(address),
    };
    let Left { limit, remaining } = left.map_err(Problem::too_many)?;
    request.extensions_mut().insert(resolved);
    let mut response = next.call(request).await?;
    let headers = response.headers_mut();
    headers.insert(LIMIT, HeaderValue::from(limit));
    headers.insert(REMAINING, HeaderValue::from(remaining));
    Ok(response)
}

async fn resolve(request: &ServiceRequest, shared: &Shared) -> Resolved {
    let header = request.headers().get(AUTHORIZATION).and_then(|header| header.to_str().ok());
    let bearer = header
        .and_then(|header| header.split_once(' '))
        .filter(|(kind, _)| kind.eq_ignore_ascii_case("bearer"));
    let cookie = request.cookie(cookies::ACCESS);
    let (token, by_cookie) = match (bearer, &cookie) {
        (Some((_, token)), _) => (token.trim(), false),
        (None, _) if header.is_some() => return Resolved::Unknown,
        (None, Some(cookie)) => (cookie.value(), true),
        (None, None) => return Resolved::Absent,
    };
    match identify(shared, token).await {
        Ok(Some(identity)) => Resolved::Known(identity, by_cookie),
        Ok(None) => Resolved::Unknown,
        Err(error) => Resolved::Failed(error.into()),
    }
}

async fn identify(shared: &Shared, token: &str) -> Result<Option<Arc<Identity>>, StateError> {
    let (key, now) = (blake3::hash(token.as_bytes()), shared.now());
    if let Some(identity) = shared.known.get(&key).filter(|identity| identity.expires >= now) {
        return Ok(Some(identity));
    }
    let found = shared.state.identify(now, token).await?.map(Arc::new);
    if let Some(identity) = &found {
        shared.known.insert(key, identity.clone());
    }
    Ok(found)
}
