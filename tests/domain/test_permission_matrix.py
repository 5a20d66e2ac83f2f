"""Who may see and do what, written by hand from DOMAIN §6 and never derived from the code.

A cell is one character for each of four situations, in this order:
  own      the person's own part in it (see the fixtures below)
  same     somebody else's, in the same organisation
  other    of organisations the person has nothing to do with
  closed   own, acknowledged more than forty-five days ago
`+` may · `x` sees the object and may not do this (NotAllowed) · `.` answered like "does not exist" (NotFound)

doctor      own: referring doctor, report being written · same: a colleague's (C)
expert      own: assigned, report being written · same: another expert's of the centre (U)
on_call     own: an open offer to their pool (U, claim) · same: accepted by another
dispatcher  own: in triage · same: of the centre, past triage
technician  own: of the clinic that asks · same: of the organisation that performs an order for it
org_admin   own: of the clinic that asks · same: of the hospital that is asked
platform, auditor: no part in anything
guest       own: invited and admitted · same: invited, still in the lobby · closed: admitted once
Break-glass cells are `.` until the break-glass door exists.
"""

import pytest

from consult import model as m
from consult.access import authorize
from consult.errors import NotAllowed, NotFound
from consult.people import Actor
from consult.permission import Action
from consult.studying import create_order
from tests.domain.world import CENTRE, CLINIC, HOSPITAL, OTHER_CLINIC, PLATFORM, World

SITUATIONS = ("own", "same", "other", "closed")
PEOPLE = (
    "doctor", "expert", "on_call", "dispatcher", "technician", "org_admin", "platform", "auditor", "guest",
)  # fmt: skip
CELLS = """
                    doctor expert on_call dispatcher technician org_admin platform auditor guest
patient.find        ++.+   ....   ....    ....       ++.+       ....      ....     ....    ....
patient.read        +..+   +...   ....    +...       ++.+       ....      ....     ....    +...
patient.write       +x.+   x...   ....    x...       ++.+       ....      ....     ....    x...
patient.merge       ++.+   x...   ....    x...       ++.+       ....      ....     ....    x...
studies.list        +..+   +...   ....    +...       ++.+       ....      ....     ....    +...
studies.share       +..+   x...   ....    x...       ++.+       ....      ....     ....    x...
studies.doubt       x..x   +...   ....    x...       xx.x       ....      ....     ....    x...
pixels.read         +..+   +...   ....    ....       ++.+       ....      ....     ....    +...
dicom.download      +..+   +...   ....    ....       ++.+       ....      ....     ....    ....
request.status      ++.+   ++..   ++..    ++.+       ++.+       ....      ....     ++++    +...
request.queue       ++.+   ++..   ++..    ++.+       ++.+       ....      ....     ....    +...
request.read        +..+   +...   ....    +...       ....       ....      ....     ....    +...
request.write       +x.+   xx..   xx..    xx.x       xx.x       ....      ....     xxxx    x...
request.withdraw    +x.+   xx..   xx..    xx.x       xx.x       ....      ....     xxxx    x...
request.take_over   x+.x   xx..   xx..    xx.x       xx.x       ....      ....     xxxx    x...
request.receive     xx.x   xx..   xx..    ++.+       xx.x       ....      ....     xxxx    x...
request.return      xx.x   +x..   xx..    ++.+       xx.x       ....      ....     xxxx    x...
request.reject      xx.x   xx..   xx..    ++.+       xx.x       ....      ....     xxxx    x...
request.offer       xx.x   xx..   xx..    ++.+       xx.x       ....      ....     xxxx    x...
request.reassign    xx.x   xx..   xx..    ++.+       xx.x       ....      ....     xxxx    x...
request.accept      xx.x   +x..   +x..    xx.x       xx.x       ....      ....     xxxx    x...
request.release     xx.x   +x..   xx..    xx.x       xx.x       ....      ....     xxxx    x...
request.schedule    +x.+   +x..   xx..    xx.x       xx.x       ....      ....     xxxx    x...
request.review      xx.x   +x..   xx..    xx.x       xx.x       ....      ....     xxxx    x...
request.cancel      +x.+   +x..   xx..    xx.x       xx.x       ....      ....     xxxx    x...
request.convert     +x.+   +x..   xx..    ++.+       xx.x       ....      ....     xxxx    x...
request.void        xx.x   xx..   xx..    xx.x       xx.x       +..+      ....     xxxx    x...
document.read       +..+   +...   ....    +...       ....       ....      ....     ....    +...
document.write      +..+   x...   ....    x...       ++.+       ....      ....     ....    x...
material.provide    +x.+   xx..   xx..    xx.x       ++.+       ....      ....     xxxx    x...
order.read          +..+   +...   ....    ....       ++.+       ....      ....     ....    ....
order.write         +..+   x...   ....    ....       ++.+       ....      ....     ....    ....
room.enter          +..+   +...   ....    ....       ....       ....      ....     ....    ++..
room.invite         +..+   +...   ....    ....       ....       ....      ....     ....    xx..
room.remove         x..x   +...   ....    ....       ....       ....      ....     ....    xx..
room.chat           +..+   +...   ....    ....       ....       ....      ....     ....    +x..
room.history        +..+   +...   ....    ....       ....       ....      ....     ....    +...
room.finish         +..+   +...   ....    ....       ....       ....      ....     ....    xx..
recording.ask       +..+   +...   ....    ....       ....       ....      ....     ....    xx..
recording.read      +..+   +...   ....    ....       ....       ....      ....     ....    ....
recording.hold      x..x   x...   ....    ....       ....       +..+      ....     ++++    xx..
draft.read          ....   +...   ....    ....       ....       ....      ....     ....    ....
draft.write         ....   +...   ....    ....       ....       ....      ....     ....    ....
report.status       +..+   +...   ....    ++.+       ++.+       ....      ....     ....    ....
report.read         +..+   +...   ....    ....       ....       ....      ....     ....    ....
report.sign         x..x   +...   ....    xx.x       xx.x       ....      ....     xxxx    ....
report.append       x..x   +...   ....    xx.x       xx.x       ....      ....     xxxx    ....
report.acknowledge  +..+   x...   ....    xx.x       xx.x       ....      ....     xxxx    ....
report.verify       +..+   +...   ....    ....       ....       ....      ....     ++++    ....
feedback.read       +..+   +...   ....    ....       ....       ....      ....     ....    ....
feedback.give       +..+   x...   ....    ....       ....       ....      ....     ....    ....
feedback.rate       x..x   +...   ....    ....       ....       ....      ....     ....    ....
audit.read          +..+   ....   ....    ....       ....       ....      ....     ++++    ....
"""

