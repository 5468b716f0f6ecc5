//! Properties of the pure cores: what is printed reads back, no split of the input into reads changes what
//! is read, and the fast way gives what the obvious way gives.
//!
//! The same cases run every time. `PROPTEST_CASES` asks for more of them, `PROPTEST_RNG_SEED` for others.

#![allow(clippy::unwrap_used, reason = "a step that fails is a test that fails")]

mod reference;

use std::collections::HashMap;

use agent_vault::authority::Authority;
use agent_vault::http1::chunked;
use agent_vault::http1::fields::write_field;
use agent_vault::http1::framing::Framing;
use agent_vault::secret::Secret;
use agent_vault::vault::matcher::Matcher;
use agent_vault::vault::path;
use agent_vault::vault::service::{Auth, HostPattern, InternalNames, Service, Substitution, Surface, list};
use agent_vault::vault::sigv4::{Claim, Keys, ToSign};
use agent_vault::vault::substitute::{Encoding, Substitutions};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};
use proptest::test_runner::RngSeed;
use reference::{Field, decode, obvious, parse, read_body};
use serde_json::{Value, json};

fn config() -> ProptestConfig {
    let given = ProptestConfig::default();
    let rng_seed = match given.rng_seed {
        RngSeed::Random => RngSeed::Fixed(9112),
        fixed @ RngSeed::Fixed(_) => fixed,
    };
    ProptestConfig { rng_seed, failure_persistence: None, ..given }
}

/// Where input is cut, as positions in it, in order.
fn cut(len: usize, at: &[Index]) -> Vec<usize> {
    let mut cuts: Vec<usize> = at.iter().map(|index| index.index(len + 1)).collect();
    cuts.push(len);
    cuts.sort_unstable();
    cuts
}

fn cuts() -> impl Strategy<Value = Vec<Index>> {
    vec(any::<Index>(), 0..6)
}

/// Bytes that look like `valid` but for a few of those that framing turns on.
fn damaged(valid: impl Strategy<Value = Vec<u8>>) -> impl Strategy<Value = Vec<u8>> {
    const SHARP: &[u8] = b"\r\n :;,\t\0\x7f\xff01aHT/";
    let edits = vec((any::<Index>(), select(SHARP), 0..3u8), 0..4);
    (valid, edits).prop_map(|(mut bytes, edits)| {
        for (at, byte, kind) in edits {
            let at = at.index(bytes.len() + 1);
            match kind {
                0 => bytes.insert(at, byte),
                1 if at < bytes.len() => bytes[at] = byte,
                _ if at < bytes.len() => drop(bytes.remove(at)),
                _ => {}
            }
        }
        bytes
    })
}

// Heads.

fn token() -> impl Strategy<Value = String> {
    "[A-Za-z0-9!#$%&'*+.^_`|~-]{1,8}"
}

/// A field's value as it is read: without space around it.
fn value() -> impl Strategy<Value = Vec<u8>> {
    let byte = prop_oneof![8 => b' '..=b'~', 1 => Just(b'\t'), 1 => 0x80..=0xffu8];
    vec(byte, 0..12).prop_map(|bytes| bytes.trim_ascii().to_vec())
}

fn fields() -> impl Strategy<Value = Vec<Field>> {
    // Names repeat, in one case and another.
    let name = prop_oneof![token(), select(&["Accept", "accept", "X-A", "Host"][..]).prop_map(str::to_owned)];
    vec((name, value()), 0..8)
}

fn print(start: &str, fields: &[Field]) -> Vec<u8> {
    let mut out = format!("{start}\r\n").into_bytes();
    for (name, value) in fields {
        write_field(&mut out, name, value);
    }
    out.extend_from_slice(b"\r\n");
    out
}

fn request_line() -> impl Strategy<Value = String> {
    (token(), "[!-~]{1,20}").prop_map(|(method, target)| format!("{method} {target} HTTP/1.1"))
}

