"""The DICOM upper layer on a socket: bytes ↔ PDUs, driven by the table of `machine` (PS3.8 §9).

Memory is bounded whatever the peer claims (`framing`). Time is bounded by ARTIM before and after an association, and
by an idle limit whenever we wait for the peer, be it for its bytes or for it to take ours.
"""

from __future__ import annotations

import asyncio
import hashlib
import socket
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from contextlib import closing, suppress
from typing import Any

from dicom.network import pdu
from dicom.network.framing import Framing
from dicom.network.machine import Event, ImpossibleEventError, State, step
from dicom.network.terms import (
    AssociationEndedError,
    Context,
    NetworkLimits,
    RejectedError,
    Timer,
    Timers,
    address_of,
)

_QUICKACK = getattr(socket, "TCP_QUICKACK", None)


class UpperLayer(asyncio.BufferedProtocol, ABC):
    """Sockets, units, states. What is inside the data is for the class on top of it (`association.Association`)."""

    def __init__(
        self,
        limits: NetworkLimits,
        *,
        request: pdu.Associate | None = None,
        timers: Timers | None = None,
    ) -> None:
        self.limits = limits
        self.requestor = request is not None
        self.state = State.IDLE
        self.proposal: pdu.Associate | None = request
        self.contexts: dict[int, Context] = {}
        self.address = ""
        self.fingerprint = ""
        """SHA-256 (hex) of the peer's TLS certificate; '' without one."""
        self.ended: str = ""
        loop = asyncio.get_running_loop()
        self.opened: asyncio.Future[None] = loop.create_future()
        self.opened.add_done_callback(lambda f: f.cancelled() or f.exception())
        self._timers: Timers = timers or loop
        self._transport: Any = None
        self._socket: Any = None
        self._framing = Framing(limits.max_pdu)
        self._broken = False
        self._artim: Timer | None = None
        self._watch: Timer | None = None
        self._last = 0.0
        self._waiter: asyncio.Future[None] | None = None
        self._full = False  # the transport's write buffer
        self._peer_max = 0
        if self.requestor:
            self._event(Event.ASSOCIATE_LOCAL)

    # -- for the class on top

    @abstractmethod
    def _fragment(self, fragment: pdu.Fragment) -> None:
        """A piece of a message has come. Raises PduError when it does not belong here."""

    @abstractmethod
    def _release_asked(self) -> None:
        """The peer wants to end; what it sent before comes first."""

    @abstractmethod
    def _forget(self) -> None:
        """The association is over: drop what nobody will read."""

    def _requested(self) -> None:
        """The peer asks for an association; whoever listens answers it."""

    def _gone(self) -> None:
        """The connection is over."""

    def _over(self) -> bool:
        return self.state is State.IDLE

    # -- transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport
        self._transport.set_write_buffer_limits(high=256 << 10)
        self.address = address_of(transport.get_extra_info("peername"))
        self._socket = transport.get_extra_info("socket")
        self._acknowledge_quickly()
        tls = transport.get_extra_info("ssl_object")
        certificate = tls.getpeercert(binary_form=True) if tls is not None else None
        if certificate:
            self.fingerprint = hashlib.sha256(certificate).hexdigest()
        self._last = self._timers.time()
        self._event(Event.TRANSPORT_CONFIRMED if self.requestor else Event.TRANSPORT_OPENED)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 a lost connection is a lost connection
        if not self._over():
            self._event(Event.TRANSPORT_CLOSED)
        self._end("connection_lost")
        self._stop_artim()
        if self._watch is not None:
            self._watch.cancel()
            self._watch = None
        self._gone()

    def pause_writing(self) -> None:
        self._full = True

    def resume_writing(self) -> None:
        self._full = False
        self._wake()

    def get_buffer(self, sizehint: int) -> memoryview:  # noqa: ARG002 one PDU is what we have room for
        return self._framing.room()

    def buffer_updated(self, nbytes: int) -> None:
        if self._broken or self._over():
            return
        self._acknowledge_quickly()
        self._last = self._timers.time()
        try:
            with closing(self._framing.units(nbytes)) as units:
                for kind, body in units:
                    self._unit(kind, body)
                    if self._broken or self._over():
                        break
        except pdu.PduError as error:
            self._invalid(error.reason)
        if self._broken or self._over():
            self._framing.clear()

    def _acknowledge_quickly(self) -> None:
        # dcmtk's senders wait for each acknowledgement; the kernel falls back to delayed ones by itself.
        if self._socket is not None and _QUICKACK is not None:
            with suppress(OSError):
                self._socket.setsockopt(socket.IPPROTO_TCP, _QUICKACK, 1)

    # -- units in

    def _unit(self, kind: int, body: memoryview) -> None:
        if kind == pdu.DATA:
            self._event(Event.DATA_RECEIVED, body)
        elif kind == pdu.REQUEST:
            self._event(Event.REQUEST_RECEIVED, pdu.decode_associate(body, request=True))
        elif kind == pdu.ACCEPT:
            self._event(Event.ACCEPT_RECEIVED, pdu.decode_associate(body, request=False))
        elif kind == pdu.REJECT:
            self._event(Event.REJECT_RECEIVED, pdu.decode_reject(body))
        elif kind == pdu.ABORT:
            self._event(Event.ABORT_RECEIVED, pdu.decode_abort(body))
        else:
            pdu.check_release(body)
            request = kind == pdu.RELEASE_REQUEST
            self._event(Event.RELEASE_REQUEST_RECEIVED if request else Event.RELEASE_RESPONSE_RECEIVED)

    def _invalid(self, reason: int) -> None:
        self._broken = True  # the stream has lost its beat; nothing behind it can be read
        if self.state not in {State.IDLE, State.AWAITING_TRANSPORT}:
            self._event(Event.INVALID_RECEIVED, reason)

    def _event(self, event: Event, given: Any = None) -> None:
        action, self.state = step(event, self.state, requestor=self.requestor)
        getattr(self, f"_{action.name.lower()}")(given)

    def _try(self, event: Event, given: Any = None) -> bool:
        try:
            self._event(event, given)
        except ImpossibleEventError:
            return False
        return True

    # -- actions (PS3.8 Tables 9-6 to 9-9; names are the standard's)

    def _ae1(self, _: Any) -> None:
        """The transport is opened by whoever made this object."""

    def _ae2(self, _: Any) -> None:
        if self.proposal is not None:
            self._write(pdu.encode_associate(self.proposal))
        self._start_artim()  # the standard leaves this wait unbounded

    def _ae3(self, accepted: pdu.Associate) -> None:
        self._stop_artim()
        proposed = {p.id: p for p in self.proposal.proposals} if self.proposal else {}
        for answer in accepted.answers:
            known = proposed.get(answer.id)
            if answer.result == 0 and known is not None and answer.transfer in known.transfers:
                self.contexts[answer.id] = Context(id=answer.id, abstract=known.abstract, transfer=answer.transfer)
        self._established(accepted.max_length)
        if not self.opened.done():
            self.opened.set_result(None)

    def _ae4(self, rejection: pdu.Reject) -> None:
        if not self.opened.done():
            self.opened.set_exception(RejectedError(rejection))
        self._end("rejected")
        self._close()

    def _ae5(self, _: Any) -> None:
        self._start_artim()

    def _ae6(self, proposal: pdu.Associate) -> None:
        self._stop_artim()
        self.proposal = proposal
        if not proposal.protocol_version & 1:
            self.state = State.AWAITING_CLOSE
            self._ae8(pdu.Reject(result=1, source=2, reason=2))
        elif proposal.application_context != pdu.APPLICATION_CONTEXT:
            self.state = State.AWAITING_CLOSE
            self._ae8(pdu.Reject(result=1, source=1, reason=2))
        else:
            self._requested()

    def _ae7(self, acceptance: pdu.Associate) -> None:
        self._write(pdu.encode_associate(acceptance))

    def _ae8(self, rejection: pdu.Reject) -> None:
        self._write(pdu.encode_reject(rejection))
        self._end("rejected")
        self._start_artim()

    def _dt1(self, data: bytes) -> None:
        self._write(data)

    def _dt2(self, body: memoryview) -> None:
        for fragment in pdu.decode_data(body):
            self._fragment(fragment)

    def _ar1(self, _: Any) -> None:
        self._write(pdu.encode_release(response=False))
        self._start_artim()  # as for AE-2

    def _ar2(self, _: Any) -> None:
        self._release_asked()

    def _ar3(self, _: Any) -> None:
        self._end("released")
        self._close()

    def _ar4(self, _: Any) -> None:
        self._write(pdu.encode_release(response=True))
        self._end("released")
        self._start_artim()

    def _ar5(self, _: Any) -> None:
        self._stop_artim()

    def _ar6(self, body: memoryview) -> None:
        """Data after we asked for release: nobody waits for it, but it must be well-formed."""
        for _fragment in pdu.decode_data(body):
            pass

    _ar7 = _dt1

    def _ar8(self, _: Any) -> None:
        # A collision. The requestor answers at once, the acceptor when it has been answered.
        if self.requestor:
            self._event(Event.RELEASE_ANSWER_LOCAL)

    def _ar9(self, _: Any) -> None:
        self._write(pdu.encode_release(response=True))

    def _ar10(self, _: Any) -> None:
        self._event(Event.RELEASE_ANSWER_LOCAL)

    def _aa1(self, _: Any) -> None:
        self._write(pdu.encode_abort(pdu.Abort()))
        self._end("aborted")
        self._start_artim()

    def _aa2(self, _: Any) -> None:
        self._stop_artim()
        self._end("timed_out")
        self._close()

    def _aa3(self, _: Any) -> None:
        self._end("aborted_by_peer")
        self._close()

    def _aa4(self, _: Any) -> None:
        self._end("connection_lost")

    _aa5 = _ar5

    def _aa6(self, _: Any) -> None:
        """Ignored."""

    def _aa7(self, _: Any) -> None:
        self._write(pdu.encode_abort(pdu.Abort(source=2, reason=pdu.UNEXPECTED)))

    def _aa8(self, reason: Any) -> None:
        code = reason if isinstance(reason, int) else pdu.UNEXPECTED
        self._write(pdu.encode_abort(pdu.Abort(source=2, reason=code)))
        self._end("protocol_error")
        self._start_artim()

    # -- helpers of the actions

    def _write(self, data: bytes) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(data)

    def _close(self) -> None:
        if self._transport is not None:
            self._transport.close()

    def _start_artim(self) -> None:
        self._stop_artim()
        self._artim = self._timers.call_later(self.limits.artim_seconds, self._artim_expired)

    def _stop_artim(self) -> None:
        if self._artim is not None:
            self._artim.cancel()
            self._artim = None

    def _artim_expired(self) -> None:
        self._artim = None
        if not self._try(Event.ARTIM_EXPIRED):
            self._end("timed_out")
        if self._transport is not None:
            self._transport.abort()  # a peer that does not read would keep a polite close waiting

    def _established(self, peer_max: int) -> None:
        self._peer_max = peer_max
        self._framing.established()
        self._watch_idle()

    def _watch_idle(self) -> None:
        if self.ended or self._over():
            return
        quiet = self._timers.time() - self._last
        if self._waiter is not None and quiet >= self.limits.idle_seconds:
            self._watch = None
            self.abort("idle")
            return
        wait = self.limits.idle_seconds - (quiet if self._waiter is not None else 0)
        self._watch = self._timers.call_later(max(wait, 0.001), self._watch_idle)

    def _end(self, reason: str) -> None:
        if not self.ended:
            self.ended = reason
            self._forget()
            if not self.opened.done():
                self.opened.set_exception(AssociationEndedError(code=reason))
        self._wake()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    async def _until(self, ready: Callable[[], bool]) -> None:
        """Wait for the peer. Raises AssociationEndedError."""
        while not ready():
            if self.ended:
                raise AssociationEndedError(code=self.ended)
            self._last = self._timers.time()
            self._waiter = asyncio.get_running_loop().create_future()
            try:
                await self._waiter
            finally:
                self._waiter = None

    # -- what services use

    def accept(self, acceptance: pdu.Associate, contexts: Mapping[int, Context]) -> None:
        """Answer the request. Nothing happens if the peer has gone meanwhile."""
        if self.state is not State.AWAITING_LOCAL_ANSWER:
            return
        self.contexts = dict(contexts)
        self._event(Event.ACCEPT_LOCAL, acceptance)
        self._established(self.proposal.max_length if self.proposal else 0)

    def reject(self, rejection: pdu.Reject) -> None:
        """Refuse the request."""
        self._try(Event.REJECT_LOCAL, rejection)

    def abort(self, reason: str = "aborted") -> None:
        """End at once."""
        if not self.ended:
            self._end(reason)
        if not self._try(Event.ABORT_LOCAL) and self._transport is not None:
            self._transport.abort()

    def drop(self) -> None:
        """Close the transport without a word (a socket that never asked for anything)."""
        self._end("dropped")
        if self._transport is not None:
            self._transport.abort()
