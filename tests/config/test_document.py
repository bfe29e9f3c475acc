"""The document as a whole: references, circles, formats, and what it hands on."""

from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from highball.config import document as room
from highball.config.document import (
    Document,
    build,
    effective_job,
    effective_retention,
    find_nearest,
    find_obstacles,
    origins,
)
from highball.config.job import Job
from highball.config.merge import profiles_of
from highball.errors import Unknown

from .declared import NAS, document, problems_in, problems_in_job, tables


def test_the_example_of_the_design() -> None:
    read = build(
        {
            "defaults": {
                "retention": {"last": 7, "hourly": 6, "daily": 7, "weekly": 4, "monthly": 6},
                "exclude": ["*.tmp"],
            },
            "profiles": {"critical": {"retention": {"daily": 30}}},
            "repositories": {
                "nas": {"url": "/mnt/nas/restic", "password": {"file": "/etc/highball/nas.key"}}
            },
            "jobs": {
                "documents": {
                    "profile": "critical",
                    "schedule": "daily",
                    "repositories": ["nas"],
                    "sources": ["/home/me/documents", {"path": "/etc", "exclude": ["ssl/private"]}],
                    "before": [{"run": "pg_dump app", "timeout": "10m", "on_error": "fail"}],
                }
            },
        }
    )
    job = effective_job(read, "documents")
    assert job.exclude == ("*.tmp",)
    assert [source.path for source in job.paths] == [b"/home/me/documents", b"/etc"]
    assert effective_retention(read, "documents", "nas").daily == 30
    assert Job.model_validate_json(job.model_dump_json()) == job


# --- references ----------------------------------------------------------------------------------


def test_unknown_references_are_named_where_they_stand() -> None:
    said = problems_in(
        tables(
            {"profile": "critcal", "repositories": ["nass", "x"]},
            defaults={"repositories": ["y"]},
            profiles={"critical": {"profile": "b", "repositories": ["nas", "z"]}},
        )
    )
    assert said == [
        'defaults.repositories[0]: there is no repository "y" (known are nas)',
        'profiles.critical.repositories[1]: there is no repository "z" (known are nas)',
        'profiles.critical.profile: there is no profile "b" (known are critical)',
        'jobs.j.repositories[0]: there is no repository "nass" (perhaps "nas")',
        'jobs.j.repositories[1]: there is no repository "x" (known are nas)',
        'jobs.j.profile: there is no profile "critcal" (perhaps "critical")',
    ]


@pytest.mark.parametrize(
    ("parents", "said"),
    [
        ({"a": "b", "b": "a"}, ["profiles.a.profile: is circular: a → b → a"]),
        ({"a": "a"}, ["profiles.a.profile: is circular: a → a"]),
        (
            {"x": "a", "a": "b", "b": "c", "c": "a"},
            ["profiles.a.profile: is circular: a → b → c → a"],
        ),
        (
            {"a": "b", "b": "a", "c": "d", "d": "c", "e": "c"},
            [
                "profiles.a.profile: is circular: a → b → a",
                "profiles.c.profile: is circular: c → d → c",
            ],
        ),
    ],
)
def test_circles_of_profiles(parents: dict[str, str], said: list[str]) -> None:
    profiles = {key: {"profile": parent} for key, parent in parents.items()}
    assert problems_in(tables(profiles=profiles)) == said


def test_ancestors_end_at_what_is_no_profile() -> None:
    assert profiles_of({"profiles": {"a": {"profile": "b"}, "b": 3}}, "a") == ["b", "a"]
    assert profiles_of({"profiles": []}, "a") == []


# --- what a job needs ----------------------------------------------------------------------------


def test_a_job_needs_repositories_and_sources() -> None:
    assert problems_in_job(repositories=[]) == [
        'repositories: is missing: the job has nowhere to back up to (write repositories = ["nas"])'
    ]
    assert problems_in({"jobs": {"j": {"sources": ["/srv"]}}}) == [
        "jobs.j.repositories: is missing: the job has nowhere to back up to (declare one: [repositories.ID])"
    ]
    assert problems_in_job(sources=["", None, {}, {"path": "", "exclude": []}]) == [
        "sources: names nothing to back up"
    ]
    assert problems_in_job(sources=None) == ["sources: is missing"]


def test_repositories_may_be_inherited() -> None:
    declared = tables(defaults={"repositories": ["nas"]})
    del declared["jobs"]["j"]["repositories"]
    assert effective_job(build(declared), "j").repositories == ("nas",)


