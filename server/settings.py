"""Every setting of one installation, with its limits. server/settings_reading.py reads them.

docs/settings.md and deploy/huizhen.toml describe each field; a test compares them with this class.
"""

from __future__ import annotations

from datetime import date, timedelta
from pathlib import Path
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from consult import rules
from consult.model import Service
from dicom.model import Limits


class SettingsError(Exception):
    """The settings cannot be used; the text names the setting and what is wrong with it."""


class Section(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One table of the TOML file."""


class Tls(Section, frozen=True, kw_only=True):
    mode: Annotated[
        Literal["off", "lan", "files"],
        Meta(description="off; lan: a local CA with an installable root; files: certificate and key below"),
    ] = "off"
    certificate: Annotated[str, Meta(description="PEM file with the certificate chain (mode files)")] = ""
    key: Annotated[str, Meta(description="PEM file with the private key (mode files)")] = ""


class Database(Section, frozen=True, kw_only=True):
    url: Annotated[str, Meta(description="SQLAlchemy URL; empty: SQLite in the data folder")] = ""


class Session(Section, frozen=True, kw_only=True):
    idle_minutes: Annotated[int, Meta(description="a login ends after this long without a request", ge=1)] = 60
    absolute_hours: Annotated[int, Meta(description="a login ends after this long in any case", ge=1)] = 12
    lockout_failures: Annotated[int, Meta(description="wrong passwords before a login waits", ge=1)] = 5
    lockout_seconds: Annotated[
        int, Meta(description="first waiting time; doubles with every further wrong password", ge=1)
    ] = 30
    lockout_max_seconds: Annotated[int, Meta(description="the longest waiting time", ge=1)] = 900
    sign_unlock_minutes: Annotated[
        int, Meta(description="after the password was given for signing, it is not asked again for this long", ge=1)
    ] = 15
    password_length: Annotated[int, Meta(description="shortest password accepted", ge=8)] = 10


class Access(Section, frozen=True, kw_only=True):
    expert_days_after_close: Annotated[
        int, Meta(description="an expert still sees a closed consultation for this many days", ge=0)
    ] = 45
    two_signatures: Annotated[
        tuple[Service, ...], Meta(description="services whose report a second reader signs too")
    ] = ()
    viewing_grant_minutes: Annotated[
        int, Meta(description="opening a study lets its images be fetched for this long", ge=1)
    ] = 15


class Deadlines(Section, frozen=True, kw_only=True):
    stat_accept_minutes: Annotated[int, Meta(description="STAT: accepted within", ge=1)] = 3
    stat_escalation_minutes: Annotated[
        tuple[int, int, int],
        Meta(description="STAT unanswered: ring everybody again; tell dispatcher and pager; telephone list, next pool"),
    ] = (1, 3, 5)
    stat_done_minutes: Annotated[int, Meta(description="STAT: opinion within", ge=1)] = 10
    urgent_accept_minutes: Annotated[int, Meta(description="urgent: accepted within", ge=1)] = 30
    urgent_done_minutes: Annotated[int, Meta(description="urgent: opinion within", ge=1)] = 120
    routine_accept_days: Annotated[int, Meta(description="routine: accepted within, working days", ge=1)] = 1
    routine_done_hours: Annotated[int, Meta(description="routine: opinion within", ge=1)] = 48
    read_accept_minutes: Annotated[int, Meta(description="urgent imaging and ECG reads: accepted within", ge=1)] = 3
    read_done_minutes: Annotated[int, Meta(description="urgent imaging and ECG reads: opinion within", ge=1)] = 10
    report_hours: Annotated[int, Meta(description="report after the session within", ge=1)] = 24
    returned_hours: Annotated[int, Meta(description="returned for completion: answered within", ge=1)] = 24
    acknowledge_hours: Annotated[int, Meta(description="clinic acknowledges the report within", ge=1)] = 24
    acknowledge_critical_minutes: Annotated[
        int, Meta(description="clinic acknowledges a critical report within", ge=1)
    ] = 10
    named_offer_days: Annotated[
        int, Meta(description="a routine request to a named expert waits for them, working days", ge=1)
    ] = 1
    feedback_days: Annotated[
        int, Meta(description="the clinic is asked for feedback this many days after it acknowledged the report", ge=0)
    ] = 7
    feedback_within_days: Annotated[
        int, Meta(description="the outcome at 7 and at 30 days is told within this many days", ge=1)
    ] = 7
    archive_days: Annotated[
        int, Meta(description="feedback that stays out is waited for this many days, then archived", ge=31)
    ] = 45
    holidays: Annotated[tuple[date, ...], Meta(description="days off besides weekends (ISO dates)")] = ()
    working_weekends: Annotated[tuple[date, ...], Meta(description="weekend days that are worked (ISO dates)")] = ()


class IceServer(Section, frozen=True, kw_only=True):
    urls: Annotated[tuple[str, ...], Meta(description="stun: or turn: addresses")]
    username: Annotated[str, Meta(description="fixed user, when the server has no shared secret")] = ""
    credential: Annotated[str, Meta(description="fixed password")] = ""


class Ice(Section, frozen=True, kw_only=True):
    servers: Annotated[tuple[IceServer, ...], Meta(description="STUN and TURN servers with fixed credentials")] = ()
    turn_urls: Annotated[tuple[str, ...], Meta(description="TURN addresses that share turn_secret (coturn)")] = ()
    turn_secret: Annotated[str, Meta(description="coturn's static-auth-secret; credentials are made from it")] = ""
    turn_ttl_seconds: Annotated[int, Meta(description="a TURN credential lives this long", ge=60)] = 3600
    relay_only: Annotated[
        bool, Meta(description="media takes the relay only: what a strict firewall wants, and no address is shown")
    ] = False


class Room(Section, frozen=True, kw_only=True):
    lost_minutes: Annotated[
        int, Meta(description="a guest whose line is lost still sees request and images for this long", ge=1)
    ] = 30
    invitation_minutes: Annotated[
        int, Meta(description="an invitation into the room that nobody uses ends after so long", ge=1)
    ] = 60
    private_candidates: Annotated[
        Literal["own_subnet", "all", "none"],
        Meta(description="which private network addresses may pass between browsers"),
    ] = "own_subnet"
    kbps: Annotated[
        int,
        Meta(description="a seat sends so many kbit/s at most, wherever it is; 0: no limit (a place has its own on the "
             "page of organisations)", ge=0),
    ] = 0


class Media(Section, frozen=True, kw_only=True):
    relay: Annotated[bool, Meta(description="three and more seats see each other through a relay")] = True
    backend: Annotated[
        Literal["relay", "janus"], Meta(description="relay: our own packet relay; janus: a Janus on this machine")
    ] = "relay"
    janus_url: Annotated[str, Meta(description="WebSocket address of Janus; loopback or a private link only")] = (
        "ws://127.0.0.1:8188"
    )
    janus_secret_file: Annotated[str, Meta(description="file that holds Janus' api_secret (backend janus)")] = ""
    port: Annotated[
        int, Meta(description="UDP port of the relay, open to the browsers; 0: any free one", ge=0, le=65535)
    ] = 40404
    addresses: Annotated[
        tuple[str, ...], Meta(description="addresses of this machine that the relay uses; empty: all")
    ] = ()
    public_addresses: Annotated[
        tuple[str, ...], Meta(description="told to the browsers instead, where a router stands before this machine")
    ] = ()
    most_cpu: Annotated[
        int, Meta(description="percent of a core used by the relay from which newcomers begin with sound alone", ge=1)
    ] = 80


class Recorder(Section, frozen=True, kw_only=True):
    enabled: Annotated[bool, Meta(description="meetings may be recorded, when everybody present consents")] = False
    folder: Annotated[str, Meta(description="where recordings lie, encrypted; empty: in the data folder")] = ""
    retention_days: Annotated[int, Meta(description="a recording is removed this long after its end", ge=1)] = 90


class Uploads(Section, frozen=True, kw_only=True):
    instance_mb: Annotated[int, Meta(description="largest single DICOM object", ge=1)] = 8192
    document_mb: Annotated[int, Meta(description="largest document or photograph", ge=1)] = 25
    json_kb: Annotated[int, Meta(description="largest form or JSON body", ge=16)] = 1024
    memory_mb: Annotated[int, Meta(description="all bodies waiting in memory together", ge=16)] = 64
    disk_reserve_mb: Annotated[int, Meta(description="uploads stop when less than this is free", ge=0)] = 512


class Share(Section, frozen=True, kw_only=True):
    organisation: Annotated[str, Meta(description="id of the organisation")]
    gb: Annotated[int, Meta(description="it may hold so much; 0: no limit", ge=0)]


class Keeping(Section, frozen=True, kw_only=True):
    scrub_mb_per_second: Annotated[
        int, Meta(description="stored images are read again and compared at this rate; 0: never by itself", ge=0)
    ] = 8
    scrub_days: Annotated[int, Meta(description="a new round begins so many days after the last one", ge=0)] = 30
    retired_days: Annotated[
        int, Meta(description="a compacted pack stays so long; longer than the oldest kept copy of the index", ge=1)
    ] = 30
    retention_years: Annotated[
        int, Meta(description="images may be removed, by two people, when exam and last arrival are older", ge=1)
    ] = 30
    removal_days: Annotated[
        int, Meta(description="a proposal to remove images that nobody decides ends after this", ge=1)
    ] = 30
    quota_gb: Annotated[
        int, Meta(description="an organisation may hold so many gigabytes of images; 0: no limit", ge=0)
    ] = 0
    quotas: Annotated[tuple[Share, ...], Meta(description="organisations with another share")] = ()


class WatchedFolder(Section, frozen=True, kw_only=True):
    folder: Annotated[Path, Meta(description="files put here are taken in, then moved to done/ or refused/ in it")]
    organisation: Annotated[str, Meta(description="who holds the images: id, name or short name")]


class Watch(Section, frozen=True, kw_only=True):
    folders: Annotated[
        tuple[WatchedFolder, ...], Meta(description="folders whose DICOM files are taken in by themselves")
    ] = ()
    settle_seconds: Annotated[int, Meta(description="a file that has not changed for so long is complete", ge=1)] = 10


class Dimse(Section, frozen=True, kw_only=True):
    port: Annotated[
        int, Meta(description="plain port of the DICOM network; 0: none (the demo city opens 11112)", ge=0, le=65535)
    ] = 0
    tls_port: Annotated[int, Meta(description="encrypted port of the DICOM network; 0: none", ge=0, le=65535)] = 0
    host: Annotated[str, Meta(description="address both ports listen on")] = "127.0.0.1"
    titles: Annotated[tuple[str, ...], Meta(description="AE titles this server answers to; the first is its own")] = (
        "HUIZHEN",
    )
    certificate: Annotated[str, Meta(description="PEM file with the certificate chain of tls_port")] = ""
    key: Annotated[str, Meta(description="PEM file with its private key")] = ""
    client_ca: Annotated[
        str, Meta(description="PEM file with the authorities, or the certificates, of devices on tls_port")
    ] = ""
    max_associations: Annotated[int, Meta(description="associations at the same time", ge=1)] = 64
    max_per_address: Annotated[int, Meta(description="of these from one address", ge=1)] = 16
    max_pdu_kb: Annotated[int, Meta(description="longest protocol data unit taken", ge=16, le=1024)] = 256
    artim_seconds: Annotated[
        int, Meta(description="a connection that asks for no association ends after this", ge=1)
    ] = 10
    idle_seconds: Annotated[int, Meta(description="a silent association ends after this", ge=5)] = 60


class GatewayDevice(Section, frozen=True, kw_only=True):
    title: Annotated[str, Meta(description="the AE title the device calls itself")]
    address: Annotated[str, Meta(description="its address or network")] = ""
    certificate: Annotated[str, Meta(description="SHA-256 of its certificate, for the encrypted port")] = ""
    host: Annotated[str, Meta(description="where it listens, for storage commitment; empty: it does not")] = ""
    port: Annotated[int, Meta(description="the port it listens on", ge=0, le=65535)] = 0
    tls: Annotated[bool, Meta(description="it listens encrypted")] = False
    coding: Annotated[str, Meta(description="character set of answers: utf-8, gb18030, gbk, iso58, pinyin")] = "utf-8"
    conflict_status: Annotated[int, Meta(description="C-STORE status when other bytes are held already")] = 0xB000


class Gateway(Section, frozen=True, kw_only=True):
    url: Annotated[str, Meta(description="the city's DICOMweb, https://…/dicom-web")] = ""
    token: Annotated[str, Meta(description="the city's access token with the right to store")] = ""
    ca: Annotated[str, Meta(description="PEM file with the city's authority; empty: those the system trusts")] = ""
    compression: Annotated[str, Meta(description="lossless, for uncompressed images: jpeg-ls, htj2k; empty: none")] = ""
    keep_days: Annotated[
        int, Meta(description="days that a study stays after the city has acknowledged all of it; 0: for ever", ge=0)
    ] = 0
    devices: Annotated[tuple[GatewayDevice, ...], Meta(description="devices that may store here")] = ()


class Webhook(Section, frozen=True, kw_only=True):
    url: Annotated[str, Meta(description="called for urgent offers, without patient data (pager of the hospital)")] = ""
    secret: Annotated[str, Meta(description="signs the call: header X-Huizhen-Signature, HMAC-SHA256")] = ""
    timeout_seconds: Annotated[int, Meta(description="give up a call after", ge=1)] = 5


class Logs(Section, frozen=True, kw_only=True):
    level: Annotated[Literal["debug", "info", "warning", "error"], Meta(description="least severity written")] = "info"
    format: Annotated[Literal["json", "text"], Meta(description="one JSON object a line, or text for people")] = "json"


class Settings(Section, frozen=True, kw_only=True):
    data: Annotated[Path, Meta(description="data folder: database, packs, keys")] = Path("data")
    host: Annotated[str, Meta(description="address to listen on; 127.0.0.1 is this machine alone")] = "127.0.0.1"
    port: Annotated[int, Meta(description="port to listen on; 0: any free one", ge=0, le=65535)] = 8080
    public_urls: Annotated[
        tuple[str, ...],
        Meta(description="addresses people use (scheme://host[:port]); empty: whatever host the browser names"),
    ] = ()
    trusted_proxies: Annotated[
        tuple[str, ...],
        Meta(description="addresses or networks whose X-Forwarded-* and Forwarded headers are believed"),
    ] = ()
    demo: Annotated[bool, Meta(description="demo city; every page is marked so")] = False
    language: Annotated[Literal["zh", "en"], Meta(description="language when the browser says nothing")] = "zh"
    timezone: Annotated[str, Meta(description="time zone of dates on pages and paper")] = "Asia/Shanghai"
    metrics_token: Annotated[
        str, Meta(description="bearer token for /metrics from other machines; empty: this machine alone")
    ] = ""
    tls: Annotated[Tls, Meta(description="encryption")] = Tls()
    database: Annotated[Database, Meta(description="clinical database")] = Database()
    session: Annotated[Session, Meta(description="logins")] = Session()
    access: Annotated[Access, Meta(description="how long access lasts")] = Access()
    deadlines: Annotated[Deadlines, Meta(description="deadlines of a consultation")] = Deadlines()
    ice: Annotated[Ice, Meta(description="paths for sound and picture")] = Ice()
    room: Annotated[Room, Meta(description="the live room")] = Room()
    media: Annotated[Media, Meta(description="sound and picture between three and more seats")] = Media()
    recording: Annotated[Recorder, Meta(description="recording of meetings")] = Recorder()
    uploads: Annotated[Uploads, Meta(description="limits of what may be sent")] = Uploads()
    archive: Annotated[Keeping, Meta(description="the stored images")] = Keeping()
    watch: Annotated[Watch, Meta(description="watched folders")] = Watch()
    dimse: Annotated[Dimse, Meta(description="the DICOM network")] = Dimse()
    gateway: Annotated[Gateway, Meta(description="the box of a clinic with a thin link")] = Gateway()
    webhook: Annotated[Webhook, Meta(description="the hospital's own pager")] = Webhook()
    logs: Annotated[Logs, Meta(description="logs, on standard error")] = Logs()

    @property
    def database_url(self) -> str:
        """The SQLAlchemy URL in force."""
        return self.database.url or f"sqlite:///{(self.data / 'huizhen.sqlite3').resolve()}"

    @property
    def control_socket(self) -> Path:
        """The local socket through which commands reach the running server."""
        return self.data / "control.sock"

    @property
    def key_folder(self) -> Path:
        """The authority whose certificates sign reports, the signers' sealed keys, and the root to verify with."""
        return self.data / "keys"

    @property
    def recording_folder(self) -> Path:
        """One folder per recording lies in it."""
        return Path(self.recording.folder) if self.recording.folder else self.data / "recordings"

    @property
    def lock_file(self) -> Path:
        """Held by the one process that may change the data folder."""
        return self.data / "huizhen.lock"


def archive_limits(settings: Settings) -> Limits:
    """The settings the archive is opened with."""
    return Limits(
        instance_bytes=settings.uploads.instance_mb << 20,
        memory_bytes=settings.uploads.memory_mb << 20,
        reserve_bytes=settings.uploads.disk_reserve_mb << 20,
        quota_bytes=settings.archive.quota_gb << 30,
        quotas={share.organisation: share.gb << 30 for share in settings.archive.quotas},
    )


def clinical_rules(settings: Settings) -> rules.Rules:
    """The settings the clinical heart works by (consult/rules.py)."""
    given = settings.deadlines
    ring, tell, phones = given.stat_escalation_minutes
    return rules.Rules(
        deadlines=rules.Deadlines(
            stat_accept=timedelta(minutes=given.stat_accept_minutes),
            stat_steps=(timedelta(minutes=ring), timedelta(minutes=tell), timedelta(minutes=phones)),
            stat_done=timedelta(minutes=given.stat_done_minutes),
            urgent_accept=timedelta(minutes=given.urgent_accept_minutes),
            urgent_done=timedelta(minutes=given.urgent_done_minutes),
            routine_accept_days=given.routine_accept_days,
            routine_done=timedelta(hours=given.routine_done_hours),
            read_accept=timedelta(minutes=given.read_accept_minutes),
            read_done=timedelta(minutes=given.read_done_minutes),
            report_after_session=timedelta(hours=given.report_hours),
            returned=timedelta(hours=given.returned_hours),
            acknowledge=timedelta(hours=given.acknowledge_hours),
            acknowledge_critical=timedelta(minutes=given.acknowledge_critical_minutes),
        ),
        calendar=rules.WorkingCalendar(
            holidays=frozenset(given.holidays), extra_days=frozenset(given.working_weekends)
        ),
        lost_seat=timedelta(minutes=settings.room.lost_minutes),
        invitation=timedelta(minutes=settings.room.invitation_minutes),
        expert_access_days=settings.access.expert_days_after_close,
        two_signatures=frozenset(settings.access.two_signatures),
        named_offer_days=given.named_offer_days,
        feedback_days=given.feedback_days,
        feedback_within_days=given.feedback_within_days,
        archive_days=given.archive_days,
        recording_days=settings.recording.retention_days,
        # The pager hears of offers (server/filing/webhook.py); reports go to the inbox and into the archive.
        report_channels=("inbox", "archive"),
    )