# On an organisation: own, other.
ORGANISATION_CELLS = """
                      doctor expert dispatcher technician org_admin platform auditor
patient.register      +.     x.     x.         +.         x.        x.       x.
request.start         +.     x.     x.         x.         x.        x.       x.
order.start           +.     x.     x.         +.         x.        x.       x.
studies.upload        x.     x.     x.         +.         x.        x.       x.
studies.match         x.     x.     x.         +.         x.        x.       x.
removals.decide       x.     x.     x.         +.         +.        x.       x.
inbox.read            +.     ..     ..         ..         ..        ..       ..
people.read           ..     ..     ..         ..         +.        ++       ++
people.manage         x.     x.     x.         x.         +.        x.       x.
devices.manage        x.     x.     x.         x.         +.        x.       x.
organisations.manage  x.     x.     x.         x.         x.        ++       x.
"""


def read(table: str) -> dict[tuple[str, str], str]:
    head, *lines = [x.split() for x in table.strip().splitlines()]
    return {(line[0], person): cell for line in lines for person, cell in zip(head, line[1:], strict=True)}


EXPECTED = read(CELLS)
EXPECTED_ON_ORGANISATIONS = read(ORGANISATION_CELLS)


def outcome(world: World, actor: Actor, action: Action, thing: object) -> str:
    try:
        authorize(world.uow, actor, action, thing)
    except NotFound:
        return "."
    except NotAllowed:
        return "x"
    return "+"