fn status_line() -> impl Strategy<Value = String> {
    (100..1000u16, "([!-~]([ -~]{0,10}[!-~])?)?")
        .prop_map(|(status, reason)| format!("HTTP/1.1 {status} {reason}"))
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn a_request_reads_back(method in token(), target in "[!-~]{1,20}", fields in fields(), rest in value()) {
        let mut input = print(&format!("{method} {target} HTTP/1.1"), &fields);
        let end = input.len();
        input.extend_from_slice(&rest);
        let start = format!("{method} {target} Http11");
        prop_assert_eq!(parse(true, &input, &[input.len()]), Ok(Some((start, fields, end))));
    }

    #[test]
    fn a_response_reads_back(status in 100..1000u16, reason in "([!-~]([ -~]{0,10}[!-~])?)?", fields in fields()) {
        let input = print(&format!("HTTP/1.1 {status} {reason}"), &fields);
        let start = format!("Http11 {status} {reason}");
        prop_assert_eq!(parse(false, &input, &[input.len()]), Ok(Some((start, fields, input.len()))));
    }

    #[test]
    fn no_split_changes_a_head(
        input in damaged((request_line(), fields()).prop_map(|(start, fields)| print(&start, &fields))),
        at in cuts(),
    ) {
        prop_assert_eq!(parse(true, &input, &cut(input.len(), &at)), parse(true, &input, &[input.len()]));
    }

    #[test]
    fn no_split_changes_a_response_head(
        input in damaged((status_line(), fields()).prop_map(|(start, fields)| print(&start, &fields))),
        at in cuts(),
    ) {
        prop_assert_eq!(parse(false, &input, &cut(input.len(), &at)), parse(false, &input, &[input.len()]));
    }
}

// Bodies.

