//! Who may call what: every route of the table with every kind of caller (contract B).
//!
//! A row is a request that changes nothing anyone else here needs, and what each caller in [`CALLERS`] gets:
//! `1` for 401, `3` for 403, `4` for 404, `.` for anything else: the caller was let through, whatever became
//! of the request then. A route without a row fails the test, so none goes in without a thought about this.

use agent_vault::api;
use serde_json::json;

use crate::site::{Caller, Site, text};

/// In the order of the columns. Roles are those in the vault `default`.
const CALLERS: [&str; 15] = [
    "nobody",
    "a token nobody has",
    "a token that has expired",
    "a scoped token",
    "an agent, no-access, without a grant",
    "an agent, no-access, proxy",
    "an agent, no-access, member",
    "an agent, no-access, admin",
    "an agent, member, without a grant",
    "an agent, owner, without a grant",
    "a user, no-access, without a grant",
    "a user, member, without a grant",
    "a user, member, member",
    "a user, member, admin",
    "a user, owner, admin",
];

/// Public, then by noun; the last rows spend what their callers have.
const ROWS: &str = r#"
GET /health | ...............
GET /metrics | 111333333.3333.
GET /v1/status | ...............
GET /v1/mitm/ca.pem | ...............
GET /v1/service-catalog | ...............
GET /v1/skills/cli | ...............
GET /oauth/complete | ...............
GET /v1/oauth/callback | ...............
POST /v1/auth/register | ...............
POST /v1/auth/login | ...............
GET /approve/1 | ...............
GET /v1/proposals/approve-details | ...............
POST /v1/auth/verify | ...............
POST /v1/auth/resend-verification | ...............
POST /v1/auth/forgot-password | ...............
POST /v1/auth/reset-password | ...............
GET /v1/users/invites/ghost/details | 444444444444444
POST /v1/users/invites/ghost/accept | 444444444444444
GET /v1/auth/me | 1111...........
GET /v1/auth/sessions | 1113333333.....
DELETE /v1/auth/sessions/ghost | 111333333344444
POST /v1/auth/change-password | 1113333333.....
GET /discover | 111.......33333
POST /v1/proposals | 111.......33333
GET /v1/proposals | 111.......33333
GET /v1/proposals/9 | 1114......33333
GET /v1/admin/proposals?vault=default | 111.3...3333...
GET /v1/admin/proposals/9?vault=default | 111434443333444
POST /v1/admin/proposals/9/approve {"vault":"default"} | 111333443333444
POST /v1/admin/proposals/9/reject {"vault":"default"} | 111333443333444
GET /v1/sessions?vault=default | 111333..3333...
POST /v1/sessions {"vault":"default"} | 111333..3333...
DELETE /v1/sessions/ghost?vault=default | 111333443333444
GET /v1/credentials?vault=default | 111.3...3333...
POST /v1/credentials {"vault":"default","credentials":{"KEY":"x"}} | 111333..3333...
DELETE /v1/credentials {"vault":"default","keys":["KEY"]} | 111333.43333444
POST /v1/credentials/oauth/connect {"vault":"default","key":"OAUTH"} | 111333..3333...
GET /v1/credentials/oauth/status?vault=default&key=OAUTH | 111333443333444
POST /v1/credentials/oauth/tokens {"vault":"default","key":"OAUTH"} | 111333..3333...
GET /v1/vaults | 1113...........
POST /v1/vaults | 11133333..3....
GET /v1/admin/vaults | 111333333.3333.
GET /v1/admin/settings | 111333333.3333.
PUT /v1/admin/settings | 111333333.3333.
POST /v1/admin/settings/rate-limit/preview | 111333333.3333.
POST /v1/admin/email/test | 111333333.3333.
DELETE /v1/vaults/default | 1113333.3.333..
POST /v1/vaults/default/rename | 1113333.3.333..
GET /v1/vaults/default/context | 111.3...3333...
GET /v1/vaults/default/settings | 111.3...3333...
PATCH /v1/vaults/default/settings | 1113333.3.333..
GET /v1/vaults/default/services | 111.3...3333...
POST /v1/vaults/default/services | 1113333.33333..
PUT /v1/vaults/default/services {"services":[]} | 1113333.33333..
DELETE /v1/vaults/default/services | 1113333.33333..
GET /v1/vaults/default/services/credential-usage?key=KEY | 111.3...3333...
PATCH /v1/vaults/default/services/ghost | 1113333.33333..
DELETE /v1/vaults/default/services/ghost | 111333343333344
GET /v1/vaults/default/explain | 111333..3333...
GET /v1/vaults/default/logs | 111333..3333...
GET /v1/vaults/default/discovered-hosts | 111333..3333...
GET /v1/vaults/default/agents | 111.3...3333...
POST /v1/vaults/default/agents {"name":"ghost"} | 111333343333344
DELETE /v1/vaults/default/agents/ghost | 111333343333344
POST /v1/vaults/default/agents/ghost/role {"role":"proxy"} | 111333343333344
GET /v1/vaults/default/users | 111.3...3333...
POST /v1/vaults/default/users {"email":"ghost@example.test"} | 111333343333344
DELETE /v1/vaults/default/users/ghost@example.test | 111333343333344
POST /v1/vaults/default/users/ghost@example.test/role {"role":"member"} | 111333343333344
GET /v1/users | 11133333..3....
GET /v1/admin/users/me | 1113...........
DELETE /v1/admin/users/ghost@example.test | 111333333433334
POST /v1/admin/users/ghost@example.test/role {"role":"member"} | 111333333433334
GET /v1/users/invites | 11133333..3....
POST /v1/users/invites | 11133333..3....
DELETE /v1/users/invites/ghost | 111344444444444
POST /v1/users/invites/ghost/reinvite | 111333334434444
GET /v1/agents | 11133333..3....
POST /v1/agents | 11133333..3....
GET /v1/agents/proxy | 111333334.34...
DELETE /v1/agents/ghost | 111333334434444
POST /v1/agents/ghost/delete | 111333334434444
POST /v1/agents/ghost/rotate | 111333334434444
POST /v1/agents/ghost/rename | 111333334434444
POST /v1/agents/ghost/role {"role":"member"} | 111333333433334
POST /v1/vaults/default/join | 111333333.3333.
POST /v1/vaults/default/leave | 11133...3.33...
DELETE /v1/auth/account | 1113333333.....
POST /v1/auth/logout | ...............
"#;