def invite(world: World, case: m.Consultation, state: m.SeatState) -> None:
    uow = world.uow
    guest = world.stranger.membership
    uow.consultations.add_participant(
        m.Participant(consultation=case.id, membership=guest, part=m.Part.GUEST, since=uow.now)
    )
    session = m.Session(
        id=m.SessionId(uow.new_id()), consultation=case.id, n=1,
        opened_by=world.expert.membership, opened_at=uow.now,
    )  # fmt: skip
    uow.meetings.add_session(session)
    uow.meetings.add_seat(
        m.Seat(
            id=m.SeatId(uow.new_id()), session=session.id, membership=guest, part=m.Part.GUEST,
            state=state, since=uow.now,
        )
    )


def end_session(world: World, case: m.Consultation) -> None:
    from dataclasses import replace

    running = world.uow.meetings.running(case.id)
    world.uow.meetings.save_session(replace(running, ended_at=world.uow.now))


@pytest.fixture(scope="module")
def cases() -> tuple[World, dict[tuple[str, str], tuple[Actor, m.Consultation]]]:
    """(person, situation) → who, which consultation. All in one city, so that strangers are strangers to real ones."""
    w = World()
    closed = w.acknowledged()
    invite(w, closed, m.SeatState.IN)
    end_session(w, closed)
    closed_other = closed
    w.wait(days=46)
    own = w.reporting()
    invite(w, own, m.SeatState.IN)
    lobby = w.reporting()
    invite(w, lobby, m.SeatState.LOBBY)
    colleagues = w.reporting(w.colleague)
    ordered = w.reporting(w.colleague)
    create_order(
        w.uow, actor=w.colleague, patient=ordered.patient, procedure="胸部CT", modality="CT",
        performing=CENTRE, consultation=ordered.id,
    )  # fmt: skip
    closed_centre = closed
    seconds = w.reporting(by=w.second)
    in_triage = w.submitted()
    offered = w.offered()
    away = w.reporting(w.other_doctor, by=w.stranger)
    away_for_guest = w.reporting(w.colleague, by=w.second)
    found = {
        ("doctor", "own"): (w.doctor, own),
        ("doctor", "same"): (w.doctor, colleagues),
        ("doctor", "other"): (w.doctor, away),
        ("doctor", "closed"): (w.doctor, closed),
        ("expert", "own"): (w.expert, own),
        ("expert", "same"): (w.expert, seconds),
        ("expert", "other"): (w.expert, away),
        ("expert", "closed"): (w.expert, closed),
        ("on_call", "own"): (w.second, offered),
        ("on_call", "same"): (w.second, own),
        ("on_call", "other"): (w.second, away),
        ("on_call", "closed"): (w.second, closed_other),
        ("dispatcher", "own"): (w.dispatcher, in_triage),
        ("dispatcher", "same"): (w.dispatcher, own),
        ("dispatcher", "other"): (w.dispatcher, away),
        ("dispatcher", "closed"): (w.dispatcher, closed_centre),
        ("technician", "own"): (w.technician, own),
        ("technician", "same"): (w.centre_technician, ordered),
        ("technician", "other"): (w.technician, away),
        ("technician", "closed"): (w.technician, closed),
        ("org_admin", "own"): (w.admin, own),
        ("org_admin", "same"): (w.hospital_admin, own),
        ("org_admin", "other"): (w.admin, away),
        ("org_admin", "closed"): (w.admin, closed),
        ("guest", "own"): (w.stranger, own),
        ("guest", "same"): (w.stranger, lobby),
        ("guest", "other"): (w.stranger, away_for_guest),
        ("guest", "closed"): (w.stranger, closed),
    }
    for person, actor in (("platform", w.platform), ("auditor", w.auditor)):
        for situation, case in zip(SITUATIONS, (own, colleagues, away, closed), strict=True):
            found[person, situation] = (actor, case)
    return w, found


ON_CONSULTATIONS = sorted({action for action, _ in EXPECTED})


def test_the_tables_name_every_action_and_every_person() -> None:
    named = {x for x, _ in EXPECTED} | {x for x, _ in EXPECTED_ON_ORGANISATIONS}
    assert named == {x.value for x in Action}
    assert {x for _, x in EXPECTED} == set(PEOPLE)


@pytest.mark.parametrize("person", PEOPLE)
@pytest.mark.parametrize("action", ON_CONSULTATIONS)
def test_every_cell_on_a_consultation(cases, action: str, person: str) -> None:
    world, found = cases
    got = "".join(outcome(world, *_at(found, person, x, Action(action))) for x in SITUATIONS)
    assert got == EXPECTED[action, person]


