"""What still arrives in a world: through STOW-RS and C-STORE, by those who may and those who may not.

Whoever stores learns what their own organisation holds, and nothing of the others': what those have under the same UID,
with the same bytes or other ones, is answered exactly as if nobody had it.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace

from aiohttp import MultipartWriter

from tests.archive.files import make
from tests.fuzz._devices import CT, line_of
from tests.fuzz._ground import Doors, words
from tests.fuzz._world import GUESTS, Thing, file_of

OTHER_BYTES = (0x0110, "other_bytes")
MAY_NOT = ["doctor", "expert", "released", "dispatcher", "admin", *(x for x in GUESTS if not x.startswith("tech"))]


@dataclass(frozen=True)
class Offer:
    """A file, and whether the organisation holds other bytes of the same instance."""

    thing: Thing
    data: bytes
    refused: bool


def offers(doors: Doors, place: int, chance) -> list[Offer]:
    """One to three, each of another instance: new ones, the organisation's own again, and those of others."""
    world, out = doors.world, []
    for n in range(chance.choice([1, 1, 2, 3])):
        kind, other = chance.choice(["new", "own", "theirs", "theirs"]), chance.random() < 0.5
        mark = f"{len(world.stored)}-{n}"
        if kind == "new":
            studies = [x for x in world.studies if (place, x) not in world.corrected and x.startswith("1.2.")]
            if not studies:
                continue
            study = chance.choice(studies)
            thing = Thing(place, study, f"{study}.9", f"{study}.9.{place}.{len(world.stored)}.{n}", "MR", f"N{mark}", f"W{world.number}")
            out.append(Offer(replace(thing, pixels=b"\x05\x06\x07\x08"), file_of(replace(thing, pixels=b"\x05\x06\x07\x08"), world.number), False))
            continue
        mine = {sop for where, sop in world.stored if where == place}
        found = [
            (thing, data) for (where, sop), (thing, data) in world.stored.items()
            if (where == place if kind == "own" else sop not in mine and (place, thing.study) not in world.corrected)
            and sop not in {one.thing.sop for one in out}
        ]  # fmt: skip
        if not found:
            continue
        thing, data = chance.choice(found)
        thing = replace(thing, organisation=place)
        if other and kind == "own":
            secret = f"QUARANTINED{world.number}^{mark}"
            world.quarantined.add(secret)
            data = make(thing.sop, study=thing.study, series=thing.series, PatientName=secret, Modality="PT")
        elif other:
            thing = replace(thing, name=f"O{mark}", pixels=bytes([0xA0 + place, world.number % 251, n, len(world.stored) % 251]))
            data = file_of(thing, world.number)
        out.append(Offer(thing, data, other and kind == "own"))
    return out


async def arrival(doors: Doors, chance) -> bool:
    """Some files come by one of the doors."""
    world, place = doors.world, chance.randrange(3)
    given = offers(doors, place, chance)
    if not given:
        return False
    way = chance.choice(["token", "tech", "device", "nobody"])
    if way == "nobody":
        await refused(doors, given, chance)
        return True
    if way == "device":
        async with line_of(doors, place) as line:
            for one in given:
                status, comment = await line.store(one.thing.sop, one.data)
                said = (0xB000, "other_bytes") if one.refused else (0, "")
                assert (status, comment) == said, f"C-STORE by {place} of {one.thing.sop} {status:#x} {comment}, not {said}"
    else:
        await stow(doors, f"{way}{place}", given, chance)
    for one in given:
        if not one.refused and (place, one.thing.sop) not in world.stored:
            world.stored[place, one.thing.sop] = one.thing, one.data
            world.held = [*world.held, one.thing]
    return True


def _body(given: list[Offer], single: bool) -> tuple[dict[str, str], object]:
    if single:
        return {"Content-Type": "application/dicom"}, given[0].data
    writer = MultipartWriter("related")
    for one in given:
        writer.append(one.data, {"Content-Type": "application/dicom"})
    return {"Content-Type": f'multipart/related; type="application/dicom"; boundary={writer.boundary}'}, writer


async def stow(doors: Doors, who: str, given: list[Offer], chance) -> None:
    """The whole answer follows from what was sent and from what this organisation holds."""
    studies = {one.thing.study for one in given}
    study = next(iter(studies)) if len(studies) == 1 and chance.random() < 0.5 else ""
    headers, data = _body(given, len(given) == 1 and chance.random() < 0.5)
    path = "/dicom-web/studies" + (f"/{study}" if study else "")
    status, heads, body = await doors.ask(who, "POST", path, headers | {"Accept": "application/dicom+json"}, data=data)
    what = f"{who} STOW {[one.thing.sop for one in given]} {status} {body[:800]!r}"
    good = sum(not one.refused for one in given)
    assert status == (200 if good == len(given) else 202 if good else 409), what
    assert "Warning" not in heads, what
    base = json.loads(body)
    root = str((await doors.browser(who)).make_url("/dicom-web"))

    def item(one: Offer) -> dict:
        named = {"00081150": {"vr": "UI", "Value": [CT]}, "00081155": {"vr": "UI", "Value": [one.thing.sop]}}
        if one.refused:
            number, word = OTHER_BYTES
            return named | {"00081197": {"vr": "US", "Value": [number]}, "00000902": {"vr": "LO", "Value": [word]}}
        x = one.thing
        url = f"{root}/studies/{x.study}/series/{x.series}/instances/{x.sop}"
        return named | {"00081190": {"vr": "UR", "Value": [url]}}

    wanted = {"00081190": {"vr": "UR", "Value": [f"{root}/studies/{study}"]}} if study else {}
    for tag, refused_ones in (("00081198", True), ("00081199", False)):
        some = [item(one) for one in given if one.refused == refused_ones]
        wanted |= {tag: {"vr": "SQ", "Value": some}} if some else {}
    assert base == wanted, f"{what}, not {wanted}"


async def refused(doors: Doors, given: list[Offer], chance) -> None:
    """Who may not store is told the same of a study that is there and of one that is not."""
    who, answers = chance.choice(MAY_NOT), []
    for path in (f"/dicom-web/studies/{given[0].thing.study}", "/dicom-web/studies/1.2.9999", "/dicom-web/studies"):
        headers, data = _body(given[:1], single=True)
        status, _, body = await doors.ask(who, "POST", path, headers, data=data)
        answers.append((status, words(body)))
    assert answers[0][0] == 403 and len(set(answers)) == 1, f"{who} STOW {answers}"
