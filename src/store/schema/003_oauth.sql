-- What goes with a credential of type oauth, whose value is the access token. `revision` counts the
-- changes of the tokens and of how they are renewed.
CREATE TABLE credential_oauth (
    vault_id TEXT NOT NULL,
    credential_key TEXT NOT NULL,
    authorization_url TEXT,
    token_url TEXT NOT NULL,
    client_id TEXT NOT NULL,
    client_secret_ciphertext BLOB,
    client_secret_nonce BLOB,
    scopes TEXT,
    scope_separator TEXT NOT NULL DEFAULT ' ',
    disable_pkce INTEGER NOT NULL DEFAULT 0,
    token_auth_method TEXT NOT NULL DEFAULT 'client_secret_post'
        CHECK (token_auth_method IN ('client_secret_basic', 'client_secret_post')),
    refresh_token_ciphertext BLOB,
    refresh_token_nonce BLOB,
    token_expires_at TEXT,
    connected_at TEXT,
    last_refreshed_at TEXT,
    last_refresh_error TEXT,
    last_refresh_error_at TEXT,
    revision INTEGER NOT NULL DEFAULT 0,
    created_at TEXT NOT NULL,
    updated_at TEXT NOT NULL,
    PRIMARY KEY (vault_id, credential_key),
    FOREIGN KEY (vault_id, credential_key) REFERENCES credentials (vault_id, key) ON DELETE CASCADE
);

-- Consents that were asked for and have not come back. The state is kept as its SHA-256.
CREATE TABLE credential_oauth_states (
    id TEXT PRIMARY KEY,
    state_hash TEXT NOT NULL UNIQUE,
    code_verifier TEXT,
    vault_id TEXT NOT NULL,
    credential_key TEXT NOT NULL,
    redirect_url TEXT NOT NULL,
    created_at TEXT NOT NULL,
    expires_at TEXT NOT NULL,
    FOREIGN KEY (vault_id, credential_key) REFERENCES credential_oauth (vault_id, credential_key)
        ON DELETE CASCADE
);

CREATE INDEX credential_oauth_states_by_key ON credential_oauth_states (vault_id, credential_key);
