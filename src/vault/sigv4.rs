//! AWS Signature Version 4: a request the client signed with placeholder keys is signed again.
//!
//! The client's own `Authorization` says the scope (date, region, service) and which headers are signed;
//! only the keys are replaced. So any SDK works as it is, with any key it is given. Pure: the caller says
//! what the outgoing request looks like and writes what comes back.
//! Source: the AWS General Reference, "Signature Version 4 signing process", and for S3's chunked uploads
//! the Amazon S3 API Reference, "Signature calculations: transferring payload in multiple chunks".

use ring::{digest, hmac};

use super::substitute::decoded;
use crate::secret::Secret;

const ALGORITHM: &str = "AWS4-HMAC-SHA256";
/// SHA-256 of nothing.
const EMPTY_HASH: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

/// The keys a service signs with.
#[derive(Clone, Debug)]
pub struct Keys {
    pub access_key: Secret,
    pub secret_key: Secret,
    pub session_token: Option<Secret>,
}

/// What the client's `Authorization` says about its signature.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    /// `date/region/service/aws4_request`.
    scope: String,
    /// Lower-case names, in order.
    signed: Vec<String>,
}

/// The outgoing request, as the service will see it.
#[derive(Clone, Copy, Debug)]
pub struct ToSign<'r> {
    pub method: &'r str,
    /// Path and query as they are sent.
    pub target: &'r str,
    /// Names in lower case.
    pub fields: &'r [(String, Vec<u8>)],
    /// `x-amz-content-sha256`, or the hash of the body.
    pub payload_hash: &'r str,
    /// `X-Amz-Date`: `YYYYMMDDTHHMMSSZ`.
    pub date: &'r str,
}

/// A signature, and what signs the chunks that follow it.
pub struct Signed {
    /// The `Authorization` value.
    pub authorization: Secret,
    pub chunks: ChunkSigner,
}

impl Claim {
    /// Reads `AWS4-HMAC-SHA256 Credential=…/scope, SignedHeaders=…, Signature=…`; `None` if it is not that.
    pub fn parse(authorization: &str) -> Option<Self> {
        let parameters = authorization.strip_prefix(ALGORITHM)?;
        let parameter = |name: &str| {
            parameters.split([',', ' ']).find_map(|part| part.trim().strip_prefix(name)?.strip_prefix('='))
        };
        let (_access_key, scope) = parameter("Credential")?.split_once('/')?;
        let is_scope = scope.split('/').count() == 4
            && scope.ends_with("/aws4_request")
            && scope.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_/".contains(&b));
        let signed: Vec<String> = parameter("SignedHeaders")?.split(';').map(str::to_owned).collect();
        let is_name = |name: &String| {
            !name.is_empty()
                && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
        };
        (is_scope && signed.iter().all(is_name)).then(|| Self { scope: scope.to_owned(), signed })
    }

    /// The service in the scope, such as `s3`.
    fn service(&self) -> &str {
        self.scope.split('/').nth(2).unwrap_or_default()
    }

    /// Signs with `keys`. A signed header that does not go out is left out of the signature, and the
    /// session token is always in it.
    pub fn sign(&self, request: &ToSign<'_>, keys: &Keys) -> Signed {
        let is_present = |name: &str| request.fields.iter().any(|(known, _)| known == name);
        let mut signed: Vec<&str> =
            self.signed.iter().map(String::as_str).filter(|name| is_present(name)).collect();
        if is_present("x-amz-security-token") && !signed.contains(&"x-amz-security-token") {
            signed.push("x-amz-security-token");
        }
        signed.sort_unstable();
        let names = signed.join(";");
        let canonical = self.canonical(request, &signed, &names);
        let to_sign = format!(
            "{ALGORITHM}\n{}\n{}\n{}",
            request.date,
            self.scope,
            hex(digest::digest(&digest::SHA256, &canonical).as_ref())
        );
        let key = signing_key(&keys.secret_key, &self.scope);
        let signature = hex(hmac::sign(&key, to_sign.as_bytes()).as_ref());
        let access_key = keys.access_key.expose_str().unwrap_or_default();
        let authorization = format!(
            "{ALGORITHM} Credential={access_key}/{}, SignedHeaders={names}, Signature={signature}",
            self.scope
        );
        let chunks = ChunkSigner {
            key,
            date: request.date.to_owned(),
            scope: self.scope.clone(),
            previous: signature,
        };
        Signed { authorization: Secret::from(authorization), chunks }
    }

    fn canonical(&self, request: &ToSign<'_>, signed: &[&str], names: &str) -> Vec<u8> {
        let (path, query) = request.target.split_once('?').unwrap_or((request.target, ""));
        let mut text = Vec::with_capacity(512);
        let mut line = |bytes: &[u8]| {
            text.extend_from_slice(bytes);
            text.push(b'\n');
        };
        line(request.method.as_bytes());
        // S3 signs the path as it is sent; every other service signs it normalised and encoded once more.
        if self.service() == "s3" {
            line(path.as_bytes());
        } else {
            line(encoded(&without_dots(path), b"/~").as_bytes());
        }
        line(canonical_query(query).as_bytes());
        for name in signed {
            let values =
                request.fields.iter().filter(|(known, _)| known == name).map(|(_, value)| collapsed(value));
            let values: Vec<Vec<u8>> = values.collect();
            line(&[name.as_bytes(), b":", &values.join(&b',')].concat());
        }
        line(b"");
        line(names.as_bytes());
        text.extend_from_slice(request.payload_hash.as_bytes());
        text
    }
}

