"""Who may call which URL, on whose case: every route × role × situation, written by hand from DOMAIN §6.

The tables, and what their cells mean, stand in permissions.txt. Nothing here is read from routes.py, policy.py or permission.py.
"""

from __future__ import annotations

import base64
import io
import json
import re
from datetime import date, timedelta
from pathlib import Path

import pydicom
import pytest
from aiohttp import FormData
from PIL import Image
from sqlalchemy import Connection

from consult import model as m
from consult import patient as p
from consult.people import OrganisationId, Role
from consult.recording_state import Recording, Stage
from consult.signing import frozen_content
from dicom.specimens import shipped
from server import keys
from server.dicomweb.ports import ARCHIVE
from server.recording.conducting import owner
from server.routes import all_routes
from server.sealing import seal
from server.storage.devices import DeviceRow
from server.storage.forwards import Destination, Rule
from server.storage.removals import Hold, Removal, RemovalStudy
from server.storage.tokens import ApiToken
from server.storage.uploads import Upload
from tests.city import City, add_person
from tests.conftest import sign_in

SITUATIONS = ("own", "same", "other", "closed", "triage")
PEOPLE = (
    "doctor", "colleague", "expert", "expert2", "dispatcher", "technician", "clinic_admin", "platform_admin", "auditor",
)


def read_tables() -> dict[str, list[str]]:
    """The lines under each heading of permissions.txt."""
    tables: dict[str, list[str]] = {}
    for line in Path(__file__).with_name("permissions.txt").read_text(encoding="utf-8").splitlines():
        if line.startswith("["):
            tables[line.strip("[]")] = found = []
        elif line and not line.startswith("#"):
            found.append(line)
    return tables


TABLES = read_tables()


def read_rights() -> dict[tuple[str, str], str]:
    head, *lines = [x.split() for x in TABLES["rights"]]
    return {(line[0], person): cell for line in lines for person, cell in zip(head, line[1:], strict=True)}


EXPECTED = read_rights()


def lines_of(table: str, columns: int) -> list[list[str]]:
    """The words of each line; whatever follows the columns is the body."""
    return [[*(found := line.split(None, columns)), *[""] * (columns + 1 - len(found))] for line in TABLES[table]]


# -- the five cases ----------------------------------------------------------------------------------------------------


class Scene:
    """Per situation the ids and bodies that the tables name."""

    def __init__(self, city: City) -> None:
        self.city = city
        self.things: dict[str, dict[str, str]] = {}

    def address(self, path: str, kind: str, situation: str, *, absent: bool = False) -> str:
        """The path with the ids of one situation; `absent`: of the same form, but of nothing."""
        things = self.things["absent" if absent else situation]
        path = re.sub(r"\{(\w+)(?::.*?)?\}(?=/|$)", r"{\1}", path)
        values = {"id": things.get(kind, ""), "n": "1", "version": "1", "key": "1.0", "frames": "1", "path": "7FE00010"}
        return path.format(**{**things, **values})


