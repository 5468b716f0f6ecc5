//! Signing an AWS request again on its way out.
//!
//! The client signed with keys that mean nothing; its signature says what it signed and for which region
//! and service. What is signed here is the request as it leaves: every rewrite has been done before.

use std::borrow::Cow;

use super::aws_chunked::Resigner;
use super::error::Error;
use super::rewrite::Outbound;
use super::upload::{Need, Upload};
use crate::http1::fields::Fields;
use crate::http1::head::RequestHead;
use crate::vault::Prepared;
use crate::vault::attach::{Attachment, InjectedField};
use crate::vault::service::Surface;
use crate::vault::sigv4::{self, Claim, Keys, ToSign};

/// What has to be signed, if anything.
pub(super) enum Resign<'k> {
    Nothing,
    Request { claim: Claim, keys: &'k Keys, date: String, payload: Payload },
}

/// What stands for the body in a signature: `x-amz-content-sha256`, or the hash of a body that is read.
pub(super) enum Payload {
    /// The client's own word: a hash of the bytes as they pass, or that they are not signed.
    Declared(String),
    /// The chunks are signed one by one.
    SignedChunks(String),
    Whole,
}

impl<'k> Resign<'k> {
    /// Reads the client's signature.
    pub(super) fn plan(head: &RequestHead, prepared: &'k Prepared) -> Result<Self, Error> {
        let Attachment::Signature(keys) = &prepared.attachment else { return Ok(Self::Nothing) };
        let fields = head.fields();
        let authorization = text(fields, "authorization").ok_or(Error::NotSigned)?;
        let claim = Claim::parse(authorization).ok_or(Error::UnknownSignature)?;
        let date = text(fields, "x-amz-date").ok_or(Error::UnknownSignature)?.to_owned();
        let payload = match text(fields, "x-amz-content-sha256") {
            None => Payload::Whole,
            // The body changes on its way, so its hash does too.
            Some(_) if prepared.substitutions.covers(Surface::Body) => return Err(Error::UnknownSignature),
            Some(word @ ("UNSIGNED-PAYLOAD" | "STREAMING-UNSIGNED-PAYLOAD-TRAILER")) => {
                Payload::Declared(word.to_owned())
            }
            Some(
                word @ ("STREAMING-AWS4-HMAC-SHA256-PAYLOAD" | "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER"),
            ) => Payload::SignedChunks(word.to_owned()),
            Some(hash) if hash.len() == 64 && hash.bytes().all(|b| b.is_ascii_hexdigit()) => {
                Payload::Declared(hash.to_owned())
            }
            Some(_) => return Err(Error::UnknownSignature),
        };
        Ok(Self::Request { claim, keys, date, payload })
    }

    /// How much of the body the signature needs.
    pub(super) fn need(&self) -> Need {
        match self {
            Self::Request { payload: Payload::Whole, .. } => Need::Whole,
            _ => Need::Head,
        }
    }

    /// The fields that carry the signature; chunks that follow will be signed with it.
    pub(super) fn sign(
        &self,
        outbound: &Outbound<'_>,
        upload: &mut Upload<'_>,
    ) -> Result<Vec<InjectedField>, Error> {
        let Self::Request { claim, keys, date, payload } = self else { return Ok(Vec::new()) };
        let target = outbound.request_target();
        let target = str::from_utf8(&target).map_err(|_| Error::UnknownSignature)?;
        let mut fields = Vec::new();
        outbound.each_field(|name, value| fields.push((name.to_ascii_lowercase(), value.to_vec())));
        let token = keys.session_token.as_ref();
        fields.extend(token.map(|token| ("x-amz-security-token".to_owned(), token.expose().to_vec())));
        let payload_hash: Cow<'_, str> = match payload {
            Payload::Declared(word) | Payload::SignedChunks(word) => word.into(),
            Payload::Whole => sigv4::hash(upload.whole()).into(),
        };
        let request = ToSign {
            method: outbound.head.method(),
            target,
            fields: &fields,
            payload_hash: &payload_hash,
            date,
        };
        let signed = claim.sign(&request, keys);
        if matches!(payload, Payload::SignedChunks(_)) {
            upload.rest().resign(Resigner::new(signed.chunks));
        }
        let authorization = InjectedField { name: "Authorization".to_owned(), value: signed.authorization };
        let token = token
            .map(|token| InjectedField { name: "X-Amz-Security-Token".to_owned(), value: token.clone() });
        Ok(std::iter::once(authorization).chain(token).collect())
    }
}

/// The one value of a field; two of them could be read in two ways.
fn text<'h>(fields: &'h Fields, name: &'h str) -> Option<&'h str> {
    let mut values = fields.all(name);
    let value = values.next().filter(|_| values.next().is_none())?;
    str::from_utf8(value).ok()
}
