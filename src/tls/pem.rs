//! Certificates as a root store's text has them, to be read into a file that every start writes.
//!
//! The library's reader copies each line and each certificate, which was two thirds of a start's instructions.
//! A store as tools write it needs none of that: lines of one width, of the base64 alphabet and nothing
//! else. Whatever is written otherwise is left to the library, which knows all that may be.

const BEGIN: &str = "-----BEGIN CERTIFICATE-----\n";
const END: &str = "-----END CERTIFICATE-----";

/// A character that stands for nothing: a bit above all others, wherever the value is shifted to.
const NOTHING: u64 = 1 << 32;

/// What each character stands for (RFC 4648 §4).
static VALUES: [u64; 256] = {
    let alphabet = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut values = [NOTHING; 256];
    let mut at = 0;
    while at < alphabet.len() {
        values[alphabet[at] as usize] = at as u64;
        at += 1;
    }
    values
};

/// A certificate's lines, each but the last of the same width.
#[derive(Clone, Copy, Debug)]
pub struct Text<'a> {
    /// Without the last line's end.
    lines: &'a [u8],
    width: usize,
    padding: usize,
}

/// Every certificate of a text, in its order. `None` leaves the whole text to the library.
pub fn plain(pem: &[u8]) -> Option<Vec<Text<'_>>> {
    let mut rest = std::str::from_utf8(pem).ok()?;
    let mut found = Vec::new();
    while !rest.is_empty() {
        if let Some(body) = rest.strip_prefix(BEGIN) {
            // The alphabet has no dash.
            let (lines, end) = body.split_at(body.find('-')?);
            found.push(Text::new(lines.as_bytes())?);
            let after = end.strip_prefix(END)?;
            rest = after.strip_prefix('\n').or_else(|| after.is_empty().then_some(after))?;
        } else if rest.starts_with("-----") {
            return None;
        } else {
            // Distributions write a name above each, or an empty line.
            rest = rest.split_once('\n').map_or("", |(_, rest)| rest);
        }
    }
    Some(found)
}

impl<'a> Text<'a> {
    fn new(lines: &'a [u8]) -> Option<Self> {
        let lines = lines.strip_suffix(b"\n")?;
        let width = lines.iter().position(|&byte| byte == b'\n').unwrap_or(lines.len());
        let padding = lines.iter().rev().take(2).take_while(|&&byte| byte == b'=').count();
        let is_whole = |length: usize| length > 0 && length.is_multiple_of(4);
        let last = lines.len() % (width + 1);
        (is_whole(width) && is_whole(last)).then_some(Self { lines, width, padding })
    }

    /// How many bytes the certificate has.
    pub fn size(self) -> usize {
        let ends = self.lines.len() / (self.width + 1);
        (self.lines.len() - ends) / 4 * 3 - self.padding
    }

    /// Writes the certificate to a place of its size; `None` if it is not one after all.
    pub fn decode(self, place: &mut [u8]) -> Option<()> {
        let (lines, last) = self.lines.split_last_chunk::<4>()?;
        let (mut places, end) = place.split_at_mut(place.len().saturating_sub(3 - self.padding));
        for line in lines.chunks(self.width + 1) {
            let (groups, []) = line.strip_suffix(b"\n").unwrap_or(line).as_chunks::<4>() else { return None };
            let (to, rest) = places.split_at_mut_checked(groups.len() * 3)?;
            places = rest;
            for (group, to) in groups.iter().zip(to.as_chunks_mut::<3>().0) {
                *to = bytes(*group)?;
            }
        }
        let mut last = *last;
        last[4 - self.padding..].fill(b'A');
        end.copy_from_slice(&bytes(last)?[..end.len()]);
        Some(())
    }
}

/// What four characters stand for. Left to itself it would be a call for every one of them.
#[inline(always)]
fn bytes([a, b, c, d]: [u8; 4]) -> Option<[u8; 3]> {
    let value = |character: u8, shift: u32| VALUES[usize::from(character)] << shift;
    let bits = value(a, 18) | value(b, 12) | value(c, 6) | value(d, 0);
    let [.., x, y, z] = bits.to_be_bytes();
    (bits < NOTHING).then_some([x, y, z])
}

#[cfg(test)]
mod tests {
    use super::super::certificates;
    use super::*;

    fn read(pem: &str) -> Option<Vec<Vec<u8>>> {
        let decode = |text: Text<'_>| {
            let mut bytes = vec![0; text.size()];
            text.decode(&mut bytes).map(|()| bytes)
        };
        plain(pem.as_bytes())?.into_iter().map(decode).collect()
    }

    fn in_lines(base64: &str, width: usize) -> String {
        let lines = base64.as_bytes().chunks(width).map(|line| std::str::from_utf8(line).unwrap());
        let body: String = lines.map(|line| format!("{line}\n")).collect();
        format!("-----BEGIN CERTIFICATE-----\n{body}-----END CERTIFICATE-----\n")
    }

    #[test]
    fn what_is_read_is_what_the_library_reads() {
        use base64::Engine as _;
        let mut whole = String::new();
        for size in 1..200_u8 {
            let bytes: Vec<u8> = (0..size).map(|byte| byte.wrapping_mul(size)).collect();
            let text = base64::engine::general_purpose::STANDARD.encode(&bytes);
            for width in [64, 76, text.len()] {
                let pem = in_lines(&text, width);
                assert!(read(&pem) == Some(vec![bytes.clone()]), "{pem}");
                whole += &format!("# a name\n{pem}\n");
            }
        }
        let library = certificates(whole.as_bytes()).unwrap();
        let library: Vec<Vec<u8>> = library.iter().map(|certificate| certificate.to_vec()).collect();
        assert!(read(&whole) == Some(library));
        assert_eq!(read(whole.trim_end()).map(|all| all.len()), Some(199 * 3));
        assert_eq!(read("no certificate"), Some(vec![]));
    }

    #[test]
    fn what_is_not_plain_is_left_to_the_library() {
        let good = in_lines("QUJDREVGR0hJSktMTU5PUA==", 8);
        assert!(read(&good).is_some());
        for bad in [
            good.replace('\n', "\r\n"),
            good.replace("QUJD", "QUJ*"),
            good.replace("QUJD", "QUI="),
            good.replace("UA==", "U==="),
            good.replace("UA==", "UA="),
            good.replace("R0hJSktM", "R0hJ\nSktM"),
            good.replace("R0hJSktM\n", "R0hJSktM"),
            good.replace("R0hJSktM\n", "R0hJSktM\n\n"),
            good.replace("-----END CERTIFICATE-----", ""),
            good.replace("-----END CERTIFICATE-----", "-----END CERTIFICATE-----x"),
            good.replace("CERTIFICATE", "TRUSTED CERTIFICATE"),
            good.replace("QUJDREVG\n", "\n"),
            in_lines("QUJDREVG", 6),
            in_lines("", 6),
            "-----BEGIN CERTIFICATE-----\n".to_owned(),
            "-----BEGIN CERTIFICATE-----".to_owned(),
        ] {
            assert_eq!(read(&bad), None, "{bad:?}");
        }
    }
}
