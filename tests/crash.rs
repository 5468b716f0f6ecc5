//! Promise: what the broker acknowledged is there after a kill at any moment, what it deleted stays
//! deleted, and its state opens every time.
//!
//! Writers change everything a control plane holds, each in a vault of its own, until the broker is killed
//! under them. A change that was answered is known; one that was not may have happened or not, and
//! nothing else. The next life of the broker is asked what is there. Kills also fall into its start, the
//! very first included. `AGENT_VAULT_CRASH_SEED` repeats a run's choices, which a failure prints.

#![allow(clippy::print_stdout, reason = "a run says which seed repeats it")]

#[path = "support/mod.rs"]
mod support;

#[allow(dead_code, reason = "this test uses its own part of it")]
#[path = "api/site.rs"]
mod site;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::mpsc::{self, Sender};
use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use nix::sys::signal::Signal;
use serde_json::{Value, json};
use site::{Caller, Site, text};
use support::{BINARY, PATIENCE, Running, TempDir, bare};

/// Brokers side by side, kills of each, writers of each.
const BROKERS: u64 = 3;
const KILLS: u32 = 70;
const WRITERS: u64 = 3;
/// Things of each kind a writer works on.
const THINGS: u64 = 4;
/// A broker is left to its writers for fewer acknowledged changes than this, however long they take on a slow
/// machine, and then for a moment.
const CHANGES_IN_A_LIFE: u64 = 16;
const LONGEST_MOMENT: Duration = Duration::from_millis(20);
/// Longer than a start takes.
const LONGEST_START: Duration = Duration::from_millis(40);
/// Tokens that ended and are tried again, the latest ones.
const DEAD_TOKENS: usize = 12;
/// A token was made and its answer never came.
const UNHEARD: &str = "?";

/// Splitmix64: the choices of a run follow from its seed.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    fn moment(&mut self, within: Duration) -> Duration {
        Duration::from_micros(self.below(u64::try_from(within.as_micros()).expect("a short span")))
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Agent,
    Credential,
    Service,
    Session,
    Vault,
}

const KINDS: [Kind; 5] = [Kind::Agent, Kind::Credential, Kind::Service, Kind::Session, Kind::Vault];

type Thing = (Kind, String);

/// What a thing is: absent, or present with this value (a credential's value, a token).
type State = Option<String>;

/// What is known of a thing.
#[derive(Clone, Debug)]
enum Known {
    Surely(State),
    /// As it was, or as an unanswered change would have made it.
    Either(State, State),
}

/// One writer: what it may touch, and what it knows of it.
struct Writer {
    name: String,
    random: Random,
    known: BTreeMap<Thing, Known>,
    /// Tokens whose end was acknowledged, or seen.
    dead: Vec<String>,
    acknowledged: u64,
}

/// The broker went away before it answered.
struct Gone;

impl Writer {
    fn new(name: String, seed: u64) -> Self {
        Self { name, random: Random(seed), known: BTreeMap::new(), dead: Vec::new(), acknowledged: 0 }
    }

    /// Changes one thing after the other until the broker is gone.
    fn write(&mut self, owner: &Caller, heard: &Sender<()>) {
        loop {
            let kind = KINDS[usize::try_from(self.random.below(5)).expect("small")];
            let at = self.random.below(THINGS);
            let name = match kind {
                Kind::Credential => format!("KEY_{at}"),
                _ => format!("{}-{}-{at}", self.name, format!("{kind:?}").to_lowercase()),
            };
            let thing = (kind, name);
            let before = match self.known.get(&thing) {
                None => None,
                Some(Known::Surely(state)) => state.clone(),
                Some(Known::Either(..)) => unreachable!("settled after each restart"),
            };
            let keeps = before.is_none() || self.random.below(2) == 0;
            let (after, outcome) = self.change(owner, &thing, &before, keeps);
            let known = match outcome {
                Ok(state) => {
                    self.acknowledged += 1;
                    // Nobody counts any more once the kill is on its way.
                    let _counted = heard.send(());
                    self.bury(&before, &state);
                    Known::Surely(state)
                }
                Err(Gone) => Known::Either(before, after),
            };
            let is_gone = matches!(known, Known::Either(..));
            self.known.insert(thing, known);
            if is_gone {
                return;
            }
        }
    }

