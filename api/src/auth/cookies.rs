//! Cookies of pages. A page that logs in with `cookies: true` gets its tokens as cookies that its scripts can't read, and
//! a token in the answer that it sends with each write (`x-csrf-token`).

use actix_web::cookie::time::Duration;
use actix_web::cookie::{Cookie, SameSite};
use tradeflow_model::Timestamp;
use tradeflow_state::Issued;

/// Holds the access token.
pub(crate) const ACCESS: &str = "tradeflow_access";
/// Holds the refresh token; sent to the routes of log-ins alone.
pub(crate) const REFRESH: &str = "tradeflow_refresh";

fn cookie<'a>(name: &'a str, value: String, path: &'a str, secure: bool) -> Cookie<'a> {
    Cookie::build(name, value).path(path).http_only(true).secure(secure).same_site(SameSite::Strict).finish()
}

/// The cookies of a log-in.
pub(crate) fn issued(issued: &Issued, now: Timestamp, secure: bool) -> [Cookie<'static>; 2] {
    let age =
        |until: Timestamp| Duration::nanoseconds(until.as_nanos().saturating_sub(now.as_nanos()).max(0));
    let mut access = cookie(ACCESS, issued.access.reveal().to_owned(), "/", secure);
    access.set_max_age(age(issued.access_expires));
    let mut refresh = cookie(REFRESH, issued.refresh.reveal().to_owned(), "/api/v1/auth", secure);
    refresh.set_max_age(age(issued.expires));
    [access, refresh]
}

/// Cookies that take those of a log-in away.
pub(crate) fn gone(secure: bool) -> [Cookie<'static>; 2] {
    [(ACCESS, "/"), (REFRESH, "/api/v1/auth")].map(|(name, path)| {
        let mut cookie = cookie(name, String::new(), path, secure);
        cookie.make_removal();
        cookie
    })
}
