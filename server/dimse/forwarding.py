"""Forwarding: what a rule wants goes into the queue, the queue goes to its destinations, again until it is taken.

The archive numbers what it commits; each rule keeps how far it has looked, moved in the commit that fills the queue.
So nothing is missed whatever dies when, and what is sent twice is a duplicate at the receiver.
"""

from __future__ import annotations

import asyncio
import logging
import re
import secrets
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import partial
from pathlib import Path

from consult.errors import NotFound
from consult.model import AuditRow
from dicom.archive import Archive
from dicom.errors import DicomError, NotFoundError
from dicom.model import Arrival, InstanceRow
from dicom.network.association import Association
from dicom.network.scu import (
    context_for,
    converted_file,
    open_association,
    packs,
    proposals_for,
    send_instance,
    stored_file,
)
from dicom.network.terms import AssociationEndedError, Context, NetworkLimits, RejectedError
from dicom.syntaxes import HTJ2K, JPEG_LS
from server.dimse.backend import House
from server.forward_stow import Outcome, Part, send_stow
from server.sealing import SealError, unseal
from server.settings import SettingsError
from server.storage.devices import DeviceRow
from server.storage.forwards import Destination, Item, Rule
from server.storage.unit import SqlUnitOfWork
from server.work import Work

LOG = logging.getLogger("huizhen.forward")
CODINGS: Mapping[str, str] = {"": "", "jpeg-ls": JPEG_LS, "htj2k": HTJ2K[0]}
FIRST_PAUSE, LONGEST_PAUSE = timedelta(seconds=5), timedelta(hours=1)
REFUSED_PAUSE = timedelta(days=1)       # the longest for one instance that is not taken: it may never be
KEEP_ENDED = timedelta(days=30)
EVERY_SECONDS = 5.0
PAGE = 500
LOT, LOT_BYTES = 50, 32 << 20
Jitter = Callable[[float, float], float]
_JITTER = secrets.SystemRandom().uniform


def wants(rule: Rule, device: str | None, arrival: Arrival) -> bool:
    """Whether the rule, whose destination is `device`, takes the instance. Nothing goes back where it came from."""
    if arrival.organisation != rule.organisation or (device and arrival.source == f"dimse:{device}"):
        return False
    if not rule.earlier and arrival.at < rule.created_at:
        return False
    if rule.modalities and arrival.modality not in rule.modalities:
        return False
    if rule.source and arrival.source != rule.source and not arrival.source.startswith(f"{rule.source}:"):
        return False
    return not rule.description or _matches(rule.description, arrival.description)


def _matches(pattern: str, text: str) -> bool:
    """`*` and `?` as in queries; letters of either case. The whole text, or a part of it where no `*` stands."""
    wanted = pattern.casefold() if set(pattern) & set("*?") else f"*{pattern.casefold()}*"
    wild = re.escape(wanted).replace(r"\*", ".*").replace(r"\?", ".")
    return re.fullmatch(wild, text.casefold(), re.DOTALL) is not None


