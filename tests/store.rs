//! Promise: what an engine of the store keeps, seen through its public operations alone.
//!
//! Nothing here knows which engine it is: no statement, no file. Two stores opened on one state stand for
//! two replicas.

use std::collections::BTreeMap;
use std::sync::{Arc, Barrier};
use std::thread;
use std::time::Duration;

use agent_vault::secret::Secret;
use agent_vault::store::accounts::InstanceRole;
use agent_vault::store::agents::{NewAgent, Outcome};
use agent_vault::store::grants::{ActorKind, ActorRef};
use agent_vault::store::invites::NewInvite;
use agent_vault::store::logins::Device;
use agent_vault::store::members::Membership;
use agent_vault::store::password::PasswordHash;
use agent_vault::store::proposals::{NotApproved, Submission};
use agent_vault::store::sessions::{Mint, Standing};
use agent_vault::store::settings::Admission;
use agent_vault::store::vaults::DEFAULT_ID;
use agent_vault::store::{Error, Locked, Store, Timestamp, Warrant};
use agent_vault::vault::UnmatchedPolicy;
use agent_vault::vault::proposal::{Draft, Inventory, Status};
use agent_vault::vault::scope::{Directory, Role, ScopeError};
use agent_vault::vault::service::InternalNames;

/// A fresh state, and a way to open it as often as wanted.
struct State(tempfile::TempDir);

impl State {
    fn new() -> Self {
        Self(tempfile::tempdir().expect("a directory"))
    }

    fn open(&self) -> Store {
        self.open_with(None).expect("the state opens")
    }

    fn open_with(&self, password: Option<&str>) -> Result<Store, Error> {
        Locked::open(self.0.path())?.unlock(password.map(Secret::from).as_ref())
    }
}

fn now() -> Timestamp {
    Timestamp::now()
}

fn maker() -> ActorRef {
    ActorRef { kind: ActorKind::User, id: "maker".to_owned() }
}

fn hash() -> PasswordHash {
    PasswordHash::new(&Secret::from("password")).expect("a hash")
}

fn agent(store: &Store, name: &str, vaults: &[(String, Role)]) -> Option<Secret> {
    let new = NewAgent { name, role: InstanceRole::NoAccess, created_by: &maker(), vaults, warrant: None };
    store.create_agent(&new, now()).expect("an answer")
}

fn set(store: &Store, vault: &str, key: &str, value: &str) {
    let values = BTreeMap::from([(key.to_owned(), Secret::from(value))]);
    store.set_credentials(vault, &values, now()).expect("stored");
}

/// Keeps a proposal for vault `default` that sets a key and deletes another: its number, and its link's token.
fn submit(store: &Store) -> (u32, Secret) {
    let draft = r#"{
        "services": [{"action": "set", "name": "api", "host": "a.example.com", "auth": {"type": "bearer", "token": "KEY"}}],
        "credentials": [{"action": "set", "key": "KEY", "value": "brought"}, {"action": "delete", "key": "OLD"}]
    }"#;
    let inventory = Inventory { services: &[], keys: &[], internal: InternalNames::Refused };
    let (proposal, values) =
        serde_json::from_str::<Draft>(draft).expect("a draft").check(&inventory).expect("a proposal");
    let submission = Submission { vault_id: DEFAULT_ID, by: None, proposal: &proposal, values: &values };
    store.submit(&submission, now()).expect("an answer").expect("room for it")
}

#[test]
fn first_registration_is_one_group_and_one_of_many_wins() {
    let state = State::new();
    let stores = [state.open(), state.open()];
    let hash = hash();
    let start = Barrier::new(8);
    let wins: usize = thread::scope(|scope| {
        let racers: Vec<_> = (0..8)
            .map(|at: usize| {
                let (store, hash, start) = (&stores[at % 2], &hash, &start);
                scope.spawn(move || {
                    start.wait();
                    let email = format!("racer-{at}@example.test");
                    store.register_owner(&email, hash, Device::default(), now()).expect("an answer").is_some()
                })
            })
            .collect();
        racers.into_iter().filter_map(|racer| racer.join().ok()).filter(|won| *won).count()
    });
    assert_eq!(wins, 1);
    assert!(stores.iter().all(|store| store.has_users().expect("an answer")));
}

