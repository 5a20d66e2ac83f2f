"""Mutated PDUs and whole associations, from either side, in memory; and a part over sockets among silent and slow ones.

`python -m tests.fuzz.pdus [--count N] [--seed S] [--first N]`: `--count` counts conversations' PDUs, `--first` conversations.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import random
import struct
import sys
import tempfile
import time
import traceback
from contextlib import closing, suppress
from functools import cache
from pathlib import Path

from dicom.archive import Archive
from dicom.elements import Window
from dicom.errors import DicomError
from dicom.header import read_header
from dicom.model import IngestResult
from dicom.network import dimse, pdu
from dicom.network import negotiation as uids
from dicom.network.association import Association
from dicom.network.machine import State
from dicom.network.ports import Address
from dicom.network.scp import Listener
from dicom.network.services import SERVICES
from dicom.network.terms import NetworkLimits
from dicom.part10 import split_file
from tests.archive.files import make
from tests.fuzz import _run
from tests.network.conftest import House
from tests.network.test_hostile import HandClock

SECONDS = 2.0
GROWTH_MB = 64
LIMITS = NetworkLimits()
CT, EXPLICIT, IMPLICIT = "1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2"
ABSTRACTS = [uids.VERIFICATION, CT, uids.STUDY_FIND, uids.PATIENT_FIND, uids.WORKLIST_FIND, uids.STUDY_MOVE, uids.STUDY_GET,
             uids.STORAGE_COMMITMENT, uids.PERFORMED_STEP, "1.2.840.10008.5.1.4.1.1.77.1.6", "1.2.3.4"]  # fmt: skip
FIELDS = [dimse.C_STORE, dimse.C_GET, dimse.C_FIND, dimse.C_MOVE, dimse.C_ECHO, dimse.N_EVENT_REPORT, dimse.N_GET,
          dimse.N_SET, dimse.N_ACTION, dimse.N_CREATE, dimse.N_DELETE, dimse.C_CANCEL]  # fmt: skip
LIES = [0, 1, 2, 5, 6, 0xFFFF, 0x10000, 0x7FFFFFFF, 0x80000000, 0xFFFFFFF0, 0xFFFFFFFF]


class Wire:
    """A transport in memory; what is written is kept up to a bound, and must be PDUs."""

    def __init__(self, loop, protocol, peer: str = "127.0.0.1") -> None:
        self.loop, self.protocol, self.peer = loop, protocol, peer
        self.closed = False
        self.reading = asyncio.Event()
        self.reading.set()
        self.out = bytearray()

    def get_extra_info(self, name):
        return (self.peer, 104) if name == "peername" else None

    def set_write_buffer_limits(self, **_limits):
        pass

    def is_closing(self) -> bool:
        return self.closed

    def write(self, data) -> None:
        assert not self.closed
        self.out += data

    def close(self) -> None:
        if not self.closed:
            self.closed = True
            self.reading.set()
            self.loop.call_soon(self.protocol.connection_lost, None)

    abort = close

    def pause_reading(self) -> None:
        self.reading.clear()

    def resume_reading(self) -> None:
        self.reading.set()

    async def feed(self, data: bytes, chance) -> None:
        """Bytes as a socket would bring them: in pieces, and none while reading is stopped."""
        at = 0
        while at < len(data) and not self.closed:
            try:
                async with asyncio.timeout(SECONDS):
                    await self.reading.wait()
            except TimeoutError:
                return
            room = self.protocol.get_buffer(-1)
            assert 0 < len(room) <= LIMITS.max_pdu + (128 << 10) + 12, "an unbounded buffer"
            size = min(len(room), len(data) - at, chance.choice([1, 5, 6, 7, 100, 1 << 20, 1 << 20]))
            room[:size] = data[at : at + size]
            del room
            self.protocol.buffer_updated(size)
            at += size
            if chance.random() < 0.3:
                await asyncio.sleep(0)

    def units(self) -> list[int]:
        """The types of the PDUs written; AssertionError where it is no sequence of them."""
        found, at = [], 0
        while at < len(self.out):
            kind, length = pdu.parse_header(self.out[at : at + 6])
            assert 1 <= kind <= 7, "an answer that is no PDU"
            found.append(kind)
            at += 6 + length
        assert at == len(self.out), "half an answer"
        return found


class Shelf:
    """The archive without its disk: reads what comes as the real one does, answers, keeps nothing."""

    def __init__(self, archive: Archive) -> None:
        self._archive = archive

    def __getattr__(self, name):
        return getattr(self._archive, name)

    async def ingest(self, body, *, organisation, source, study_uid=None):
        data = b"".join([chunk async for chunk in body])
        try:
            head = split_file(Window.of(data))
            header = read_header(Window.of(data[head.dataset_start :]), head.transfer_syntax)
        except DicomError as error:
            return IngestResult(outcome="refused", reason=error.reason)
        return IngestResult.of("stored", header, "0" * 64)


# -- conversations


def item(tag: int, value: bytes) -> bytes:
    return struct.pack("<HHI", tag >> 16, tag & 0xFFFF, len(value)) + value


@cache
def dataset() -> bytes:
    raw = make("1.2.3")
    return raw[raw.index(b"\x08\x00\x05\x00") :]


def request_of(chance) -> pdu.Associate:
    """A request with some contexts; mostly one that will be accepted."""
    chosen = chance.sample(ABSTRACTS, chance.choice([1, 2, 3, len(ABSTRACTS)]))
    proposals = tuple(
        pdu.Proposal(id=2 * n + 1, abstract=uid, transfers=(EXPLICIT, IMPLICIT)[: chance.choice([1, 2])])
        for n, uid in enumerate(chosen)
    )
    called = "HUIZHEN" if chance.random() < 0.95 else chance.choice(["", "OTHER", "\xff" * 16])
    roles = tuple(pdu.Role(abstract=uid, scu=True, scp=True) for uid in chosen if chance.random() < 0.2)
    return pdu.Associate(
        called=called, calling="MODALITY", proposals=proposals, roles=roles, max_length=chance.choice([0, 7, 1024, 16384, 1 << 31])
    )


def message(chance, proposals, *, response: bool = False) -> list[bytes]:
    """One DIMSE message as PDUs, for one of the contexts, with a dataset that may or may not fit."""
    context = chance.choice(proposals)
    fits = {uids.VERIFICATION: dimse.C_ECHO, CT: dimse.C_STORE, uids.STUDY_FIND: dimse.C_FIND, uids.PATIENT_FIND: dimse.C_FIND,
            uids.WORKLIST_FIND: dimse.C_FIND, uids.STUDY_MOVE: dimse.C_MOVE, uids.STUDY_GET: dimse.C_GET,
            uids.STORAGE_COMMITMENT: dimse.N_ACTION, uids.PERFORMED_STEP: chance.choice([dimse.N_CREATE, dimse.N_SET])}  # fmt: skip
    field = fits.get(context.abstract, dimse.C_STORE) if chance.random() < 0.85 else chance.choice(FIELDS)
    has = field not in {dimse.C_ECHO, dimse.C_CANCEL} and chance.random() < 0.95
    values: dict[str, int | str] = {
        "field": field | (dimse.RESPONSE if response else 0), "dataset": 1 if has else 0x0101, "affected_class": context.abstract,
        ("responded" if response or field == dimse.C_CANCEL else "message"): chance.choice([1, 2, 3, 0xFFFF]),
    }
    if response:
        values["status"] = chance.choice([0, 0xFF00, 0xA700, 0xFFFF])
    elif field in {dimse.C_STORE, dimse.N_ACTION, dimse.N_CREATE, dimse.N_SET}:
        values["affected_instance"] = "1.2.3"
    if field == dimse.C_MOVE:
        values["destination"] = chance.choice(["MODALITY", "NOWHERE"])
    out = [pdu.encode_data([pdu.Fragment(context=context.id, command=True, last=True, data=dimse.encode_command(values))])]
    if has:
        level = chance.choice([b"PATIENT ", b"STUDY ", b"SERIES", b"IMAGE ", b"", b"\xff\xff"])
        keys = item(0x00080052, level) + item(0x00080060, b"CT") + item(0x00100010, chance.choice([b"*", b"WANG*", b"\xd5\xc5*"]))
        data = chance.choice([dataset(), keys + item(0x0020000D, b""), keys, b"", bytes(chance.randrange(0, 3000, 2))])
        size = chance.choice([len(data) or 1, len(data) or 1, 100, 30])
        pieces = [data[n : n + size] for n in range(0, len(data), size)][:60] or [b""]
        out += [
            pdu.encode_data([pdu.Fragment(context=context.id, command=False, last=n == len(pieces) - 1, data=piece)])
            for n, piece in enumerate(pieces)
        ]
    return out


def ending(chance) -> list[bytes]:
    return chance.choice([[pdu.encode_release(response=False)], [pdu.encode_release(response=False)], [pdu.encode_abort(pdu.Abort())], []])


def mutated(chance, units: list[bytes]) -> bytes:
    """The units with some doubled, dropped, exchanged, or with bytes and lengths changed."""
    units = list(units)
    for _ in range(chance.choice([0, 1, 1, 2])):
        where = chance.randrange(len(units))
        match chance.randrange(6):
            case 0:
                units.insert(where, units[chance.randrange(len(units))])
            case 1 if len(units) > 1:
                del units[where]
            case 2:
                other = chance.randrange(len(units))
                units[where], units[other] = units[other], units[where]
            case 3:
                units.insert(where, struct.pack(">BxI", chance.randrange(256), chance.choice([*LIES, 4])) + bytes(4))
            case 4 if len(units[where]) >= 12:
                raw = bytearray(units[where])
                spot = chance.choice([2, 6]) if raw[0] == pdu.DATA or len(raw) < 80 else chance.randrange(74, len(raw) - 4)
                raw[spot : spot + 4] = struct.pack(">I", chance.choice([*LIES, len(raw)]))
                units[where] = bytes(raw)
            case _:
                raw = bytearray(units[where])
                for _ in range(chance.choice([1, 1, 4, 20])):
                    raw[chance.randrange(len(raw))] = chance.randrange(256)
                units[where] = bytes(raw)
    whole = b"".join(units)
    return whole[: chance.randrange(1, len(whole))] if chance.random() < 0.1 else whole


def conversation(seed: int, number: int) -> tuple[random.Random, pdu.Associate, list[bytes], bytes, bool]:
    """Case `number`: chance, the association's proposal, the units before and the bytes after mutation, and the side."""
    chance = random.Random(f"{seed}:{number}")
    proposal = request_of(chance)
    calls = number % 4 != 0  # three of four call us, the fourth is called by us
    if calls:
        units = [pdu.encode_associate(proposal)]
    else:
        answers = tuple(pdu.Answer(id=x.id, result=chance.choice([0, 0, 0, 3]), transfer=x.transfers[0]) for x in proposal.proposals)
        units = [pdu.encode_associate(pdu.Associate(called="A", calling="B", answers=answers, max_length=16384))]
    for _ in range(chance.choice([1, 1, 2, 4])):
        units += message(chance, proposal.proposals, response=not calls and chance.random() < 0.9)
    units += ending(chance)
    return chance, proposal, units, mutated(chance, units), calls


