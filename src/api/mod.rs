//! The control API: a table of routes over the store.
//!
//! Sans-IO: a [`Request`] in, an answer out; [`serve`] puts it on a socket. A route names its method, its
//! path and who may call it, and the kind of caller it names decides which function fits, so a function
//! that needs a vault role cannot be reached without one. Every answer, errors included, carries the
//! same security fields. What a client reads is the contract's text; causes from below are logged here and
//! stay here.

mod call;
mod caller;
mod counts;
mod form;
mod limits;
mod refusal;
mod request;
mod routes;
pub mod serve;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use crate::http1::respond::Answer;
use crate::metrics::Page;
use crate::net::guard::Cidr;
use crate::rate::Slot;
use crate::rate::tiers::{self, Rates};
use crate::store::retention::{self, Retention};
use crate::store::settings::Instance as Set;
use crate::store::{self, Store, Timestamp};
use crate::vault::Snapshot;
use crate::vault::service::InternalNames;
use call::{Access, Call, Instance, Route};
use counts::Counts;
use limits::Limits;
use refusal::{Refusal, Reply};
pub use request::Request;
pub(crate) use routes::normal_email;

/// On every answer (contract A.1).
const SECURITY_FIELDS: &[(&str, &str)] = &[
    ("X-Content-Type-Options", "nosniff"),
    ("X-Frame-Options", "DENY"),
    ("Referrer-Policy", "no-referrer"),
    (
        "Content-Security-Policy",
        "default-src 'self'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; \
         frame-ancestors 'none'",
    ),
];

/// Where load balancers ask.
const HEALTH: &str = "/health";

/// How the API is run.
#[derive(Debug)]
pub struct Settings {
    /// What links and `av_addr` name, without a trailing slash.
    pub base_url: String,
    /// Whether the operator chose it; only then is it announced.
    pub is_base_url_chosen: bool,
    pub internal_names: InternalNames,
    /// Peers whose `X-Forwarded-For` is believed.
    pub trusted_proxies: Vec<Cidr>,
    /// What the environment says of the rate tiers; the rest is stored.
    pub rates: tiers::Policy,
    /// The same of the request log's bounds.
    pub retention: retention::Policy,
    /// Who may read `/metrics`.
    pub watchers: Watchers,
}

/// Who may read the numbers of `/metrics`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Watchers {
    /// Whoever reaches the port.
    Anyone,
    Nobody,
    #[default]
    Owners,
}

/// The root and port of a proxy that is listening.
#[derive(Clone, Debug)]
pub struct ProxyNotice {
    pub root_pem: String,
    pub port: u16,
}

/// Says what the proxy would do with a request, given a vault's rules, its name, a method and a URL; or
/// what is wrong with the question. The proxy's own answer, handed in from above.
pub type Explain =
    Box<dyn Fn(&Snapshot, &str, &str, &str) -> Result<serde_json::Value, &'static str> + Send + Sync>;

/// Writes the numbers of the rest of the broker on a page.
pub type Measure = Box<dyn Fn(&mut Page) + Send + Sync>;

/// The rest of the broker, as far as this room asks or tells it. It lies above, so it is handed in.
pub struct Surroundings {
    pub explain: Explain,
    pub measure: Measure,
    /// Takes the rate tiers of the proxy, at the start and when an owner changes them.
    pub set_rates: Box<dyn Fn(Option<Rates>) + Send + Sync>,
    /// The same for the bounds of the request log.
    pub set_retention: Box<dyn Fn(Retention) + Send + Sync>,
}

/// The control API.
pub struct Api {
    store: Arc<Store>,
    settings: Settings,
    surroundings: Surroundings,
    proxy: OnceLock<ProxyNotice>,
    /// Set once an account exists: it never goes back.
    has_users: AtomicBool,
    limits: Limits,
    counts: Counts,
    /// Held from the change of a setting until it holds everywhere, so that the last one stored is the last
    /// one applied.
    setting: Mutex<()>,
    /// One key derivation at a time: each takes 64 MiB.
    derivation: Mutex<()>,
}

impl Api {
    pub fn new(store: Arc<Store>, settings: Settings, surroundings: Surroundings) -> Self {
        Self {
            store,
            settings,
            surroundings,
            proxy: OnceLock::new(),
            has_users: AtomicBool::new(false),
            limits: Limits::new(),
            counts: Counts::default(),
            setting: Mutex::new(()),
            derivation: Mutex::new(()),
        }
    }

    /// Announces the proxy, once it listens.
    pub fn announce_proxy(&self, notice: ProxyNotice) {
        // A second announcement would be of the same proxy: a process has one.
        drop(self.proxy.set(notice));
    }

    /// Puts what owners have set into force, here and around.
    pub fn apply_settings(&self) -> Result<(), store::Error> {
        let _one_at_a_time = self.setting.lock().unwrap_or_else(PoisonError::into_inner);
        self.apply(&self.store.instance()?);
        Ok(())
    }

    /// Changes what owners set, and puts it into force.
    fn set_instance(&self, now: Timestamp, edit: impl FnOnce(&mut Set)) -> Result<Set, store::Error> {
        let _one_at_a_time = self.setting.lock().unwrap_or_else(PoisonError::into_inner);
        let ((), instance) = self.store.edit_instance(now, edit)?;
        self.apply(&instance);
        Ok(instance)
    }