/// Pieces as chunks, some with an extension, and trailers behind them.
fn chunks() -> impl Strategy<Value = (Vec<u8>, Vec<u8>)> {
    let piece = (vec(any::<u8>(), 1..40), select(&["", ";a", ";a=\"b c\"", " ", "\t;a"][..]), 0..3usize);
    let trailers = select(&["", "A: b\r\n", "A:b\r\nC:\r\n"][..]);
    (vec(piece, 0..5), trailers).prop_map(|(pieces, trailers)| {
        let (mut body, mut coded) = (Vec::new(), Vec::new());
        for (piece, extension, zeros) in pieces {
            coded.extend_from_slice(
                format!("{}{:X}{extension}\r\n", "0".repeat(zeros), piece.len()).as_bytes(),
            );
            coded.extend_from_slice(&piece);
            coded.extend_from_slice(b"\r\n");
            body.extend(piece);
        }
        coded.extend_from_slice(format!("0\r\n{trailers}\r\n").as_bytes());
        (body, coded)
    })
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn chunks_read_back(pieces in vec(vec(any::<u8>(), 1..300), 0..6), rest in value(), at in cuts()) {
        let mut coded = Vec::new();
        for piece in &pieces {
            chunked::write_size(&mut coded, piece.len());
            coded.extend_from_slice(piece);
            coded.extend_from_slice(b"\r\n");
        }
        coded.extend_from_slice(chunked::LAST_CHUNK);
        let end = coded.len();
        coded.extend_from_slice(&rest);
        prop_assert_eq!(decode(&coded, &cut(coded.len(), &at)), Ok((pieces.concat(), Some(end))));
    }

    #[test]
    fn extensions_and_trailers_are_not_the_body((body, coded) in chunks(), at in cuts()) {
        prop_assert_eq!(decode(&coded, &cut(coded.len(), &at)), Ok((body, Some(coded.len()))));
    }

    #[test]
    fn no_split_changes_a_chunked_body(input in damaged(chunks().prop_map(|(_, coded)| coded)), at in cuts()) {
        prop_assert_eq!(decode(&input, &cut(input.len(), &at)), decode(&input, &[input.len()]));
    }

    #[test]
    fn no_split_changes_a_body(
        framing in prop_oneof![
            Just(Framing::Empty), (0..80u64).prop_map(Framing::Length), Just(Framing::Chunked), Just(Framing::UntilClose),
        ],
        input in damaged(chunks().prop_map(|(_, coded)| coded)),
        at in cuts(),
    ) {
        let whole = read_body(framing, &input, &[input.len()]);
        if let (Framing::Length(length), Ok((body, end))) = (framing, &whole) {
            prop_assert_eq!((body.len() as u64, *end), (length, Some(body.len())));
        }
        prop_assert_eq!(read_body(framing, &input, &cut(input.len(), &at)), whole);
    }

    #[test]
    fn no_split_changes_what_is_replaced(
        text in "(__a__|__ab__|_|a|b|~.~x){0,20}", at in cuts(), values in vec("(__ab__|<|\"|_|é){0,4}", 3),
    ) {
        let placeholders = ["__a__", "__ab__", "~.~x"];
        let declared = placeholders.iter().zip(["A", "B", "C"]).map(|(placeholder, key)| Substitution {
            key: key.to_owned(),
            placeholder: (*placeholder).to_owned(),
            surfaces: vec![Surface::Body],
        });
        let credentials: HashMap<String, Secret> =
            ["A", "B", "C"].map(str::to_owned).into_iter().zip(values.iter().map(|v| Secret::from(v.as_str()))).collect();
        let substitutions = Substitutions::new(&declared.collect::<Vec<_>>(), &credentials).unwrap();
        // One after the other, each over the whole text.
        let mut expected = text.clone();
        for (placeholder, value) in placeholders.iter().zip(&values) {
            expected = expected.replace(placeholder, value);
        }
        let whole = substitutions.apply(Surface::Body, Encoding::Raw, text.as_bytes());
        let whole = whole.unwrap_or_else(|| text.clone().into_bytes());
        prop_assert_eq!(&String::from_utf8_lossy(&whole), &expected);
        let (mut stream, mut out, mut from) = (substitutions.stream(Surface::Body, Encoding::Raw), Vec::new(), 0);
        for to in cut(text.len(), &at) {
            stream.feed(&text.as_bytes()[from..to], &mut out);
            from = to;
        }
        stream.finish(&mut out);
        prop_assert_eq!(String::from_utf8_lossy(&out), expected);
    }
}

// Rules.

fn raw_path() -> impl Strategy<Value = String> {
    let segment = select(
        &[
            "a", "b", "ab", "", ".", "..", "%2e%2e", "%2E", "%61", "%2F", "a%2fb", "%25", "%252e", "%zz",
            "..;a", "a\\..",
        ][..],
    );
    vec(segment, 1..6).prop_map(|segments| format!("/{}", segments.join("/")))
}

fn pattern() -> impl Strategy<Value = String> {
    "(|/a|/b|/a/b|/\\*|/a\\*|/a/\\*|/\\*/b|/\\*a\\*b|/a\\*/b)"
}

fn service() -> impl Strategy<Value = Service> {
    let host = select(&["a.test", "x.a.test", "y.a.test", "b.test"][..]).prop_flat_map(|host| {
        prop_oneof![
            3 => Just(HostPattern::Exact(host.to_owned())),
            1 => Just(HostPattern::Wildcard(host.to_owned())),
        ]
    });
    let port = prop_oneof![2 => Just(None), 1 => Just(Some(443)), 1 => Just(Some(80))];
    let enabled = prop_oneof![3 => Just(None), 1 => Just(Some(false)), 1 => Just(Some(true))];
    (host, port, pattern(), enabled).prop_map(|(host, port, path, enabled)| Service {
        name: String::new(),
        host,
        port,
        path,
        enabled,
        auth: Auth::Passthrough,
        substitutions: Vec::new(),
    })
}

