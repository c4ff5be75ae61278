//! `GET /ready`: 200 when the cells are up, the bus answers and the node goes on, otherwise 503. Says so in a word, for whoever
//! balances.

use actix_web::HttpResponse;

use crate::server::Source;

pub(crate) async fn get(source: Source) -> HttpResponse {
    let why = match (source.failure(), source.view().ready, source.bus_trouble()) {
        (Some(failure), ..) => failure,
        (None, false, _) => "the cells are not up yet".to_owned(),
        (None, true, Some(trouble)) => trouble,
        (None, true, None) => return HttpResponse::Ok().content_type("text/plain").body("ready\n"),
    };
    HttpResponse::ServiceUnavailable().content_type("text/plain").body(format!("not ready: {why}\n"))
}
