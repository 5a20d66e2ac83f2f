"""The real server as a process that can be killed, its data folder, and what must be true whenever it is up again."""

from __future__ import annotations

import hashlib
import http.client
import os
import signal
import socket
import time
from collections import Counter
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

from aiohttp import ClientSession, CookieJar, TCPConnector

from consult import model as m
from consult import patient as p
from consult.people import Actor, OrganisationId
from consult.reporting import open_report, save_report
from dicom.index.reader import IndexReader
from dicom.model import Query, Scope
from dicom.packs.read import PackReader
from dicom.retrieve import Retriever
from server.auth.passwords import Passwords
from server.settings import Settings
from server.storage import engine, migrations
from server.storage.unit import verify_audit
from server.work import Work
from tests.city import PASSWORD, City, build_city
from tests.durability.life import DEATH_SECONDS, START_SECONDS, Launcher, Life
from tests.durability.tab import Tab

SIGNED = {m.State.SIGNED, m.State.DELIVERED, m.State.ACKNOWLEDGED, m.State.FEEDBACK, m.State.ARCHIVED}
CHANNELS = ("archive", "inbox")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def actor_of(person, specialties=()) -> Actor:
    return Actor(
        membership=person.membership, staff=person.staff, organisation=person.organisation, role=person.role,
        name=person.name, specialties=tuple(specialties),
    )


def add_case(uow, city: City, state: m.State, n: int) -> m.ConsultationId:
    """A consultation of the city's doctor and expert in `state`, with one question."""
    patient = p.PatientId(uow.new_id())
    uow.patients.add(p.Patient(
        id=patient, name="测试患者", sex=p.Sex.FEMALE, birth_date=None, registered_by=city.clinic, created_at=uow.now,
    ))
    case = m.ConsultationId(uow.new_id())
    uow.consultations.add(m.Consultation(
        id=case, number=f"HZ20261122-{n:04d}", patient=patient, organisation=OrganisationId(city.clinic),
        requested_by=city.doctor.membership, service=m.Service.CLINICAL, mode=m.Mode.LIVE,
        target_organisation=city.hospital, target_membership=city.expert.membership, state=state,
        state_since=uow.now, created_at=uow.now, submitted_at=uow.now,
    ))
    uow.consultations.put_request(m.RequestVersion(
        consultation=case, n=1, saved_by=city.doctor.membership, saved_at=uow.now, content={"purpose": "胸痛待查"},
    ))
    uow.consultations.put_questions(case, (m.Question(consultation=case, n=1, text="是否需要转上级医院？"),))
    for person, part in ((city.doctor, m.Part.REFERRING), (city.expert, m.Part.EXPERT)):
        uow.consultations.add_participant(m.Participant(
            consultation=case, membership=person.membership, part=part, since=uow.now
        ))
    return case


def add_draft(uow, city: City, case: m.ConsultationId) -> m.Report:
    """A complete draft of the expert, ready to be signed."""
    expert = actor_of(city.expert)
    draft = open_report(uow, actor=expert, consultation=case)
    content = {"findings": "窦性心律", "answers": [{"n": 1, "text": "暂不需要"}]}
    return save_report(uow, actor=expert, report=draft.id, version=draft.version, content=content)


@dataclass
class Acknowledged:
    """What the server has said yes to, as the browsers remember it."""

    instances: dict[str, str] = field(default_factory=dict)          # SOP UID → SHA-256 of the dataset
    chats: dict[str, tuple[str, str]] = field(default_factory=dict)  # message id → (consultation, client id)
    states: dict[str, m.State] = field(default_factory=dict)         # consultation → the state it has at least reached
    seats: set[str] = field(default_factory=set)                     # those that have entered
    versions: dict[str, tuple[str, str]] = field(default_factory=dict)  # report version → (consultation, PDF digest)