def _at(found, person, situation, action):
    actor, case = found[person, situation]
    return actor, action, case


@pytest.mark.parametrize(("action", "person"), sorted(EXPECTED_ON_ORGANISATIONS))
def test_every_cell_on_an_organisation(action: str, person: str) -> None:
    w = World()
    actor = {
        "doctor": w.doctor, "expert": w.expert, "dispatcher": w.dispatcher, "technician": w.technician,
        "org_admin": w.admin, "platform": w.platform, "auditor": w.auditor,
    }[person]  # fmt: skip
    other = OTHER_CLINIC if actor.organisation in {CLINIC, HOSPITAL, PLATFORM} else CLINIC
    got = outcome(w, actor, Action(action), actor.organisation) + outcome(w, actor, Action(action), other)
    assert got == EXPECTED_ON_ORGANISATIONS[action, person]


def test_a_consultation_that_does_not_exist_answers_like_one_that_is_not_yours(world: World) -> None:
    from consult.access import open_consultation

    case = world.reporting()
    answers = []
    for one in (case.id, m.ConsultationId("nothing")):
        with pytest.raises(NotFound) as caught:
            open_consultation(world.uow, world.other_doctor, one, Action.REQUEST_READ)
        answers.append((type(caught.value), caught.value.params))
    assert answers[0] == answers[1]


def test_the_experts_access_lasts_until_the_setting_says(world: World) -> None:
    case = world.acknowledged()
    world.wait(days=45)
    assert outcome(world, world.expert, Action.PIXELS_READ, case) == "+"
    world.wait(seconds=1)
    assert outcome(world, world.expert, Action.PIXELS_READ, case) == "."


def test_the_clock_of_access_starts_at_acknowledgement_whatever_follows(world: World) -> None:
    from dataclasses import replace

    from consult.events import record

    case = world.acknowledged()
    world.wait(days=20)
    later = replace(case, state=m.State.FEEDBACK, state_since=world.uow.now)
    world.uow.consultations.save(later)
    record(
        world.uow, world.doctor, f"consultation:{case.id}", "ask_feedback",
        before=case.state, after=later.state,
    )  # fmt: skip
    world.wait(days=26)
    assert outcome(world, world.expert, Action.REPORT_READ, world.get(case)) == "."


def test_a_released_draft_is_read_by_the_referring_doctor_and_by_no_colleague(world: World) -> None:
    from consult.reporting import open_report, save_report

    case = world.reporting()
    draft = open_report(world.uow, actor=world.expert, consultation=case.id)
    save_report(
        world.uow, actor=world.expert, report=draft.id, version=draft.version,
        content={**world.answers(case), "released": True},
    )  # fmt: skip
    assert outcome(world, world.doctor, Action.DRAFT_READ, case) == "+"
    assert outcome(world, world.colleague, Action.DRAFT_READ, case) == "."
    assert outcome(world, world.doctor, Action.DRAFT_WRITE, case) == "x"


def test_a_technician_who_is_invited_reads_no_history(world: World) -> None:
    case = world.reporting()
    uow = world.uow
    invite(world, case, m.SeatState.IN)
    session = uow.meetings.running(case.id)
    uow.consultations.add_participant(
        m.Participant(
            consultation=case.id, membership=world.technician.membership, part=m.Part.GUEST, since=uow.now
        )
    )
    uow.meetings.add_seat(
        m.Seat(
            id=m.SeatId(uow.new_id()), session=session.id, membership=world.technician.membership,
            part=m.Part.GUEST, state=m.SeatState.IN, since=uow.now,
        )
    )
    assert outcome(world, world.technician, Action.ROOM_CHAT, case) == "+"
    assert outcome(world, world.technician, Action.REQUEST_READ, case) == "+"
    assert outcome(world, world.technician, Action.ROOM_HISTORY, case) == "."


def test_nobody_but_the_clinic_sees_a_draft(world: World) -> None:
    draft = world.complete(world.draft())
    for actor in (world.expert, world.dispatcher, world.stranger, world.radiologist):
        assert outcome(world, actor, Action.REQUEST_STATUS, draft) == "."
