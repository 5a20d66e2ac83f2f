"""Corrections and decisions as deeds: made durable as pack records, entered in the index, read back by a rescan."""

from __future__ import annotations

import asyncio
import json
import sqlite3
from collections.abc import Callable
from dataclasses import asdict, replace
from datetime import UTC, datetime
from hashlib import sha256
from typing import Any

from dicom import corrections as rules
from dicom.committer import Committer
from dicom.corrections import Choice, Correction, Decision
from dicom.elements import Budget, Window
from dicom.errors import CorrectionError, NotFoundError
from dicom.header import needs_worker, read_header
from dicom.index import corrections as index
from dicom.index import removal
from dicom.index.reader import IndexReader
from dicom.index.writer import Holding, apply_holding
from dicom.jobs import Job, Settling
from dicom.labels import header_from_json, header_of, header_to_json
from dicom.model import Header, InstanceRow, PixelKind, Place, QuarantineRow, Removal
from dicom.packs.record import Kind
from dicom.part10 import split_file
from dicom.retrieve import ByteRange, Retriever

ReadPack = Callable[[int, int, int], bytes]  # pack, offset, size
_CHUNK = 1 << 20
_FRAMED = frozenset({"encapsulated", "uncertain"})
# Not worth a line when two files are compared: lengths and the values themselves of what no person reads.
_UNREAD = frozenset({"7FE00010", "7FE00008", "7FE00009", "FFFCFFFC"})


