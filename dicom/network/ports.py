"""What the network asks of the house around it, and the values that pass between them."""

from __future__ import annotations

import ssl
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from dicom.archive import Archive
from dicom.model import IngestResult, Scope
from dicom.network.association import Association
from dicom.network.records import Record, TextCoding

Use = Literal["store", "find", "retrieve", "worklist"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Device:
    """A registered peer. What it may see and where its images belong follow from `organisation` alone."""

    id: str
    organisation: str
    called: str
    calling: str
    coding: TextCoding = "utf-8"
    conflict_status: int = 0xB000  # answered for other bytes under a held UID
    modalities: frozenset[str] = frozenset()  # of its worklist; empty: all
    worklist_days: int = 14


@dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    """Where a device listens."""

    title: str
    host: str
    port: int
    tls: ssl.SSLContext | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """Who is calling."""

    called: str
    calling: str
    address: str
    fingerprint: str


@dataclass(frozen=True, slots=True, kw_only=True)
class StepChange:
    """What a modality tells of a performed procedure step (PS3.4 §F.7). '' and 0: not told."""

    uid: str
    status: str
    accession: str = ""
    study_uid: str = ""
    series: int = 0
    instances: int = 0


class NoSuchTitleError(Exception):
    """The called AE title is none of ours."""


class Backend(Protocol):
    """The server's side."""

    async def admit(self, call: Call) -> Device | None:
        """The device that calls; None for an unknown one. Raises NoSuchTitleError."""

    async def allow(self, device: Device, use: Use, studies: Sequence[str] = ()) -> Scope:
        """The device's scope, after the audit row of this use is committed."""

    async def stored(self, device: Device, result: IngestResult) -> None:
        """An instance is durable; whose study is it?"""

    async def destination(self, device: Device, title: str) -> Address | None:
        """Where to send for `device` when it names `title`; None where it may not, or nothing is registered."""

    def romanise(self, text: str) -> str:
        """Plain letters for Chinese ones."""

    async def worklist(self, device: Device) -> Sequence[Record]:
        """What is scheduled for this device."""

    async def commit_requested(self, device: Device, transaction: str, pairs: Sequence[tuple[str, str]]) -> bool:
        """Keep a storage commitment request (SOP class, instance) for a later report; False: it has no address."""

    async def step_created(self, device: Device, change: StepChange) -> bool:
        """A performed procedure step begins; False if its UID is taken."""

    async def step_changed(self, device: Device, change: StepChange) -> Literal["ok", "unknown", "final"]:
        """A performed procedure step goes on or ends."""


@dataclass(slots=True)
class Session:
    """One established association and what its services need."""

    association: Association
    device: Device
    backend: Backend
    archive: Archive
    audited: set[str]
