"""Demonstration and test material: files that the pydicom package ships, written anew, and a synthetic CT phantom.

Every call gives fresh 2.25 UIDs and an identity of the caller's, so that nothing of the original's identity remains and
no two studies share a UID. The results are ordinary part 10 files that enter by the same ingest as everyone's.
"""

import io
import secrets
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pydicom
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.uid import UID, CTImageStorage, ExplicitVRLittleEndian

CHARSETS = ("ISO_IR 192", "GB18030", "GBK")
# What may stay of a shipped file: everything about the picture, nothing about a person or a place.
_PERSONAL_GROUPS = (0x0010, 0x0032, 0x0038, 0x0040, 0x0400)
_KEEP_IN_0040 = (0x0555, 0xB020)  # acquisition context, waveform annotations
_PERSONAL = (
    "InstitutionName", "InstitutionAddress", "ReferringPhysicianName", "OperatorsName", "PerformingPhysicianName",
    "NameOfPhysiciansReadingStudy", "PhysiciansOfRecord", "StationName", "DeviceSerialNumber", "StudyID",
    "InstitutionalDepartmentName", "AdmittingDiagnosesDescription", "RequestAttributesSequence",
    "ReferencedStudySequence", "ReferencedPatientSequence", "ReferencedPerformedProcedureStepSequence",
    "IssuerOfAccessionNumberSequence",
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """Who and which order a written file speaks of. `charset` is the Specific Character Set it is written in."""

    name: str  # DICOM person name, e.g. "Zhang^Min=张^敏" or "张敏"
    patient_id: str
    issuer: str = ""
    birth_date: date | None = None
    sex: str = ""  # M, F, O or empty
    accession: str = ""
    study_at: datetime
    study_description: str = ""
    institution: str = ""
    charset: str = "ISO_IR 192"


def new_uid() -> str:
    """A random UID under 2.25 (PS3.5 B.2)."""
    return f"2.25.{secrets.randbits(122)}"


def shipped(name: str) -> Path:
    """A file of the pydicom package's own test folder, without any download."""
    return Path(pydicom.__file__).parent / "data" / "test_files" / name


def rewrite(
    source: Path, identity: Identity, *, study_uid: str, series_uid: str, series_description: str = "",
    series_number: int = 1, instance_number: int = 1, modality: str = "", uid: Callable[[], str] = new_uid,
) -> bytes:  # fmt: skip
    """`source` as a new part 10 file with the identity given, its pixels or waveform as they are.

    `uid` names the instance; a caller whose `uid` repeats itself gets the same bytes again. Uncompressed sources are
    written as explicit little endian, compressed ones keep their transfer syntax.
    """
    read = pydicom.dcmread(source, force=True)
    named = getattr(read.file_meta, "TransferSyntaxUID", None)
    compressed = named is not None and named.is_compressed
    if not compressed and "PixelData" in read and read.get("BitsAllocated", 8) == 16:
        _to_little_endian(read)
    _forget_people(read)
    syntax = read.file_meta.TransferSyntaxUID if compressed else ExplicitVRLittleEndian
    _identify(read, identity, study_uid)
    read.SeriesInstanceUID = series_uid
    read.SeriesNumber = series_number
    read.InstanceNumber = instance_number
    read.SOPInstanceUID = uid()
    if series_description:
        read.SeriesDescription = series_description
    if modality:
        read.Modality = modality
    return _written(read, UID(syntax))


def phantom(
    identity: Identity, *, study_uid: str, series_uid: str, slices: int = 120, size: int = 512,
    uid: Callable[[], str] = new_uid,
) -> Iterator[bytes]:  # fmt: skip
    """A synthetic chest-like CT, `slices` × `size` × `size`, 16 bit signed, 0.7 mm pixels, 2.5 mm spacing.

    Body, lungs, heart, spine, ribs and one nodule of 9 mm in the right lung are ellipsoids in Hounsfield units; the
    word SYNTHETIC stands burned into every slice and in the series description, so nobody takes it for a person.
    """
    noise = np.random.default_rng(20261122).normal(0.0, 9.0, (4, size, size)).astype(np.float32)
    label = _label(size)
    for index in range(slices):
        pixels = _slice(index / max(slices - 1, 1), size) + noise[index % 4]
        pixels[label] = 1000.0
        ds = Dataset()
        ds.SOPClassUID = CTImageStorage
        ds.SOPInstanceUID = uid()
        ds.SeriesInstanceUID = series_uid
        ds.FrameOfReferenceUID = series_uid
        ds.Modality = "CT"
        ds.Manufacturer = "Huizhen phantom"
        ds.ImageType = ["DERIVED", "SECONDARY", "AXIAL"]
        _identify(ds, identity, study_uid)
        ds.SeriesNumber = 1
        ds.SeriesDescription = "SYNTHETIC 合成体模" if identity.charset != "ISO_IR 100" else "SYNTHETIC"
        ds.InstanceNumber = index + 1
        ds.SliceThickness = "2.5"
        ds.PixelSpacing = ["0.7", "0.7"]
        ds.ImageOrientationPatient = ["1", "0", "0", "0", "1", "0"]
        half = size * 0.35
        ds.ImagePositionPatient = [f"{-half:.2f}", f"{-half:.2f}", f"{-150 + 2.5 * index:.2f}"]
        ds.SliceLocation = f"{-150 + 2.5 * index:.2f}"
        ds.SamplesPerPixel = 1
        ds.PhotometricInterpretation = "MONOCHROME2"
        ds.Rows = ds.Columns = size
        ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 16, 16, 15, 1
        ds.RescaleIntercept, ds.RescaleSlope, ds.RescaleType = "0", "1", "HU"
        ds.WindowCenter, ds.WindowWidth = ["40", "-600"], ["400", "1500"]
        ds.WindowCenterWidthExplanation = ["MEDIASTINUM", "LUNG"]
        ds.BurnedInAnnotation = "YES"
        ds.PixelData = np.clip(pixels, -1024, 3071).astype("<i2").tobytes()
        yield _written(ds, ExplicitVRLittleEndian)


def _identify(ds: Dataset, identity: Identity, study_uid: str) -> None:
    ds.SpecificCharacterSet = identity.charset
    ds.PatientName = identity.name
    ds.PatientID = identity.patient_id
    if identity.issuer:
        ds.IssuerOfPatientID = identity.issuer
    ds.PatientBirthDate = identity.birth_date.strftime("%Y%m%d") if identity.birth_date else ""
    ds.PatientSex = identity.sex
    ds.AccessionNumber = identity.accession
    ds.StudyInstanceUID = study_uid
    ds.StudyID = "1"
    ds.StudyDate = ds.SeriesDate = ds.ContentDate = identity.study_at.strftime("%Y%m%d")
    ds.StudyTime = ds.SeriesTime = ds.ContentTime = identity.study_at.strftime("%H%M%S")
    if "AcquisitionDateTime" in ds:
        ds.AcquisitionDateTime = identity.study_at.strftime("%Y%m%d%H%M%S")
    ds.ReferringPhysicianName = ""
    ds.StudyDescription = identity.study_description
    ds.InstitutionName = identity.institution


def _forget_people(ds: Dataset) -> None:
    ds.remove_private_tags()
    for name in _PERSONAL:
        if name in ds:
            delattr(ds, name)
    for element in list(ds.keys()):
        kept = element.group == 0x0040 and element.element in _KEEP_IN_0040
        if (element.group in _PERSONAL_GROUPS and not kept) or element.element == 0x0000:
            del ds[element]
    for name in ("AcquisitionDate", "AcquisitionTime", "InstanceCreationDate", "InstanceCreationTime"):
        if name in ds:
            delattr(ds, name)


def _to_little_endian(ds: FileDataset) -> None:
    if ds.original_encoding[1] is False:
        ds.PixelData = np.frombuffer(ds.PixelData, ">u2").astype("<u2").tobytes()


def _written(ds: Dataset, syntax: UID) -> bytes:
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = ds.SOPClassUID
    meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID
    meta.TransferSyntaxUID = syntax
    meta.ImplementationClassUID = UID("2.25.245910427370041233405087462311574211321")
    fresh = FileDataset("", {}, file_meta=meta, preamble=bytes(128))
    fresh.update(ds)
    out = io.BytesIO()
    pydicom.dcmwrite(out, fresh, enforce_file_format=True, little_endian=True, implicit_vr=False)
    return out.getvalue()


def _slice(z: float, size: int) -> npt.NDArray[np.float32]:
    """One slice in HU; z from 0 (upper) to 1 (lower). Coordinates run from -1 to 1."""
    axis = np.linspace(-1, 1, size, dtype=np.float32)
    x, y = axis[None, :], axis[:, None]
    image = np.full((size, size), -1000.0, np.float32)

    def ellipse(cx: float, cy: float, rx: float, ry: float) -> npt.NDArray[np.bool_]:
        inside: npt.NDArray[np.bool_] = ((x - cx) / rx) ** 2 + ((y - cy) / ry) ** 2 <= 1
        return inside

    bulge = 0.05 * float(np.sin(np.pi * z))
    image[ellipse(0, 0, 0.86 + bulge, 0.62 + bulge)] = -95.0  # fat
    image[ellipse(0, 0, 0.81 + bulge, 0.57 + bulge)] = 45.0  # muscle
    lung = max(0.0, float(np.sin(np.pi * min(1.0, z * 1.15 + 0.05)))) ** 0.5
    if lung > 0.05:
        for side in (-1, 1):
            image[ellipse(side * 0.40, -0.02, 0.29 * lung, 0.43 * lung)] = -860.0
        for k in range(7):  # vessels
            angle = k * 0.9 + z * 4
            for side in (-1, 1):
                cx, cy = side * (0.40 + 0.17 * np.cos(angle) * lung), 0.26 * np.sin(angle) * lung
                image[ellipse(float(cx), float(cy), 0.012, 0.012)] = 30.0
    heart = 1 - ((z - 0.62) / 0.26) ** 2
    if heart > 0:
        image[ellipse(0.10, -0.13, 0.27 * heart**0.5, 0.22 * heart**0.5)] = 55.0
    image[ellipse(-0.10, 0.30, 0.065, 0.065)] = 60.0  # aorta
    if z < 0.55:
        image[ellipse(0, -0.05, 0.045, 0.05)] = -980.0  # trachea
    image[ellipse(0, 0.40, 0.12, 0.10)] = 380.0  # vertebra
    image[ellipse(0, 0.40, 0.09, 0.07)] = 210.0
    image[ellipse(0, 0.525, 0.045, 0.04)] = 30.0  # canal
    for k in range(10):  # ribs
        angle = 0.5 + k * 0.55 + z * 9
        cx, cy = 0.79 * np.cos(angle), 0.54 * np.sin(angle)
        image[ellipse(float(cx), float(cy), 0.035, 0.028)] = 620.0
    nodule = 1 - ((z - 0.41) / 0.016) ** 2  # 9 mm across, right lung
    if nodule > 0:
        image[ellipse(-0.44, -0.12, 0.025 * nodule**0.5, 0.025 * nodule**0.5)] = 35.0
    return image


def _label(size: int) -> npt.NDArray[np.bool_]:
    from PIL import Image, ImageDraw, ImageFont

    picture = Image.new("1", (size, size))
    ImageDraw.Draw(picture).text((8, size - 26), "SYNTHETIC", fill=1, font=ImageFont.load_default(18))
    return np.asarray(picture, dtype=bool)
