"""The studies of the demo city, written anew from what pydicom ships, and how they enter the archive.

Identities of instances follow from a seed of the installation, so that a start after a stop in between writes the same
bytes again, which the archive knows already.
"""

from __future__ import annotations

import asyncio
import hashlib
import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

from consult.people import OrganisationId
from consult.studying import create_order
from dicom.archive import Archive
from dicom.model import Scope, StudyRow
from dicom.specimens import Identity, phantom, rewrite, shipped
from server.demo.residents import RESIDENTS
from server.demo.stage import Moments, Stage

_AT_ONCE = 12


@dataclass(frozen=True, slots=True, kw_only=True)
class Planned:
    """One study: who holds it, whose it is, what its files say. `files` are names in pydicom's test folder, each a
    series; none: the synthetic phantom. `order`: by whom and where it was ordered; its accession stands in the files.
    """

    place: str
    by: str                            # the technician
    patient: str                       # whose identity the files carry
    name: str                          # as the device writes it
    description: str
    modality: str
    days: float                        # performed so long before the telling
    files: tuple[str, ...] = ()
    ordered: tuple[str, str] | None = None     # (doctor, patient of the order)
    patient_id: str = ""
    born: bool = True                  # whether the device wrote birth date and sex
    charset: str = "ISO_IR 192"
    matches: str = "accession"         # what matching shall find: accession | patient_id | "" (a technician decides)


PLANNED: dict[str, Planned] = {
    "nodule": Planned(
        place="imaging", by="yeqing", patient="zhang", name="Zhang^Jianguo=张^建国", description="胸部 CT 平扫",
        modality="CT", days=1.9, ordered=("zhoumin", "zhang"), patient_id="IM260441", charset="GB18030",
    ),
    "ecg_wu": Planned(
        place="liuxiang", by="sunqiang", patient="wu", name="Wu^Meiling=吴^美玲", description="十二导联心电图",
        modality="ECG", days=0.12, files=("waveform_ecg.dcm",), ordered=("zhoumin", "wu"), patient_id="LX-1184",
    ),
    "ecg_wang": Planned(
        place="liuxiang", by="sunqiang", patient="wang", name="Wang^Xiuying=王^秀英", description="十二导联心电图",
        modality="ECG", days=0.4, files=("waveform_ecg.dcm",), patient_id="LX-0951", matches="patient_id",
    ),
    "echo": Planned(
        place="liuxiang", by="sunqiang", patient="chen", name="Chen^Xiaoyu=陈^晓雨", description="心脏彩超（孕期）",
        modality="US", days=2.2, files=("examples_ybr_color.dcm",), patient_id="LX-0771", charset="GBK",
        matches="patient_id",
    ),
    "liver": Planned(
        place="county", by="pengfei", patient="zhao", name="赵德海", description="上腹部 MR 增强", modality="MR",
        days=6.4, files=("examples_overlay.dcm",), ordered=("luobin", "zhao"), patient_id="CT-00871", charset="GB18030",
    ),
    "head": Planned(
        place="county", by="pengfei", patient="zhou", name="Zhou^Guodong=周^国栋", description="头颅 CT 平扫",
        modality="CT", days=0.3, files=("693_J2KI.dcm",), ordered=("tangyun", "zhou"), patient_id="CT-01377",
    ),
    "spine": Planned(
        place="county", by="pengfei", patient="ma", name="Ma^Cheng=马^成", description="胸椎 CT", modality="CT",
        days=1.2, files=("CT_small.dcm",), ordered=("luobin", "ma"), patient_id="CT-00902",
    ),
    # The technician took the wrong line of the worklist: another man's liver under the number of a lumbar spine.
    "mistaken": Planned(
        place="imaging", by="yeqing", patient="zhao", name="Zhao^Dehai=赵^德海", description="上腹部 MR 复查",
        modality="MR", days=0.25, files=("examples_overlay.dcm",), ordered=("zhoumin", "liqiang"),
        patient_id="IM260457", born=False, charset="GB18030",
    ),
    "stray_cr": Planned(
        place="liuxiang", by="sunqiang", patient="liu", name="刘桂芳", description="颈椎侧位", modality="CR", days=0.5,
        files=("dicomdirtests/77654033/CR1/6154",), patient_id="DR20931", born=False, charset="GBK", matches="",
    ),
    "stray_us": Planned(
        place="liuxiang", by="sunqiang", patient="huang2", name="Huang^Lihua=黄^丽华", description="颈部淋巴结彩超",
        modality="US", days=0.2, files=("examples_jpeg2k.dcm",), patient_id="US-3307", charset="GB18030", matches="",
    ),
}  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Ordered:
    """An order; `key` names the study whose files carry its accession number, if any do."""

    days: float
    doctor: str
    patient: str
    place: str
    procedure: str
    modality: str
    key: str = ""