#[test]
fn an_agent_comes_with_its_grants_and_token_or_not_at_all() {
    let state = State::new();
    let store = state.open();
    let token = agent(&store, "bot", &[(DEFAULT_ID.to_owned(), Role::Proxy)]).expect("a token");
    assert!(store.scope(&token, None).is_ok());
    assert!(agent(&store, "bot", &[]).is_none(), "names are unique");
    // A grant for a vault that is not there takes the agent and its token with it.
    let new = NewAgent {
        name: "half",
        role: InstanceRole::NoAccess,
        created_by: &maker(),
        vaults: &[(DEFAULT_ID.to_owned(), Role::Proxy), ("nowhere".to_owned(), Role::Proxy)],
        warrant: None,
    };
    assert!(store.create_agent(&new, now()).is_err());
    assert!(store.agent("half", now()).expect("an answer").is_none());
    assert_eq!(store.vault_agents(DEFAULT_ID).expect("a list").len(), 1);
}

#[test]
fn a_vault_comes_with_its_makers_grant_and_goes_with_all_it_holds() {
    let state = State::new();
    let store = state.open();
    let vault = store.create_vault("shop", &maker(), None, now()).expect("an answer").expect("a free name");
    assert!(store.create_vault("shop", &maker(), None, now()).expect("an answer").is_none());
    assert_eq!(store.grant("maker", &vault.id).expect("an answer"), Some(Role::Admin));
    set(&store, &vault.id, "KEY", "v");
    let mint = Mint {
        vault_id: &vault.id,
        label: None,
        created_by: None,
        life: Duration::from_secs(300),
        warrant: None,
    };
    let minted = store.mint(&mint, now()).expect("minted").token;
    assert!(store.scope(&minted, None).is_ok());
    assert!(store.delete_vault(&vault.id).expect("deleted"));
    assert_eq!(store.scope(&minted, None), Err(ScopeError::InvalidToken));
    assert!(store.credential(&vault.id, "KEY").expect("an answer").is_none());
    assert!(store.grant("maker", &vault.id).expect("an answer").is_none());
    // The name is free again, and nothing of the old vault comes with it.
    let again = store.create_vault("shop", &maker(), None, now()).expect("an answer").expect("a free name");
    assert!(store.credential_keys(&again.id).expect("a list").is_empty());
}

