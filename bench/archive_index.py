"""A big index without its pixels: studies as a district's archive has them, entered by the real index writer."""

import hashlib
import sqlite3
from collections.abc import Iterator

from dicom.index import writer as index
from dicom.index.writer import Holding
from dicom.model import Header, PixelKind, PixelLayout, Place

SURNAMES = "王李张刘陈杨黄赵吴周徐孙马朱胡郭何高林罗郑梁谢宋唐许韩冯邓曹彭曾肖田董袁潘于蒋蔡余杜叶程苏魏吕丁任沈"
GIVEN = "伟芳娜敏静丽强磊军洋勇艳杰娟涛明超秀霞平刚桂英华文辉建国红志玉兰海春梅金龙淑珍雪莲"
LATIN = ["Wang", "Li", "Zhang", "Liu", "Chen", "Yang", "Huang", "Zhao", "Wu", "Zhou"]
MODALITIES = ("CT", "MR", "DX", "US", "CR", "MG", "ECG", "XA")
SOP_CLASS, EXPLICIT_LE = "1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.1.2.1"
STUDY_ROOT = "2.25.77"


def patient_name(n: int) -> str:
    """One of 50 × 40 × 40 Chinese names; every tenth has a Latin form beside it."""
    a, b, c = n % 50, (n // 7) % len(GIVEN), (n // 311) % len(GIVEN)
    plain = f"{SURNAMES[a]}^{GIVEN[b]}{GIVEN[c]}"
    return f"{LATIN[n % 10]}^P{n}={plain}" if n % 10 == 0 else plain


def holdings(organisation: str, first: int, studies: int, instances: int) -> Iterator[Holding]:
    """`instances` of each of `studies`, two series each, with dates over six years."""
    layout = PixelLayout(
        kind=PixelKind.NATIVE, offset=2048, length=524288, frames=1, frame_length=524288, keyword="PixelData"
    )
    for n in range(first, first + studies):
        study = f"{STUDY_ROOT}{n}"
        date = f"{2020 + n % 6}{1 + n // 6 % 12:02}{1 + n // 72 % 28:02}"
        for i in range(instances):
            header = Header(
                study_uid=study, series_uid=f"{study}.{i % 2 + 1}", sop_uid=f"{study}.{i % 2 + 1}.{i}",
                sop_class=SOP_CLASS, transfer_syntax=EXPLICIT_LE, patient_id=f"P{n // 2}",
                patient_name=patient_name(n // 2), birth_date=f"19{30 + n % 70}0101", sex="MF"[n % 2],
                accession=f"ACC{n}", study_date=date, study_time=f"{8 + n % 10:02}{n % 60:02}00", study_id=str(n),
                study_description=f"{MODALITIES[n % 8]} {n % 40}", referring_physician="Bench^Doctor",
                institution="Bench", modality=MODALITIES[n % 8], series_number=i % 2 + 1, series_description="axial",
                instance_number=i + 1, rows=512, columns=512, bits_allocated=16, samples=1,
                photometric="MONOCHROME2", pixels=layout,
            )  # fmt: skip
            digest = hashlib.sha256(header.sop_uid.encode()).hexdigest()
            place = Place(pack=1_000_000 + n // 100, offset=64, prefix_length=400, body_length=526336)
            yield Holding(
                organisation=organisation, source="bench", at="2026-01-01T00:00:00.000+00:00", digest=digest,
                generation=1, header=header, place=place,
            )  # fmt: skip


def fill(connection: sqlite3.Connection, organisation: str, first: int, studies: int, instances: int) -> int:
    """Enter them within the writer's transaction; their metadata is wanted by nobody. Returns how many."""
    done = 0
    for holding in holdings(organisation, first, studies, instances):
        index.apply_holding(connection, holding)
        index.metadata_failed(connection, holding.digest)
        done += 1
    return done
