"""Agents that never answer: the clock, what agents tell, and the pages go on, however many of them are asked."""

import asyncio
from collections.abc import Callable, Coroutine
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from highball.hub.audit import HUB
from highball.hub.hub import Hub
from highball.hub.runs.queue import RunOrder
from highball.hub.runs.recorded import RunFilter
from highball.model.run import Outcome, RunState
from highball.protocol.queries import ListSnapshots
from hostile.slow_fleet import PATIENCE, Clock, SlowAgent, asking, declared, joined, make_hub, served, until

HOSTS = 12
"""More than the hub has threads for its database, and more questions are put by people than pages have."""

Story = Callable[[Hub, list[SlowAgent], str], Coroutine[Any, Any, None]]


def tell(folder: Path, hosts: int, story: Story) -> None:
    """What happens to a hub with so many agents."""

    async def whole() -> None:
        hub = make_hub(folder, declared(hosts))
        async with served(hub) as url, joined(hub, hosts) as agents:
            await story(hub, agents, url)

    asyncio.run(whole())


def asked_for(agents: list[SlowAgent], kind: type[Any]) -> int:
    """How many of these questions wait for an answer."""
    return sum(isinstance(ask.question, kind) for agent in agents for ask in agent.asked.values())


def test_the_clock_fires_and_agents_are_heard_while_none_of_them_answers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock()
    monkeypatch.setattr("highball.hub.hub.utc_now", clock)

    async def story(hub: Hub, agents: list[SlowAgent], url: str) -> None:
        for agent in agents:
            hub.operations.place(RunOrder(task="discard", repository=f"of-{agent.host}"), HUB)
        await until(lambda: all(agent.asked for agent in agents))
        before = {host: at for host, at in hub.fleet.list_seen().items() if at is not None}
        async with asking(hub, url, "viewer") as viewer:
            keys = [f"of-{agent.host}" for agent in agents for _ in range(2)]
            waiting = [
                asyncio.create_task(viewer.get(f"/api/v1/repositories/{key}/snapshots")) for key in keys
            ]
            previews = [
                asyncio.create_task(viewer.get(f"/api/v1/repositories/{key}/retention")) for key in keys
            ]
            for agent in agents:
                await agent.beat()
            clock.pass_by(timedelta(minutes=1))

            await until(lambda: all(at > before[host] for host, at in hub.fleet.list_seen().items() if at))
            await until(lambda: bool(hub.record.list_runs(RunFilter(job="often"), limit=1)))
            [run] = hub.record.list_runs(RunFilter(job="often"), limit=1)
            for address in ("/healthz", "/login", "/api/v1/status", "/api/v1/runs"):
                answer = await viewer.get(address)
                assert answer.status_code < 400, (address, answer.text)
            assert all(not task.done() for task in (*waiting, *previews)), "nobody was answered"
            assert run.host == agents[0].host

            for agent in agents:  # those that answer at last are carried out
                agent.answers_at_once = True
                await agent.answer()
            for answered in await asyncio.gather(*waiting, *previews):
                assert answered.status_code == 200, answered.text
            chosen = RunFilter(state=RunState.DONE, outcome=Outcome.SUCCESS)
            await until(lambda: len(hub.record.list_runs(chosen, limit=100)) > HOSTS)

    tell(tmp_path, HOSTS, story)


def test_what_an_agent_tells_is_taken_in_while_it_works_on_an_answer(tmp_path: Path) -> None:
    async def story(hub: Hub, agents: list[SlowAgent], url: str) -> None:
        async with asking(hub, url, "operator") as operator:
            [agent] = agents
            task = asyncio.create_task(operator.get(f"/api/v1/repositories/of-{agent.host}/snapshots"))
            await until(lambda: len(agent.asked) == 1)
            run, _ = hub.operations.place(RunOrder(task="backup", job="often"), HUB)
            await until(lambda: hub.record.find_run(run.id).state is RunState.DONE)
            assert not task.done()
            await agent.answer()
            assert (await task).status_code == 200

    tell(tmp_path, 1, story)


