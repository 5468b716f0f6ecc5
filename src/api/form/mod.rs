//! A body's JSON, read into a route's form by a reader that knows where it is.
//!
//! A derived error quotes what it found, which may be a secret, and does not say in which field. So the
//! body becomes a tree first, and the form is filled from the tree by a deserializer of our own: what is
//! wrong is named by its path and by what it must be, never by what it was. A key that is given twice is
//! refused, since two readers could take two different values for it; keys nobody asks for do not matter.
//!
//! A body may hold a password, so the tree is wiped: a text that a form asks for moves into it, as a
//! [`crate::secret::Secret`] where it is one, and every other is overwritten before it is freed.

mod node;

use std::cell::Cell;
use std::fmt;

use serde::de::{self, DeserializeOwned, DeserializeSeed as _, Expected, Unexpected};

use self::node::Node;
use crate::json::Repeated;

/// Longest path that is shown; keys come from the client.
const MAX_PATH_CHARS: usize = 100;

/// Why a body is no form.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Flaw {
    /// It is not a JSON object at all.
    NotAnObject,
    Field(Wrong),
}

/// What is wrong with which field.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Wrong {
    /// From the inside out.
    path: Vec<Step>,
    is: &'static str,
}

#[derive(Debug, PartialEq, Eq)]
enum Step {
    Key(String),
    Index(usize),
}

/// Fills a form.
pub(super) fn read<T: DeserializeOwned>(body: &[u8]) -> Result<T, Flaw> {
    T::deserialize(tree(body)?).map_err(Flaw::Field)
}

/// Reads what all forms are filled from.
fn tree(body: &[u8]) -> Result<Node, Flaw> {
    // A derived type would take an array for an object; clients send objects only.
    if !body.trim_ascii_start().starts_with(b"{") {
        return Err(Flaw::NotAnObject);
    }
    let repeated = Cell::new(None);
    let mut json = serde_json::Deserializer::from_slice(body);
    let tree = Repeated::IsNoted(&repeated)
        .deserialize(&mut json)
        .map(Node)
        .and_then(|tree| json.end().map(|()| tree));
    match (tree, repeated.take()) {
        (_, Some(key)) => Err(Flaw::Field(Wrong::new("is given more than once").under(Step::Key(key)))),
        (Err(_), None) => Err(Flaw::NotAnObject),
        (Ok(tree), None) => Ok(tree),
    }
}

impl fmt::Display for Wrong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut path = String::new();
        for step in self.path.iter().rev() {
            match step {
                Step::Key(key) if path.is_empty() => path.push_str(key),
                Step::Key(key) => path.push_str(&format!(".{key}")),
                Step::Index(index) => path.push_str(&format!("[{index}]")),
            }
        }
        if let Some((end, _)) = path.char_indices().nth(MAX_PATH_CHARS) {
            path.truncate(end);
            path.push('…');
        }
        write!(f, "{path:?} {}", self.is)
    }
}

impl Wrong {
    fn new(is: &'static str) -> Self {
        Self { path: Vec::new(), is }
    }

    fn under(mut self, step: Step) -> Self {
        self.path.push(step);
        self
    }
}

impl std::error::Error for Wrong {}

impl de::Error for Wrong {
    /// The text is dropped: it may quote the value.
    fn custom<T: fmt::Display>(_: T) -> Self {
        Self::new("is not valid")
    }

    fn invalid_type(_: Unexpected<'_>, _: &dyn Expected) -> Self {
        Self::new("has the wrong type")
    }

    /// What has the right type and does not fit: a number out of range.
    fn invalid_value(_: Unexpected<'_>, _: &dyn Expected) -> Self {
        Self::new("is out of range")
    }

