//! The OpenAPI document, made of the handlers' descriptions.

use utoipa::PartialSchema;
use utoipa::openapi::path::Operation;
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::openapi::{
    ComponentsBuilder, ContentBuilder, HeaderBuilder, InfoBuilder, LicenseBuilder, OpenApi, OpenApiBuilder,
    PathItem, Ref, RefOr, ResponseBuilder,
};

use crate::problem::{FieldProblem, Problem};

/// What stands in the document beside the routes.
pub(crate) fn base() -> OpenApi {
    let info = InfoBuilder::new()
        .title("TradeFlow")
        .version(env!("CARGO_PKG_VERSION"))
        .description(Some(
            "Errors are `application/problem+json` (RFC 9457). Prices, quantities and money are decimals as text, times UTC in \
             RFC 3339. The role that a route takes stands at its security requirement; an API key must have the scope that \
             goes with it (viewer: read, trader: trade, manager: manage, administrator: admin).",
        ))
        .license(Some(LicenseBuilder::new().name("Apache-2.0").identifier(Some("Apache-2.0")).build()));
    let bearer = HttpBuilder::new()
        .scheme(HttpAuthScheme::Bearer)
        .description(Some("The access token of a log-in, or an API key."));
    let problem = ResponseBuilder::new()
        .description("Why it was not done")
        .header(
            "retry-after",
            HeaderBuilder::new().description(Some("After how many seconds another try makes sense")).build(),
        )
        .content(
            "application/problem+json",
            ContentBuilder::new().schema(Some(Ref::from_schema_name("Problem"))).build(),
        );
    let components = ComponentsBuilder::new()
        .schema("Problem", Problem::schema())
        .schema("FieldProblem", FieldProblem::schema())
        .security_scheme("bearer", SecurityScheme::Http(bearer.build()))
        .response("Problem", problem.build());
    OpenApiBuilder::new().info(info.build()).components(Some(components.build())).build()
}

/// Adds what all operations have in common: their errors.
pub(crate) fn complete(mut document: OpenApi) -> OpenApi {
    for item in document.paths.paths.values_mut() {
        for operation in operations(item) {
            let error = RefOr::Ref(Ref::from_response_name("Problem"));
            operation.responses.responses.insert("default".to_owned(), error);
        }
    }
    document
}

fn operations(item: &mut PathItem) -> impl Iterator<Item = &mut Operation> {
    [&mut item.get, &mut item.put, &mut item.post, &mut item.delete, &mut item.patch].into_iter().flatten()
}
