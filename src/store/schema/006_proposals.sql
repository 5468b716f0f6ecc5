-- What agents ask for. Numbers count up within a vault; the proposing actor is kept by its id, never by
-- its token, and the approval link's token as its SHA-256.
CREATE TABLE proposals (
    vault_id TEXT NOT NULL REFERENCES vaults (id) ON DELETE CASCADE,
    id INTEGER NOT NULL,
    actor_type TEXT NOT NULL DEFAULT '',
    actor_id TEXT NOT NULL DEFAULT '',
    status TEXT NOT NULL DEFAULT 'pending' CHECK (status IN ('pending', 'applied', 'rejected', 'expired')),
    services_json TEXT NOT NULL DEFAULT '[]',
    credentials_json TEXT NOT NULL DEFAULT '[]',
    message TEXT NOT NULL DEFAULT '',
    user_message TEXT NOT NULL DEFAULT '',
    review_note TEXT NOT NULL DEFAULT '',
    reviewed_at TEXT,
    approval_token_hash TEXT UNIQUE,
    approval_token_expires_at TEXT,
    created_at TEXT NOT NULL,
    updated_at TEXT NOT NULL,
    PRIMARY KEY (vault_id, id)
);

CREATE INDEX proposals_by_status ON proposals (status, created_at);

-- Values an agent brought along, sealed until somebody decides.
CREATE TABLE proposal_credentials (
    vault_id TEXT NOT NULL,
    proposal_id INTEGER NOT NULL,
    key TEXT NOT NULL,
    ciphertext BLOB NOT NULL,
    nonce BLOB NOT NULL,
    PRIMARY KEY (vault_id, proposal_id, key),
    FOREIGN KEY (vault_id, proposal_id) REFERENCES proposals (vault_id, id) ON DELETE CASCADE
);
