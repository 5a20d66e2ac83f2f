"""One association: DIMSE messages over the upper layer (PS3.7 §8), both as acceptor and as requestor.

Requests wait in a queue that stops the reading of the socket when the service is slower than the peer; a dataset is
streamed to its service as it comes. Responses to our own requests and C-CANCEL pass beside that queue.
"""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterable, AsyncIterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from dicom.network import dimse, pdu
from dicom.network.dimse import Command
from dicom.network.machine import Event
from dicom.network.terms import AssociationEndedError, Context, NetworkLimits, Timers
from dicom.network.upper import UpperLayer
from dicom.part10 import IMPLEMENTATION_NAME, IMPLEMENTATION_UID

_COMMAND_LIMIT = 16 << 10
_REPLY_LIMIT = 1 << 20  # datasets of responses, the only ones that are collected here
_HIGH, _LOW = 1 << 20, 256 << 10
_QUEUED_COMMAND = 1 << 10
_SEND_CHUNK = 128 << 10
_MOST_WAITING = 64  # cancels; responses before the reading of the socket stops


@dataclass(slots=True)
class _Incoming:
    """The message whose dataset is arriving."""

    command: Command
    collected: bytearray | None = field(default=None)  # None: streamed to the service


_END, _RELEASE = object(), object()