# Not performed yet, or performed without typing the number: the technician finds two of them again while matching.
OPEN: tuple[Ordered, ...] = (
    Ordered(
        days=0.6, doctor="zhoumin", patient="liu", place="liuxiang", procedure="颈椎侧位 DR", modality="CR",
    ),
    Ordered(
        days=0.3, doctor="zhoumin", patient="huang", place="liuxiang", procedure="颈部淋巴结彩超", modality="US",
    ),
    Ordered(
        days=0.03, doctor="zhoumin", patient="zhang", place="liuxiang", procedure="十二导联心电图", modality="ECG",
    ),
    Ordered(
        days=0.02, doctor="lihong", patient="sun", place="liuxiang", procedure="胸部正位 DR", modality="DX",
    ),
)  # fmt: skip


def orders() -> list[Ordered]:
    """Every order, the oldest first."""
    carried = [
        Ordered(
            days=planned.days + 0.04, doctor=planned.ordered[0], patient=planned.ordered[1], place=planned.place,
            procedure="腰椎 MR 平扫" if key == "mistaken" else planned.description, modality=planned.modality, key=key,
        )
        for key, planned in PLANNED.items()
        if planned.ordered is not None
    ]  # fmt: skip
    return sorted((*carried, *OPEN), key=lambda x: -x.days)


def order(stage: Stage) -> Moments:
    """Orders what is examined, so that the numbers are there when the files are written."""
    for one in orders():
        yield stage.ago(days=one.days)
        made = stage.do(
            create_order, one.doctor,
            patient=stage.patients[one.patient], procedure=one.procedure, modality=one.modality,
            performing=stage.places[one.place],
        )  # fmt: skip
        if one.key:
            stage.orders[one.key] = made.id


def uids(seed: str, key: str) -> Callable[[], str]:
    """A source of UIDs under 2.25 (PS3.5 B.2) that always gives the same ones in the same order."""
    numbers = itertools.count()

    def following() -> str:
        digest = hashlib.sha256(f"{seed}:{key}:{next(numbers)}".encode()).digest()
        return f"2.25.{int.from_bytes(digest[:15])}"

    return following


def instances(planned: Planned, key: str, *, seed: str, start: datetime, accession: str) -> Iterator[bytes]:
    """The files of one study. Blocks; the phantom takes seconds."""
    uid = uids(seed, key)
    study_uid, who = uid(), RESIDENTS[planned.patient]
    sex = "" if not planned.born else ("M" if who.serial % 2 else "F")
    identity = Identity(
        name=planned.name,
        patient_id=planned.patient_id,
        birth_date=who.birth if planned.born else None,
        sex=sex,
        accession=accession,
        study_at=start - timedelta(days=planned.days) + timedelta(hours=8),
        study_description=planned.description,
        institution="DEMO 演示",
        charset=planned.charset,
    )
    if not planned.files:
        yield from phantom(identity, study_uid=study_uid, series_uid=uid(), uid=uid)
        return
    for number, name in enumerate(planned.files, start=1):
        yield rewrite(
            shipped(name), identity,
            study_uid=study_uid, series_uid=uid(), series_number=number, series_description="DEMO 演示", uid=uid,
        )  # fmt: skip


async def store(
    archive: Archive, planned: Planned, key: str, *, place: OrganisationId, source: str, seed: str, start: datetime,
    accession: str,
) -> StudyRow:  # fmt: skip
    """Sends a study through the archive's one way in, some instances at a time; the row as its holder sees it."""
    study_uid = uids(seed, key)()
    files = instances(planned, key, seed=seed, start=start, accession=accession)
    while batch := await asyncio.to_thread(lambda: list(itertools.islice(files, _AT_ONCE))):
        results = await asyncio.gather(
            *(archive.ingest(data, organisation=place, source=source, study_uid=study_uid) for data in batch)
        )
        for result in results:
            if result.outcome not in {"stored", "duplicate"}:
                msg = f"demo study {key}: {result.outcome} {result.reason}"
                raise RuntimeError(msg)
    row = await asyncio.to_thread(archive.study, Scope(organisations=frozenset({place})), study_uid)
    if row is None:
        raise LookupError(key)
    return row
