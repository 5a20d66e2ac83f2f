"""What happens in a world between two looks at it: access that ends, doubts and their end, corrections and their undoing,
and what still arrives.
"""

from __future__ import annotations

from dataclasses import replace

from consult import model as m
from consult.studying import report_wrong_patient, settle_wrong_patient
from server import keys
from tests.fuzz._ground import Doors
from tests.fuzz._storing import arrival

SAID = {201, 409}


async def _run(doors: Doors, deed) -> None:
    await doors.ground.app[keys.WORK].run(deed)


async def share_ends(doors: Doors, chance) -> bool:
    world, c = doors.world, chance.randrange(len(doors.cases))
    for study in sorted(world.shared[c] - world.doubted)[:1]:
        await _run(doors, lambda uow: uow.consultations.end_share(doors.cases[c], study, at=uow.now))
        world.shared[c].discard(study)
        return True
    return False


async def expert_leaves(doors: Doors, chance) -> bool:
    world, c = doors.world, chance.randrange(len(doors.cases))
    if not world.expert[c]:
        return False
    expert = doors.person("expert").membership
    await _run(doors, lambda uow: uow.consultations.end_participant(doors.cases[c], expert, m.Part.EXPERT, at=uow.now))
    world.expert[c] = False
    return True


async def guests_go(doors: Doors, chance) -> bool:
    world, c = doors.world, chance.randrange(len(doors.cases))
    if not world.seated[c]:
        return False
    who = sorted(world.seated[c])[0]

    def go(uow):
        session = uow.meetings.running(doors.cases[c])
        seat = uow.meetings.seat_of(session.id, doors.person(who).membership)
        uow.meetings.save_seat(replace(seat, state=chance.choice([m.SeatState.LEFT, m.SeatState.REMOVED]), since=uow.now))

    await _run(doors, go)
    world.seated[c].discard(who)
    return True


async def doubt(doors: Doors, chance) -> bool:
    world, c = doors.world, chance.randrange(len(doors.cases))
    studies = sorted(world.shared[c] - world.doubted)
    if not world.expert[c] or not studies:
        return False
    study = chance.choice(studies)
    await _run(doors, lambda uow: report_wrong_patient(
        uow, actor=doors.actor(uow, "expert"), consultation=doors.cases[c], study_uid=study, reason="另一位患者"))  # fmt: skip
    world.doubted.add(study)
    return True


async def doubt_settled(doors: Doors, chance) -> bool:
    world = doors.world
    waiting = sorted((study, place) for study, place in world.matched if study in world.doubted)
    if not waiting:
        return False
    study, place = chance.choice(waiting)
    right = chance.random() < 0.5
    await _run(doors, lambda uow: settle_wrong_patient(
        uow, actor=doors.actor(uow, f"tech{place}"), study_uid=study, right=right, reason="核对过"))  # fmt: skip
    world.doubted.discard(study)
    if not right:
        world.matched.discard((study, place))
        for shares in world.shared:
            shares.discard(study)
    return True


async def correction(doors: Doors, chance) -> bool:
    """Through the technician's own door; refused exactly where it would show or hide what a share does not cover."""
    world, place = doors.world, chance.randrange(3)
    here = sorted({x.study for x in world.held if x.organisation == place})
    kind = chance.choice(["move", "merge", "split"])
    if len(here) < (1 if kind == "split" else 2):
        return False
    source, target = chance.sample(here, 2) if kind != "split" else (chance.choice(here), "")
    series = sorted({x.series for x in world.held if x.organisation == place and x.study == source})
    if kind != "merge":
        if len(series) < 2:
            return False
        series = series[:1]
    refused = bool({source, target} & world.doubted)
    if kind != "split":
        refused |= bool(world.sharing(target) - world.sharing(source))
    if kind == "merge":
        refused |= bool(world.sharing(source) - world.sharing(target))
    wanted = {"kind": kind, "study": source, "reason": "登记错误"}
    wanted |= ({"target": target} if target else {}) | ({"series": series} if kind != "merge" else {})
    browser = await doors.browser(f"tech{place}")
    async with browser.post("/api/corrections", json=wanted) as answer:
        said, made = answer.status, await answer.json()
    assert said in SAID, f"correction {wanted} {said} {made}"
    assert (said == 409) == refused, f"correction {wanted} {said} {made}, but it should be {'refused' if refused else 'made'}"
    if refused:
        return True
    before, was = world.held, (source, place) in world.matched
    world.corrected.add((place, source))
    world.move(place, source, made["study"], set(series))
    if kind == "merge":
        world.matched.discard((source, place))
    if kind == "split":
        world.studies.append(made["study"])
        for c in world.sharing(source):
            world.shared[c].add(made["study"])
        if was:
            world.matched.add((made["study"], place))
    elif chance.random() < 0.5:
        async with browser.post(f"/api/corrections/{made['id']}/undo", json={}) as answer:
            assert answer.status == 200, f"undo of {wanted} {answer.status}"
        world.held = before
        if was:
            world.matched.add((source, place))
    return True


DEEDS = [share_ends, share_ends, expert_leaves, guests_go, doubt, doubt_settled, correction, correction, correction,
         arrival, arrival, arrival]  # fmt: skip


async def change(doors: Doors, chance) -> list[str]:
    """Some of these, one after the other; their names. Then time passes, so that nobody lives on an older answer."""
    done = [deed.__name__ for deed in chance.choices(DEEDS, k=8) if await deed(doors, chance)]
    doors.ground.clock.advance(seconds=2)
    doors.changed = True
    return done