/// Signs the chunks of an `aws-chunked` body, each over the one before.
pub struct ChunkSigner {
    key: hmac::Key,
    date: String,
    scope: String,
    previous: String,
}

impl ChunkSigner {
    /// The signature of the next chunk; the last one is empty.
    pub fn chunk(&mut self, bytes: &[u8]) -> &str {
        let hashes = format!("{EMPTY_HASH}\n{}", hash(bytes));
        self.next("AWS4-HMAC-SHA256-PAYLOAD", &hashes)
    }

    /// The signature of the trailing headers, given as they are sent, each line with a newline behind it.
    pub fn trailer(&mut self, lines: &[u8]) -> &str {
        let hash = hash(lines);
        self.next("AWS4-HMAC-SHA256-TRAILER", &hash)
    }

    fn next(&mut self, kind: &str, hashes: &str) -> &str {
        let to_sign = format!("{kind}\n{}\n{}\n{}\n{hashes}", self.date, self.scope, self.previous);
        self.previous = hex(hmac::sign(&self.key, to_sign.as_bytes()).as_ref());
        &self.previous
    }
}

/// SHA-256 in lower-case hexadecimal.
pub fn hash(bytes: &[u8]) -> String {
    hex(digest::digest(&digest::SHA256, bytes).as_ref())
}

/// Lower-case hexadecimal.
pub fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digit = |nibble: u8| char::from(DIGITS[usize::from(nibble)]);
    bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect()
}

fn signing_key(secret: &Secret, scope: &str) -> hmac::Key {
    let first = Secret::new([b"AWS4", secret.expose()].concat());
    let mut key = hmac::Key::new(hmac::HMAC_SHA256, first.expose());
    for part in scope.split('/') {
        key = hmac::Key::new(hmac::HMAC_SHA256, hmac::sign(&key, part.as_bytes()).as_ref());
    }
    key
}

/// Parameters sorted by name, then value, with the encoding the service computes for itself.
fn canonical_query(query: &str) -> String {
    let mut pairs: Vec<(String, String)> = query
        .split('&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            (encoded(&decoded(name.as_bytes()), b"~"), encoded(&decoded(value.as_bytes()), b"~"))
        })
        .collect();
    pairs.sort_unstable();
    let pairs: Vec<String> = pairs.into_iter().map(|(name, value)| format!("{name}={value}")).collect();
    pairs.join("&")
}

/// Percent-encodes all but letters, digits, `-_.` and what `kept` names.
fn encoded(bytes: &[u8], kept: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len());
    for &byte in bytes {
        if byte.is_ascii_alphanumeric() || b"-_.".contains(&byte) || kept.contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push('%');
            out.push_str(&hex(&[byte]).to_ascii_uppercase());
        }
    }
    out
}

fn without_dots(path: &str) -> Vec<u8> {
    let mut kept: Vec<&str> = Vec::new();
    for segment in path.split('/') {
        match segment {
            "" | "." => {}
            ".." => drop(kept.pop()),
            other => kept.push(other),
        }
    }
    let end = if path.ends_with('/') && !kept.is_empty() { "/" } else { "" };
    format!("/{}{end}", kept.join("/")).into_bytes()
}

