//! Each schema there has been, with something in every table, opened by the program of today.
//!
//! A step's fixture is written for the schema of that step and stays as it is, like the step. A table no
//! fixture fills fails the test, so a new step brings its own.

use std::collections::BTreeMap;
use std::path::Path;

use rusqlite::Connection;

use super::credentials::place;
use super::seal::{self, Seal};
use super::{DATABASE, Locked, Store, Timestamp, connect, migrate};
use crate::secret::Secret;
use crate::store::agents::Agent;
use crate::store::request_logs::{Filter, Page};
use crate::store::sessions::{Holder, Standing};
use crate::vault::UnmatchedPolicy;
use crate::vault::scope::{Directory as _, Role};

/// The tokens whose hashes the fixtures hold.
const LOGIN: &str = "av_sess_of_the_owner";
const AGENT: &str = "av_agt_of_the_bot";

/// By the number of the step. `{login}` and `{agent}` stand for the hashes.
const FIXTURES: &[(u32, &str)] = &[
    (
        1,
        "INSERT INTO vaults VALUES ('v1', 'shop', '2026-01-02 03:04:05', '2026-01-02 03:04:05');
         INSERT INTO broker_configs VALUES ('v1',
             '[{\"name\":\"stripe\",\"host\":\"api.stripe.com\",\"auth\":{\"type\":\"bearer\",\"token\":\"KEY\"}}]',
             '2026-01-02 03:04:05');
         INSERT INTO vault_settings VALUES ('v1', 'unmatched_host_policy', 'deny', '2026-01-02 03:04:05');
         INSERT INTO instance_settings VALUES ('invite_only', 'true', '2026-01-02 03:04:05');
         INSERT INTO users VALUES ('u1', 'owner@example.test', x'00', x'00', 1, 8, 1, 'owner', 1,
             '2026-01-02 03:04:05', '2026-01-02 03:04:05');
         INSERT INTO agents VALUES ('a1', 'bot', 'active', 'member', 'u1', '2026-01-02 03:04:05',
             '2026-01-02 03:04:05', NULL);
         INSERT INTO vault_grants VALUES ('a1', 'agent', 'v1', 'proxy', '2026-01-02 03:04:05');
         INSERT INTO sessions (id, public_id, user_id, created_at) VALUES ('{login}', 'p1', 'u1', '2026-01-02 03:04:05');
         INSERT INTO sessions (id, public_id, agent_id, created_at) VALUES ('{agent}', 'p2', 'a1', '2026-01-02 03:04:05');",
    ),
    (
        2,
        "INSERT INTO request_logs (vault_id, actor_type, actor_id, ingress, method, host, path, status, latency_ms,
             created_at)
         VALUES ('v1', 'agent', 'a1', 'connect', 'GET', 'api.stripe.com', '/v1', 200, 7, '2026-01-02 03:04:05');",
    ),
    (
        3,
        "INSERT INTO credential_oauth (vault_id, credential_key, token_url, client_id, created_at, updated_at)
         VALUES ('v1', 'KEY', 'https://id.example.com/token', 'client', '2026-01-02 03:04:05', '2026-01-02 03:04:05');
         INSERT INTO credential_oauth_states VALUES ('s1', 'hash', NULL, 'v1', 'KEY', 'https://x.test',
             '2026-01-02 03:04:05', '2026-01-02 03:14:05');",
    ),
    (
        4,
        "INSERT INTO email_verifications VALUES ('e1', 'a@b.test', 'hash', 'pending', '2026-01-02 03:04:05',
             '2026-01-02 03:04:05');
         INSERT INTO password_resets VALUES ('r1', 'a@b.test', 'hash', 'pending', '2026-01-02 03:04:05',
             '2026-01-02 03:04:05');",
    ),
    (
        5,
        "INSERT INTO user_invites VALUES ('i1', 'hash', 'new@b.test', 'pending', 'member', 'u1',
             '2026-01-02 03:04:05', '2126-01-02 03:04:05', NULL);
         INSERT INTO user_invite_vaults VALUES ('i1', 'v1', 'member');",
    ),
    (
        6,
        "INSERT INTO proposals (vault_id, id, message, created_at, updated_at)
         VALUES ('v1', 1, 'please', '2026-01-02 03:04:05', '2026-01-02 03:04:05');
         INSERT INTO proposal_credentials VALUES ('v1', 1, 'KEY', x'00', x'00');",
    ),
    (7, "UPDATE changes SET number = 3; INSERT INTO changes (topic, number) VALUES ('vault/v1', 3);"),
];