def test_equal_questions_are_put_once_and_a_few_at_a_time(tmp_path: Path) -> None:
    async def story(hub: Hub, agents: list[SlowAgent], url: str) -> None:
        [agent] = agents
        address = f"/api/v1/repositories/of-{agent.host}"
        async with asking(hub, url, "viewer") as viewer:
            same = [asyncio.create_task(viewer.get(f"{address}/snapshots")) for _ in range(30)]
            others = [
                asyncio.create_task(
                    viewer.get(f"{address}/snapshots/{number:08x}/folder", params={"path": "/"})
                )
                for number in range(20)
            ]
            await until(lambda: len(agent.asked) == 4)
            assert (await viewer.get("/healthz")).status_code == 200
            assert len(agent.asked) == 4, "the rest waits"
            assert asked_for([agent], ListSnapshots) <= 1
            agent.answers_at_once = True
            await agent.answer()
            answers = await asyncio.gather(*same, *others)
            assert {answer.status_code for answer in answers} == {200}
            assert agent.most_at_once == 4

    tell(tmp_path, 1, story)


def test_a_question_that_came_after_an_event_is_not_answered_by_an_older_look(tmp_path: Path) -> None:
    async def story(hub: Hub, agents: list[SlowAgent], url: str) -> None:
        [agent] = agents
        address = f"/api/v1/repositories/of-{agent.host}/snapshots"
        async with asking(hub, url, "viewer") as viewer:
            first = asyncio.create_task(viewer.get(address))
            await until(lambda: len(agent.asked) == 1)
            run, _ = hub.operations.place(RunOrder(task="backup", job="often"), HUB)
            await until(lambda: hub.record.find_run(run.id).state is RunState.DONE)
            second = asyncio.create_task(viewer.get(address))
            await until(lambda: len(agent.asked) == 2)
            await agent.answer()
            assert {(await one).status_code for one in (first, second)} == {200}

    tell(tmp_path, 1, story)


def test_a_question_whose_asker_has_gone_is_given_up(tmp_path: Path) -> None:
    async def story(hub: Hub, agents: list[SlowAgent], url: str) -> None:
        [agent] = agents
        key = f"of-{agent.host}"
        async with asking(hub, url, "admin") as admin, asking(hub, url, "viewer") as viewer:
            stays = asyncio.create_task(viewer.get(f"/api/v1/repositories/{key}/locks"))
            await until(lambda: len(agent.asked) == 1)
            gone = [
                asyncio.create_task(admin.get(f"/api/v1/repositories/{key}/locks")),
                asyncio.create_task(admin.get(f"/api/v1/repositories/{key}/snapshots")),
                asyncio.create_task(admin.post("/api/v1/settings/retention/preview", json={})),
                asyncio.create_task(admin.post(f"/api/v1/repositories/{key}/test")),
            ]
            await until(lambda: len(agent.asked) == 4)
            for task in gone:
                task.cancel()
            await asyncio.gather(*gone, return_exceptions=True)
            await until(lambda: len(agent.asked) == 1)
            assert len(agent.stopped) == 3
            await agent.answer()
            assert (await stays).status_code == 200, "another asked the same, and stays"

    tell(tmp_path, 1, story)


def test_more_questions_than_sense_goes_are_told_to_come_again(tmp_path: Path) -> None:
    async def story(hub: Hub, agents: list[SlowAgent], url: str) -> None:
        [agent] = agents
        address = f"/api/v1/repositories/of-{agent.host}/snapshots"
        async with asking(hub, url, "viewer") as viewer:
            tasks = [
                asyncio.create_task(viewer.get(f"{address}/{number:08x}/folder", params={"path": "/"}))
                for number in range(60)
            ]
            done, waiting = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED, timeout=PATIENCE)
            refused: httpx.Response = done.pop().result()
            assert (refused.status_code, refused.json()["code"]) == (503, "host_busy")
            assert int(refused.headers["retry-after"]) > 0
            agent.answers_at_once = True
            await agent.answer()
            assert 200 in {(await task).status_code for task in waiting}

    tell(tmp_path, 1, story)
