"""Storage commitment reports on associations of our own: kept until the device has taken them (PS3.4 §J.3.3)."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from datetime import datetime, timedelta

from consult.errors import NotFound
from dicom.archive import Archive
from dicom.errors import DicomError
from dicom.model import Scope
from dicom.network.commitment import report, verify
from dicom.network.negotiation import STORAGE_COMMITMENT_INSTANCE
from dicom.network.scu import report_commitment
from dicom.network.terms import NetworkLimits
from server.dimse.backend import COMMITMENT, House
from server.settings import SettingsError
from server.storage.devices import DeviceRow
from server.storage.outbox import Delivery
from server.storage.unit import SqlUnitOfWork
from server.work import Work

LOG = logging.getLogger("huizhen.dimse")
FIRST_WAIT, LONGEST_WAIT = timedelta(seconds=30), timedelta(hours=1)
GIVE_UP = timedelta(days=3)
EVERY_SECONDS = 30.0


async def report_commitments(work: Work, archive: Archive, house: House, limits: NetworkLimits) -> int:
    """Deliver what is due; how many were looked at. One device that is away does not hold up the others."""
    due = await work.read(_due)
    devices: dict[str, list[tuple[Delivery, DeviceRow | None]]] = {}
    for delivery, row in due:
        devices.setdefault(delivery.target, []).append((delivery, row))
    await asyncio.gather(*(_to_device(work, archive, house, limits, one) for one in devices.values()))
    return len(due)


def _due(uow: SqlUnitOfWork) -> list[tuple[Delivery, DeviceRow | None]]:
    found = []
    for delivery in uow.outbox.due(uow.now, kind=COMMITMENT):
        try:
            row: DeviceRow | None = uow.devices.get(delivery.target)
        except NotFound:
            row = None
        found.append((delivery, row))
    return found


async def _to_device(
    work: Work, archive: Archive, house: House, limits: NetworkLimits,
    deliveries: Sequence[tuple[Delivery, DeviceRow | None]],
) -> None:
    for delivery, row in deliveries:
        if row is None or not row.host or row.ended_at is not None:
            await work.run(_given_up, delivery.id, "no_address")
            continue
        error = await _send(archive, house, limits, delivery, row)
        if error:
            LOG.info("storage commitment not reported", extra={"device": row.id, "error": error})
            await work.run(_again, delivery, error)
        else:
            await work.run(_sent, delivery.id)


async def _send(archive: Archive, house: House, limits: NetworkLimits, delivery: Delivery, row: DeviceRow) -> str:
    """'' or the code of what went wrong."""
    pairs = [(str(a), str(b)) for a, b in delivery.payload["instances"]]
    # Verified now and not when it was asked: what is said is true of the disk at this moment.
    outcome = await verify(archive, Scope(organisations=frozenset({row.organisation})), pairs)
    event, information = report(str(delivery.payload["transaction"]), pairs, outcome)
    try:
        status = await report_commitment(
            house.address_of(row), row.called, limits, event=event, information=information,
            instance=STORAGE_COMMITMENT_INSTANCE,
        )  # fmt: skip
    except DicomError as error:
        return error.reason
    except (OSError, TimeoutError, SettingsError) as error:
        return type(error).__name__
    return "" if status == 0 else f"status_{status:04x}"


def _sent(uow: SqlUnitOfWork, id: str) -> None:
    uow.outbox.sent(id)


def _given_up(uow: SqlUnitOfWork, id: str, error: str) -> None:
    uow.outbox.again(id, at=None, error=error)


def _again(uow: SqlUnitOfWork, delivery: Delivery, error: str) -> None:
    uow.outbox.again(delivery.id, at=next_try(delivery, uow.now), error=error)


def next_try(delivery: Delivery, now: datetime) -> datetime | None:
    """Half a minute, then twice as long each time up to an hour; None after three days."""
    if now - delivery.created_at >= GIVE_UP:
        return None
    wait: timedelta = min(LONGEST_WAIT, FIRST_WAIT * 2 ** min(delivery.attempts, 10))
    return now + wait
