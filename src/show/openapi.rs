//! The table of endpoints as OpenAPI, with schemas made from the types that are read and written.

use schemars::SchemaGenerator;
use schemars::generate::SchemaSettings;
use serde_json::{Map, Value, json};

use super::endpoints::{Content, ENDPOINTS, Endpoint};
use super::http::ProblemDetails;

/// `/api/v1/openapi.json`.
pub(super) fn document() -> Value {
    let settings = SchemaSettings::draft2020_12().with(|settings| {
        settings.definitions_path = "/components/schemas".into();
        settings.meta_schema = None;
    });
    let mut types = settings.into_generator();
    let refusal = types.subschema_for::<ProblemDetails>();
    let mut paths = Map::new();
    for endpoint in ENDPOINTS {
        let mut operation = json!({
            "summary": endpoint.summary,
            "parameters": parameters(endpoint, &mut types),
            "responses": {
                "default": { "description": "why not", "content": { "application/problem+json": { "schema": refusal } } },
            },
        });
        let (code, answer) = match endpoint.answer {
            Content::Nothing => ("204", json!({ "description": "done" })),
            content => ("200", json!({ "description": "done", "content": written(content, &mut types) })),
        };
        operation["responses"][code] = answer;
        if !matches!(endpoint.body, Content::Nothing) {
            operation["requestBody"] = json!({ "required": true, "content": written(endpoint.body, &mut types) });
        }
        match endpoint.role {
            None => operation["security"] = json!([]),
            Some(role) => operation["x-role"] = json!(role),
        }
        let path = paths.entry(endpoint.path.replace("{*", "{")).or_insert_with(|| json!({}));
        path[endpoint.method.to_lowercase()] = operation;
    }
    json!({
        "openapi": "3.1.0",
        "info": { "title": "Palisade", "version": env!("CARGO_PKG_VERSION") },
        "components": {
            "securitySchemes": { "token": { "type": "http", "scheme": "bearer" } },
            "schemas": types.take_definitions(true),
        },
        "security": [{ "token": [] }],
        "paths": paths,
    })
}

fn written(content: Content, types: &mut SchemaGenerator) -> Value {
    match content {
        Content::Nothing => json!({}),
        Content::Json(shape) => json!({ "application/json": { "schema": shape(types) } }),
        Content::Other(kind) => json!({ kind: {} }),
    }
}

/// What stands in the path, and the members of what stands in the query string.
fn parameters(endpoint: &Endpoint, types: &mut SchemaGenerator) -> Vec<Value> {
    let parts = endpoint.path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'));
    let of_path = parts.map(|name| {
        let name = name.trim_start_matches('*');
        json!({ "name": name, "in": "path", "required": true, "schema": { "type": "string", "minLength": 1 } })
    });
    let mut all: Vec<Value> = of_path.collect();
    let Some(shape) = endpoint.query else { return all };
    let reference = shape(types).to_value();
    let name = reference["$ref"].as_str().and_then(|reference| reference.rsplit('/').next()).unwrap_or_default();
    let schema = types.definitions().get(name).cloned().unwrap_or_default();
    for (name, mut member) in schema["properties"].as_object().cloned().unwrap_or_default() {
        // In a query string there is no null: what is not there is left out.
        if let Some(kinds) = member["type"].as_array_mut() {
            kinds.retain(|kind| kind != "null");
        }
        if let Some([one, _]) = member["anyOf"].as_array().map(Vec::as_slice) {
            member = one.clone();
        }
        let required = schema["required"].as_array().is_some_and(|required| required.contains(&json!(name)));
        let description = member.as_object_mut().and_then(|member| member.remove("description")).unwrap_or_default();
        let mut parameter = json!({ "name": name, "in": "query", "required": required, "schema": member });
        if description.is_string() {
            parameter["description"] = description;
        }
        all.push(parameter);
    }
    all
}
