//! JSON Schemas in short: one function for each kind of value, and objects whose fields may be marked as optional.

use serde_json::{Map, Value, json};

/// Any value.
pub(super) fn any() -> Value {
    json!({})
}

/// A text.
pub(super) fn text() -> Value {
    json!({"type": "string"})
}

/// A text of so many characters at most, and at least one.
pub(super) fn text_to(longest: usize) -> Value {
    json!({"type": "string", "minLength": 1, "maxLength": longest})
}

/// A text of this form.
pub(super) fn form(pattern: &str) -> Value {
    json!({"type": "string", "pattern": pattern})
}

/// One of these words.
pub(super) fn word(words: &[&str]) -> Value {
    json!({"type": "string", "enum": words})
}

/// A whole number.
pub(super) fn whole() -> Value {
    json!({"type": "integer"})
}

/// A whole number within these bounds.
pub(super) fn within(least: i64, most: i64) -> Value {
    json!({"type": "integer", "minimum": least, "maximum": most})
}

/// A whole number that 32 bits hold.
pub(super) fn small() -> Value {
    within(0, i64::from(u32::MAX))
}

/// A number.
pub(super) fn number() -> Value {
    json!({"type": "number"})
}

/// Yes or no.
pub(super) fn flag() -> Value {
    json!({"type": "boolean"})
}

/// A time.
pub(super) fn time() -> Value {
    json!({"type": "integer", "format": "int64", "description": "milliseconds since the Unix epoch"})
}

/// Bytes that are no JSON.
pub(super) fn bytes() -> Value {
    json!({"type": "string", "contentMediaType": "application/octet-stream"})
}

/// A list.
pub(super) fn list(of: Value) -> Value {
    holding("array", "items", of)
}

/// An object with whatever names.
pub(super) fn map(of: Value) -> Value {
    holding("object", "additionalProperties", of)
}

fn holding(kind: &str, name: &str, of: Value) -> Value {
    let mut schema = json!({"type": kind});
    schema[name] = of;
    schema
}

/// An object of the document's `components`.
pub(super) fn named(name: &str) -> Value {
    json!({"$ref": format!("#/components/schemas/{name}")})
}

/// Null, too.
pub(super) fn or_null(mut of: Value) -> Value {
    let Some(kind) = of["type"].as_str().map(str::to_owned) else {
        return json!({"anyOf": [of, {"type": "null"}]});
    };
    of["type"] = json!([kind, "null"]);
    if let Some(words) = of.get_mut("enum").and_then(Value::as_array_mut) {
        words.push(Value::Null);
    }
    of
}

/// One of these.
pub(super) fn either(of: &[Value]) -> Value {
    json!({"anyOf": of})
}

/// An object. Fields whose names end in `?` may be missing.
pub(super) fn object<const N: usize>(fields: [(&str, Value); N]) -> Value {
    let mut properties = Map::new();
    let mut required = Vec::new();
    for (name, schema) in fields {
        let plain = name.trim_end_matches('?');
        if plain == name {
            required.push(name);
        }
        properties.insert(plain.to_owned(), schema);
    }
    let mut object = json!({"type": "object", "properties": properties});
    if !required.is_empty() {
        object["required"] = json!(required);
    }
    object
}

/// An object that comes with a request: what it does not name is refused.
pub(super) fn request<const N: usize>(fields: [(&str, Value); N]) -> Value {
    let mut object = object(fields);
    object["additionalProperties"] = json!(false);
    object
}

/// The object, and a word about it.
pub(super) fn about(mut of: Value, words: &str) -> Value {
    of["description"] = json!(words);
    of
}
