"""The archive's values: what was asked, what is held, who may see it. No behaviour beyond small facts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from hashlib import sha256
from typing import Literal

Outcome = Literal["stored", "duplicate", "conflict", "refused"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Scope:
    """Whose rows may be seen: those held by `organisations` or of `studies`, minus `hidden` (both StudyInstanceUIDs).

    `holder` is the organisation on whose behalf this caller stores; None where the caller may not store.
    """

    organisations: frozenset[str] = frozenset()
    studies: frozenset[str] = frozenset()
    hidden: frozenset[str] = frozenset()
    unlimited: bool = False
    holder: str | None = None

    @classmethod
    def everything(cls) -> Scope:
        """For the system's own jobs (matching, backup); never for a request."""
        return cls(unlimited=True)

    def allows(self, organisation: str, study_uid: str) -> bool:
        """The same rule as the SQL, for a single row."""
        if study_uid in self.hidden:
            return False
        return self.unlimited or organisation in self.organisations or study_uid in self.studies


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Bounds that hold against whatever is sent. Sizes in bytes, times in seconds."""

    instance_bytes: int = 8 << 30
    memory_bytes: int = 64 << 20  # all bodies waiting in memory together
    inline_bytes: int = 8 << 20  # a larger body goes to a staging file
    batch_bytes: int = 32 << 20  # one group commit
    pack_bytes: int = 1 << 30  # a pack is sealed beyond this
    header_bytes: int = 256 << 10
    header_elements: int = 10_000
    header_depth: int = 32
    worker_elements: int = 500_000  # the same walk in a worker, where time and memory are bounded
    worker_header_bytes: int = 64 << 20
    inflated_bytes: int = 256 << 20
    decoded_bytes: int = 512 << 20  # one frame, decoded
    decoding_bytes: int = 768 << 20  # the same with what the codec keeps meanwhile
    worker_memory_bytes: int = 1 << 30
    worker_seconds: float = 20.0
    query_rows: int = 1000
    thumbnail_cache_bytes: int = 512 << 20
    memory_cache_bytes: int = 32 << 20
    reserve_bytes: int = 0  # uploads are refused when less is free on the disk
    quota_bytes: int = 0  # an organisation may hold so much (0: no limit), unless `quotas` names it
    quotas: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Removal:
    """The removal of a study from an organisation: after its retention by two people, or by a gateway.

    `series`: (Study Instance UID, Series Instance UID) as stored of everything shown under `study_uid`.
    `stored_before`: ISO 8601; with anything that came later the study is not removed.
    """

    id: str
    organisation: str
    study_uid: str
    series: tuple[tuple[str, str], ...]
    stored_before: str
    at: str
    by: str
    approved_by: str
    reason: str


class PixelKind(StrEnum):
    """How the pixels of a stored instance lie."""

    NONE = "none"
    NATIVE = "native"  # frames are equal slices of one value
    ENCAPSULATED = "encapsulated"  # frames are lists of fragments
    DEFLATED = "deflated"  # inside a deflated dataset: no offsets
    BITS = "bits"  # one bit per pixel, frames not on byte borders
    UNCERTAIN = "uncertain"  # fragments that cannot be told apart into frames


@dataclass(frozen=True, slots=True, kw_only=True)
class PixelLayout:
    """Where the pixels are, in bytes from the start of the dataset."""

    kind: PixelKind = PixelKind.NONE
    offset: int = 0  # of the value of Pixel Data
    length: int = 0  # of that value; for encapsulated data the sum of all fragments
    frames: int = 0
    frame_length: int = 0  # native only
    ranges: tuple[
        tuple[tuple[int, int], ...], ...
    ] = ()  # encapsulated: per frame its fragments (offset, length)
    keyword: str = ""  # PixelData, FloatPixelData, DoubleFloatPixelData


@dataclass(frozen=True, slots=True, kw_only=True)
class Header:
    """What the index keeps of one dataset, decoded and trimmed. Dates are DICOM's YYYYMMDD; absent is ''."""

    study_uid: str
    series_uid: str
    sop_uid: str
    sop_class: str
    transfer_syntax: str
    patient_id: str = ""
    issuer_of_patient_id: str = ""
    patient_name: str = ""
    birth_date: str = ""
    sex: str = ""
    accession: str = ""
    issuer_of_accession: str = ""
    study_date: str = ""
    study_time: str = ""
    study_id: str = ""
    study_description: str = ""
    referring_physician: str = ""
    institution: str = ""
    modality: str = ""
    series_number: int | None = None
    series_description: str = ""
    series_date: str = ""
    series_time: str = ""
    body_part: str = ""
    laterality: str = ""
    manufacturer_model: str = ""
    instance_number: int | None = None
    content_date: str = ""
    content_time: str = ""
    rows: int | None = None
    columns: int | None = None
    bits_allocated: int | None = None
    samples: int | None = None
    photometric: str = ""
    frames: int | None = None
    charset: str = ""  # the label as sent
    repaired: str = ""  # the character set really found, where the label was wrong or absent
    has_waveform: bool = False
    document_type: str = ""  # MIME type of an encapsulated document
    pixels: PixelLayout = field(default_factory=PixelLayout)


