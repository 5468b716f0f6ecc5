//! A person's consent: asked for with a state that comes back once, within ten minutes.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::digest::{SHA256, digest};
use rusqlite::OptionalExtension as _;

use super::record::revision_from;
use super::{Config, Edit, Occasion, Place};
use crate::secret::Secret;
use crate::store::fresh::{self, TokenKind};
use crate::store::{Error, Stale, Store, Timestamp};
use crate::vault::oauth::call::{Fault, Grant};

/// How long a provider's page may stay open (contract B.3).
const LIFE: Duration = Duration::from_secs(10 * 60);
/// Random bytes of a PKCE verifier: 43 characters, the shortest allowed (RFC 7636 §4.1).
const VERIFIER_BYTES: usize = 32;

/// What the provider is sent with the person.
#[derive(Debug)]
pub struct Consent {
    pub state: Secret,
    /// The S256 challenge, unless PKCE is off.
    pub challenge: Option<String>,
}

/// A consent that has come back: where it belongs. It cannot come back again.
#[derive(Debug)]
pub struct Returned {
    pub vault_name: String,
    pub key: String,
    vault_id: String,
    verifier: Option<String>,
    redirect_uri: String,
    revision: u64,
}

/// Why a consent gave no tokens.
#[derive(Debug)]
pub enum NotConnected {
    Fault(Fault),
    /// The credential was changed or deleted meanwhile.
    Changed,
}

impl Store {
    /// Stores a configuration and begins to ask for consent.
    pub fn begin_consent(
        &self,
        (vault_id, key): (&str, &str),
        config: &Config,
        client_secret: Edit,
        redirect_uri: &str,
        now: Timestamp,
    ) -> Result<Consent, Error> {
        let state = fresh::token(TokenKind::OauthState)?;
        let verifier = if config.disable_pkce { None } else { Some(verifier()?) };
        let challenge = verifier.as_ref().map(|verifier| challenge(verifier));
        let id = fresh::uuid()?;
        self.change(Stale::Vault(vault_id), |transaction| {
            self.write_config(transaction, &Place { vault_id, key }, config, client_secret, now)?;
            transaction.execute("DELETE FROM credential_oauth_states WHERE expires_at < ?1", [now])?;
            transaction.execute(
                "INSERT INTO credential_oauth_states (id, state_hash, code_verifier, vault_id,
                     credential_key, redirect_url, created_at, expires_at)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
                (&id, fresh::token_id(&state), verifier, vault_id, key, redirect_uri, now, now.plus(LIFE)),
            )?;
            Ok(())
        })?;
        Ok(Consent { state, challenge })
    }

    /// Takes a state back; `None` when it is unknown, used or too old.
    pub fn take_consent(&self, state: &Secret, now: Timestamp) -> Result<Option<Returned>, Error> {
        let hash = fresh::token_id(state);
        self.change(Stale::Nothing, |transaction| {
            let found = transaction
                .query_row(
                    "SELECT s.vault_id, v.name, s.credential_key, s.code_verifier, s.redirect_url, o.revision,
                         s.expires_at
                     FROM credential_oauth_states s
                     JOIN vaults v ON v.id = s.vault_id
                     JOIN credential_oauth o
                         ON o.vault_id = s.vault_id AND o.credential_key = s.credential_key
                     WHERE s.state_hash = ?1",
                    [&hash],
                    |row| {
                        let returned = Returned {
                            vault_id: row.get(0)?,
                            vault_name: row.get(1)?,
                            key: row.get(2)?,
                            verifier: row.get(3)?,
                            redirect_uri: row.get(4)?,
                            revision: revision_from(row, 5)?,
                        };
                        Ok((returned, row.get::<_, Timestamp>(6)?))
                    },
                )
                .optional()?;
            transaction.execute("DELETE FROM credential_oauth_states WHERE state_hash = ?1", [&hash])?;
            Ok(found.filter(|(_, expires_at)| now <= *expires_at).map(|(returned, _)| returned))
        })
    }

    /// Exchanges the code that came with a consent for tokens and stores them.
    pub fn connect(&self, returned: &Returned, code: &Secret) -> Result<Result<(), NotConnected>, Error> {
        let Returned { vault_id, key, verifier, redirect_uri, .. } = returned;
        // A code is sent only where the person who consented was told it would go.
        let stored = self.stored(vault_id, key)?.filter(|stored| stored.revision == returned.revision);
        let Some(stored) = stored else { return Ok(Err(NotConnected::Changed)) };
        let grant = Grant::Code { code, redirect_uri, verifier: verifier.as_deref() };
        let granted = match self.ask_for_tokens(&stored.client, &grant) {
            Ok(granted) => granted,
            Err(fault) => return Ok(Err(NotConnected::Fault(fault))),
        };
        let came_of_it = (granted, Occasion::Consent);
        let is_kept = self.keep_granted(vault_id, key, stored.revision, came_of_it, Timestamp::now())?;
        Ok(if is_kept { Ok(()) } else { Err(NotConnected::Changed) })
    }
}

