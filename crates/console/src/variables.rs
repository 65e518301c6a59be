//! Variables as rows of a form: a name, a value, and whether it is secure.

use serde_json::{Map, Value, json};

use crate::forms::Form;

/// As many empty rows are there to write into.
const FREE: usize = 3;

/// The most rows.
const MOST: usize = 200;

/// A row.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Row {
    pub(crate) name: String,
    pub(crate) value: String,
    pub(crate) secure: bool,
}

/// The rows of a form that say something.
pub(crate) fn rows(form: &Form) -> Vec<Row> {
    let (values, kinds) = (form.column("env_value"), form.column("env_kind"));
    let row = |(at, name): (usize, &str)| Row {
        name: name.trim().to_owned(),
        value: values.get(at).copied().unwrap_or_default().to_owned(),
        secure: kinds.get(at) == Some(&"secure"),
    };
    form.column("env_name")
        .into_iter()
        .enumerate()
        .map(row)
        .filter(|row| !row.name.is_empty() || !row.value.is_empty())
        .take(MOST)
        .collect()
}

/// The rows to show: those of a form that came back without the values of secure ones, and some to write into.
pub(crate) fn shown(form: Option<&Form>) -> Vec<Row> {
    let mut rows = form.map(rows).unwrap_or_default();
    rows.iter_mut().filter(|row| row.secure).for_each(|row| row.value.clear());
    let more = if form.and_then(|form| form.get("do")) == Some("rows") { 2 * FREE } else { FREE };
    rows.resize(rows.len() + more, Row::default());
    rows
}

/// `env` and `secretEnv`.
type Kinds = (Map<String, Value>, Map<String, Value>);

/// Both kinds as a deploy takes them.
pub(crate) fn split(rows: &[Row]) -> Result<Kinds, String> {
    let (mut plain, mut secure) = (Map::new(), Map::new());
    for Row { name, value, secure: is_secure } in rows {
        if name.is_empty() {
            return Err("a variable has a value and no name".to_owned());
        }
        if plain.contains_key(name) || secure.contains_key(name) {
            return Err(format!("the variable {name} is there twice"));
        }
        if *is_secure && value.is_empty() {
            return Err(format!("the secure variable {name} has no value"));
        }
        let kind = if *is_secure { &mut secure } else { &mut plain };
        kind.insert(name.clone(), json!(value));
    }
    Ok((plain, secure))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_keep_their_kind() {
        let form = Form::parse(
            b"env_name=A&env_value=1&env_kind=plain&env_name=&env_value=&env_kind=plain&env_name=B&env_value=s&env_kind=secure",
        );
        let found = rows(&form);
        let (plain, secure) = split(&found).expect("two");
        assert_eq!((json!(plain), json!(secure)), (json!({"A": "1"}), json!({"B": "s"})));
        let back = shown(Some(&form));
        assert_eq!((back[1].name.as_str(), back[1].value.as_str()), ("B", ""), "no page has the value again");
        assert_eq!(back.len(), 2 + FREE);
    }

    #[test]
    fn what_is_half_is_refused() {
        for (form, why) in [
            ("env_name=&env_value=x&env_kind=plain", "no name"),
            ("env_name=A&env_value=&env_kind=secure", "has no value"),
            ("env_name=A&env_value=1&env_kind=plain&env_name=A&env_value=2&env_kind=plain", "twice"),
        ] {
            assert!(split(&rows(&Form::parse(form.as_bytes()))).expect_err(form).contains(why), "{form}");
        }
    }
}
