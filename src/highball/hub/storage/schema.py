"""The tables of the hub, as the newest migration leaves them, and what their rows mean.

Two kinds of data and no third: what people declared (objects and their revisions) and the record (runs, steps,
events, snapshots, holds, repositories, audit), which is only appended to and expired. Beside them lie the vault (sealed
values and hashes) and working state that may be deleted (fires, pauses, sessions, throttles, enrolments).

Which modules of `hub` write a table, and no others do, but for the migrations and a copy that is restored:

    objects, revisions: auth.users, disaster.rebuild, document.rows
    marks: document.rename, document.rows, document.store, runs.expiry, runs.ingest, runs.record
    repositories: runs.ingest, runs.record
    repository_days, steps: runs.ingest
    runs: runs.expiry, runs.ingest, runs.queue, runs.record, runs.scheduler
    events: runs.expiry, runs.log_volume, runs.record
    snapshots: retention.adoption, runs.holds, runs.ingest, runs.record
    holds: runs.holds, runs.ingest
    fires: document.rename, runs.scheduler
    pauses: document.rows, runs.pauses
    idempotency: runs.queue
    agents: agents.fleet, agents.refusals
    enrolments: agents.fleet, auth.sessions, auth.users
    vault: auth.authenticators, auth.sessions, auth.users, document.rows, secrets.vault
    sessions: auth.sessions, auth.users
    identities: auth.identities, auth.users
    authenticators: auth.authenticators, auth.users
    token_uses: auth.sessions
    throttles: auth.rate_limit
    audit: audit, document.rows
    schema_version: storage.schema
"""

from __future__ import annotations

from datetime import datetime

import sqlalchemy as sa

from highball.errors import StateUnusable
from highball.hub.storage.dialects import name_of
from highball.model.fact import storable
from highball.model.text import in_utc

REVISION = "0012"
"""The schema that this program knows; `migrations` leads to it."""


def moment_to_text(at: datetime | None) -> str:
    """A time as it is stored; none is before all others."""
    if at is None:
        return ""
    return in_utc(at).replace(tzinfo=None).isoformat(timespec="microseconds") + "Z"


class Moment(sa.TypeDecorator[datetime]):
    """An aware time in UTC, stored as text of fixed width, so that it sorts and people can read it."""

    impl = sa.String(27)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: sa.Dialect) -> str | None:
        """To the database."""
        return None if value is None else moment_to_text(value)

    def process_result_value(self, value: str | None, dialect: sa.Dialect) -> datetime | None:
        """From the database."""
        return None if value is None else datetime.fromisoformat(value)


class Prose(sa.TypeDecorator[str]):
    """Text for people: a character that not every database stores (NUL, half of a pair) is replaced."""

    impl = sa.Text
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: sa.Dialect) -> str | None:
        """To the database."""
        return None if value is None else storable(value)


metadata = sa.MetaData()
"""The tables as the newest migration leaves them. An index over some rows says so to SQLite alone, and to PostgreSQL
only where its tables are made: naming it here would load all of its dialect whenever a command starts."""

objects = sa.Table(
    "objects",
    metadata,
    sa.Column("kind", sa.String(20), primary_key=True),
    sa.Column("key", sa.String(63), primary_key=True),
    sa.Column("title", sa.Text),
    sa.Column("spec", sa.JSON, nullable=False),
    sa.Column("revision", sa.Integer, nullable=False),
    sa.Column("origin", sa.String(20), nullable=False),
    sa.Column("former_keys", sa.JSON, nullable=False),
    sa.Column("changed_at", Moment, nullable=False),
    sa.Column("deleted_at", Moment),
    sa.Column("id", sa.String(36), nullable=False),
    sa.Column("file", sa.Text),
    sa.UniqueConstraint("id", name="objects_id_key"),
)
"""What people declared; `id` (a UUIDv7) only names an object's places in the vault, `file` is the applied one."""

