"""What is shown in a recorded room, over real WebSockets: kept while it is recorded, sealed, and at a bounded rate."""

from dataclasses import replace
from datetime import timedelta

import pytest

from consult.recording_state import WORDS
from server.recording.conducting import open_key
from server.recording.moments import A_SECOND, UNSAVED, open_moment
from server.sealing import SealError
from tests.realtime.test_recording import begun, consent, recording, studio
from tests.realtime.world import SDP

__all__ = ["studio"]

STATE = {"mic": True, "camera": True, "rung": "video", "most": "video", "kbps": 0}


async def shown(studio) -> list[tuple[str, str, dict | None]]:
    """(seat, kind, body) of everything kept so far."""
    await studio.moments.save(studio.rooms.rooms)
    row = studio.row().recording
    key = open_key(studio.folder / "keys", row)
    opened = [open_moment(key, x) for x in studio.world.uow.recordings.moments(row.id)]
    return [(x.seat, x.kind, x.body) for x in opened]


async def view(browser, number: int) -> None:
    await browser.raw({"type": "view", "body": {"frame": number}})
    await browser.quiet()


async def test_of_a_shared_view_the_newest_is_kept_of_everything_else_what_changed(studio):
    doctor, expert = await recording(studio)
    for number in range(5):
        await view(expert, number)
    await doctor.call("hand", up=True)
    await doctor.call("hand", up=True)
    await expert.call("state", **STATE)
    await expert.call("state", **STATE, screen=True)
    await expert.call("state", **{**STATE, "rung": "audio"})
    await expert.call("snapshot", body={"study": "1"})
    await expert.call("annotation", body={"line": 1})
    assert await shown(studio) == [
        (expert.seat, "view", {"frame": 4}), (doctor.seat, "hand_up", None), (expert.seat, "screen_on", None),
        (expert.seat, "screen_off", None), (expert.seat, "rung_audio", None),
        (expert.seat, "snapshot", {"study": "1"}), (expert.seat, "annotation", {"line": 1}),
    ]
    await view(doctor, 7)
    assert (await shown(studio))[-1] == (doctor.seat, "view", {"frame": 7})
    assert len(await shown(studio)) == 8


async def test_nothing_is_kept_before_in_a_pause_and_after_and_what_waited_for_a_pause_is_dropped(studio):
    doctor, expert = await recording(studio)
    await view(expert, 1)
    studio.world.uow.advance(timedelta(seconds=0.4))
    people = [{"id": "p", "who": "patient"}, {"id": "d", "who": "family"}]
    await doctor.call("record_declare", people=people)
    await view(expert, 2)
    await doctor.call("hand", up=True)
    assert await shown(studio) == []
    await doctor.call("record_answer", person="d", answer="given", words=WORDS)
    studio.world.uow.advance(timedelta(seconds=1))
    await view(expert, 3)
    held_up = (doctor.seat, "hand_up", None)        # told of now, when everybody has agreed, not of when it was raised
    assert await shown(studio) == [(expert.seat, "view", {"frame": 3}), held_up]
    await expert.call("record_stop")
    await view(expert, 4)
    assert len(await shown(studio)) == 2


async def test_a_screen_and_a_hand_that_were_there_before_stand_at_the_beginning(studio):
    doctor, expert = await studio.both()
    await doctor.call("state", **STATE, screen=True)
    await expert.call("hand", up=True)
    await begun(studio, doctor, expert)
    assert await shown(studio) == [(doctor.seat, "screen_on", None), (expert.seat, "hand_up", None)]
    studio.world.uow.advance(timedelta(seconds=1))
    await doctor.call("state", **STATE)
    assert (await shown(studio))[2:] == [(doctor.seat, "screen_off", None)]


async def test_whoever_withdraws_is_not_shown_even_where_the_store_does_not_answer(studio):
    doctor, expert = await recording(studio)
    studio.services.failing = 1
    await doctor.call("record_answer", person="p", answer="withdrawn", words=WORDS)
    await view(expert, 1)
    assert await shown(studio) == []


async def test_a_flood_keeps_a_few_and_a_store_that_fails_is_tried_again(studio):
    _, expert = await recording(studio)
    for number in range(A_SECOND + 5):
        await expert.call("annotation", body={"n": number})
    studio.services.failing = 1
    await studio.moments.save(studio.rooms.rooms)
    assert studio.world.uow.recordings.moments(studio.row().recording.id) == []
    studio.world.uow.advance(timedelta(seconds=0.1))
    await view(expert, 1)
    assert [kind for _, kind, _ in await shown(studio)] == ["annotation"] * A_SECOND + ["view"]
    assert A_SECOND < UNSAVED


async def test_the_rows_tell_nothing_without_the_recordings_key_and_open_for_no_other(studio):
    _, expert = await recording(studio)
    await view(expert, 1)
    await shown(studio)
    (row,) = studio.world.uow.recordings.moments(studio.row().recording.id)
    key = open_key(studio.folder / "keys", studio.row().recording)
    assert expert.seat not in row.sealed
    for changed in (replace(row, recording="another"), replace(row, sealed=row.sealed[:-8] + "AAAAAAA="),
                    replace(row, sealed="?")):
        with pytest.raises(SealError):
            open_moment(key, changed)
    with pytest.raises(SealError):
        open_moment(bytes(32), row)


async def test_a_guest_is_shown_from_their_own_consent_on(studio):
    _, expert = await recording(studio)
    studio.world.invite("colleague")
    guest = await studio.browser("colleague").connect()
    await guest.hello()
    await expert.call("admit", seat=guest.seat)
    await view(guest, 1)
    assert await shown(studio) == []
    await consent(guest)
    await guest.call("offer", to="relay", pc="pc-guest", sdp=SDP)
    await studio.rest()
    await view(guest, 2)
    assert await shown(studio) == [(guest.seat, "view", {"frame": 2})]