class Settler:
    """What technicians do to the archive's studies and quarantine. Permission is the caller's business."""

    def __init__(
        self,
        committer: Committer,
        reader: IndexReader,
        retriever: Retriever,
        clock: Callable[[], datetime],
        wake: Callable[[], None],
    ) -> None:
        self._committer = committer
        self._reader = reader
        self._retriever = retriever
        self._clock = clock
        self._wake = wake
        self.turn = asyncio.Lock()
        """For callers to whom a correction is more than one deed."""

    # -- corrections

    def corrections(self, organisation: str) -> list[Correction]:
        """Every correction of the organisation, undone ones too, the oldest first. Blocks."""
        return self._reader.corrections(organisation)

    def attributes(self, organisation: str, study_uid: str) -> dict[str, Any]:
        """What a study is shown with, by index column; what a split starts from. Blocks. Raises NotFoundError."""
        found = self._reader.shown_attributes(organisation, study_uid)
        if found is None:
            raise NotFoundError
        return found

    async def correct(self, correction: Correction) -> Correction:
        """Make a correction: durable, then shown. Raises CorrectionError with the reason where it does not fit.

        Asking again with the same id and content answers as the first time, so that a caller who died may ask anew.
        """
        earlier = await self._find(correction.organisation, correction.id)
        if earlier is not None:
            if replace(earlier, made=0) != correction:
                raise CorrectionError(code="no_such_correction")
            return earlier
        rules.check_form(correction)
        return await self._submit(correction, lambda link: index.check_correction(link, correction))

    async def undo(self, organisation: str, id: str, *, by: str, at: str = "") -> Correction:
        """Take a correction back; those made after it stay, where they still fit. Raises CorrectionError."""
        found = await self._find(organisation, id)
        if found is None:
            raise CorrectionError(code="no_such_correction")
        if found.undone:
            return found
        undone = replace(found, undone=True, undone_at=at or self._now(), undone_by=by)
        return await self._submit(undone, lambda link: index.check_undo(link, organisation, id))

    def flows(self, organisation: str, undone: str) -> set[tuple[str, str]]:
        """(shown now, shown then) of every series that moves when a correction is taken back. Blocks."""
        known = self._reader.corrections(organisation)
        before, after = rules.in_force(known), rules.in_force(one for one in known if one.id != undone)
        named = {uid for one in known if one.id == undone for uid in (one.study_uid, one.target_uid)} - {""}
        out: set[tuple[str, str]] = set()
        for stored, series in self._reader.stored_series(organisation, rules.component(named, known)):
            now, then = (rules.shown_study(stored, series, played) for played in (before, after))
            if now != then:
                out.add((now, then))
        return out

    async def _find(self, organisation: str, id: str) -> Correction | None:
        known = await asyncio.to_thread(self._reader.corrections, organisation)
        return next((one for one in known if one.id == id), None)

    async def _submit(self, one: Correction, check: Callable[[sqlite3.Connection], None]) -> Correction:
        settling = Settling(
            kind=Kind.CORRECTION, label={"correction": rules.to_json(one)}, check=check, apply=enter_correction
        )
        made: Correction = await self._settled(settling, one.organisation, one.by)
        return made

    # -- quarantine

    def quarantine(self, organisation: str) -> list[QuarantineRow]:
        """What is and was in quarantine, settled or not, the oldest first. Blocks."""
        return self._reader.quarantine(frozenset({organisation}), state=None)

    def item(self, organisation: str, id: int) -> QuarantineRow:
        """One quarantined file. Blocks. Raises NotFoundError, also where it is another organisation's."""
        found = self._reader.quarantined(organisation, id)
        if found is None:
            raise NotFoundError
        return found

    async def decide(self, organisation: str, id: int, choice: Choice, *, by: str, reason: str = "") -> QuarantineRow:
        """Keep the original, take the quarantined file as an instance of its own, or take either back (`open`)."""
        item = await asyncio.to_thread(self.item, organisation, id)
        if item.state == choice:
            return item
        one = Decision(
            organisation=organisation, sop_uid=item.sop_uid, digest=item.digest, choice=choice, at=self._now(), by=by,
            reason=reason,
        )  # fmt: skip
        label: dict[str, Any] = {"decision": asdict(one)}
        header: Header | None = None
        if choice == "taken":
            header = await self._header(item)
            label["taken"] = header_to_json(header)
        settling = Settling(
            kind=Kind.DECISION,
            label=label,
            check=lambda link: index.check_decision(link, one),
            apply=lambda link, whole: enter_decision(link, whole, header),
        )
        await self._settled(settling, organisation, by)
        self._wake()
        return await asyncio.to_thread(self.item, organisation, id)

    async def quarantined(self, item: QuarantineRow) -> InstanceRow:
        """The quarantined file as if it were held: for its picture and its metadata, never for anything else."""
        header = await self._header(item)
        return _row(item, header)

    async def compare(self, item: QuarantineRow) -> list[dict[str, str]]:
        """Attributes of the held and the quarantined file that differ: `{"tag", "vr", "held", "new"}` as text."""
        stored = replace(await self.held(item), overlay=None)
        rows = [stored, await self.quarantined(item)]
        made = [json.loads(text) for text in await self._retriever.metadata(rows, lambda _row, _data: None)]
        out: list[dict[str, str]] = []
        for tag in sorted({*made[0], *made[1]} - _UNREAD):
            a, b = made[0].get(tag), made[1].get(tag)
            if a != b:
                vr = (a or b or {}).get("vr", "")
                out.append({"tag": tag, "vr": vr, "held": _text(a), "new": _text(b)})
        pixels = [await asyncio.to_thread(self._pixels, row) for row in rows]
        if pixels[0] != pixels[1]:
            out.append({"tag": "7FE00010", "vr": "OW", "held": "", "new": ""})
        return out

    def _pixels(self, row: InstanceRow) -> str:
        """SHA-256 of the pixels as they are stored, whatever stands around them."""
        hasher, p = sha256(row.transfer_syntax.encode()), row.pixels
        if p.kind is PixelKind.DEFLATED:
            return row.digest
        native = p.kind in {PixelKind.NATIVE, PixelKind.BITS}
        spans = [(p.offset, p.length)] if native else [one for frame in p.ranges for one in frame]
        for offset, length in spans:
            for start in range(0, length, _CHUNK):
                span = ByteRange(
                    pack=row.place.pack, offset=row.place.body_offset + offset + start,
                    length=min(_CHUNK, length - start),
                )  # fmt: skip
                hasher.update(self._retriever.read(span))
        return hasher.hexdigest()

    async def held(self, item: QuarantineRow) -> InstanceRow:
        """The instance held under the same identity. Raises NotFoundError."""
        return await asyncio.to_thread(self.find, item.organisation, item.sop_uid)

    def find(self, organisation: str, sop_uid: str) -> InstanceRow:
        """The instance an organisation holds, under whatever study it is shown now. Blocks. Raises NotFoundError."""
        found = self._reader.held(organisation, sop_uid)
        if found is None:
            raise NotFoundError
        return found

    async def _header(self, item: QuarantineRow) -> Header:
        place = item.place

        def read() -> tuple[str, Header | None]:
            whole = ByteRange(pack=place.pack, offset=place.offset, length=place.length)
            syntax = split_file(self._window(whole)).transfer_syntax
            if needs_worker(syntax):
                return syntax, None
            body = ByteRange(pack=place.pack, offset=place.body_offset, length=place.body_length)
            return syntax, read_header(self._window(body), syntax, _budget())

        syntax, found = await asyncio.to_thread(read)
        return found or header_of(await self._retriever.read_header(place, syntax))

    def _window(self, span: ByteRange) -> Window:
        def read(offset: int, size: int) -> bytes:
            return self._retriever.read(ByteRange(pack=span.pack, offset=span.offset + offset, length=size))

        return Window(span.length, read)

    # -- both

    def _now(self) -> str:
        return self._clock().astimezone(UTC).isoformat(timespec="milliseconds")

    # -- removal

    async def remove(self, one: Removal) -> list[str]:
        """Take a study out of the archive for good: durable, then invisible. Asked again with the same id: nothing.

        Answers the digests of bytes that nobody holds any more. Raises CorrectionError: `no_such_study`, `retention`
        (something came after `stored_before`), `quarantine_waits`, `changed_meanwhile` (other series than named).
        """
        settling = Settling(
            kind=Kind.TOMBSTONE, label={"removal": asdict(one)}, check=lambda link: removal.check_removal(link, one),
            apply=removal.enter_removal,
        )  # fmt: skip
        gone: list[str] = await self._settled(settling, one.organisation, one.by)
        return gone

    async def _settled(self, settling: Settling, organisation: str, by: str) -> Any:
        loop = asyncio.get_running_loop()
        job = Job(
            loop=loop, future=loop.create_future(), size=0, organisation=organisation, source=f"technician:{by}",
            at=self._clock().astimezone(UTC), settling=settling,
        )  # fmt: skip
        self._committer.submit(job)
        return await asyncio.shield(job.future)


