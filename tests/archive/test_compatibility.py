"""Every file of the pydicom package, of pydicom-data and of pynetdicom's source distribution: kept or refused, its names
and its picture against pydicom's own, number by number. docs/compatibility.md is what this finds;
HUIZHEN_COMPATIBILITY=1 writes it anew.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import io
import json
import os
import re
import subprocess
import tempfile
from pathlib import Path

import numpy as np
import pydicom
import pynetdicom
import pytest
from PIL import Image as Pictures
from pydicom.overlays import get_overlay_array
from pydicom.pixels import apply_color_lut, apply_modality_lut, apply_voi_lut, apply_windowing, pixel_array

from dicom.archive import Archive
from dicom.elements import Window
from dicom.errors import DicomError
from dicom.model import Limits
from dicom.part10 import split_file
from dicom.workers import ops
from tests import sdist
from tests.archive import names
from tests.archive.files import FOLDER, name_of, real_files
from tests.needs import need_program

PAGE = Path(__file__).parents[2] / "docs" / "compatibility.md"
ORTHANC = Path(__file__).with_name("orthanc.json")  # {"package/name": "what Debian's Orthanc does with it"}
NO_DATASET = {".txt", ".md", ".icc", ".dump", ".json", ".gz"}
RENDERING = {"format": "png", "quality": 90, "window": None, "viewport": None, "annotation": []}
DCMTK = {"dcmdjpeg": {"4.50", "4.51", "4.57", "4.70"}, "dcmdjpls": {"4.80", "4.81"}, "dcmdrle": {"5"}}
# Pictures that have no number to be held against, and why: everything else must come within one step of 255.
EXPLAINED = {
    "GDCMJ2K_TextGBR.dcm": "pydicom's decoder refuses the code stream",
    "badVR.dcm": "pydicom cannot read one of the numbers",
    "JPEG2000-embedded-sequence-delimiter.dcm": "the code stream claims another size; pydicom refuses it too",
}


def version(package):
    """The version that the lock file pins, so that the page is the same on every machine."""
    return {"pydicom": pydicom.__version__, "pydicom-data": "1.0.0", "pynetdicom": pynetdicom.__version__}[package]


def below(folder, *, prefix=""):
    return [(prefix + str(path.relative_to(folder)), path) for path in sorted(folder.rglob("*")) if path.is_file()]


def collections():
    """Those that are here: package → its files as (name, path)."""
    data = FOLDER.parent
    found = {"pydicom": [(name_of(path), path) for path in real_files()]}
    found["pydicom"] += [file for name in ("charset_files", "palettes") for file in below(data / name, prefix=f"{name}/")]
    spec = importlib.util.find_spec("data_store")
    if spec is not None and spec.origin:
        found["pydicom-data"] = below(Path(spec.origin).parent / "data")
    if sdist.FOLDER.is_dir():
        found["pynetdicom"] = below(sdist.FOLDER)
    return {
        name: [(key, path) for key, path in files if path.suffix not in NO_DATASET and path.name != "README"]
        for name, files in found.items()
    }


def need_collection(package):
    """Its files; pytest.skip on a laptop without it, pytest.fail where CI is set."""
    found = collections()
    if package not in found:
        reason = f"needs the files of {package}: make test brings them (requirements-test.lock, python -m tests.tools)"
        (pytest.fail if os.environ.get("CI") else pytest.skip)(reason)
    return found[package]


async def outcomes(root, files):
    """Each file in an organisation of its own, since they share UIDs."""
    archive = Archive.open(root, worker_count=1)
    await archive.start()
    try:
        return await asyncio.gather(
            *(archive.ingest(path.read_bytes(), organisation=f"o{i}", source="test") for i, path in enumerate(files))
        )
    finally:
        await archive.close()


def asked(operation, data, **wishes):
    """What a worker answers, without the processes around it."""
    head = split_file(Window.of(data))
    blob = {
        "syntax": head.transfer_syntax,
        "data": memoryview(data)[head.dataset_start :],
        "length": len(data) - head.dataset_start,
    }
    return ops.OPERATIONS[operation]({"blob": blob, **wishes}, Limits())


def picture(data):
    """Our picture of the first frame, as the service makes it."""
    made = asked("rendered", data, frame=1, ranges=None, rendering=RENDERING)
    with Pictures.open(io.BytesIO(made)) as opened:
        return np.asarray(opened)


def reference(data):
    """The first frame through pydicom (its codecs, else dcmtk's): modality, VOI, palette, polarity, overlays, padding."""
    ds = pydicom.dcmread(io.BytesIO(data), force=True)
    if "TransferSyntaxUID" not in ds.file_meta:
        ds.file_meta.TransferSyntaxUID = pydicom.uid.ImplicitVRLittleEndian
    array = decoded(ds, data)
    if array.ndim == 3:
        shift = max(ds.BitsStored - 8, 0)
        return np.clip(array >> shift, 0, 255).astype(np.uint8)
    if ds.PhotometricInterpretation == "PALETTE COLOR":
        return colours(array, ds)
    shades = voi(apply_modality_lut(array, ds), array, ds)
    if ds.PhotometricInterpretation == "MONOCHROME1" or ds.get("PresentationLUTShape") == "INVERSE":
        shades = 255.0 - shades
    shades[padding(array, ds)] = 0
    for group in range(0x6000, 0x6020, 2):
        if (group, 0x3000) in ds and ds[group, 0x0040].value == "G":
            plane = get_overlay_array(ds, group)
            plane = plane[0] if plane.ndim == 3 else plane
            shades[: plane.shape[0], : plane.shape[1]][plane > 0] = 255
    if ds.get("PixelPresentation") in {"COLOR", "MIXED"} and "RedPaletteColorLookupTableDescriptor" in ds:
        first = ds.RedPaletteColorLookupTableDescriptor[1]
        del ds.PixelPresentation  # pydicom maps colours, but not beside shades
        return np.where((array >= first)[..., None], colours(array, ds), shades[..., None])
    return shades


def colours(array, ds):
    found = apply_color_lut(array, ds)
    return (found >> 8 if found.dtype.itemsize == 2 and found.max() > 255 else found).astype(np.uint8)


def decoded(ds, data):
    syntax = ds.file_meta.TransferSyntaxUID
    try:
        return pixel_array(ds, index=0)
    except (RuntimeError, NotImplementedError, AttributeError):
        tool = next((tool for tool, ends in DCMTK.items() if syntax.removeprefix("1.2.840.10008.1.2.") in ends), None)
        if tool is None:
            raise
        program = need_program(f"/usr/bin/{tool}", "dcmtk")  # by its full path: pynetdicom installs namesakes
        with tempfile.TemporaryDirectory() as folder:
            source, target = Path(folder, "in.dcm"), Path(folder, "out.dcm")
            source.write_bytes(data)
            subprocess.run([program, source, target], check=True, capture_output=True)
            return pixel_array(pydicom.dcmread(target), index=0)


def padding(array, ds):
    first = ds.get("PixelPaddingValue")
    if not isinstance(first, int):
        return np.zeros(array.shape, bool)
    last = ds.get("PixelPaddingRangeLimit", first)
    return (array >= min(first, last)) & (array <= max(first, last))


def voi(values, array, ds):
    """0…255: by VOI LUT, by window, else the whole range of 8 bits or the range in use."""
    source = ds
    for groups in ("PerFrameFunctionalGroupsSequence", "SharedFunctionalGroupsSequence"):
        for item in ds.get(groups, [])[:1]:
            for transform in item.get("PixelValueTransformationSequence", []):
                values = array * float(transform.RescaleSlope) + float(transform.RescaleIntercept)
            for found in item.get("FrameVOILUTSequence", []):
                source = found
    if ds.get("VOILUTSequence"):
        return apply_voi_lut(values, ds) / (2.0 ** ds.VOILUTSequence[0].LUTDescriptor[2] - 1) * 255
    width = source.get("WindowWidth")
    width = width[0] if isinstance(width, pydicom.multival.MultiValue) else width
    if width is not None and source.get("WindowCenter") is not None and width >= 1:
        plain = pydicom.Dataset()
        plain.PhotometricInterpretation, plain.BitsStored, plain.PixelRepresentation = "MONOCHROME2", 8, 0
        plain.WindowCenter, plain.WindowWidth = source.WindowCenter, source.WindowWidth
        if "VOILUTFunction" in source:
            plain.VOILUTFunction = source.VOILUTFunction
        return apply_windowing(values, plain)
    values = values.astype(np.float64)
    if ds.BitsStored <= 8 and ds.get("Modality") not in {"NM", "PT"}:
        low, high = (-(2 ** (ds.BitsStored - 1)), 2 ** (ds.BitsStored - 1) - 1) if ds.PixelRepresentation else (0, 2**ds.BitsStored - 1)
    else:
        seen = values[~padding(array, ds)]
        low, high = seen.min(), seen.max()
    return np.clip((values - low) / max(high - low, 1e-9), 0, 1) * 255


def compare(name, data):
    """What to print of the picture: its size or why there is none, and the greatest difference in steps of 255."""
    try:
        ours = picture(data)
    except DicomError as error:
        return otherwise(data) or f"`{error.reason}`", EXPLAINED.get(name, "")
    size = f"{ours.shape[1]}×{ours.shape[0]}"
    if name in EXPLAINED:
        return size, EXPLAINED[name]
    theirs = reference(data)
    assert ours.shape == theirs.shape, name
    return size, round(float(np.abs(ours - theirs.astype(np.float64)).max()), 1)


def otherwise(data):
    """What is shown of an object without pixels, '' for nothing."""
    for operation, said, wishes in (
        ("sheet", "a sheet", {"format": "svg", "viewport": None, "patient": False}),
        ("structured", "a page", {"patient": False}),
    ):
        with contextlib.suppress(DicomError):
            assert len(asked(operation, data, **wishes)) > 100
            return said
    return ""


def kind_of(data):
    """Transfer syntax, photometric interpretation and bits, as the dataset says."""
    ds = pydicom.dcmread(io.BytesIO(data), force=True, stop_before_pixels=True)
    syntax = ds.file_meta.get("TransferSyntaxUID", pydicom.uid.ImplicitVRLittleEndian)
    words = [syntax.name.split(":")[0].split("(")[0].strip(), ds.get("PhotometricInterpretation", "")]
    if words[1]:
        words.append(f"{ds.BitsStored} of {ds.BitsAllocated} bit")
    return ", ".join(word for word in words if word)


def rows_of(package, files, results):
    peer = json.loads(ORTHANC.read_text("utf-8")) if ORTHANC.is_file() else {}
    for (name, path), result in zip(files, results, strict=True):
        data = path.read_bytes()
        if result.outcome == "stored":
            cells = [kind_of(data), "stored", names.same_names(name, data), *compare(name, data)]
        else:
            cells = ["", f"refused: `{result.reason}`", "", "", ""]
        yield name, [*cells, *([peer.get(f"{package}/{name}", "")] if peer else [])]


def table(package, rows):
    heads = ["file", "kind", "kept", "names", "picture", "difference", *(["Orthanc 1.10.1"] if ORTHANC.is_file() else [])]
    lines = [f"## {package} {version(package)}", "", line(heads), line(["---"] * len(heads))]
    lines += [line([name.replace("|", "\\|"), *map(str, cells)]) for name, cells in rows]
    return "\n".join(lines) + "\n"


def line(cells):
    return "| " + " | ".join(cells) + " |"


@pytest.mark.parametrize(("package", "pictures", "people"), [("pydicom", 90, 200), ("pydicom-data", 50, 100), ("pynetdicom", 4, 5)])
@pytest.mark.filterwarnings("ignore")
def test_every_shipped_file_looks_as_pydicom_computes_it_and_the_page_says_so(package, pictures, people, tmp_path):
    files = need_collection(package)
    results = asyncio.run(outcomes(tmp_path, [path for _, path in files]))
    rows = list(rows_of(package, files, results))
    assert sum(cells[2] for _, cells in rows if isinstance(cells[2], int)) > people
    differences = {name: cells[4] for name, cells in rows if isinstance(cells[4], float)}
    assert len(differences) > pictures
    assert not {name: apart for name, apart in differences.items() if apart > 1}
    page = PAGE.read_text("utf-8")
    found = re.search(rf"(?ms)^## {package} .*?(?=^## |\Z)", page)
    made = table(package, rows)
    if os.environ.get("HUIZHEN_COMPATIBILITY"):
        page = page.replace(found[0], made + "\n") if found else page.rstrip() + "\n\n" + made
        PAGE.write_text(page.rstrip() + "\n", "utf-8")
    else:
        assert found is not None and found[0].rstrip() == made.rstrip(), "stale: run with HUIZHEN_COMPATIBILITY=1"


def test_a_name_that_is_read_otherwise_is_noticed(monkeypatch):
    real = names.metadata

    def other(data):
        found = real(data)
        found["00100010"]["Value"][0]["Alphabetic"] += "x"
        return found

    path = FOLDER.parent / "charset_files" / "chrH31.dcm"
    assert names.same_names(path.name, path.read_bytes()) == 2
    monkeypatch.setattr(names, "metadata", other)
    with pytest.raises(AssertionError):
        names.same_names(path.name, path.read_bytes())
