"""Rows of the index as values."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from dicom.corrections import taken_uid
from dicom.index.corrections import read_overlay
from dicom.index.frames import unpack_ranges
from dicom.model import InstanceRow, Overlay, PixelKind, PixelLayout, Place, QuarantineRow, SeriesRow, StudyRow


def study_row(found: sqlite3.Row, merged: dict[str, Any] | None) -> StudyRow:
    """A study; `merged`: what several visible holders have together."""
    row: Mapping[str, Any] = dict(zip(found.keys(), found, strict=True))
    return StudyRow(
        study_uid=row["study_uid"],
        organisation=row["organisation"],
        patient_id=row["patient_id"],
        issuer_of_patient_id=row["issuer_of_patient_id"],
        patient_name=row["patient_name"],
        birth_date=row["birth_date"],
        sex=row["sex"],
        accession=row["accession"],
        issuer_of_accession=row["issuer_of_accession"],
        study_date=row["study_date"],
        study_time=row["study_time"],
        study_id=row["study_id"],
        description=row["description"],
        referring_physician=row["referring_physician"],
        institution=row["institution"],
        modalities=tuple(merged["modalities"] if merged else [m for m in row["modalities"].split("\\") if m]),
        series_count=merged["series"] if merged else row["series_count"],
        instance_count=merged["instances"] if merged else row["instance_count"],
        stored_at=datetime.fromisoformat(row["stored_at"]),
        changed_at=datetime.fromisoformat(row["changed_at"]),
        repaired=row["repaired"],
        mixed_patients=bool(row["mixed_patients"]),
        source=row["source"],
    )


def series_row(row: sqlite3.Row, count: int, sop_uid: str) -> SeriesRow:
    """A series with the count and the first SOP Instance UID that are visible."""
    return SeriesRow(
        study_uid=row["study_uid"],
        series_uid=row["series_uid"],
        modality=row["modality"],
        number=row["number"],
        description=row["description"],
        body_part=row["body_part"],
        laterality=row["laterality"],
        series_date=row["series_date"],
        series_time=row["series_time"],
        manufacturer_model=row["manufacturer_model"],
        instance_count=count,
        first_sop_uid=sop_uid,
    )


def quarantined_row(row: sqlite3.Row) -> QuarantineRow:
    """A quarantined file and what was decided on it."""
    decision = json.loads(row["decision"])
    digest = row["digest"].hex()
    return QuarantineRow(
        id=row["id"],
        organisation=row["organisation"],
        study_uid=row["study_uid"],
        series_uid=row["series_uid"],
        sop_uid=row["sop_uid"],
        digest=digest,
        source=row["source"],
        received_at=datetime.fromisoformat(row["received_at"]),
        state=row["state"],
        place=_place(row),
        new_sop_uid=taken_uid(row["sop_uid"], digest) if row["state"] == "taken" else "",
        decided_at=decision.get("at", ""),
        decided_by=decision.get("by", ""),
    )


def _overlay(row: Mapping[str, Any]) -> Overlay | None:
    if row["overlay_value"] is None and row["stored_sop"] is None:
        return None
    return read_overlay(row["overlay_value"], row["sop_uid"], row["stored_sop"], row["stored_at"])


def _place(row: sqlite3.Row | Mapping[str, Any]) -> Place:
    return Place(
        pack=row["pack"],
        offset=row["offset"],
        prefix_length=row["prefix_length"],
        body_length=row["body_length"],
    )


def instance_rows(found: Sequence[sqlite3.Row]) -> list[InstanceRow]:
    """The instances of a statement that joins their blobs and overlays."""
    names = found[0].keys() if found else []
    return [_instance_row(dict(zip(names, row, strict=True))) for row in found]  # a Row compares names one by one


def instance_row(found: sqlite3.Row) -> InstanceRow:
    """One of them."""
    return instance_rows([found])[0]


def _instance_row(row: Mapping[str, Any]) -> InstanceRow:
    metadata = None
    if row["metadata_pack"] is not None:
        metadata = Place(
            pack=row["metadata_pack"],
            offset=row["metadata_offset"],
            prefix_length=0,
            body_length=row["metadata_length"],
        )
    return InstanceRow(
        organisation=row["organisation"],
        study_uid=row["study_uid"],
        series_uid=row["series_uid"],
        sop_uid=row["sop_uid"],
        sop_class=row["sop_class"],
        number=row["number"],
        modality=row["modality"],
        transfer_syntax=row["transfer_syntax"],
        digest=row["digest"].hex(),
        rows=row["rows"],
        columns=row["columns"],
        bits_allocated=row["bits_allocated"],
        samples=row["samples"],
        photometric=row["photometric"],
        frames=row["frames"],
        has_waveform=bool(row["has_waveform"]),
        document_type=row["document_type"],
        stored_at=datetime.fromisoformat(row["stored_at"]),
        blob=row["blob"],
        place=_place(row),
        metadata=metadata,
        overlay=_overlay(row),
        source=row["source"],
        pixels=PixelLayout(
            kind=PixelKind(row["pixel_kind"]),
            offset=row["pixel_offset"],
            length=row["pixel_length"],
            frames=row["pixel_frames"],
            frame_length=row["frame_length"],
            keyword=row["pixel_keyword"],
            ranges=unpack_ranges(row["ranges"]),
        ),
    )
