"""What a queue row tells: age band, sex, specialty, urgency; no name, and nothing anybody wrote about the patient."""

from __future__ import annotations

import json

import pytest

from consult import model as m
from consult import people as o
from consult.triage import accept_offer
from server import keys
from tests.browser.seeds import put_consultation
from tests.conftest import sign_in

SECRET = "李四之妻胸痛，家住九堡"
NAME = "周小雨"
PAGE = {"Accept": "text/html"}


@pytest.fixture
async def seen(app, city, open_browser):
    """`await seen(person, tab)`: everything the list, its rows and the bell say to that person."""

    async def look(person, tab: str) -> str:
        browser = await open_browser()
        await sign_in(browser, person.login)
        said = []
        async with browser.get("/", headers=PAGE, params={"tab": tab}) as answer:
            said.append(await answer.text())
        async with browser.post("/api/worklist", json={"tab": tab}) as answer:
            assert answer.status == 200
            rows = await answer.json()
            assert len(rows["rows"]) == 1, (person.login, tab)
            said.append(json.dumps(rows, ensure_ascii=False))
        async with browser.get("/api/shell") as answer:
            said.append(json.dumps(await answer.json(), ensure_ascii=False))
        return "\n".join(said)

    return look


@pytest.mark.parametrize(
    ("state", "who", "tab", "told"),
    [
        (m.State.OFFERED, "expert", "todo", False),
        (m.State.OFFERED, "colleague", "active", False),
        (m.State.OFFERED, "dispatcher", "offered", False),
        (m.State.OFFERED, "doctor", "active", True),
        (m.State.TRIAGE, "dispatcher", "todo", True),
        (m.State.AWAITING_MATERIAL, "technician", "todo", False),
        (m.State.REPORTING, "expert", "sign", True),
        (m.State.REPORTING, "dispatcher", "active", False),
    ],
)
async def test_free_text_of_a_request_is_in_the_rows_of_those_alone_who_may_read_it(
    app, city, seen, state, who, tab, told
):
    assigned = state in {m.State.REPORTING, m.State.AWAITING_MATERIAL}
    await app[keys.WORK].run(put_consultation, city, state=state, purpose=SECRET, expert=assigned)
    text = await seen(getattr(city, who), tab)
    assert (SECRET in text, NAME in text) == (told, told)
    assert ("cardiology" in text) is not told, "the specialty stands where the purpose would"


async def test_a_guest_reads_in_the_room_and_nothing_in_the_list(app, city, seen, open_browser):
    made = await app[keys.WORK].run(put_consultation, city, state=m.State.IN_SESSION, purpose=SECRET, name=NAME, expert=True)

    def invite(uow):
        guest = m.Participant(consultation=made.id, membership=city.expert2.membership, part=m.Part.GUEST, since=uow.now)
        uow.consultations.add_participant(guest)

    await app[keys.WORK].run(invite)
    text = await seen(city.expert2, "active")
    assert made.id in text
    assert (SECRET in text, NAME in text) == (False, False)
    assert NAME in await seen(city.expert, "active")
    browser = await open_browser()
    await sign_in(browser, city.expert2.login)
    for words, found in ((NAME, 0), (made.number, 1)):
        async with browser.post("/api/worklist", json={"tab": "active", "text": words}) as answer:
            assert len((await answer.json())["rows"]) == found, words


async def test_what_is_published_of_a_consultation_is_ids_and_states(app, city):
    person = city.expert
    expert = o.Actor(membership=person.membership, staff=person.staff, organisation=person.organisation, role=person.role,
                     name=person.name, specialties=("cardiology",))
    made = await app[keys.WORK].run(put_consultation, city, purpose=SECRET)
    with app[keys.HUB].subscribe({"worklist", f"consultation:{made.id}"}) as notes:
        await app[keys.WORK].run(accept_offer, actor=expert, consultation=made.id)
        told = [await notes.get() for _topic in range(2)]
    assert {note.topic for note in told} == {"worklist", f"consultation:{made.id}"}
    for note in told:
        assert dict(note.payload) == {"consultation": made.id, "state": "accepted"}