fn slug() -> impl Strategy<Value = String> {
    "[a-z0-9]{1,4}(-[a-z0-9]{1,4}){1,3}"
}

fn key() -> impl Strategy<Value = String> {
    "[A-Z][A-Z0-9_]{0,6}"
}

fn auth() -> impl Strategy<Value = Value> {
    let name = "X-[A-Za-z0-9]{1,4}";
    let template =
        (key(), "[ -~&&[^{}]]{0,6}").prop_map(|(key, text)| format!("{text}{{{{ {key} }}}}{text}"));
    prop_oneof![
        key().prop_map(|key| json!({"type": "bearer", "token": key})),
        key().prop_map(|key| json!({"type": "basic", "username": key})),
        (key(), key()).prop_map(|(user, key)| json!({"type": "basic", "username": user, "password": key})),
        key().prop_map(|key| json!({"type": "api-key", "key": key})),
        (key(), name, "[ -~]{1,6}").prop_map(
            |(key, name, prefix)| json!({"type": "api-key", "key": key, "header": name, "prefix": prefix})
        ),
        (name, template).prop_map(|(name, value)| json!({"type": "custom", "headers": {name: value}})),
        Just(json!({"type": "passthrough"})),
        (key(), "[A-Za-z0-9._~-]{1,6}")
            .prop_map(|(key, name)| json!({"type": "query", "key": key, "param": name})),
        (key(), key(), key()).prop_map(|(id, secret, token)| {
            json!({"type": "aws-sigv4", "access_key": id, "secret_key": secret, "session_token": token})
        }),
    ]
}

