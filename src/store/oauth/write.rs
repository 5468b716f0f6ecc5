//! What is written for one OAuth credential, inside a transaction that its caller began.

use rusqlite::{Transaction, named_params};

use super::super::{Error, Store, Timestamp, credentials};
use super::{Config, Edit};
use crate::secret::Secret;

/// One credential.
#[derive(Clone, Copy)]
pub(in crate::store) struct Place<'p> {
    pub(in crate::store) vault_id: &'p str,
    pub(in crate::store) key: &'p str,
}

/// The sealed columns.
pub(super) const CLIENT_SECRET: &str = "client_secret";
pub(super) const REFRESH_TOKEN: &str = "refresh_token";

/// Binds a secret to its column, vault and key. No part can hold the separator.
pub(super) fn place(column: &str, vault_id: &str, key: &str) -> Vec<u8> {
    ["oauth", column, vault_id, key].join("\0").into_bytes()
}

impl Store {
    /// Makes the key an OAuth credential with this configuration. A value it has stays.
    pub(in crate::store) fn write_config(
        &self,
        transaction: &Transaction<'_>,
        place: &Place<'_>,
        config: &Config,
        client_secret: Edit,
        now: Timestamp,
    ) -> Result<(), Error> {
        let Place { vault_id, key } = *place;
        let empty = self.seal.seal(&credentials::place(vault_id, key), &Secret::from(""))?;
        transaction.execute(
            "INSERT INTO credentials (vault_id, key, type, ciphertext, nonce, created_at, updated_at)
             VALUES (:vault, :key, 'oauth', :ciphertext, :nonce, :now, :now)
             ON CONFLICT (vault_id, key) DO UPDATE SET type = 'oauth', updated_at = excluded.updated_at",
            named_params! {
                ":vault": vault_id,
                ":key": key,
                ":ciphertext": empty.ciphertext,
                ":nonce": empty.nonce,
                ":now": now,
            },
        )?;
        // What was stored for one endpoint is not sent to another.
        transaction.execute(
            "UPDATE credential_oauth
             SET client_secret_ciphertext = NULL, client_secret_nonce = NULL,
                 refresh_token_ciphertext = NULL, refresh_token_nonce = NULL
             WHERE vault_id = ?1 AND credential_key = ?2 AND token_url <> ?3",
            (vault_id, key, &config.token_url),
        )?;
        transaction.execute(
            "INSERT INTO credential_oauth (vault_id, credential_key, authorization_url, token_url, client_id,
                 scopes, scope_separator, disable_pkce, token_auth_method, created_at, updated_at)
             VALUES (:vault, :key, :authorization, :token, :client, :scopes, :separator, :no_pkce, :auth,
                 :now, :now)
             ON CONFLICT (vault_id, credential_key) DO UPDATE
             SET authorization_url = excluded.authorization_url, token_url = excluded.token_url,
                 client_id = excluded.client_id, scopes = excluded.scopes,
                 scope_separator = excluded.scope_separator, disable_pkce = excluded.disable_pkce,
                 token_auth_method = excluded.token_auth_method, revision = revision + 1,
                 updated_at = excluded.updated_at",
            named_params! {
                ":vault": vault_id,
                ":key": key,
                ":authorization": config.authorization_url,
                ":token": config.token_url,
                ":client": config.client_id,
                ":scopes": config.scopes,
                ":separator": config.scope_separator,
                ":no_pkce": config.disable_pkce,
                ":auth": config.client_auth,
                ":now": now,
            },
        )?;
        // A consent is given for a configuration and ends with it.
        transaction.execute(
            "DELETE FROM credential_oauth_states WHERE vault_id = ?1 AND credential_key = ?2",
            (vault_id, key),
        )?;
        self.edit_secret(transaction, place, CLIENT_SECRET, client_secret)
    }

    /// Replaces the value.
    pub(super) fn write_access_token(
        &self,
        transaction: &Transaction<'_>,
        place: &Place<'_>,
        token: &Secret,
        now: Timestamp,
    ) -> Result<(), Error> {
        let Place { vault_id, key } = *place;
        let sealed = self.seal.seal(&credentials::place(vault_id, key), token)?;
        transaction.execute(
            "UPDATE credentials SET ciphertext = ?3, nonce = ?4, updated_at = ?5
             WHERE vault_id = ?1 AND key = ?2",
            (vault_id, key, sealed.ciphertext, sealed.nonce, now),
        )?;
        Ok(())
    }

    /// Replaces or removes a sealed column, or leaves it.
    pub(super) fn edit_secret(
        &self,
        transaction: &Transaction<'_>,
        at: &Place<'_>,
        column: &str,
        edit: Edit,
    ) -> Result<(), Error> {
        let sealed = match edit {
            Edit::Keep => return Ok(()),
            Edit::Clear => None,
            Edit::Set(secret) => Some(self.seal.seal(&place(column, at.vault_id, at.key), &secret)?),
        };
        let (ciphertext, nonce) = sealed.map(|sealed| (sealed.ciphertext, sealed.nonce)).unzip();
        let sql = format!(
            "UPDATE credential_oauth SET {column}_ciphertext = ?3, {column}_nonce = ?4
             WHERE vault_id = ?1 AND credential_key = ?2"
        );
        transaction.execute(&sql, (at.vault_id, at.key, ciphertext, nonce))?;
        Ok(())
    }
}

/// What an overwritten access token means: it came from a person, so its age is unknown, and none at all
/// is no connection.
pub(in crate::store) fn overwritten(
    transaction: &Transaction<'_>,
    vault_id: &str,
    key: &str,
    value: &Secret,
    now: Timestamp,
) -> Result<(), Error> {
    transaction.execute(
        "UPDATE credential_oauth
         SET token_expires_at = NULL, revision = revision + 1,
             connected_at = CASE WHEN :is_empty THEN NULL ELSE COALESCE(connected_at, :now) END
         WHERE vault_id = :vault AND credential_key = :key",
        named_params! { ":is_empty": value.is_empty(), ":now": now, ":vault": vault_id, ":key": key },
    )?;
    Ok(())
}
