"""One unit of work: the repositories on one connection, the moment, new ids, and what to tell after the commit."""

import secrets
import uuid
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

from sqlalchemy import Connection

from consult import model as m
from consult import people as o
from consult import ports
from consult.rules import Rules
from server.storage.accounts import Accounts, Logins
from server.storage.audit import Audit
from server.storage.changes import Changes, keep_changes
from server.storage.consultations import Consultations
from server.storage.corrections import Corrections
from server.storage.devices import Devices
from server.storage.errors import Broken
from server.storage.events import Events
from server.storage.feedback import Feedback
from server.storage.forwards import Forwards
from server.storage.grants import Grants
from server.storage.listing import refresh
from server.storage.meetings import Meetings
from server.storage.offers import Offers
from server.storage.outbox import Outbox
from server.storage.patients import Patients
from server.storage.people import People
from server.storage.recordings import Recordings
from server.storage.removals import Removals
from server.storage.reports import Reports
from server.storage.repository import Link
from server.storage.settings_kv import Settings
from server.storage.studies import Studies
from server.storage.tokens import Tokens
from server.storage.uploads import Uploads


def new_id() -> str:
    """A random UUID (version 4) from `secrets`."""
    return str(uuid.UUID(bytes=secrets.token_bytes(16), version=4))


class SqlUnitOfWork:
    """ports.UnitOfWork and, beside it, what only the server keeps: accounts, tokens, grants, uploads, outbox, …

    `published` and `revoked` are read by server/work.py after the commit, and by nobody before.
    """

    def __init__(self, connection: Connection, now: datetime, rules: Rules) -> None:
        self._now = now
        self._rules = rules
        self.link = Link(connection)
        self.people = People(self.link)
        self.patients = Patients(self.link)
        self.consultations = Consultations(self.link)
        self.offers = Offers(self.link)
        self.meetings = Meetings(self.link)
        self.recordings = Recordings(self.link)
        self.reports = Reports(self.link)
        self.studies = Studies(self.link)
        self.feedback = Feedback(self.link)
        self.events = Events(self.link)
        self.audit = Audit(self.link)
        self.accounts = Accounts(self.link)
        self.logins = Logins(self.link)
        self.grants = Grants(self.link)
        self.uploads = Uploads(self.link)
        self.outbox = Outbox(self.link)
        self.settings = Settings(self.link)
        self.devices = Devices(self.link)
        self.forwards = Forwards(self.link)
        self.tokens = Tokens(self.link)
        self.changes = Changes(self.link)
        self.corrections = Corrections(self.link)
        self.removals = Removals(self.link)
        self.published: list[tuple[str, Mapping[str, Any]]] = []
        self.revoked: list[tuple[frozenset[o.MembershipId], m.ConsultationId]] = []

    @property
    def rules(self) -> Rules:
        return self._rules

    @property
    def now(self) -> datetime:
        return self._now

    def new_id(self) -> str:
        return new_id()

    def publish(self, topic: str, payload: Mapping[str, Any]) -> None:
        self.published.append((topic, dict(payload)))

    def revoke(self, *, memberships: Iterable[o.MembershipId], consultation: m.ConsultationId) -> None:
        """The grants die in this very commit; rooms and open sockets right after it."""
        ended = frozenset(memberships)
        if ended:
            self.grants.revoke(now=self._now, memberships=ended, consultation=consultation)
            self.revoked.append((ended, consultation))

    def finish(self) -> None:
        """Before the commit: derived rows. Broken when a statement failed in this unit and nobody let that stop it
        (PostgreSQL would answer COMMIT with a silent rollback).
        """
        if self.link.broken:
            raise Broken
        refresh(self.link)
        keep_changes(self.link, self._now, self.published)


def verify_audit(uow: SqlUnitOfWork) -> int | None:
    """Number of the first audit row that is missing or changed; None when the chain is whole."""
    return Audit(uow.link).verify()


def whole(uow: SqlUnitOfWork) -> ports.UnitOfWork:
    """The type checker's proof that the unit is what consult/ asks for."""
    return uow
