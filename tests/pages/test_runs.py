"""Runs: found again, watched while they go on, understood when they are over, and their logs read without harm."""

from __future__ import annotations

import html
import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from playwright.sync_api import expect

from api.whole import ANNA, BACKUP, Whole
from highball.hub.audit import Actor
from highball.hub.runs.queue import RunOrder
from highball.hub.runs.record import Record
from highball.hub.storage.schema import events, runs
from highball.model.event import (
    LogLine,
    RunEnded,
    RunStarted,
    StepEnded,
)
from highball.model.run import (
    Action,
    Outcome,
    Reason,
    Step,
)
from highball.protocol.tasks import ForgetTask
from highball.web.ui import log_view, run_summary, status_looks
from highball.web.ui.log_view import (
    LAST_LINES,
    LONGEST_LINE,
    MOST_CHARACTERS,
    plain,
)
from highball.web.ui.titles import Names
from hub.served import Corner, Served
from pages.looking import Looker
from record.stories import START, Story, removal, run_id, snapshot, to_remove

HOSTILE = "<script>alert(1)</script>"


@pytest.fixture(scope="module")
def slow(served: Served, tmp_path_factory: pytest.TempPathFactory) -> Corner:
    return served.give_slow_corner(tmp_path_factory.mktemp("slow"))


def test_a_run_is_watched_from_its_order_to_its_end(anna: Looker, slow: Corner) -> None:
    page = anna.go(f"/runs/{slow.order()}")
    page.evaluate("window.loadedOnce = true")
    expect(page.locator("#now .big")).to_contain_text("%")
    expect(page.locator("#account [aria-current=step]")).to_contain_text(f"Backup to {slow.nas}")
    expect(page.locator("#now .said")).to_have_text(
        re.compile(rf"Backup complete: [\d,]+ files? in {slow.nas}\.")
    )
    expect(page.locator(".log li").filter(has_text="Run ended: success")).to_have_count(1)
    expect(page.get_by_role("link", name="Cancel run")).to_have_count(0)
    expect(page.get_by_role("button", name="Run again")).to_be_visible()
    assert page.evaluate("window.loadedOnce")


def test_a_run_is_cancelled_and_ordered_again(anna: Looker, slow: Corner) -> None:
    slow.make_large(4)
    id = slow.order()
    page = anna.go(f"/runs/{id}")
    expect(page.locator("#now")).to_contain_text("Running for")
    page.get_by_role("link", name="Cancel run").click()
    asked = page.get_by_role("dialog", name=f"Cancel this run of {slow.job}?")
    expect(asked).to_contain_text("stays in the repository")
    expect(asked.get_by_role("button", name="Keep running")).to_be_focused()
    page.keyboard.press("Escape")
    expect(page.get_by_role("link", name="Cancel run")).to_be_focused()
    page.keyboard.press("Enter")
    asked.get_by_role("button", name="Cancel run").click()
    expect(page.get_by_role("status")).to_contain_text("Cancelling the run")
    expect(page.locator("#head .badge")).to_have_text("Cancelled")
    page.get_by_role("button", name="Run again").click()
    page.wait_for_url(lambda url: not url.endswith(id))
    [newest, *_] = slow.get("runs", job=slow.job)["items"]
    assert newest["id"] in page.url
    slow.post(f"runs/{newest['id']}/cancel")
    slow.end_of(newest["id"])


def test_the_pages_about_runs_have_nothing_against_them(anna: Looker, served: Served) -> None:
    done = served.back_up()["id"]
    for address in ("/runs", f"/runs/{done}", f"/runs/{done}/log"):
        assert anna.complaints(address) == []


def test_a_filter_is_a_form_and_a_link(anna: Looker, served: Served, slow: Corner) -> None:
    page = anna.go("/runs")
    page.get_by_label("Job").select_option("docs")
    page.get_by_label("State").select_option("success")
    page.get_by_role("button", name="Filter").click()
    expect(page).to_have_url(re.compile("job=docs.*state=success"))
    assert set(page.locator("tbody .primary").all_inner_texts()) == {"docs"}
    assert slow.job not in page.locator("tbody").inner_text()


