# ruff: noqa: E501 - what is said is shown as it is said
"""A person who made mistakes understands each from its line alone: the exact text of several bad files."""

import pytest

from highball.config.document import build
from highball.errors import ConfigurationInvalid

from .declared import NAS, problems_in, problems_in_job, problems_in_text, tables

EVERYDAY = """
[repositories.nas]
url = "/mnt/nas/restic"
password = "correct horse"
maintenance = "of"

[jobs.documents]
repositories = ["nass"]
schedule = "61 * * * *"
sources = ["/home", "/home/me", "documents"]
enabled = "yes"
retension = { daily = 7 }
limit_upload = 2026-01-01
"""

EVERYDAY_SAYS = """\
repositories.nas.password: a secret is a reference: { file = "…" }, { env = "…" } or { command = "…" }, not the secret itself
repositories.nas.maintenance: "of" is none of "auto", "user", "off" (perhaps "off")
jobs.documents.schedule: 61 is not a minute
jobs.documents.limit_upload: a rate is text like "2M", or a number of KiB a second
jobs.documents.enabled: must be true or false, not text
jobs.documents.sources[2]: "documents" is not an absolute path (it starts with /)
jobs.documents.retension: is not known here (perhaps "retention")
jobs.documents.sources[1]: /home/me is inside /home, another source
jobs.documents.repositories[0]: there is no repository "nass" (perhaps "nas")"""

BRACKETS = """
[[jobs]]
name = "documents"

[[repositories]]
url = "/mnt"

[[settings]]

[[defaults]]

[profiles]
"My Profile" = {}
"!" = {}
x = 3
"""

BRACKETS_SAYS = """\
settings: must be a table, not a list (write [settings] with single brackets, or { … })
defaults: must be a table, not a list (write [defaults] with single brackets, or { … })
profiles: "My Profile" is not an ID: lower-case letters and digits, after the first also . _ -, at most 63 (perhaps "my-profile")
profiles: "!" is not an ID: lower-case letters and digits, after the first also . _ -, at most 63
profiles.x: must be a table, not a number
repositories: must be a table with an ID for each, not a list (write [repositories.ID] with single brackets)
jobs: must be a table with an ID for each, not a list (write [jobs.ID] with single brackets)"""

REPOSITORIES = """
[repositories.a]
url = "rest:https://me:geheim@nas:8000/"
password = { file = "/a", env = "A" }
[repositories.b]
url = "b2:bucket"
kind = "s3"
maintenance = "off"
password = { fil = "/x" }
environment = { RESTIC_PASSWORD = "x", B2_ACCOUNT_KEY = "geheim" }
[repositories.c]
kind = "s4"
password = { env = "C" }
[repositories.d]
kind = "sftp"
path = "/srv"
endpoint = "x"
rest_username = "me"
password = { env = "D" }
[repositories.e]
url = "C:/backup"
[jobs.x]
sources = [""]
profile = "no"
"""

REPOSITORIES_SAYS = """\
repositories.a.url: contains credentials (use rest_username and rest_password)
repositories.a.password: a secret names exactly one of file, env, command, sealed
repositories.b.environment.RESTIC_PASSWORD: cannot be set here (use password)
repositories.b.environment.B2_ACCOUNT_KEY: is a secret, not text (write { file = … }, { env = … } or { command = … })
repositories.b.password.fil: is not known here (perhaps "file")
repositories.b.kind: cannot be combined with url (use one of them)
repositories.c.kind: "s4" is none of "local", "sftp", "s3", "rest"
repositories.d.endpoint: does not go with kind = sftp
repositories.d.rest_username: does not go with kind = sftp
repositories.d.server: is missing, and kind = sftp needs it
repositories.d.rest_password: is missing, and rest_username needs it
repositories.e.url: is not an address that restic knows (a path that starts with /, or one of local, sftp, s3, rest, b2, azure, gs, swift, rclone and :)
repositories.e.password: is missing
jobs.x.sources: names nothing to back up
jobs.x.profile: there is no profile "no" (there are no profiles yet)
jobs.x.repositories: is missing: the job has nowhere to back up to (write repositories = ["a"])"""


@pytest.mark.parametrize(
    ("text", "said"),
    [(EVERYDAY, EVERYDAY_SAYS), (BRACKETS, BRACKETS_SAYS), (REPOSITORIES, REPOSITORIES_SAYS)],
    ids=["everyday", "brackets", "repositories"],
)
def test_what_a_bad_file_says(text: str, said: str) -> None:
    assert "\n".join(problems_in_text(text)) == said


