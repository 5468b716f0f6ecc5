//! One request and its response.
//!
//! judge → rewrite → upstream → send → response head → body, with both directions open throughout: an
//! upstream may answer before it has the whole body, and interim responses pass as they come.

use std::sync::Arc;
use std::time::{Duration, Instant};

use zeroize::Zeroizing;

use super::Proxy;
use super::awaited::{HeadCourse, before_head, in_body};
use super::body::{Body, Outgoing};
use super::error::Error;
use super::judge;
use super::pool::Key;
use super::record::Record;
use super::refusal::{ANSWER_TIME, LINGER_TIME, Refused, after_refusal, refuse};
use super::renewal;
use super::resign::Resign;
use super::rewrite::{self, Outbound, ResponseFraming};
use super::route::Route;
use super::upload::Upload;
use super::upstream::Upstream;
use super::websocket::{self, Frames};
use crate::http1::body::BodyReader;
use crate::http1::framing::Framing;
use crate::http1::head::{RequestHead, ResponseHead, Version};
use crate::http1::respond::After;
use crate::net::Deadline;
use crate::net::channel::Channel;
use crate::net::duplex::{self, Course, Direction, Everything, Until};
use crate::peer;
use crate::vault::service::Surface;
use crate::vault::{Prepared, Snapshot};

/// Longest silence inside a body, either way. No total: a stream may live for hours.
const BODY_IDLE: Duration = Duration::from_secs(10 * 60);

/// Longest silence on a WebSocket, both ways.
const WEBSOCKET_IDLE: Duration = Duration::from_secs(10 * 60);
/// What is done to a request that no service matches.
static NOTHING: Prepared = Prepared::NOTHING;

/// How an exchange that reached its response ended.
struct Ended {
    status: u16,
    after: After,
    error: Option<Error>,
}

/// Serves one request and writes its record. Every refusal inside is a `?`; it is answered here, once.
pub(super) fn serve(proxy: &Proxy, client: &mut dyn Channel, head: &RequestHead, route: &Route<'_>) -> After {
    let mut record = Record::start(head, route);
    match run(proxy, client, head, route, &mut record) {
        Ok(ended) => {
            if let Some(error) = &ended.error {
                proxy.counters.count(error.kind());
            }
            let verdict = if record.is_matched() { &proxy.traffic.attached } else { &proxy.traffic.passed };
            verdict.add();
            record.finish(proxy, ended.status, ended.error.as_ref());
            ended.after
        }
        Err(error) => {
            proxy.traffic.refused.add();
            record.finish(proxy, error.status(), Some(&error));
            let on = Refused {
                target: Some(route.target),
                vault: &route.scope.vault_name,
                method: head.method(),
                after: after_refusal(head, &error),
            };
            refuse(proxy, client, &error, &on)
        }
    }
}

fn run(
    proxy: &Proxy,
    client: &mut dyn Channel,
    head: &RequestHead,
    route: &Route<'_>,
    record: &mut Record<'_>,
) -> Result<Ended, Error> {
    let framing = Framing::of_request(head).map_err(Error::Malformed)?;
    // Held until the exchange is over; a WebSocket holds it until it closes.
    let _slot = proxy.tiers.admit(route.scope)?;
    if matches!(framing, Framing::Length(length) if length > proxy.limits.max_request_bytes) {
        return Err(Error::RequestTooLarge);
    }
    judge::method(head.method())?;
    let snapshot = proxy.directory.snapshot(route.scope).map_err(Error::Rules)?;
    let snapshot = renewal::before_sending(proxy, route, snapshot, record)?;
    let judged = judge::target(&snapshot, route.target, route.scheme, route.raw_path());
    if let Some(compiled) = judged.compiled {
        record.matched(compiled.service());
    }
    let prepared = judged.outcome?.unwrap_or(&NOTHING);
    let is_upgrade = websocket::is_upgrade(head) && framing == Framing::Empty;
    let request = Request { proxy, head, route, framing, is_upgrade };
    let mut ready = request.ready(client, prepared)?;
    let key = Key {
        scheme: route.scheme,
        target: route.target.clone(),
        vault_id: Arc::clone(&route.scope.vault_id),
    };
    let mut attempt = Attempt { proxy, head, is_upgrade, key: &key, record, has_heard: false };
    let upstream = proxy.upstreams.checkout(&key)?;
    let can_replay = upstream.is_reused && is_replayable(head.method(), framing);
    let answered = match attempt.ask(client, upstream, &mut ready) {
        Err(Error::UpstreamClosed) if can_replay && !attempt.has_heard => {
            attempt.ask(client, proxy.upstreams.open(&key)?, &mut ready)?
        }
        other => other?,
    };
    if answered.response.status() == 401
        && request.is_repeatable()
        && let Some(renewed) = renewal::after_refusal(proxy, route, &snapshot)
    {
        return attempt.repeat(client, &request, &renewed, answered);
    }
    attempt.deliver(client, answered)
}

