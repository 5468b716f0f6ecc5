//! JSON in which a key that is there twice is a mistake, not a choice.
//!
//! The library keeps the last one silently; what a person wrote would then not say what is applied, and two
//! readers could take two different values.

use std::cell::Cell;
use std::fmt;

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

#[cfg(test)]
mod tests {
    use super::*;

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