@dataclass(frozen=True, slots=True, kw_only=True)
class IngestResult:
    """The answer for one instance. `reason`: one of `dicom.errors.REFUSALS` when refused, `other_bytes` on conflict."""

    outcome: Outcome
    reason: str | None = None
    study_uid: str = ""
    series_uid: str = ""
    sop_uid: str = ""
    sop_class: str = ""
    accession: str = ""
    issuer_of_accession: str = ""
    patient_id: str = ""
    issuer_of_patient_id: str = ""
    patient_name: str = ""
    birth_date: str = ""
    sex: str = ""
    modality: str = ""
    study_date: str = ""
    digest: str = ""  # SHA-256 of the dataset, hex
    new_study: bool = False
    custody: bool = False  # the bytes were already here, held by another organisation
    repaired: str = ""

    @classmethod
    def of(cls, outcome: Outcome, header: Header, digest: str, **more: object) -> IngestResult:
        """The result for a dataset whose header could be read."""
        return cls(
            outcome=outcome,
            study_uid=header.study_uid,
            series_uid=header.series_uid,
            sop_uid=header.sop_uid,
            sop_class=header.sop_class,
            accession=header.accession,
            issuer_of_accession=header.issuer_of_accession,
            patient_id=header.patient_id,
            issuer_of_patient_id=header.issuer_of_patient_id,
            patient_name=header.patient_name,
            birth_date=header.birth_date,
            sex=header.sex,
            modality=header.modality,
            study_date=header.study_date,
            digest=digest,
            repaired=header.repaired,
            **more,  # type: ignore[arg-type]
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """QIDO-RS as a value (PS3.18 §10.6): DICOM keyword → matching string as written (wildcards, ranges, UID lists).

    `dicom.query.parse` makes it from URL parameters; callers may write `Query(matches={"PatientID": "123"})`.
    """

    matches: Mapping[str, str] = field(default_factory=dict)
    limit: int | None = None
    offset: int = 0
    fuzzy: bool = False
    include: frozenset[str] = frozenset()
    ignored: tuple[str, ...] = ()  # keys that were asked for and cannot be matched


@dataclass(frozen=True, slots=True, kw_only=True)
class StudyRow:
    """One study as the scope sees it. Counts cover visible instances only."""

    study_uid: str
    organisation: str  # the (first) holding organisation
    patient_id: str
    issuer_of_patient_id: str
    patient_name: str
    birth_date: str
    sex: str
    accession: str
    issuer_of_accession: str
    study_date: str
    study_time: str
    study_id: str
    description: str
    referring_physician: str
    institution: str
    modalities: tuple[str, ...]
    series_count: int
    instance_count: int
    stored_at: datetime
    changed_at: datetime
    repaired: str
    mixed_patients: bool  # instances of this study name different patients
    source: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SeriesRow:
    """One series as the scope sees it."""

    study_uid: str
    series_uid: str
    modality: str
    number: int | None
    description: str
    body_part: str
    laterality: str
    series_date: str
    series_time: str
    manufacturer_model: str
    instance_count: int
    first_sop_uid: str  # for a thumbnail: the instance in the middle would cost more


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where a stored file lies: `pack` id, byte offset of the part-10 file in it, its two lengths."""

    pack: int
    offset: int
    prefix_length: int
    body_length: int

    @property
    def length(self) -> int:
        return self.prefix_length + self.body_length

    @property
    def body_offset(self) -> int:
        return self.offset + self.prefix_length


@dataclass(frozen=True, slots=True, kw_only=True)
class Overlay:
    """What of an instance is shown otherwise than it is stored (`dicom.corrections`); its bytes stay as they are."""

    changes: tuple[tuple[int, str, str], ...]  # (tag, VR, text), '' for an empty value
    removed: tuple[int, ...] = ()  # left out
    at: str = ""  # of the last correction, ISO 8601


@dataclass(frozen=True, slots=True, kw_only=True)
class InstanceRow:
    """One stored instance: what it is and where its bytes are."""

    organisation: str
    study_uid: str
    series_uid: str
    sop_uid: str
    sop_class: str
    number: int | None
    modality: str
    transfer_syntax: str
    digest: str
    rows: int | None
    columns: int | None
    bits_allocated: int | None
    samples: int | None
    photometric: str
    frames: int | None
    has_waveform: bool
    document_type: str
    stored_at: datetime
    blob: int
    place: Place
    pixels: PixelLayout
    metadata: Place | None = None
    overlay: Overlay | None = None
    source: str = ""

    @property
    def version(self) -> str:
        """Names the exact file as it is shown: the digest of what is stored, and of what is shown otherwise."""
        if self.overlay is None:
            return self.digest
        return sha256(f"{self.digest}\x1f{self.overlay!r}".encode()).hexdigest()


@dataclass(frozen=True, slots=True, kw_only=True)
class QuarantineRow:
    """Other bytes under an identity that is already held. Nothing of it is served until a technician decides."""

    id: int
    organisation: str
    study_uid: str
    series_uid: str
    sop_uid: str
    digest: str
    source: str
    received_at: datetime
    state: str  # "open", "kept": the original stays, "taken": it is an instance of its own
    place: Place
    new_sop_uid: str = ""  # of a taken one
    decided_at: str = ""
    decided_by: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Arrival:
    """One instance as it came: `number` grows with every commit, `source` is the door and device."""

    number: int
    at: datetime
    organisation: str
    study_uid: str
    sop_uid: str
    modality: str
    source: str
    digest: str
    description: str  # of the study