    /// Makes, renews or deletes a thing: what it would be then, and what it is if that was answered.
    fn change(
        &mut self,
        owner: &Caller,
        (kind, name): &Thing,
        before: &State,
        keeps: bool,
    ) -> (State, Result<State, Gone>) {
        let vault = &self.name;
        let value = format!("value {}", self.random.next());
        match (kind, keeps) {
            (Kind::Credential, true) => {
                let pair = json!({name: value, format!("{name}_TWIN"): value});
                let body = json!({"vault": vault, "credentials": pair});
                let made = ask(owner, "POST", "/v1/credentials", Some(body));
                (Some(value.clone()), made.map(|_| Some(value)))
            }
            (Kind::Credential, false) => {
                let body = json!({"vault": vault, "keys": [name, format!("{name}_TWIN")]});
                (None, ask(owner, "DELETE", "/v1/credentials", Some(body)).map(|_| None))
            }
            (Kind::Service, true) => {
                let host = format!("h{}.example.com", self.random.next());
                let service = json!({"name": name, "host": host, "auth": {"type": "passthrough"}});
                let path = format!("/v1/vaults/{vault}/services");
                let made = ask(owner, "POST", &path, Some(json!({"services": [service]})));
                (Some(host.clone()), made.map(|_| Some(host)))
            }
            (Kind::Service, false) => {
                let path = format!("/v1/vaults/{vault}/services/{name}");
                (None, ask(owner, "DELETE", &path, None).map(|_| None))
            }
            (Kind::Vault, _) if before.is_none() => {
                let made = ask(owner, "POST", "/v1/vaults", Some(json!({"name": name})));
                (Some(String::new()), made.map(|_| Some(String::new())))
            }
            (Kind::Vault, _) => {
                (None, ask(owner, "DELETE", &format!("/v1/vaults/{name}"), None).map(|_| None))
            }
            (Kind::Agent, true) => {
                let made = if before.is_none() {
                    let grant = json!([{"vault_name": vault, "vault_role": "proxy"}]);
                    ask(owner, "POST", "/v1/agents", Some(json!({"name": name, "vaults": grant})))
                } else {
                    ask(owner, "POST", &format!("/v1/agents/{name}/rotate"), None)
                };
                (Some(UNHEARD.to_owned()), made.map(|body| Some(text(&body, "av_agent_token").to_owned())))
            }
            (Kind::Agent, false) => {
                (None, ask(owner, "POST", &format!("/v1/agents/{name}/delete"), None).map(|_| None))
            }
            (Kind::Session, _) if before.is_none() => {
                let body = json!({"vault": vault, "ttl_seconds": 86_400, "label": name});
                let made = ask(owner, "POST", "/v1/sessions", Some(body));
                (Some(UNHEARD.to_owned()), made.map(|body| Some(text(&body, "token").to_owned())))
            }
            (Kind::Session, _) => {
                let Ok(found) = sessions(owner, vault) else { return (before.clone(), Err(Gone)) };
                let path = format!("/v1/sessions/{}?vault={vault}", found[name]);
                (None, ask(owner, "DELETE", &path, None).map(|_| None))
            }
        }
    }

    /// Remembers a token that ended.
    fn bury(&mut self, before: &State, after: &State) {
        if let Some(token) = before.as_ref().filter(|token| token.starts_with("av_") && before != after) {
            self.dead.push(token.clone());
            let spare = self.dead.len().saturating_sub(DEAD_TOKENS);
            self.dead.drain(..spare);
        }
    }