    fn apply(&self, instance: &Set) {
        let rates = self.settings.rates.resolve(&instance.rates).rates();
        self.limits.set(rates);
        (self.surroundings.set_rates)(rates);
        (self.surroundings.set_retention)(self.settings.retention.resolve(instance.retention));
    }

    /// Answers a request.
    pub fn handle(&self, request: &Request) -> Answer {
        let answer = match self.admit(request).and_then(|_slot| self.dispatch(request)) {
            Ok(answer) => answer,
            Err(refusal) => {
                self.counts.refusal(&refusal);
                refusal.into_answer(request)
            }
        };
        self.counts.answer(answer.status);
        secured(answer)
    }

    /// Tier GLOBAL. `/health` is not counted: it costs nothing, and a broker that is busy must not be taken
    /// for one that is gone by a load balancer, which would send its load to the others.
    fn admit(&self, request: &Request) -> Result<Option<Slot<()>>, Refusal> {
        if request.path == HEALTH { Ok(None) } else { self.limits.admit_any() }
    }

    fn dispatch(&self, request: &Request) -> Reply {
        // A GET route answers HEAD; the body is left out where the answer is written.
        let method = if request.method == "HEAD" { "GET" } else { request.method.as_str() };
        let mut allowed: Vec<&str> = Vec::new();
        for route in routes::TABLE {
            let Some(params) = route.capture(&request.path) else { continue };
            if route.method == method {
                let call = Call { api: self, request, params, now: Timestamp::now() };
                return call.enter(route.access);
            }
            for method in [route.method].into_iter().chain((route.method == "GET").then_some("HEAD")) {
                if !allowed.contains(&method) {
                    allowed.push(method);
                }
            }
        }
        if allowed.is_empty() {
            return Err(Refusal::error(404, "Not found"));
        }
        Err(Refusal::from(refusal::error_answer(405, "Method not allowed").with("Allow", allowed.join(", "))))
    }

    fn is_initialized(&self) -> Result<bool, Refusal> {
        if !self.has_users.load(Ordering::Relaxed) && self.store.has_users()? {
            self.has_users.store(true, Ordering::Relaxed);
        }
        Ok(self.has_users.load(Ordering::Relaxed))
    }

    /// Counts an attempt to prove an identity against a key; refuses past the tier's limit.
    fn admit_attempt(&self, key: &str, message: &str) -> Result<(), Refusal> {
        self.limits.admit_attempt(key, message)
    }
}

/// Method and path of every route, in the order of the table; `{}` stands for a parameter. What a test has to
/// cover is read here, so that a new route cannot be forgotten there.
pub fn routes() -> impl Iterator<Item = (&'static str, &'static str)> {
    routes::TABLE.iter().map(|route| (route.method, route.path))
}

/// Adds the fields that no answer goes without.
fn secured(answer: Answer) -> Answer {
    SECURITY_FIELDS.iter().fold(answer, |answer, (name, value)| answer.with(name, *value))
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::*;

    /// What a broker with this address answers to these requests, one after the other.
    fn answers(base_url: &str, requests: &[(&str, &str, &str)]) -> Vec<Answer> {
        let (_dir, store) = store::scratch();
        let settings = Settings {
            base_url: base_url.to_owned(),
            is_base_url_chosen: true,
            internal_names: InternalNames::Refused,
            trusted_proxies: Vec::new(),
            rates: tiers::Policy::default(),
            retention: retention::Policy::default(),
            watchers: Watchers::default(),
        };
        let surroundings = Surroundings {
            explain: Box::new(|_, _, _, _| Err("not asked")),
            measure: Box::new(|_| ()),
            set_rates: Box::new(|_| ()),
            set_retention: Box::new(|_| ()),
        };
        let api = Api::new(Arc::new(store), settings, surroundings);
        let answer = |(method, path, body): &(&str, &str, &str)| {
            api.handle(&Request {
                method: (*method).to_owned(),
                path: (*path).to_owned(),
                query: String::new(),
                fields: Vec::new(),
                body: Some(zeroize::Zeroizing::new(body.as_bytes().to_vec())),
                peer: IpAddr::from([127, 0, 0, 1]),
            })
        };
        requests.iter().map(answer).collect()
    }

    /// Contract J 5 and 8.
    #[test]
    fn a_chosen_address_is_announced_and_https_makes_the_cookie_secure() {
        let form = r#"{"email":"a@b.c","password":"password"}"#;
        let requests = [
            ("POST", "/v1/auth/register", form),
            ("POST", "/v1/auth/login", form),
            ("POST", "/v1/auth/logout", ""),
            ("GET", "/v1/status", ""),
        ];
        for (base_url, is_secure) in [("https://av.example.com", true), ("http://broker:14321", false)] {
            let mut answers = answers(base_url, &requests);
            let status = answers.pop().unwrap();
            for answer in &answers {
                let (_, cookie) = answer.fields.iter().find(|(name, _)| *name == "Set-Cookie").unwrap();
                assert_eq!(cookie.ends_with("; HttpOnly; SameSite=Strict; Secure"), is_secure, "{cookie}");
            }
            let status: serde_json::Value = serde_json::from_slice(&status.body).unwrap();
            assert_eq!(status["base_url"], base_url);
        }
    }
}