revisions = sa.Table(
    "revisions",
    metadata,
    sa.Column("kind", sa.String(20), primary_key=True),
    sa.Column("key", sa.String(63), primary_key=True),
    sa.Column("revision", sa.Integer, primary_key=True),
    sa.Column("at", Moment, nullable=False),
    sa.Column("actor", sa.String(100), nullable=False),
    sa.Column("spec", sa.JSON(none_as_null=True)),
    sa.Column("what", sa.String(20)),
)
"""Each change of an object, its spec as it then was; null is a deletion."""

marks = sa.Table(
    "marks",
    metadata,
    sa.Column("name", sa.String(100), primary_key=True),
    sa.Column("value", sa.Text, nullable=False),
)

ANEW = "anew:"
"""How the mark is called that tells when a repository was begun anew, before its key."""

UNTESTED = "untested:"
"""How the mark is called that tells of a repository saved though no test of it succeeded, before its key."""

repositories = sa.Table(
    "repositories",
    metadata,
    sa.Column("key", sa.String(63), primary_key=True),
    sa.Column("identity", sa.String(64)),
    sa.Column("met_at", Moment),
    sa.Column("bytes_stored", sa.BigInteger),
    sa.Column("measured_at", Moment),
    sa.Column("snapshots_listed", sa.Integer),
    sa.Column("listed_at", Moment),
)
"""What was found of each: how much it stored when that was last known, and how many snapshots it last showed in all,
those of others among them."""

repository_days = sa.Table(
    "repository_days",
    metadata,
    sa.Column("repository", sa.String(63), primary_key=True),
    sa.Column("day", sa.String(10), primary_key=True),
    sa.Column("bytes_stored", sa.BigInteger),
    sa.Column("bytes_restorable", sa.BigInteger),
    sa.Column("snapshots", sa.Integer),
)
"""What a repository held at the end of a day (UTC), as far as it was measured: its trend."""

_MISSED = sa.text("missed_last IS NOT NULL")
NOT_BACKUP: sa.ColumnElement[bool] = sa.literal_column("kind <> 'backup'")
NOT_SUCCESS: sa.ColumnElement[bool] = sa.literal_column("outcome <> 'success'")
"""What makes runs few. SQLite uses the indexes of these where a question says the very same, and only there."""


runs = sa.Table(
    "runs",
    metadata,
    sa.Column("id", sa.String(36), primary_key=True),
    sa.Column("kind", sa.String(20), nullable=False),
    sa.Column("action", sa.String(20), nullable=False),
    sa.Column("job", sa.String(63)),
    sa.Column("repository", sa.String(63)),
    sa.Column("host", sa.String(63), nullable=False),
    sa.Column("state", sa.String(20), nullable=False),
    sa.Column("outcome", sa.String(20)),
    sa.Column("reason_code", sa.String(60)),
    sa.Column("reason_message", Prose),
    sa.Column("created_at", Moment, nullable=False),
    sa.Column("started_at", Moment),
    sa.Column("ended_at", Moment),
    sa.Column("last_seq", sa.Integer, nullable=False),
    sa.Column("subject", sa.String(140)),
    sa.Column("nominal_at", Moment),
    sa.Column("origin", sa.String(20)),
    sa.Column("actor", sa.String(100)),
    sa.Column("order", sa.JSON(none_as_null=True)),
    sa.Column("not_before", Moment),
    sa.Column("assigned_at", Moment),
    sa.Column("cancel_requested_at", Moment),
    sa.Column("cancelled_by", sa.String(100)),
    sa.Column("missed_last", Moment),
    sa.Column("missed_count", sa.Integer),
    sa.Column("scope", sa.JSON(none_as_null=True)),
    sa.Index("runs_by_time", "created_at"),
    sa.Index("runs_open", "state"),
    sa.Index("runs_not_backup", "kind", "created_at", "id", sqlite_where=NOT_BACKUP),
    sa.Index("runs_not_success", "outcome", "created_at", "id", sqlite_where=NOT_SUCCESS),
    sa.Index("runs_of_job", "job", "created_at", "kind", "outcome"),
    sa.Index("runs_of_repository", "repository", "created_at"),
    sa.Index("runs_of_subject", "subject", "nominal_at"),
    sa.Index("runs_missed", "job", "missed_last", sqlite_where=_MISSED),
)
"""Every run. `subject` is what fired (`backup:docs`, `check:nas`), `nominal_at` the time it was due, `origin`
schedule, manual, hub, agent (it told of a run that nobody here ordered) or (null) a command on the machine, `order`
what a queued run is to do, `scope` what the assignment covered that was made of it; a row of missed times is one run,
from `nominal_at` to `missed_last`.

Who makes a run writes what it is; then each column has its writer. `queue`: `assigned_at`, `cancel_requested_at`,
`cancelled_by`, and how one ends that has not begun. `scheduler`: `missed_last` and `missed_count` of a row of missed
times. `record`: `scope`, `last_seq`, and `origin` where it is but an agent's word. `ingest`: `state`, `started_at`,
`ended_at`, `outcome` and the reason, as events tell them."""