    /// Compares what is there with what is known, and settles what was not.
    fn verify(&mut self, site: &Site, owner: &Caller) {
        let seen = look(owner, &self.name);
        let path = format!("/v1/vaults/{}/services", self.name);
        let is_live = |token: &str| site.with_token(token).get(&path).status == 200;
        for (thing, known) in std::mem::take(&mut self.known) {
            let (kind, name) = &thing;
            let candidates = match &known {
                Known::Surely(state) => vec![state],
                Known::Either(before, after) => vec![before, after],
            };
            let actual = match (kind, seen.get(&thing)) {
                (_, None) => None,
                (Kind::Agent | Kind::Session, Some(_)) => {
                    let tokens = candidates.iter().copied().flatten().filter(|token| *token != UNHEARD);
                    let found = tokens.into_iter().find(|token| is_live(token));
                    Some(found.map_or_else(|| UNHEARD.to_owned(), Clone::clone))
                }
                (_, Some(value)) => Some(value.clone()),
            };
            assert!(candidates.contains(&&actual), "{kind:?} {name} is {actual:?}, known was {known:?}");
            if let Known::Either(before, _) = &known {
                self.bury(before, &actual);
            }
            self.known.insert(thing, Known::Surely(actual));
        }
        for thing in seen.keys().filter(|(_, name)| name.starts_with(&self.name) || name.starts_with("KEY")) {
            assert!(self.known.contains_key(thing), "{thing:?} is there and was never made");
        }
        for token in &self.dead {
            assert!(!is_live(token), "a token that had ended is back in {}", self.name);
        }
    }
}

/// Asks; a refusal is a failure of the test.
fn ask(owner: &Caller, method: &str, path: &str, body: Option<Value>) -> Result<Value, Gone> {
    let body = Some(body.unwrap_or_else(|| json!({})).to_string());
    let answer = owner.try_call(method, path, &[], body).map_err(|_| Gone)?;
    assert!(matches!(answer.status, 200 | 201), "{method} {path}: {} {}", answer.status, answer.body);
    Ok(answer.json())
}

/// A vault's scoped tokens: label and public id.
fn sessions(owner: &Caller, vault: &str) -> Result<BTreeMap<String, String>, Gone> {
    let path = format!("/v1/sessions?vault={vault}");
    let answer = owner.try_call("GET", &path, &[], None).map_err(|_| Gone)?.expect(200).json();
    let sessions = answer["sessions"].as_array().expect("a list");
    Ok(sessions.iter().map(|one| (text(one, "label").to_owned(), text(one, "id").to_owned())).collect())
}

/// Everything of a writer that is there.
fn look(owner: &Caller, vault: &str) -> BTreeMap<Thing, String> {
    let get = |path: &str, list: &str| -> Vec<Value> {
        owner.get(path).expect(200).json()[list].as_array().expect("a list").clone()
    };
    let mut seen = BTreeMap::new();
    let mut twins = BTreeSet::new();
    for entry in get(&format!("/v1/credentials?vault={vault}&reveal=true"), "credentials") {
        let (key, value) = (text(&entry, "key"), text(&entry, "value").to_owned());
        match key.strip_suffix("_TWIN") {
            Some(key) => drop(twins.insert((key.to_owned(), value))),
            None => drop(seen.insert((Kind::Credential, key.to_owned()), value)),
        }
    }
    let keys = seen.iter().map(|((_, key), value)| (key.clone(), value.clone()));
    assert_eq!(keys.collect::<BTreeSet<_>>(), twins, "what was stored together is there together");
    for service in get(&format!("/v1/vaults/{vault}/services"), "services") {
        seen.insert((Kind::Service, text(&service, "name").to_owned()), text(&service, "host").to_owned());
    }
    for (kind, path, list) in [(Kind::Vault, "/v1/vaults", "vaults"), (Kind::Agent, "/v1/agents", "agents")] {
        for one in get(path, list) {
            seen.insert((kind, text(&one, "name").to_owned()), String::new());
        }
    }
    let own = (Kind::Vault, vault.to_owned());
    assert!(seen.remove(&own).is_some(), "the vault {vault} is gone");
    for (label, id) in sessions(owner, vault).unwrap_or_else(|_| panic!("the broker is gone")) {
        seen.insert((Kind::Session, label), id);
    }
    seen
}