def place(uow, city: City, situation: str, blob: str, folder: Path) -> dict[str, str]:
    """One consultation with everything that hangs on it."""
    local = situation != "other"
    clinic = city.clinic if local else city.other_clinic
    hospital = city.hospital if local else city.county
    doctor = {"same": city.colleague, "other": city.stranger}.get(situation, city.doctor)
    expert = {"same": city.expert2, "other": city.far_expert}.get(situation, city.expert)
    technician = {"same": city.technician2, "other": city.far_technician}.get(situation, city.technician)
    made = {"situation": situation, "digest": blob}
    for key in ("patient", "twin"):
        made[key] = uow.new_id()
        uow.patients.add(p.Patient(
            id=p.PatientId(made[key]), name=situation, sex=p.Sex.FEMALE, birth_date=date(1970, 1, 1), registered_by=clinic,
            created_at=uow.now,
        ))
    state = {"closed": m.State.ACKNOWLEDGED, "triage": m.State.TRIAGE}.get(situation, m.State.REPORTING)
    since = uow.now - timedelta(days=50) if situation == "closed" else uow.now
    case = made["consultation"] = uow.new_id()
    uow.consultations.add(m.Consultation(
        id=case, number=f"HZ-{situation}", patient=made["patient"], organisation=clinic, requested_by=doctor.membership,
        service=m.Service.CLINICAL, mode=m.Mode.LIVE, target_organisation=hospital, state=state, state_since=since,
        created_at=since, submitted_at=since,
    ))
    uow.consultations.put_request(m.RequestVersion(
        consultation=case, n=1, saved_by=doctor.membership, saved_at=since, content={"purpose": "x"}
    ))
    uow.consultations.put_questions(case, (m.Question(consultation=case, n=1, text="?"),))
    parts = [(doctor, m.Part.REFERRING), *([(expert, m.Part.EXPERT)] if situation != "triage" else [])]
    for person, part in parts:
        uow.consultations.add_participant(m.Participant(
            consultation=case, membership=person.membership, part=part, since=since
        ))
    made["consent"] = uow.new_id()
    uow.consultations.add_consent(m.Consent(
        id=made["consent"], consultation=case, text_version="v", signer="x", relation="self", mode=m.ConsentMode.WITNESSES,
        scopes=("consultation",), given_at=since, recorded_by=doctor.membership,
    ))
    made["document"] = uow.new_id()
    uow.consultations.add_document(m.Document(
        id=made["document"], consultation=case, kind="document", title="x", media_type="image/png",
        digest=blob, original=blob, size=1, added_by=doctor.membership, added_at=since,
    ))
    made["session"] = uow.new_id()
    uow.meetings.add_session(m.Session(
        id=made["session"], consultation=case, n=1, opened_by=doctor.membership, opened_at=since, ended_at=since
    ))
    made["recording"] = uow.new_id()
    uow.recordings.add(Recording(
        id=made["recording"], consultation=case, session=made["session"], asked_by=doctor.membership, asked_at=since,
        key=seal(folder, base64.b64encode(bytes(32)).decode(), owner=owner(made["recording"])), stage=Stage.READY,
        stopped_at=since,
    ))
    made["report"] = uow.new_id()
    content = {"findings": "x", "key_images": [{"document": blob}]}
    uow.reports.add(m.Report(
        id=made["report"], consultation=case, author=expert.membership, part=m.Part.EXPERT, content=content,
        saved_at=since,
    ))
    add_version(uow, made, since)
    add_material(uow, made, clinic, doctor, since)
    made["upload"] = uow.new_id()
    uow.uploads.add(Upload(
        id=made["upload"], organisation=clinic, membership=technician.membership, size=10, created_at=since,
        touched_at=since,
    ))
    made["picture"] = uow.new_id()
    uow.uploads.add(Upload(
        id=made["picture"], organisation=clinic, membership=doctor.membership, consultation=case, kind="film", size=10,
        created_at=since, touched_at=since,
    ))
    return {key: str(value) for key, value in made.items()}


def add_version(uow, made: dict, since) -> None:
    """A signed version, so that reading one means something in every case."""
    made["version"] = uow.new_id()
    content = frozen_content(uow, uow.consultations.get(made["consultation"]), uow.reports.get(made["report"]))
    uow.reports.add_version(
        m.ReportVersion(
            id=made["version"], report=made["report"], consultation=made["consultation"], n=1,
            status=m.ReportStatus.FINAL, content=content, content_digest="0" * 64, pdf_digest="0" * 64,
            code=f"CODE-{made['version']}", signed_at=since,
        ),
        b"%PDF-1.7", (),
    )


def add_material(uow, made: dict, clinic, doctor, since) -> None:
    """An order and a matched, shared study that the clinic holds. Nobody doubts it."""
    made["order"], made["study"] = uow.new_id(), study_uid(made["situation"])
    uow.studies.add_order(m.ExamOrder(
        id=made["order"], issuer=clinic, accession=f"A{made['order']}"[:16], patient=made["patient"], ordering=clinic,
        performing=clinic, ordered_by=doctor.membership, procedure="CT", modality="CT",
        consultation=made["consultation"], at=since,
    ))
    uow.studies.add_match(m.StudyMatch(
        id=uow.new_id(), study_uid=made["study"], organisation=clinic, patient=made["patient"], order=made["order"],
        method=m.MatchMethod.MANUAL, by=None, at=since,
    ))
    uow.consultations.add_share(m.StudyShare(
        consultation=made["consultation"], study_uid=made["study"], by=doctor.membership, since=since
    ))
    made |= {"uid": made["study"], "series": f"{made['study']}.1", "instance": f"{made['study']}.1.1"}


def study_uid(situation: str) -> str:
    return f"1.2.826.0.{SITUATIONS.index(situation) + 1}"


def ct_of(situation: str) -> bytes:
    """A real CT under this situation's UIDs."""
    data = pydicom.dcmread(shipped("CT_small.dcm"))
    data.StudyInstanceUID = study_uid(situation)
    data.SeriesInstanceUID = f"{data.StudyInstanceUID}.1"
    data.SOPInstanceUID = data.file_meta.MediaStorageSOPInstanceUID = f"{data.StudyInstanceUID}.1.1"
    out = io.BytesIO()
    data.save_as(out, enforce_file_format=True)
    return out.getvalue()