class House:
    """One data folder and the server over it. `arm` a point, let something happen, `wait_dead`, `restart`, `inspect`."""

    def __init__(self, root: Path, launcher: Launcher) -> None:
        self.root = root
        self.launcher = launcher
        self.data = root / "data"
        self.port = free_port()
        self.life: Life | None = None
        self.acknowledged = Acknowledged()
        self.city = City()
        self.cookies: dict[str, tuple[ClientSession, str]] = {}
        self.cases: dict[m.State, list[m.ConsultationId]] = {}
        self.drafts: dict[str, m.Report] = {}
        self.made = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def database(self) -> str:
        return Settings(data=self.data).database_url

    # -- the process

    def build(self, *, cases: dict[m.State, int]) -> None:
        """Fill the data folder before the first start: the city, and so many consultations in each state."""
        self.data.mkdir(parents=True, mode=0o700)
        with self.offline() as work:
            self.city = work.run_sync(build_city, Passwords(memory_kib=64, passes=1).hash_now(PASSWORD))

            def fill(uow):
                for state, count in cases.items():
                    for _ in range(count):
                        self.made += 1
                        case = add_case(uow, self.city, state, self.made)
                        self.cases.setdefault(state, []).append(case)
                        if state is m.State.REPORTING:
                            self.drafts[case] = add_draft(uow, self.city, case)

            work.run_sync(fill)

    @contextmanager
    def offline(self):
        """The database while no server runs."""
        database = engine.open(self.database)
        migrations.apply(database)
        work = Work(database)
        try:
            yield work
        finally:
            work.close()

    def read(self, fn):
        """`fn(uow)` on the committed state, beside the running server."""
        database = engine.open(self.database, readonly=True)
        work = Work(database)
        try:
            return work.read_sync(fn)
        finally:
            work.close()

    def start(self) -> None:
        """Begin a life; returns when it answers. The archive's workers may still be starting."""
        arming = self.root / "arming"
        arming.unlink(missing_ok=True)
        life = {"data": str(self.data), "port": self.port, "log": str(self.root / "server.log"), "arming": str(arming),
                "signs": m.State.REPORTING in self.cases}
        self.life = self.launcher.launch(life)
        deadline = time.monotonic() + START_SECONDS
        while not self._answers():
            if not self.running or time.monotonic() > deadline:
                raise AssertionError(f"the server did not start ({self.life.code(0)})\n" + self.log())
            time.sleep(0.02)

    def log(self) -> str:
        return (self.root / "server.log").read_text(encoding="utf-8")[-4000:]

    def _answers(self) -> bool:
        with suppress(OSError, http.client.HTTPException):
            connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=5)
            try:
                connection.request("GET", "/healthz")
                return connection.getresponse().status == 200
            finally:
                connection.close()
        return False

    @property
    def running(self) -> bool:
        return self.life is not None and self.life.code(0) is None

    def arm(self, point: str, nth: int = 1) -> None:
        """From now on the server kills itself at the n-th passing of `point`."""
        part = self.root / "arming.part"
        part.write_text(f"{point}:{nth}", encoding="utf-8")
        part.replace(self.root / "arming")

    def wait_dead(self) -> None:
        """The armed point was reached: the process was ended by SIGKILL."""
        code = self.life.code(DEATH_SECONDS)
        assert code is not None, "the armed point was never reached"
        assert code == -signal.SIGKILL, self.log()

    def kill(self) -> None:
        """SIGKILL, now."""
        if self.running:
            os.kill(self.life.pid, signal.SIGKILL)
            self.wait_dead()

    def terminate(self) -> None:
        """Ask it to stop, as Ctrl-C does."""
        os.kill(self.life.pid, signal.SIGTERM)

    def restart(self) -> None:
        self.kill()
        self.start()

    # -- browsers

    async def browser(self, who: str) -> Tab:
        """Signed in once; the login lives in the database and so outlives the server."""
        if who not in self.cookies:
            # A kept connection of an earlier life would look like a cut in this one.
            session = ClientSession(cookie_jar=CookieJar(unsafe=True), connector=TCPConnector(force_close=True))
            headers = {"Origin": self.url}
            given = {"login": getattr(self.city, who).login, "password": PASSWORD}
            async with session.post(f"{self.url}/api/login", json=given, headers=headers) as answer:
                value = await answer.json()
                assert answer.status == 200, value
            self.cookies[who] = (session, value["csrf"])
        session, csrf = self.cookies[who]
        return Tab(self, session, csrf)

    async def close(self) -> None:
        for session, _ in self.cookies.values():
            await session.close()
        self.kill()

    # -- what must be true

    def inspect(self) -> None:
        """Everything acknowledged is there, nothing is half there."""
        self.read(self._inspect_records)
        self._inspect_archive()

    def _inspect_records(self, uow) -> None:
        said = self.acknowledged
        assert verify_audit(uow) is None
        for case in [x for cases in self.cases.values() for x in cases]:
            self._inspect_case(uow, uow.consultations.get(case))
        for message, (case, client_id) in said.chats.items():
            found = [x for x in uow.meetings.messages(case) if x.client_id == client_id]
            assert [x.id for x in found] == [message]
        for seat in said.seats:         # Finish lets everybody leave; nobody falls back into the lobby
            assert uow.meetings.seat(seat).state in {m.SeatState.IN, m.SeatState.LOST, m.SeatState.LEFT}

    def _inspect_case(self, uow, case: m.Consultation) -> None:
        said = self.acknowledged
        moves = [x for x in uow.events.of(f"consultation:{case.id}") if x.after and x.after != x.before]
        if moves:   # no change without its event, no event without its change
            assert moves[-1].after == case.state
            assert all(a.after == b.before for a, b in pairwise(moves))
        running = [x for x in uow.meetings.sessions(case.id) if x.ended_at is None]
        assert len(running) == (1 if case.state is m.State.IN_SESSION else 0)
        if case.id in said.states:
            assert case.state is said.states[case.id]
        versions = uow.reports.versions(case.id)
        assert bool(versions) == (case.state in SIGNED)
        for version in versions:
            pdf = uow.reports.pdf(version.id)
            assert pdf.startswith(b"%PDF-")
            assert hashlib.sha256(pdf).hexdigest() == version.pdf_digest
            filings = [x for x in uow.reports.filings(case.id) if x.report_version == version.id]
            assert sorted(x.channel for x in filings) == sorted(CHANNELS)
        for version, (consultation, digest) in said.versions.items():
            if consultation == case.id:
                assert [(x.id, x.pdf_digest) for x in versions] == [(version, digest)]

    def _inspect_archive(self) -> None:
        seen = self.archived()
        for sop, digest in self.acknowledged.instances.items():
            assert seen[sop] == digest

    def archived(self) -> dict[str, str]:
        """SOP UID → digest of every visible instance; each is read from its pack and compared with its row."""
        root = self.data / "archive"
        if not (root / "index.sqlite").exists():
            return {}
        reader, packs = IndexReader(root / "index.sqlite"), PackReader(root)
        found: dict[str, str] = {}
        try:
            # The restarted server finishes uploads meanwhile: both lists must be of the same moment.
            for _ in range(100):
                rows = reader.instances(Scope.everything(), Query(), 100_000)
                studies = reader.studies(Scope.everything(), Query(), 100_000)
                if len(reader.instances(Scope.everything(), Query(), 100_000)) == len(rows):
                    break
            for row in rows:
                data = packs.read(*_span(row))
                assert hashlib.sha256(data[row.place.prefix_length :]).hexdigest() == row.digest
                found[row.sop_uid] = row.digest
            counts = Counter(x.study_uid for x in rows)
            for study in studies:
                assert study.instance_count == counts.pop(study.study_uid)
            assert not counts
        finally:
            reader.close()
            packs.close()
        return found


def _span(row):
    span = Retriever.file_range(row)
    return span.pack, span.offset, span.length