/// Kills a broker somewhere in its start.
fn kill_at_start(home: &TempDir, random: &mut Random) {
    let mut command = bare(Path::new(BINARY), home.path());
    command.args(["server", "--port", "0", "--mitm-port", "auto"]);
    let mut running = Running::start(&mut command);
    thread::park_timeout(random.moment(LONGEST_START));
    running.signal(Signal::SIGKILL);
    running.wait();
}

/// The lives of one broker; how many changes were acknowledged.
fn lives(broker: u64, seed: u64) -> u64 {
    let mut random = Random(seed);
    let mut home = TempDir::new();
    let mut kills = 0;
    // The very first start, over and over: a state that is just being made opens, too.
    while kills < 5 {
        kill_at_start(&home, &mut random);
        kills += 1;
    }
    let mut site = Site::start_in(home, &[], &[("AGENT_VAULT_RATELIMIT_PROFILE", "off")]);
    site.process.line_after("Agent Vault transparent proxy listening on ");
    let owner = site.owner();
    let login = owner.token.clone().expect("a login");
    let mut writers: Vec<Writer> =
        (0..WRITERS).map(|at| Writer::new(format!("b{broker}w{at}"), random.next())).collect();
    for writer in &writers {
        owner.post("/v1/vaults", &json!({"name": writer.name})).expect(201);
    }
    loop {
        let owner = site.with_token(&login);
        let (heard, changes) = mpsc::channel();
        let answers = thread::scope(|scope| {
            for writer in &mut writers {
                let (owner, heard) = (owner.clone(), heard.clone());
                scope.spawn(move || writer.write(&owner, &heard));
            }
            let wanted = random.below(CHANGES_IN_A_LIFE);
            let answers = (0..wanted).all(|_| changes.recv_timeout(PATIENCE).is_ok());
            thread::park_timeout(random.moment(LONGEST_MOMENT));
            site.process.signal(Signal::SIGKILL);
            answers
        });
        assert!(answers, "the broker acknowledges nothing any more");
        site.process.wait();
        kills += 1;
        home = site.home;
        if random.below(6) == 0 {
            kill_at_start(&home, &mut random);
            kills += 1;
        }
        site = Site::start_in(home, &[], &[("AGENT_VAULT_RATELIMIT_PROFILE", "off")]);
        site.process.line_after("Agent Vault transparent proxy listening on ");
        let owner = site.with_token(&login);
        for writer in &mut writers {
            writer.verify(&site, &owner);
        }
        if kills >= KILLS {
            return writers.iter().map(|writer| writer.acknowledged).sum();
        }
    }
}

#[test]
fn every_acknowledged_change_survives_two_hundred_kills() {
    // 103
    let clock = || SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |age| age.as_secs());
    let given = std::env::var("AGENT_VAULT_CRASH_SEED").ok();
    let seed = given.map_or_else(clock, |text| text.parse().expect("a seed is a number"));
    println!("AGENT_VAULT_CRASH_SEED={seed}");
    let acknowledged: u64 = thread::scope(|scope| {
        let brokers: Vec<_> =
            (0..BROKERS).map(|at| scope.spawn(move || lives(at, seed.wrapping_add(at << 32)))).collect();
        brokers.into_iter().map(|broker| broker.join().unwrap_or_else(|_| panic!("seed {seed}"))).sum()
    });
    println!("{acknowledged} changes acknowledged");
    assert!(
        acknowledged > 4 * u64::from(KILLS) * BROKERS,
        "too few changes to show anything: {acknowledged}"
    );
}