@pytest.mark.parametrize(
    "address", ["/runs?since=2026-03-01", "/activity?who=x", "/jobs?q=d", "/maintenance?job=docs"]
)
def test_every_list_is_narrowed_by_the_same_form_which_leads_out_again(whole: Whole, address: str) -> None:
    text = whole.client().get(address).text
    place = address.partition("?")[0]
    assert re.search(rf'<form class="filters" method="get" action="{place}[#"]', text)
    assert re.search(rf'href="{place}(#\w+)?">Clear<', text)


def test_a_day_that_is_none_is_said_and_not_passed_over(whole: Whole) -> None:
    answer = whole.client().get("/runs", params={"since": "yesterday"})
    assert answer.status_code == 422
    assert '"since" must be a date' in html.unescape(answer.text).casefold()


def test_a_new_run_shows_in_the_list_by_itself(anna: Looker, served: Served) -> None:
    page = anna.go("/runs?job=docs")
    before = page.locator("tbody tr").count()
    served.back_up()
    expect(page.locator("tbody tr")).to_have_count(before + 1)


# --- logs ----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def talkative(whole: Whole) -> str:
    """A run whose program printed more than anybody reads, none of it kind."""
    story = Story(50)
    story.tell(RunStarted, pid=1)
    for number in range(2 * LAST_LINES):
        story.tell(LogLine, step=1, stream="stdout", text=f"line {number} of many")
    story.tell(
        LogLine, step=1, stream="stderr", text=f"\x1b[31m{HOSTILE}\x1b[0m\x1b]0;title\x07\u202egnp\x08"
    )
    story.tell(LogLine, step=1, stream="stdout", text="long " * 13_000)
    story.tell(RunEnded, outcome=Outcome.SUCCESS).into(whole.hub.record)
    return story.run


def test_a_page_shows_the_end_of_a_long_log_and_leads_to_the_rest(whole: Whole, talkative: str) -> None:
    text = whole.client().get(f"/runs/{talkative}").text
    assert f"line {2 * LAST_LINES - 1} of many" in text
    assert "line 3 of many" not in text
    assert f'href="/runs/{talkative}/log"' in text
    assert len(text) < 200_000
    first = whole.client().get(f"/runs/{talkative}/log").text
    assert "line 3 of many" in first
    assert "Next lines" in first
    found = whole.client().get(f"/runs/{talkative}/log", params={"find": "LINE 777 "}).text
    assert found.count("of many") == 1


def test_what_a_program_prints_neither_acts_nor_steers(whole: Whole, talkative: str) -> None:
    text = whole.client().get(f"/runs/{talkative}").text
    assert HOSTILE not in text
    assert "&lt;script&gt;alert(1)&lt;/script&gt;\\u202egnp\\x08" in text
    assert "\x1b" not in text
    assert "title\x07" not in text


def test_a_line_without_end_is_cut_with_a_way_to_the_whole(whole: Whole, talkative: str) -> None:
    long = 2 * LAST_LINES + 3
    text = whole.client().get(f"/runs/{talkative}").text
    assert f'href="/runs/{talkative}/log/{long}"' in text
    assert text.count("long ") <= LONGEST_LINE // 5 + 1
    whole_line = whole.client().get(f"/runs/{talkative}/log/{long}").text
    assert whole_line.count("long ") == 13_000


def test_a_log_that_grows_is_asked_only_for_what_is_new(whole: Whole, talkative: str) -> None:
    new = whole.client().get(
        f"/runs/{talkative}/log", params={"after": 999}, headers={"HX-Target": "li#following"}
    )
    assert "<html" not in new.text
    assert "line 997 of many" not in new.text
    assert "line 998 of many" in new.text


def test_lines_that_swell_when_they_are_escaped_stay_within_a_page(tmp_path: Path, whole: Whole) -> None:
    story = Story(51)
    for _ in range(LAST_LINES):
        story.tell(LogLine, step=1, stream="stdout", text="<" * LONGEST_LINE)
    story.into(whole.hub.record)
    part = log_view.read_end(whole.hub.record, whole.hub.document(), whole.hub.record.find_run(story.run))
    assert part.more
    assert sum(row.cost for row in part.rows) <= MOST_CHARACTERS


