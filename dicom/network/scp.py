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


async def echo(session: Session, command: Command) -> None:
    """C-ECHO (PS3.7 §9.1.5)."""
    await session.association.send(command.context, response_to(command, dimse.SUCCESS))


class Listener:
    """All DICOM ports of one server. `services`: (abstract syntax, command field) → what answers."""

    def __init__(
        self,
        backend: Backend,
        archive: Archive,
        *,
        services: Mapping[tuple[str, int], Service] | None = None,
        limits: NetworkLimits | None = None,
        timers: Timers | None = None,
    ) -> None:
        self._backend = backend
        self._archive = archive
        self._limits = limits or NetworkLimits()
        self._timers = timers
        self._services = {(VERIFICATION, dimse.C_ECHO): echo, **(services or {})}
        self._abstracts = SERVICES & {abstract for abstract, _ in self._services}
        self._pending: dict[Association, None] = {}  # in the order they came
        self._serving: dict[Association, asyncio.Task[None]] = {}
        self._servers: list[asyncio.Server] = []
        self._closing = False

    async def listen(self, host: str, port: int, context: ssl.SSLContext | None = None) -> int:
        """Open one port; returns its number. Raises OSError."""
        loop = asyncio.get_running_loop()
        # A silent handshake is bounded like a silent association.
        handshake = self._limits.artim_seconds if context is not None else None
        server = await loop.create_server(
            self._accept,
            host,
            port,
            ssl=context,
            backlog=256,
            ssl_handshake_timeout=handshake,
            ssl_shutdown_timeout=handshake,
        )
        self._servers.append(server)
        number: int = server.sockets[0].getsockname()[1]
        return number

    async def close(self) -> None:
        """No new calls; open associations are aborted."""
        self._closing = True
        for server in self._servers:
            server.close()
        for association in [*self._pending, *self._serving]:
            association.abort("closing")
            association.drop()
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

    def _accept(self) -> Association:
        return _Accepted(self, self._limits, self._timers)

    def connected(self, association: Association) -> None:
        """A socket was opened. Silent ones never keep others out: the oldest of the busiest address makes room."""
        self._pending[association] = None
        if len(self._pending) > self._limits.max_pending:
            busiest, _ = Counter(one.address for one in self._pending).most_common(1)[0]
            next(one for one in self._pending if one.address == busiest).drop()

    def requested(self, association: Association) -> None:
        """An A-ASSOCIATE-RQ came."""
        self._pending.pop(association, None)
        limits = self._limits
        of_address = sum(one.address == association.address for one in self._serving)
        if self._closing or len(self._serving) >= limits.max_associations or of_address >= limits.max_per_address:
            association.reject(TOO_MANY)
            return
        task = asyncio.get_running_loop().create_task(self._serve(association))
        self._serving[association] = task
        task.add_done_callback(lambda _: self._serving.pop(association, None))

    def gone(self, association: Association) -> None:
        """The connection is over."""
        self._pending.pop(association, None)

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
            return None
        except Exception:
            log.exception("no answer who is calling")
            association.reject(CONGESTED)
            return None
        if device is None:
            association.reject(UNKNOWN_CALLING)
            return None
        contexts, results = negotiate(proposal, self._abstracts)
        if not proposal.proposals:
            association.reject(NO_CONTEXT)
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

    def __init__(self, listener: Listener, limits: NetworkLimits, timers: Timers | None) -> None:
        super().__init__(limits, timers=timers)
        self._listener = listener

    def _requested(self) -> None:
        self._listener.requested(self)

    def _gone(self) -> None:
        self._listener.gone(self)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        sock = transport.get_extra_info("socket")
        if sock is not None:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        super().connection_made(transport)
        self._listener.connected(self)
