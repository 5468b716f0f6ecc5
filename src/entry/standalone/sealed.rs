//! Sealed values: credentials that lie in a document, for whoever holds the key.
//!
//! `av1.` and, in base64url, a nonce with the value under AES-256-GCM. A value is bound to its credential's
//! name, so that one credential's text put in another's place does not open.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use ring::rand::{SecureRandom as _, SystemRandom};
use zeroize::Zeroizing;

use crate::failure::Failure;
use crate::secret::Secret;

const VERSION: &str = "av1.";
const KEY_PREFIX: &str = "av_key_";
const KEY_BYTES: usize = 32;

/// Why a text does not open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Closed {
    /// It is no sealed value, or only a part of one.
    Malformed,
    /// It was sealed with another key or under another name, or has been changed.
    Other,
}

/// The key of sealed values.
pub struct Key(LessSafeKey);

impl Key {
    /// Reads what [`generate`] made.
    pub fn parse(text: &Secret) -> Option<Self> {
        let digits = text.expose_str()?.trim_ascii().strip_prefix(KEY_PREFIX)?;
        let mut bytes = Zeroizing::new([0; KEY_BYTES]);
        if digits.len() != KEY_BYTES * 2 || !digits.bytes().all(|b| b.is_ascii_hexdigit()) {
            return None;
        }
        for (byte, at) in bytes.iter_mut().zip((0..).step_by(2)) {
            *byte = u8::from_str_radix(&digits[at..at + 2], 16).ok()?;
        }
        UnboundKey::new(&AES_256_GCM, bytes.as_ref()).ok().map(|key| Self(LessSafeKey::new(key)))
    }

    /// Seals a value for the credential of this name.
    pub fn seal(&self, name: &str, value: &Secret) -> Result<String, Failure> {
        let mut nonce = [0; NONCE_LEN];
        fill(&mut nonce)?;
        // Room for the tag, so that the value is not left behind by a reallocation.
        let mut sealed = Vec::with_capacity(NONCE_LEN + value.len() + AES_256_GCM.tag_len());
        sealed.extend_from_slice(&nonce);
        sealed.extend_from_slice(value.expose());
        let tag = self
            .0
            .seal_in_place_separate_tag(
                Nonce::assume_unique_for_key(nonce),
                Aad::from(place(name)),
                &mut sealed[NONCE_LEN..],
            )
            .map_err(|_| Failure::new("the value is too long to be sealed"))?;
        sealed.extend_from_slice(tag.as_ref());
        Ok(format!("{VERSION}{}", URL_SAFE_NO_PAD.encode(sealed)))
    }

    /// Opens what was sealed for the credential of this name.
    pub fn open(&self, name: &str, text: &str) -> Result<Secret, Closed> {
        let encoded = text.strip_prefix(VERSION).ok_or(Closed::Malformed)?;
        let sealed = URL_SAFE_NO_PAD.decode(encoded).map_err(|_| Closed::Malformed)?;
        let (nonce, rest) = sealed.split_at_checked(NONCE_LEN).ok_or(Closed::Malformed)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).map_err(|_| Closed::Malformed)?;
        let mut opened = Zeroizing::new(rest.to_vec());
        let value = self.0.open_in_place(nonce, Aad::from(place(name)), &mut opened);
        value.map(|value| Secret::new(value.to_vec())).map_err(|_| Closed::Other)
    }
}

/// Makes a new key, as text.
pub fn generate() -> Result<Secret, Failure> {
    let mut bytes = Zeroizing::new([0; KEY_BYTES]);
    fill(bytes.as_mut())?;
    let mut text = Vec::with_capacity(KEY_PREFIX.len() + KEY_BYTES * 2);
    text.extend_from_slice(KEY_PREFIX.as_bytes());
    for byte in bytes.iter() {
        text.extend([byte >> 4, byte & 15].map(|half| b"0123456789abcdef"[usize::from(half)]));
    }
    Ok(Secret::new(text))
}

fn place(name: &str) -> Vec<u8> {
    format!("agent-vault sealed credential {name}").into_bytes()
}

fn fill(bytes: &mut [u8]) -> Result<(), Failure> {
    let filled = SystemRandom::new().fill(bytes);
    filled.map_err(|_| Failure::new("the system has no randomness to give"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_opens_under_its_name_and_key_alone() {
        let [key, other] = [(); 2].map(|()| Key::parse(&generate().unwrap()).unwrap());
        let value = Secret::from("sk_live_1");
        let text = key.seal("STRIPE_KEY", &value).unwrap();
        assert!(text.starts_with("av1."));
        assert_ne!(key.seal("STRIPE_KEY", &value).unwrap(), text);
        assert_eq!(key.open("STRIPE_KEY", &text), Ok(value));
        assert_eq!(key.open("OTHER_KEY", &text), Err(Closed::Other));
        assert_eq!(other.open("STRIPE_KEY", &text), Err(Closed::Other));
        assert_eq!(key.open("STRIPE_KEY", &format!("{}AAAA", &text[..text.len() - 6])), Err(Closed::Other));
        for broken in ["", "av1.", "av1.AAAA", "av2.AAAA", "av1.!!", "sk_live_1"] {
            assert_eq!(key.open("STRIPE_KEY", broken), Err(Closed::Malformed), "{broken}");
        }
        assert_eq!(key.open("X", &key.seal("X", &Secret::from("")).unwrap()), Ok(Secret::from("")));
    }

    #[test]
    fn a_key_is_what_was_made() {
        let made = generate().unwrap();
        let text = made.expose_str().unwrap();
        assert_eq!(text.len(), 71);
        assert!(Key::parse(&Secret::from(format!("{text}\n"))).is_some());
        for wrong in [&text[..70], &text[1..], "av_key_", &text.replacen("av_key_", "av_key_+", 1)[..71]] {
            assert!(Key::parse(&Secret::from(wrong)).is_none(), "{wrong}");
        }
    }
}