BY_WORD = "agent"
"""The origin of a run that the hub knows only by its agent's word."""

NOT_BY_WORD: sa.ColumnElement[bool] = sa.func.coalesce(runs.c.origin, "") != BY_WORD
"""A run that claims something: nobody waits for what an agent merely says that it does."""

NOT_REHEARSED: sa.ColumnElement[bool] = sa.func.coalesce(
    runs.c.order["dry_run"].as_boolean(), sa.false()
).is_(sa.false())
"""A run that did what it tells of: a dry run protects nothing, and tells nothing of how things stand."""


def is_since_anew(
    ended_at: sa.ColumnElement[datetime], repository: sa.ColumnElement[str]
) -> sa.ColumnElement[bool]:
    """Whether something ended after its repository was begun anew, if it ever was: of one that was given up since, it
    says nothing of the one in its place."""
    begun = sa.select(marks.c.value).where(marks.c.name == sa.literal(ANEW) + repository).scalar_subquery()
    return sa.type_coerce(ended_at, sa.Text) > sa.func.coalesce(begun, "")


steps = sa.Table(
    "steps",
    metadata,
    sa.Column("run", sa.ForeignKey("runs.id", ondelete="CASCADE"), primary_key=True),
    sa.Column("number", sa.Integer, primary_key=True),
    sa.Column("action", sa.String(20), nullable=False),
    sa.Column("repository", sa.String(63)),
    sa.Column("job", sa.String(63)),
    sa.Column("outcome", sa.String(20)),
    sa.Column("ended_at", Moment),
    sa.Column("account", sa.JSON, nullable=False),
    sa.Index("steps_by_subject", "action", "repository", "job", "ended_at"),
    sa.Index("steps_by_outcome", "action", "repository", "job", "outcome", "ended_at"),
)

events = sa.Table(
    "events",
    metadata,
    sa.Column("run", sa.ForeignKey("runs.id", ondelete="CASCADE"), primary_key=True),
    sa.Column("first_seq", sa.Integer, primary_key=True),
    sa.Column("last_seq", sa.Integer, nullable=False),
    sa.Column("lines", sa.LargeBinary, nullable=False),
)
"""Events as compressed chunks of JSON lines, not a row a line."""

_HELD = sa.text("forgotten_at IS NULL AND missing_since IS NULL")

snapshots = sa.Table(
    "snapshots",
    metadata,
    sa.Column("repository", sa.String(63), primary_key=True),
    sa.Column("id", sa.String(64), primary_key=True),
    sa.Column("host", sa.String(63), nullable=False),
    sa.Column("job", sa.String(63), nullable=False),
    sa.Column("set", sa.String(63), nullable=False),
    sa.Column("run", sa.String(36)),
    sa.Column("time", Moment, nullable=False),
    sa.Column("size_bytes", sa.BigInteger),
    sa.Column("shrank", sa.Boolean, nullable=False),
    sa.Column("accepted_at", Moment),
    sa.Column("forgotten_at", Moment),
    sa.Column("missing_since", Moment),
    sa.Column("adopted_by", sa.String(100)),
    sa.Column("formerly", sa.JSON(none_as_null=True)),
    sa.Index("snapshots_by_set", "repository", "host", "job", "set", "time"),
    sa.Index("snapshots_by_run", "run"),
    sa.Index(
        *("snapshots_held", "repository", "host", "job", "set", "time"),
        sqlite_where=_HELD,
    ),
)
"""The snapshots that are governed: known runs made them, or a person adopted them. `accepted_at` is when a person
said that a smaller size is right, or approved a plan that an adopted one was part of, `formerly` the ids that it had
before `restic tag` gave it others, the first one first."""

