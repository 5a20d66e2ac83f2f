"""A world inside the real application: stored, matched, shared, doubted; and how everybody in it gets in."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path

from aiohttp import CookieJar
from aiohttp.test_utils import TestServer

from consult import model as m
from consult import patient as p
from consult.people import Organisation, OrganisationId, OrganisationKind, Role, Tier
from consult.studying import report_wrong_patient
from dicom.network.scp import Listener
from dicom.network.terms import NetworkLimits
from server import keys
from server.app import create_app
from server.auth.passwords import Passwords
from server.auth.people import actor_of
from server.auth.tokens import make_token
from server.dicomweb.ports import ARCHIVE
from server.dimse.running import DIMSE
from server.settings import Settings
from server.storage.devices import DeviceRow
from tests.city import PASSWORD, City, add_person
from tests.conftest import Browser, TestClock, sign_in
from tests.fuzz._world import GUESTS, HOME, ROLES, World
from tests.fuzz.pdus import Shelf
from tests.network.conftest import House


class Ground:
    """One application with its doors, for some worlds one after the other."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.clock = TestClock()
        self.passwords = Passwords(memory_kib=64, passes=1)
        self.hash = self.passwords.hash_now(PASSWORD)

    async def __aenter__(self):
        self.app = create_app(Settings(data=self.root / "data"), clock=self.clock, passwords=self.passwords, background=False)
        self.server = TestServer(self.app, auto_decompress=False)
        await self.server.start_server()
        await self.app[keys.ARCHIVE_STARTED].wait()
        self.archive = self.app[ARCHIVE]
        self.port = await self.app[DIMSE].listen("127.0.0.1", 0)
        self.arrived = House()
        self.arrived.add("HUIZHEN")
        self.arrived.admit = lambda _call: _soon(self.arrived.devices["HUIZHEN"])
        self.target = Listener(self.arrived, Shelf(self.archive), limits=NetworkLimits())
        self.target_port = await self.target.listen("127.0.0.1", 0)
        return self

    async def __aexit__(self, *_):
        await self.target.close()
        await self.server.close()

    async def build(self, world: World, chance, files) -> Doors:
        """The world in the archive and the database."""
        work, n = self.app[keys.WORK], world.number
        doors = Doors(self, world)

        def people(uow):
            for place, tier in enumerate((Tier.CLINIC, Tier.COUNTY, Tier.CITY)):
                place_id = OrganisationId(uow.new_id())
                doors.places.append(place_id)
                uow.people.add_organisation(
                    Organisation(id=place_id, name=f"W{n}-{place}", short_name=f"W{n}{place}", tier=tier, kind=OrganisationKind.HOSPITAL, phone="1")
                )
            for who, role in ROLES.items():
                add_person(uow, doors.city, f"w{n}-{who}", doors.places[HOME.get(who, 2)], role, who, (), self.hash)
            for place, home in enumerate(doors.places):
                admin = add_person(uow, doors.city, f"w{n}-a{place}", home, Role.ORG_ADMIN, "a", (), self.hash)
                actor = actor_of(uow.people.staff(admin.staff), uow.people.membership(admin.membership))
                made = make_token(uow, actor=actor, name="t", rights=["search", "read", "store"], days=9)
                doors.tokens[f"token{place}"] = made.secret
                for title, host, port in ((f"W{n}D{place}", "", 0), (f"W{n}T{place}", "127.0.0.1", self.target_port)):
                    uow.devices.add(DeviceRow(
                        id=uow.new_id(), organisation=home, name=title, called="HUIZHEN", calling=title, address="127.0.0.1", host=host,
                        port=port, created_at=uow.now,
                    ))  # fmt: skip

        await work.run(people)
        for place, data in files:
            result = await self.archive.ingest(data, organisation=doors.places[place], source="fuzz")
            assert result.outcome in {"stored", "duplicate", "conflict"}, result
        holders = {(x.study, x.organisation) for x in world.held}

        def clinic(uow):
            doctor, expert = doors.person("doctor"), doors.person("expert")
            patient = p.PatientId(uow.new_id())
            uow.patients.add(p.Patient(id=patient, name="沈某", sex=p.Sex.FEMALE, birth_date=None, registered_by=doors.places[0],
                                       created_at=uow.now))  # fmt: skip
            for place in doors.places:  # everybody who holds something of a patient knows them
                uow.patients.link_organisation(patient, place)
            for study, place in sorted(holders):
                order = m.OrderId(uow.new_id()) if chance.random() < 0.3 else None
                if order is not None:  # by the doctor's clinic, or by the county's technician for somebody there
                    ordering = chance.choice([0, 1])
                    uow.studies.add_order(m.ExamOrder(
                        id=order, issuer=doors.places[place], accession=f"W{n}-{study}", patient=patient, ordering=doors.places[ordering],
                        performing=doors.places[place], ordered_by=doors.person(("doctor", "tech1")[ordering]).membership,
                        procedure="CT", modality="CT", at=uow.now,
                    ))  # fmt: skip
                found = chance.random() < 0.6
                if order is not None:
                    world.orders[place, f"W{n}-{study}"[:16]] = found
                if found:
                    uow.studies.add_match(m.StudyMatch(
                        id=uow.new_id(), study_uid=study, organisation=doors.places[place], patient=patient, order=order,
                        method=m.MatchMethod.MANUAL, by=doors.person("tech0").membership, at=uow.now,
                    ))  # fmt: skip
                    world.matched.add((study, place))
                    if order is not None and ordering == 0:
                        world.ordered.add((study, place))
            for c in range(chance.choice([1, 2])):
                case, triage = m.ConsultationId(uow.new_id()), chance.random() < 0.3
                meets = not triage and chance.random() < 0.5
                uow.consultations.add(m.Consultation(
                    id=case, number=f"W{n}-{c}", patient=patient, organisation=doors.places[0], requested_by=doctor.membership,
                    service=m.Service.IMAGING, mode=m.Mode.STORED, target_organisation=doors.places[2],
                    state=m.State.TRIAGE if triage else m.State.IN_SESSION if meets else m.State.REPORTING,
                    state_since=uow.now, created_at=uow.now, submitted_at=uow.now,
                ))  # fmt: skip
                parts = [(doctor, m.Part.REFERRING, None)]
                if not triage:
                    parts += [(expert, m.Part.EXPERT, None), (doors.person("released"), m.Part.EXPERT, uow.now)]
                for person, part, until in parts:
                    uow.consultations.add_participant(
                        m.Participant(consultation=case, membership=person.membership, part=part, since=uow.now, until=until)
                    )
                world.seated.append(_session(uow, doors, case, chance) if meets else set())
                shares = {study for study in world.studies if chance.random() < 0.6}
                for study in sorted(shares):
                    uow.consultations.add_share(m.StudyShare(consultation=case, study_uid=study, by=doctor.membership, since=uow.now))
                revoked = {study for study in sorted(shares) if chance.random() < 0.2}
                for study in revoked:
                    uow.consultations.end_share(case, study, at=uow.now)
                world.shared.append(shares - revoked)
                world.triage.append(triage)
                world.expert.append(not triage)
                doors.cases.append(case)
            for c, case in enumerate(doors.cases):
                for study in sorted(world.shared[c]):
                    if not world.triage[c] and chance.random() < 0.2 and study not in world.doubted:
                        report_wrong_patient(uow, actor=doors.actor(uow, "expert"), consultation=case, study_uid=study, reason="另一位患者")
                        world.doubted.add(study)

        await work.run(clinic)
        return doors


