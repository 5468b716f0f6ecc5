//! OAuth credentials: how their tokens are obtained and renewed, and what came of it.
//!
//! The access token is the credential's value; everything else stands in a row beside it, secrets sealed
//! for their place in it. A stored secret or refresh token is only ever sent to the token endpoint it was
//! stored for: when that changes, they are dropped.

mod consent;
mod record;
mod refresh;
mod write;

use std::collections::HashMap;

use rusqlite::{OptionalExtension, Row, named_params};

use super::seal::Sealed;
use super::{Error, Stale, Store, Timestamp};
use crate::secret::Secret;
use crate::vault::oauth::TokenEndpoint;
use crate::vault::oauth::call::{Client, Fault, Grant, Granted};
pub use consent::{Consent, NotConnected, Returned};
pub(super) use record::tokens;
pub use record::{Config, MANUAL, Record};
use record::{SECRETS_AT, SELECT_RECORD, read_records, record_from, sealed_from};
pub(super) use refresh::Flights;
use write::{CLIENT_SECRET, REFRESH_TOKEN, place};
pub(super) use write::{Place, overwritten};

/// What becomes of a stored secret.
#[derive(Debug)]
pub enum Edit {
    /// It stays, as long as it would be sent where it was stored for.
    Keep,
    Clear,
    Set(Secret),
}

/// Tokens to store, with the configuration they are renewed by.
#[derive(Debug)]
pub struct NewTokens<'c> {
    pub config: &'c Config,
    pub client_secret: Edit,
    pub access_token: Secret,
    pub refresh_token: Edit,
    pub expires_at: Option<Timestamp>,
}

/// An OAuth client as it is stored, with what its tokens are renewed with.
struct Stored {
    client: Client,
    refresh_token: Option<Secret>,
    revision: u64,
}

/// What granted tokens came of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Occasion {
    Consent,
    Refresh,
}

impl Store {
    /// Gives the store the room that can call token endpoints.
    pub fn set_token_endpoint(&self, endpoint: Box<dyn TokenEndpoint>) {
        // A second one would be the same: a process has one way out.
        drop(self.token_endpoint.set(endpoint));
    }

    /// Calls a token endpoint. No lock is held meanwhile.
    pub fn ask_for_tokens(&self, client: &Client, grant: &Grant<'_>) -> Result<Granted, Fault> {
        let Some(endpoint) = self.token_endpoint.get() else {
            return Err(Fault::Unanswered("this broker has no way out".to_owned()));
        };
        endpoint.post(&client.call(grant))?.into_tokens()
    }

    pub fn oauth_record(&self, vault_id: &str, key: &str) -> Result<Option<Record>, Error> {
        self.read(|connection| {
            let sql = format!("{SELECT_RECORD} WHERE vault_id = ?1 AND credential_key = ?2");
            let mut statement = connection.prepare_cached(&sql)?;
            Ok(statement.query_row((vault_id, key), record_from).optional()?.map(|(_, record)| record))
        })
    }

    /// Every OAuth credential of a vault, by key.
    pub fn oauth_records(&self, vault_id: &str) -> Result<HashMap<String, Record>, Error> {
        self.read(|connection| read_records(connection, vault_id))
    }

    /// The client secret that is stored for a key.
    pub fn oauth_client_secret(&self, vault_id: &str, key: &str) -> Result<Option<Secret>, Error> {
        let sealed = self.read(|connection| {
            let mut statement = connection.prepare_cached(
                "SELECT client_secret_ciphertext, client_secret_nonce FROM credential_oauth
                 WHERE vault_id = ?1 AND credential_key = ?2",
            )?;
            Ok(statement.query_row((vault_id, key), |row| sealed_from(row, 0)).optional()?.flatten())
        })?;
        sealed.map(|sealed| self.seal.open(&place(CLIENT_SECRET, vault_id, key), &sealed)).transpose()
    }

    /// Stores tokens that were pasted, or tried, with their configuration.
    pub fn set_oauth_tokens(
        &self,
        vault_id: &str,
        key: &str,
        tokens: NewTokens<'_>,
        now: Timestamp,
    ) -> Result<(), Error> {
        let place = Place { vault_id, key };
        self.change(Stale::Vault(vault_id), |transaction| {
            self.write_config(transaction, &place, tokens.config, tokens.client_secret, now)?;
            self.write_access_token(transaction, &place, &tokens.access_token, now)?;
            self.edit_secret(transaction, &place, REFRESH_TOKEN, tokens.refresh_token)?;
            transaction.execute(
                "UPDATE credential_oauth
                 SET token_expires_at = :expires, connected_at = :now, last_refresh_error = NULL,
                     last_refresh_error_at = NULL
                 WHERE vault_id = :vault AND credential_key = :key",
                named_params! {
                    ":expires": tokens.expires_at, ":now": now, ":vault": vault_id, ":key": key,
                },
            )?;
            Ok(())
        })
    }

