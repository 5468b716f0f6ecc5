//! Values that must never be printed.
//!
//! A [`Secret`] has no `Display`, a `Debug` that shows nothing, equality in constant time, and it is
//! wiped when dropped. The bytes come out only through [`Secret::expose`], so every place where a
//! secret leaves the type can be found by searching for one word.

use std::fmt;

use serde::{Deserialize, Deserializer};
use subtle::ConstantTimeEq;
use zeroize::{Zeroize, Zeroizing};

/// A credential value, token or password.
#[derive(Clone)]
pub struct Secret(Zeroizing<Box<[u8]>>);

impl Secret {
    /// Takes ownership of `bytes`; no copy stays behind unless the vector had spare capacity, which is
    /// wiped first.
    pub fn new(mut bytes: Vec<u8>) -> Self {
        let boxed = if bytes.len() == bytes.capacity() {
            bytes.into_boxed_slice()
        } else {
            let exact = bytes.as_slice().into();
            bytes.zeroize();
            exact
        };
        Self(Zeroizing::new(boxed))
    }

    /// A secret as it came in a file or a line, without the break at the end: an editor's or `echo`'s.
    pub fn without_line_break(mut bytes: Vec<u8>) -> Self {
        if bytes.pop_if(|last| *last == b'\n').is_some() {
            bytes.pop_if(|last| *last == b'\r');
        }
        Self::new(bytes)
    }

    /// The bytes, for the one place that has to send, seal or hash them.
    pub fn expose(&self) -> &[u8] {
        &self.0
    }

    /// The bytes as text, when they are UTF-8.
    pub fn expose_str(&self) -> Option<&str> {
        std::str::from_utf8(&self.0).ok()
    }

    pub fn len(&self) -> usize {
        self.0.len()
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl From<String> for Secret {
    fn from(text: String) -> Self {
        Self::new(text.into_bytes())
    }
}

impl From<&str> for Secret {
    fn from(text: &str) -> Self {
        Self::new(text.as_bytes().to_vec())
    }
}

/// Takes a text straight into the type that is wiped.
impl<'de> Deserialize<'de> for Secret {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(Self::from)
    }
}

impl PartialEq for Secret {
    /// Compares in time that depends on the lengths only.
    fn eq(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

impl Eq for Secret {}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(***)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_shows_no_byte_of_the_value() {
        assert_eq!(format!("{:?}", Secret::from("sk_live_1")), "Secret(***)");
    }

    #[test]
    fn equality_is_by_value() {
        assert_eq!(Secret::from("a"), Secret::from("a"));
        assert_ne!(Secret::from("a"), Secret::from("b"));
        assert_ne!(Secret::from("a"), Secret::from("aa"));
    }

    #[test]
    fn one_line_break_is_not_part_of_a_secret() {
        for (bytes, value) in [("a\r\n", "a"), ("a\n\n", "a\n"), ("a\r", "a\r"), ("a", "a"), ("\n", "")] {
            assert_eq!(
                Secret::without_line_break(bytes.as_bytes().to_vec()),
                Secret::from(value),
                "{bytes:?}"
            );
        }
    }

    #[test]
    fn a_vector_with_spare_room_keeps_its_bytes() {
        let mut bytes = Vec::with_capacity(64);
        bytes.extend_from_slice(b"value");
        assert_eq!(Secret::new(bytes).expose(), b"value");
    }
}