@pytest.mark.parametrize(
    ("printed", "shown"),
    [
        ("plain ünïcode ✓", "plain ünïcode ✓"),
        ("\x1b[1;32mgreen\x1b[0m", "green"),
        ("\x9b31mred", "red"),
        ("\x1b]8;;http://evil\x1b\\link\x1b]8;;\x1b\\", "link"),
        ("\x1b[31", ""),
        ("one\r\ntwo\tthree", "one\ntwo\tthree"),
        ("back\rspaced", "back\\rspaced"),
        ("nul\0", "nul\\x00"),
    ],
)
def test_what_is_printed_is_made_plain(printed: str, shown: str) -> None:
    assert plain(printed) == shown


# --- what it came to, in words -------------------------------------------------------------------


@pytest.fixture
def record(whole: Whole) -> Iterator[Record]:
    yield whole.hub.record


def saved(record: Record, number: int, size: int, *warnings: str) -> str:
    """A backup that is over and has saved a snapshot of this size; the snapshot's id."""
    id = f"{number:064x}"
    story = Story(number)
    shows = [snapshot(id, at=story.at, run=story.run, size=size)]
    story.step(snapshot_id=id, bytes_processed=size, shows=shows, warnings=warnings).end().into(record)
    return id


def test_a_run_is_held_against_the_one_before(record: Record) -> None:
    mib = 1 << 20
    Story(60).step(files_new=10, files_unmodified=90, bytes_added=2 * mib).end().into(record)
    Story(61).step(files_new=50, files_unmodified=100, bytes_added=60 * mib).end().into(record)
    later = record.find_run(run_id(61))
    before = record.find_before(later)
    assert before is not None
    assert before.id == run_id(60)
    compared = run_summary.compare(later, before)
    assert compared.sentence == "50 files more and 30 times as much new data."
    told = {figure.name: (figure.before, figure.now, figure.change) for figure in compared.figures}
    assert told["Files"] == ("100", "150", "+50")
    assert told["New data"] == ("2.00 MiB", "60.0 MiB", "30 times as much")


def test_a_failure_says_where_a_snapshot_lies_all_the_same(record: Record) -> None:
    story = Story(62).step(snapshot_id="a" * 64).step(outcome=Outcome.FAILURE, number=2)
    reason = Reason(code="repository_locked", message="far: it is locked by somebody")
    story.end(Outcome.FAILURE, reason).into(record)
    run = record.find_run(story.run)
    assert run_summary.come_to(run) == "far: it is locked by somebody. A snapshot was saved in nas."


def test_files_of_a_first_backup_are_new_and_not_unchanged(whole: Whole, record: Record) -> None:
    Story(70).step(files_new=4, files_changed=0, files_unmodified=0).end().into(record)
    Story(71).step(files_new=1, files_changed=2, files_unmodified=1).end().into(record)
    Story(72).step(files_new=0, files_changed=0, files_unmodified=4).end().into(record)
    for number, told in ((70, "all new"), (71, "1 new, 2 changed"), (72, "0 changed")):
        assert run_summary.how_new(record.find_run(run_id(number))) == told
        assert f"<small>{told}</small>" in whole.client().get(f"/runs/{run_id(number)}").text


def test_what_a_discard_of_several_jobs_came_to_is_told_job_by_job(record: Record) -> None:
    gone = {"docs": (), "pics": tuple(f"{n:064x}" for n in range(6))}
    removals = tuple(removal(job, *ids) for job, ids in gone.items())
    story = Story(73, ForgetTask(repository="nas", removals=removals), job=None)
    for number, (job, kept) in enumerate((("docs", 1), ("pics", 2)), 1):
        done = Step(number=number, action=Action.FORGET, repository="nas", job=job, set="files", host="here")
        told = {"started_at": story.at, "snapshots_removed": gone[job], "snapshots_kept": kept}
        ended = {"outcome": Outcome.SUCCESS, "ended_at": story.at + timedelta(seconds=1)}
        story.tell(StepEnded, step=number, done=done.model_copy(update=told | ended))
    story.end().into(record)
    run = record.find_run(story.run)
    assert (
        run_summary.come_to(run)
        == "Done. Of docs: 0 snapshots removed, 1 kept; of pics: 6 snapshots removed, 2 kept."
    )
    lines = run_summary.lines_of(run, START, None, None)
    assert [line.title for line in lines] == ["Clean up nas: docs", "Clean up nas: pics"]