def pause(failures: int, jitter: Jitter, most: timedelta = LONGEST_PAUSE) -> timedelta:
    """Five seconds, twice as long each time up to `most`, and shorter by up to a half: queues must not march."""
    longest: timedelta = min(most, FIRST_PAUSE * 2 ** min(failures, 16))
    return longest * jitter(0.5, 1.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Way:
    """A destination as it is now."""

    destination: Destination
    device: DeviceRow | None


class Forwarder:
    """Fills the queue and empties it: one task per destination, so that a thin link holds up nobody else."""

    def __init__(
        self, work: Work, archive: Archive, house: House, limits: NetworkLimits, *, keys: Path,
        jitter: Jitter = _JITTER, figure: Callable[[float], None] = lambda _: None,
    ) -> None:
        self._work, self._archive, self._house, self._limits, self._keys = work, archive, house, limits, keys
        self._jitter = jitter
        self._figure = figure  # told how many wait
        self._wake = asyncio.Event()
        self._sending: dict[str, asyncio.Task[None]] = {}
        self._noted: set[tuple[str, str]] = set()
        self._rules = True  # until the first look says otherwise

    def told(self) -> None:
        """An instance was stored."""
        if self._rules:
            self._wake.set()

    def look(self) -> None:
        """Rules, destinations or the queue were changed by a person."""
        self._wake.set()

    async def run(self) -> None:
        """For ever: when something came, and every few seconds."""
        try:
            while True:
                self._wake.clear()
                await self.step()
                try:
                    await asyncio.wait_for(self._wake.wait(), EVERY_SECONDS)
                except TimeoutError:
                    continue
        finally:
            await self.close()

    async def step(self) -> None:
        """Fill the queue, and start sending wherever something is due."""
        await self.enqueue()
        self._figure(await self._work.read(lambda uow: uow.forwards.waiting()))
        for way in await self._work.read(_due):
            name = way.destination.id
            if name not in self._sending:
                task = asyncio.get_running_loop().create_task(self._empty(way))
                self._sending[name] = task
                task.add_done_callback(partial(self._ended, name))

    def _ended(self, name: str, _task: asyncio.Task[None]) -> None:
        self._sending.pop(name, None)

    async def settled(self) -> None:
        """Until nothing is being sent."""
        while self._sending:
            await asyncio.gather(*self._sending.values())

    async def close(self) -> None:
        """Stop sending; what was not acknowledged is sent again another time."""
        for task in (tasks := list(self._sending.values())):
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    # -- into the queue

    async def enqueue(self) -> int:
        """Everything stored since each rule last looked; how many came new into the queue."""
        rules = await self._work.read(lambda uow: uow.forwards.rules())
        self._rules = bool(rules)
        return sum([await self._look(rule) for rule in rules])

    async def _look(self, rule: Rule) -> int:
        new, mark = 0, (rule.mark, rule.mark_name)
        while True:
            after, found = await asyncio.to_thread(self._archive.arrivals, mark, PAGE)
            if after == mark:
                return new
            added = await self._work.run(_enqueue, rule.id, mark, after, found)
            if added is None:
                return new
            new, mark = new + added, after

    # -- out of it

    async def _empty(self, way: _Way) -> None:
        destination = way.destination
        try:
            while True:
                items = await self._work.read(_lot, destination.id)
                if not items:
                    self._noted = {key for key in self._noted if key[0] != destination.id}
                    return
                outcome = await self._send(way, items)
                await self._work.run(_settle, destination, items, outcome, self._jitter)
                if outcome.error:
                    LOG.info("not forwarded", extra={"destination": destination.id, "error": outcome.error})
                    return
        except asyncio.CancelledError:
            raise
        except Exception:
            LOG.exception("forwarding failed", extra={"destination": destination.id})
            await self._work.run(_settle, destination, (), Outcome(error="failed"), self._jitter)

    async def _send(self, way: _Way, items: Sequence[Item]) -> Outcome:
        destination = way.destination
        study = items[0].study_uid
        rows, gone = await asyncio.to_thread(self._rows, destination, items)
        if not rows:
            return Outcome(refused=gone)
        if (destination.id, study) not in self._noted:
            # Written down before the first byte leaves the house.
            await self._work.run(_note, destination, study, len(rows))
            self._noted.add((destination.id, study))
        if way.device is not None:
            outcome = await self._to_device(way.device, rows, CODINGS[destination.compression])
        else:
            outcome = await self._to_service(destination, rows)
        return replace(outcome, refused=gone | dict(outcome.refused))

    def _rows(self, destination: Destination, items: Sequence[Item]) -> tuple[list[InstanceRow], dict[str, str]]:
        """What is held of the lot, up to a bound of bytes; and what is held no longer. Blocks."""
        rows: list[InstanceRow] = []
        gone: dict[str, str] = {}
        size = 0
        for item in items:
            try:
                # By its own UID: a correction may show it under another study than when it was queued.
                row = self._archive.settling.find(destination.organisation, item.sop_uid)
            except NotFoundError:
                gone[item.sop_uid] = "not_held"
                continue
            size += row.place.length
            if rows and size > LOT_BYTES:
                break
            rows.append(row)
        return rows, gone

    async def _to_service(self, destination: Destination, rows: Sequence[InstanceRow]) -> Outcome:
        try:
            token = await asyncio.to_thread(unseal, self._keys, destination.token, owner=destination.id)
        except (SealError, OSError):
            return Outcome(error="bad_token")
        coding = CODINGS[destination.compression]
        parts = [self._part(row, coding) for row in rows]
        return await send_stow(destination.url, token, destination.ca, parts)

    def _part(self, row: InstanceRow, coding: str) -> Part:
        if not packs(row, coding):
            return Part(sop_uid=row.sop_uid, open=partial(self._as_stored, row))
        return Part(sop_uid=row.sop_uid, open=lambda: converted_file(self._archive, row, coding))

    async def _as_stored(self, row: InstanceRow) -> AsyncIterator[bytes]:
        return await stored_file(self._archive, row)

    async def _to_device(self, device: DeviceRow, rows: Sequence[InstanceRow], coding: str) -> Outcome:
        sent: list[str] = []
        refused: dict[str, str] = {}
        error = ""
        for proposals, part in proposals_for(rows, coding):
            association = None
            try:
                association = await open_association(
                    self._house.address_of(device), device.called, proposals, self._limits
                )
                contexts = list(association.contexts.values())
                for row in part:
                    code = await self._store(association, contexts, row, coding)
                    if code:
                        refused[row.sop_uid] = code
                    else:
                        sent.append(row.sop_uid)
                await association.release()
            except RejectedError as rejection:
                error = f"rejected_{rejection.rejection.source}_{rejection.rejection.reason}"
            except DicomError as failure:
                error = failure.reason
            except (TimeoutError, OSError, SettingsError) as failure:
                error = "tls" if isinstance(failure, SettingsError) else "unreachable"
            finally:
                if association is not None:
                    association.drop()
            if error:
                break
        return Outcome(sent=tuple(sent), refused=refused, error=error)

    async def _store(
        self, association: Association, contexts: Sequence[Context], row: InstanceRow, coding: str
    ) -> str:
        """'' when it was taken, else the code. Raises AssociationEndedError."""
        failed = ""
        for wanted in dict.fromkeys((coding, "")):  # what cannot be packed after all goes as it is
            context = context_for(contexts, row, wanted)
            if context is None:
                return "context_refused"
            try:
                status = await send_instance(association, self._archive, row, context, {})
            except AssociationEndedError:
                raise
            except DicomError as error:
                failed = error.reason
                continue
            return "" if status == 0 or status & 0xF000 == 0xB000 else f"status_{status:04x}"
        return failed


def _due(uow: SqlUnitOfWork) -> list[_Way]:
    """Destinations whose turn has come."""
    found = []
    for destination in uow.forwards.destinations():
        if destination.next_at > uow.now or not uow.forwards.due(destination.id, uow.now, limit=1):
            continue
        device = None
        if destination.device is not None:
            try:
                device = uow.devices.get(destination.device)
            except NotFound:
                continue
            if device.ended_at is not None or not device.host:
                continue
        found.append(_Way(destination=destination, device=device))
    return found


def _lot(uow: SqlUnitOfWork, destination: str) -> Sequence[Item]:
    row = uow.forwards.destination(destination)
    return () if row.ended_at is not None else uow.forwards.due(destination, uow.now, limit=LOT)


def _enqueue(
    uow: SqlUnitOfWork, id: str, mark: tuple[int, str], after: tuple[int, str], found: Sequence[Arrival]
) -> int | None:
    """How many came new into the queue; None where the rule has ended or another task looked meanwhile."""
    rule = uow.forwards.rule(id)
    if rule.ended_at is not None or (rule.mark, rule.mark_name) != mark:
        return None
    destination = uow.forwards.destination(rule.destination)
    number, new = uow.forwards.last_number(destination.id), 0
    for arrival in found:
        if wants(rule, destination.device, arrival):
            number += 1
            item = Item(
                id=uow.new_id(), destination=destination.id, n=number, study_uid=arrival.study_uid,
                sop_uid=arrival.sop_uid, digest=arrival.digest, created_at=uow.now, next_at=uow.now,
            )  # fmt: skip
            # What was stored after its acknowledgement had left the archive in between: the device sent it again.
            new += uow.forwards.add_item(item) or uow.forwards.send_again(item, acknowledged_before=arrival.at)
    uow.forwards.move_mark(rule.id, after)
    return new


def _settle(
    uow: SqlUnitOfWork, way: Destination, items: Sequence[Item], outcome: Outcome, jitter: Jitter
) -> None:
    """`way`: the destination as it was when the lot went out, for its address is what has answered."""
    queue, now, destination = uow.forwards, uow.now, way.id
    by_uid = {item.sop_uid: item for item in items}
    for named in (True, False):
        if sent := [by_uid[uid].id for uid in outcome.sent if (uid in outcome.named) is named]:
            queue.sent(sent, now, named_by=way.url if named else "")
    for uid, code in outcome.refused.items():
        later = now + pause(by_uid[uid].attempts, jitter, REFUSED_PAUSE)
        queue.refused(by_uid[uid].id, next_at=later, error=code)
    row = queue.destination(destination)
    if outcome.error:
        later = now + pause(row.failures, jitter)
        queue.reached(destination, failures=row.failures + 1, next_at=later, error=outcome.error)
    elif row.failures:
        queue.reached(destination, failures=0, next_at=now, error="")


def _note(uow: SqlUnitOfWork, destination: Destination, study_uid: str, instances: int) -> None:
    uow.audit.append(AuditRow(
        n=0, at=uow.now, membership=None, staff=None, organisation=destination.organisation, action="study.forward",
        object=f"study:{study_uid}", outcome="ok", detail={"destination": destination.id, "instances": instances},
    ))  # fmt: skip


def sweep(uow: SqlUnitOfWork) -> int:
    """Forget what was acknowledged a month ago."""
    return uow.forwards.sweep(before=uow.now - KEEP_ENDED)
