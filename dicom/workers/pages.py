"""Operations that make whole pages: a waveform's sheet, the tree of a structured report."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from dicom.header import read_header
from dicom.pixels.annotate import patient_lines
from dicom.pixels.attributes import Attributes
from dicom.sheet import lay_out
from dicom.sheet_paper import facts_of, to_picture, to_svg
from dicom.structured import read_structured
from dicom.waveform import read_waveforms

if TYPE_CHECKING:
    from dicom.workers.ops import Dataset

Args = dict[str, Any]


def sheet(dataset: Dataset, args: Args) -> bytes:
    """The sheet as `format` svg, png or jpeg (`viewport`: width, height or None); with name and number if `patient`."""
    drawn = lay_out(read_waveforms(dataset.walker), facts_of(dataset, named=args["patient"]))
    return to_svg(drawn) if args["format"] == "svg" else to_picture(drawn, args["format"], args["viewport"])


def structured(dataset: Dataset, args: Args) -> bytes:
    """The content tree as JSON (`dicom.structured`); with who the patient is if `patient`."""
    tree = read_structured(Attributes(dataset.walker))
    header = replace(read_header(dataset.window, dataset.syntax, dataset.budget), **dataset.named)  # type: ignore[arg-type]
    tree["patient"] = [line for line in patient_lines(header) if line] if args["patient"] else []
    return json.dumps(tree, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace")


def deidentified(dataset: Dataset, args: Args) -> Args:
    """The instance without identity; see `dicom.deidentify`. `secret` is the export's."""
    from dicom.deidentify import Options, Profile, deidentify  # rarely asked for: no worker waits for it at start

    return deidentify(dataset, Profile(secret=args["secret"], options=Options(**args["options"])))
