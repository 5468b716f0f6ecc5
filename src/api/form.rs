//! A body's JSON, read into a route's form by a reader that knows where it is.
//!
//! A derived error quotes what it found, which may be a secret, and does not say in which field. So the
//! body becomes a tree first, and the form is filled from the tree by a deserializer of our own: what is
//! wrong is named by its path and by what it must be, never by what it was. A key that is given twice is
//! refused, since two readers could take two different values for it; keys nobody asks for do not matter.
//!
//! A body may hold a password, so the tree is wiped: a text that a form asks for moves into it, as a
//! [`crate::secret::Secret`] where it is one, and every other is overwritten before it is freed.

use std::cell::Cell;
use std::iter::Enumerate;
use std::{fmt, mem, vec};

use serde::de::value::StrDeserializer;
use serde::de::{
    self, DeserializeOwned, DeserializeSeed, Deserializer, Expected, IntoDeserializer as _, MapAccess,
    SeqAccess, Unexpected, Visitor,
};
use serde::forward_to_deserialize_any;
use serde_json::{Value, map};
use zeroize::Zeroize as _;

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

/// A value a form is filled from.
///
/// A reader is made for each type that a form has, so what they all do stands in functions that know no
/// type: written out in each reader, it was a tenth of the API's code.
struct Node(Value);

impl Drop for Node {
    fn drop(&mut self) {
        wipe(&mut self.0);
    }
}