/// A value without outer space and with runs of spaces made one.
fn collapsed(value: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(value.len());
    for &byte in value.trim_ascii() {
        if byte != b' ' || out.last() != Some(&b' ') {
            out.push(byte);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(access: &str, secret: &str) -> Keys {
        Keys { access_key: Secret::from(access), secret_key: Secret::from(secret), session_token: None }
    }

    fn signature(claim: &str, request: &ToSign<'_>, keys: &Keys) -> (String, ChunkSigner) {
        let signed = Claim::parse(claim).unwrap().sign(request, keys);
        let text = signed.authorization.expose_str().unwrap().to_owned();
        (text.rsplit_once("Signature=").unwrap().1.to_owned(), signed.chunks)
    }

    fn fields(list: &[(&str, &str)]) -> Vec<(String, Vec<u8>)> {
        list.iter().map(|(name, value)| ((*name).to_owned(), value.as_bytes().to_vec())).collect()
    }

    /// The published test suite's keys, date and scope.
    fn suite(method: &str, target: &str, headers: &str, list: &[(&str, &str)], body: &str) -> String {
        let claim = format!(
            "AWS4-HMAC-SHA256 Credential=placeholder/20150830/us-east-1/service/aws4_request, \
             SignedHeaders={headers}, Signature=0"
        );
        let fields = fields(list);
        let payload_hash = &hash(body.as_bytes());
        let request = ToSign { method, target, fields: &fields, payload_hash, date: "20150830T123600Z" };
        signature(&claim, &request, &keys("AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY")).0
    }

    #[test]
    fn the_published_test_suite_is_met() {
        let plain = [("host", "example.amazonaws.com"), ("x-amz-date", "20150830T123600Z")];
        let vanilla = "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31";
        assert_eq!(suite("GET", "/", "host;x-amz-date", &plain, ""), vanilla);
        assert_eq!(suite("GET", "/example/..", "host;x-amz-date", &plain, ""), vanilla);
        assert_eq!(suite("GET", "//", "host;x-amz-date", &plain, ""), vanilla);
        let post = "5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b";
        assert_eq!(suite("POST", "/", "host;x-amz-date", &plain, ""), post);
        let sorted = "b97d918cfa904a5beff61c982a1b6f458b799221646efd99d3219ec94cdf2500";
        let query = "/?Param2=value2&Param1=value1";
        assert_eq!(suite("GET", query, "host;x-amz-date", &plain, ""), sorted);
    }

    const S3_KEYS: (&str, &str) = ("AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY");

    fn s3(method: &str, target: &str, headers: &str, list: &[(&str, &str)]) -> (String, ChunkSigner) {
        let claim = format!(
            "AWS4-HMAC-SHA256 Credential=x/20130524/us-east-1/s3/aws4_request,SignedHeaders={headers},Signature=0"
        );
        let fields = fields(list);
        let (_, payload_hash) = list.iter().find(|(name, _)| *name == "x-amz-content-sha256").unwrap();
        let request = ToSign { method, target, fields: &fields, payload_hash, date: "20130524T000000Z" };
        signature(&claim, &request, &keys(S3_KEYS.0, S3_KEYS.1))
    }

    #[test]
    fn the_published_s3_examples_are_met() {
        let get = s3(
            "GET",
            "/test.txt",
            "host;range;x-amz-content-sha256;x-amz-date",
            &[
                ("host", "examplebucket.s3.amazonaws.com"),
                ("range", "bytes=0-9"),
                ("x-amz-content-sha256", EMPTY_HASH),
                ("x-amz-date", "20130524T000000Z"),
            ],
        );
        assert_eq!(get.0, "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41");
        let list = s3(
            "GET",
            "/?max-keys=2&prefix=J",
            "host;x-amz-content-sha256;x-amz-date",
            &[
                ("host", "examplebucket.s3.amazonaws.com"),
                ("x-amz-content-sha256", EMPTY_HASH),
                ("x-amz-date", "20130524T000000Z"),
            ],
        );
        assert_eq!(list.0, "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7");
    }

    #[test]
    fn the_published_chunked_upload_is_met() {
        let (seed, mut chunks) = s3(
            "PUT",
            "/examplebucket/chunkObject.txt",
            "content-encoding;content-length;host;x-amz-content-sha256;x-amz-date;x-amz-decoded-content-length;\
             x-amz-storage-class",
            &[
                ("content-encoding", "aws-chunked"),
                ("content-length", "66824"),
                ("host", "s3.amazonaws.com"),
                ("x-amz-content-sha256", "STREAMING-AWS4-HMAC-SHA256-PAYLOAD"),
                ("x-amz-date", "20130524T000000Z"),
                ("x-amz-decoded-content-length", "66560"),
                ("x-amz-storage-class", "REDUCED_REDUNDANCY"),
            ],
        );
        assert_eq!(seed, "4f232c4386841ef735655705268965c44a0e4690baa4adea153f7db9fa80a0a9");
        let first = "ad80c730a21e5b8d04586a2213dd63b9a0e99e0e2307b0ade35a65485a288648";
        assert_eq!(chunks.chunk(&[b'a'; 65536]), first);
        let second = "0055627c9e194cb4542bae2aa5492e3c1575bbb81b612b7d234b86a503ef5497";
        assert_eq!(chunks.chunk(&[b'a'; 1024]), second);
        let last = "b6c6ea8a5354eaf15b3cb7646744f4275b71ea724fed81ceb9323e279d449df9";
        assert_eq!(chunks.chunk(b""), last);
    }

    #[test]
    fn only_a_signature_of_this_kind_is_a_claim() {
        let good = "AWS4-HMAC-SHA256 Credential=AK/20150830/eu-west-1/sts/aws4_request, SignedHeaders=host, Signature=a";
        assert_eq!(Claim::parse(good).unwrap().service(), "sts");
        for bad in [
            "Bearer x",
            "AWS4-HMAC-SHA256 SignedHeaders=host, Signature=a",
            "AWS4-HMAC-SHA256 Credential=AK/20150830/eu-west-1/sts, SignedHeaders=host, Signature=a",
            "AWS4-HMAC-SHA256 Credential=AK/a/b/c/other, SignedHeaders=host, Signature=a",
            "AWS4-HMAC-SHA256 Credential=AK/a/b/c/aws4_request, SignedHeaders=Host, Signature=a",
        ] {
            assert_eq!(Claim::parse(bad), None, "{bad}");
        }
    }
}