class _Dropped:
    """What our side does at the end, whatever happened (`dicom.network.scu`)."""

    def __init__(self, association: Association) -> None:
        self.close = association.drop


class Ground:
    """A listener without sockets, a clock that is moved by hand, and an archive without a disk."""

    def __init__(self, archive: Archive) -> None:
        self.clock = HandClock()
        self.house = House()
        self.house.add("MODALITY")
        self.house.addresses["MODALITY"] = Address(title="MODALITY", host="127.0.0.1", port=1)
        self.listener = Listener(self.house, Shelf(archive), services=SERVICES, limits=LIMITS, timers=self.clock)
        self.loop = asyncio.get_running_loop()

    async def called(self, chance, data: bytes) -> Wire:
        """The peer calls us and says `data`."""
        association = self.listener._accept()
        wire = Wire(self.loop, association)
        association.connection_made(wire)
        first = pdu.HEADER + pdu.parse_header(data)[1] if len(data) > pdu.HEADER and chance.random() < 0.95 else 0
        await wire.feed(data[:first], chance)
        for _ in range(200):  # most peers wait for the answer to their request
            if wire.out or wire.closed or not first:
                break
            await asyncio.sleep(0)
        await wire.feed(data[first:], chance)
        await self.quiet(association, wire)
        return wire

    async def calling(self, chance, proposal: pdu.Associate, data: bytes) -> Wire:
        """We call, ask something, and the peer answers `data`."""
        association = Association(LIMITS, request=proposal, timers=self.clock)
        wire = Wire(self.loop, association)
        association.connection_made(wire)
        asks = self.loop.create_task(self._ask(association))
        await wire.feed(data, chance)
        await self.quiet(association, wire)
        async with asyncio.timeout(SECONDS):
            await asks
        return wire

    async def _ask(self, association: Association) -> None:
        with suppress(DicomError), closing(_Dropped(association)):
            await association.opened
            for context in list(association.contexts):
                number = association.next_message()
                await association.send(context, {"field": dimse.C_ECHO, "message": number, "dataset": 0x0101})
                answer, _ = await association.reply(number)
                if answer.number("status") == 0xFF00 and await association.asked():
                    await association.receive()
            await association.release()

    async def quiet(self, association: Association, wire: Wire) -> None:
        """Until all is said; then time passes, and the connection must be over."""
        for passed in (0, *([LIMITS.artim_seconds + 1, LIMITS.idle_seconds + 1] * 3)):
            # What waits for a worker thread (a query) needs more than turns of the loop.
            until = time.monotonic() + SECONDS
            for turn in range(100_000):
                if wire.closed and association not in self.listener._serving:
                    break
                if turn > 20 and (association._waiter is not None or association not in self.listener._serving):
                    break
                assert time.monotonic() < until, "it hangs"
                await asyncio.sleep(0 if turn < 50 else 0.001)
            self.clock.advance(passed)
        for _ in range(2000):
            if wire.closed and association not in self.listener._serving:
                break
            await asyncio.sleep(0 if _ < 50 else 0.001)
        for _ in range(3):
            await asyncio.sleep(0)
        assert wire.closed, f"the connection stays open in {association.state.name}"
        assert association.state is State.IDLE, association.state.name
        assert association not in self.listener._serving, "its service goes on"
        assert association not in self.listener._pending