#[test]
fn what_opens_doors_is_made_only_while_its_maker_still_may() {
    type Withdraw = fn(&Store, &ActorRef) -> bool;
    let withdrawals: [(&str, Withdraw); 5] = [
        ("revoked", |store, agent| store.revoke_agent(&agent.id, now()).is_ok()),
        ("deleted", |store, agent| store.delete_agent(&agent.id).is_ok()),
        ("rotated", |store, agent| store.rotate_agent(&agent.id, None, None, now()).is_ok()),
        ("put out", |store, agent| store.remove_member(&agent.id, DEFAULT_ID).is_ok()),
        ("demoted", |store, agent| store.set_member_role(agent, DEFAULT_ID, Role::Proxy, now()).is_ok()),
    ];
    for (what, withdraw) in withdrawals {
        let state = State::new();
        let store = state.open();
        let token = agent(&store, "maker", &[(DEFAULT_ID.to_owned(), Role::Admin)]).expect("a token");
        // Somebody else looks after the vault, so that the maker may be put out of it.
        agent(&store, "other", &[(DEFAULT_ID.to_owned(), Role::Admin)]).expect("a token");
        let id = store.agent("maker", now()).expect("an answer").expect("an agent").id;
        let maker = ActorRef { kind: ActorKind::Agent, id };
        let warrant =
            Warrant::of(&token).as_instance(InstanceRole::NoAccess).in_vault(DEFAULT_ID, Role::Admin);
        let warrant = Some(&warrant);
        let (proposal, _) = submit(&store);
        let mint = |store: &Store| {
            let life = Duration::from_secs(300);
            let mint = Mint { vault_id: DEFAULT_ID, label: None, created_by: Some(&maker), life, warrant };
            store.mint(&mint, now())
        };
        let invite = |store: &Store| {
            let new = NewInvite {
                email: "guest@example.test",
                role: InstanceRole::Member,
                created_by: &maker.id,
                vaults: &[],
                warrant,
            };
            store.create_invite(&new, &Admission::default(), now())
        };
        assert!(mint(&store).is_ok(), "{what}");
        let invited = invite(&store).expect("an answer").expect("invited").token;
        let invited = store.invite(&invited, now()).expect("an answer").expect("an invite");
        assert!(withdraw(&store, &maker), "{what}");

        let new =
            NewAgent { name: "late", role: InstanceRole::NoAccess, created_by: &maker, vaults: &[], warrant };
        let other = ActorRef { kind: ActorKind::User, id: "somebody".to_owned() };
        let values = BTreeMap::new();
        let outcomes = [
            mint(&store).map(drop),
            invite(&store).map(drop),
            store.reissue_invite(&invited, warrant, now()).map(drop),
            store.create_agent(&new, now()).map(drop),
            store.rotate_agent(&maker.id, None, warrant, now()).map(drop),
            store.create_vault("late", &maker, warrant, now()).map(drop),
            store.add_member(&other, DEFAULT_ID, Role::Admin, warrant, now()).map(drop),
            store.approve_proposal(DEFAULT_ID, proposal, &values, warrant, now()).map(drop),
        ];
        for (at, outcome) in outcomes.into_iter().enumerate() {
            assert!(matches!(outcome, Err(Error::Withdrawn)), "{what}, change {at}: {outcome:?}");
        }
        assert!(store.agent("late", now()).expect("an answer").is_none(), "{what}");
        assert!(store.vault("late").expect("an answer").is_none(), "{what}");
        assert!(store.grant("somebody", DEFAULT_ID).expect("an answer").is_none(), "{what}");
        let status = store.proposal(DEFAULT_ID, proposal).expect("an answer").map(|stored| stored.status);
        assert_eq!(status, Some(Status::Pending), "{what}");
    }
}

#[test]
fn a_grant_is_given_once_and_then_changed() {
    let state = State::new();
    let store = state.open();
    let add = |role| store.add_member(&maker(), DEFAULT_ID, role, None, now()).expect("an answer");
    assert!(add(Role::Proxy) && !add(Role::Admin));
    assert_eq!(store.grant("maker", DEFAULT_ID).expect("an answer"), Some(Role::Proxy));
    for role in [Role::Admin, Role::Member] {
        let changed = store.set_member_role(&maker(), DEFAULT_ID, role, now()).expect("an answer");
        assert_eq!(changed, Membership::Changed);
        assert_eq!(store.grant("maker", DEFAULT_ID).expect("an answer"), Some(role));
    }
}

#[test]
fn edits_of_services_line_up_and_none_is_lost() {
    let state = State::new();
    let stores = [state.open(), state.open()];
    thread::scope(|scope| {
        for (at, store) in stores.iter().enumerate() {
            scope.spawn(move || {
                for round in 0..10 {
                    let name = format!("service-{at}-{round}");
                    let service = serde_json::json!([{"name": name, "host": "api.example.com",
                        "auth": {"type": "passthrough"}}]);
                    let new = agent_vault::vault::service::list::from_stored(&service.to_string());
                    let mut new = new.expect("a service");
                    let edited = store.edit_services(DEFAULT_ID, now(), |services| {
                        services.append(&mut new);
                        Ok::<_, ()>(())
                    });
                    assert_eq!(edited.expect("stored"), Ok(()));
                }
            });
        }
    });
    assert_eq!(stores[0].services(DEFAULT_ID).expect("a list").len(), 20);
}

