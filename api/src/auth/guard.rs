//! Before any handler: who asks, and whether it is too much.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;

use actix_web::body::{EitherBody, MessageBody};
use actix_web::cookie::Cookie;
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::header::{AUTHORIZATION, HeaderMap, HeaderName, HeaderValue};
use actix_web::middleware::Next;
use actix_web::{Error, HttpMessage, ResponseError};
use tradeflow_state::Identity;

use super::cookies;
use crate::context::Context;
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

/// A database behind a network that loses everything never answers: whoever asked is told all the same.
const ANSWERS_MAX: Duration = Duration::from_secs(30);
/// When the server ends, a request that is being answered has so long, which is less than the server waits for it.
const FAREWELL: Duration = Duration::from_millis(1500);

pub(crate) async fn guard<B: MessageBody + 'static>(
    request: ServiceRequest,
    next: Next<B>,
) -> Result<ServiceResponse<EitherBody<B>>, Error> {
    let ends = request.app_data::<Context>().map(|shared| shared.ends.clone()).unwrap_or_default();
    let ended = async {
        ends.cancelled().await;
        tokio::time::sleep(FAREWELL).await;
    };
    const RESEND: &str =
        "a write may still be done: send it again with the same idempotency-key, and it is done once";
    tokio::select! {
        biased;
        answered = tokio::time::timeout(ANSWERS_MAX, guarded(request, next)) => answered.unwrap_or_else(|_| {
            let detail = format!("no answer within {} s; {RESEND}", ANSWERS_MAX.as_secs());
            Err(Problem::unanswered(detail).into())
        }),
        () = ended => Err(Problem::unavailable(format!("the node ends; {RESEND}")).into()),
    }
}

async fn guarded<B: MessageBody + 'static>(
    request: ServiceRequest,
    next: Next<B>,
) -> Result<ServiceResponse<EitherBody<B>>, Error> {
    let shared = request.app_data::<Context>().filter(|_| request.path().starts_with("/api/")).cloned();
    let Some(shared) = shared else {
        return next.call(request).await.map(ServiceResponse::map_into_left_body);
    };
    let address = request.peer_addr().map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |peer| peer.ip());
    let auth = request.path().strip_prefix("/api/v1/auth/");
    let is_attempt = auth.is_some_and(|route| ATTEMPTS.contains(&route) || route.starts_with("oidc/"));
    let of_address = || match is_attempt {
        true => shared.limits.attempt(address),
        false => shared.limits.address(address),
    };
    let token = token_of(request.headers(), |name| request.cookie(name));
    let known = token.as_ref().and_then(|(token, _)| shared.known_now(token));
    let (resolved, left) = match (token, known) {
        (None, _) => {
            let left = of_address();
            let none = request.headers().get(AUTHORIZATION).is_none();
            (if none { Resolved::Absent } else { Resolved::Unknown }, left)
        }
        (Some((_, by_cookie)), Some(identity)) => {
            let left = if is_attempt { of_address() } else { shared.limits.user(who(&identity)) };
            (Resolved::Known(identity, by_cookie), left)
        }
        // Whoever sends tokens at random asks the database as often as an address may, and no more.
        (Some((token, by_cookie)), None) => {
            let left = match of_address() {
                Ok(left) => left,
                Err(secs) => return Ok(refused(request, secs)),
            };
            match shared.identify(&token).await {
                Ok(Some(identity)) => {
                    let left = shared.limits.user(who(&identity));
                    (Resolved::Known(identity, by_cookie), left)
                }
                Ok(None) => (Resolved::Unknown, Ok(left)),
                Err(error) => (Resolved::Failed(error.into()), Ok(left)),
            }
        }
    };
    let Left { limit, remaining } = match left {
        Ok(left) => left,
        Err(secs) => return Ok(refused(request, secs)),
    };
    request.extensions_mut().insert(resolved);
    let mut response = next.call(request).await?;
    let headers = response.headers_mut();
    headers.insert(LIMIT, HeaderValue::from(limit));
    headers.insert(REMAINING, HeaderValue::from(remaining));
    Ok(response.map_into_left_body())
}

/// An answer and not an error, so that those who stand around put their headers on it.
fn refused<B>(request: ServiceRequest, secs: u64) -> ServiceResponse<EitherBody<B>> {
    request.into_response(Problem::too_many(secs).error_response()).map_into_right_body()
}

/// Whose requests are counted together: a key's, or a user's.
fn who(identity: &Identity) -> &str {
    identity.key.as_ref().unwrap_or(&identity.user.id)
}

/// The token of a request, and whether it is a cookie.
pub(crate) fn token_of(
    headers: &HeaderMap,
    cookie: impl FnOnce(&str) -> Option<Cookie<'static>>,
) -> Option<(String, bool)> {
    if let Some(header) = headers.get(AUTHORIZATION) {
        let (kind, token) = header.to_str().ok()?.split_once(' ')?;
        return kind.eq_ignore_ascii_case("bearer").then(|| (token.trim().to_owned(), false));
    }
    cookie(cookies::ACCESS).map(|cookie| (cookie.value().to_owned(), true))
}
