"""The whole server: a registered device's images reach its organisation, its orders reach the device."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from pynetdicom import AE, evt
from pynetdicom.sop_class import StorageCommitmentPushModel

from consult.errors import Invalid, NotAllowed, NotFound
from consult.model import ExamOrder, OrderId
from consult.patient import Patient, PatientId, Sex
from consult.people import Actor
from dicom.network.ports import Call, StepChange
from dicom.network.terms import NetworkLimits
from server import keys
from server.dicomweb.ports import ARCHIVE
from server.dimse.registry import DeviceEntry, add_device, change_device, end_device, find_device, list_devices
from server.dimse.reporting import report_commitments
from server.dimse.running import DIMSE, HOUSE, tls_context
from server.dimse.scheduled import study_uid_of
from server.matching import match_studies
from server.settings import Dimse, SettingsError
from tests.archive.files import make
from tests.network.conftest import dcmtk

CT = "1.2.840.10008.5.1.4.1.1.2"
TITLES = ("HUIZHEN",)


def actor_of(person) -> Actor:
    return Actor(
        staff=person.staff, membership=person.membership, organisation=person.organisation, role=person.role,
        name=person.name,
    )


@pytest.fixture
async def server(app, city, client):
    """The running application (its web side is not used here) and its plain DICOM port."""
    await app[keys.ARCHIVE_STARTED].wait()
    return app, await app[DIMSE].listen("127.0.0.1", 0)


async def register(app, person, **values):
    entry = DeviceEntry(**{"name": "CT 1", "calling": "CT1", "address": "127.0.0.1", **values})
    return await app[keys.WORK].run(add_device, actor=actor_of(person), entry=entry, titles=TITLES)


async def test_only_the_registered_device_is_let_in_and_its_images_belong_to_its_organisation(server, city, tmp_path):
    app, port = server
    await register(app, city.clinic_admin)
    await register(app, city.hospital_admin, calling="MR1", name="MR 1")
    path = tmp_path / "a.dcm"
    path.write_bytes(make())
    stranger = await dcmtk("storescu", "-v", "-aet", "UNKNOWN", "-aec", "HUIZHEN", "127.0.0.1", port, path)
    assert "Calling AE Title Not Recognized" in stranger.text
    for title in ("CT1", "MR1"):
        said = await dcmtk("storescu", "-aet", title, "-aec", "HUIZHEN", "127.0.0.1", port, path)
        assert said.code == 0, said.text
    assert set(app[ARCHIVE].holders("1.2.3")) == {city.clinic, city.hospital}
    audit = await app[keys.WORK].read(lambda uow: uow.audit.rows(organisation=city.clinic))
    (stored,) = [row for row in audit if row.action == "study.store"]
    assert stored.staff is None
    assert set(stored.detail) == {"device"}


async def test_a_device_that_was_ended_is_a_stranger(server, city):
    app, port = server
    row = await register(app, city.clinic_admin)
    assert (await dcmtk("echoscu", "-aet", "CT1", "-aec", "HUIZHEN", "127.0.0.1", port)).code == 0
    await app[keys.WORK].run(end_device, actor=actor_of(city.clinic_admin), id=row.id)
    assert (await dcmtk("echoscu", "-aet", "CT1", "-aec", "HUIZHEN", "127.0.0.1", port)).code != 0
    assert await app[keys.WORK].read(list_devices, actor=actor_of(city.clinic_admin)) == []


async def test_an_administrator_keeps_the_own_devices_and_nobody_elses(app, city):
    work = app[keys.WORK]
    row = await register(app, city.clinic_admin)
    other = actor_of(city.hospital_admin)
    entry = DeviceEntry(name="x", calling="CT1", address="10.0.0.1")
    with pytest.raises(NotFound):
        await work.run(change_device, actor=other, id=row.id, version=row.version, entry=entry, titles=TITLES)
    with pytest.raises(NotFound):
        await work.run(end_device, actor=other, id=row.id)
    for person in (city.doctor, city.technician, city.platform_admin, city.auditor):
        with pytest.raises((NotFound, NotAllowed)):
            await work.read(list_devices, actor=actor_of(person))
    saved = await work.run(
        change_device, actor=actor_of(city.clinic_admin), id=row.id, version=row.version, entry=entry, titles=TITLES
    )
    assert (saved.address, saved.version) == ("10.0.0.1", row.version + 1)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("name", " "), ("calling", "A\\B"), ("calling", "X" * 17), ("called", "OTHER"), ("address", "10.0.0"),
        ("certificate", "abc"), ("host", "a b"), ("coding", "latin"), ("modalities", ("C T",)),
        ("conflict_status", 1), ("address", ""),
    ],
)
async def test_a_wrong_entry_names_its_field(app, city, field, value):
    with pytest.raises(Invalid) as caught:
        await register(app, city.clinic_admin, **{"port": 104, field: value})
    assert [wrong[0] for wrong in caught.value.fields] == [field]


async def test_two_devices_never_answer_to_one_caller(app, city):
    await register(app, city.clinic_admin, address="10.1.0.0/16")
    with pytest.raises(Invalid):
        await register(app, city.hospital_admin, address="10.1.2.3")
    await register(app, city.hospital_admin, address="10.2.0.0/16")
    read = app[keys.WORK].read

    async def who(address, fingerprint=""):
        row = await read(find_device, called="HUIZHEN", calling="CT1", address=address, fingerprint=fingerprint)
        return row and row.organisation

    assert await who("10.1.9.9") == city.clinic
    assert await who("10.2.9.9") == city.hospital
    assert await who("10.3.9.9") is None
    await register(app, city.hospital_admin, address="", certificate="ab" * 32)
    assert await who("10.3.9.9", "ab" * 32) == city.hospital
    assert await who("10.3.9.9", "cd" * 32) is None


def certificate(folder, name):
    """A self-signed certificate and its key, as PEM files; and its fingerprint."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder().subject_name(subject).issuer_name(subject).public_key(key.public_key())
        .serial_number(x509.random_serial_number()).not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True).sign(key, hashes.SHA256())
    )
    chain, secret = folder / f"{name}.crt", folder / f"{name}.key"
    chain.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    secret.write_bytes(key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ))
    return chain, secret, made.fingerprint(hashes.SHA256()).hex()