#[test]
fn deleting_credentials_is_all_or_nothing() {
    let state = State::new();
    let store = state.open();
    set(&store, DEFAULT_ID, "A", "1");
    let keys = ["A".to_owned(), "B".to_owned()];
    assert_eq!(store.delete_credentials(DEFAULT_ID, &keys).expect("an answer"), Err("B".to_owned()));
    assert_eq!(store.credential_keys(DEFAULT_ID).expect("a list").len(), 1);
}

#[test]
fn a_proposal_is_applied_whole_and_once() {
    let state = State::new();
    let stores = [state.open(), state.open()];
    set(&stores[0], DEFAULT_ID, "OLD", "v");
    let (id, token) = submit(&stores[0]);
    let linked = stores[1].linked_proposal(&token).expect("an answer").expect("a proposal");
    assert_eq!((linked.vault_id.as_str(), linked.stored.id), (DEFAULT_ID, id));

    let foreign = BTreeMap::from([("OTHER".to_owned(), Secret::from("v"))]);
    let refused = stores[0].approve_proposal(DEFAULT_ID, id, &foreign, None, now()).expect("an answer");
    assert_eq!(refused, Err(NotApproved::Foreign("OTHER".to_owned())));
    assert!(stores[0].services(DEFAULT_ID).expect("services").is_empty());

    let outcomes: Vec<Result<(), NotApproved>> = thread::scope(|scope| {
        let approve = |at: usize| {
            let store = &stores[at % 2];
            scope.spawn(|| {
                store.approve_proposal(DEFAULT_ID, id, &BTreeMap::new(), None, now()).expect("an answer")
            })
        };
        let racers: Vec<_> = (0..4).map(approve).collect();
        racers.into_iter().map(|racer| racer.join().expect("an outcome")).collect()
    });
    assert_eq!(outcomes.iter().filter(|outcome| outcome.is_ok()).count(), 1, "{outcomes:?}");
    let late = Err(NotApproved::NotPending(Status::Applied));
    assert!(outcomes.iter().all(|outcome| outcome.is_ok() || *outcome == late), "{outcomes:?}");
    for store in &stores {
        store.catch_up().expect("caught up");
        let names: Vec<String> =
            store.services(DEFAULT_ID).expect("services").into_iter().map(|one| one.name).collect();
        assert_eq!(names, ["api"]);
        assert_eq!(store.credential(DEFAULT_ID, "KEY").expect("opens"), Some(Secret::from("brought")));
        assert_eq!(store.credential(DEFAULT_ID, "OLD").expect("an answer"), None);
    }
}

#[test]
fn the_first_data_key_stays_whoever_opens_at_the_same_time() {
    // 105
    let state = State::new();
    drop(Locked::open(state.0.path()).expect("the state opens"));
    let start = Barrier::new(4);
    let stores: Vec<Store> = thread::scope(|scope| {
        let openers: Vec<_> = (0..4)
            .map(|_| {
                scope.spawn(|| {
                    let locked = Locked::open(state.0.path()).expect("the state opens");
                    start.wait();
                    locked.unlock(None).expect("the state opens")
                })
            })
            .collect();
        openers.into_iter().filter_map(|opener| opener.join().ok()).collect()
    });
    assert_eq!(stores.len(), 4);
    for (at, store) in stores.iter().enumerate() {
        set(store, DEFAULT_ID, "KEY", &format!("by {at}"));
        for reader in &stores {
            let value = reader.credential(DEFAULT_ID, "KEY").expect("it opens with the same key");
            assert_eq!(value, Some(Secret::from(format!("by {at}").as_str())));
        }
    }
}