def test_a_snapshot_that_shrank_is_accepted_once(whole: Whole, record: Record) -> None:
    saved(record, 99, 10, "shrank")  # later than any other test's
    page = whole.client().get(f"/runs/{run_id(99)}")
    found = [one for one in record.holds.list_open() if one.run == run_id(99)]
    [hold] = [one for one in found if one.cause == "newest_shrank"]
    address = f"/holds/{hold.id}/accept"
    assert address in page.text
    assert "Reason" in whole.client().get(address).text
    for said in ("Retention resumes", "There is no open hold"):
        assert said in whole.client().post(address, data={"why": "moved away"}).text
    assert address not in whole.client().get(f"/runs/{run_id(99)}").text
    assert "its size was accepted" in whole.client().get(f"/runs/{run_id(99)}").text


def test_the_history_outlives_job_and_snapshot(whole: Whole, record: Record) -> None:
    id = saved(record, 64, 1000)
    Story(65, to_remove(id)).step(Action.FORGET, snapshots_removed=(id,), snapshots_kept=0).end().into(record)
    text = whole.client().get(f"/runs/{run_id(64)}").text
    assert "Removed by retention" in text
    assert f"snapshot={id}" not in text


def test_a_row_of_missed_times_tells_the_first_the_last_and_how_many(whole: Whole) -> None:
    now = datetime(2026, 3, 2, tzinfo=UTC)
    backlog = whole.hub.backlog
    id = backlog.enqueue(RunOrder(task="backup", job="pics"), "here", now, id=run_id(66), actor=ANNA)[0].id
    backlog.end_unbegun(id, Outcome.MISSED, Reason(code="missed", message="the hub was not running"), now)
    told = {"nominal_at": now, "missed_last": now + timedelta(hours=13), "missed_count": 14}
    with whole.hub.database.write() as connection:
        connection.execute(runs.update().where(runs.c.id == id).values(**told))
    row = whole.client().get("/runs?job=pics&state=missed").text
    assert "Missed 14 times" in row
    assert row.count(">2 March</time>") == 2
    page = whole.client().get(f"/runs/{id}").text
    assert "The hub was not running." in page
    assert "14 times in a row" in page


@pytest.mark.parametrize(("actor", "told"), [("anna", "by anna"), ("token:grafana", "by the token grafana")])
def test_who_wanted_a_run_is_a_person_or_a_token(whole: Whole, actor: str, told: str) -> None:
    order = RunOrder(task="check", repository="nas")
    run, _ = whole.hub.operations.place(order, Actor(actor))
    assert run_summary.origin_of(run) == told
    assert Names(whole.hub.document()).run(run) == "Check of nas"
    whole.hub.backlog.end_unbegun(run.id, Outcome.CANCELLED, Reason(code="cancelled", message="done"), START)


def test_a_message_that_begins_with_a_key_keeps_its_spelling() -> None:
    assert status_looks.sentence("nas: it is gone") == "nas: it is gone."
    assert status_looks.sentence("it is gone") == "It is gone."


def test_the_run_of_a_command_can_be_ordered_again_too(whole: Whole) -> None:
    answer = whole.client().post(f"/runs/{BACKUP}/again", data={"key": "once"}, follow_redirects=False)
    again = whole.client().post(f"/runs/{BACKUP}/again", data={"key": "once"}, follow_redirects=False)
    assert answer.headers["location"] == again.headers["location"]
    assert whole.hub.record.find_run(answer.headers["location"].removeprefix("/runs/")).job == "docs"


def test_a_step_tells_what_it_did() -> None:
    step = Step(number=1, action=Action.CHECK, repository="nas", outcome=Outcome.SUCCESS, slice="1/20")
    assert run_summary.title_of(step) == "Check of nas"
    assert list(run_summary.facts_of(step)) == ["part 1 of 20 of the data read"]


def test_a_run_whose_log_went_with_the_old_history_says_so(whole: Whole) -> None:
    run = Story(871).step(snapshot_id=f"{871:064x}").end().into(whole.hub.record).run
    with whole.hub.database.write() as connection:
        connection.execute(events.delete().where(events.c.run == run))
    for address in (f"/runs/{run}", f"/runs/{run}/log"):
        page = whole.client().get(address).text
        assert "removed with old history" in page and "The log is empty" not in page
