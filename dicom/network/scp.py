"""The listening side: sockets, who may call, and which service answers a command."""

from __future__ import annotations

import asyncio
import logging
import socket
import ssl
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping

from dicom.archive import Archive
from dicom.errors import DicomError
from dicom.network import dimse, pdu
from dicom.network.association import Association, acceptance_of
from dicom.network.dimse import Command, response_to
from dicom.network.handshakes import BACKLOG, Handshake, TlsPort
from dicom.network.negotiation import SERVICES, VERIFICATION, is_storage, negotiate
from dicom.network.ports import Backend, Call, NoSuchTitleError, Session
from dicom.network.store import store
from dicom.network.terms import AssociationEndedError, NetworkLimits, Timers

log = logging.getLogger(__name__)
Service = Callable[[Session, Command], Awaitable[None]]
_UNRECOGNISED, _FAILED = 0x0211, 0x0110
# PS3.8 Table 9-21: (result, source, reason).
UNKNOWN_CALLING = pdu.Reject(result=1, source=1, reason=3)
UNKNOWN_CALLED = pdu.Reject(result=1, source=1, reason=7)
NO_CONTEXT = pdu.Reject(result=1, source=1, reason=1)
TOO_MANY = pdu.Reject(result=2, source=3, reason=2)
CONGESTED = pdu.Reject(result=2, source=3, reason=1)
REFUSALS = ("unknown_called", "unknown_calling", "no_context", "too_many", "congested", "crowded", "handshake")
"""Why a connection was not served: the rejections above; dropped to make room for others; TLS that came to nothing."""


async def echo(session: Session, command: Command) -> None:
    """C-ECHO (PS3.7 §9.1.5)."""
    await session.association.send(command.context, response_to(command, dimse.SUCCESS))


