//! The OpenAPI document: it has every call of the routers and no other, asks of keys what the routes ask, names the
//! fields that handlers read, and the server answers as it says.

use std::collections::{BTreeMap, BTreeSet};

use runyard_domain::Access;
use runyard_manage::openapi::{document, operations, setting_names};
use serde_json::{Value, json};

use crate::house::{House, OWN, request};
use crate::table::{MANAGE, OPERATOR, Opens, PROBES};

/// What lists of the routes ask of a key, by method and path.
fn routes() -> BTreeMap<(String, String), Option<Access>> {
    let keyed = MANAGE.into_iter().chain(OPERATOR).filter(|(path, ..)| !path.contains("{*"));
    let keyed = keyed.flat_map(|(path, methods, opens)| {
        let access = match opens {
            Opens::Key(a) | Opens::All(a) | Opens::Any(a) | Opens::OfJob(a) | Opens::OfWorker(a) => Some(a),
            Opens::Nobody => None,
        };
        methods.split(' ').map(move |method| ((method.to_owned(), path.to_owned()), access))
    });
    let open = PROBES.into_iter().chain(["/api/v1/openapi.json"]);
    keyed.chain(open.map(|path| (("GET".to_owned(), path.to_owned()), None))).collect()
}

#[test]
fn every_call_is_in_the_document_and_nothing_else() {
    let described: BTreeMap<(String, String), Option<Access>> =
        operations().into_iter().map(|(_, o)| ((o.method.to_owned(), o.path.to_owned()), o.access)).collect();
    assert_eq!(described, routes(), "a new call gets a row in crates/manage/src/openapi/calls");
    let ids: BTreeSet<&str> = operations().iter().map(|(_, operation)| operation.id).collect();
    assert_eq!(ids.len(), described.len(), "each operation has an id of its own");
}

#[test]
fn bodies_and_settings_are_those_that_are_read() {
    for (_, operation) in operations() {
        let Some((mut described, Some(reads))) = operation.body_fields() else { continue };
        let mut reads: Vec<&str> = reads.to_vec();
        described.sort_unstable();
        reads.sort_unstable();
        assert_eq!(described, reads, "{}", operation.id);
    }
    let (mut described, mut there) = setting_names();
    described.sort_unstable();
    there.sort_unstable();
    assert_eq!(described, there, "a new setting gets a line in crates/manage/src/openapi/settings.rs");
}

/// Whatever a reference names is there.
#[test]
fn every_reference_leads_somewhere() {
    fn walk<'a>(value: &'a Value, found: &mut Vec<&'a str>) {
        match value {
            Value::Object(object) => {
                found.extend(object.get("$ref").and_then(Value::as_str));
                object.values().for_each(|value| walk(value, found));
            }
            Value::Array(list) => list.iter().for_each(|value| walk(value, found)),
            _ => {}
        }
    }
    let document = document(None);
    let mut found = Vec::new();
    walk(&document, &mut found);
    assert!(found.len() > 50);
    for reference in found {
        assert!(document.pointer(&reference[1..]).is_some(), "{reference} leads nowhere");
    }
}

/// What is wrong with a value by a schema of the document; fields that the schema does not name are wrong, too.
fn wrong(document: &Value, schema: &Value, value: &Value, at: &str) -> Option<String> {
    if let Some(reference) = schema["$ref"].as_str() {
        return wrong(document, document.pointer(&reference[1..])?, value, at);
    }
    if let Some(any) = schema["anyOf"].as_array() {
        let wrongs: Vec<String> = any.iter().map_while(|schema| wrong(document, schema, value, at)).collect();
        return (wrongs.len() == any.len()).then(|| wrongs.join(" and "));
    }
    let kinds = match &schema["type"] {
        Value::String(kind) => vec![kind.as_str()],
        kinds => kinds.as_array().into_iter().flatten().filter_map(Value::as_str).collect(),
    };
    let kind = match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(number) if number.is_f64() => "number",
        Value::Number(_) => "integer",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    };
    let fits = kinds.is_empty() || kinds.contains(&kind) || (kind == "integer" && kinds.contains(&"number"));
    let listed = schema["enum"].as_array().is_none_or(|words| words.contains(value));
    if !fits || !listed {
        return Some(format!("{at} is {value}, and not {schema}"));
    }
    match value {
        Value::Array(items) => {
            items.iter().find_map(|item| wrong(document, &schema["items"], item, &format!("{at}[]")))
        }
        Value::Object(fields) => {
            let required = schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str);
            let missing = required.into_iter().find(|name| !fields.contains_key(*name));
            if let Some(missing) = missing {
                return Some(format!("{at}.{missing} is missing"));
            }
            let others = &schema["additionalProperties"];
            fields.iter().find_map(|(name, value)| {
                let place = format!("{at}.{name}");
                match (schema["properties"].get(name), others) {
                    (Some(schema), _) => wrong(document, schema, value, &place),
                    (None, Value::Object(_)) => wrong(document, others, value, &place),
                    (None, _) if schema.get("properties").is_some() => Some(format!("{place} is not named")),
                    _ => None,
                }
            })
        }
        _ => None,
    }
}

