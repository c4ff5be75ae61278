//! Bodies and queries of requests, read so that an error names the field.

use std::pin::Pin;

use actix_web::dev::Payload;
use actix_web::http::header::CONTENT_TYPE;
use actix_web::{FromRequest, HttpRequest, web};
use futures_util::StreamExt;
use serde::de::DeserializeOwned;

use crate::problem::Problem;

/// Largest body, in bytes.
pub const BODY_MAX: usize = 64 << 10;

/// A body of JSON.
#[derive(Debug)]
pub struct Body<T>(pub T);

/// The query of a URL.
#[derive(Debug)]
pub struct Query<T>(pub T);

impl<T: DeserializeOwned + 'static> FromRequest for Body<T> {
    type Error = Problem;
    type Future = Pin<Box<dyn Future<Output = Result<Self, Problem>>>>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        let kind =
            request.headers().get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
        let kind = kind.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
        let is_json = kind == "application/json" || kind.ends_with("+json");
        let mut payload = payload.take();
        Box::pin(async move {
            if !is_json {
                return Err(Problem::not_json());
            }
            Ok(Self(json(&bytes(&mut payload).await?)?))
        })
    }
}

/// A body as it came, of any content type.
#[derive(Debug)]
pub struct Raw(pub web::BytesMut);

impl FromRequest for Raw {
    type Error = Problem;
    type Future = Pin<Box<dyn Future<Output = Result<Self, Problem>>>>;

    fn from_request(_: &HttpRequest, payload: &mut Payload) -> Self::Future {
        let mut payload = payload.take();
        Box::pin(async move { bytes(&mut payload).await.map(Self) })
    }
}

async fn bytes(payload: &mut Payload) -> Result<web::BytesMut, Problem> {
    let mut bytes = web::BytesMut::new();
    while let Some(chunk) = payload.next().await {
        let chunk = chunk.map_err(|error| Problem::malformed(format!("the body ends early: {error}")))?;
        if bytes.len() + chunk.len() > BODY_MAX {
            return Err(Problem::too_large(BODY_MAX));
        }
        bytes.extend_from_slice(&chunk);
    }
    Ok(bytes)
}

fn json<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Problem> {
    // An array would be taken for the fields in their order.
    if bytes.iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b'[') {
        return Err(Problem::field("body", "takes an object"));
    }
    let mut reader = serde_json::Deserializer::from_slice(bytes);
    let value = serde_path_to_error::deserialize(&mut reader).map_err(|error| {
        let path = error.path().to_string();
        let inner = error.into_inner();
        match inner.classify() {
            serde_json::error::Category::Data => Problem::field(
                if path == "." { "body".to_owned() } else { path },
                without_place(&inner.to_string()),
            ),
            _ => Problem::malformed(format!("the body is no JSON: {inner}")),
        }
    })?;
    reader.end().map_err(|error| Problem::malformed(format!("the body is no JSON: {error}")))?;
    Ok(value)
}

/// The field says where it is; line and column of a body in one line do not help.
fn without_place(text: &str) -> String {
    text.rfind(" at line ").map_or(text, |place| &text[..place]).to_owned()
}

impl<T: DeserializeOwned + 'static> FromRequest for Query<T> {
    type Error = Problem;
    type Future = std::future::Ready<Result<Self, Problem>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        let read = web::Query::<T>::from_query(request.query_string());
        std::future::ready(match read {
            Ok(query) => Ok(Self(query.into_inner())),
            Err(error) => Err(Problem::field("query", error.to_string())),
        })
    }
}
