"""What a gateway lets go (`gateway.keep_days`): studies that the city has acknowledged whole, and long enough ago.

One at a time: proof and mark in one commit, then the archive's tombstone, then the queue's rows. Until the tombstone is
durable the rows are the proof, so nothing else forgets them; with the mark a restart knows how far it came.
"""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from aiohttp import web

from consult.people import OrganisationId
from dicom.archive import Archive
from dicom.errors import CorrectionError
from dicom.index.life import newest_of
from dicom.index.removal import held_of, is_contested, is_done
from dicom.life.removal import remove_study
from server.auth.audit import audit
from server.storage.forwards import Destination
from server.storage.unit import SqlUnitOfWork
from server.work import Work

LOG = logging.getLogger("huizhen.forward")
MARK = "gateway.leaving"
MOST = 50
"""Studies looked at in one run."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Leaving:
    """The study that is being let go. `id`: by which the archive knows the removal; acknowledged before `before`."""

    id: str
    study_uid: str
    before: datetime


def _leaving(uow: SqlUnitOfWork) -> Leaving | None:
    """The study that is being let go, if one is."""
    found = uow.settings.get(MARK)
    if found is None:
        return None
    name, study_uid, before = found
    return Leaving(id=name, study_uid=study_uid, before=datetime.fromisoformat(before))


class LettingGo:
    """Lets go what `organisation` holds. Only a gateway has one (server/gateway.py)."""

    def __init__(self, work: Work, archive: Archive, *, organisation: OrganisationId, keep: timedelta) -> None:
        self._work, self._archive = work, archive
        self._organisation, self._keep = organisation, keep
        self._after = ""  # studies up to here were looked at: those that must stay do not hold up the others

    async def step(self) -> int:
        """Finish what was begun, then look at the next few studies; how many were let go. Safe at any time."""
        gone = 0
        async with self._archive.settling.turn:  # no correction moves series meanwhile
            gone += await self._finish()
            before = self._archive.now() - self._keep
            found = await self._work.read(_candidates, self._organisation, before, self._after)
            for study_uid in found:
                gone += await self._let_go(study_uid, before)
            self._after = found[-1] if len(found) == MOST else ""
        if gone:
            LOG.info("studies let go", extra={"studies": gone})
        return gone

    async def _finish(self) -> bool:
        """What a run that died has left: its study is gone, or stays until it is looked at anew."""
        leaving = await self._work.read(_leaving)
        if leaving is None:
            return False
        if await self._archive.read_index(lambda link: is_done(link, leaving.id)):
            await self._work.run(_gone, self._organisation, leaving)
            return True
        await self._work.run(_stays)
        return False

    async def _let_go(self, study_uid: str, before: datetime) -> bool:
        organisation = self._organisation
        held = await self._archive.read_index(lambda link: _may_go(link, organisation, study_uid, before))
        leaving = await self._work.run(_mark, organisation, study_uid, held, before) if held else None
        if leaving is None:
            return False
        try:
            await remove_study(
                self._archive, id=leaving.id, organisation=organisation, study_uid=study_uid, stored_before=before,
                by=organisation, approved_by="", reason="acknowledged by the city",
            )  # fmt: skip
        except CorrectionError as error:
            # Something came between the look and the tombstone.
            LOG.info("study not let go", extra={"reason": error.reason})
            await self._work.run(_stays)
            return False
        await self._work.run(_gone, organisation, leaving)
        return True


LETTING_GO: web.AppKey[LettingGo] = web.AppKey("letting_go", LettingGo)
"""Not there on a server, nor on a gateway that keeps everything."""


def _candidates(uow: SqlUnitOfWork, organisation: OrganisationId, before: datetime, after: str) -> Sequence[str]:
    """Studies of which the queue says that one city has everything; the rest is asked one by one."""
    ways = _ways(uow, organisation)
    return uow.forwards.arrived(ways[0], before, after=after, limit=MOST) if ways else ()


def _ways(uow: SqlUnitOfWork, organisation: OrganisationId) -> list[Destination]:
    """Where the rules in force lead; none where one leads to a device, which answers for no safekeeping."""
    if uow.accounts.any():
        return []  # a server's images are the record: two people remove them (server/removing.py)
    names = dict.fromkeys(rule.destination for rule in uow.forwards.rules(organisation))
    ways = [uow.forwards.destination(name) for name in names]
    return ways if all(way.url and way.ended_at is None for way in ways) else []


def _may_go(
    link: sqlite3.Connection, organisation: str, study_uid: str, before: datetime
) -> frozenset[tuple[str, str]]:
    """(SOP Instance UID, digest) of all that is held of the study; nothing where the archive wants it to stay."""
    newest = newest_of(link, organisation, study_uid)
    late = not newest or datetime.fromisoformat(newest) >= before
    if late or is_contested(link, organisation, study_uid):
        return frozenset()
    return held_of(link, organisation, study_uid)


def _mark(
    uow: SqlUnitOfWork, organisation: OrganisationId, study_uid: str, held: frozenset[tuple[str, str]], before: datetime
) -> Leaving | None:
    """Mark the study where the queue proves, for every rule, that the city has each instance; else None."""
    ways = _ways(uow, organisation)
    for way in ways:
        proven = set()
        for item in uow.forwards.of_study(way.id, study_uid):
            if item.state != "sent" or item.named_by != way.url or item.ended_at is None or item.ended_at >= before:
                return None
            proven.add((item.sop_uid, item.digest))
        if not held <= proven:
            return None
    if not ways:
        return None
    leaving = Leaving(id=uow.new_id(), study_uid=study_uid, before=before)
    uow.settings.put(MARK, [leaving.id, study_uid, before.isoformat()])
    return leaving


def _stays(uow: SqlUnitOfWork) -> None:
    uow.settings.remove(MARK)


def _gone(uow: SqlUnitOfWork, organisation: OrganisationId, leaving: Leaving) -> None:
    """The tombstone is durable."""
    forgotten = uow.forwards.forget_study(leaving.study_uid, before=leaving.before)
    audit(
        uow, None, "study.let_go", f"study:{leaving.study_uid}", organisation=organisation,
        detail={"removal": leaving.id, "instances": forgotten},
    )  # fmt: skip
    uow.settings.remove(MARK)
