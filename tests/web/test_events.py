"""What was committed reaches every tab: in order, late rather than never, and only what it may hear."""

from __future__ import annotations

import asyncio
import re

import pytest

from consult import model as m
from consult import people as o
from consult.triage import accept_offer
from server import keys
from server.hub import SNAPSHOT, Hub
from tests.browser.seeds import put_consultation
from tests.conftest import sign_in

PAGE = {"Accept": "text/html"}


async def test_a_slow_listener_is_told_to_look_again_and_the_others_are_not_held_up():
    hub = Hub()
    with hub.subscribe({"a"}, size=3) as slow, hub.subscribe({"a"}, size=100) as quick:
        for n in range(7):
            hub.publish("a", {"n": n})
        await asyncio.sleep(0)
        assert [(await quick.get()).payload["n"] for _ in range(7)] == list(range(7))
        got = [await slow.get() for _ in range(slow._queue.qsize())]
        assert got[0] is SNAPSHOT
        assert [x.payload["n"] for x in got[1:]] == list(range(7))[-len(got[1:]) :] or got[1:] == []
        assert len(got) <= 3


async def test_a_listener_hears_only_its_topics_and_closing_ends_the_loop():
    hub = Hub()
    subscription = hub.subscribe({"a"})
    subscription.topics.add("b")
    for topic in ("a", "x", "b"):
        hub.publish(topic, {})
    await asyncio.sleep(0)
    hub.close()
    assert [x.topic async for x in subscription] == ["a", "b"]
    hub.publish("a", {})
    await asyncio.sleep(0)
    assert subscription._queue.empty()


async def test_a_listener_that_is_full_still_learns_of_the_end():
    hub = Hub()
    subscription = hub.subscribe({"a"}, size=2)
    hub.publish("a", {})
    hub.publish("a", {})
    await asyncio.sleep(0)
    hub.close()
    assert [x async for x in subscription] == []


def waiting(subscription):
    return [subscription._queue.get_nowait() for _ in range(subscription._queue.qsize())]


async def test_a_listener_begins_where_its_page_was_drawn():
    hub = Hub()
    hub.bind(asyncio.get_running_loop())
    hub.publish("a", {"n": 0})
    await asyncio.sleep(0)
    drawn = hub.mark()
    for n, topic in enumerate(("a", "b", "a"), 1):
        hub.publish(topic, {"n": n})
    await asyncio.sleep(0)
    heard = waiting(hub.subscribe({"a"}, since=drawn))
    assert [note.payload["n"] for note in heard] == [1, 3]
    assert [note.payload["n"] for note in waiting(hub.subscribe({"a"}, since=heard[0].id))] == [3]
    assert waiting(hub.subscribe({"a"}, since=hub.mark())) == []
    assert waiting(hub.subscribe({"a"})) == []


@pytest.mark.parametrize("since", ["{epoch}.1", "0123456789ab.9", "{epoch}.99", "{epoch}.-1", "{epoch}.x", "x", ".", "²." + "9" * 40])
async def test_who_has_been_away_too_long_or_comes_from_elsewhere_is_told_to_look_again(since):
    hub = Hub(kept=5)
    hub.bind(asyncio.get_running_loop())
    for n in range(8):
        hub.publish("a", {"n": n})
    await asyncio.sleep(0)
    epoch = hub.mark().split(".")[0]
    assert waiting(hub.subscribe({"a"}, since=since.format(epoch=epoch))) == [SNAPSHOT]
    assert [x.payload["n"] for x in waiting(hub.subscribe({"a"}, since=f"{epoch}.3"))] == [3, 4, 5, 6, 7]


async def listen(browser, topics, **headers):
    stream = await browser.get("/events", params=topics, headers=headers)
    assert stream.status == 200
    return stream


async def event(stream) -> dict[str, str]:
    """The next event's fields."""
    async with asyncio.timeout(45):
        while True:
            lines = (await stream.content.readuntil(b"\n\n")).decode().splitlines()
            found = dict(line.split(": ", 1) for line in lines if line and not line.startswith(":"))
            if "event" in found:
                return found


async def test_what_happens_between_the_drawing_of_a_page_and_its_listening_is_told(client, city, app):
    made = await app[keys.WORK].run(put_consultation, city)
    await sign_in(client, city.doctor.login)
    page = await (await client.get(f"/consultations/{made.id}", headers=PAGE)).text()
    drawn = re.search(r'data-heard="([^"]+)"', page)[1]
    person = city.expert
    expert = o.Actor(membership=person.membership, staff=person.staff, organisation=person.organisation, role=person.role,
                     name=person.name, specialties=("cardiology",))
    await app[keys.WORK].run(accept_offer, actor=expert, consultation=made.id)
    topic = f"consultation:{made.id}"
    stream = await listen(client, {"topics": topic, "since": drawn})
    first = await event(stream)
    assert first["event"] == topic
    assert m.State.ACCEPTED.value in first["data"]
    stream.close()
    # The browser's own reconnection says how far it came, and hears nothing twice.
    again = await listen(client, {"topics": topic, "since": drawn}, **{"Last-Event-ID": first["id"]})
    app[keys.HUB].publish(topic, {"after": True})
    assert '"after"' in (await event(again))["data"]
    again.close()


async def test_a_page_of_before_a_restart_is_told_to_look_again_and_goes_on_listening(client, city, app):
    await sign_in(client, city.doctor.login)
    stream = await listen(client, {"topics": "worklist", "since": "0123456789ab.7"})
    assert (await event(stream))["event"] == "snapshot"
    app[keys.HUB].publish("worklist", {"consultation": "x"})
    assert (await event(stream))["event"] == "worklist"
    stream.close()


async def test_what_one_may_not_hear_is_not_told_afterwards_either(client, city, app):
    made = await app[keys.WORK].run(put_consultation, city)
    await sign_in(client, city.stranger.login)
    drawn = app[keys.HUB].mark()
    topic = f"consultation:{made.id}"
    app[keys.HUB].publish(topic, {"state": "accepted"})
    stream = await listen(client, {"topics": f"{topic},worklist", "since": drawn})
    app[keys.HUB].publish("worklist", {"consultation": "x"})
    assert (await event(stream))["event"] == "worklist"
    stream.close()