    fn unknown_variant(_: &str, _: &'static [&'static str]) -> Self {
        Self::new("is none of the known values")
    }

    fn missing_field(field: &'static str) -> Self {
        Self::new("is missing").under(Step::Key(field.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde::Deserialize;
    use serde_json::Value;

    use super::*;

    #[derive(Debug, Deserialize, PartialEq)]
    struct Form {
        name: String,
        ttl: Option<i64>,
        small: Option<u8>,
        share: Option<f64>,
        is_on: Option<bool>,
        tags: Option<Vec<String>>,
        values: Option<BTreeMap<String, String>>,
        inner: Option<Vec<Inner>>,
    }

    #[derive(Debug, Deserialize, PartialEq)]
    struct Inner {
        role: String,
        any: Option<Value>,
    }

    fn flaw(body: &str) -> String {
        match read::<Form>(body.as_bytes()) {
            Ok(form) => format!("{form:?}"),
            Err(Flaw::NotAnObject) => "not an object".to_owned(),
            Err(Flaw::Field(wrong)) => wrong.to_string(),
        }
    }

    #[test]
    fn a_form_is_filled_and_other_keys_do_not_matter() {
        let body = r#" {"name":"\u00e9","ttl":-5,"small":255,"share":2,"is_on":false,"tags":["a"],"more":{"x":[1]},
            "values":{"K":"v"},"inner":[{"role":"r","any":{"n":1.5,"l":[null,true]}}]} "#;
        let form: Form = read(body.as_bytes()).unwrap();
        assert_eq!(
            (form.name.as_str(), form.ttl, form.small, form.share),
            ("é", Some(-5), Some(255), Some(2.0))
        );
        assert_eq!(form.inner.unwrap()[0].any, Some(serde_json::json!({"n": 1.5, "l": [null, true]})));
        assert!(read::<Form>(br#"{"name":"x","ttl":null,"tags":null}"#).is_ok());
    }

    #[test]
    fn what_is_wrong_is_named_and_not_quoted() {
        for (body, expected) in [
            (r#"{}"#, r#""name" is missing"#),
            (r#"{"name":5}"#, r#""name" must be a string"#),
            (r#"{"name":null}"#, r#""name" must be a string"#),
            (r#"{"name":"x","ttl":"hunter2"}"#, r#""ttl" must be a whole number"#),
            (r#"{"name":"x","ttl":1.0}"#, r#""ttl" must be a whole number"#),
            (r#"{"name":"x","ttl":99999999999999999999}"#, r#""ttl" must be a whole number"#),
            (r#"{"name":"x","ttl":18446744073709551615}"#, r#""ttl" is out of range"#),
            (r#"{"name":"x","small":-1}"#, r#""small" is out of range"#),
            (r#"{"name":"x","share":"1"}"#, r#""share" must be a number"#),
            (r#"{"name":"x","is_on":1}"#, r#""is_on" must be true or false"#),
            (r#"{"name":"x","tags":"a"}"#, r#""tags" must be a list"#),
            (r#"{"name":"x","tags":["a",["hunter2"]]}"#, r#""tags[1]" must be a string"#),
            (r#"{"name":"x","values":[]}"#, r#""values" must be an object"#),
            (r#"{"name":"x","values":{"KEY":{"a":"hunter2"}}}"#, r#""values.KEY" must be a string"#),
            (r#"{"name":"x","inner":[{}]}"#, r#""inner[0].role" is missing"#),
            (r#"{"name":"x","name":"y"}"#, r#""name" is given more than once"#),
            (r#"{"name":"x","other":[{"a\n":1,"a\n":2}]}"#, r#""a\n" is given more than once"#),
            ("{", "not an object"),
            ("{} x", "not an object"),
            ("[]", "not an object"),
            ("null", "not an object"),
            ("", "not an object"),
        ] {
            assert_eq!(flaw(body), expected, "{body}");
        }
    }

    #[test]
    fn a_path_has_an_end_and_a_tree_a_bottom() {
        let long = flaw(&format!(r#"{{"name":"x","values":{{"{}":1}}}}"#, "é".repeat(500)));
        assert_eq!(long.chars().count(), MAX_PATH_CHARS + r#""…" must be a string"#.chars().count());
        assert_eq!(flaw(&format!(r#"{{"name":{}"#, "[".repeat(100_000))), "not an object");
    }
}
