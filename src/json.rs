//! JSON as it is read and made here.
//!
//! Read: a key that is there twice is a mistake, not a choice. The library keeps the last one silently; what
//! a person wrote would then not say what is applied, and two readers could take two different values.
//!
//! Made: [`json!`] looks like the library's macro. That one writes the making of each member out where it
//! stands, with what to do when a value cannot be JSON; there are 400 members in the program, and no value
//! of theirs that cannot be. This one leaves a table of references, for one function to make values of.

use std::borrow::Cow;
use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};

/// Reads one document; the error says where it stopped making sense.
pub fn parse(text: &str) -> Result<Value, String> {
    let mut json = serde_json::Deserializer::from_str(text);
    let value = Repeated::Fails.deserialize(&mut json);
    value.and_then(|value| json.end().map(|()| value)).map_err(|error| error.to_string())
}

/// Reads a value; and what becomes of a key that an object has twice.
#[derive(Clone, Copy)]
pub enum Repeated<'r> {
    /// Nothing is read.
    Fails,
    /// The first such key is noted, and its first value kept.
    IsNoted(&'r Cell<Option<String>>),
}

impl<'de> DeserializeSeed<'de> for Repeated<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<Value, D::Error> {
        json.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Repeated<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element_seed(self)? {
            list.push(item);
        }
        Ok(Value::Array(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let mut object = Map::new();
        while let Some(key) = entries.next_key::<String>()? {
            let value = entries.next_value_seed(self)?;
            match self {
                _ if !object.contains_key(&key) => drop(object.insert(key, value)),
                Self::Fails => return Err(A::Error::custom(format!("key {key:?} is there twice"))),
                Self::IsNoted(first) => first.set(Some(first.take().unwrap_or(key))),
            }
        }
        Ok(Value::Object(object))
    }
}

/// An object of its members, in their order, or a list of its items: `json!({"name": name, "roles": roles})`,
/// `json!(["a", "b"])`. What is nested is an expression of its own; a key is a literal, a name, or an
/// expression in parentheses.
macro_rules! json {
    ({ $($key:tt: $value:expr),* $(,)? }) => {
        $crate::json::object(&[$(($key, &$value)),*])
    };
    ([$($item:expr),* $(,)?]) => {
        $crate::json::list(&[$(&$item),*])
    };
}
pub(crate) use json;

/// What can be a value of JSON, whatever it holds.
pub trait Json {
    /// The value; a copy of its own.
    fn json(&self) -> Value;
}

/// What [`json!`] makes of `{…}`. A key that is there twice has its last value.
pub fn object(members: &[(&str, &dyn Json)]) -> Value {
    members.iter().map(|(key, value)| ((*key).to_owned(), value.json())).collect()
}

/// What [`json!`] makes of `[…]`.
pub fn list(items: &[&dyn Json]) -> Value {
    items.iter().map(Json::json).collect()
}

macro_rules! by_from {
    ($($kind:ty)*) => {$(
        impl Json for $kind {
            fn json(&self) -> Value {
                self.clone().into()
            }
        }
    )*};
}

by_from! { bool u16 u32 u64 usize i64 f64 String Value Map<String, Value> }

impl Json for str {
    fn json(&self) -> Value {
        self.into()
    }
}

impl<T: Json + ?Sized> Json for &T {
    fn json(&self) -> Value {
        (**self).json()
    }
}

impl Json for Cow<'_, str> {
    fn json(&self) -> Value {
        (**self).into()
    }
}

impl<T: Json + ?Sized> Json for Arc<T> {
    fn json(&self) -> Value {
        (**self).json()
    }
}

/// What is not there is `null`.
impl<T: Json> Json for Option<T> {
    fn json(&self) -> Value {
        self.as_ref().map_or(Value::Null, Json::json)
    }
}

impl<T: Json> Json for [T] {
    fn json(&self) -> Value {
        self.iter().map(Json::json).collect()
    }
}

impl<T: Json, const N: usize> Json for [T; N] {
    fn json(&self) -> Value {
        self.as_slice().json()
    }
}

impl<T: Json> Json for Vec<T> {
    fn json(&self) -> Value {
        self.as_slice().json()
    }
}

impl<T: Json> Json for BTreeSet<T> {
    fn json(&self) -> Value {
        self.iter().map(Json::json).collect()
    }
}

impl<T: Json> Json for BTreeMap<String, T> {
    fn json(&self) -> Value {
        self.iter().map(|(key, value)| (key.clone(), value.json())).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_made_is_what_the_library_would_make() {
        let (name, none, sorted) = ("KEY", None::<&str>, BTreeMap::from([("b".to_owned(), 1_u16)]));
        let ours = json!({
            "text": name,
            name: [Some("a"), none],
            (&name.to_lowercase()): json!({"deep": json!([1_u64, -1_i64, 0.5, true])}),
            "none": Value::Null,
            "sorted": sorted,
            "empty": json!([]),
            "text": Cow::from("the last one stays"),
        });
        let theirs = serde_json::json!({
            "text": "the last one stays",
            "KEY": ["a", null],
            "key": {"deep": [1, -1, 0.5, true]},
            "none": null,
            "sorted": {"b": 1},
            "empty": [],
        });
        assert_eq!(ours.to_string(), theirs.to_string());
        assert_eq!(json!({}), serde_json::json!({}));
    }

    #[test]
    fn a_value_is_the_librarys_own() {
        let text = r#"{"a":[1,-2,1.5,"x\ud83d\ude00",true,null],"b":{"c":{}}}"#;
        assert_eq!(parse(text), Ok(serde_json::from_str(text).unwrap()));
    }

    #[test]
    fn a_repeated_key_is_named_with_its_place() {
        let problem = parse("{\"a\": 1,\n \"a\": 2}").unwrap_err();
        assert!(problem.starts_with("key \"a\" is there twice at line 2"), "{problem}");
        assert!(parse("{} {}").is_err());
    }
}
