"""The whole server: a registered device's images reach its organisation, its orders reach the device."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from consult.errors import Conflict, Invalid, NotAllowed, NotFound
from consult.people import Actor
from server import keys
from server.dicomweb.ports import ARCHIVE
from server.dimse.registry import DeviceEntry, add_device, change_device, end_device, find_device, list_devices
from server.dimse.running import DIMSE, tls_context
from server.settings import Dimse, SettingsError
from tests.archive.files import make
from tests.network.conftest import dcmtk

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
    with pytest.raises(Conflict):
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
    with pytest.raises(SettingsError):
        tls_context(Dimse(certificate=str(ours[0]), key=str(theirs[0]), client_ca=str(both)))
