"""The landing page answers: is everything protected, what needs somebody, what runs."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest
from playwright.sync_api import expect

from highball.config.document import build
from highball.hub.status.overview import (
    OverviewCounts,
    ProblemKind,
    StandingProblem,
)
from highball.model.run import Action
from highball.model.standing import Health
from highball.web.pages.overview import MOST_PROBLEMS, say, tell, tell_all, tone_of
from highball.web.ui.titles import Names
from hub.served import Served
from pages.looking import Looker

NOW = datetime(2026, 11, 22, 9, 12, tzinfo=UTC)


def verdict(jobs: int, need: int = 0, unproved: int = 0, *kinds: ProblemKind) -> OverviewCounts:
    return OverviewCounts(
        as_of=NOW,
        jobs=jobs,
        need=need,
        health={Health.HEALTHY: jobs - need},
        problems=dict.fromkeys(kinds, 1),
        unproved=unproved,
        oldest_proof_at=None,
        oldest_proof_of=None,
    )


@pytest.mark.parametrize(
    ("found", "sentence", "tone"),
    [
        (verdict(0), "Nothing is protected yet.", "idle"),
        (verdict(8), "All 8 jobs are protected and passed a restore test.", "ok"),
        (verdict(1), "The only job is protected and passed a restore test.", "ok"),
        (
            verdict(8, 0, 1, ProblemKind.UNPROVED),
            "All 8 jobs are protected, but one was never restore-tested.",
            "warn",
        ),
        (
            verdict(8, 3, 0, ProblemKind.FAILURE),
            "3 of 8 jobs need attention. The other 5 are protected.",
            "bad",
        ),
        (
            verdict(2, 1, 0, ProblemKind.WARNING),
            "1 of 2 jobs needs attention. The other one is protected.",
            "warn",
        ),
        (verdict(1, 1, 0, ProblemKind.OVERDUE), "The only job needs attention.", "bad"),
    ],
)
def test_the_verdict_is_one_sentence_and_a_height(found: OverviewCounts, sentence: str, tone: str) -> None:
    assert (say(found), tone_of(found)) == (sentence, tone)


@pytest.mark.parametrize(
    ("found", "until", "sentence", "tone"),
    [
        (
            verdict(1),
            datetime(2026, 12, 5, 9, tzinfo=UTC),
            "The only job is protected and passed a restore test, and paused until 5 December.",
            "idle",
        ),
        (
            verdict(1, 0, 1, ProblemKind.UNPROVED),
            None,
            "The only job is protected, and paused until resumed, but was never restore-tested.",
            "warn",
        ),
        (
            verdict(8),
            datetime(2026, 11, 24, 6, tzinfo=UTC),
            "All 8 jobs are protected and passed a restore test, and one is paused until Tue 07:00.",
            "idle",
        ),
        (
            verdict(1, 1, 0, ProblemKind.OVERDUE),
            None,
            "The only job needs attention, and is paused until resumed.",
            "bad",
        ),
    ],
)
def test_a_pause_is_told_in_the_headline(
    found: OverviewCounts, until: datetime | None, sentence: str, tone: str
) -> None:
    paused = found.model_copy(update={"paused": 1, "paused_until": until})
    assert (say(paused, ZoneInfo("Europe/Berlin")), tone_of(paused)) == (sentence, tone)


def test_a_problem_is_told_by_the_name_that_its_page_bears() -> None:
    nas = {"url": "/mnt/nas", "password": {"env": "X"}, "title": "Attic"}
    wiki = {"sources": ["/wiki"], "repositories": ["nas"], "title": "The <wiki>"}
    names = Names(build({"repositories": {"nas": nas}, "jobs": {"wiki": wiki}}))
    never = StandingProblem(kind=ProblemKind.NEVER, job="wiki", repositories=("nas",))
    assert '<a class="primary" href="/jobs/wiki">The &lt;wiki&gt;</a> has' in tell(never, NOW, names).title
    check = StandingProblem(kind=ProblemKind.FAILURE, repositories=("nas",), action=Action.CHECK)
    assert "Check of Attic</a>" in tell(check, NOW, names).title
    assert "gone</a>" in tell(StandingProblem(kind=ProblemKind.OFFLINE, host="gone"), NOW, names).title


def test_a_proof_that_many_jobs_lack_is_told_once_and_leads_to_all_of_them() -> None:
    nas = {"url": "/mnt/nas", "password": {"env": "X"}}
    job = {"sources": ["/s"], "repositories": ["nas"]}
    names = Names(build({"repositories": {"nas": nas}, "jobs": {f"job-{n}": job for n in range(30)}}))
    lacking = [
        StandingProblem(kind=ProblemKind.UNPROVED, job=f"job-{n}", repositories=("nas",)) for n in range(8)
    ]
    failing = [StandingProblem(kind=ProblemKind.FAILURE, job=f"job-{n}") for n in range(MOST_PROBLEMS + 2)]

    told, left = tell_all([*failing, *lacking], NOW, names)
    assert (len(told), left, told[-1].address) == (MOST_PROBLEMS + 1, 2, "/jobs?state=unproved")
    assert "8 jobs</a> have" in told[-1].title
    named = ", ".join(f"job-{n} in nas" for n in range(5))
    assert told[-1].detail == f"No file was ever restored and compared: {named} and 3 more."

    ((alone,), none_left) = tell_all(lacking[:1], NOW, names)
    assert (alone.address, none_left) == ("/jobs/job-0#proof", 0)
    told, _ = tell_all(lacking[:2], NOW, names)
    assert [one.detail for one in told] == [
        "No file was ever restored and compared: job-0 in nas and job-1 in nas."
    ]


def test_the_overview_has_nothing_against_it(anna: Looker) -> None:
    assert anna.complaints("/") == []


def test_a_run_shows_without_loading_the_page_again(anna: Looker, served: Served) -> None:
    page = anna.go("/")
    page.evaluate("window.loadedOnce = true")
    before = page.locator("#jobs tbody tr").first.inner_text()
    assert "Protected" in before
    (served.source / "letter").write_text("dear reader, again")
    served.back_up()
    expect(page.locator("#jobs tbody tr").first).to_contain_text("just now")
    assert page.evaluate("window.loadedOnce")


def drawn_stream(served: Served) -> str:
    """The address of the stream of a page that was drawn just now."""
    page = served.http.get(f"{served.url}/").text
    found = re.search(r'data-stream="([^"]+)"', page)
    assert found is not None
    return served.url + found[1]


def first_news(served: Served, address: str) -> str:
    """The topic that a stream begins with."""
    with served.http.stream("GET", address) as stream:
        return next(line for line in stream.iter_lines() if line.startswith("event: "))[7:]


def test_a_stream_begins_with_what_its_page_could_not_show(served: Served) -> None:
    address = drawn_stream(served)
    served.post("profiles?key=meanwhile", {})
    assert first_news(served, address) == "object"
    assert first_news(served, f"{served.url}/api/v1/stream?since=another-1") == "lost"


def test_whoever_is_not_logged_in_comes_back_to_where_they_wanted(anna: Looker) -> None:
    anna.context.clear_cookies()
    page = anna.go("/?here=1")
    page.get_by_label("Name").fill("anna")
    page.get_by_label("Password").fill("correct horse battery")
    page.get_by_role("button", name="Log in").click()
    page.wait_for_url("**/?here=1")


def test_what_is_not_there_is_said_on_a_page(anna: Looker) -> None:
    page = anna.go("/nowhere/<script>alert(1)</script>")
    expect(page.get_by_role("alert")).to_contain_text("There is no page at")
