CREATE TABLE master_key (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    sentinel BLOB NOT NULL,
    sentinel_nonce BLOB NOT NULL,
    dek_ciphertext BLOB,
    dek_nonce BLOB,
    dek_plaintext BLOB,
    salt BLOB,
    kdf_time INTEGER,
    kdf_memory INTEGER,
    kdf_threads INTEGER,
    created_at TEXT NOT NULL
);

CREATE TABLE vaults (
    id TEXT PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    created_at TEXT NOT NULL,
    updated_at TEXT NOT NULL
);

-- One row per vault: its services as a JSON array in declaration order.
CREATE TABLE broker_configs (
    vault_id TEXT PRIMARY KEY REFERENCES vaults (id) ON DELETE CASCADE,
    services_json TEXT NOT NULL DEFAULT '[]',
    updated_at TEXT NOT NULL
);

CREATE TABLE vault_settings (
    vault_id TEXT NOT NULL REFERENCES vaults (id) ON DELETE CASCADE,
    key TEXT NOT NULL,
    value TEXT NOT NULL,
    updated_at TEXT NOT NULL,
    PRIMARY KEY (vault_id, key)
);

CREATE TABLE instance_settings (
    key TEXT PRIMARY KEY,
    value TEXT NOT NULL,
    updated_at TEXT NOT NULL
);

CREATE TABLE credentials (
    vault_id TEXT NOT NULL REFERENCES vaults (id) ON DELETE CASCADE,
    key TEXT NOT NULL,
    type TEXT NOT NULL DEFAULT 'static' CHECK (type IN ('static', 'oauth')),
    ciphertext BLOB NOT NULL,
    nonce BLOB NOT NULL,
    created_at TEXT NOT NULL,
    updated_at TEXT NOT NULL,
    PRIMARY KEY (vault_id, key)
);

CREATE TABLE users (
    id TEXT PRIMARY KEY,
    email TEXT NOT NULL UNIQUE,
    password_hash BLOB NOT NULL,
    password_salt BLOB NOT NULL,
    kdf_time INTEGER NOT NULL,
    kdf_memory INTEGER NOT NULL,
    kdf_threads INTEGER NOT NULL,
    role TEXT NOT NULL CHECK (role IN ('owner', 'member', 'no-access')),
    is_active INTEGER NOT NULL DEFAULT 0,
    created_at TEXT NOT NULL,
    updated_at TEXT NOT NULL
);

CREATE TABLE agents (
    id TEXT PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    status TEXT NOT NULL DEFAULT 'active' CHECK (status IN ('active', 'revoked')),
    role TEXT NOT NULL CHECK (role IN ('owner', 'member', 'no-access')),
    created_by TEXT NOT NULL,
    created_at TEXT NOT NULL,
    updated_at TEXT NOT NULL,
    revoked_at TEXT
);

-- The actor is a user or an agent, so no foreign key can point at it: deleting one deletes its grants.
CREATE TABLE vault_grants (
    actor_id TEXT NOT NULL,
    actor_type TEXT NOT NULL CHECK (actor_type IN ('user', 'agent')),
    vault_id TEXT NOT NULL REFERENCES vaults (id) ON DELETE CASCADE,
    role TEXT NOT NULL CHECK (role IN ('proxy', 'member', 'admin')),
    created_at TEXT NOT NULL,
    PRIMARY KEY (actor_id, vault_id)
);

CREATE INDEX vault_grants_by_vault ON vault_grants (vault_id);

-- Every live token. The id is the SHA-256 of the token; a vault makes it a scoped token, a user a
-- login, an agent an agent token.
CREATE TABLE sessions (
    id TEXT PRIMARY KEY,
    public_id TEXT NOT NULL UNIQUE,
    vault_id TEXT REFERENCES vaults (id) ON DELETE CASCADE,
    user_id TEXT REFERENCES users (id) ON DELETE CASCADE,
    agent_id TEXT REFERENCES agents (id) ON DELETE CASCADE,
    vault_role TEXT CHECK (vault_role IN ('proxy', 'member', 'admin')),
    label TEXT,
    created_by_actor_id TEXT,
    created_by_actor_type TEXT CHECK (created_by_actor_type IN ('user', 'agent')),
    device_label TEXT,
    last_ip TEXT,
    last_user_agent TEXT,
    last_used_at TEXT,
    idle_ttl_seconds INTEGER,
    expires_at TEXT,
    created_at TEXT NOT NULL
);

CREATE INDEX sessions_by_vault ON sessions (vault_id);
CREATE INDEX sessions_by_user ON sessions (user_id);
CREATE INDEX sessions_by_agent ON sessions (agent_id);
CREATE INDEX sessions_by_creator ON sessions (created_by_actor_id);

INSERT INTO vaults (id, name, created_at, updated_at)
VALUES ('00000000-0000-0000-0000-000000000000', 'default', CURRENT_TIMESTAMP, CURRENT_TIMESTAMP);
