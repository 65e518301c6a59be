//! A condition on a field of JSON lines: `prompt_len>1000`, `user.id=7`, `cache!=hit`.

use serde_json::Value;

use crate::filter::{self, Key};

/// The longest condition, in bytes.
const MAX: usize = 1_000;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Operator {
    Is,
    IsNot,
    Above,
    AtLeast,
    Below,
    AtMost,
}

/// Longer ones first: `>=` is not `>` with a `=` in the value.
const OPERATORS: [(&str, Operator); 6] = [
    ("!=", Operator::IsNot),
    (">=", Operator::AtLeast),
    ("<=", Operator::AtMost),
    ("=", Operator::Is),
    (">", Operator::Above),
    ("<", Operator::Below),
];

/// One condition. A line that is no JSON object, or has no such field, does not meet it.
#[derive(Debug, Clone, PartialEq)]
pub struct Condition {
    key: String,
    operator: Operator,
    value: String,
    number: Option<f64>,
}

/// A text that is no condition.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "'{text}' is no condition: write field=value, or !=, >, >=, <, <= with a number; fields of fields as a.b"
)]
pub struct ConditionError {
    /// What it is, at most its beginning.
    pub text: String,
}

impl Condition {
    /// Reads one.
    pub fn parse(text: &str) -> Result<Self, ConditionError> {
        let wrong = || ConditionError { text: text.chars().take(60).collect() };
        let at = text.find(['=', '!', '<', '>']).filter(|_| text.len() <= MAX).ok_or_else(wrong)?;
        let (key, rest) = (text[..at].trim(), &text[at..]);
        let found = OPERATORS.iter().find_map(|(sign, op)| Some((*op, rest.strip_prefix(sign)?.trim())));
        let (operator, value) = found.filter(|_| !key.is_empty()).ok_or_else(wrong)?;
        let number = value.parse::<f64>().ok().filter(|number| number.is_finite());
        if number.is_none() && !matches!(operator, Operator::Is | Operator::IsNot) {
            return Err(wrong());
        }
        Ok(Self { key: key.to_owned(), operator, value: value.to_owned(), number })
    }

    /// Whether a line meets it.
    pub fn is_met_by(&self, line: &str) -> bool {
        let text = line.trim();
        let object = text.starts_with('{').then(|| serde_json::from_str::<Value>(text).ok()).flatten();
        object.as_ref().and_then(|object| self.field(object)).is_some_and(|field| self.holds(field))
    }

    /// The field of this name, or the field of a field.
    fn field<'a>(&self, object: &'a Value) -> Option<&'a Value> {
        object.get(&self.key).or_else(|| self.key.split('.').try_fold(object, |value, key| value.get(key)))
    }

    fn holds(&self, field: &Value) -> bool {
        let number = match field {
            Value::Number(number) => number.as_f64(),
            Value::String(text) => text.parse().ok().filter(|number: &f64| number.is_finite()),
            _ => None,
        };
        if let (Some(has), Some(wanted)) = (number, self.number) {
            let order = has.total_cmp(&wanted);
            return match self.operator {
                Operator::Is => order.is_eq(),
                Operator::IsNot => order.is_ne(),
                Operator::Above => order.is_gt(),
                Operator::AtLeast => order.is_ge(),
                Operator::Below => order.is_lt(),
                Operator::AtMost => order.is_le(),
            };
        }
        let same = match field {
            Value::String(text) => *text == self.value,
            Value::Null => self.value == "null",
            Value::Bool(is) => self.value == if *is { "true" } else { "false" },
            _ => false,
        };
        match self.operator {
            Operator::Is => same,
            Operator::IsNot => !same,
            _ => false,
        }
    }

    /// What a filter must hold where a line may meet it.
    pub(crate) fn keys(&self) -> Vec<Key> {
        // What JSON may write in another way is not asked for.
        let plain = |text: &str| text.bytes().all(|b| b.is_ascii_alphanumeric() || b"_- .:@".contains(&b));
        let names = self.key.split('.').filter(|name| plain(name)).flat_map(filter::text);
        let value = self.operator == Operator::Is && self.number.is_none() && plain(&self.value);
        names.chain(value.then(|| filter::text(&self.value)).into_iter().flatten()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conditions_are_met() {
        let line = r#"{"prompt_len": 1200, "user": {"id": "7"}, "cache": "hit", "a.b": true, "n": null}"#;
        let met = |text: &str| Condition::parse(text).expect(text).is_met_by(line);
        for yes in [
            "prompt_len>1000",
            "prompt_len>=1200",
            "prompt_len<=1200",
            "prompt_len!=3",
            "prompt_len = 1200.0",
            "user.id=7",
            "user.id<8",
            "cache=hit",
            "cache!=miss",
            "a.b=true",
            "n=null",
        ] {
            assert!(met(yes), "{yes}");
        }
        for no in ["prompt_len>1200", "prompt_len<5", "user.name=x", "user.name!=x", "cache>3", "cache=Hit"] {
            assert!(!met(no), "{no}");
        }
        assert!(!Condition::parse("a=b").expect("one").is_met_by("a=b"), "no JSON");
        for bad in ["", "x", "=1", " =1", "a>b", "a>", "a!b", &format!("a={}", "x".repeat(MAX))] {
            assert!(Condition::parse(bad).is_err(), "{bad}");
        }
    }
}
