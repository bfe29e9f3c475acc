-- A database as the six steps from 0001 to 0006 left it, with rows. PostgreSQL's differs in one word: BYTEA, not BLOB.
CREATE TABLE alembic_version (version_num VARCHAR(32) NOT NULL,
  CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num));
CREATE TABLE revisions (kind VARCHAR(20) NOT NULL, key VARCHAR(63) NOT NULL, revision INTEGER NOT NULL,
  at VARCHAR(27) NOT NULL, actor VARCHAR(100) NOT NULL, spec JSON, what VARCHAR(20),
  PRIMARY KEY (kind, key, revision));
CREATE TABLE marks (name VARCHAR(100) NOT NULL, value TEXT NOT NULL, PRIMARY KEY (name));
CREATE TABLE repositories (key VARCHAR(63) NOT NULL, identity VARCHAR(64), met_at VARCHAR(27),
  bytes_stored BIGINT, measured_at VARCHAR(27), PRIMARY KEY (key));
CREATE TABLE runs (id VARCHAR(36) NOT NULL, kind VARCHAR(20) NOT NULL, action VARCHAR(20) NOT NULL,
  job VARCHAR(63), repository VARCHAR(63), host VARCHAR(63) NOT NULL, state VARCHAR(20) NOT NULL,
  outcome VARCHAR(20), reason_code VARCHAR(60), reason_message TEXT, created_at VARCHAR(27) NOT NULL,
  started_at VARCHAR(27), ended_at VARCHAR(27), last_seq INTEGER NOT NULL, accepted_at VARCHAR(27),
  subject VARCHAR(140), nominal_at VARCHAR(27), origin VARCHAR(20), actor VARCHAR(100), "order" JSON,
  not_before VARCHAR(27), assigned_at VARCHAR(27), cancel_requested_at VARCHAR(27), cancelled_by VARCHAR(100),
  missed_last VARCHAR(27), missed_count INTEGER, PRIMARY KEY (id));
CREATE INDEX runs_by_time ON runs (created_at);
CREATE INDEX runs_open ON runs (state);
CREATE TABLE steps (run VARCHAR(36) NOT NULL, number INTEGER NOT NULL, action VARCHAR(20) NOT NULL,
  repository VARCHAR(63), job VARCHAR(63), outcome VARCHAR(20), ended_at VARCHAR(27), account JSON NOT NULL,
  PRIMARY KEY (run, number), FOREIGN KEY (run) REFERENCES runs (id) ON DELETE CASCADE);
CREATE INDEX steps_by_subject ON steps (action, repository, job, ended_at);
CREATE TABLE events (run VARCHAR(36) NOT NULL, first_seq INTEGER NOT NULL, last_seq INTEGER NOT NULL,
  lines BLOB NOT NULL, PRIMARY KEY (run, first_seq),
  FOREIGN KEY (run) REFERENCES runs (id) ON DELETE CASCADE);
CREATE TABLE snapshots (repository VARCHAR(63) NOT NULL, id VARCHAR(64) NOT NULL, host VARCHAR(63) NOT NULL,
  job VARCHAR(63) NOT NULL, "set" VARCHAR(63) NOT NULL, run VARCHAR(36), time VARCHAR(27) NOT NULL,
  size_bytes BIGINT, shrank BOOLEAN NOT NULL, accepted_at VARCHAR(27), forgotten_at VARCHAR(27),
  missing_since VARCHAR(27), adopted_by VARCHAR(100), PRIMARY KEY (repository, id));
CREATE INDEX snapshots_by_set ON snapshots (repository, host, job, "set", time);
CREATE INDEX snapshots_by_run ON snapshots (run);
CREATE TABLE objects (kind VARCHAR(20) NOT NULL, key VARCHAR(63) NOT NULL, title TEXT, spec JSON NOT NULL,
  revision INTEGER NOT NULL, origin VARCHAR(20) NOT NULL, former_keys JSON NOT NULL,
  changed_at VARCHAR(27) NOT NULL, deleted_at VARCHAR(27), id VARCHAR(36) NOT NULL, file TEXT,
  PRIMARY KEY (kind, key), CONSTRAINT objects_id_key UNIQUE (id));
CREATE INDEX runs_of_repository ON runs (repository, created_at);
CREATE INDEX runs_of_subject ON runs (subject, nominal_at);
CREATE TABLE repository_days (repository VARCHAR(63) NOT NULL, day VARCHAR(10) NOT NULL, bytes_stored BIGINT,
  bytes_restorable BIGINT, snapshots INTEGER, PRIMARY KEY (repository, day));
CREATE TABLE fires (subject VARCHAR(140) NOT NULL, action VARCHAR(20) NOT NULL, host VARCHAR(63) NOT NULL,
  schedule TEXT NOT NULL, next_at VARCHAR(27), due_at VARCHAR(27), fired_at VARCHAR(27), owed JSON,
  PRIMARY KEY (subject));