/// The tables of a database with the number of their rows, but for the record of the steps.
fn tables(connection: &Connection) -> BTreeMap<String, u32> {
    let sql = "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%'
                   AND name <> 'schema_migrations'";
    let mut statement = connection.prepare(sql).unwrap();
    let names: Vec<String> =
        statement.query_map([], |row| row.get(0)).unwrap().collect::<Result<_, _>>().unwrap();
    let count = |name: &String| {
        connection.query_row(&format!("SELECT COUNT(*) FROM {name}"), [], |row| row.get(0)).unwrap()
    };
    names.iter().map(|name| (name.clone(), count(name))).collect()
}

/// A state as the program with that many steps left it; its tables.
fn state_of(step: u32, dir: &Path) -> BTreeMap<String, u32> {
    let path = dir.join(DATABASE);
    std::fs::write(&path, "").unwrap();
    let mut connection = connect(&path).unwrap();
    migrate::run_until(&mut connection, step, Timestamp::now()).unwrap();
    let seal = seal::unlock(&connection, None, Timestamp::now()).unwrap();
    for (_, fixture) in FIXTURES.iter().filter(|(number, _)| *number <= step) {
        let [login, agent] = [LOGIN, AGENT].map(|token| super::fresh::token_id(&Secret::from(token)));
        let sql = fixture.replace("{login}", &login).replace("{agent}", &agent);
        connection
            .execute_batch(&sql)
            .unwrap_or_else(|error| panic!("fixture of a step until {step}: {error}"));
        insert_credential(&connection, &seal);
    }
    let tables = tables(&connection);
    for (table, rows) in &tables {
        assert!(*rows > 0, "step {step}: no fixture fills the table {table}");
    }
    tables
}

/// What is sealed cannot be written down.
fn insert_credential(connection: &Connection, seal: &Seal) {
    let sealed = seal.seal(&place("v1", "KEY"), &Secret::from("value")).unwrap();
    let sql = "INSERT INTO credentials (vault_id, key, ciphertext, nonce, created_at, updated_at)
               VALUES ('v1', 'KEY', ?1, ?2, '2026-01-02 03:04:05', '2026-01-02 03:04:05')
               ON CONFLICT (vault_id, key) DO NOTHING";
    connection.execute(sql, (sealed.ciphertext, sealed.nonce)).unwrap();
}

/// Everything a fixture put in, asked for as the broker does.
fn expect_everything(store: &Store, step: u32) {
    let now = Timestamp::now();
    let vault = store.vault("shop").unwrap().unwrap();
    assert_eq!((&vault.id[..], &vault.created_at.rfc3339()[..]), ("v1", "2026-01-02T03:04:05Z"));
    assert_eq!(store.services("v1").unwrap()[0].name, "stripe");
    assert_eq!(store.policy("v1").unwrap(), UnmatchedPolicy::Deny);
    assert_eq!(store.credential("v1", "KEY").unwrap(), Some(Secret::from("value")));
    assert_eq!(store.user_by_email("owner@example.test").unwrap().unwrap().id, "u1");
    let standing = store.standing(&Secret::from(LOGIN), None, None, now).unwrap();
    assert!(matches!(standing, Standing::Live(Holder::User { id, .. }) if id == "u1"));
    let Agent { id, vaults, is_active, .. } = store.agent("bot", now).unwrap().unwrap();
    assert_eq!((&id[..], is_active, &vaults[..]), ("a1", true, &[("shop".to_owned(), Role::Proxy)][..]));
    let scope = store.scope(&Secret::from(AGENT), None).unwrap();
    assert_eq!(&*scope.vault_id, "v1");
    assert!(store.snapshot(&scope).is_ok());
    if step >= 2 {
        let rows = store.request_logs("v1", &Filter::default(), Page::Newest, 10).unwrap();
        assert_eq!((rows.len(), &rows[0].actor_name[..], rows[0].status), (1, "bot", 200));
    }
    if step >= 3 {
        assert!(store.oauth_record("v1", "KEY").unwrap().is_some());
    }
}

#[test]
fn every_older_schema_opens_with_all_it_holds() {
    let newest = migrate::newest();
    for step in 1..=newest {
        let dir = tempfile::tempdir().unwrap();
        let before = state_of(step, dir.path());
        let store = Locked::open(dir.path()).unwrap().unlock(None).unwrap();
        expect_everything(&store, step);
        let after = store.read(|connection| Ok(tables(connection))).unwrap();
        for (table, rows) in before {
            assert_eq!(after.get(&table), Some(&rows), "step {step}: rows of {table}");
        }
    }
}
