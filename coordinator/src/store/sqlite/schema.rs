//! The tables, and how they came to be.
//!
//! Keys of `call` and `outcome` are a job's number and a task's in one integer, so that what belongs together lies
//! together and needs no index. Every row ends in `sum`, a checksum over its other columns ([`super::row::Sum`]); bodies
//! have one of their own, `body_sum`, so that a restart can check rows without reading the bodies.

/// Marks a file as a store: `ppwS`.
pub(super) const APPLICATION_ID: i64 = 0x7070_7753;

/// What made each version out of the one before it. Never changed, only added to.
pub(super) const MIGRATIONS: &[&str] = &[VERSION_1, VERSION_2, VERSION_3, VERSION_4];

pub(in crate::store) const VERSION_1: &str = "
CREATE TABLE meta (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    lease_key BLOB NOT NULL,
    epoch INTEGER NOT NULL,
    events INTEGER NOT NULL,
    chain BLOB NOT NULL,
    sum INTEGER NOT NULL
) STRICT;
CREATE TABLE job (
    number INTEGER PRIMARY KEY,
    id BLOB NOT NULL UNIQUE,
    owner TEXT NOT NULL,
    priority INTEGER NOT NULL,
    function BLOB NOT NULL,
    limits BLOB NOT NULL,
    attempts_max INTEGER NOT NULL,
    is_deterministic INTEGER NOT NULL,
    body BLOB NOT NULL,
    submitted_ms INTEGER NOT NULL,
    details BLOB NOT NULL,
    sum INTEGER NOT NULL
) STRICT;
CREATE TABLE job_state (
    number INTEGER PRIMARY KEY,
    tasks INTEGER NOT NULL,
    outcomes INTEGER NOT NULL,
    released INTEGER NOT NULL,
    is_closed INTEGER NOT NULL,
    ended INTEGER,
    ended_ms INTEGER,
    round INTEGER NOT NULL,
    lease_floor INTEGER NOT NULL,
    is_forgotten INTEGER NOT NULL,
    sum INTEGER NOT NULL
) STRICT;
CREATE INDEX job_state_ended ON job_state (ended_ms) WHERE ended_ms IS NOT NULL;
CREATE INDEX job_state_forgotten ON job_state (number) WHERE is_forgotten = 1;
CREATE TABLE call (
    key INTEGER PRIMARY KEY,
    count INTEGER NOT NULL,
    body_sum INTEGER NOT NULL,
    sum INTEGER NOT NULL,
    bodies BLOB NOT NULL
) STRICT;
CREATE TABLE outcome (
    key INTEGER PRIMARY KEY,
    round INTEGER NOT NULL,
    kind INTEGER NOT NULL,
    attempt INTEGER NOT NULL,
    lease INTEGER NOT NULL,
    worker INTEGER NOT NULL,
    at_ms INTEGER NOT NULL,
    run_time_us INTEGER NOT NULL,
    memory_bytes INTEGER NOT NULL,
    body_sum INTEGER NOT NULL,
    sum INTEGER NOT NULL,
    bodies BLOB NOT NULL
) STRICT;
CREATE TABLE loss (
    key INTEGER NOT NULL,
    attempt INTEGER NOT NULL,
    round INTEGER NOT NULL,
    worker INTEGER NOT NULL,
    is_suspect INTEGER NOT NULL,
    sum INTEGER NOT NULL,
    PRIMARY KEY (key, attempt)
) STRICT, WITHOUT ROWID;
CREATE TABLE worker (
    number INTEGER PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    is_joined INTEGER NOT NULL,
    drained INTEGER,
    sum INTEGER NOT NULL
) STRICT;
CREATE TABLE bundle (
    digest BLOB PRIMARY KEY,
    jobs INTEGER NOT NULL,
    used_ms INTEGER NOT NULL,
    body_sum INTEGER NOT NULL,
    sum INTEGER NOT NULL,
    body BLOB NOT NULL
) STRICT;
CREATE TABLE blob (
    digest BLOB PRIMARY KEY,
    size INTEGER NOT NULL,
    refs INTEGER NOT NULL,
    sum INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE TABLE token (
    hash BLOB PRIMARY KEY,
    expires_ms INTEGER NOT NULL,
    details BLOB NOT NULL,
    sum INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE TABLE certificate (
    serial BLOB PRIMARY KEY,
    identity TEXT NOT NULL,
    expires_ms INTEGER NOT NULL,
    details BLOB NOT NULL,
    sum INTEGER NOT NULL
) STRICT;
CREATE INDEX certificate_identity ON certificate (identity);
CREATE TABLE denied (
    is_identity INTEGER NOT NULL,
    subject BLOB NOT NULL,
    reason TEXT NOT NULL,
    at_ms INTEGER NOT NULL,
    sum INTEGER NOT NULL,
    PRIMARY KEY (is_identity, subject)
) STRICT, WITHOUT ROWID;
CREATE TABLE event (
    number INTEGER PRIMARY KEY,
    at_ms INTEGER NOT NULL,
    kind TEXT NOT NULL,
    body BLOB NOT NULL,
    chain BLOB NOT NULL
) STRICT;
";

pub(in crate::store) const VERSION_2: &str = "
CREATE TABLE wished_slots (
    worker TEXT PRIMARY KEY,
    slots INTEGER NOT NULL,
    sum INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
";

/// What share of a job is verified, and what came of it for each task: both empty for those of before.
pub(in crate::store) const VERSION_3: &str = "
ALTER TABLE job ADD COLUMN verify_percent INTEGER NOT NULL DEFAULT 0;
ALTER TABLE outcome ADD COLUMN verification BLOB;
";

/// Whether a job is cached, where the outcome of a task comes from that did not run, and outcomes by the keys of their
/// tasks.
pub(in crate::store) const VERSION_4: &str = "
ALTER TABLE job ADD COLUMN is_cached INTEGER NOT NULL DEFAULT 0;
ALTER TABLE outcome ADD COLUMN origin BLOB;
CREATE TABLE cached (
    key BLOB PRIMARY KEY,
    task INTEGER NOT NULL,
    lease INTEGER NOT NULL,
    worker INTEGER NOT NULL,
    is_confirmed INTEGER NOT NULL,
    guest BLOB NOT NULL,
    target TEXT NOT NULL,
    cpu_profile TEXT NOT NULL,
    build TEXT NOT NULL,
    sum INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX cached_task ON cached (task);
CREATE INDEX cached_worker ON cached (worker) WHERE is_confirmed = 0;
";