@pytest.fixture
async def scene(app, city, password_hash) -> Scene:
    """The five cases, their images in the archive, and a few more people."""
    picture = io.BytesIO()
    Image.new("RGB", (8, 8)).save(picture, "PNG")

    def build(uow):
        for key, where, role in (
            ("technician2", city.clinic, Role.TECHNICIAN), ("far_technician", city.other_clinic, Role.TECHNICIAN),
            ("far_expert", city.county, Role.EXPERT),
        ):
            add_person(uow, city, key, where, role, "某人", (), password_hash)
        blob = app[keys.BLOBS].put(picture.getvalue())
        return {x: place(uow, city, x, blob, app[keys.SETTINGS].key_folder) for x in SITUATIONS}

    made = Scene(city)
    made.things = await app[keys.WORK].run(build)
    made.things["absent"] = dict.fromkeys(made.things["own"], "f" * 32) | {
        "twin": "e" * 32, "uid": "1.2.826.9", "study": "1.2.826.9", "series": "1.2.826.9.1", "instance": "1.2.826.9.1.1", "digest": "f" * 64,
    }
    for name, things in made.things.items():
        things["situation"] = name
    for situation in ("closed", "triage"):      # uploads know no consultation
        made.things[situation]["upload"] = made.things["own"]["upload"]
    await app[keys.ARCHIVE_STARTED].wait()
    for situation in SITUATIONS:
        holder = city.other_clinic if situation == "other" else city.clinic
        found = await app[ARCHIVE].ingest(ct_of(situation), organisation=OrganisationId(holder), source="test")
        assert found.outcome == "stored"
    return made


# -- asking ------------------------------------------------------------------------------------------------------------

ABOUT_ONESELF = {
    "/api/organisations/{id}": "clinic", "/api/memberships/{id}": "membership", "/api/staff/{id}": "staff",
    "/api/devices/{id}": "device", "/api/forward-destinations/{id}": "destination", "/api/forward-rules/{id}": "rule", "/api/fetch/{id}": "job", "/api/tokens/{id}": "token",
    "/api/removals/{id}": "removal", "/api/holds/{id}": "hold",
}
PNG = "data:image/png;base64,AAAA"


class Asker:
    """One person's browser, whose login survives whatever is asked; what is changed is undone at once."""

    def __init__(self, browser, monkeypatch) -> None:
        self.browser = browser
        self.monkeypatch = monkeypatch
        self.cookies = {x.key: x.value for x in browser.session.cookie_jar}

    async def __call__(self, method: str, address: str, body: str, things: dict[str, str]) -> tuple[str, str]:
        """(the cell's character, the answer without what names the request)."""
        self.browser.session.cookie_jar.clear()
        self.browser.session.cookie_jar.update_cookies(self.cookies, self.browser.make_url("/"))
        with self.monkeypatch.context() as patch:
            if method != "GET":
                patch.setattr(Connection, "commit", Connection.rollback)
            call = getattr(self.browser, method.lower())
            async with call(address, allow_redirects=False, **self.given(body, things)) as answer:
                if answer.content_type == "text/event-stream":
                    return "+", ""
                return character(answer.status, raw := await answer.read(), answer.content_type), neutral(raw, things)

    @staticmethod
    def given(body: str, things: dict[str, str]) -> dict:
        """The keyword of the client for a body of the tables."""
        match body.strip():
            case "":
                return {}
            case "$bytes":
                return {"data": b"12345", "params": {"offset": "5"}}
            case "$nothing":
                return {"data": b"", "headers": {"Content-Type": "application/octet-stream"}}
            case "$document":
                form = FormData({"kind": "document", "title": "x"})
                form.add_field("file", b"no picture", filename="x.png", content_type="image/png")
                return {"data": form}
            case "$image":
                uid = things.get("uid", "")
                return {"json": {"studyUid": uid, "seriesUid": uid, "sopUid": uid, "dataUrl": PNG}}
            case text:
                for key, value in things.items():
                    text = text.replace(f'"${key}"', f'"{value}"')
                return {"json": json.loads(text)}


def character(status: int, raw: bytes, kind: str) -> str:
    """What the answer means for permission."""
    if status == 401:
        return "!"
    if status == 404:
        return "."
    if status == 403:
        code = json.loads(raw).get("code") if kind.endswith("json") else raw.decode()
        return {"not_allowed": "x", "unlock_required": "+"}.get(code, code)
    return str(status) if status >= 500 else "+"


def neutral(raw: bytes, things: dict[str, str]) -> str:
    """The answer's text with ids and the request's number taken out."""
    text = re.sub(r'"request_id": ?"[^"]*"', '"request_id"', raw.decode("utf-8", "replace"))
    for value in {x for x in things.values() if len(x) > 8}:
        text = text.replace(value, "ID")
    return text


def wanted(right: str, person: str, situation: str) -> str:
    return EXPECTED[right, person][SITUATIONS.index(situation)]