async def one(ground: Ground, found: _run.Findings, errors: _run.Errors, seed: int, number: int) -> None:
    """Run one conversation."""
    chance, proposal, units, data, calls = conversation(seed, number)
    wrong, before = "", time.process_time()
    try:
        wire = await (ground.called(chance, data) if calls else ground.calling(chance, proposal, data))
        said = wire.units()
        found.seen["established" if calls and pdu.ACCEPT in said else "called" if not calls else "refused"] += 1
        found.seen["aborted by us"] += pdu.ABORT in said
    except Exception as error:
        wrong = f"{type(error).__name__}: {error} {traceback.format_exc(limit=-2)[-300:]}"
    if time.process_time() - before > SECONDS:
        wrong += f" took {time.process_time() - before:.1f} s"
    if errors.lines:
        wrong = f"{wrong} logged {errors.lines[0]}"
        errors.lines.clear()
    ground.house.items.clear()
    for grown in (ground.house.uses, ground.house.kept, ground.house.committed, ground.house.calls):
        grown.clear()
    ground.house.steps.clear()
    found.ran += len(units)
    found.seen["conversations"] += 1
    if wrong:
        path = _run.keep(f"pdu-{seed}-{number}.bin", data)
        found.fail(f"conversation {number} ({path}): {wrong}")


