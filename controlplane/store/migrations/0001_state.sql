-- 0001: revisions, what stands beside them, and what happened.
-- Times are milliseconds since 1970, ids are numbers of our own, texts are UTF-8.

-- Numbers that only rise: kills, their list's serial, admin entries, calls.
CREATE TABLE counters (
    name TEXT PRIMARY KEY NOT NULL,
    value BIGINT NOT NULL
);

-- How the key that seals secrets is made, and a known text sealed under it.
CREATE TABLE seal (
    id BIGINT PRIMARY KEY NOT NULL,
    made_from TEXT NOT NULL,
    salt BLOB NOT NULL,
    probe BLOB NOT NULL
);

-- Sealed keys of our own: certificate authority, signing key.
CREATE TABLE materials (
    name TEXT PRIMARY KEY NOT NULL,
    sealed BLOB NOT NULL
);

CREATE TABLE revisions (
    revision BIGINT PRIMARY KEY NOT NULL,
    at_ms BIGINT NOT NULL,
    author TEXT NOT NULL,
    how TEXT NOT NULL,
    message TEXT NOT NULL,
    added BIGINT NOT NULL,
    changed BIGINT NOT NULL,
    removed BIGINT NOT NULL
);

-- An object as it was from revision `since` up to, not including, revision `until`.
CREATE TABLE objects (
    kind TEXT NOT NULL,
    name TEXT NOT NULL,
    since BIGINT NOT NULL REFERENCES revisions (revision),
    until BIGINT REFERENCES revisions (revision),
    body TEXT NOT NULL,
    PRIMARY KEY (kind, name, since)
);
CREATE INDEX objects_by_until ON objects (until);

CREATE TABLE kills (
    id BIGINT PRIMARY KEY NOT NULL,
    target TEXT NOT NULL,
    reason TEXT NOT NULL,
    author TEXT NOT NULL,
    at_ms BIGINT NOT NULL,
    expires_at_ms BIGINT,
    serial BIGINT NOT NULL,
    -- When and by whom it was taken back, or that it expired; absent while in force.
    ended_at_ms BIGINT,
    ended_by TEXT
);
CREATE INDEX kills_in_force ON kills (ended_at_ms);

CREATE TABLE secrets (
    name TEXT PRIMARY KEY NOT NULL,
    revision BIGINT NOT NULL,
    set_at_ms BIGINT NOT NULL,
    set_by TEXT NOT NULL,
    sealed BLOB NOT NULL
);

CREATE TABLE tokens (
    id TEXT PRIMARY KEY NOT NULL,
    name TEXT NOT NULL,
    role TEXT NOT NULL,
    sha256 TEXT NOT NULL,
    created_at_ms BIGINT NOT NULL,
    created_by TEXT NOT NULL,
    expires_at_ms BIGINT
);

CREATE TABLE enrolments (
    sha256 TEXT PRIMARY KEY NOT NULL,
    name TEXT NOT NULL,
    created_by TEXT NOT NULL,
    expires_at_ms BIGINT NOT NULL
);

CREATE TABLE appliances (
    id TEXT PRIMARY KEY NOT NULL,
    name TEXT NOT NULL,
    enrolled_at_ms BIGINT NOT NULL,
    -- The certificate in use, and the one before it: a renewal may be cut off half-way.
    certificate_sha256 TEXT,
    previous_sha256 TEXT,
    certificate_expires_at_ms BIGINT,
    revoked_at_ms BIGINT,
    seen_at_ms BIGINT,
    -- The log index from which records are wanted.
    records_next BIGINT NOT NULL
);

-- What a server said when it was last asked.
CREATE TABLE findings (
    server TEXT PRIMARY KEY NOT NULL,
    asked_at_ms BIGINT NOT NULL,
    fault TEXT,
    body TEXT
);

CREATE TABLE admin_log (
    id BIGINT PRIMARY KEY NOT NULL,
    at_ms BIGINT NOT NULL,
    who TEXT NOT NULL,
    token_id TEXT NOT NULL,
    method TEXT NOT NULL,
    path TEXT NOT NULL,
    status BIGINT NOT NULL,
    outcome TEXT NOT NULL
);

-- Derived copies of appliances' audit records.
CREATE TABLE calls (
    id BIGINT PRIMARY KEY NOT NULL,
    appliance TEXT NOT NULL,
    log_index BIGINT NOT NULL,
    at_ms BIGINT NOT NULL,
    tenant TEXT NOT NULL,
    user_name TEXT NOT NULL,
    agent TEXT NOT NULL,
    server TEXT NOT NULL,
    tool TEXT NOT NULL,
    decision TEXT NOT NULL,
    body TEXT NOT NULL,
    UNIQUE (appliance, log_index)
);