fn wire_service() -> impl Strategy<Value = Value> {
    let host = "(\\*\\.)?([a-z0-9]([a-z0-9-]{0,4}[a-z0-9])?\\.){2,3}[a-z]{2,4}";
    let port = prop_oneof![Just(String::new()), (1..=u16::MAX).prop_map(|port| format!(":{port}"))];
    let path = "(/[A-Za-z0-9._~%$&'()+,;=:@é-]{0,5}\\*?){0,4}";
    let surfaces = proptest::sample::subsequence(vec!["path", "query", "header", "body", "websocket"], 1..=5);
    let substitutions = vec((key(), surfaces), 0..3);
    let enabled = prop_oneof![Just(Value::Null), Just(json!(true)), Just(json!(false))];
    (slug(), host, port, path, enabled, auth(), substitutions).prop_map(
        |(name, host, port, path, enabled, auth, substitutions)| {
            let mut service = json!({"name": name, "host": format!("{host}{port}{path}")});
            if !enabled.is_null() {
                service["enabled"] = enabled;
            }
            service["auth"] = auth;
            let list: Vec<Value> = substitutions
                .iter()
                .enumerate()
                .map(|(at, (key, surfaces))| json!({"key": key, "placeholder": format!("__p{at}__"), "in": surfaces}))
                .collect();
            if !list.is_empty() {
                service["substitutions"] = Value::Array(list);
            }
            service
        },
    )
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn the_index_finds_what_a_scan_finds(
        services in vec(service(), 0..8),
        host in select(&["a.test", "x.a.test", "z.a.test", "q.x.a.test", "b.test", "c.test"][..]),
        port in select(&[80u16, 443, 8080][..]),
        raw in raw_path(),
    ) {
        let target = Authority::new(host, port).unwrap();
        prop_assert_eq!(Matcher::new(&services).find(&target, &raw), obvious(&services, &target, &raw));
    }

    #[test]
    fn a_path_that_can_be_judged_leads_where_it_says(raw in raw_path()) {
        let Ok(seen) = path::normalise(&raw) else { return Ok(()) };
        prop_assert!(seen.starts_with(b"/"));
        prop_assert!(!seen.split(|&b| b == b'/').any(|segment| matches!(segment, b"." | b"..")));
        // A second pass changes nothing, or finds a percent sign that stands for itself.
        let text = std::str::from_utf8(&seen).unwrap();
        if let Ok(again) = path::normalise(text) {
            prop_assert_eq!(String::from_utf8_lossy(&again), text);
        }
    }

    #[test]
    fn any_path_is_judged_or_refused(raw in "/[%/.;\\\\0-9a-fA-F]{0,12}") {
        let Ok(seen) = path::normalise(&raw) else { return Ok(()) };
        // However a server splits and decodes what is left: no segment is made of dots.
        let lenient = String::from_utf8_lossy(&seen).replace("%2F", "/").replace('\\', "/");
        for segment in lenient.split('/') {
            let bare = segment.split(';').next().unwrap();
            prop_assert!(bare != "." && bare != "..", "{} leads to {}", raw, lenient);
        }
    }

    #[test]
    fn a_service_reads_back(services in vec(wire_service(), 1..4)) {
        let mut services = services;
        for (at, service) in services.iter_mut().enumerate() {
            let name = format!("{}-{at}", service["name"].as_str().unwrap());
            service["name"] = name.into();
        }
        let checked = list::check(list::read(&services).unwrap(), InternalNames::Refused);
        let checked = checked.map_err(|error| TestCaseError::fail(format!("{error}: {services:?}")))?;
        prop_assert_eq!(list::to_json(&checked), Value::Array(services));
        let stored = list::from_stored(&list::to_json(&checked).to_string()).unwrap();
        prop_assert_eq!(stored, checked);
    }

    #[test]
    fn an_authority_reads_back(
        host in prop_oneof![
            "[a-z0-9_-]{1,10}(\\.[a-z0-9-]{1,10}){0,3}".prop_map(|host| host),
            any::<std::net::Ipv4Addr>().prop_map(|ip| ip.to_string()),
            any::<std::net::Ipv6Addr>().prop_map(|ip| ip.to_string()),
        ],
        port in 1..=u16::MAX,
    ) {
        let authority = Authority::new(&host, port).unwrap();
        prop_assert_eq!(Authority::parse(&authority.to_string()), Ok(authority.clone()));
        prop_assert_eq!(Authority::parse_or(&authority.host_field(port), port), Ok(authority));
    }

    #[test]
    fn a_signature_does_not_depend_on_the_order_of_fields_and_parameters(
        fields in proptest::collection::btree_map("x-[a-z]{1,4}", value(), 1..6),
        query in vec(("[a-c]{1,2}", "[a-z%20]{0,3}"), 0..4),
        by in any::<[u8; 8]>(),
    ) {
        let keys = Keys {
            access_key: Secret::from("AKID"),
            secret_key: Secret::from("secret"),
            session_token: None,
        };
        let signed = |fields: &[(String, Vec<u8>)], query: &[(String, String)]| {
            let names: Vec<&str> = fields.iter().map(|(name, _)| name.as_str()).collect();
            let claim = Claim::parse(&format!(
                "AWS4-HMAC-SHA256 Credential=x/20130524/us-east-1/s3/aws4_request, SignedHeaders={}, Signature=0",
                names.join(";")
            ))
            .unwrap();
            let query: Vec<String> = query.iter().map(|(name, value)| format!("{name}={value}")).collect();
            let target = format!("/key?{}", query.join("&"));
            let request = ToSign {
                method: "GET", target: &target, fields, payload_hash: "UNSIGNED-PAYLOAD", date: "20130524T000000Z",
            };
            claim.sign(&request, &keys).authorization.expose_str().unwrap().to_owned()
        };
        let fields: Vec<(String, Vec<u8>)> = fields.into_iter().collect();
        let (mut mixed_fields, mut mixed_query) = (fields.clone(), query.clone());
        mixed_fields.rotate_left(usize::from(by[0]) % fields.len());
        mixed_query.reverse();
        if by[1] & 1 == 0 {
            mixed_fields.reverse();
        }
        prop_assert_eq!(signed(&mixed_fields, &mixed_query), signed(&fields, &query));
    }
}
