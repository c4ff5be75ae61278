//! Errors as `application/problem+json` (RFC 9457).

use std::fmt;

use actix_web::http::StatusCode;
use actix_web::http::header::{CONTENT_TYPE, RETRY_AFTER};
use actix_web::{HttpResponse, ResponseError};
use serde::{Deserialize, Serialize};
use tradeflow_actors::cell::Refusal;
use tradeflow_state::StateError;
use utoipa::ToSchema;

/// Why a request was not done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Problem {
    /// The HTTP status.
    pub status: u16,
    /// The kind, for programs: `not-found`, `invalid`, `denied`, …
    pub code: String,
    /// The status in words.
    pub title: String,
    /// What was wrong, for people.
    pub detail: String,
    /// Where, for fields of the request that do not fit.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub errors: Vec<FieldProblem>,
    /// After how many seconds another try makes sense.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_after: Option<u64>,
}

/// What is wrong with a field.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct FieldProblem {
    /// The field, with dots where it is deep in the body: `order.qty`.
    pub field: String,
    /// What is wrong with it.
    pub why: String,
}

impl Problem {
    fn new(status: StatusCode, code: &str, detail: impl Into<String>) -> Self {
        Self {
            status: status.as_u16(),
            code: code.to_owned(),
            title: status.canonical_reason().unwrap_or_default().to_owned(),
            detail: detail.into(),
            errors: Vec::new(),
            retry_after: None,
        }
    }

    /// 400: the request itself can't be read.
    pub fn malformed(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "malformed", detail)
    }

    /// 422: a field does not fit.
    pub fn field(field: impl Into<String>, why: impl Into<String>) -> Self {
        Self::fields(vec![FieldProblem { field: field.into(), why: why.into() }])
    }

    /// 422: fields do not fit.
    pub fn fields(errors: Vec<FieldProblem>) -> Self {
        let detail: Vec<_> = errors.iter().map(|error| format!("{}: {}", error.field, error.why)).collect();
        Self { errors, ..Self::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid", detail.join("; ")) }
    }

    /// 401: no one is known.
    pub fn unauthorized(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::UNAUTHORIZED, "unauthorized", detail)
    }

    /// 401: the password is right, and a code is needed beside it.
    pub fn second_factor() -> Self {
        let detail = "a code of the authenticator is needed: log in again, with it as `code`";
        Self::new(StatusCode::UNAUTHORIZED, "second-factor", detail)
    }

    /// 403: someone who may not.
    pub fn forbidden(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::FORBIDDEN, "forbidden", detail)
    }

    /// 404.
    pub fn missing(what: &str) -> Self {
        Self::new(StatusCode::NOT_FOUND, "not-found", format!("there is no such {what}"))
    }

    /// 404: an instrument that is followed, and has had no quote yet.
    pub fn no_quote(symbol: &str) -> Self {
        Self::new(StatusCode::NOT_FOUND, "no-quote", format!("there is no quote of {symbol} yet"))
    }

    /// 409.
    pub fn conflict(code: &str, detail: impl Into<String>) -> Self {
        Self::new(StatusCode::CONFLICT, code, detail)
    }

    /// 413.
    pub fn too_large(max: usize) -> Self {
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, "too-large", format!("the body has more than {max} bytes"))
    }

    /// 415.
    pub fn not_json() -> Self {
        let detail = "the body must be JSON, with content-type: application/json";
        Self::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "not-json", detail)
    }

    /// 429.
    pub fn too_many(retry_after: u64) -> Self {
        let detail = format!("too many requests; try again in {retry_after} s");
        Self {
            retry_after: Some(retry_after),
            ..Self::new(StatusCode::TOO_MANY_REQUESTS, "too-many", detail)
        }
    }

    /// 422: it is too old to be acted on.
    pub fn stale(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, "stale", detail)
    }

    /// 426: the route is no usual one.
    pub fn upgrade(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::UPGRADE_REQUIRED, "upgrade-required", detail)
    }

    /// 500: the log tells what.
    pub fn internal() -> Self {
        let detail = "an error in the server; its log tells which";
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", detail)
    }

    /// 503: a part that is needed is away.
    pub fn unavailable(detail: impl Into<String>) -> Self {
        Self { retry_after: Some(1), ..Self::new(StatusCode::SERVICE_UNAVAILABLE, "unavailable", detail) }
    }

    /// 504: a cell has not answered in time.
    pub fn unanswered(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::GATEWAY_TIMEOUT, "unanswered", detail)
    }

    /// A cell refused a command.
    pub fn refused(code: Refusal, why: impl Into<String>) -> Self {
        let (status, name) = match code {
            Refusal::UnknownAccount => (StatusCode::NOT_FOUND, "unknown-account"),
            Refusal::UnknownInstrument => (StatusCode::NOT_FOUND, "unknown-instrument"),
            Refusal::UnknownStrategy => (StatusCode::NOT_FOUND, "unknown-strategy"),
            Refusal::UnknownOrder => (StatusCode::NOT_FOUND, "unknown-order"),
            Refusal::NoPosition => (StatusCode::NOT_FOUND, "no-position"),
            Refusal::Invalid => (StatusCode::UNPROCESSABLE_ENTITY, "invalid"),
            Refusal::Denied => (StatusCode::UNPROCESSABLE_ENTITY, "denied"),
            Refusal::Idle => (StatusCode::CONFLICT, "idle"),
            Refusal::Duplicate => (StatusCode::CONFLICT, "duplicate"),
            Refusal::Unavailable => (StatusCode::SERVICE_UNAVAILABLE, "unavailable"),
        };
        Self::new(status, name, why)
    }
}

/// What all answers carry: no page of anyone else may guess, frame or keep them.
pub(crate) const HEADERS: [(&str, &str); 5] = [
    ("x-content-type-options", "nosniff"),
    ("x-frame-options", "DENY"),
    ("referrer-policy", "no-referrer"),
    ("cache-control", "no-store"),
    ("content-security-policy", "default-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:"),
];

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.detail)
    }
}

impl ResponseError for Problem {
    fn status_code(&self) -> StatusCode {
        StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
    }

    fn error_response(&self) -> HttpResponse {
        let mut response = HttpResponse::build(self.status_code());
        // One that is an error of actix's passes by those who put them on answers.
        for header in HEADERS {
            response.insert_header(header);
        }
        if let Some(secs) = self.retry_after {
            response.insert_header((RETRY_AFTER, secs.to_string()));
        }
        if self.status == 401 {
            response.insert_header(("www-authenticate", "Bearer"));
        }
        let body = serde_json::to_string(self).unwrap_or_default();
        response.insert_header((CONTENT_TYPE, "application/problem+json")).body(body)
    }
}

impl From<StateError> for Problem {
    fn from(error: StateError) -> Self {
        match error {
            StateError::Exists(_) => Self::conflict("exists", error.to_string()),
            StateError::Missing(what) => Self::missing(what),
            StateError::Text => Self::malformed("a text holds a zero character"),
            StateError::Invalid(why) => Self::conflict("invalid-state", why),
            StateError::Unavailable(_) => {
                tracing::warn!(%error, "the database");
                Self::unavailable("the database is not available")
            }
            error => {
                tracing::error!(%error, "the database");
                Self::internal()
            }
        }
    }
}
