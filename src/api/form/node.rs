//! The tree a form is filled from.

use std::iter::Enumerate;
use std::{mem, vec};

use serde::de::value::StrDeserializer;
use serde::de::{DeserializeSeed, Deserializer, IntoDeserializer as _, MapAccess, SeqAccess, Visitor};
use serde::forward_to_deserialize_any;
use serde_json::{Value, map};
use zeroize::Zeroize as _;

use super::{Step, Wrong};

/// A value a form is filled from.
///
/// A reader is made for each type that a form has, so what they all do stands in functions that know no
/// type: written out in each reader, it was a tenth of the API's code.
pub(super) struct Node(pub(super) Value);

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
    use super::*;

    #[test]
    fn no_text_of_a_tree_outlives_it() {
        let mut tree =
            serde_json::json!({"password": "hunter2", "all": ["hunter2", {"K": "hunter2"}], "n": 1});
        wipe(&mut tree);
        assert_eq!(tree, serde_json::json!({"password": "", "all": ["", {"K": ""}], "n": 1}));
    }
}
