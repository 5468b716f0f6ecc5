//! The control API of a real broker, as its owner calls it, and the database behind it.

use std::fs;
use std::io::Write as _;
use std::net::TcpStream;
use std::path::PathBuf;

use serde_json::Value;

use super::wire::{Answer, answer};
use crate::support::Broker;

/// A caller with a token.
pub(crate) struct Api {
    host: String,
    token: String,
    database: PathBuf,
}

/// What the API said.
pub(crate) struct Said(Answer);

impl Said {
    /// The document, if the status is this one.
    #[track_caller]
    pub(crate) fn expect(&self, status: u16) -> Value {
        assert_eq!(self.0.status, status, "{:?}", self.0);
        self.0.json()
    }
}

impl Api {
    /// As the owner, with the login that `auth register` saved.
    pub(crate) fn owner(broker: &Broker) -> Self {
        let file = broker.operator_home().join(".agent-vault/session.json");
        let session: Value = serde_json::from_str(&fs::read_to_string(file).unwrap()).unwrap();
        Self {
            host: broker.address().trim_start_matches("http://").to_owned(),
            token: session["token"].as_str().unwrap().to_owned(),
            database: broker.operator_home().with_file_name("server").join(".agent-vault/agent-vault.db"),
        }
    }

    /// Without a token, for what is public.
    pub(crate) fn nobody(address: &str) -> Self {
        let host = address.trim_start_matches("http://").to_owned();
        Self { host, token: String::new(), database: PathBuf::new() }
    }

    pub(crate) fn token(&self) -> &str {
        &self.token
    }

    /// The same broker, another caller.
    pub(crate) fn with_token(&self, token: &str) -> Self {
        Self { host: self.host.clone(), token: token.to_owned(), database: self.database.clone() }
    }

    pub(crate) fn get(&self, path: &str) -> Said {
        Said(self.call("GET", path, ""))
    }

    /// As an agent, who names the vault it means.
    pub(crate) fn get_for(&self, vault: &str, path: &str) -> Said {
        Said(self.exchange("GET", path, &format!("X-Vault: {vault}\r\n"), ""))
    }

    pub(crate) fn post(&self, path: &str, body: &Value) -> Said {
        self.send("POST", path, body)
    }

    pub(crate) fn send(&self, method: &str, path: &str, body: &Value) -> Said {
        Said(self.call(method, path, &body.to_string()))
    }

    /// One request on a connection of its own.
    pub(crate) fn call(&self, method: &str, path: &str, body: &str) -> Answer {
        self.exchange(method, path, "", body)
    }

    fn exchange(&self, method: &str, path: &str, fields: &str, body: &str) -> Answer {
        let mut stream = TcpStream::connect(&self.host).unwrap();
        let (host, token, length) = (&self.host, &self.token, body.len());
        let mut fields = format!("Host: {host}\r\nConnection: close\r\n{fields}");
        if !token.is_empty() {
            fields += &format!("Authorization: Bearer {token}\r\n");
        }
        write!(stream, "{method} {path} HTTP/1.1\r\n{fields}Content-Length: {length}\r\n\r\n{body}").unwrap();
        answer(&mut stream)
    }

    /// One value of the database, as text.
    #[track_caller]
    pub(crate) fn stored(&self, query: &str) -> String {
        let database = rusqlite::Connection::open(&self.database).unwrap();
        database.query_row(query, (), |row| row.get(0)).unwrap()
    }

    /// Changes the database behind the running broker's back: for states no call can bring about.
    #[track_caller]
    pub(crate) fn store(&self, statement: &str) {
        let database = rusqlite::Connection::open(&self.database).unwrap();
        assert!(database.execute(statement, ()).unwrap() > 0, "nothing changed: {statement}");
    }
}