holds = sa.Table(
    "holds",
    metadata,
    sa.Column("id", sa.String(36), primary_key=True),
    sa.Column("repository", sa.String(63), nullable=False),
    sa.Column("job", sa.String(63)),
    sa.Column("host", sa.String(63)),
    sa.Column("set", sa.String(63)),
    sa.Column("cause", sa.String(40), nullable=False),
    sa.Column("message", Prose, nullable=False),
    sa.Column("run", sa.String(36)),
    sa.Column("about", sa.String(200)),
    sa.Column("since", Moment, nullable=False),
    sa.Column("lifted_at", Moment),
    sa.Column("lifted_by", sa.String(100)),
    sa.Column("why", Prose),
    sa.Index("holds_by_place", "repository", "lifted_at"),
)
"""What makes retention stand still, until `lifted_at`; null in `job`, `host` and `set` is all of them. `about` is what
exactly is odd, `why` what lifted it, or what the person said who did."""

fires = sa.Table(
    "fires",
    metadata,
    sa.Column("subject", sa.String(140), primary_key=True),
    sa.Column("action", sa.String(20), nullable=False),
    sa.Column("host", sa.String(63), nullable=False),
    sa.Column("schedule", sa.Text, nullable=False),
    sa.Column("next_at", Moment),
    sa.Column("due_at", Moment),
    sa.Column("fired_at", Moment),
    sa.Column("owed", sa.JSON(none_as_null=True)),
    sa.Index("fires_by_due", "due_at"),
)
"""When each subject fires next: nominal (`next_at`) and with its jitter (`due_at`); both null is never by itself.
`schedule` is what they were computed from (blank: planned no more), `fired_at` the newest nominal time that was
dealt with, `owed` the spans of times that are missed unless the host's agent tells that it ran them."""

pauses = sa.Table(
    "pauses",
    metadata,
    sa.Column("subject", sa.String(140), primary_key=True),
    sa.Column("since", Moment, nullable=False),
    sa.Column("until", Moment),
    sa.Column("actor", sa.String(100), nullable=False),
    sa.Column("reason", Prose),
)
"""Subjects that do not fire; `until` null is until somebody resumes them."""

idempotency = sa.Table(
    "idempotency",
    metadata,
    sa.Column("actor", sa.String(100), primary_key=True),
    sa.Column("key", sa.String(200), primary_key=True),
    sa.Column("request", sa.String(64), nullable=False),
    sa.Column("answer", sa.JSON, nullable=False),
    sa.Column("at", Moment, nullable=False),
)

agents = sa.Table(
    "agents",
    metadata,
    sa.Column("host", sa.String(63), primary_key=True),
    sa.Column("public_key", sa.String(64), nullable=False),
    sa.Column("enrolled_at", Moment, nullable=False),
    sa.Column("seen_at", Moment),
    sa.Column("facts", sa.JSON, nullable=False),
    sa.Column("refused", sa.Integer),
    sa.Column("refused_why", Prose),
    sa.Column("refused_at", Moment),
)
"""The agents that may connect; `refused` counts what was refused of what each told, and why the last of it was."""

enrolments = sa.Table(
    "enrolments",
    metadata,
    sa.Column("token", sa.String(64), primary_key=True),
    sa.Column("purpose", sa.String(20), nullable=False),
    sa.Column("subject", sa.String(63)),
    sa.Column("expires_at", Moment, nullable=False),
    sa.Column("used_at", Moment),
    sa.Column("actor", sa.String(100), nullable=False),
)
"""One-time tokens, as their SHA-256: to enrol an agent, to set up the first account, to set a password."""

vault = sa.Table(
    "vault",
    metadata,
    sa.Column("place", sa.String(200), primary_key=True),
    sa.Column("content", sa.LargeBinary, nullable=False),
    sa.Column("changed_at", Moment, nullable=False),
    sa.Column("actor", sa.String(100), nullable=False),
)

