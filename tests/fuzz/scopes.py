"""The scope oracle: random worlds of organisations, custody, shares, doubts and quarantine through the real doors.

Every answer of DICOMweb (with a login or a token: here) and of DIMSE (`_devices.py`), and what a store says
(`_storing.py`), is compared with what a slow, separate oracle permits (`_world.py`), written from the table of who may
see what (the domain's §6), never from our Scope: nothing more is shown, counted or warned of, nothing that is permitted
is missing, and what is not permitted is refused in the words for what is not there.

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

from tests.fuzz import _run
from tests.fuzz._changes import change
from tests.fuzz._devices import ABSENT, check, device
from tests.fuzz._ground import Doors, Ground, words
from tests.fuzz._world import GUESTS, WHO, Thing, imagine

AT_ONCE = 6
A_CITY = 40  # worlds in one application; those before must not be seen either
MANY_OCTETS = 'multipart/related; type="application/octet-stream"'


def value(row: dict, tag: str):
    found = row.get(tag, {}).get("Value", [None])
    return found if len(found) > 1 else found[0]


def several(row: dict, tag: str) -> set:
    return set(row.get(tag, {}).get("Value", []))


# A series may stand in two studies: as one organisation holds it, and where another has moved it.
UID = {"studies": ("0020000D",), "series": ("0020000D", "0020000E"), "instances": ("0020000D", "0020000E", "00080018")}


def key(level: str, thing: Thing) -> tuple[str, ...]:
    return (thing.study, thing.series, thing.sop)[: len(UID[level])]


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
    if chance.random() < 0.2:  # nobody learns from a validator, or from a head alone, what the answer does not say
        again, _, _ = await doors.get(who, path + ("?" + "&".join(asks) if asks else ""), If_None_Match=chance.choice(["*", headers.get("ETag", "*")]))
        check(again == (304 if rows else 204), who, f"{what} again {again}")
        again, _, _ = await doors.get(who, path + ("?" + "&".join(asks) if asks else ""), method="HEAD")
        check(again == status, who, f"{what} HEAD {again}")
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


SINGLE, MANY = "application/dicom", 'multipart/related; type="application/dicom"'
XML, MANY_XML = "application/dicom+xml", 'multipart/related; type="application/dicom+xml"'
PICTURE, ANY = "image/jpeg", "*/*"
# What is made of one instance: (rest of the address, Accept, the oracle's purpose). `?` is WADO-URI, `?f` its file.
OF_ONE = [
    ("/metadata", "application/dicom+json", "list"), ("/metadata", XML, "list"), ("/frames/1", ANY, "pixels"), ("/frames/1", "application/octet-stream", "pixels"),
    ("/rendered", PICTURE, "pixels"), ("/thumbnail", PICTURE, "pixels"), ("/bulkdata/7FE00010", ANY, "pixels"), ("/bulkdata/7FE00010", MANY_OCTETS, "pixels"),
    ("", MANY, "download"), ("", SINGLE, "download"), ("/frames/1/rendered", PICTURE, "pixels"), ("/frames/1/thumbnail", PICTURE, "pixels"),
    ("/waveform", ANY, "pixels"), ("?", PICTURE, "pixels"), ("?f", ANY, "download"),
]  # fmt: skip
OF_MANY = [
    ("/rendered", PICTURE, "pixels"), ("/thumbnail", PICTURE, "pixels"), ("", MANY, "download"), ("/metadata", MANY_XML, "list"),
    ("/metadata", "application/dicom+json", "list"),
]  # fmt: skip
NOT_THERE = {"no_waveform"}  # what is permitted, and has none


def address(thing: Thing, level: str, rest: str) -> str:
    """Where something of a thing is had: of its study, its series, or itself."""
    if rest.startswith("?"):
        file = "&contentType=application/dicom" if rest == "?f" else ""
        return f"/wado?requestType=WADO&studyUID={thing.study}&seriesUID={thing.series}&objectUID={thing.sop}{file}"
    below = {"studies": "", "series": f"/series/{thing.series}", "instances": f"/series/{thing.series}/instances/{thing.sop}"}
    return f"/dicom-web/studies/{thing.study}{below[level]}{rest}"


def named_in(world, body: bytes) -> set[str]:
    """The instances whose UIDs stand in an answer, whatever its form."""
    return {x.sop for x in world.held if re.search(re.escape(x.sop.encode()) + rb"(?![0-9.])", body)}


async def fetch(doors: Doors, who: str, thing: Thing, level: str, what: tuple[str, str, str], may: list[Thing], chance) -> None:
    """One answer about what is there: given where it is permitted, else in every word as if there were nothing."""
    rest, accept, _ = what
    path = address(thing, level, rest)
    mine = [x for x in may if key(level, x) == key(level, thing)]
    more = chance.choice([{}, {}, {}, {"Range": "bytes=0-9"}, {"If_None_Match": "*"}, {"If_None_Match": doors.etags.get((path, accept), '"x"')}])
    method = chance.choice(["GET", "GET", "GET", "HEAD"])
    status, heads, body = await doors.get(who, path, accept, method=method, **more)
    told = f"{method} {path} {accept} {more} {status} {_code(body)}"
    if not mine:
        # Of a study that is theirs in part: another instance, or series, of it that nobody has.
        nowhere = replace(thing, sop=f"{ABSENT}.1.1")
        if level != "instances" or not any(key("series", x) == key("series", thing) for x in may):
            nowhere = replace(nowhere, series=f"{ABSENT}.1")
        if not any(x.study == thing.study for x in may):
            nowhere = replace(nowhere, study=ABSENT)
        other, others, text = await doors.get(who, address(nowhere, level, rest), accept, method=method, **more)
        check(status in {403, 404}, who, f"{told}, not permitted")
        check((status, _code(body)) == (other, _code(text)), who, f"{told} is told from {other} {_code(text)}")
        if not doors.changed:  # who has opened a study once may know it, so another sentence tells them nothing
            check(words(body) == words(text), who, f"{told} {body[:300]!r} is told from {text[:300]!r}")
            check(set(heads) == set(others), who, f"{told} is told by {set(heads) ^ set(others)}")
        return
    check(status in {200, 206, 304} or (rest == "/waveform" and (method == "HEAD" or _code(body) in NOT_THERE)), who, f"{told}, permitted")
    check("Warning" not in heads, who, f"{told} warns {heads.get('Warning')}")
    if tag := heads.get("ETag"):
        doors.etags[path, accept] = tag
    if status != 200 or method == "HEAD":
        return
    shown = {x.sop for x in mine}
    if accept in {SINGLE, MANY, XML, MANY_XML, "application/dicom+json"} or rest == "?f":
        check(named_in(doors.world, body) == shown, who, f"{told} shows {named_in(doors.world, body)}, permitted {shown}")
    if accept != PICTURE:
        kept = {x.pixels for x in doors.world.held if x.sop in shown} - {x.pixels for x in mine}
        check(not any(pixels in body for pixels in kept), who, f"{told} has the pixels of another's")


async def retrieve(doors: Doors, who: str, seen: dict[str, list[Thing]], chance) -> None:
    """WADO-RS and WADO-URI of studies, series and instances that are there."""
    world = doors.world
    for study in world.studies:
        read = [x for x in seen["list"] if x.study == study]
        status, _, body = await doors.get(who, f"/dicom-web/studies/{study}/metadata")
        rows = json.loads(body) if status == 200 else []
        check({value(row, "00080018") for row in rows} == {x.sop for x in read}, who, f"{study} metadata {status} {rows}")
        for row in rows:
            names = {str(x.name) for x in read if x.sop == value(row, "00080018")}
            name = "=".join((value(row, "00100010") or {}).values())
            check(name in names or not any(names), who, f"{study} metadata says {name}")
    for level, wishes, count in (("studies", OF_MANY, 2), ("series", OF_MANY, 2), ("instances", OF_ONE, 4)):
        for _ in range(count):
            wish = chance.choice(wishes)
            await fetch(doors, who, chance.choice(world.held), level, wish, seen[wish[2]], chance)


def _code(body: bytes) -> str:
    with suppress(ValueError):
        found = json.loads(body)
        return found.get("code", "") if isinstance(found, dict) else ""
    return ""


async def look(doors: Doors, who: str, chance) -> None:
    """Everything one of them may ask."""
    seen = {purpose: doors.world.permitted(who, purpose) for purpose in ("pixels", "list", "download")}
    listed = seen["list"]
    if who.startswith("device"):
        await device(doors, int(who[-1]), seen["pixels"], chance)
        return
    for level in ("studies", "series", "instances"):
        await search(doors, who, level, f"/dicom-web/{level}", listed, chance)
    for study in doors.world.studies:
        inside = [x for x in listed if x.study == study]
        await search(doors, who, "series", f"/dicom-web/studies/{study}/series", inside, chance)
        await search(doors, who, "instances", f"/dicom-web/studies/{study}/instances", inside, chance)
    for study, series in chance.sample(sorted({(x.study, x.series) for x in doors.world.held}), 2):
        inside = [x for x in listed if (x.study, x.series) == (study, series)]
        await search(doors, who, "instances", f"/dicom-web/studies/{study}/series/{series}/instances", inside, chance)
    await retrieve(doors, who, seen, chance)


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
        found.fail(f"seed {seed} world {number}{after}: {type(error).__name__}: {error}")
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
