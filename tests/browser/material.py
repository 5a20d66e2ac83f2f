"""The images and the tracing of the story: real files that pydicom ships and the synthetic phantom, written anew."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path

import numpy as np
import pydicom

from dicom.specimens import Identity, new_uid, phantom, rewrite, shipped

BORN = date(1968, 3, 12)


@dataclass
class Study:
    uid: str
    files: list[Path]


def _identity(accession: str, description: str) -> Identity:
    return Identity(
        name="Zhou^XiaoYu=周^小雨", patient_id="DEV-77", birth_date=BORN, sex="F", accession=accession,
        study_at=datetime(2026, 11, 22, 9, 0), study_description=description, institution="九堡街道社区卫生服务中心",
    )  # fmt: skip


def _kept(folder: Path, name: str, files) -> list[Path]:
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for n, data in enumerate(files, 1):
        paths.append(folder / f"{name}{n:03}.dcm")
        paths[-1].write_bytes(data)
    return paths


def ct_study(folder: Path, accession: str, *, slices: int = 8) -> Study:
    """CT_small of pydicom as the first series, the phantom as the second."""
    study, first, second = new_uid(), new_uid(), new_uid()
    identity = _identity(accession, "胸部 CT 平扫")
    small = rewrite(
        shipped("CT_small.dcm"), identity, study_uid=study, series_uid=first, series_number=1, modality="CT",
        series_description="轴位",
    )
    files = [small, *phantom(identity, study_uid=study, series_uid=second, slices=slices)]
    return Study(study, _kept(folder, "ct", files))


def ecg_study(folder: Path, accession: str) -> Study:
    """The 12-lead tracing of pydicom."""
    study = new_uid()
    data = rewrite(
        shipped("waveform_ecg.dcm"), _identity(accession, "12 导联心电图"), study_uid=study, series_uid=new_uid(),
        modality="ECG", series_description="静息心电图",
    )
    return Study(study, _kept(folder, "ecg", [data]))


def shown(value: np.ndarray, center: float, width: float) -> np.ndarray:
    """Values under a window in eight bits (PS3.3 §C.11.2.1.2.1)."""
    return np.clip(((value - (center - 0.5)) / (width - 1) + 0.5) * 255, 0, 255)


def hounsfield(ds: pydicom.Dataset) -> np.ndarray:
    return ds.pixel_array * float(ds.get("RescaleSlope", 1)) + float(ds.get("RescaleIntercept", 0))