def test_the_whole_says_how_many() -> None:
    with pytest.raises(ConfigurationInvalid, match=r"^the configuration has a problem$"):
        build({"x": 1})
    with pytest.raises(ConfigurationInvalid, match=r"^the configuration has 2 problems$"):
        build({"x": 1, "y": 2})


@pytest.mark.parametrize("text", [EVERYDAY, BRACKETS, REPOSITORIES])
def test_no_jargon_and_no_secret(text: str) -> None:
    said = "\n".join(problems_in_text(text)).lower()
    for word in (
        "input",
        "valid ",
        "pydantic",
        "https://errors",
        "str",
        "dict",
        "none_",
        "geheim",
        "correct horse",
    ):
        assert word not in said.replace("restic", "")


@pytest.mark.parametrize(
    ("field", "value", "said"),
    [
        ("enabled", 1, "enabled: must be true or false, not a number"),
        ("title", [], "title: must be text, not a list"),
        ("title", True, "title: must be text, not true or false"),
        ("repositories", "nas", 'repositories: must be a list, not text (write ["nas"])'),
        ("repositories", {"nas": {}}, "repositories: must be a list, not a table"),
        ("repositories", ["nas", 3], "repositories[1]: must be text, not a number"),
        ("repositories", ["nas", None], "repositories[1]: must be text, not nothing"),
        ("repositories", ["nas", "nas"], 'repositories[1]: "nas" is listed twice'),
        ("retention", "7d", "retention: must be a table, not text"),
        ("retention", {"last": 1.5}, "retention.last: must be a whole number, not a number"),
        ("retention", {"last": 10**30}, "retention.last: is more than 1000000"),
        ("read_concurrency", 0, "read_concurrency: is less than 1"),
        ("read_concurrency", 10**4000, "read_concurrency: is more than 1024"),
        ("shrink_limit", 1.5, "shrink_limit: is more than 1"),
        ("shrink_limit", float("nan"), "shrink_limit: is more than 1"),
        ("shrink_limit", True, "shrink_limit: must be a number, not true or false"),
        ("compression", 3, 'compression: must be one of "auto", "max", "off", not a number'),
        ("before", {"run": "x"}, "before: must be a list, not a table"),
        ("before", [{"run": 3}], "before[0].run: must be a list, not a number"),
        ("before", [{"run": ["x", 3]}], "before[0].run[1]: must be text, not a number"),
        ("before", [{}], "before[0].run: is missing"),
        ("before", ["x"], "before[0]: must be a table, not text"),
        (
            "exclude",
            ["[a"],
            r'exclude[0]: "[a" is not a pattern (put \ before each of [ ] * ? \ that is part of a name)',
        ),
        (
            "wait",
            "\x1b[31m",
            r'wait: "\x1b[31m" is not a length of time (write it like "45s", "10m", "1h30m" or "2d")',
        ),
        ("an odd\nkey", 1, r'"an odd\nkey": is not known here'),
    ],
)
def test_wrong_kinds_in_plain_words(field: str, value: object, said: str) -> None:
    assert problems_in_job(**{field: value}) == [said]


def test_what_was_typed_is_never_repeated_at_length() -> None:
    (said,) = problems_in_job(sources=["x" * 9000])
    assert len(said) < 1000
    (said,) = problems_in_job(exclude=["[" + "x" * 9000])
    assert len(said) < 1000


def test_few_known_keys_are_all_named() -> None:
    assert problems_in_job(sources=[{"path": "/srv", "zzz": 1}]) == [
        "sources[0].zzz: is not known here (known are path, exclude, allow_empty, follow)"
    ]
    assert problems_in_job(schedule={"zzz": 1}) == [
        "schedule.zzz: is not known here (known are cron, timezone, jitter)"
    ]


def test_several_times_are_one_schedule() -> None:
    (said,) = problems_in_job(schedule=["0 12 * * *", "daily"])
    assert 'five cron fields may name several times, like "0 3,12 * * *"' in said


def test_known_keys_below_a_key_of_ones_own() -> None:
    declared = tables(repositories={"nas": {**NAS, "environment": {"X": {"fiel": "/x"}}}})
    assert problems_in(declared) == [
        'repositories.nas.environment.X.fiel: is not known here (perhaps "file")'
    ]


def test_known_keys_are_those_of_the_kind_of_source_that_is_meant() -> None:
    assert problems_in_job(sources=[{"run": "pg_dump app", "name": "app.sql", "timeuot": "1h"}]) == [
        'sources[0].timeuot: is not known here (perhaps "timeout")'
    ]