class Association(UpperLayer):
    """Both sides. The acceptor answers in `_requested` (scp.py); the requestor waits for `opened`."""

    def __init__(
        self, limits: NetworkLimits, *, request: pdu.Associate | None = None, timers: Timers | None = None
    ) -> None:
        super().__init__(limits, request=request, timers=timers)
        self.cancelled: set[int] = set()
        """Numbers of our peer's requests that it has cancelled."""
        self._inbox: deque[Any] = deque()
        self._replies: deque[tuple[Command, bytes]] = deque()
        self._queued = 0
        self._paused = False
        self._command = bytearray()
        self._incoming: _Incoming | None = None
        self._open_dataset = False  # the service has not read its request's dataset to the end
        self._next_message = 0

    # -- the queue

    def _release_asked(self) -> None:
        self._push(_RELEASE, 0)

    def _forget(self) -> None:
        self._inbox.clear()

    def _push(self, item: Any, cost: int) -> None:
        if self.ended:
            return
        self._inbox.append(item)
        self._queued += cost
        if self._queued > _HIGH:
            self._pause()
        self._wake()

    def _pause(self) -> None:
        if not self._paused:
            self._paused = True
            self._transport.pause_reading()

    def _resume(self) -> None:
        if self._paused and self._queued < _LOW and len(self._replies) < _MOST_WAITING and not self.ended:
            self._paused = False
            self._transport.resume_reading()

    def _pop(self) -> Any:
        item = self._inbox.popleft()
        self._queued -= len(item) if isinstance(item, bytes) else _QUEUED_COMMAND if isinstance(item, Command) else 0
        self._resume()
        return item

    # -- messages in

    def _fragment(self, fragment: pdu.Fragment) -> None:
        if fragment.context not in self.contexts:
            raise pdu.PduError("a context that was not accepted")
        incoming = self._incoming
        if fragment.command:
            if incoming is not None or len(self._command) + len(fragment.data) > _COMMAND_LIMIT:
                raise pdu.PduError("a command out of place")
            self._command += fragment.data
            if fragment.last:
                command = dimse.decode_command(fragment.context, bytes(self._command))
                self._command.clear()
                self._arrived(command)
            return
        if incoming is None or incoming.command.context != fragment.context:
            raise pdu.PduError("data out of place")
        if incoming.collected is not None:
            incoming.collected += fragment.data
            if len(incoming.collected) > _REPLY_LIMIT:
                raise pdu.PduError("a response too long")
        elif fragment.data:
            self._push(fragment.data, len(fragment.data))
        if fragment.last:
            self._incoming = None
            if incoming.collected is None:
                self._push(_END, 0)
            else:
                self._reply(incoming.command, bytes(incoming.collected))

    def _arrived(self, command: Command) -> None:
        if command.field == dimse.C_CANCEL:
            if len(self.cancelled) < _MOST_WAITING:
                self.cancelled.add(command.number("responded"))
        elif command.field & dimse.RESPONSE:
            if command.has_dataset:
                self._incoming = _Incoming(command, bytearray())
            else:
                self._reply(command, b"")
        else:
            self._push(command, _QUEUED_COMMAND)
            if command.has_dataset:
                self._incoming = _Incoming(command)

    def _reply(self, command: Command, data: bytes) -> None:
        if not self._next_message:
            raise pdu.PduError("responses to nothing")
        self._replies.append((command, data))
        if len(self._replies) >= _MOST_WAITING:
            self._pause()
        self._wake()

    # -- what services use

    async def receive(self) -> Command | None:
        """The next request, None after an orderly release. Raises AssociationEndedError."""
        await self.discard()
        await self._until(lambda: bool(self._inbox))
        item = self._pop()
        if item is _RELEASE:
            self._try(Event.RELEASE_ANSWER_LOCAL)
            return None
        command: Command = item
        self._open_dataset = command.has_dataset
        return command

    async def dataset(self) -> AsyncIterator[bytes]:
        """The dataset of the request just received, as it comes. Raises AssociationEndedError."""
        while self._open_dataset:
            if not self._inbox:
                await self._until(lambda: bool(self._inbox))
            item = self._pop()
            if item is _END:
                self._open_dataset = False
                return
            if not isinstance(item, bytes):
                self.abort("protocol_error")  # a release in the middle of a message
                raise AssociationEndedError(code="protocol_error")
            yield item

    async def discard(self) -> None:
        """Step over what is left of the present dataset."""
        async for _ in self.dataset():
            pass

    async def whole_dataset(self, most: int) -> bytes | None:
        """The dataset in one piece; None (and stepped over) where it is longer than `most`."""
        out = bytearray()
        async for chunk in self.dataset():
            if len(out) <= most:
                out += chunk
        return bytes(out) if len(out) <= most else None

    async def send(
        self,
        context: int,
        command: Mapping[str, int | str],
        dataset: bytes | AsyncIterable[bytes] | None = None,
    ) -> None:
        """One message. Raises AssociationEndedError."""
        raw = dimse.encode_command(command)
        self._send_unit(pdu.data_head(context, len(raw), command=True, last=True) + raw)
        if dataset is not None:
            room = min(self._peer_max or _SEND_CHUNK, _SEND_CHUNK) - pdu.HEADER
            held: bytes | memoryview = b""
            async for chunk in _chunks(dataset):
                view = memoryview(chunk) if not held else memoryview(bytes(held) + chunk)
                # The last piece is kept back: only the end of the dataset knows that it is the last.
                while len(view) > room:
                    await self._send_piece(context, view[:room], last=False)
                    view = view[room:]
                held = view
            await self._send_piece(context, held, last=True)
        if self._full:
            await self._until(lambda: not self._full)

    async def _send_piece(self, context: int, piece: bytes | memoryview, *, last: bool) -> None:
        self._send_unit(b"".join((pdu.data_head(context, len(piece), command=False, last=last), piece)))
        if self._full:
            await self._until(lambda: not self._full)

    def _send_unit(self, data: bytes) -> None:
        if self.ended or not self._try(Event.DATA_LOCAL, data):
            raise AssociationEndedError(code=self.ended or "association_ended")

    async def reply(self, message: int) -> tuple[Command, bytes]:
        """The response to our request `message`. Raises AssociationEndedError."""
        await self._until(lambda: bool(self._replies))
        command, data = self._replies.popleft()
        self._resume()
        if command.number("responded") != message:
            self.abort("protocol_error")
            raise AssociationEndedError(code="protocol_error")
        return command, data

    async def asked(self) -> bool:
        """Wait for the peer's next word: True for a request of its own (or its release), False for a response.

        What was not read of the last request's dataset is stepped over. Raises AssociationEndedError.
        """
        await self.discard()
        await self._until(lambda: bool(self._inbox) or bool(self._replies))
        return bool(self._inbox)

    def next_message(self) -> int:
        """A number for a request of ours."""
        self._next_message = self._next_message % 0xFFFF + 1
        return self._next_message

    async def release(self) -> None:
        """Ask for release and wait until the connection is over."""
        if self._try(Event.RELEASE_LOCAL):
            with suppress(AssociationEndedError):
                await self._until(lambda: False)


async def _chunks(dataset: bytes | AsyncIterable[bytes]) -> AsyncIterator[bytes]:
    if isinstance(dataset, bytes):
        yield dataset
        return
    async for chunk in dataset:
        yield chunk


def acceptance_of(
    proposal: pdu.Associate, contexts: Mapping[int, Context], results: Mapping[int, int], limits: NetworkLimits
) -> pdu.Associate:
    """The A-ASSOCIATE-AC for a request: titles as they came (PS3.8 §9.3.3), one answer per proposal."""
    answers = tuple(
        pdu.Answer(
            id=p.id,
            result=results.get(p.id, 0),
            transfer=contexts[p.id].transfer if p.id in contexts else "",
        )
        for p in proposal.proposals
    )
    peers = {context.abstract for context in contexts.values() if context.peer_is_scp}
    return pdu.Associate(
        called=proposal.called,
        calling=proposal.calling,
        answers=answers,
        roles=tuple(role for role in proposal.roles if role.abstract in peers),
        max_length=limits.max_pdu,
        implementation_uid=IMPLEMENTATION_UID,
        implementation_name=IMPLEMENTATION_NAME,
    )
