//! The flags about what jobs carry, and who may read it.

use clap::Args;
use runyard_domain::Origin;
use runyard_project::Bytes;
use serde_json::{Map, Value, json};

/// The flags.
#[derive(Debug, Default, Args)]
#[command(next_help_heading = "Data")]
pub struct PayloadArgs {
    /// The largest input of a job: 64KB, 5MB; 0 leaves it to the server
    #[arg(long, value_name = "SIZE", value_parser = bytes)]
    max_input: Option<u64>,
    /// The largest output of a job, and the largest streamed value; 0 leaves it to the server
    #[arg(long, value_name = "SIZE", value_parser = bytes)]
    max_output: Option<u64>,
    /// Pages of this origin may read answers: https://app.example, '*' for any, 'none'; may be repeated
    #[arg(long, value_name = "ORIGIN", value_parser = origin)]
    cors: Vec<Pages>,
}

/// What one `--cors` says.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Pages {
    Nobody,
    Of(Origin),
}

impl PayloadArgs {
    /// What was given, as the API takes it.
    pub fn given(&self) -> Map<String, Value> {
        let origins = self.cors.iter().filter_map(|pages| match pages {
            Pages::Nobody => None,
            Pages::Of(origin) => Some(json!(origin)),
        });
        let given = [
            ("input_limit_bytes", self.max_input.map(Value::from)),
            ("output_limit_bytes", self.max_output.map(Value::from)),
            ("cors", (!self.cors.is_empty()).then(|| origins.collect())),
        ];
        given.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))).collect()
    }
}

fn bytes(text: &str) -> Result<u64, String> {
    Bytes::parse(text)
        .map(|size| size.0)
        .ok_or_else(|| format!("'{text}' is no size: write 64KB, 10MB or 1GB"))
}

fn origin(text: &str) -> Result<Pages, String> {
    if text == "none" { Ok(Pages::Nobody) } else { text.parse().map(Pages::Of) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_and_origins_are_sent_as_the_api_has_them() {
        let args = PayloadArgs {
            max_input: bytes("64KB").ok(),
            max_output: None,
            cors: vec![origin("https://App.example/").expect("an origin")],
        };
        let expected = json!({"input_limit_bytes": 65_536, "cors": ["https://app.example"]});
        assert_eq!(Value::Object(args.given()), expected);
        let nobody = PayloadArgs { cors: vec![origin("none").expect("nobody")], ..PayloadArgs::default() };
        assert_eq!(Value::Object(nobody.given()), json!({"cors": []}));
        assert!(origin("example").is_err() && bytes("1XB").is_err());
    }
}
