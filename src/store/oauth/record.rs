//! The row beside an OAuth credential, as it is read: everything but its secrets.

use std::collections::HashMap;

use rusqlite::types::{FromSql, FromSqlError, FromSqlResult, ToSql, ToSqlOutput, ValueRef};
use rusqlite::{Connection, Row};

use crate::secret::Secret;
use crate::store::seal::Sealed;
use crate::store::{Error, Timestamp};
use crate::vault::oauth::call::{Client, ClientAuth};
use crate::vault::oauth::{Token, Url};

/// Stands for a token URL and a client id where there are none: pasted tokens cannot be renewed.
pub const MANUAL: &str = "manual";

/// How the tokens of a credential are obtained.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// `None` when the tokens were pasted.
    pub authorization_url: Option<String>,
    pub token_url: String,
    pub client_id: String,
    pub scopes: Option<String>,
    pub scope_separator: String,
    pub disable_pkce: bool,
    pub client_auth: ClientAuth,
}

/// What is stored beside an OAuth credential, without its secrets.
#[derive(Clone, Debug)]
pub struct Record {
    pub config: Config,
    pub has_client_secret: bool,
    pub has_refresh_token: bool,
    pub expires_at: Option<Timestamp>,
    pub connected_at: Option<Timestamp>,
    pub last_refreshed_at: Option<Timestamp>,
    pub last_error: Option<String>,
    last_error_at: Option<Timestamp>,
    pub(super) revision: u64,
}

impl Config {
    /// The scopes as a token endpoint reads them.
    fn scope(&self) -> String {
        let scopes = self.scopes.as_deref().unwrap_or_default();
        if self.scope_separator.is_empty() {
            return scopes.to_owned();
        }
        let parts =
            scopes.split(self.scope_separator.as_str()).map(str::trim).filter(|part| !part.is_empty());
        parts.collect::<Vec<_>>().join(" ")
    }

    /// The client of this configuration; `None` when there is no endpoint to call.
    pub fn client(&self, client_secret: Option<Secret>) -> Option<Client> {
        Some(Client {
            token_url: Url::parse(&self.token_url)?,
            client_id: self.client_id.clone(),
            client_secret,
            auth: self.client_auth,
            scope: self.scope(),
        })
    }
}

/// What the rules need to know of a vault's access tokens, which have been opened.
pub(in crate::store) fn tokens(
    connection: &Connection,
    vault_id: &str,
    opened: &HashMap<String, Secret>,
) -> Result<HashMap<String, Token>, Error> {
    let records = read_records(connection, vault_id)?;
    let token = |(key, record): (String, Record)| {
        // One that does not open is another fault than one that is not there.
        let is_connected = opened.get(&key).is_none_or(|value| !value.is_empty());
        let token = Token {
            is_connected,
            expires_at: record.expires_at.map(Timestamp::moment),
            is_refreshable: record.has_refresh_token && Url::parse(&record.config.token_url).is_some(),
            revision: record.revision,
            failed_at: record.last_error_at.map(Timestamp::moment),
        };
        (key, token)
    };
    Ok(records.into_iter().map(token).collect())
}

pub(super) const SELECT_RECORD: &str =
    "SELECT credential_key, authorization_url, token_url, client_id, scopes,
    scope_separator, disable_pkce, token_auth_method, token_expires_at, connected_at, last_refreshed_at,
    last_refresh_error, last_refresh_error_at, revision, client_secret_ciphertext, client_secret_nonce,
    refresh_token_ciphertext, refresh_token_nonce
    FROM credential_oauth";
/// Column of the first secret in [`SELECT_RECORD`].
pub(super) const SECRETS_AT: usize = 14;

pub(super) fn read_records(
    connection: &Connection,
    vault_id: &str,
) -> Result<HashMap<String, Record>, Error> {
    let mut statement = connection.prepare_cached(&format!("{SELECT_RECORD} WHERE vault_id = ?1"))?;
    let rows = statement.query_map([vault_id], record_from)?;
    Ok(rows.collect::<Result<_, _>>()?)
}

pub(super) fn record_from(row: &Row<'_>) -> rusqlite::Result<(String, Record)> {
    let config = Config {
        authorization_url: row.get(1)?,
        token_url: row.get(2)?,
        client_id: row.get(3)?,
        scopes: row.get(4)?,
        scope_separator: row.get(5)?,
        disable_pkce: row.get(6)?,
        client_auth: row.get(7)?,
    };
    let record = Record {
        config,
        expires_at: row.get(8)?,
        connected_at: row.get(9)?,
        last_refreshed_at: row.get(10)?,
        last_error: row.get(11)?,
        last_error_at: row.get(12)?,
        revision: revision_from(row, 13)?,
        has_client_secret: sealed_from(row, SECRETS_AT)?.is_some(),
        has_refresh_token: sealed_from(row, SECRETS_AT + 2)?.is_some(),
    };
    Ok((row.get(0)?, record))
}

pub(super) fn revision_from(row: &Row<'_>, at: usize) -> rusqlite::Result<u64> {
    row.get::<_, i64>(at).map(|revision| u64::try_from(revision).unwrap_or(0))
}

pub(super) fn sealed_from(row: &Row<'_>, at: usize) -> rusqlite::Result<Option<Sealed>> {
    let (ciphertext, nonce): (Option<Vec<u8>>, Option<Vec<u8>>) = (row.get(at)?, row.get(at + 1)?);
    Ok(ciphertext.zip(nonce).map(|(ciphertext, nonce)| Sealed { nonce, ciphertext }))
}

impl ToSql for ClientAuth {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(self.as_str().into())
    }
}

impl FromSql for ClientAuth {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        Self::parse(value.as_str()?).ok_or(FromSqlError::InvalidType)
    }
}
