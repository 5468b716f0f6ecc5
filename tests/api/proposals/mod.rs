//! Proposals: cases 68 to 83.

mod decided;
mod made;

use rusqlite::Connection;
use serde_json::{Value, json};

use crate::site::{Answer, Caller, Site, text};

const SERVICES: &str = "/v1/vaults/default/services";

/// A broker, its owner, and an agent that may use the vault `default`.
struct Office {
    site: Site,
    owner: Caller,
    agent: Caller,
}

impl Office {
    fn open() -> Self {
        Self::open_with(&[])
    }

    fn open_with(vars: &[(&str, &str)]) -> Self {
        let site = Site::start_with(&[], vars);
        let owner = site.owner();
        let agent = site.agent(&owner, "proposer", "proxy");
        Self { site, owner, agent }
    }

    fn propose(&self, proposal: &Value) -> Answer {
        propose_in("default", &self.agent, proposal)
    }

    /// Makes a proposal; its number.
    #[track_caller]
    fn pending(&self, proposal: &Value) -> u64 {
        self.propose(proposal).expect(201).json()["id"].as_u64().expect("a number")
    }

    fn approve(&self, id: u64, credentials: &Value) -> Answer {
        approve_as(&self.owner, id, credentials)
    }

    #[track_caller]
    fn apply(&self, proposal: &Value) {
        let id = self.pending(proposal);
        assert_eq!(self.approve(id, &json!({})).expect(200).json(), json!({"id": id, "status": "applied"}));
    }

    fn status(&self, id: u64) -> String {
        text(&as_agent(&self.agent, &format!("/v1/proposals/{id}")).expect(200).json(), "status").to_owned()
    }

    #[track_caller]
    fn set_services(&self, services: &Value) {
        self.owner.send("PUT", SERVICES, &json!({"services": services})).expect(200);
    }

    fn services(&self) -> Value {
        self.owner.get(SERVICES).expect(200).json()["services"].clone()
    }

    fn store_key(&self, key: &str, value: &str) {
        self.owner.post("/v1/credentials", &json!({"credentials": {key: value}})).expect(200);
    }

    fn keys(&self) -> Value {
        self.owner.get("/v1/credentials").expect(200).json()["keys"].clone()
    }

    fn value(&self, key: &str) -> Value {
        let path = format!("/v1/credentials?reveal=true&key={key}");
        self.owner.get(&path).expect(200).json()["credentials"][0]["value"].clone()
    }

    /// Changes the store behind the broker's back, as time would.
    fn sql(&self, statement: &str) {
        let database = self.site.home.join(".agent-vault/agent-vault.db");
        let database = Connection::open(database).expect("the broker's database");
        database.busy_timeout(std::time::Duration::from_secs(20)).expect("a timeout");
        database.execute(statement, []).expect("a statement");
    }
}

fn approve_as(reviewer: &Caller, id: u64, credentials: &Value) -> Answer {
    let body = json!({"vault": "default", "credentials": credentials});
    reviewer.post(&format!("/v1/admin/proposals/{id}/approve"), &body)
}

fn propose_in(vault: &str, agent: &Caller, proposal: &Value) -> Answer {
    agent.call("POST", "/v1/proposals", &[("X-Vault", vault)], Some(proposal.to_string()))
}

fn as_agent(agent: &Caller, path: &str) -> Answer {
    agent.get_with(path, &[("X-Vault", "default")])
}

fn bearer(name: &str, host: &str, key: &str) -> Value {
    json!({"name": name, "host": host, "auth": {"type": "bearer", "token": key}})
}

fn set(name: &str, host: &str, key: &str) -> Value {
    json!({"action": "set", "name": name, "host": host, "auth": {"type": "bearer", "token": key}})
}

fn delete(host: &str) -> Value {
    json!({"services": [{"action": "delete", "host": host}]})
}

fn slot(key: &str) -> Value {
    json!({"action": "set", "key": key})
}

/// One service and the credential it needs.
fn stripe() -> Value {
    json!({"services": [set("stripe", "api.stripe.com", "STRIPE_KEY")], "credentials": [slot("STRIPE_KEY")],
        "message": "balances", "user_message": "I need to read balances"})
}

/// The token of an approval link.
fn link(created: &Value) -> String {
    text(created, "approval_url").split_once("?token=").expect("a token").1.to_owned()
}
