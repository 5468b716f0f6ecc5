//! Promise: people get an account, prove it, log in, and end what they began. What only time or another
//! process would do, the tests do to the database beside the running broker.

mod limits;
mod logins;
mod passwords;
mod registration;
mod verification;

use rusqlite::Connection;
use serde_json::{Value, json};

use crate::site::{Answer, Caller, PASSWORD, Site, text};

const MEMBER: &str = "member@example.test";

impl Site {
    /// Registers somebody who is not the first.
    fn sign_up(&self, email: &str) -> Answer {
        self.nobody().post("/v1/auth/register", &json!({"email": email, "password": PASSWORD}))
    }

    /// Waits for the next code of this kind that the broker prints for the address.
    #[track_caller]
    pub(crate) fn code(&mut self, kind: &str, email: &str) -> String {
        let code = self.process.line_after(&format!("{kind} code for {email}: "));
        assert!(code.len() == 6 && code.bytes().all(|b| b.is_ascii_digit()), "{code:?}");
        code
    }

    fn verify(&self, email: &str, code: &str) -> Answer {
        self.nobody().post("/v1/auth/verify", &json!({"email": email, "code": code}))
    }

    /// Somebody with an account that is proved, logged in.
    #[track_caller]
    fn member(&mut self, email: &str) -> Caller {
        self.sign_up(email).expect(201);
        let code = self.code("Verification", email);
        let verified = self.verify(email, &code).expect(200).json();
        self.with_token(text(&verified, "token"))
    }

    /// How many codes of this kind were printed for the address. A code for somebody else is printed last
    /// and waited for, so that none is still on its way.
    #[track_caller]
    fn count_of_codes(&mut self, kind: &str, email: &str) -> usize {
        let last = "sentinel@example.test";
        self.sign_up(last).expect(201);
        self.code("Verification", last);
        let start = format!("{kind} code for {email}: ");
        self.process.output().lines().filter(|line| line.starts_with(&start)).count()
    }

    fn database(&self) -> Connection {
        let database = Connection::open(self.home.join(".agent-vault/agent-vault.db")).expect("a database");
        database.busy_timeout(std::time::Duration::from_secs(10)).expect("a timeout");
        database
    }

    /// A number the database knows.
    #[track_caller]
    fn count(&self, sql: &str) -> u32 {
        self.database().query_row(sql, [], |row| row.get(0)).expect("a count")
    }

    /// Does to the database what time or another process would.
    #[track_caller]
    fn meddle(&self, sql: &str) -> usize {
        self.database().execute(sql, []).expect("a change")
    }

    #[track_caller]
    fn log_in(&self, email: &str, password: &str, label: &str) -> Caller {
        let form = json!({"email": email, "password": password, "device_label": label});
        self.with_token(text(&self.nobody().post("/v1/auth/login", &form).expect(200).json(), "token"))
    }
}

/// A caller's own logins as the list shows them.
#[track_caller]
fn logins(caller: &Caller) -> Vec<Value> {
    let listed = caller.get("/v1/auth/sessions").expect(200).json();
    listed["sessions"].as_array().expect("a list").clone()
}

/// The keys of an answer, and all of its values but those in `except`.
#[track_caller]
fn shape(answer: &Answer, except: &[&str]) -> Value {
    let mut body = answer.json();
    for key in except {
        if body.get(*key).is_some() {
            body[*key] = "…".into();
        }
    }
    json!([answer.status, body])
}
