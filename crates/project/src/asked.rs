//! What a file asks for in the words of the API: the body of a deploy. The command line sends it, and a server that read
//! the file of a commit does the same with it.

use serde_json::{Map, Value, json};

use crate::wanted::{Source, Test, Wanted};

/// What is built where nothing else is said.
const DOCKERFILE: &str = "Dockerfile";

impl Wanted {
    /// The Dockerfile that is built, where one is. `has_dockerfile`: whether the folder has one by that name.
    pub fn dockerfile(&self, has_dockerfile: bool) -> Option<&str> {
        match &self.source {
            Source::Dockerfile { file, .. } => Some(file.as_deref().unwrap_or(DOCKERFILE)),
            Source::Folder if has_dockerfile => Some(DOCKERFILE),
            _ => None,
        }
    }

    /// The release that is asked for, made of `bundle`, where the folder's files are known by that name.
    pub fn release(&self, has_dockerfile: bool, bundle: Option<&str>) -> Map<String, Value> {
        let handler = match &self.source {
            Source::Handler(file) => Some(file.trim_start_matches("./").to_owned()),
            _ => None,
        };
        let mut release = Map::new();
        let mut put = |name: &str, value: Value| {
            if !value.is_null() {
                release.insert(name.to_owned(), value);
            }
        };
        put("bundle", json!(bundle));
        put("handler", json!(handler));
        put("container", self.container(has_dockerfile));
        put("env", json!(self.env));
        put("settings", json!(self.settings));
        put("cases", self.tests.iter().map(case).collect());
        if !self.python.is_empty() {
            put("python", json!(self.python));
        }
        release
    }

    /// How its image is made, where workers are containers.
    fn container(&self, has_dockerfile: bool) -> Value {
        let mut container = match (&self.source, self.dockerfile(has_dockerfile)) {
            (Source::Image { name, platform }, _) => json!({"image": name, "platform": platform}),
            (Source::Dockerfile { args, target, platform, .. }, Some(file)) => {
                json!({"dockerfile": file, "args": args, "target": target, "platform": platform})
            }
            (_, Some(file)) => json!({"dockerfile": file}),
            (_, None) => return Value::Null,
        };
        container["entrypoint"] = json!(self.entrypoint);
        container["command"] = json!(self.command);
        if let Value::Object(fields) = &mut container {
            fields.retain(|_, value| !value.is_null());
        }
        container
    }
}

fn case(test: &Test) -> Value {
    let Test { name, input, timeout_ms, expected } = test;
    json!({"name": name, "input": input, "timeoutMs": timeout_ms, "failure": expected.failure, "output": expected.output})
}
