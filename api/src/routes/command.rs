//! Writes that trade: a command to an account's cell, done once for an idempotency key.

use std::time::Duration;

use actix_web::{HttpRequest, HttpResponse};
use serde::Serialize;
use serde_json::json;
use tradeflow_live::commands::WireCommand;
use tradeflow_model::OrderId;
use tradeflow_state::{Begun, Written};
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

use super::{audit_command, header, open_account_of};
use crate::auth::Caller;
use crate::context::Context;
use crate::problem::Problem;

/// A header of writes.
#[derive(Debug, IntoParams)]
#[into_params(parameter_in = Header)]
#[allow(dead_code, reason = "it describes a header")]
pub(crate) struct Idempotency {
    /// A key of the client's own, 1 to 100 visible characters. The same write sent again with it within a day is done once,
    /// and gets the same answer.
    #[param(rename = "idempotency-key")]
    idempotency_key: Option<String>,
}

/// What a command did.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Done {
    /// The command's id, as it stands in the journal.
    command_id: String,
    /// The orders that it made.
    order_ids: Vec<String>,
}

/// Sends a command to an account's cell, once for an idempotency key, and gives its answer.
pub(crate) async fn command(
    shared: &Context,
    caller: &Caller,
    request: &HttpRequest,
    account: &str,
    action: &str,
    wanted: WireCommand,
) -> Result<HttpResponse, Problem> {
    open_account_of(shared, caller, account).await?;
    let fresh = Uuid::now_v7().to_string();
    let Some(key) = idempotency_key(request)? else {
        return Ok(HttpResponse::Ok().json(run(shared, caller, account, action, &fresh, wanted).await?));
    };
    let print = serde_json::to_string(&(account, &wanted)).unwrap_or_default();
    let print = blake3::hash(print.as_bytes()).to_hex();
    let begun = shared.state.begin_write(shared.now(), caller.id(), key, print.as_str(), &fresh).await?;
    let command_id = match begun {
        Begun::Do(command_id) => command_id,
        Begun::Done(Written { status, body }) => return Ok(answer(status, body)),
        Begun::Other => {
            return Err(Problem::conflict("key-reused", "this idempotency-key was used for another write"));
        }
    };
    let outcome = run(shared, caller, account, action, &command_id, wanted).await;
    // What may still come to be otherwise is not kept.
    if outcome.as_ref().err().is_some_and(|problem| problem.status >= 500) {
        return Err(outcome.err().unwrap_or_else(|| Problem::unavailable("the command")));
    }
    if outcome.as_ref().err().is_some_and(|problem| problem.code == "duplicate") {
        // Another request with the same key was a moment earlier: its answer is about to be kept.
        for _ in 0..20 {
            let begun = shared.state.begin_write(shared.now(), caller.id(), key, print.as_str(), &command_id);
            if let Begun::Done(Written { status, body }) = begun.await? {
                return Ok(answer(status, body));
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        return outcome.map(|done| HttpResponse::Ok().json(done));
    }
    let written = match outcome {
        Ok(done) => Written { status: 200, body: serde_json::to_string(&done).unwrap_or_default() },
        Err(problem) => {
            Written { status: problem.status, body: serde_json::to_string(&problem).unwrap_or_default() }
        }
    };
    shared.state.end_write(caller.id(), key, &written).await?;
    Ok(answer(written.status, written.body))
}

/// The idempotency key of a request, where it has one.
///
/// # Errors
/// When it is empty, too long, or holds other than visible ASCII characters.
pub(crate) fn idempotency_key(request: &HttpRequest) -> Result<Option<&str>, Problem> {
    if !request.headers().contains_key("idempotency-key") {
        return Ok(None);
    }
    let fits = |key: &&str| (1..=100).contains(&key.len()) && key.bytes().all(|byte| byte.is_ascii_graphic());
    let key = header(request, "idempotency-key").filter(fits);
    key.map(Some).ok_or_else(|| Problem::field("idempotency-key", "takes 1 to 100 visible ASCII characters"))
}

async fn run(
    shared: &Context,
    caller: &Caller,
    account: &str,
    action: &str,
    command_id: &str,
    wanted: WireCommand,
) -> Result<Done, Problem> {
    let mut detail = json!({ "command_id": command_id, "command": wanted });
    let sent = shared.commander.send(shared.now(), account, command_id, wanted).await;
    let ids = |orders: Vec<OrderId>| orders.into_iter().map(|id| id.as_u64().to_string()).collect();
    let sent = sent.map(|orders| Done { command_id: command_id.to_owned(), order_ids: ids(orders) });
    let outcome = match &sent {
        Ok(done) => {
            detail["order_ids"] = json!(done.order_ids);
            "done"
        }
        Err(problem) => &problem.detail,
    };
    audit_command(shared, caller, action, account, outcome, Some(&detail.to_string())).await;
    sent
}

fn answer(status: u16, body: String) -> HttpResponse {
    let status = actix_web::http::StatusCode::from_u16(status).unwrap_or_default();
    let kind = if status.is_success() { "application/json" } else { "application/problem+json" };
    HttpResponse::build(status).content_type(kind).body(body)
}
