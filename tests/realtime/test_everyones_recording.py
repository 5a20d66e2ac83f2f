"""Every message about a recording × every kind of seat × every state of it, while one runs: who may, and that whoever
may not, or asks for nonsense, changes nothing of what is written.
"""

import asyncio
import json

import pytest

from consult import recording as rules
from consult.recording_state import WORDS, Kind
from server.media.seating import Seating
from server.recording.conducting import RecordingConductor
from server.signalling import schema as s
from tests.realtime.test_everyones_messages import EVERYONE, INSIDE, PRINCIPALS, STATES, open_stage
from tests.realtime.test_recording import Recorder

GIVEN = {"person": "self", "answer": "given", "words": WORDS}
# Message → (who may, what they are told, whether it still runs afterwards)
TABLE = {
    "ask": ("record_ask", {}, PRINCIPALS, "ack", True),
    "declare themselves alone": ("record_declare", {"people": []}, EVERYONE, "ack", True),
    "declare another": ("record_declare", {"people": [{"id": "p", "who": "family"}]}, EVERYONE, "ack", False),
    "consent again": ("record_answer", GIVEN, EVERYONE, "ack", True),
    "consent for nobody": ("record_answer", GIVEN | {"person": "nobody"}, EVERYONE, "malformed", True),
    "withdraw for nobody": (
        "record_answer", GIVEN | {"person": "nobody", "answer": "withdrawn"}, EVERYONE, "malformed", True),
    "consent to other words": ("record_answer", GIVEN | {"words": "0"}, EVERYONE, "malformed", True),
    "withdraw": ("record_answer", GIVEN | {"answer": "withdrawn"}, EVERYONE, "ack", False),
    "stop": ("record_stop", {}, PRINCIPALS, "ack", False),
}  # fmt: skip


async def open_recorded(kind: str, state: str, folder):
    """The stage of the other table, recorded: everybody inside has consented before the sender came to this state."""
    stage = await open_stage(kind, state)
    backend, tasks = Recorder(), set()

    def once(_name, coroutine):
        tasks.add(asyncio.ensure_future(coroutine))

    rooms, room, uow = stage.rooms, stage.room, stage.services.uow
    seating = Seating(backend, rooms=lambda: list(rooms.rooms.values()), once=once)
    conductor = RecordingConductor(
        seating=seating, rooms=lambda: list(rooms.rooms.values()), folder=folder / "recordings", keys=folder / "keys",
        once=once, stopped=lambda: None,
    )
    rooms.handler.recordings.conductor = conductor
    for live in room.seats.values():
        live.lost_at = None
        live.connection.closed = False
    backend.rooms[room.session] = {x.info.seat.id for x in room.seats.values()}
    seating.made(room)
    conductor.made(room)
    inside = [x for x in room.seats.values() if x.info.seat.state in {"in", "lost"}]      # by the rows
    host = stage.other if stage.other in inside else inside[0]
    await conductor.ask(room, host.actor)
    for live in inside:
        rules.declare_present(uow, actor=live.actor, session=room.session, people=[], sign=conductor.sign)
        rules.answer_recording(
            uow, actor=live.actor, session=room.session, person="self", answer=Kind.GIVEN, words=WORDS,
            sign=conductor.sign,
        )
    await conductor.settled(room)
    while tasks:
        await tasks.pop()
    return stage, backend, inside


@pytest.mark.parametrize("state", [x for x in STATES if x != "finished"])
@pytest.mark.parametrize("kind", EVERYONE.split())
async def test_each_message_about_a_running_recording_does_what_the_table_says(kind, state, tmp_path):
    for what, (name, fields, who, answer, runs) in TABLE.items():
        stage, backend, inside = await open_recorded(kind, state, tmp_path)
        before = frozenset(x.info.seat.id for x in inside)
        assert backend.running.get(stage.room.session) == before, what
        message = s.decode(json.dumps({"type": name, "n": 1, **fields}))
        await stage.rooms.handler.take(stage.room, stage.sender, message, seconds=1000.0)
        [told] = [x for x in stage.heard(stage.sender) if x["type"] in {"ack", "refused"}]
        said = told.get("code", told["type"])
        wanted = (
            "not_found" if state == "revoked" else "not_in" if state not in INSIDE.split()
            else "not_allowed" if kind not in who.split() else answer
        )
        assert said == wanted, what
        running = backend.running.get(stage.room.session)
        assert running == (before if runs or wanted != "ack" else None), what
