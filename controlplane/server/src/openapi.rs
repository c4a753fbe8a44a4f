//! The OpenAPI document, made from the list of routes and the very types that are parsed.

use std::collections::BTreeMap;

use controlplane_api::wire::{Item, Page, RoleOfToken};
use utoipa::ToSchema;
use utoipa::openapi::path::{OperationBuilder, Parameter, ParameterBuilder, ParameterIn};
use utoipa::openapi::request_body::RequestBodyBuilder;
use utoipa::openapi::response::ResponseBuilder;
use utoipa::openapi::schema::{ArrayBuilder, ObjectBuilder, Schema, Type};
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityRequirement, SecurityScheme};
use utoipa::openapi::{
    ComponentsBuilder, Content, HttpMethod, InfoBuilder, OpenApi, OpenApiBuilder, PathItem,
    PathsBuilder, Ref, RefOr, Required,
};

use crate::route::{Needs, Route, Verb};

/// The schemas that the document refers to.
#[derive(Default)]
pub(crate) struct Doc {
    schemas: BTreeMap<String, RefOr<Schema>>,
}

impl Doc {
    /// Adds a type and all that it refers to; answers the reference.
    pub(crate) fn component<T: ToSchema>(&mut self) -> RefOr<Schema> {
        let mut below = Vec::new();
        T::schemas(&mut below);
        self.schemas.extend(below);
        let name = T::name().into_owned();
        self.schemas.insert(name.clone(), T::schema());
        Ref::from_schema_name(name).into()
    }
}

/// What can be said of a body or an answer.
pub(crate) trait Described {
    fn describe(doc: &mut Doc) -> RefOr<Schema>;
}

/// Types with a name of their own.
macro_rules! described {
    ($($name:ty),* $(,)?) => {
        $(impl Described for $name {
            fn describe(doc: &mut Doc) -> RefOr<Schema> {
                doc.component::<$name>()
            }
        })*
    };
}

mod named {
    use controlplane_api::objects::{Gateway, Group, Identity, PolicyTest, Quota, Role, Tenant};
    use controlplane_api::wire::*;
    use controlplane_api::{Diff, Problem};
    use utoipa::openapi::RefOr;
    use utoipa::openapi::schema::Schema;

    use super::{Described, Doc};
    use crate::revisions::RevisionContent;

    described!(
        AdminEntry,
        Applied,
        Apply,
        Appliance,
        Approve,
        Call,
        CallsPage,
        Diff,
        Discovered,
        Drift,
        DropsExplained,
        DropsOrdered,
        DropsPage,
        Enrolment,
        EnrolmentRequest,
        Explain,
        Explained,
        Gateway,
        Group,
        Health,
        Identity,
        IssuedKey,
        IssuedToken,
        Key,
        KeyRequest,
        Kill,
        KillRequest,
        Me,
        PacketsPage,
        PinRequest,
        PolicyTest,
        Problem,
        PutPolicy,
        Quota,
        ReleaseRequest,
        Revision,
        RevisionContent,
        Role,
        Rollback,
        Secret,
        SecretValue,
        ServerState,
        Status,
        Tenant,
        TestReport,
        TestRequest,
        Token,
        TokenRequest,
        Tool,
        controlplane_api::objects::Policy,
        controlplane_api::objects::Server,
    );
}

impl Described for serde_json::Value {
    fn describe(_: &mut Doc) -> RefOr<Schema> {
        ObjectBuilder::new().into()
    }
}

impl<T: Described> Described for Vec<T> {
    fn describe(doc: &mut Doc) -> RefOr<Schema> {
        ArrayBuilder::new().items(T::describe(doc)).into()
    }
}

impl<T: Described> Described for Page<T> {
    fn describe(doc: &mut Doc) -> RefOr<Schema> {
        let items = ArrayBuilder::new().items(T::describe(doc));
        let next = ObjectBuilder::new()
            .schema_type(Type::String)
            .description(Some("Give it as `after` for the next page; absent on the last."));
        ObjectBuilder::new()
            .property("items", items)
            .required("items")
            .property("next", next)
            .into()
    }
}

impl<T: Described> Described for Item<T> {
    fn describe(doc: &mut Doc) -> RefOr<Schema> {
        let text = ObjectBuilder::new().schema_type(Type::String);
        let number = ObjectBuilder::new().schema_type(Type::Integer);
        let item = ObjectBuilder::new().property("name", text).property("revision", number);
        let item = item.property("spec", T::describe(doc));
        item.required("name").required("revision").required("spec").into()
    }
}