async def search(count: int, *, seed: int = _run.SEED, first: int = 0, tell=lambda _found: None) -> _run.Findings:
    """Run conversations from `first` on until `count` PDUs have gone."""
    found, errors = _run.Findings("mutated PDUs"), _run.Errors()
    logging.getLogger().addHandler(errors)
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _loop, context: errors.lines.append(str(context.get("exception") or context["message"])))
    try:
        with tempfile.TemporaryDirectory(prefix="huizhen-fuzz-") as folder:
            archive = Archive.open(Path(folder), worker_count=0)
            await archive.start()
            ground, number, warm = Ground(archive), first, 0
            while found.ran < count:
                await one(ground, found, errors, seed, number)
                number += 1
                if number % 500 == 0:
                    gc.collect()
                    found.measure(program=os.getpid())
                    warm = warm or _run.pss_mb(os.getpid())
                    tell(found)
            assert not ground.clock.waiting, f"{len(ground.clock.waiting)} timers were forgotten"
            if warm and _run.pss_mb(os.getpid()) > warm + GROWTH_MB:
                found.fail(f"memory grew from {warm} to {_run.pss_mb(os.getpid())} MB")
            await archive.close()
    finally:
        logging.getLogger().removeHandler(errors)
        loop.set_exception_handler(None)
    return found


if __name__ == "__main__":
    sys.exit(_run.main(__doc__, 1_000_000, search))