def test_blank_sources_are_ignored_and_the_others_keep_their_numbers() -> None:
    read = document({"sources": ["", "/srv", None, {"path": "/etc"}, "  "]})
    assert [source.path for source in read.jobs["j"].paths] == [b"/srv", b"/etc"]
    assert problems_in_job(sources=["", "/srv", "x", {"path": "/srv/"}]) == [
        'sources[2]: "x" is not an absolute path (it starts with /)',
        "sources[3]: /srv is listed twice",
    ]


def test_no_source_lies_in_another() -> None:
    assert problems_in_job(sources=["/srv/a", "/srv", "/srv/a/b", "/srvx"]) == [
        "sources[0]: /srv/a is inside /srv, another source",
        "sources[2]: /srv/a/b is inside /srv/a, another source",
        "sources[2]: /srv/a/b is inside /srv, another source",
    ]


@pytest.mark.parametrize(
    ("sources", "excludes"),
    [
        (["/mnt"], []),
        (["/mnt/nas/restic"], []),
        (["/"], []),
        (["/"], ["mnt/nas/restic/data", "*.tmp", "/nas", "other", "/nas/*", "*/restic", "[^a-z]*", r"\*"]),
    ],
)
def test_a_repository_within_a_source_is_refused(sources: list[Any], excludes: list[str]) -> None:
    (said,) = problems_in_job(sources=sources, exclude=excludes)
    assert said.startswith(
        f"sources: {sources[0]} contains the repository nas, which would back up itself (exclude it: "
    )


@pytest.mark.parametrize(
    "exclude",
    [
        *("mnt", "/mnt", "/mnt/", "mnt/nas", "mnt/nas/restic", "restic", "n?s"),
        *("/mnt/*", "mnt/n*/r*", "mnt/**/restic", "**/nas", "/**/nas/*", "m[a-n]t/[^a]as", r"mnt/\nas"),
    ],
)
def test_unless_it_is_left_out(exclude: str) -> None:
    document({"sources": ["/"], "exclude": [exclude]})
    document({"sources": [{"path": "/", "exclude": [exclude]}]})


def test_a_wrong_exclude_leaves_nothing_out() -> None:
    said = problems_in(tables({"sources": ["/"]}, defaults={"exclude": ["mnt/["]}))
    assert [one.partition(":")[0] for one in said] == ["defaults.exclude[0]", "jobs.j.sources"]


def test_a_repository_elsewhere_is_in_no_source() -> None:
    document({"sources": ["/"]}, repositories={"nas": {**NAS, "url": "sftp:nas:/mnt"}})
    document({"sources": ["/mnt/nas/restic-old"]})


def test_excludes_of_a_job_are_relative_too() -> None:
    said = problems_in(tables({"exclude": ["/srv/b"]}, defaults={"exclude": ["/srv/a", "x"]}))
    assert said == [
        'defaults.exclude: "/srv/a" repeats the path of its source, to which it is relative (write "a")',
        'jobs.j.exclude: "/srv/b" repeats the path of its source, to which it is relative (write "b")',
    ]


def test_a_retention_that_keeps_nothing_is_refused_once() -> None:
    said = problems_in(
        tables(
            {"repositories": ["nas", "b"], "retention": {"last": 0}},
            repositories={"b": {"url": "/b", "password": {"env": "B"}}},
        )
    )
    assert said == ["jobs.j.retention: keeps no snapshot at all (name a rule that keeps some, like last = 7)"]


def test_a_wrong_retention_is_told_once_where_it_stands() -> None:
    assert problems_in(tables(defaults={"retention": {"last": -1}})) == [
        "defaults.retention.last: is less than 0"
    ]


def test_growth_without_end_takes_two_steps() -> None:
    off = {**NAS, "maintenance": "off"}
    assert problems_in(tables(repositories={"nas": off})) == [
        "repositories.nas.maintenance: is off, so the repository would grow without limit "
        "(if that is intended, set accept_growth = true)"
    ]
    read = document(repositories={"nas": {**off, "accept_growth": True}})
    assert read.repositories["nas"].maintenance == "off"


# --- formats -------------------------------------------------------------------------------------


def test_a_newer_format_is_refused() -> None:
    assert problems_in(tables(format=2)) == [
        "format: this is format 2, and this Highball knows formats up to 1 "
        "(it was written for a newer Highball: use that one)"
    ]


@pytest.mark.parametrize(
    ("written", "kind"), [("1", "text"), (True, "true or false"), (0, "a number"), (1.0, "a number")]
)
def test_what_is_no_format(written: object, kind: str) -> None:
    assert problems_in(tables(format=written)) == [f"format: must be a whole number from 1 on, not {kind}"]