fn verifier() -> Result<String, Error> {
    let mut bytes = [0; VERIFIER_BYTES];
    fresh::fill(&mut bytes)?;
    Ok(URL_SAFE_NO_PAD.encode(bytes))
}

/// RFC 7636 §4.2.
fn challenge(verifier: &str) -> String {
    URL_SAFE_NO_PAD.encode(digest(&SHA256, verifier.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::scratch;
    use crate::store::vaults::DEFAULT_ID;
    use crate::vault::oauth::call::ClientAuth;

    fn config(token_url: &str) -> Config {
        Config {
            authorization_url: Some("https://id.example.com/authorize".to_owned()),
            token_url: token_url.to_owned(),
            client_id: "id".to_owned(),
            scopes: None,
            scope_separator: " ".to_owned(),
            disable_pkce: false,
            client_auth: ClientAuth::Post,
        }
    }

    fn begin(store: &Store, token_url: &str, secret: Edit, now: Timestamp) -> Consent {
        let config = config(token_url);
        store.begin_consent((DEFAULT_ID, "KEY"), &config, secret, "http://b/v1/oauth/callback", now).unwrap()
    }

    #[test]
    fn the_challenge_is_the_standards() {
        // RFC 7636, appendix B.
        assert_eq!(
            challenge("dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"),
            "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"
        );
        assert_eq!(verifier().unwrap().len(), 43);
    }

    #[test]
    fn a_state_comes_back_once_and_in_time() {
        let (_dir, store) = scratch();
        let now = Timestamp::now();
        let consent = begin(&store, "https://id.example.com/token", Edit::Clear, now);
        let text = consent.state.expose_str().unwrap();
        assert!(text.starts_with("av_oast_") && text.len() == 8 + 64);
        let returned = store.take_consent(&consent.state, now.plus(LIFE)).unwrap().unwrap();
        assert_eq!((returned.vault_name.as_str(), returned.key.as_str()), ("default", "KEY"));
        assert!(store.take_consent(&consent.state, now).unwrap().is_none());
        let late = begin(&store, "https://id.example.com/token", Edit::Clear, now);
        assert!(store.take_consent(&late.state, now.plus(LIFE + Duration::from_secs(1))).unwrap().is_none());
        assert!(store.take_consent(&Secret::from("av_oast_x"), now).unwrap().is_none());
    }

    #[test]
    fn a_consent_ends_with_the_configuration_it_was_given_for() {
        let (_dir, store) = scratch();
        let now = Timestamp::now();
        let first = begin(&store, "https://a.example.com/token", Edit::Clear, now);
        let second = begin(&store, "https://b.example.com/token", Edit::Clear, now);
        assert!(store.take_consent(&first.state, now).unwrap().is_none());
        // Taken before the change, used after it.
        let taken = store.take_consent(&second.state, now).unwrap().unwrap();
        begin(&store, "https://c.example.com/token", Edit::Clear, now);
        let outcome = store.connect(&taken, &Secret::from("code")).unwrap();
        assert!(matches!(outcome, Err(NotConnected::Changed)), "{outcome:?}");
    }

    #[test]
    fn a_kept_secret_goes_only_where_it_was_stored_for() {
        let (_dir, store) = scratch();
        let now = Timestamp::now();
        let secret = || store.oauth_client_secret(DEFAULT_ID, "KEY").unwrap();
        begin(&store, "https://a.example.com/token", Edit::Set(Secret::from("s3cret")), now);
        begin(&store, "https://a.example.com/token", Edit::Keep, now);
        assert_eq!(secret(), Some(Secret::from("s3cret")));
        begin(&store, "https://b.example.com/token", Edit::Keep, now);
        assert_eq!(secret(), None);
    }
}