sessions = sa.Table(
    "sessions",
    metadata,
    sa.Column("token", sa.String(64), primary_key=True),
    sa.Column("id", sa.String(36), nullable=False, unique=True),
    sa.Column("user", sa.String(63), nullable=False),
    sa.Column("created_at", Moment, nullable=False),
    sa.Column("seen_at", Moment, nullable=False),
    sa.Column("expires_at", Moment, nullable=False),
    sa.Column("address", sa.String(64)),
    sa.Column("browser", Prose),
    sa.Column("proved_at", Moment),
    sa.Index("sessions_of_user", "user"),
)
"""Who is logged in; `token` is the SHA-256 of the cookie's. Who came from a provider proved it there at `proved_at`."""

identities = sa.Table(
    "identities",
    metadata,
    sa.Column("issuer", sa.String(500), primary_key=True),
    sa.Column("subject", sa.String(255), primary_key=True),
    sa.Column("user", sa.String(36), nullable=False, unique=True),
    sa.Column("since", Moment, nullable=False),
)
"""Whose accounts (the ids of their objects) a provider opens."""

authenticators = sa.Table(
    "authenticators",
    metadata,
    sa.Column("user", sa.String(36), primary_key=True),
    sa.Column("since", Moment, nullable=False),
    sa.Column("used_step", sa.BigInteger, nullable=False),
)
"""Which users (the ids of their objects) need a code, too, and up to which step of time no code counts any more."""

token_uses = sa.Table(
    "token_uses",
    metadata,
    sa.Column("token", sa.String(36), primary_key=True),
    sa.Column("used_at", Moment, nullable=False),
    sa.Column("address", sa.String(64)),
)
"""When a token (the id of its object) was last used, and from where."""

throttles = sa.Table(
    "throttles",
    metadata,
    sa.Column("subject", sa.String(200), primary_key=True),
    sa.Column("failures", sa.Integer, nullable=False),
    sa.Column("last_at", Moment, nullable=False),
    sa.Column("blocked_until", Moment),
)

audit = sa.Table(
    "audit",
    metadata,
    sa.Column("id", sa.String(36), primary_key=True),
    sa.Column("at", Moment, nullable=False),
    sa.Column("actor", sa.String(100), nullable=False),
    sa.Column("address", sa.String(64)),
    sa.Column("action", sa.String(60), nullable=False),
    sa.Column("kind", sa.String(20)),
    sa.Column("key", sa.String(200)),
    sa.Column("before", sa.JSON(none_as_null=True)),
    sa.Column("after", sa.JSON(none_as_null=True)),
    sa.Column("message", Prose),
    sa.Index("audit_by_time", "at"),
    sa.Index("audit_of_object", "kind", "key", "at"),
)
"""Every change that a person or a program made: who, what, from where, before and after."""

schema_version = sa.Table(
    "alembic_version", sa.MetaData(), sa.Column("version_num", sa.String(32), primary_key=True)
)


def read_revision(connection: sa.Connection) -> str | None:
    """The schema that a database has; None where it has none of ours."""
    if not sa.inspect(connection).has_table(schema_version.name):
        return None
    return connection.execute(sa.select(schema_version.c.version_num)).scalar()


def create_schema(connection: sa.Connection) -> None:
    """Make all tables as this program knows them; raises StateUnusable where text cannot be stored whole."""
    if connection.dialect.name == "postgresql":
        encoding = connection.exec_driver_sql("SHOW server_encoding").scalar()
        if encoding != "UTF8":
            raise StateUnusable(
                f"{name_of(connection.engine)} holds text as {encoding}, which lacks most characters",
                code="database_encoding",
                hint="make it with: createdb --template template0 --encoding UTF8",
            )
        for index in (index for table in metadata.tables.values() for index in table.indexes):
            index.dialect_options["postgresql"]["where"] = index.dialect_options["sqlite"]["where"]
    metadata.create_all(connection)
    schema_version.create(connection)
    connection.execute(schema_version.insert().values(version_num=REVISION))
