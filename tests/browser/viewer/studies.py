"""Studies for the viewer's tests: real files of the pydicom package and synthetic stacks, kept in memory."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
import pydicom
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import (
    CTImageStorage,
    DigitalXRayImageStorageForPresentation,
    EncapsulatedPDFStorage,
    ExplicitVRLittleEndian,
    generate_uid,
)

FILES = Path(pydicom.__file__).parent / "data" / "test_files"
SLICES, ROWS, COLUMNS, SPACING = 12, 300, 260, 0.75


def uid(name: str) -> str:
    """A UID that is the same in every run."""
    return str(generate_uid(prefix="2.25.", entropy_srcs=[name]))


def empty(sop_class: str, study: str, series: str, number: int) -> Dataset:
    ds = Dataset()
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    ds.SpecificCharacterSet = "ISO_IR 192"
    ds.SOPClassUID = sop_class
    ds.SOPInstanceUID = uid(f"{study}{series}{number}")
    ds.StudyInstanceUID = uid(study)
    ds.SeriesInstanceUID = uid(study + series)
    ds.InstanceNumber = number
    ds.StudyDate, ds.StudyTime = "20261120", "091500"
    return ds


def stored(values: np.ndarray, ds: Dataset, *, signed: bool) -> Dataset:
    ds.Rows, ds.Columns = values.shape
    ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, "MONOCHROME2"
    ds.BitsAllocated = ds.BitsStored = 16
    ds.HighBit, ds.PixelRepresentation = 15, int(signed)
    ds.PixelData = values.astype("<i2" if signed else "<u2").tobytes()
    return ds


def ct_slice(number: int) -> np.ndarray:
    """Stored values of one synthetic slice: a ramp, a disc that moves with the slice, and a fine checkerboard."""
    rows, columns = np.mgrid[0:ROWS, 0:COLUMNS]
    values = 100 + columns * 6 + rows * 2
    disc = (rows - 150) ** 2 + (columns - 60 - 10 * number) ** 2 < 40**2
    values = np.where(disc, 1060, values)
    board = (rows < 40) & (columns < 40)
    return np.where(board, 900 + 200 * ((rows + columns) % 2), values)


def ct_study(study: str = "ct") -> list[Dataset]:
    out = []
    for number in range(1, SLICES + 1):
        ds = stored(ct_slice(number), empty(CTImageStorage, study, "axial", number), signed=True)
        ds.Modality, ds.SeriesNumber, ds.SeriesDescription = "CT", 2, "胸部 平扫"
        ds.RescaleSlope, ds.RescaleIntercept, ds.RescaleType = 1, -1024, "HU"
        ds.WindowCenter, ds.WindowWidth = 40, 400
        ds.PixelSpacing = [SPACING, SPACING]
        ds.ImageOrientationPatient, ds.ImagePositionPatient = [1, 0, 0, 0, 1, 0], [-97.5, -112.5, 5 * number]
        ds.FrameOfReferenceUID = uid(study + "frame")
        out.append(ds)
    small = adopt("CT_small.dcm", study, "small", 3)
    return [*out, small]


def adopt(name: str, study: str, series: str, number: int) -> Dataset:
    """A file of the pydicom package under our identifiers."""
    ds = pydicom.dcmread(FILES / name)
    ds.StudyInstanceUID, ds.SeriesInstanceUID = uid(study), uid(study + series)
    ds.SOPInstanceUID, ds.SeriesNumber, ds.InstanceNumber = uid(study + series + name), number, 1
    return ds


def mixed_study() -> list[Dataset]:
    cine = adopt("examples_ybr_color.dcm", "mixed", "cine", 1)
    out = [cine]
    for number, name in enumerate(["examples_rgb_color", "examples_palette", "examples_jpeg2k", "MR_small"], 2):
        out.append(adopt(f"{name}.dcm", "mixed", name, number))
    rows, columns = np.mgrid[0:400, 0:300]
    film = stored(rows * 4 + columns * 3, empty(DigitalXRayImageStorageForPresentation, "mixed", "dx", 1), signed=False)
    film.Modality, film.SeriesNumber, film.SeriesDescription = "DX", 6, "胸片 正位"
    film.ImagerPixelSpacing = [0.2, 0.2]
    film.WindowCenter, film.WindowWidth = 1250, 2500
    ecg = adopt("waveform_ecg.dcm", "mixed", "ecg", 7)
    pdf = empty(EncapsulatedPDFStorage, "mixed", "pdf", 1)
    pdf.Modality, pdf.SeriesNumber, pdf.SeriesDescription = "DOC", 8, "会诊报告"
    pdf.EncapsulatedDocument, pdf.MIMETypeOfEncapsulatedDocument = b"%PDF-1.4 ", "application/pdf"
    report = adopt("test-SR.dcm", "mixed", "sr", 9)
    return [*out, film, ecg, pdf, report]


def ecg_study() -> list[Dataset]:
    return [adopt("waveform_ecg.dcm", "ecg", "ecg", 1)]


@cache
def studies() -> dict[str, list[Dataset]]:
    """All studies by StudyInstanceUID."""
    groups = [ct_study(), mixed_study(), ecg_study()]
    return {str(group[0].StudyInstanceUID): group for group in groups}
