"""Which service answers which command of which abstract syntax."""

from __future__ import annotations

from collections.abc import Mapping

from dicom.network import dimse
from dicom.network.negotiation import VERIFICATION
from dicom.network.scp import Service, echo

SERVICES: Mapping[tuple[str, int], Service] = {(VERIFICATION, dimse.C_ECHO): echo}