@pytest.fixture
async def asker(open_browser, city, scene, monkeypatch):
    """`await asker("doctor")`."""

    async def one(person: str) -> Asker:
        browser = await open_browser()
        await sign_in(browser, getattr(city, person).login)
        return Asker(browser, monkeypatch)

    return one


@pytest.mark.parametrize("person", PEOPLE)
async def test_everybody_gets_exactly_what_the_table_says_and_not_yours_looks_like_absent(person, asker, scene):
    ask = await asker(person)
    wrong, leaks = [], []
    for right, method, path, kind, body in lines_of("objects", 4):
        absent_things = scene.things["absent"]
        cells = EXPECTED[right, person]
        absent = ("", "")
        if "." in cells or "o" in cells:
            absent = await ask(method, scene.address(path, kind, "", absent=True), body, absent_things)
        for situation in SITUATIONS:
            things = scene.things[situation]
            got, text = await ask(method, scene.address(path, kind, situation), body, things)
            cell = wanted(right, person, situation)
            if got != cell.replace("o", "+"):
                wrong.append(f"{method} {path} {situation}: {got}, not {cell} ({right})")
            if cell in ".o" and (got, text) != absent:
                leaks.append(f"{method} {path} {situation}: {text[:300]} != {absent}")
    assert not wrong, "\n".join(wrong)
    assert not leaks, "\n".join(leaks)


async def test_nobody_gets_anything_without_signing_in(open_browser, scene, monkeypatch):
    ask = Asker(await open_browser(), monkeypatch)
    for _right, method, path, kind, body in lines_of("objects", 4):
        got, _ = await ask(method, scene.address(path, kind, "own"), body, scene.things["own"])
        assert got == "!", (method, path)


def forwarding_of(uow, organisation) -> None:
    """A destination and a rule."""
    at = {"organisation": organisation, "created_at": uow.now}
    uow.forwards.add_destination(Destination(id="fd", name="PACS", url="https://pacs.example", next_at=uow.now, **at))
    uow.forwards.add_rule(Rule(id="fr", destination="fd", **at))


def removing_of(uow, city: City) -> None:
    """A proposal to remove a study, and a legal hold."""
    by = {"organisation": city.clinic, "reason": "x"}
    study = RemovalStudy(
        id="rs", removal="rm", organisation=city.clinic, study_uid="1.2.826.9", study_date="", modalities=("CT",),
        series=1, instances=1,
    )
    uow.removals.add(Removal(
        id="rm", proposed_by=city.technician.membership, proposed_at=uow.now, expires_at=uow.now + timedelta(days=1), **by
    ), [study])
    uow.removals.add_hold(Hold(id="rh", study_uid="1.2.826.9", set_by=city.technician.membership, set_at=uow.now, **by))


async def test_everything_that_has_no_object(open_browser, app, asker, city, scene, monkeypatch):
    wrong = []
    await app[keys.WORK].run(lambda uow: uow.devices.add(DeviceRow(
        id="ct", organisation=city.clinic, name="CT", called="HUIZHEN", calling="CT", address="10.0.0.1",
        created_at=uow.now,
    )))
    await app[keys.WORK].run(lambda uow: uow.tokens.add(ApiToken(
        id="pacs", organisation=city.clinic, name="PACS", digest="0" * 64, start="hz_abcde", rights=("search",),
        membership=city.clinic_admin.membership, created_at=uow.now, expires_at=uow.now + timedelta(days=1),
    )))
    await app[keys.WORK].run(forwarding_of, city.clinic)
    await app[keys.WORK].run(removing_of, city)
    about = {
        "destination": "fd", "rule": "fr", "job": "none", "clinic": city.clinic, "membership": city.colleague.membership, "staff": city.colleague.staff, "device": "ct",
        "token": "pacs", "removal": "rm", "hold": "rh",
    }
    for n, person in enumerate([*PEOPLE, ""]):
        ask = await asker(person) if person else Asker(await open_browser(), monkeypatch)
        for method, path, cells, body in lines_of("plain", 3):
            address = next((path.replace("{id}", about[x]) for start, x in ABOUT_ONESELF.items() if path.startswith(start)), path)
            address = re.sub(r"\{lang[^}]*\}", "en", re.sub(r"\{(study|code|path)[^}]*\}", "1.2.3", address))
            got, _ = await ask(method, address, body, {})
            if got != cells[n]:
                wrong.append(f"{method} {path} {person or 'nobody'}: {got}, not {cells[n]}")
    assert not wrong, "\n".join(wrong)


def test_every_route_stands_in_the_tables_once():
    listed = [(x[1], x[2]) for x in lines_of("objects", 4)] + [(x[0], x[1]) for x in lines_of("plain", 3)]
    assert sorted(listed) == sorted((x.method, x.path) for x in all_routes())
    assert {x[0] for x in lines_of("objects", 4)} == {right for right, _ in EXPECTED}