#[test]
fn wrong_values_are_found() {
    let document = document(None);
    let problem = json!({"$ref": "#/components/schemas/Problem"});
    let mut value =
        json!({"type": "t", "title": "t", "status": 400, "code": "invalid", "detail": "d", "hint": null});
    assert_eq!(wrong(&document, &problem, &value, "$"), None);
    for (name, bad) in
        [("status", json!("400")), ("code", json!("odd")), ("more", json!(1)), ("hint", json!([]))]
    {
        let before = value.get(name).cloned();
        value[name] = bad;
        assert!(wrong(&document, &problem, &value, "$").is_some(), "{value}");
        match before {
            Some(before) => value[name] = before,
            None => drop(value.as_object_mut().expect("an object").remove(name)),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn answers_are_as_the_document_says() {
    let house = House::new().await;
    let key = house.key(Access::Admin, &[], |_| {}).await.1;
    let document = document(None);
    let call = async |method: &str, path: &str, body: Option<Value>| {
        let mut request = request(method, path, Some(key.as_bytes()));
        if let Some(body) = body {
            *request.body_mut() = axum::body::Body::from(body.to_string());
        }
        let (answer, body) = house.send(request).await;
        (answer.status().as_u16(), body)
    };
    // What the lists and the calls about one thing are to show.
    for (method, path, body) in [
        ("PUT", "/api/v1/secrets/A", json!({"value": "v", "description": "d"})),
        (
            "POST",
            "/api/v1/registries",
            json!({"name": "gh", "server": "ghcr.io", "username": "u", "password": "p"}),
        ),
        ("POST", "/api/v1/volumes", json!({"name": "v", "size": 10, "dataCenter": "LOCAL-1"})),
        ("PUT", "/api/v1/ssh-keys", json!({"keys": ["ssh-ed25519 AAAA me"]})),
        ("POST", "/api/v1/keys", json!({"name": "k", "access": "run", "endpoints": [OWN], "page": {}})),
    ] {
        let (status, answer) = call(method, path, Some(body)).await;
        assert!(status < 300, "{method} {path}: {status} {answer}");
    }
    let volumes = call("GET", "/api/v1/volumes", None).await.1;
    let volumes: Value = serde_json::from_str(&volumes).expect("JSON");
    let volume = volumes["networkVolumes"][0]["id"].as_str().expect("an id").to_owned();
    let mut seen = BTreeMap::new();
    // What removes comes last.
    let mut all = operations();
    all.sort_by_key(|(_, operation)| (operation.method == "DELETE", operation.path.contains("rotate")));
    for (_, operation) in all.into_iter().filter(|(_, operation)| operation.id != "watch") {
        let path = crate::path(&house, operation.path, OWN, &house.job)
            .replace("/volumes/0000000000", &format!("/volumes/{volume}"))
            .replace("registries/none", "registries/gh")
            .replace("cpus/0000000000", "cpus/cpu3c")
            .replace("datacenters/0000000000", "datacenters/LOCAL-1");
        let body = (operation.method != "GET").then(|| json!({}));
        let (status, body) = call(operation.method, &path, body).await;
        let told = &document["paths"][operation.path][operation.method.to_ascii_lowercase()]["responses"];
        let answer = &told[status.to_string()];
        assert!(
            answer.is_object(),
            "{} answered {status}, which is not in the document: {body}",
            operation.id
        );
        let kind = if status < 400 { "application/json" } else { "application/problem+json" };
        if let Some(schema) = answer["content"][kind].get("schema") {
            let Ok(value) = serde_json::from_str::<Value>(&body) else { continue };
            assert_eq!(wrong(&document, schema, &value, "$"), None, "{}: {body}", operation.id);
        }
        seen.insert(operation.id, status);
    }
    let well: Vec<_> = seen.iter().filter(|(_, status)| **status < 300).map(|(id, _)| *id).collect();
    assert!(well.len() > 40, "only these answered well: {well:?}");
}
