//! The obvious way to do what the product does fast, and its parsers fed in pieces: shared by the property
//! tests and the fuzz targets.

#![allow(dead_code, reason = "every target uses its own part of this")]
#![allow(clippy::unwrap_used, reason = "a step that fails is a test that fails")]

use agent_vault::authority::Authority;
use agent_vault::http1::Error;
use agent_vault::http1::body::{BodyError, BodyReader};
use agent_vault::http1::chunked::{Decoder, Piece};
use agent_vault::http1::fields::Fields;
use agent_vault::http1::framing::Framing;
use agent_vault::http1::head::{RequestHead, ResponseHead};
use agent_vault::vault::matcher::Found;
use agent_vault::vault::path::{self, Ambiguous};
use agent_vault::vault::service::{HostPattern, Service};

/// A field's name and value.
pub(crate) type Field = (String, Vec<u8>);

/// A head's start line and fields, and where it ended.
pub(crate) type Parsed = Result<Option<(String, Vec<Field>, usize)>, Error>;

/// Parses a request, or a response, that arrives up to each cut in turn.
pub(crate) fn parse(is_request: bool, input: &[u8], cuts: &[usize]) -> Parsed {
    let (mut request, mut response, mut scanned) = (RequestHead::default(), ResponseHead::default(), 0);
    for &known in cuts {
        let input = &input[..known];
        let end = if is_request {
            request.parse(input, &mut scanned)?
        } else {
            response.parse(input, &mut scanned)?
        };
        if let Some(end) = end {
            let (start, fields) = if is_request {
                let start = format!("{} {} {:?}", request.method(), request.target(), request.version());
                (start, request.fields())
            } else {
                let start = format!("{:?} {} {}", response.version(), response.status(), response.reason());
                (start, response.fields())
            };
            return Ok(Some((start, read(fields), end)));
        }
    }
    Ok(None)
}

pub(crate) fn read(fields: &Fields) -> Vec<Field> {
    fields.iter().map(|(name, value)| (name.to_owned(), value.to_vec())).collect()
}

/// A body so far, and where it ended.
pub(crate) type Drained<E> = Result<(Vec<u8>, Option<usize>), E>;

/// Reads pieces until the input or the body ends: the body so far, and where it ended.
pub(crate) fn drain<E>(
    input: &[u8],
    cuts: &[usize],
    mut next: impl FnMut(&[u8], bool) -> Result<Piece, E>,
) -> Drained<E> {
    let (mut body, mut at, mut cuts) = (Vec::new(), 0, cuts.iter().copied());
    let mut known = 0;
    loop {
        let is_all = known == input.len() && cuts.len() == 0;
        match next(&input[at..known], is_all)? {
            Piece::Incomplete => match cuts.next() {
                Some(more) => known = more,
                None => return Ok((body, None)),
            },
            Piece::Framing(count) => at += count,
            Piece::Data(count) => {
                body.extend_from_slice(&input[at..at + count]);
                at += count;
            }
            Piece::End(count) => return Ok((body, Some(at + count))),
        }
    }
}

pub(crate) fn decode(input: &[u8], cuts: &[usize]) -> Drained<Error> {
    let mut decoder = Decoder::default();
    drain(input, cuts, |input, _| decoder.next(input))
}

pub(crate) fn read_body(framing: Framing, input: &[u8], cuts: &[usize]) -> Drained<BodyError> {
    let mut reader = BodyReader::new(framing);
    drain(input, cuts, |input, ended| reader.next(input, ended))
}

/// Contract D.2 with design 7, said plainly: of what matches, the first in precedence; a disabled service
/// only where no enabled one matches; an ambiguous path only matters where a path rule is asked.
pub(crate) fn obvious(services: &[Service], target: &Authority, raw: &str) -> Result<Found, Ambiguous> {
    let tier = |service: &Service| match &service.host {
        HostPattern::Exact(host) => (target.host() == host).then_some(0),
        HostPattern::Wildcard(rest) => {
            let (label, parent) = target.host().split_once('.')?;
            (!label.is_empty() && parent == rest).then_some(1)
        }
    };
    let mut asked: Vec<_> = services
        .iter()
        .enumerate()
        .filter(|(_, service)| service.port.is_none_or(|port| port == target.port()))
        .filter_map(|(number, service)| {
            let literal = service.path.split('*').next().unwrap().len();
            Some(((tier(service)?, service.port.is_none(), usize::MAX - literal, number), service))
        })
        .collect();
    asked.sort_by_key(|(precedence, _)| *precedence);
    let mut disabled = Found::Nothing;
    for ((.., number), service) in asked {
        let matches = service.path.is_empty() || glob(service.path.as_bytes(), &path::normalise(raw)?);
        match (matches, service.is_enabled()) {
            (true, true) => return Ok(Found::Service(number)),
            (true, false) if disabled == Found::Nothing => disabled = Found::Disabled(number),
            _ => {}
        }
    }
    Ok(disabled)
}

pub(crate) fn glob(pattern: &[u8], text: &[u8]) -> bool {
    match pattern.split_first() {
        None => text.is_empty(),
        Some((b'*', rest)) => (0..=text.len()).any(|skipped| glob(rest, &text[skipped..])),
        Some((byte, rest)) => text.first() == Some(byte) && glob(rest, &text[1..]),
    }
}