/// The document over all routes.
pub(crate) fn document(routes: &[Route]) -> OpenApi {
    let mut doc = Doc::default();
    let problem = doc.component::<controlplane_api::Problem>();
    let mut paths = PathsBuilder::new();
    for route in routes {
        let operation = operation(route, &mut doc, &problem);
        let method = match route.verb {
            Verb::Get => HttpMethod::Get,
            Verb::Put => HttpMethod::Put,
            Verb::Post => HttpMethod::Post,
            Verb::Delete => HttpMethod::Delete,
        };
        paths = paths.path(plain_path(route.path), PathItem::new(method, operation));
    }
    let bearer = SecurityScheme::Http(HttpBuilder::new().scheme(HttpAuthScheme::Bearer).build());
    let components = ComponentsBuilder::new()
        .schemas_from_iter(doc.schemas)
        .security_scheme("token", bearer)
        .build();
    let info = InfoBuilder::new()
        .title("Portcullis control plane")
        .version(env!("CARGO_PKG_VERSION"))
        .description(Some("Every change is a revision; every refusal is a Problem."))
        .build();
    OpenApiBuilder::new().info(info).paths(paths).components(Some(components)).build()
}

/// `{*name}` is axum's; OpenAPI writes `{name}`.
pub(crate) fn plain_path(path: &str) -> String {
    path.replace("{*", "{")
}

fn operation(route: &Route, doc: &mut Doc, problem: &RefOr<Schema>) -> OperationBuilder {
    let mut operation = OperationBuilder::new()
        .summary(Some(route.summary))
        .operation_id(Some(operation_id(route)))
        .tag(route.path.split('/').nth(2).unwrap_or_default());
    for parameter in parameters(route) {
        operation = operation.parameter(parameter);
    }
    if let Some(body) = route.body {
        let content = Content::new(Some(body(doc)));
        let body = RequestBodyBuilder::new().content("application/json", content);
        operation = operation.request_body(Some(body.required(Some(Required::True)).build()));
    }
    let status = if route.created { "201" } else { "200" };
    let mut answer = ResponseBuilder::new().description("Done");
    if let Some(describe) = route.answer {
        answer = answer.content("application/json", Content::new(Some(describe(doc))));
    }
    let refused = ResponseBuilder::new()
        .description("Refused: why, where, and what to do")
        .content("application/problem+json", Content::new(Some(problem.clone())));
    operation = operation.response(status, answer).response("default", refused);
    match route.needs {
        Needs::Nobody => operation.securities(Some([SecurityRequirement::default()])),
        Needs::Role(role) => operation
            .description(Some(format!("Needs the role {}.", role_word(role))))
            .securities(Some([SecurityRequirement::new("token", Vec::<String>::new())])),
    }
}

fn operation_id(route: &Route) -> String {
    let plain = |letter: char| if letter.is_ascii_alphanumeric() { letter } else { '_' };
    let path: String = route.path.trim_start_matches("/v1/").chars().map(plain).collect();
    let parts = path.split('_').filter(|part| !part.is_empty());
    let words: Vec<&str> = parts.collect();
    format!("{}_{}", route.verb.word().to_ascii_lowercase(), words.join("_"))
}

fn parameters(route: &Route) -> Vec<Parameter> {
    let text = || ObjectBuilder::new().schema_type(Type::String).build();
    let path = plain_path(route.path);
    let names = path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'));
    let of_path = names.map(|name| {
        let parameter = ParameterBuilder::new().name(name).parameter_in(ParameterIn::Path);
        parameter.required(Required::True).schema(Some(text())).build()
    });
    let of_query = route.query.iter().map(|(name, says)| {
        let parameter = ParameterBuilder::new().name(*name).parameter_in(ParameterIn::Query);
        let parameter = parameter.required(Required::False).description(Some(*says));
        parameter.schema(Some(text())).build()
    });
    of_path.chain(of_query).collect()
}

fn role_word(role: RoleOfToken) -> &'static str {
    match role {
        RoleOfToken::Auditor => "auditor",
        RoleOfToken::Operator => "operator",
        RoleOfToken::Admin => "admin",
    }
}
