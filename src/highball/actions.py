"""The table of actions: one row for each verb that can be ordered, with all that is true of it everywhere.

What an order has to name, who may give it, how much of a repository it needs, whether it deletes, who carries it out
and what people call it stands here and nowhere else; API, pages and CLI read it. A row says what a verb is, never how
it is done.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum, StrEnum

from highball.model.role import Role
from highball.model.run import Action, RunKind


class Need(IntEnum):
    """How much of a repository a run needs: restic's locks."""

    NOTHING = 0
    SHARED = 1
    EXCLUSIVE = 2


class By(StrEnum):
    """Who carries a run out."""

    JOB_HOST = "job host"
    """The host of its job; where it names none, the one that maintains its repository."""
    MAINTAINER = "maintainer"
    """The host that maintains its repository: the right to delete goes nowhere else."""
    HUB = "hub"
    """The hub itself."""


@dataclass(frozen=True)
class ActionWords:
    """What people call an action: `Check`, `Check of nas`, `Checking`, and what it came to when all went well."""

    noun: str
    title: str
    """With `{}` for the repository that it is done to."""
    doing: str | None = None
    """While it goes on in a repository; nothing where that is not worth a badge."""
    done: str = "Done."
    duty: str = ""
    """What comes by itself, as a duty: `Check {}`, with `{}` for what it is done to."""
    button: str | None = None
    """Its entry in the menu of what it is about, a repository or a job; nothing where the page has another place for
    it."""
    icon: str = "wrench"
    help: str = ""
    """One sentence for who orders it from a command line; nothing where another command does that."""


@dataclass(frozen=True)
class Verb:
    """One row: a verb that can be ordered, as `task` of an order names it."""

    name: str
    action: Action
    """What its first step does."""
    words: ActionWords
    needs: tuple[str, ...] = ("repository",)
    """What an order of it has to name."""
    takes: tuple[str, ...] = ()
    """What an order of it may say besides."""
    kind: RunKind = RunKind.MAINTENANCE
    lock: Need = Need.SHARED
    deletes: bool = False
    """Whether it is given the access that may delete."""
    by: By = By.MAINTAINER
    preview: str | None = None
    """Where it is shown what it would do, for what a person looks at first."""
    role: Role = Role.OPERATOR
    """The least role that may order it."""
    alone: bool = False
    """Whether every order of it is carried out by itself, however alike."""
    ordered_at: str | None = None
    """The address that it is ordered at instead of where all runs are, with `{}` for the repository."""

    @property
    def plans(self) -> bool:
        """Whether it carries out plans of retention."""
        return "plan" in self.takes

    def is_plain_on(self, kind: str) -> bool:
        """Whether one click orders it: it needs no more than an object of this kind, and nobody has to look first."""
        return self.needs == (kind,) and self.preview is None


_RETENTION = "GET /api/v1/repositories/KEY/retention"
_KEYS = ActionWords("Key change", "Key change in {}", "Changing keys", "Keys changed.")
_KEYS_AT = "/api/v1/repositories/{}/keys"
_DISCARD = ActionWords(
    "Clean-up",
    "Clean up {}",
    "Cleaning up",
    duty="Clean up {}",
    icon="scissors",
    help="Clean up: remove the snapshots that no retention rule keeps, and their data.",
)