/// What the client asks for, as it can be sent more than once.
struct Request<'a> {
    proxy: &'a Proxy,
    head: &'a RequestHead,
    route: &'a Route<'a>,
    framing: Framing,
    is_upgrade: bool,
}

/// A request ready to go out.
struct Ready<'p> {
    prepared: &'p Prepared,
    /// The head. It holds the credential.
    outgoing: Zeroizing<Vec<u8>>,
    upload: Upload<'p>,
}

impl Request<'_> {
    /// Writes the head, and looks at the body as far as that needs it.
    fn ready<'p>(&self, client: &mut dyn Channel, prepared: &'p Prepared) -> Result<Ready<'p>, Error> {
        let Self { proxy, head, route, framing, is_upgrade } = *self;
        let limit = proxy.limits.max_request_bytes;
        let resign = Resign::plan(head, prepared)?;
        let mut upload = Upload::prepare(client, head, framing, prepared, limit, resign.need())?;
        let outbound = Outbound {
            head,
            target: route.target,
            scheme: route.scheme,
            path: route.path,
            prepared,
            framing: upload.framing,
            is_continued: upload.is_continued,
            is_upgrade,
        };
        let signature = resign.sign(&outbound, &mut upload)?;
        // Room for all of it: what a vector leaves behind when it grows is not wiped.
        let mut outgoing = Zeroizing::new(Vec::with_capacity(outbound.room(&signature)));
        outbound.write(&mut outgoing, &signature);
        Ok(Ready { prepared, outgoing, upload })
    }

    /// Whether it may be sent once more with another credential (contract D.9).
    fn is_repeatable(&self) -> bool {
        let is_bodiless = matches!(self.framing, Framing::Empty | Framing::Length(0));
        matches!(self.head.method(), "GET" | "HEAD") && is_bodiless && !self.is_upgrade
    }
}

/// Whether a request may be sent a second time when a reused connection dies without a byte of response:
/// its method says that twice is as good as once (RFC 9110 §9.2.2) and there is no body to send again.
fn is_replayable(method: &str, framing: Framing) -> bool {
    matches!(method, "GET" | "HEAD" | "OPTIONS" | "PUT" | "DELETE")
        && matches!(framing, Framing::Empty | Framing::Length(0))
}

/// One request on its way to an upstream and back.
struct Attempt<'a, 'r> {
    proxy: &'a Proxy,
    head: &'a RequestHead,
    is_upgrade: bool,
    key: &'a Key,
    record: &'a mut Record<'r>,
    /// Something has come back: then the request has been read, and the client may have been told.
    has_heard: bool,
}

/// A response whose head is in hand. The request's body may still be on its way.
struct Answered<'u> {
    upstream: Upstream,
    response: ResponseHead,
    prepared: &'u Prepared,
    outgoing: &'u [u8],
    up: Direction<'u>,
}

