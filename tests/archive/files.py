"""Real files of the pydicom package, and small datasets written on the spot."""

from __future__ import annotations

import io
from functools import cache
from pathlib import Path

import pydicom
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian

FOLDER = Path(pydicom.__file__).parent / "data" / "test_files"


@cache
def real_files() -> tuple[Path, ...]:
    return tuple(sorted(path for path in FOLDER.rglob("*") if path.is_file()))


def name_of(path: Path) -> str:
    return str(path.relative_to(FOLDER))


def real(name: str) -> bytes:
    return (FOLDER / name).read_bytes()


def make(
    sop: str = "1.2.3.1.1",
    *,
    study: str = "1.2.3",
    series: str = "1.2.3.1",
    pixels: bytes = b"\x01\x02\x03\x04",
    syntax: str = ExplicitVRLittleEndian,
    **attributes,
) -> bytes:
    """A tiny CT of 2 × 1 pixels."""
    ds = Dataset()
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = syntax
    ds.file_meta.MediaStorageSOPClassUID = ds.SOPClassUID = "1.2.840.10008.5.1.4.1.1.2"
    ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID = sop
    ds.StudyInstanceUID, ds.SeriesInstanceUID = study, series
    ds.Modality, ds.PatientID, ds.PatientName = "CT", "P1", "Zhang^San=张^三"
    ds.SpecificCharacterSet = "ISO_IR 192"
    ds.PatientBirthDate, ds.PatientSex, ds.StudyDate = "19700101", "M", "20260102"
    ds.AccessionNumber, ds.StudyDescription = "A1", "Chest"
    ds.Rows, ds.Columns, ds.SamplesPerPixel = 1, 2, 1
    ds.BitsAllocated = ds.BitsStored = 16
    ds.HighBit, ds.PixelRepresentation, ds.PhotometricInterpretation = 15, 0, "MONOCHROME2"
    ds.PixelData = pixels
    for name, value in attributes.items():
        if value is None:
            delattr(ds, name)
        else:
            setattr(ds, name, value)
    out = io.BytesIO()
    ds.save_as(out, enforce_file_format=True)
    return out.getvalue()