struct Row<'r> {
    method: &'r str,
    path: &'r str,
    body: &'r str,
    cells: &'r str,
}

fn rows() -> impl Iterator<Item = Row<'static>> {
    ROWS.trim().lines().map(|line| {
        let (request, cells) = line.rsplit_once(" | ").expect("a bar in front of the cells");
        let mut parts = request.trim_end().splitn(3, ' ');
        let mut next = || parts.next().unwrap_or_default();
        Row { method: next(), path: next(), body: next(), cells }
    })
}

/// Whether a path is one of a route's; nobody's parameters hold a slash here.
fn is_of(pattern: &str, path: &str) -> bool {
    let path = path.split('?').next().unwrap_or_default();
    let (pattern, path): (Vec<&str>, Vec<&str>) = (pattern.split('/').collect(), path.split('/').collect());
    pattern.len() == path.len()
        && pattern.iter().zip(path).all(|(known, segment)| *known == "{}" || *known == segment)
}

#[test]
fn every_route_has_a_row_and_every_row_a_route() {
    let wanted: Vec<(&str, &str)> = api::routes().collect();
    // A parameter could be spelled like a fixed segment; the broker takes the first route that fits.
    let of_row = |row: &Row<'_>| {
        wanted.iter().position(|(method, pattern)| *method == row.method && is_of(pattern, row.path))
    };
    let mut covered = vec![false; wanted.len()];
    for row in rows() {
        let at = of_row(&row).unwrap_or_else(|| panic!("no route for {} {}", row.method, row.path));
        assert!(!std::mem::replace(&mut covered[at], true), "a second row for {:?}", wanted[at]);
        assert_eq!(row.cells.len(), CALLERS.len(), "{} {}", row.method, row.path);
    }
    let missing: Vec<_> =
        wanted.iter().zip(covered).filter(|(_, covered)| !covered).map(|(route, _)| route).collect();
    assert!(missing.is_empty(), "routes without a row in tests/api/access.rs: {missing:?}");
}