impl Attempt<'_, '_> {
    /// Sends the request and waits for the head of the response.
    fn ask<'u>(
        &mut self,
        client: &mut dyn Channel,
        mut upstream: Upstream,
        ready: &'u mut Ready<'_>,
    ) -> Result<Answered<'u>, Error> {
        let Ready { prepared, outgoing, upload } = ready;
        let channel = &mut *upstream.channel;
        let sent = channel.send(outgoing).and_then(|()| upload.send_window(channel));
        sent.map_err(|_| Error::UpstreamClosed)?;

        let mut up = Direction::new(upload.rest());
        let mut awaited = HeadCourse::new(self.head.version(), self.is_upgrade);
        let mut down = Direction::new(&mut awaited);
        let done = duplex::run(
            client,
            channel,
            &mut up,
            &mut down,
            Until::DownDone,
            self.proxy.limits.response_time,
        );
        self.has_heard = awaited.interims > 0 || !channel.received().is_empty();
        done.map_err(before_head)?;
        Ok(Answered { upstream, response: awaited.head, prepared, outgoing, up })
    }

    /// Sends a request that was refused once more, if it goes out differently by these rules; the first
    /// answer is kept until the second is in hand.
    fn repeat(
        &mut self,
        client: &mut dyn Channel,
        request: &Request<'_>,
        renewed: &Snapshot,
        first: Answered<'_>,
    ) -> Result<Ended, Error> {
        let route = request.route;
        let judged = judge::target(renewed, route.target, route.scheme, route.raw_path());
        let Ok(Some(prepared)) = judged.outcome else { return self.deliver(client, first) };
        let Ok(mut ready) = request.ready(client, prepared) else { return self.deliver(client, first) };
        if *ready.outgoing == first.outgoing {
            return self.deliver(client, first);
        }
        let upstream = self.proxy.upstreams.open(self.key);
        match upstream.and_then(|upstream| self.ask(client, upstream, &mut ready)) {
            Ok(second) => {
                drop(first);
                self.deliver(client, second)
            }
            Err(_) => self.deliver(client, first),
        }
    }

    /// Passes a response on to the client.
    fn deliver(&mut self, client: &mut dyn Channel, answered: Answered<'_>) -> Result<Ended, Error> {
        let Answered { mut upstream, response, prepared, mut up, .. } = answered;
        let response = &response;
        let channel = &mut *upstream.channel;
        if response.status() == 101 {
            return self.switch(client, channel, response, prepared);
        }
        let framing =
            Framing::of_response(response, self.head.method()).map_err(|_| Error::UpstreamMalformed)?;
        self.check_length(framing)?;
        let (announced, framed) = self.reframe(response, framing);
        let has_end = announced != ResponseFraming::Body(Framing::UntilClose);
        let after = if has_end && up.is_done() && self.head.wants_keep_alive() {
            After::KeepAlive
        } else {
            After::Close
        };
        let mut out = Vec::with_capacity(512);
        rewrite::response(&mut out, response, announced, self.head.version(), after);
        client.send(&out).map_err(|_| Error::ClientGone)?;

        let mut download = Body::new(BodyReader::new(framing), framed, self.response_limit());
        let mut down = Direction::new(&mut download);
        let done = duplex::run(client, channel, &mut up, &mut down, Until::DownDone, BODY_IDLE);
        let is_uploaded = up.is_done();
        let status = response.status();
        if let Err(fault) = done {
            // Part of the response is out: what is known of it is delivered, and the end is a cut.
            drop(client.flush_by(Deadline::after(ANSWER_TIME)));
            return Ok(Ended { status, after: After::Close, error: Some(in_body(&fault)) });
        }
        let is_reusable = response.wants_keep_alive() && framing != Framing::UntilClose && is_uploaded;
        if is_reusable && upstream.channel.received().is_empty() && upstream.channel.backlog() == 0 {
            self.proxy.upstreams.checkin(self.key.clone(), upstream.channel, Instant::now());
        }
        let after = if is_uploaded { after } else { After::Close };
        if after == After::Close {
            // A proper goodbye tells a complete response from a cut; a peer that has left needs none.
            let patience = if is_uploaded { Duration::ZERO } else { LINGER_TIME };
            peer::linger(client, Deadline::after(patience));
        }
        Ok(Ended { status, after, error: None })
    }

    /// The upstream has agreed to speak WebSocket: frames both ways until one side ends.
    fn switch(
        &mut self,
        client: &mut dyn Channel,
        upstream: &mut dyn Channel,
        response: &ResponseHead,
        prepared: &Prepared,
    ) -> Result<Ended, Error> {
        let mut out = Vec::with_capacity(512);
        rewrite::switching(&mut out, response);
        client.send(&out).map_err(|_| Error::ClientGone)?;
        self.record.finish(self.proxy, response.status(), None);
        let substitutions = &prepared.substitutions;
        let (mut frames, mut bytes) = (Frames::new(substitutions), Everything);
        let course: &mut dyn Course =
            if substitutions.covers(Surface::Websocket) { &mut frames } else { &mut bytes };
        let mut up = Direction::new(course);
        let mut everything = Everything;
        let mut down = Direction::new(&mut everything);
        // However it ends, both connections end with it.
        drop(duplex::run(client, upstream, &mut up, &mut down, Until::BothDone, WEBSOCKET_IDLE));
        Ok(Ended { status: response.status(), after: After::Close, error: None })
    }

    fn response_limit(&self) -> u64 {
        self.proxy.limits.max_response_bytes.unwrap_or(u64::MAX)
    }

    fn check_length(&self, framing: Framing) -> Result<(), Error> {
        let limit = self.response_limit();
        match framing {
            Framing::Length(declared) if declared > limit => Err(Error::ResponseTooLarge { declared, limit }),
            _ => Ok(()),
        }
    }

    /// How the response's body is framed for this client: a body that ends with the upstream's connection
    /// becomes chunked, so that its end can be told from a cut, unless the client speaks HTTP/1.0.
    fn reframe(&self, response: &ResponseHead, framing: Framing) -> (ResponseFraming, Outgoing) {
        let is_bodiless = framing == Framing::Empty && !matches!(response.status(), 204 | 100..=199);
        match (framing, self.head.version()) {
            (Framing::Empty, _) if is_bodiless => (ResponseFraming::AsDeclared, Outgoing::Plain),
            (Framing::Empty, _) => (ResponseFraming::Body(Framing::Empty), Outgoing::Plain),
            (Framing::Length(_), _) => (ResponseFraming::Body(framing), Outgoing::Plain),
            (_, Version::Http11) => (ResponseFraming::Body(Framing::Chunked), Outgoing::Chunked),
            (_, Version::Http10) => (ResponseFraming::Body(Framing::UntilClose), Outgoing::Plain),
        }
    }
}
