"""The schema from which every database starts that knows no newer one: what 0001 to 0006 made, one after the other."""

from alembic import op

revision = "0006"
down_revision = None


def upgrade() -> None:
    """Make the tables; the two databases differ in one word."""
    blob = "BYTEA" if op.get_bind().dialect.name == "postgresql" else "BLOB"
    for statement in _TABLES.split(";"):
        op.execute(statement.replace("BLOB", blob))


_TABLES = """\
CREATE TABLE objects (kind VARCHAR(20) NOT NULL, key VARCHAR(63) NOT NULL, title TEXT, spec JSON NOT NULL,
  revision INTEGER NOT NULL, origin VARCHAR(20) NOT NULL, former_keys JSON NOT NULL,
  changed_at VARCHAR(27) NOT NULL, deleted_at VARCHAR(27), id VARCHAR(36) NOT NULL, file TEXT,
  PRIMARY KEY (kind, key), CONSTRAINT objects_id_key UNIQUE (id));
CREATE TABLE revisions (kind VARCHAR(20) NOT NULL, key VARCHAR(63) NOT NULL, revision INTEGER NOT NULL,
  at VARCHAR(27) NOT NULL, actor VARCHAR(100) NOT NULL, spec JSON, what VARCHAR(20),
  PRIMARY KEY (kind, key, revision));
CREATE TABLE marks (name VARCHAR(100) NOT NULL PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE repositories (key VARCHAR(63) NOT NULL PRIMARY KEY, identity VARCHAR(64), met_at VARCHAR(27),
  bytes_stored BIGINT, measured_at VARCHAR(27));
CREATE TABLE repository_days (repository VARCHAR(63) NOT NULL, day VARCHAR(10) NOT NULL, bytes_stored BIGINT,
  bytes_restorable BIGINT, snapshots INTEGER, PRIMARY KEY (repository, day));
CREATE TABLE runs (id VARCHAR(36) NOT NULL PRIMARY KEY, kind VARCHAR(20) NOT NULL,
  action VARCHAR(20) NOT NULL, job VARCHAR(63), repository VARCHAR(63), host VARCHAR(63) NOT NULL,
  state VARCHAR(20) NOT NULL, outcome VARCHAR(20), reason_code VARCHAR(60), reason_message TEXT,
  created_at VARCHAR(27) NOT NULL, started_at VARCHAR(27), ended_at VARCHAR(27), last_seq INTEGER NOT NULL,
  accepted_at VARCHAR(27), subject VARCHAR(140), nominal_at VARCHAR(27), origin VARCHAR(20),
  actor VARCHAR(100), "order" JSON, not_before VARCHAR(27), assigned_at VARCHAR(27),
  cancel_requested_at VARCHAR(27), cancelled_by VARCHAR(100), missed_last VARCHAR(27), missed_count INTEGER);
CREATE INDEX runs_by_time ON runs (created_at);
CREATE INDEX runs_open ON runs (state);
CREATE INDEX runs_of_repository ON runs (repository, created_at);
CREATE INDEX runs_of_subject ON runs (subject, nominal_at);
CREATE INDEX runs_of_job ON runs (job, created_at, kind, outcome);
CREATE INDEX runs_missed ON runs (job, missed_last) WHERE missed_last IS NOT NULL;
CREATE INDEX runs_not_backup ON runs (kind, created_at, id) WHERE kind <> 'backup';
CREATE INDEX runs_not_success ON runs (outcome, created_at, id) WHERE outcome <> 'success';
CREATE TABLE steps (run VARCHAR(36) NOT NULL, number INTEGER NOT NULL,
  action VARCHAR(20) NOT NULL, repository VARCHAR(63), job VARCHAR(63), outcome VARCHAR(20),
  ended_at VARCHAR(27), account JSON NOT NULL, PRIMARY KEY (run, number),
  FOREIGN KEY (run) REFERENCES runs (id) ON DELETE CASCADE);
CREATE INDEX steps_by_subject ON steps (action, repository, job, ended_at);
CREATE INDEX steps_by_outcome ON steps (action, repository, job, outcome, ended_at);
CREATE TABLE events (run VARCHAR(36) NOT NULL,
  first_seq INTEGER NOT NULL, last_seq INTEGER NOT NULL, lines BLOB NOT NULL, PRIMARY KEY (run, first_seq),
  FOREIGN KEY (run) REFERENCES runs (id) ON DELETE CASCADE);
CREATE TABLE snapshots (repository VARCHAR(63) NOT NULL, id VARCHAR(64) NOT NULL, host VARCHAR(63) NOT NULL,
  job VARCHAR(63) NOT NULL, "set" VARCHAR(63) NOT NULL, run VARCHAR(36), time VARCHAR(27) NOT NULL,
  size_bytes BIGINT, shrank BOOLEAN NOT NULL, accepted_at VARCHAR(27), forgotten_at VARCHAR(27),
  missing_since VARCHAR(27), adopted_by VARCHAR(100), PRIMARY KEY (repository, id));
CREATE INDEX snapshots_by_set ON snapshots (repository, host, job, "set", time);
CREATE INDEX snapshots_by_run ON snapshots (run);
CREATE INDEX snapshots_held ON snapshots (repository, host, job, "set", time)
  WHERE forgotten_at IS NULL AND missing_since IS NULL;
CREATE TABLE fires (subject VARCHAR(140) NOT NULL PRIMARY KEY, action VARCHAR(20) NOT NULL,
  host VARCHAR(63) NOT NULL, schedule TEXT NOT NULL, next_at VARCHAR(27), due_at VARCHAR(27),
  fired_at VARCHAR(27), owed JSON);
CREATE INDEX fires_by_due ON fires (due_at);
CREATE TABLE pauses (subject VARCHAR(140) NOT NULL PRIMARY KEY, since VARCHAR(27) NOT NULL, until VARCHAR(27),
  actor VARCHAR(100) NOT NULL, reason TEXT);
CREATE TABLE idempotency (actor VARCHAR(100) NOT NULL, key VARCHAR(200) NOT NULL,
  request VARCHAR(64) NOT NULL, answer JSON NOT NULL, at VARCHAR(27) NOT NULL, PRIMARY KEY (actor, key));
CREATE TABLE agents (host VARCHAR(63) NOT NULL PRIMARY KEY, public_key VARCHAR(64) NOT NULL,
  enrolled_at VARCHAR(27) NOT NULL, seen_at VARCHAR(27), facts JSON NOT NULL);
CREATE TABLE enrolments (token VARCHAR(64) NOT NULL PRIMARY KEY, purpose VARCHAR(20) NOT NULL,
  subject VARCHAR(63), expires_at VARCHAR(27) NOT NULL, used_at VARCHAR(27), actor VARCHAR(100) NOT NULL);
CREATE TABLE vault (place VARCHAR(200) NOT NULL PRIMARY KEY, content BLOB NOT NULL,
  changed_at VARCHAR(27) NOT NULL, actor VARCHAR(100) NOT NULL);
CREATE TABLE sessions (token VARCHAR(64) NOT NULL PRIMARY KEY, id VARCHAR(36) NOT NULL,
  "user" VARCHAR(63) NOT NULL, created_at VARCHAR(27) NOT NULL, seen_at VARCHAR(27) NOT NULL,
  expires_at VARCHAR(27) NOT NULL, address VARCHAR(64), browser TEXT,
  UNIQUE (id));
CREATE INDEX sessions_of_user ON sessions ("user");
CREATE TABLE token_uses (token VARCHAR(36) NOT NULL PRIMARY KEY, used_at VARCHAR(27) NOT NULL,
  address VARCHAR(64));
CREATE TABLE throttles (subject VARCHAR(200) NOT NULL PRIMARY KEY, failures INTEGER NOT NULL,
  last_at VARCHAR(27) NOT NULL, blocked_until VARCHAR(27));
CREATE TABLE audit (id VARCHAR(36) NOT NULL PRIMARY KEY, at VARCHAR(27) NOT NULL, actor VARCHAR(100) NOT NULL,
  address VARCHAR(64), action VARCHAR(60) NOT NULL, kind VARCHAR(20), key VARCHAR(200), before JSON,
  after JSON, message TEXT);
CREATE INDEX audit_by_time ON audit (at);
CREATE INDEX audit_of_object ON audit (kind, key, at)
"""