VERBS = (
    Verb(
        "backup",
        Action.BACKUP,
        kind=RunKind.BACKUP,
        by=By.JOB_HOST,
        needs=("job",),
        takes=("dry_run",),
        words=ActionWords("Backup", "Backup to {}", icon="archive", help="Back up a job."),
    ),
    Verb(
        "discard",
        Action.FORGET,
        lock=Need.EXCLUSIVE,
        deletes=True,
        preview=_RETENTION,
        takes=("job", "plan", "shown"),
        words=_DISCARD,
    ),
    Verb(
        "forget",
        Action.FORGET,
        lock=Need.EXCLUSIVE,
        deletes=True,
        preview=_RETENTION,
        takes=("job", "plan", "shown", "snapshot"),
        words=_DISCARD,
    ),
    Verb(
        "prune",
        Action.PRUNE,
        lock=Need.EXCLUSIVE,
        deletes=True,
        words=ActionWords(
            "Prune",
            "Prune of {}",
            "Pruning",
            duty="Prune {}",
            button="Prune",
            icon="shredder",
            help="Remove data that no snapshot needs any more.",
        ),
    ),
    Verb(
        "check",
        Action.CHECK,
        lock=Need.EXCLUSIVE,
        takes=("subset",),
        words=ActionWords(
            "Check",
            "Check of {}",
            "Checking",
            "No damage found.",
            duty="Check {}",
            icon="stethoscope",
            help="Check the structure, and read the next slice of the data, so that in time all of it is read.",
        ),
    ),
    Verb(
        "verify",
        Action.VERIFY,
        by=By.JOB_HOST,
        takes=("job", "snapshot", "all_data"),
        words=ActionWords(
            "Restore test",
            "Restore test from {}",
            "Testing restore",
            "Restore test passed.",
            duty="Restore test of {}",
            button="Run restore test",
            icon="shield-check",
            help="Test that the newest snapshots can be restored: restore files to a scratch folder and compare them.",
        ),
    ),
    Verb(
        "unlock",
        Action.UNLOCK,
        lock=Need.NOTHING,
        deletes=True,
        takes=("remove_all",),
        preview="GET /api/v1/repositories/KEY/locks",
        words=ActionWords(
            "Unlock",
            "Unlock of {}",
            "Unlocking",
            "No locks of Highball are left.",
            help="Show the locks with their owners, and remove those that its engine calls stale.",
        ),
    ),
    Verb(
        "stats",
        Action.STATS,
        words=ActionWords(
            "Measurement",
            "Measurement of {}",
            "Measuring",
            button="Measure",
            icon="chart-line",
            help="Measure what each repository stores.",
        ),
    ),
    Verb(
        "init",
        Action.INIT,
        lock=Need.EXCLUSIVE,
        words=ActionWords(
            "New repository",
            "New repository {}",
            "Creating",
            "Repository created.",
        ),
    ),
    Verb(
        "restore",
        Action.RESTORE,
        kind=RunKind.RESTORE,
        by=By.JOB_HOST,
        alone=True,
        needs=("repository", "snapshot", "paths"),
        takes=("job", "target", "overwrite"),
        preview="POST /api/v1/restores/preview",
        words=ActionWords("Restore", "Restore from {}", done="Restore complete.", help="Restore files."),
    ),
    Verb(
        "hub-backup",
        Action.BACKUP,
        by=By.HUB,
        needs=(),
        words=ActionWords("Hub backup", "Hub backup", duty="Back up the hub: {}", icon="save"),
    ),
    Verb(
        "history",
        Action.HISTORY,
        by=By.HUB,
        needs=(),
        words=ActionWords(
            "Clean-up of old history",
            "Clean-up of old history",
            duty="Remove old history of the hub: {}",
            icon="history",
        ),
    ),
    Verb(
        "key-add",
        Action.KEY,
        role=Role.ADMIN,
        alone=True,
        ordered_at=_KEYS_AT,
        needs=("repository", "new"),
        takes=("key_name",),
        words=_KEYS,
    ),
    Verb(
        "key-rotate",
        Action.KEY,
        role=Role.ADMIN,
        alone=True,
        ordered_at=_KEYS_AT,
        needs=("repository", "new"),
        takes=("key_name", "of_admin"),
        words=_KEYS,
    ),
    Verb(
        "key-remove",
        Action.KEY,
        lock=Need.EXCLUSIVE,
        deletes=True,
        role=Role.ADMIN,
        alone=True,
        ordered_at=_KEYS_AT,
        needs=("repository", "key_id"),
        words=_KEYS,
    ),
)
"""Every verb. `discard` is forget and prune in one run; `hub-backup` copies the hub's own database, `history` lets
its record forget what is old. The first verb of an action gives it its words."""

ACTIONS: dict[str, Verb] = {verb.name: verb for verb in VERBS}
"""The same by name."""

UPKEEP = tuple(dict.fromkeys(verb.action for verb in VERBS if verb.words.duty and "repository" in verb.needs))
"""What comes by itself to keep a repository in order."""

_HOOK = ActionWords("Hook", "Hook")


def role_for(task: str | None = None) -> Role:
    """The least role that may order this verb; with none, the least that may order any."""
    order = list(Role)
    verbs = ACTIONS.values() if task is None else [ACTIONS[task]]
    return min((verb.role for verb in verbs), key=order.index)


def list_offered(kind: str) -> list[Verb]:
    """The verbs that the page of a repository or a job has a button for."""
    return [verb for verb in ACTIONS.values() if verb.is_plain_on(kind) and verb.words.button]


def words_of(action: Action) -> ActionWords:
    """What people call what a step does."""
    return next((verb.words for verb in ACTIONS.values() if verb.action is action), _HOOK)


def need_of(task: str) -> Need:
    """How much a run needs of each of its repositories; of a task that is no verb, some of it."""
    verb = ACTIONS.get(task)
    return Need.SHARED if verb is None else verb.lock


def step_of(task: str) -> str:
    """What the first step of a task does; of one that is no verb, what it is called."""
    verb = ACTIONS.get(task)
    return task if verb is None else verb.action


def verbs_about(kind: str) -> Iterator[str]:
    """The verbs whose subjects (`check:nas`) name an object of this kind."""
    return (verb.name for verb in ACTIONS.values() if verb.needs[:1] == (kind,))
