"""The scope oracle: random worlds of organisations, custody, shares, doubts and quarantine through the real doors.

Every answer of DICOMweb (with a login or a token) and of DIMSE is compared with what a slow, separate oracle permits,
written from the table of who may see what (docs/security and the domain's §6), never from our Scope: nothing more is
shown, counted or warned of, and nothing that is permitted is missing.

`python -m tests.fuzz.scopes [--count N] [--seed S] [--first N]`; a failing world runs alone with `--first N --count 1`.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import sys
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from dicom.network import dimse, pdu
from dicom.network.dimse import response_to
from dicom.network.negotiation import PATIENT_FIND, STUDY_FIND, STUDY_GET, STUDY_MOVE
from dicom.network.ports import Address
from dicom.network.records import parse_record, record, write_record
from dicom.network.scu import open_association
from dicom.network.terms import NetworkLimits
from tests.fuzz import _run
from tests.fuzz._changes import change
from tests.fuzz._ground import Doors, Ground
from tests.fuzz._world import GUESTS, WHO, Thing, imagine

AT_ONCE = 6
A_CITY = 40  # worlds in one application; those before must not be seen either
CT, EXPLICIT = "1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.1.2.1"


def value(row: dict, tag: str):
    found = row.get(tag, {}).get("Value", [None])
    return found if len(found) > 1 else found[0]


def several(row: dict, tag: str) -> set:
    return set(row.get(tag, {}).get("Value", []))


# A series may stand in two studies: as one organisation holds it, and where another has moved it.
UID = {"studies": ("0020000D",), "series": ("0020000D", "0020000E"), "instances": ("0020000D", "0020000E", "00080018")}


def key(level: str, thing: Thing) -> tuple[str, ...]:
    return (thing.study, thing.series, thing.sop)[: len(UID[level])]


def check(condition: bool, who: str, what: str) -> None:
    assert condition, f"{who}: {what}"


async def search(doors: Doors, who: str, level: str, path: str, may: list[Thing], chance) -> None:
    """One QIDO-RS request: exactly what is permitted, its counts, its names, and a warning only where more is permitted."""
    most = doors.ground.archive.limits.query_rows
    expected = {key(level, x) for x in may}
    limit, offset = chance.choice([None, None, 1, 3]), chance.choice([0, 0, 1])
    asks = ([f"limit={limit}"] if limit is not None else []) + ([f"offset={offset}"] if offset else [])
    narrowed = chance.random() < 0.3
    if narrowed:
        asks.append(chance.choice(["PatientName=W*", "PatientName=*小*", "fuzzymatching=true&PatientName=li", "ModalitiesInStudy=CT",
                                   "Modality=MR", f"StudyInstanceUID={chance.choice(doors.world.studies)}"]))  # fmt: skip
    if chance.random() < 0.3:
        asks.append(chance.choice(["includefield=all", "includefield=00081030,00201208"]))
    status, headers, body = await doors.get(who, path + ("?" + "&".join(asks) if asks else ""))
    what = f"{path} {asks} {status}"
    rows = json.loads(body) if status == 200 else []
    if status not in {200, 204}:
        check(not may and status in {403, 404}, who, what)
        return
    found = [tuple(value(row, tag) for tag in UID[level]) for row in rows]
    check(len(set(found)) == len(found), who, f"{what} names something twice")
    check(set(found) <= expected, who, f"{what} shows {set(found) - expected}")
    wanted = min(limit or most, most)
    if not narrowed:
        check(len(found) == max(0, min(len(expected) - offset, wanted)), who, f"{what} has {len(found)} of {len(expected)}")
        capped = len(expected) - offset > wanted and (limit is None or limit > most)
        check(("exceeded" in headers.get("Warning", "")) == capped, who, f"{what} warns {headers.get('Warning')}")
    else:
        check(len(found) <= wanted, who, what)
        if "exceeded" in headers.get("Warning", ""):
            check(len(expected) - offset > wanted, who, f"{what} warns of what is not permitted")
    for row in rows:
        mine = [x for x in may if key(level, x) == tuple(value(row, tag) for tag in UID[level])]
        if level == "studies":
            check(value(row, "00201208") == len({x.sop for x in mine}), who, f"{what} counts {value(row, '00201208')}")
            check(value(row, "00201206") == len({x.series for x in mine}), who, f"{what} series {value(row, '00201206')}")
            check(several(row, "00080061") == {x.modality for x in mine}, who, f"{what} modalities {several(row, '00080061')}")
        elif level == "series":
            check(value(row, "00201209") in {None, len({x.sop for x in mine})}, who, f"{what} counts {value(row, '00201209')}")


async def retrieve(doors: Doors, who: str, may: list[Thing], listed: list[Thing], given: list[Thing], chance) -> None:
    """WADO-RS and WADO-URI of what is there and of what is not: given where it is permitted, else as if it were not."""
    world = doors.world
    for study in world.studies:
        mine, read = [x for x in may if x.study == study], [x for x in listed if x.study == study]
        base = f"/dicom-web/studies/{study}"
        status, _, body = await doors.get(who, f"{base}/metadata")
        shown = {value(row, "00080018") for row in json.loads(body)} if status == 200 else set()
        check(shown == {x.sop for x in read}, who, f"{study} metadata {status} {shown}")
        for row in json.loads(body) if status == 200 else []:
            names = {str(x.name) for x in read if x.sop == value(row, "00080018")}
            name = "=".join((value(row, "00100010") or {}).values())
            check(name in names or not any(names), who, f"{study} metadata says {name}")
        if chance.random() < 0.3:
            status, _, body = await doors.get(who, base, 'multipart/related; type="application/dicom"')
            sops = {x.sop for x in world.held if x.study == study and x.sop.encode() + b"\x00" * (len(x.sop) % 2) in body} if status == 200 else set()
            check(sops == {x.sop for x in given if x.study == study}, who, f"{study} file {status} {sops}")
        if chance.random() < 0.3:
            status, _, _ = await doors.get(who, base + chance.choice(["/rendered", "/thumbnail"]), "image/jpeg")
            check((status == 200) == bool(mine), who, f"{study} picture {status}")
    for thing in chance.sample(world.held, min(3, len(world.held))):
        mine, read, own = (any(key("instances", x) == key("instances", thing) for x in seen) for seen in (may, listed, given))
        base = f"/dicom-web/studies/{thing.study}/series/{thing.series}/instances/{thing.sop}"
        rest, accept, allowed = chance.choice([
            ("/metadata", "application/dicom+json", read), ("/frames/1", "*/*", mine), ("/rendered", "image/jpeg", mine),
            ("/thumbnail", "image/jpeg", mine), ("/bulkdata/7FE00010", "*/*", mine), ("", 'multipart/related; type="application/dicom"', own),
            ("/frames/1/rendered", "image/jpeg", mine), ("?uri", "image/jpeg", mine),
        ])  # fmt: skip
        path = base + rest
        if rest == "?uri":
            path = f"/wado?requestType=WADO&studyUID={thing.study}&seriesUID={thing.series}&objectUID={thing.sop}"
        status, _, body = await doors.get(who, path, accept)
        check((status == 200) == allowed, who, f"{path} {status}, permitted {allowed}")
        if not allowed:
            absent = re.sub(rf"{re.escape(thing.study)}\b", "1.2.9999", path).replace(thing.series, "1.2.9999.1").replace(thing.sop, "1.2.9999.1.1")
            other, _, text = await doors.get(who, absent, accept)
            check((status, _code(body)) == (other, _code(text)), who, f"{path} {status} {_code(body)} is told from {other} {_code(text)}")


def _code(body: bytes) -> str:
    with suppress(ValueError):
        return json.loads(body).get("code", "")
    return ""


# -- DIMSE


async def _answers(association, context: int, service: str, command: int, keys: dict, **more):
    """(answers with a dataset, the last response, instances that came on the same association)."""
    number = association.next_message()
    await association.send(context, {
        "field": command, "message": number, "priority": 0, "dataset": 1, "affected_class": service, **more,
    }, write_record(record(keys), association.contexts[context].transfer))  # fmt: skip
    rows, came = [], []
    while True:
        if await association.asked():
            asked = await association.receive()
            async for _ in association.dataset():
                pass
            came.append(asked.sop_instance)
            await association.send(asked.context, response_to(asked, 0))
            continue
        answer, data = await association.reply(number)
        if answer.number("status") not in {0xFF00, 0xFF01}:
            return rows, answer, came
        if data:
            rows.append(parse_record(data, association.contexts[context].transfer))


async def device(doors: Doors, place: int, may: list[Thing], chance) -> None:
    """C-FIND at every level, C-GET and C-MOVE by a device of one organisation."""
    world, who = doors.world, f"device{place}"
    proposals = [pdu.Proposal(id=2 * n + 1, abstract=uid, transfers=(EXPLICIT,)) for n, uid in enumerate(
        (STUDY_FIND, PATIENT_FIND, STUDY_GET, STUDY_MOVE, CT))]  # fmt: skip
    association = await open_association(
        Address(title="HUIZHEN", host="127.0.0.1", port=doors.ground.port), f"W{world.number}D{place}", proposals, NetworkLimits(),
        roles=[pdu.Role(abstract=CT, scu=True, scp=True)],
    )  # fmt: skip
    try:
        for study in [None, *world.studies]:
            mine = [x for x in may if study in {None, x.study}]
            for level, tag, key in (("STUDY", 0x0020000D, "study"), ("SERIES", 0x0020000E, "series"), ("IMAGE", 0x00080018, "sop")):
                if (study is None) != (level == "STUDY"):
                    continue
                for series in [None] if level != "IMAGE" else sorted({x.series for x in world.held if x.study == study}):
                    ask = {0x00080052: level, tag: "", 0x00201208: "", 0x00201206: "", 0x00080061: ""}
                    ask |= ({0x0020000D: study} if study else {}) | ({0x0020000E: series} if series else {})
                    rows, _, _ = await _answers(association, 1, STUDY_FIND, dimse.C_FIND, ask)
                    doors.asked += 1
                    expected = {getattr(x, key) for x in mine if series in {None, x.series}}
                    most = doors.ground.archive.limits.query_rows
                    found = [row.text(tag) for row in rows]
                    check(set(found) <= expected, who, f"C-FIND {level} shows {set(found) - expected}")
                    check(len(found) == min(len(expected), max(most, len(found))), who, f"C-FIND {level} {len(found)} of {len(expected)}")
                    for row in rows if level == "STUDY" else []:
                        held = [x for x in may if x.study == row.text(tag)]
                        check(row.text(0x00201208) in {"", str(len({x.sop for x in held}))}, who, f"C-FIND counts {row.text(0x00201208)}")
                        check(row.text(0x00201206) in {"", str(len({x.series for x in held}))}, who, "C-FIND counts series")
        study = chance.choice(world.studies)
        expected = {x.sop for x in may if x.study == study}
        _, last, came = await _answers(association, 5, STUDY_GET, dimse.C_GET, {0x00080052: "STUDY", 0x0020000D: study})
        check(set(came) == expected, who, f"C-GET {study} brings {came}, permitted {expected}")
        counted = [last.number(x) for x in ("completed", "failed", "warning", "remaining")]
        check(sum(counted) == len(expected), who, f"C-GET {study} counts {counted}")
        before = len(doors.ground.arrived.kept)
        _, last, _ = await _answers(
            association, 7, STUDY_MOVE, dimse.C_MOVE, {0x00080052: "STUDY", 0x0020000D: study}, destination=f"W{world.number}T{place}"
        )
        counted = [last.number(x) for x in ("completed", "failed", "warning", "remaining")]
        check(sum(counted) == len(expected), who, f"C-MOVE {study} counts {counted} {last.number('status'):#x}")
        brought = {x.sop_uid for x in doors.ground.arrived.kept[before:] if x.study_uid == study}
        check(brought == expected, who, f"C-MOVE {study} brings others")
        other = f"W{world.number}T{(place + 1) % 3}"
        _, last, _ = await _answers(association, 7, STUDY_MOVE, dimse.C_MOVE, {0x00080052: "STUDY", 0x0020000D: study}, destination=other)
        check(last.number("completed") == 0 and last.number("status") == 0xA801, who, f"C-MOVE to another house {last.number('status'):#x}")
        doors.asked += 3
        await association.release()
    finally:
        association.drop()


async def look(doors: Doors, who: str, chance) -> None:
    """Everything one of them may ask."""
    may, listed, given = (doors.world.permitted(who, purpose) for purpose in ("pixels", "list", "download"))
    if who.startswith("device"):
        await device(doors, int(who[-1]), may, chance)
        return
    for level in ("studies", "series", "instances"):
        await search(doors, who, level, f"/dicom-web/{level}", listed, chance)
    for study in doors.world.studies:
        inside = [x for x in listed if x.study == study]
        await search(doors, who, "series", f"/dicom-web/studies/{study}/series", inside, chance)
        await search(doors, who, "instances", f"/dicom-web/studies/{study}/instances", inside, chance)
    await retrieve(doors, who, may, listed, given, chance)


async def one(ground: Ground, found: _run.Findings, seed: int, number: int) -> None:
    """One world, some of its people, and they again after things have happened."""
    world, chance, files = imagine(seed, number)
    doors = await ground.build(world, chance, files)
    looked, after = chance.sample(WHO, 4), ""
    if "doctor" not in looked and chance.random() < 0.5:
        looked[0] = chance.choice(["doctor", "expert", *GUESTS])
    try:
        for who in looked:
            await look(doors, who, chance)
            found.seen[who] += 1
        happened = await change(doors, chance)
        found.seen.update(happened)
        after = f" after {happened}"
        for who in looked:
            await look(doors, who, chance)
            found.seen["again"] += 1
    except Exception as error:
        found.fail(f"world {number}{after}: {type(error).__name__}: {error}")
    finally:
        await doors.close()
    found.ran += 1
    found.seen["answers"] += doors.asked


async def explore(count: int, *, seed: int = _run.SEED, first: int = 0, tell=lambda _found: None) -> _run.Findings:
    """Run `count` worlds from `first` on."""
    found = _run.Findings("worlds")
    for start in range(first, first + count, A_CITY):
        with _run.scratch() as folder:
            async with Ground(Path(folder)) as ground:
                # In every other city a search is capped at two rows, so that the warning is reached.
                if start // A_CITY % 2:
                    ground.archive.limits = replace(ground.archive.limits, query_rows=2)
                numbers = iter(range(start, min(start + A_CITY, first + count)))

                async def some(ground=ground, numbers=numbers):
                    for number in numbers:
                        await one(ground, found, seed, number)
                        tell(found)

                await asyncio.gather(*(some() for _ in range(AT_ONCE)))
                found.measure(program=os.getpid())
    return found


if __name__ == "__main__":
    sys.exit(_run.main(__doc__, 1000, explore))