async def test_over_tls_the_certificate_says_whose_device_it_is(server, city, tmp_path):
    app, _ = server
    ours, theirs, others = (certificate(tmp_path, name) for name in ("server", "device", "other"))
    both = tmp_path / "clients.pem"
    both.write_bytes(theirs[0].read_bytes() + others[0].read_bytes())
    port = await app[DIMSE].listen(
        "127.0.0.1", 0, tls_context(Dimse(certificate=str(ours[0]), key=str(ours[1]), client_ca=str(both)))
    )
    await register(app, city.clinic_admin, address="", certificate=theirs[2])

    async def echo(device):
        return await dcmtk(
            "echoscu", "+tls", device[1], device[0], "+cf", ours[0], "-aet", "CT1", "-aec", "HUIZHEN",
            "127.0.0.1", port,
        )

    good, wrong = await echo(theirs), await echo(others)
    assert good.code == 0, good.text
    assert "Calling AE Title Not Recognized" in wrong.text
    anonymous = await dcmtk("echoscu", "+tla", "-ic", "-aet", "CT1", "-aec", "HUIZHEN", "127.0.0.1", port)
    assert anonymous.code != 0
    count = app[keys.METRICS].registry.get_sample_value
    assert count("huizhen_dimse_refused_total", {"reason": "unknown_calling"}) == 1
    assert count("huizhen_dimse_refused_total", {"reason": "handshake"}) == 1
    with pytest.raises(SettingsError):
        tls_context(Dimse(certificate=str(ours[0]), key=str(theirs[0]), client_ca=str(both)))


async def order(app, city, **values):
    """An exam order of the clinic for its own CT."""
    def write(uow):
        patient = Patient(
            id=PatientId(uow.new_id()), name="欧阳小明", sex=Sex.MALE, birth_date=date(1970, 1, 1),
            pinyin="ou yang xiao ming|oyxm", registered_by=city.clinic, created_at=uow.now,
        )
        uow.patients.add(patient)
        made = ExamOrder(**{
            "id": OrderId(uow.new_id()), "issuer": city.clinic, "accession": "JB26112201", "patient": patient.id,
            "ordering": city.clinic, "performing": city.clinic, "ordered_by": city.doctor.membership,
            "procedure": "胸部平扫", "modality": "CT", "at": uow.now, **values,
        })
        uow.studies.add_order(made)
        return made

    return await app[keys.WORK].run(write)


