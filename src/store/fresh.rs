//! New ids and tokens, all from the system's random numbers.

use ring::rand::{SecureRandom, SystemRandom};

use super::Error;
use crate::secret::Secret;

/// What a token is for; the prefix says so to people and to secret scanners (contract B.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TokenKind {
    Agent,
    Approval,
    Invite,
    OauthState,
    Session,
}

impl TokenKind {
    fn prefix(self) -> &'static str {
        match self {
            Self::Agent => "av_agt_",
            Self::Approval => "av_appr_",
            Self::Invite => "av_uinv_",
            Self::OauthState => "av_oast_",
            Self::Session => "av_sess_",
        }
    }
}

/// A new token: the prefix and 64 hexadecimal digits of 32 random bytes.
pub(super) fn token(kind: TokenKind) -> Result<Secret, Error> {
    let mut bytes = zeroize::Zeroizing::new([0; 32]);
    fill(bytes.as_mut())?;
    let mut text = Vec::with_capacity(kind.prefix().len() + 64);
    text.extend_from_slice(kind.prefix().as_bytes());
    for byte in bytes.iter() {
        text.extend_from_slice(&hex_digits(*byte));
    }
    Ok(Secret::new(text))
}

/// The SHA-256 of a whole token: all that is kept of one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct TokenHash([u8; 32]);

impl TokenHash {
    pub(super) fn of(token: &Secret) -> Self {
        let mut hash = [0; 32];
        hash.copy_from_slice(ring::digest::digest(&ring::digest::SHA256, token.expose()).as_ref());
        Self(hash)
    }

    /// As the store has it: lower-case hex.
    pub(super) fn id(&self) -> String {
        hex(&self.0)
    }
}

/// What the store keeps of a token.
pub(super) fn token_id(token: &Secret) -> String {
    TokenHash::of(token).id()
}

/// A version 4 UUID (RFC 9562 §5.4).
pub(super) fn uuid() -> Result<String, Error> {
    let mut bytes = [0; 16];
    fill(&mut bytes)?;
    bytes[6] = (bytes[6] & 0x0f) | 0x40;
    bytes[8] = (bytes[8] & 0x3f) | 0x80;
    let text = hex(&bytes);
    Ok([&text[..8], &text[8..12], &text[12..16], &text[16..20], &text[20..]].join("-"))
}

/// The public id of a session: 20 hexadecimal digits.
pub(super) fn public_id() -> Result<String, Error> {
    let mut bytes = [0; 10];
    fill(&mut bytes)?;
    Ok(hex(&bytes))
}

/// Six decimal digits, each sequence as likely as any other.
pub(super) fn code() -> Result<Secret, Error> {
    const SEQUENCES: u32 = 1_000_000;
    /// The whole multiples of it in 32 bits; what lies beyond would favour small numbers.
    const FAIR: u32 = u32::MAX / SEQUENCES * SEQUENCES;
    loop {
        let mut bytes = [0; 4];
        fill(&mut bytes)?;
        let number = u32::from_le_bytes(bytes);
        if number < FAIR {
            return Ok(format!("{:06}", number % SEQUENCES).into());
        }
    }
}

pub(super) fn fill(bytes: &mut [u8]) -> Result<(), Error> {
    SystemRandom::new().fill(bytes).map_err(|_| Error::Crypto)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().flat_map(|byte| hex_digits(*byte)).map(char::from).collect()
}

fn hex_digits(byte: u8) -> [u8; 2] {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    [DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 0x0f)]]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shapes_are_the_contracts() {
        let token = token(TokenKind::Agent).unwrap();
        let text = token.expose_str().unwrap();
        let digits = text.strip_prefix("av_agt_").unwrap();
        assert!(digits.len() == 64 && digits.bytes().all(|b| b"0123456789abcdef".contains(&b)));
        assert_eq!(
            token_id(&Secret::from("abc")),
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
        );
        let uuid = uuid().unwrap();
        assert_eq!(uuid.len(), 36);
        assert_eq!(&uuid[14..15], "4");
        assert!("89ab".contains(&uuid[19..20]));
        assert_eq!(public_id().unwrap().len(), 20);
        let code = code().unwrap();
        assert!(code.len() == 6 && code.expose().iter().all(u8::is_ascii_digit));
    }
}