def enter_correction(connection: sqlite3.Connection, label: dict[str, Any]) -> Correction:
    """A correction record into the index, live or replayed."""
    one = rules.from_json(label["correction"])
    generation = int(label["generation"])
    one = one if one.made else replace(one, made=generation)
    index.apply_correction(connection, one, generation)
    return one


def enter_decision(
    connection: sqlite3.Connection, label: dict[str, Any], header: Header | None, read: ReadPack | None = None
) -> None:
    """A decision record into the index. `header`, or `read` of a pack: where the frames of the taken file lie."""
    one = Decision(**label["decision"])
    place, source = index.place_of(connection, one)
    if not index.apply_decision(connection, one, int(label["generation"])) or one.choice != "taken":
        return
    if header is None:
        header = _header(label["taken"], place, read)
    holding = Holding(
        organisation=one.organisation,
        source=source,
        at=label["at"],
        digest=one.digest,
        generation=int(label["generation"]),
        header=replace(header, sop_uid=rules.taken_uid(one.sop_uid, one.digest)),
        place=place,
        stored_sop=one.sop_uid,
    )
    apply_holding(connection, holding)


def _header(data: dict[str, Any], place: Place, read: ReadPack | None) -> Header:
    header = header_from_json(data)
    if read is None or header.pixels.kind.value not in _FRAMED:
        return header
    base = place.body_offset
    window = Window(place.body_length, lambda offset, size: read(place.pack, base + offset, size))
    return header_from_json(data, read_header(window, header.transfer_syntax, _budget()).pixels)


def _budget() -> Budget:
    """For bytes that ingest has walked already."""
    return Budget(elements=2_000_000, header_bytes=1 << 30, depth=64)


def _row(item: QuarantineRow, h: Header) -> InstanceRow:
    return InstanceRow(
        organisation=item.organisation, study_uid=h.study_uid, series_uid=h.series_uid, sop_uid=h.sop_uid,
        sop_class=h.sop_class, number=h.instance_number, modality=h.modality, transfer_syntax=h.transfer_syntax,
        digest=item.digest, rows=h.rows, columns=h.columns, bits_allocated=h.bits_allocated, samples=h.samples,
        photometric=h.photometric, frames=h.frames, has_waveform=h.has_waveform, document_type=h.document_type,
        stored_at=item.received_at, blob=0, place=item.place, pixels=h.pixels, source=item.source,
    )  # fmt: skip


def _text(value: dict[str, Any] | None) -> str:
    """One attribute of DICOM JSON for a person to read; '' where there is none."""
    if value is None:
        return ""
    if "Value" not in value:
        return "" if "vr" in value and len(value) == 1 else "…"
    if value["vr"] == "SQ":
        return f"[{len(value['Value'])}]"
    parts = []
    for one in value["Value"]:
        if isinstance(one, dict):
            one = one.get("Ideographic") or one.get("Alphabetic") or ""
        parts.append("" if one is None else str(one))
    return "\\".join(parts)[:200]
