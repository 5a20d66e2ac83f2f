"""Which service answers which command of which abstract syntax. Storage classes are answered without a row here."""

from __future__ import annotations

from collections.abc import Mapping

from dicom.network import dimse
from dicom.network import negotiation as uids
from dicom.network.commitment import commit
from dicom.network.find import find, find_worklist
from dicom.network.performed import create_step, set_step
from dicom.network.records import vr_of
from dicom.network.retrieve import get, move
from dicom.network.scp import Service, echo

SERVICES: Mapping[tuple[str, int], Service] = {
    (uids.VERIFICATION, dimse.C_ECHO): echo,
    (uids.PATIENT_FIND, dimse.C_FIND): find,
    (uids.STUDY_FIND, dimse.C_FIND): find,
    (uids.WORKLIST_FIND, dimse.C_FIND): find_worklist,
    (uids.PATIENT_MOVE, dimse.C_MOVE): move,
    (uids.STUDY_MOVE, dimse.C_MOVE): move,
    (uids.PATIENT_GET, dimse.C_GET): get,
    (uids.STUDY_GET, dimse.C_GET): get,
    (uids.STORAGE_COMMITMENT, dimse.N_ACTION): commit,
    (uids.PERFORMED_STEP, dimse.N_CREATE): create_step,
    (uids.PERFORMED_STEP, dimse.N_SET): set_step,
}


def warm() -> None:
    """Load the dictionaries that the first association would otherwise wait for. Blocks."""
    uids.is_storage(uids.VERIFICATION)
    vr_of(0x00100010)