    /// Opens what a token is renewed with; `None` when there is no such credential or no endpoint to call.
    fn stored(&self, vault_id: &str, key: &str) -> Result<Option<Stored>, Error> {
        let found = self.read(|connection| {
            let sql = format!("{SELECT_RECORD} WHERE vault_id = ?1 AND credential_key = ?2");
            let mut statement = connection.prepare_cached(&sql)?;
            let row = |row: &Row<'_>| {
                Ok((record_from(row)?.1, sealed_from(row, SECRETS_AT)?, sealed_from(row, SECRETS_AT + 2)?))
            };
            Ok(statement.query_row((vault_id, key), row).optional()?)
        })?;
        let Some((record, client_secret, refresh_token)) = found else { return Ok(None) };
        let open = |column: &str, sealed: Option<Sealed>| {
            sealed.map(|sealed| self.seal.open(&place(column, vault_id, key), &sealed)).transpose()
        };
        let Some(client) = record.config.client(open(CLIENT_SECRET, client_secret)?) else { return Ok(None) };
        let refresh_token = open(REFRESH_TOKEN, refresh_token)?;
        Ok(Some(Stored { client, refresh_token, revision: record.revision }))
    }

    /// Stores granted tokens, unless the credential has changed since they were asked for; whether it has
    /// not.
    fn keep_granted(
        &self,
        vault_id: &str,
        key: &str,
        revision: u64,
        (granted, occasion): (Granted, Occasion),
        now: Timestamp,
    ) -> Result<bool, Error> {
        let place = Place { vault_id, key };
        self.change(Stale::Vault(vault_id), |transaction| {
            let updated = transaction.execute(
                "UPDATE credential_oauth
                 SET token_expires_at = :expires, revision = revision + 1, last_refresh_error = NULL,
                     last_refresh_error_at = NULL, updated_at = :now,
                     connected_at = CASE WHEN :is_consent THEN :now ELSE connected_at END,
                     last_refreshed_at = CASE WHEN :is_consent THEN last_refreshed_at ELSE :now END
                 WHERE vault_id = :vault AND credential_key = :key AND revision = :revision",
                named_params! {
                    ":expires": granted.expires_in.map(|span| now.plus(span)),
                    ":is_consent": occasion == Occasion::Consent,
                    ":now": now,
                    ":vault": vault_id,
                    ":key": key,
                    ":revision": i64::try_from(revision).unwrap_or(i64::MAX),
                },
            )?;
            if updated == 0 {
                return Ok(false);
            }
            self.write_access_token(transaction, &place, &granted.access_token, now)?;
            let refresh_token = match (granted.refresh_token, occasion) {
                (Some(token), _) => Edit::Set(token),
                // One of an earlier consent belongs to that.
                (None, Occasion::Consent) => Edit::Clear,
                (None, Occasion::Refresh) => Edit::Keep,
            };
            self.edit_secret(transaction, &place, REFRESH_TOKEN, refresh_token)?;
            Ok(true)
        })
    }

    fn keep_fault(
        &self,
        vault_id: &str,
        key: &str,
        revision: u64,
        fault: &Fault,
        now: Timestamp,
    ) -> Result<(), Error> {
        self.change(Stale::Vault(vault_id), |transaction| {
            transaction.execute(
                "UPDATE credential_oauth SET last_refresh_error = :error, last_refresh_error_at = :now
                 WHERE vault_id = :vault AND credential_key = :key AND revision = :revision",
                named_params! {
                    ":error": fault.to_string(),
                    ":now": now,
                    ":vault": vault_id,
                    ":key": key,
                    ":revision": i64::try_from(revision).unwrap_or(i64::MAX),
                },
            )?;
            Ok(())
        })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::{Arc, Mutex};
    use std::time::Duration;

    use super::*;
    use crate::store::scratch;
    use crate::store::vaults::DEFAULT_ID;
    use crate::vault::oauth::Stale as StaleToken;
    use crate::vault::oauth::call::{Answer, Call, ClientAuth};
    use crate::vault::scope::{Actor, Directory as _, RefreshFailed, Role, Scope};

    const URL: &str = "https://id.example.com/token";

    /// Grants `access-N` for every call, after it has done what the test wants done meanwhile.
    struct Endpoint {
        forms: Arc<Mutex<Vec<String>>>,
        meanwhile: Box<dyn Fn() + Send + Sync>,
    }

    impl TokenEndpoint for Endpoint {
        fn post(&self, call: &Call) -> Result<Answer, Fault> {
            let mut forms = self.forms.lock().unwrap();
            forms.push(call.form.expose_str().unwrap().to_owned());
            (self.meanwhile)();
            let body = format!(r#"{{"access_token":"access-{}","expires_in":3600}}"#, forms.len());
            Ok(Answer { status: 200, body: body.into_bytes().into() })
        }
    }

    fn config(token_url: &str) -> Config {
        Config {
            authorization_url: None,
            token_url: token_url.to_owned(),
            client_id: "c".to_owned(),
            scopes: Some("read, write".to_owned()),
            scope_separator: ",".to_owned(),
            disable_pkce: false,
            client_auth: ClientAuth::Post,
        }
    }

    fn paste(store: &Store, token_url: &str, refresh_token: Edit) {
        let tokens = NewTokens {
            config: &config(token_url),
            client_secret: Edit::Keep,
            access_token: Secret::from("access-0"),
            refresh_token,
            expires_at: Some(Timestamp::now().plus(Duration::from_secs(60))),
        };
        store.set_oauth_tokens(DEFAULT_ID, "KEY", tokens, Timestamp::now()).unwrap();
    }

    fn refresh(store: &Store, revision: u64) -> Result<(), RefreshFailed> {
        let scope = Scope {
            actor: Actor::Minted("t".into()),
            vault_id: DEFAULT_ID.into(),
            vault_name: "default".into(),
            role: Role::Proxy,
        };
        store.refresh(&scope, &[StaleToken { key: "KEY".to_owned(), revision }]).map(drop)
    }

    fn record(store: &Store) -> Record {
        store.oauth_record(DEFAULT_ID, "KEY").unwrap().unwrap()
    }

    fn access_token(store: &Store) -> String {
        let token = store.credential(DEFAULT_ID, "KEY").unwrap().unwrap();
        token.expose_str().unwrap().to_owned()
    }

    #[test]
    fn who_comes_late_finds_the_token_renewed() {
        let (_dir, store) = scratch();
        let forms = Arc::<Mutex<Vec<String>>>::default();
        let endpoint = Endpoint { forms: Arc::clone(&forms), meanwhile: Box::new(|| {}) };
        store.set_token_endpoint(Box::new(endpoint));
        paste(&store, URL, Edit::Set(Secret::from("refresh-0")));
        let revision = record(&store).revision;
        assert_eq!(refresh(&store, revision), Ok(()));
        assert_eq!(refresh(&store, revision), Ok(()));
        let form = "grant_type=refresh_token&refresh_token=refresh-0&scope=read+write&client_id=c";
        assert_eq!(*forms.lock().unwrap(), [form]);
        assert_eq!(access_token(&store), "access-1");
        assert_eq!(record(&store).revision, revision + 1);
    }

    #[test]
    fn a_refresh_token_is_not_sent_to_another_endpoint() {
        let (_dir, store) = scratch();
        paste(&store, URL, Edit::Set(Secret::from("refresh-0")));
        paste(&store, URL, Edit::Keep);
        assert!(record(&store).has_refresh_token);
        paste(&store, "https://elsewhere.example.com/token", Edit::Keep);
        assert!(!record(&store).has_refresh_token);
        assert_eq!(refresh(&store, record(&store).revision), Err(RefreshFailed));
    }

    #[test]
    fn a_value_set_during_a_renewal_stays() {
        let (_dir, store) = scratch();
        let store = Arc::new(store);
        let meanwhile = {
            let store = Arc::downgrade(&store);
            Box::new(move || {
                let values = BTreeMap::from([("KEY".to_owned(), Secret::from("by-hand"))]);
                store.upgrade().unwrap().set_credentials(DEFAULT_ID, &values, Timestamp::now()).unwrap();
            })
        };
        store.set_token_endpoint(Box::new(Endpoint { forms: Arc::default(), meanwhile }));
        paste(&store, URL, Edit::Set(Secret::from("refresh-0")));
        assert_eq!(refresh(&store, record(&store).revision), Ok(()));
        assert_eq!(access_token(&store), "by-hand");
        assert!(record(&store).expires_at.is_none());
    }
}