def _session(uow, doors: Doors, case, chance) -> set[str]:
    """A running session, and guests who have come, wait in the lobby, have left or were only invited: who sits in it."""
    session, seated = m.SessionId(uow.new_id()), set()
    expert = doors.person("expert").membership
    uow.meetings.add_session(m.Session(id=session, consultation=case, n=1, opened_by=expert, opened_at=uow.now))
    for who in chance.sample(GUESTS, chance.choice([1, 2])):
        guest = doors.person(who).membership
        uow.consultations.add_participant(
            m.Participant(consultation=case, membership=guest, part=m.Part.GUEST, since=uow.now)
        )
        state = chance.choice([m.SeatState.IN, m.SeatState.IN, m.SeatState.LOBBY, m.SeatState.LEFT, m.SeatState.REMOVED, None])
        if state is not None:
            uow.meetings.add_seat(
                m.Seat(id=m.SeatId(uow.new_id()), session=session, membership=guest, part=m.Part.GUEST, state=state, since=uow.now)
            )
        if state is m.SeatState.IN:
            seated.add(who)
    return seated


def words(body: bytes) -> bytes:
    """What a refusal says, without the number of its request."""
    return re.sub(rb'"request_id": "\w+"', b"", body)


async def _soon(value):
    return value


@dataclass
class Doors:
    """How everybody in a world gets in."""

    ground: Ground
    world: World
    city: City = field(default_factory=City)
    places: list = field(default_factory=list)
    tokens: dict[str, str] = field(default_factory=dict)
    cases: list = field(default_factory=list)
    browsers: dict[str, Browser] = field(default_factory=dict)
    etags: dict[tuple[str, str], str] = field(default_factory=dict)
    """Validators that somebody was given: (path, Accept)."""
    changed: bool = False
    """Something has happened since the first look."""
    asked: int = 0

    def person(self, who: str):
        return self.city.people[f"w{self.world.number}-{who}"]

    async def browser(self, who: str) -> Browser:
        """Theirs, signed in."""
        if who not in self.browsers:
            self.browsers[who] = Browser(self.ground.server, cookie_jar=CookieJar(unsafe=True))
            if who not in self.tokens:
                await sign_in(self.browsers[who], self.person(who).login)
        return self.browsers[who]

    def actor(self, uow, who: str):
        """As the services know them."""
        person = self.person(who)
        return actor_of(uow.people.staff(person.staff), uow.people.membership(person.membership))

    async def get(self, who: str, path: str, accept: str = "application/dicom+json", *, method: str = "GET", **more: str):
        """(status, headers, body); `more`: further headers, `_` for `-`."""
        headers = {"Accept": accept, "Accept-Encoding": "identity"}
        return await self.ask(who, method, path, headers | {name.replace("_", "-"): value for name, value in more.items()})

    async def ask(self, who: str, method: str, path: str, headers: dict[str, str], **more):
        """(status, headers, body)."""
        browser = await self.browser(who)
        if who in self.tokens:
            headers = headers | {"Authorization": f"Bearer {self.tokens[who]}"}
        self.asked += 1
        send = {"GET": browser.get, "HEAD": browser.head, "POST": browser.post}[method]
        async with send(path, headers=headers, allow_redirects=False, **more) as answer:
            body = await answer.read()
        assert answer.status < 500, f"{path} {answer.status}"
        for secret in self.world.quarantined:
            assert secret.encode() not in body, f"{path} shows what is in quarantine"
        return answer.status, answer.headers, body

    async def close(self) -> None:
        for browser in self.browsers.values():
            await browser.session.close()