#[test]
fn every_caller_gets_what_the_table_says() {
    let site = Site::start_with(&[], &[("AGENT_VAULT_RATELIMIT_PROFILE", "off")]);
    let callers = callers(&site);
    let mut seen = String::new();
    for row in rows() {
        let cells: String = callers.iter().map(|caller| cell(caller, &row)).collect();
        seen.push_str(&format!("{} {} {} | {cells}\n", row.method, row.path, row.body).replace("  |", " |"));
    }
    let wrong: Vec<String> = ROWS
        .trim()
        .lines()
        .zip(seen.lines())
        .filter(|(expected, seen)| expected != seen)
        .map(|(expected, seen)| format!("expected {expected}\n     saw {seen}"))
        .collect();
    assert!(wrong.is_empty(), "columns: {CALLERS:#?}\n{}", wrong.join("\n"));
}

fn cell(caller: &Caller, row: &Row<'_>) -> char {
    let body = (row.method != "GET").then(|| if row.body.is_empty() { "{}" } else { row.body }.to_owned());
    match caller.call(row.method, row.path, &[], body).status {
        401 => '1',
        403 => '3',
        404 => '4',
        status if status < 500 => '.',
        status => panic!("{} {} is {status}", row.method, row.path),
    }
}

fn callers(site: &Site) -> Vec<Caller> {
    let owner = site.owner();
    let grant = |role: &str| {
        if role.is_empty() { json!([]) } else { json!([{"vault_name": "default", "vault_role": role}]) }
    };
    let agent = |name: &str, role: &str, vault_role: &str| {
        let body = json!({"name": name, "role": role, "vaults": grant(vault_role)});
        site.with_token(text(&owner.post("/v1/agents", &body).expect(201).json(), "av_agent_token"))
    };
    let person =
        |email: &str, role: &str, vault_role: &str| site.person(&owner, email, role, &grant(vault_role));
    let mint = || {
        let minted = owner.post("/v1/sessions", &json!({"vault": "default"})).expect(200).json();
        text(&minted, "token").to_owned()
    };
    let (live, expired) = (mint(), mint());
    expire_all_but(site, &live);
    vec![
        site.nobody(),
        site.with_token(&format!("av_sess_{}", "0".repeat(64))),
        site.with_token(&expired),
        site.with_token(&live),
        agent("none", "no-access", ""),
        agent("proxy", "no-access", "proxy"),
        agent("member", "no-access", "member"),
        agent("admin", "no-access", "admin"),
        agent("instance-member", "member", ""),
        agent("instance-owner", "owner", ""),
        person("none@example.test", "no-access", ""),
        person("instance-member@example.test", "member", ""),
        person("member@example.test", "member", "member"),
        person("admin@example.test", "member", "admin"),
        owner.clone(),
    ]
}

/// Ends one of the two scoped tokens, behind the running broker's back: waiting for it takes five minutes.
fn expire_all_but(site: &Site, live: &str) {
    let database = site.home.path().join(".agent-vault/agent-vault.db");
    let database = rusqlite::Connection::open(database).expect("the store");
    let id = ring::digest::digest(&ring::digest::SHA256, live.as_bytes());
    let id: String = id.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    let ended = database.execute(
        "UPDATE sessions SET expires_at = '2020-01-01 00:00:00' WHERE vault_id IS NOT NULL AND id <> ?1",
        [id],
    );
    assert_eq!(ended.expect("an update"), 1);
}