#[test]
fn what_one_replica_changed_reaches_another_that_catches_up() {
    type Change = fn(&Store, &str);
    let changes: [(&str, Change); 5] = [
        ("revoked", |store, id| {
            assert_eq!(store.revoke_agent(id, now()).expect("an answer"), Outcome::Done);
        }),
        ("deleted", |store, id| assert_eq!(store.delete_agent(id).expect("an answer"), Outcome::Done)),
        ("rotated", |store, id| drop(store.rotate_agent(id, None, None, now()).expect("rotated"))),
        ("grant removed", |store, id| {
            assert_eq!(store.remove_member(id, DEFAULT_ID).expect("an answer"), Membership::Changed);
        }),
        ("vault deleted", |store, _| assert!(store.delete_vault(DEFAULT_ID).expect("an answer"))),
    ];
    for (what, change) in changes {
        let state = State::new();
        let (here, there) = (state.open(), state.open());
        let token = agent(&here, "bot", &[(DEFAULT_ID.to_owned(), Role::Proxy)]).expect("a token");
        let id = here.agent("bot", now()).expect("an answer").expect("an agent").id;
        assert!(there.scope(&token, None).is_ok(), "{what}: known and remembered");
        change(&here, &id);
        assert!(here.scope(&token, None).is_err(), "{what}: at once where it was changed");
        assert!(there.catch_up().expect("an answer"), "{what}");
        assert!(there.scope(&token, None).is_err(), "{what}: elsewhere after catching up");
        assert!(!there.catch_up().expect("an answer"), "{what}: told once");
        assert!(!here.catch_up().expect("an answer"), "{what}: its maker has nothing to learn");
    }
}

#[test]
fn a_vaults_rules_are_dropped_where_they_changed_and_kept_elsewhere() {
    let state = State::new();
    let (here, there) = (state.open(), state.open());
    let other =
        here.create_vault("other", &maker(), None, now()).expect("an answer").expect("a free name").id;
    there.catch_up().expect("an answer");
    let rules = |vault: &str| there.rules(vault).expect("rules");
    let (changed, kept) = (rules(DEFAULT_ID), rules(&other));
    here.set_policy(DEFAULT_ID, Some(UnmatchedPolicy::Deny), now()).expect("stored");
    set(&here, DEFAULT_ID, "KEY", "v");
    assert!(there.catch_up().expect("an answer"));
    assert!(!Arc::ptr_eq(&changed, &rules(DEFAULT_ID)));
    assert!(Arc::ptr_eq(&kept, &rules(&other)));
}

#[test]
fn changes_of_both_sides_reach_both_however_they_mix() {
    let state = State::new();
    let stores = [state.open(), state.open(), state.open()];
    let vaults: Vec<String> = (0..3)
        .map(|at| stores[0].create_vault(&format!("v{at}"), &maker(), None, now()).expect("an answer"))
        .map(|vault| vault.expect("a free name").id)
        .collect();
    for round in 0..12 {
        // Remembered everywhere, then changed somewhere, then looked at everywhere.
        let before: Vec<_> = stores
            .iter()
            .map(|store| vaults.iter().map(|vault| store.rules(vault).expect("rules")).collect::<Vec<_>>())
            .collect();
        set(&stores[round % 3], &vaults[round % 2], "KEY", &round.to_string());
        set(&stores[(round + 1) % 3], &vaults[2], "KEY", &round.to_string());
        for (store, before) in stores.iter().zip(&before) {
            store.catch_up().expect("an answer");
            for at in [round % 2, 2] {
                let rules = store.rules(&vaults[at]).expect("rules");
                assert!(!Arc::ptr_eq(&before[at], &rules), "round {round}, vault {at}");
            }
        }
    }
}

#[test]
fn an_account_made_by_another_process_is_there_at_once() {
    // J 4
    let state = State::new();
    let (here, there) = (state.open(), state.open());
    assert!(!there.has_users().expect("an answer"));
    let login = here.register_owner("a@b.test", &hash(), Device::default(), now()).expect("an answer");
    assert!(there.has_users().expect("an answer"));
    let token = login.expect("the first").token;
    let standing = there.standing(&token, None, None, now()).expect("an answer");
    assert!(matches!(standing, Standing::Live(_)));
    here.end_session(&token).expect("ended");
    let standing = there.standing(&token, None, None, now()).expect("an answer");
    assert!(matches!(standing, Standing::Unknown));
}
