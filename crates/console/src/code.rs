//! Snippets: one request in the languages that people call from. They name the key's variable and never hold a key.

use serde_json::Value;

/// How a request is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    Run,
    RunSync,
    Stream,
}

impl Mode {
    pub(crate) const ALL: [Self; 3] = [Self::RunSync, Self::Run, Self::Stream];

    pub(crate) fn of(word: &str) -> Self {
        Self::ALL.into_iter().find(|mode| mode.word() == word).unwrap_or(Self::RunSync)
    }

    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Run => "run",
            Self::RunSync => "runsync",
            Self::Stream => "stream",
        }
    }

    pub(crate) fn help(self) -> &'static str {
        match self {
            Self::RunSync => "wait for the result",
            Self::Run => "queue it, ask for the result later",
            Self::Stream => "show parts as they come",
        }
    }
}

/// One language.
pub(crate) struct Snippet {
    pub(crate) id: &'static str,
    pub(crate) name: &'static str,
    pub(crate) code: String,
}

/// The request `{"input": input}` to the endpoint `name` of the server at `url`.
pub(crate) fn snippets(url: &str, name: &str, mode: Mode, input: &str, open: bool) -> Vec<Snippet> {
    let value: Value = serde_json::from_str(input).unwrap_or_default();
    let body = format!("{{\"input\": {}}}", input.trim());
    vec![
        Snippet { id: "curl", name: "curl", code: curl(url, name, mode, &body, open) },
        Snippet { id: "py", name: "Python", code: python(url, name, mode, &value) },
        Snippet { id: "js", name: "JavaScript", code: javascript(url, name, mode, &body, open) },
        Snippet { id: "cli", name: "runyard", code: cli(name, mode, input) },
    ]
}

/// A text for a shell.
pub(crate) fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "'\\''"))
}

/// A call of the API that reads something.
pub(crate) fn get(url: &str, path: &str, open: bool) -> String {
    let key = if open { "" } else { " -H \"Authorization: Bearer $RUNYARD_API_KEY\"" };
    format!("curl -s{key} {}", quoted(&format!("{url}{path}")))
}

fn curl(url: &str, name: &str, mode: Mode, body: &str, open: bool) -> String {
    let key = if open { "" } else { "  -H \"Authorization: Bearer $RUNYARD_API_KEY\" \\\n" };
    let get_key = if open { "" } else { " -H \"Authorization: Bearer $RUNYARD_API_KEY\"" };
    let submit = if mode == Mode::RunSync { "runsync" } else { "run" };
    let post = format!(
        "curl -s {url}/v2/{name}/{submit} \\\n{key}  -H 'Content-Type: application/json' \\\n  -d {}",
        quoted(body)
    );
    match mode {
        Mode::RunSync => post,
        Mode::Run => {
            format!("{post}\n\n# then, with the id of the answer\ncurl -s{get_key} {url}/v2/{name}/status/ID")
        }
        Mode::Stream => format!(
            "{post}\n\n# then, until the status is an end\ncurl -s{get_key} {url}/v2/{name}/stream/ID"
        ),
    }
}

fn python(url: &str, name: &str, mode: Mode, input: &Value) -> String {
    let call = match mode {
        Mode::RunSync => "print(endpoint.run_sync(request))".to_owned(),
        Mode::Run => "job = endpoint.run(request)\nprint(job.output())  # waits for the end".to_owned(),
        Mode::Stream => "for part in endpoint.run(request).stream():\n    print(part)".to_owned(),
    };
    format!(
        "import os, runpod\n\nrunpod.endpoint_url_base = \"{url}/v2\"\n\
         runpod.api_key = os.environ.get(\"RUNYARD_API_KEY\", \"none\")\nendpoint = runpod.Endpoint(\"{name}\")\n\n\
         request = {{\"input\": {}}}\n{call}",
        literal(input)
    )
}

/// A value as Python writes it.
fn literal(value: &Value) -> String {
    match value {
        Value::Null => "None".to_owned(),
        Value::Bool(true) => "True".to_owned(),
        Value::Bool(false) => "False".to_owned(),
        Value::Array(items) => format!("[{}]", items.iter().map(literal).collect::<Vec<_>>().join(", ")),
        Value::Object(fields) => {
            let one = |(name, value): (&String, &Value)| {
                format!("{}: {}", Value::from(name.as_str()), literal(value))
            };
            format!("{{{}}}", fields.iter().map(one).collect::<Vec<_>>().join(", "))
        }
        // Strings and numbers of JSON are Python's too.
        other => other.to_string(),
    }
}

fn javascript(url: &str, name: &str, mode: Mode, body: &str, open: bool) -> String {
    let submit = if mode == Mode::RunSync { "runsync" } else { "run" };
    let key = if open { "" } else { "    Authorization: `Bearer ${process.env.RUNYARD_API_KEY}`,\n" };
    let rest = match mode {
        Mode::RunSync => "console.log(await answer.json());".to_owned(),
        Mode::Run => {
            format!("const {{ id }} = await answer.json();\n// then: GET {url}/v2/{name}/status/${{id}}")
        }
        Mode::Stream => format!(
            "const {{ id }} = await answer.json();\n// then, until it ends: GET {url}/v2/{name}/stream/${{id}}"
        ),
    };
    format!(
        "const answer = await fetch(\"{url}/v2/{name}/{submit}\", {{\n  method: \"POST\",\n  headers: {{\n{key}    \
         \"Content-Type\": \"application/json\",\n  }},\n  body: JSON.stringify({body}),\n}});\n{rest}"
    )
}

fn cli(name: &str, mode: Mode, input: &str) -> String {
    let flag = match mode {
        Mode::RunSync => "",
        Mode::Run => " --async",
        Mode::Stream => " --stream",
    };
    format!("runyard run {name} -d {}{flag}", quoted(input.trim()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn snippets_hold_the_request_and_no_key() {
        let input = r#"{"prompt": "it's <b>", "ok": true, "none": null}"#;
        let all = snippets("http://h:1", "llm", Mode::RunSync, input, false);
        assert_eq!(all.len(), 4);
        assert!(all[0].code.contains(r"it'\''s <b>"), "{}", all[0].code);
        assert!(
            all[1].code.contains(r#""none": None"#) && all[1].code.contains("\"ok\": True"),
            "{}",
            all[1].code
        );
        assert!(all.iter().all(|snippet| !snippet.code.contains("ry_")));
        let open = snippets("http://h:1", "llm", Mode::Stream, "{}", true);
        assert!(!open[0].code.contains("Authorization"), "{}", open[0].code);
        assert!(open[0].code.contains("/stream/ID"));
        let read = get("http://h:1", "/api/v1/logs?q=it%27s&limit=3", false);
        assert_eq!(
            read,
            "curl -s -H \"Authorization: Bearer $RUNYARD_API_KEY\" 'http://h:1/api/v1/logs?q=it%27s&limit=3'"
        );
    }
}