async def test_an_order_stands_in_the_worklist_of_the_performing_device_until_its_images_are_here(server, city, tmp_path):
    app, port = server
    for title, coding, person, kinds in (
        ("CT1", "utf-8", city.clinic_admin, ()), ("DX1", "utf-8", city.clinic_admin, ("DX",)),
        ("OLD", "pinyin", city.clinic_admin, ()), ("MR1", "utf-8", city.hospital_admin, ()),
    ):
        await register(app, person, calling=title, name=title, coding=coding, modalities=kinds)
    made = await order(app, city)

    async def listed(title):
        said = await dcmtk(
            "findscu", "-W", "-v", "-aet", title, "-aec", "HUIZHEN", "127.0.0.1", port, "-k", "AccessionNumber",
            "-k", "PatientName", "-k", "StudyInstanceUID", "-k", "ScheduledProcedureStepSequence[0].Modality",
        )
        return said.text.partition("Find Response:")[2]

    answer = await listed("CT1")
    assert "[JB26112201]" in answer
    assert "Ouyang^Xiaoming=欧阳^小明" in answer
    study = study_uid_of(made)
    assert study in answer
    plain = await listed("OLD")
    assert "Ouyang^Xiaoming" in plain
    assert "欧阳" not in plain
    assert await listed("DX1") == await listed("MR1") == ""
    path = tmp_path / "a.dcm"
    path.write_bytes(make("1.2.3.50", study=study, AccessionNumber="JB26112201"))
    said = await dcmtk("storescu", "-aet", "CT1", "-aec", "HUIZHEN", "127.0.0.1", port, path)
    assert said.code == 0
    # The study is asked for its patient a little after its last image; here at once.
    await match_studies(app[ARCHIVE], app[keys.WORK], city.clinic, [study])
    match = await app[keys.WORK].read(lambda uow: uow.studies.match(study, city.clinic))
    assert match.method == "accession"
    assert await listed("CT1") == ""


async def test_a_completed_step_leaves_the_worklist_and_a_stranger_cannot_change_it(app, city):
    await register(app, city.clinic_admin)
    await register(app, city.hospital_admin, calling="MR1", name="MR 1")
    made = await order(app, city)
    house = app[HOUSE]
    ours = await house.admit(Call(called="HUIZHEN", calling="CT1", address="127.0.0.1", fingerprint=""))
    theirs = await house.admit(Call(called="HUIZHEN", calling="MR1", address="127.0.0.1", fingerprint=""))
    begun = StepChange(uid="1.2.9", status="IN PROGRESS", accession=made.accession)
    assert await house.step_created(ours, begun)
    assert not await house.step_created(ours, begun)
    assert len(await house.worklist(ours)) == 1
    ended = StepChange(uid="1.2.9", status="COMPLETED", series=1, instances=3)
    assert await house.step_changed(theirs, ended) == "unknown"
    assert await house.step_changed(ours, ended) == "ok"
    assert await house.step_changed(ours, ended) == "final"
    assert await house.worklist(ours) == []


async def test_a_commitment_is_reported_once_the_device_is_there_again(server, city, clock):
    app, _ = server
    await app[ARCHIVE].ingest(make("1.2.3.1"), organisation=city.clinic, source="t")
    told = []

    def heard(event):
        told.append((event.request.EventTypeID, event.event_information))
        return 0, None

    def start(port):
        ae = AE("CT1")
        ae.add_supported_context(StorageCommitmentPushModel, scu_role=False, scp_role=True)
        return ae.start_server(("127.0.0.1", port), block=False, evt_handlers=[(evt.EVT_N_EVENT_REPORT, heard)])

    peer = start(0)
    number = peer.server_address[1]
    peer.shutdown()
    await register(app, city.clinic_admin, host="127.0.0.1", port=number)
    device = await app[HOUSE].admit(Call(called="HUIZHEN", calling="CT1", address="127.0.0.1", fingerprint=""))
    pairs = [(CT, "1.2.3.1"), (CT, "1.2.3.2")]
    assert await app[HOUSE].commit_requested(device, "1.2.3.4", pairs)

    async def run():
        return await report_commitments(app[keys.WORK], app[ARCHIVE], app[HOUSE], NetworkLimits())

    assert await run() == 1
    assert told == []
    assert await run() == 0
    clock.advance(minutes=1)
    peer = start(number)
    try:
        assert await run() == 1
    finally:
        peer.shutdown()
    ((kind, information),) = told
    assert kind == 2
    assert information.TransactionUID == "1.2.3.4"
    assert [one.ReferencedSOPInstanceUID for one in information.FailedSOPSequence] == ["1.2.3.2"]
    clock.advance(days=1)
    assert await run() == 0