def test_an_older_format_is_upgraded_step_by_step(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "FORMAT", 3)

    def rename(old: str, new: str) -> Any:
        return lambda tables: {new if name == old else name: value for name, value in tables.items()}

    monkeypatch.setattr(room, "UPGRADES", (rename("works", "tasks"), rename("tasks", "jobs")))
    jobs = tables()["jobs"]
    for declared in ({"works": jobs}, {"format": 2, "tasks": jobs}, {"format": 3, "jobs": jobs}):
        assert build({"repositories": {"nas": NAS}, **declared}).jobs.keys() == {"j"}


# --- what it hands on ----------------------------------------------------------------------------


def test_the_tables_make_the_same_document_again() -> None:
    read = document({"exclude": "none", "retention": {"daily": None}}, defaults={"exclude": ["a"]})
    again = build(read.tables)
    assert again.tables == read.tables
    assert effective_job(again, "j") == effective_job(read, "j")
    assert effective_job(again, "j").exclude == ()


def test_a_document_made_of_classes_has_tables_too() -> None:
    read = document({"schedule": "daily"})
    made = Document(repositories=read.repositories, jobs=read.jobs)
    assert build(made.tables).jobs == read.jobs
    assert effective_job(made, "j").schedule.cron == "daily"


def test_unknown_names() -> None:
    read = document()
    for ask in (
        lambda: effective_job(read, "jj"),
        lambda: origins(read, "jj"),
        lambda: effective_retention(read, "jj", "nas"),
    ):
        with pytest.raises(Unknown) as caught:
            ask()
        assert (caught.value.code, caught.value.message) == ("job_unknown", 'there is no job "jj"')
        assert caught.value.hint == 'perhaps "j"'
    for wrong in (lambda: effective_retention(read, "j", "x"), lambda: find_obstacles(read, ["x"])):
        with pytest.raises(Unknown) as caught:
            wrong()
        assert (caught.value.code, caught.value.hint) == ("repository_unknown", "known are nas")


def test_obstacles_stand_at_their_places(tmp_path: Path) -> None:
    (tmp_path / "good").write_text("secret\n")
    read = document(
        repositories={
            "nas": {"url": "/a", "password": {"file": f"{tmp_path}/no"}},
            "b2": {
                "url": "b2:bucket",
                "password": {"file": f"{tmp_path}/good"},
                "environment": {"B2_ACCOUNT_ID": "x", "B2_ACCOUNT_KEY": {"env": "NOT_SET"}},
                "admin": {"password": {"env": "ADMIN"}},
            },
        }
    )
    missing = (
        f"repositories.nas.password: the secret file {tmp_path}/no cannot be read: No such file or directory"
    )
    hint = " (it must contain the secret as its only line; chmod 600)"
    unset = "repositories.b2.environment.B2_ACCOUNT_KEY: the secret's environment variable NOT_SET is not set"
    admin = "repositories.b2.admin.password: the secret's environment variable ADMIN is not set"
    assert [str(one) for one in find_obstacles(read, environment={})] == [missing + hint, unset, admin]
    assert [str(one) for one in find_obstacles(read, ["b2"], {"ADMIN": "x"})] == [unset]


def test_a_sealed_secret_in_a_file_is_a_problem_on_one_machine_that_says_what_to_write() -> None:
    read = document(repositories={"nas": {"url": "/a", "password": {"sealed": True}}})
    assert [(one.at, one.message, one.hint) for one in find_obstacles(read, environment={})] == [
        (
            "repositories.nas.password",
            "the secret is sealed in a hub, and was not handed over here",
            "sealed secrets live in a hub; here write { file = … }, { env = … } or { command = … }",
        )
    ]
    assert read.tables["repositories"]["nas"]["password"] == {"sealed": True}


def test_nearest() -> None:
    assert find_nearest("documets", ["documents", "x"]) == 'perhaps "documents"'
    assert find_nearest("zzz", ["documents"]) is None


def test_every_field_is_described() -> None:
    def undescribed(model: dict[str, Any]) -> list[str]:
        return [name for name, field in model.get("properties", {}).items() if not field.get("description")]

    schema = Document.model_json_schema()
    found = {name: undescribed(model) for name, model in {"Document": schema, **schema["$defs"]}.items()}
    for name, shorthand in schema["$defs"].items():
        for one in shorthand.get("anyOf", []):
            found[name] += undescribed(one)
    assert {name: fields for name, fields in found.items() if fields} == {}


def test_every_class_says_what_it_is() -> None:
    def classes(model: type[BaseModel]) -> set[type[BaseModel]]:
        return {model, *(below for one in model.__subclasses__() for below in classes(one))}

    assert all(one.__doc__ for one in classes(BaseModel) if one.__module__.startswith("highball.config"))
