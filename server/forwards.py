"""Where an organisation's images go on to: destinations and rules. Services: one unit of work each."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from consult.access import Action, authorize
from consult.errors import Invalid, NotFound, Wrong
from consult.people import Actor
from server.auth.audit import audit
from server.forward_stow import may_go_to
from server.storage.devices import DeviceRow
from server.storage.forwards import Destination, Lot, Rule
from server.storage.unit import SqlUnitOfWork

COMPRESSIONS = ("", "jpeg-ls", "htj2k")
DOORS = ("stow", "upload", "dimse", "import", "watch")
"""How the archive names the doors (the beginning of an instance's source)."""
_MODALITY = re.compile(r"[A-Z0-9_]{1,16}\Z")
_MOST_MODALITIES = 20
_MOST_CA = 64 << 10


@dataclass(frozen=True, slots=True, kw_only=True)
class DestinationEntry:
    """What an administrator writes about a destination: a device, or an address. `token` None: as it was."""

    name: str
    device: str = ""
    url: str = ""
    token: str | None = None
    ca: str = ""
    compression: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class RuleEntry:
    """What an administrator writes about a rule."""

    destination: str
    modalities: tuple[str, ...] = ()
    source: str = ""
    description: str = ""
    earlier: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Overview:
    """Everything the page shows."""

    destinations: Sequence[Destination]
    rules: Sequence[Rule]
    devices: Sequence[DeviceRow]
    counts: Mapping[str, Mapping[str, int]]
    lots: Sequence[Lot]


def overview(uow: SqlUnitOfWork, *, actor: Actor) -> Overview:
    """Destinations, rules and queue of the administrator's organisation."""
    authorize(uow, actor, Action.DEVICES_MANAGE, actor.organisation)
    destinations = uow.forwards.destinations(actor.organisation)
    names = [row.id for row in destinations]
    return Overview(
        destinations=destinations, rules=uow.forwards.rules(actor.organisation),
        devices=uow.devices.of(actor.organisation), counts=uow.forwards.counts(names), lots=uow.forwards.lots(names),
    )  # fmt: skip


def check_destination(uow: SqlUnitOfWork, actor: Actor, entry: DestinationEntry) -> dict[str, Any]:
    """The fields to store, the token left out. Raises Invalid with every wrong field."""
    wrong: list[Wrong] = []
    name, url, ca = entry.name.strip(), entry.url.strip(), entry.ca.strip()
    if not name:
        wrong.append(("name", "required"))
    elif len(name) > 100:
        wrong.append(("name", "too_long", {"max": 100}))
    if bool(entry.device) == bool(url):
        wrong.append(("url", "required"))
    if entry.device:
        known = {row.id: row for row in uow.devices.of(actor.organisation)}.get(entry.device)
        if known is None or not known.host:
            wrong.append(("device", "choice"))
    if url and not may_go_to(url):
        wrong.append(("url", "wrong_kind"))
    if ca and (len(ca) > _MOST_CA or not _is_certificate(ca)):
        wrong.append(("ca", "wrong_kind"))
    if entry.token and not (entry.token.isascii() and entry.token.isprintable() and " " not in entry.token):
        wrong.append(("token", "wrong_kind"))
    if entry.compression not in COMPRESSIONS:
        wrong.append(("compression", "choice"))
    if wrong:
        raise Invalid(*wrong)
    return {"name": name, "device": entry.device or None, "url": url, "ca": ca if url else "",
            "compression": entry.compression}  # fmt: skip


def _is_certificate(pem: str) -> bool:
    from ssl import SSLError

    from server.forward_stow import tls_for

    try:
        tls_for(pem)
    except (SSLError, ValueError):
        return False
    return True


def add_destination(
    uow: SqlUnitOfWork, *, actor: Actor, id: str, entry: DestinationEntry, sealed: str
) -> Destination:
    """`sealed`: the token, sealed for `id` outside the unit (server/sealing.py). Raises Invalid."""
    authorize(uow, actor, Action.DEVICES_MANAGE, actor.organisation)
    row = Destination(
        id=id, organisation=actor.organisation, created_at=uow.now, next_at=uow.now, token=sealed,
        **check_destination(uow, actor, entry),
    )  # fmt: skip
    uow.forwards.add_destination(row)
    audit(uow, actor, "forward.destination_add", f"destination:{id}")
    return row


def change_destination(
    uow: SqlUnitOfWork, *, actor: Actor, id: str, version: int, entry: DestinationEntry, sealed: str | None
) -> Destination:
    """`sealed` None leaves the token as it is. What waits is tried at once. Raises NotFound, Invalid, Stale."""
    found = open_destination(uow, actor=actor, id=id)
    fields = check_destination(uow, actor, entry)
    token = found.token if sealed is None else sealed
    saved = uow.forwards.save_destination(
        replace(found, version=version, token=token, failures=0, next_at=uow.now, last_error="", **fields)
    )
    audit(uow, actor, "forward.destination_change", f"destination:{id}")
    return saved


def end_destination(uow: SqlUnitOfWork, *, actor: Actor, id: str) -> None:
    """Nothing goes there any more: its rules end, what waits stays in the rows."""
    found = open_destination(uow, actor=actor, id=id)
    for rule in uow.forwards.rules(actor.organisation):
        if rule.destination == id:
            uow.forwards.save_rule(replace(rule, ended_at=uow.now))
    uow.forwards.save_destination(replace(found, ended_at=uow.now))
    audit(uow, actor, "forward.destination_end", f"destination:{id}")


def open_destination(uow: SqlUnitOfWork, *, actor: Actor, id: str) -> Destination:
    """A destination in force of the administrator's organisation. NotFound for all others."""
    authorize(uow, actor, Action.DEVICES_MANAGE, actor.organisation)
    found = uow.forwards.destination(id)
    if found.organisation != actor.organisation or found.ended_at is not None:
        raise NotFound(kind="destination")
    return found


def add_rule(uow: SqlUnitOfWork, *, actor: Actor, entry: RuleEntry, mark: tuple[int, str]) -> Rule:
    """`mark`: where the archive stands now; with `earlier` the rule begins at the archive's beginning."""
    authorize(uow, actor, Action.DEVICES_MANAGE, actor.organisation)
    wrong: list[Wrong] = []
    if entry.destination not in {row.id for row in uow.forwards.destinations(actor.organisation)}:
        wrong.append(("destination", "choice"))
    modalities = tuple(dict.fromkeys(one.strip().upper() for one in entry.modalities if one.strip()))
    if len(modalities) > _MOST_MODALITIES or not all(_MODALITY.match(one) for one in modalities):
        wrong.append(("modalities", "type"))
    devices = {f"dimse:{row.id}" for row in uow.devices.of(actor.organisation)}
    if entry.source and entry.source not in devices | set(DOORS):
        wrong.append(("source", "choice"))
    description = entry.description.strip()
    if len(description) > 64:
        wrong.append(("description", "too_long", {"max": 64}))
    if wrong:
        raise Invalid(*wrong)
    number, name = (0, "") if entry.earlier else mark
    row = Rule(
        id=uow.new_id(), organisation=actor.organisation, destination=entry.destination, modalities=modalities,
        source=entry.source, description=description, earlier=entry.earlier, mark=number, mark_name=name,
        created_at=uow.now,
    )  # fmt: skip
    uow.forwards.add_rule(row)
    audit(uow, actor, "forward.rule_add", f"rule:{row.id}")
    return row


def end_rule(uow: SqlUnitOfWork, *, actor: Actor, id: str) -> None:
    """What is in the queue already still goes."""
    authorize(uow, actor, Action.DEVICES_MANAGE, actor.organisation)
    found = uow.forwards.rule(id)
    if found.organisation != actor.organisation or found.ended_at is not None:
        raise NotFound(kind="rule")
    uow.forwards.save_rule(replace(found, ended_at=uow.now))
    audit(uow, actor, "forward.rule_end", f"rule:{id}")


def retry(uow: SqlUnitOfWork, *, actor: Actor, id: str, study_uid: str = "") -> int:
    """What waits for this destination is tried now; how many."""
    found = open_destination(uow, actor=actor, id=id)
    uow.forwards.reached(id, failures=found.failures, next_at=uow.now, error=found.last_error)
    audit(uow, actor, "forward.retry", f"destination:{id}", detail={"study": study_uid} if study_uid else {})
    return uow.forwards.retry(id, uow.now, study_uid=study_uid)


def drop(uow: SqlUnitOfWork, *, actor: Actor, id: str, study_uid: str) -> int:
    """A person gives up what still waits of one study; how many. NotFound where nothing of it waits."""
    open_destination(uow, actor=actor, id=id)
    dropped = uow.forwards.drop(id, study_uid, uow.now)
    if not dropped:
        raise NotFound(kind="forward_item")
    audit(uow, actor, "forward.drop", f"study:{study_uid}", detail={"destination": id, "instances": dropped})
    return dropped