class Listener:
    """All DICOM ports of one server. `services`: (abstract syntax, command field) → what answers.

    `refused(reason)` is told of every connection that was not served: one of `REFUSALS`.
    """

    def __init__(
        self,
        backend: Backend,
        archive: Archive,
        *,
        services: Mapping[tuple[str, int], Service] | None = None,
        limits: NetworkLimits | None = None,
        timers: Timers | None = None,
        refused: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._backend = backend
        self._archive = archive
        self._limits = limits or NetworkLimits()
        self._timers = timers
        self._services = {(VERIFICATION, dimse.C_ECHO): echo, **(services or {})}
        self._abstracts = SERVICES & {abstract for abstract, _ in self._services}
        self._refused = refused
        self._pending: dict[Association | Handshake, None] = {}  # in the order they came
        self._serving: dict[Association, asyncio.Task[None]] = {}
        self._servers: list[asyncio.Server | TlsPort] = []
        self._closing = False

    async def listen(self, host: str, port: int, context: ssl.SSLContext | None = None) -> int:
        """Open one port; returns its number. Raises OSError."""
        if context is not None:
            encrypted = TlsPort(self, context, self._accept, limits=self._limits, timers=self._timers)
            opened = await encrypted.open(host, port)
            self._servers.append(encrypted)
            return opened
        server = await asyncio.get_running_loop().create_server(self._accept, host, port, backlog=BACKLOG)
        self._servers.append(server)
        number: int = server.sockets[0].getsockname()[1]
        return number

    async def close(self) -> None:
        """No new calls; open associations are aborted."""
        self._closing = True
        for server in self._servers:
            server.close()
        for one in [*self._pending, *self._serving]:
            if isinstance(one, Association):
                one.abort("closing")
            one.drop()
        tasks = list(self._serving.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for server in self._servers:
            await server.wait_closed()
        self._servers.clear()

    @property
    def counts(self) -> tuple[int, int]:
        """Sockets without an association, and associations."""
        return len(self._pending), len(self._serving)

    def _accept(self, handshake: Handshake | None = None) -> Association:
        return _Accepted(self, self._limits, self._timers, handshake)

    def connected(self, one: Association | Handshake) -> None:
        """A socket was opened. Silent ones never keep others out: the oldest of the busiest address makes room."""
        self._pending[one] = None
        if len(self._pending) > self._limits.max_pending:
            busiest, _ = Counter(each.address for each in self._pending).most_common(1)[0]
            oldest = next(each for each in self._pending if each.address == busiest)
            self.gone(oldest)  # its transport says so only later, and a burst would drop the same one again and again
            oldest.drop()
            self._refused("crowded")

    def failed(self, handshake: Handshake, reason: str) -> None:
        """A TLS handshake did not end well."""
        log.info("TLS handshake failed", extra={"reason": reason, "address": handshake.address})
        self._refused("handshake")

    def requested(self, association: Association) -> None:
        """An A-ASSOCIATE-RQ came."""
        self._pending.pop(association, None)
        limits = self._limits
        of_address = sum(one.address == association.address for one in self._serving)
        if self._closing or len(self._serving) >= limits.max_associations or of_address >= limits.max_per_address:
            association.reject(TOO_MANY)
            self._refused("too_many")
            return
        task = asyncio.get_running_loop().create_task(self._serve(association))
        self._serving[association] = task
        task.add_done_callback(lambda _: self._serving.pop(association, None))

    def gone(self, one: Association | Handshake) -> None:
        """The connection is over, or its handshake."""
        self._pending.pop(one, None)

    async def _serve(self, association: Association) -> None:
        try:
            session = await self._admit(association)
            while session is not None:
                command = await association.receive()
                if command is None:
                    return
                await self._answer(session, command)
        except AssociationEndedError as error:
            log.info("association ended", extra={"reason": error.reason})
        except asyncio.CancelledError:
            association.abort("closing")
            raise
        except Exception:
            log.exception("association failed")
            association.abort("failed")

    async def _admit(self, association: Association) -> Session | None:
        proposal = association.proposal
        if proposal is None:
            return None
        call = Call(
            called=proposal.called, calling=proposal.calling, address=association.address,
            fingerprint=association.fingerprint,
        )  # fmt: skip
        try:
            device = await self._backend.admit(call)
        except NoSuchTitleError:
            association.reject(UNKNOWN_CALLED)
            self._refused("unknown_called")
            return None
        except Exception:
            log.exception("no answer who is calling")
            association.reject(CONGESTED)
            self._refused("congested")
            return None
        if device is None:
            association.reject(UNKNOWN_CALLING)
            self._refused("unknown_calling")
            return None
        contexts, results = negotiate(proposal, self._abstracts)
        if not proposal.proposals:
            association.reject(NO_CONTEXT)
            self._refused("no_context")
            return None
        association.accept(acceptance_of(proposal, contexts, results, self._limits), contexts)
        return Session(
            association=association, device=device, backend=self._backend, archive=self._archive, audited=set()
        )

    async def _answer(self, session: Session, command: Command) -> None:
        association = session.association
        abstract = association.contexts[command.context].abstract
        service = self._services.get((abstract, command.field))
        if service is None and command.field == dimse.C_STORE and is_storage(abstract):
            service = store
        if service is None:
            await association.discard()
            await association.send(command.context, response_to(command, _UNRECOGNISED))
            return
        try:
            await service(session, command)
        except AssociationEndedError:
            raise
        except DicomError as error:
            log.warning("DIMSE service failed", extra={"error": error.reason})
            await association.discard()
            await association.send(command.context, response_to(command, _FAILED, comment=error.reason))
        finally:
            association.cancelled.discard(command.message)


class _Accepted(Association):
    """A called association, known to its listener from the first moment."""

    def __init__(
        self, listener: Listener, limits: NetworkLimits, timers: Timers | None, handshake: Handshake | None
    ) -> None:
        super().__init__(limits, timers=timers)
        self._listener = listener
        self._handshake = handshake

    def _requested(self) -> None:
        self._listener.requested(self)

    def _gone(self) -> None:
        self._listener.gone(self)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        sock = transport.get_extra_info("socket")
        if sock is not None:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if self._handshake is not None:
            self._handshake.completed()
            self._handshake = None
        super().connection_made(transport)
        self._listener.connected(self)