/// Overwrites every text in a tree.
fn wipe(value: &mut Value) {
    match value {
        Value::String(text) => text.zeroize(),
        Value::Array(items) => items.iter_mut().for_each(wipe),
        Value::Object(object) => object.values_mut().for_each(wipe),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

impl Node {
    #[inline(never)]
    fn whole(self) -> Result<Whole, Wrong> {
        let positive = self.0.as_u64().map(Whole::Positive);
        let whole = positive.or_else(|| self.0.as_i64().map(Whole::Negative));
        whole.ok_or_else(|| Wrong::new("must be a whole number"))
    }

    #[inline(never)]
    fn number(self) -> Result<f64, Wrong> {
        self.0.as_f64().ok_or_else(|| Wrong::new("must be a number"))
    }

    #[inline(never)]
    fn truth(self) -> Result<bool, Wrong> {
        self.0.as_bool().ok_or_else(|| Wrong::new("must be true or false"))
    }

    #[inline(never)]
    fn text(mut self) -> Result<String, Wrong> {
        let Value::String(text) = &mut self.0 else { return Err(Wrong::new("must be a string")) };
        Ok(mem::take(text))
    }

    #[inline(never)]
    fn items(mut self) -> Result<Items, Wrong> {
        let Value::Array(items) = &mut self.0 else { return Err(Wrong::new("must be a list")) };
        Ok(Items(mem::take(items).into_iter().enumerate()))
    }

    #[inline(never)]
    fn entries(mut self) -> Result<Entries, Wrong> {
        let Value::Object(object) = &mut self.0 else { return Err(Wrong::new("must be an object")) };
        Ok(Entries { rest: mem::take(object).into_iter(), held: None })
    }
}

/// A number that is whole; which sizes of it fit is for the reader of its type.
enum Whole {
    Positive(u64),
    Negative(i64),
}

/// Number types differ only in what they hold, which their visitor checks.
macro_rules! whole_numbers {
    ($($method:ident)*) => {$(
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Wrong> {
            match self.whole()? {
                Whole::Positive(value) => visitor.visit_u64(value),
                Whole::Negative(value) => visitor.visit_i64(value),
            }
        }
    )*};
}

impl<'de> Deserializer<'de> for Node {
    type Error = Wrong;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Wrong> {
        match &self.0 {
            Value::Null => visitor.visit_unit(),
            Value::Bool(value) => visitor.visit_bool(*value),
            Value::Number(number) if number.is_f64() => self.deserialize_f64(visitor),
            Value::Number(_) => self.deserialize_i64(visitor),
            Value::String(_) => self.deserialize_string(visitor),
            Value::Array(_) => self.deserialize_seq(visitor),
            Value::Object(_) => self.deserialize_map(visitor),
        }
    }

    whole_numbers! {
        deserialize_i8 deserialize_i16 deserialize_i32 deserialize_i64
        deserialize_u8 deserialize_u16 deserialize_u32 deserialize_u64
    }

    fn deserialize_f64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Wrong> {
        visitor.visit_f64(self.number()?)
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Wrong> {
        visitor.visit_bool(self.truth()?)
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Wrong> {
        visitor.visit_string(self.text()?)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Wrong> {
        if self.0.is_null() { visitor.visit_none() } else { visitor.visit_some(self) }
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Wrong> {
        visitor.visit_seq(self.items()?)
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Wrong> {
        visitor.visit_map(self.entries()?)
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Wrong> {
        self.deserialize_map(visitor)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, Wrong> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Wrong> {
        visitor.visit_enum(self.text()?.into_deserializer())
    }

    /// What nobody asks for is wiped here and now.
    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Wrong> {
        visitor.visit_unit()
    }

    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Wrong> {
        self.deserialize_string(visitor)
    }

    forward_to_deserialize_any! {
        f32 char bytes byte_buf unit unit_struct tuple tuple_struct identifier
    }
}

struct Items(Enumerate<vec::IntoIter<Value>>);

impl Items {
    #[inline(never)]
    fn advance(&mut self) -> Option<(usize, Node)> {
        self.0.next().map(|(index, item)| (index, Node(item)))
    }
}

impl Drop for Items {
    fn drop(&mut self) {
        while self.advance().is_some() {}
    }
}

impl<'de> SeqAccess<'de> for Items {
    type Error = Wrong;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, Wrong> {
        let Some((index, item)) = self.advance() else { return Ok(None) };
        seed.deserialize(item).map(Some).map_err(|wrong| wrong.under(Step::Index(index)))
    }
}

struct Entries {
    rest: map::IntoIter,
    /// The entry whose key has been given out.
    held: Option<(String, Node)>,
}

impl Entries {
    /// Holds the next entry, and shows its key.
    #[inline(never)]
    fn advance(&mut self) -> Option<&str> {
        self.held = self.rest.next().map(|(key, value)| (key, Node(value)));
        self.held.as_ref().map(|(key, _)| key.as_str())
    }

    #[inline(never)]
    fn take_held(&mut self) -> (String, Node) {
        self.held.take().unwrap_or_else(|| (String::new(), Node(Value::Null)))
    }
}

impl Drop for Entries {
    fn drop(&mut self) {
        while self.advance().is_some() {}
    }
}

impl<'de> MapAccess<'de> for Entries {
    type Error = Wrong;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, Wrong> {
        let Some(key) = self.advance() else { return Ok(None) };
        let key: StrDeserializer<'_, Wrong> = key.into_deserializer();
        seed.deserialize(key).map(Some)
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, Wrong> {
        let (key, value) = self.take_held();
        seed.deserialize(value).map_err(|wrong| wrong.under(Step::Key(key)))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde::Deserialize;

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
    fn no_text_of_a_tree_outlives_it() {
        let mut tree =
            serde_json::json!({"password": "hunter2", "all": ["hunter2", {"K": "hunter2"}], "n": 1});
        wipe(&mut tree);
        assert_eq!(tree, serde_json::json!({"password": "", "all": ["", {"K": ""}], "n": 1}));
    }

    #[test]
    fn a_path_has_an_end_and_a_tree_a_bottom() {
        let long = flaw(&format!(r#"{{"name":"x","values":{{"{}":1}}}}"#, "é".repeat(500)));
        assert_eq!(long.chars().count(), MAX_PATH_CHARS + r#""…" must be a string"#.chars().count());
        assert_eq!(flaw(&format!(r#"{{"name":{}"#, "[".repeat(100_000))), "not an object");
    }
}
