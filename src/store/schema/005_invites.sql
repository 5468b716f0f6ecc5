-- People who were asked to join. The link's token is kept as its SHA-256.
CREATE TABLE user_invites (
    id TEXT PRIMARY KEY,
    token_hash TEXT NOT NULL UNIQUE,
    email TEXT NOT NULL,
    status TEXT NOT NULL DEFAULT 'pending' CHECK (status IN ('pending', 'accepted', 'expired', 'revoked')),
    role TEXT NOT NULL CHECK (role IN ('owner', 'member', 'no-access')),
    created_by TEXT NOT NULL,
    created_at TEXT NOT NULL,
    expires_at TEXT NOT NULL,
    accepted_at TEXT
);

CREATE INDEX user_invites_by_email ON user_invites (email);

-- The vaults that come with an invite.
CREATE TABLE user_invite_vaults (
    user_invite_id TEXT NOT NULL REFERENCES user_invites (id) ON DELETE CASCADE,
    vault_id TEXT NOT NULL REFERENCES vaults (id) ON DELETE CASCADE,
    vault_role TEXT NOT NULL CHECK (vault_role IN ('admin', 'member')),
    PRIMARY KEY (user_invite_id, vault_id)
);