CREATE INDEX fires_by_due ON fires (due_at);
CREATE TABLE pauses (subject VARCHAR(140) NOT NULL, since VARCHAR(27) NOT NULL, until VARCHAR(27),
  actor VARCHAR(100) NOT NULL, reason TEXT, PRIMARY KEY (subject));
CREATE TABLE idempotency (actor VARCHAR(100) NOT NULL, key VARCHAR(200) NOT NULL,
  request VARCHAR(64) NOT NULL, answer JSON NOT NULL, at VARCHAR(27) NOT NULL, PRIMARY KEY (actor, key));
CREATE TABLE agents (host VARCHAR(63) NOT NULL, public_key VARCHAR(64) NOT NULL,
  enrolled_at VARCHAR(27) NOT NULL, seen_at VARCHAR(27), facts JSON NOT NULL, PRIMARY KEY (host));
CREATE TABLE enrolments (token VARCHAR(64) NOT NULL, purpose VARCHAR(20) NOT NULL, subject VARCHAR(63),
  expires_at VARCHAR(27) NOT NULL, used_at VARCHAR(27), actor VARCHAR(100) NOT NULL, PRIMARY KEY (token));
CREATE TABLE vault (place VARCHAR(200) NOT NULL, content BLOB NOT NULL, changed_at VARCHAR(27) NOT NULL,
  actor VARCHAR(100) NOT NULL, PRIMARY KEY (place));
CREATE TABLE sessions (token VARCHAR(64) NOT NULL, id VARCHAR(36) NOT NULL, "user" VARCHAR(63) NOT NULL,
  created_at VARCHAR(27) NOT NULL, seen_at VARCHAR(27) NOT NULL, expires_at VARCHAR(27) NOT NULL,
  address VARCHAR(64), browser TEXT, PRIMARY KEY (token), UNIQUE (id));
CREATE INDEX sessions_of_user ON sessions ("user");
CREATE TABLE throttles (subject VARCHAR(200) NOT NULL, failures INTEGER NOT NULL,
  last_at VARCHAR(27) NOT NULL, blocked_until VARCHAR(27), PRIMARY KEY (subject));
CREATE TABLE audit (id VARCHAR(36) NOT NULL, at VARCHAR(27) NOT NULL, actor VARCHAR(100) NOT NULL,
  address VARCHAR(64), action VARCHAR(60) NOT NULL, kind VARCHAR(20), key VARCHAR(200), before JSON,
  after JSON, message TEXT, PRIMARY KEY (id));
CREATE INDEX audit_by_time ON audit (at);
CREATE INDEX audit_of_object ON audit (kind, key, at);
CREATE INDEX steps_by_outcome ON steps (action, repository, job, outcome, ended_at);
CREATE INDEX snapshots_held ON snapshots (repository, host, job, "set", time)
  WHERE forgotten_at IS NULL AND missing_since IS NULL;
CREATE INDEX runs_of_job ON runs (job, created_at, kind, outcome);
CREATE INDEX runs_missed ON runs (job, missed_last) WHERE missed_last IS NOT NULL;
CREATE TABLE token_uses (token VARCHAR(36) NOT NULL, used_at VARCHAR(27) NOT NULL, address VARCHAR(64),
  PRIMARY KEY (token));
CREATE INDEX runs_not_backup ON runs (kind, created_at, id) WHERE kind <> 'backup';
CREATE INDEX runs_not_success ON runs (outcome, created_at, id) WHERE outcome <> 'success';

INSERT INTO alembic_version VALUES ('0006');
INSERT INTO marks VALUES ('anew:nas', '2026-02-01T02:00:00.000000Z');
INSERT INTO objects (kind, key, spec, revision, origin, former_keys, changed_at, id, file) VALUES ('job', 'docs',
  '{"a": 1}', 1, 'file', '[]', '2026-03-01T02:00:00.000000Z', '019b0000-0000-7000-8000-000000000001', '/etc/h.toml');
INSERT INTO runs (id, kind, action, host, state, outcome, created_at, last_seq, accepted_at, "order") VALUES ('1',
  'backup', 'backup', 'here', 'done', 'success', '2026-03-01T02:00:00.000000Z', 0, NULL, '{"dry_run": false}');
INSERT INTO steps (run, number, action, repository, outcome, account) VALUES ('1', 1, 'backup', 'nas', 'success',
  '{"number": 1, "action": "backup", "outcome": "success"}');
INSERT INTO snapshots (repository, id, host, job, "set", run, time, shrank) VALUES ('nas', 'a', 'here', 'docs',
  'files', '1', '2026-03-01T02:00:00.000000Z', true);
INSERT INTO agents VALUES ('here', 'key', '2026-03-01T02:00:00.000000Z', NULL, '{}');
INSERT INTO sessions (token, id, "user", created_at, seen_at, expires_at) VALUES ('t', '1', 'anna',
  '2026-03-01T02:00:00.000000Z', '2026-03-01T02:00:00.000000Z', '2026-03-02T02:00:00.000000Z');
