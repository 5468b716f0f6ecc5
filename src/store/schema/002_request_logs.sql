-- One row per request of an authenticated client. Numbers are never given twice: they are cursors.
CREATE TABLE request_logs (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    vault_id TEXT NOT NULL REFERENCES vaults (id) ON DELETE CASCADE,
    actor_type TEXT NOT NULL DEFAULT '',
    actor_id TEXT NOT NULL DEFAULT '',
    ingress TEXT NOT NULL,
    method TEXT NOT NULL,
    host TEXT NOT NULL,
    path TEXT NOT NULL,
    matched_service TEXT NOT NULL DEFAULT '',
    credential_keys TEXT NOT NULL DEFAULT '[]',
    status INTEGER NOT NULL,
    latency_ms INTEGER NOT NULL,
    error_code TEXT NOT NULL DEFAULT '',
    auth_scheme TEXT NOT NULL DEFAULT '',
    auth_header TEXT NOT NULL DEFAULT '',
    created_at TEXT NOT NULL
);

CREATE INDEX request_logs_by_vault ON request_logs (vault_id, id DESC);
