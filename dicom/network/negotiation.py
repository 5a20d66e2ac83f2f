"""Which presentation contexts are accepted, and with which transfer syntax (PS3.8 §9.3.2.2, PS3.7 §D.3)."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache

from dicom.network import pdu
from dicom.network.records import SYNTAXES
from dicom.network.terms import Context
from dicom.syntaxes import DEFLATED, EXPLICIT_BE

VERIFICATION = "1.2.840.10008.1.1"
STORAGE_COMMITMENT = "1.2.840.10008.1.20.1"
STORAGE_COMMITMENT_INSTANCE = "1.2.840.10008.1.20.1.1"
PERFORMED_STEP = "1.2.840.10008.3.1.2.3.3"
PATIENT_FIND, PATIENT_MOVE, PATIENT_GET = (f"1.2.840.10008.5.1.4.1.2.1.{n}" for n in (1, 2, 3))
STUDY_FIND, STUDY_MOVE, STUDY_GET = (f"1.2.840.10008.5.1.4.1.2.2.{n}" for n in (1, 2, 3))
WORKLIST_FIND = "1.2.840.10008.5.1.4.31"
SERVICES = frozenset(
    {
        *(VERIFICATION, STORAGE_COMMITMENT, PERFORMED_STEP, WORKLIST_FIND),
        *(PATIENT_FIND, PATIENT_MOVE, PATIENT_GET, STUDY_FIND, STUDY_MOVE, STUDY_GET),
    }
)
_STANDARD = "1.2.840.10008."
_AVOIDED = frozenset({EXPLICIT_BE, DEFLATED})  # taken where nothing else is offered
ACCEPTED, NO_ABSTRACT, NO_TRANSFER = 0, 3, 4


@cache
def is_storage(uid: str) -> bool:
    """Whether an abstract syntax is one of stored objects: the standard's, or a manufacturer's own."""
    from pydicom.uid import UID_dictionary  # large: loaded with the first association, not with the server

    if not uid.startswith(_STANDARD):
        return True
    known = UID_dictionary.get(uid)
    if known is not None:
        return known[1] == "SOP Class" and "Storage" in known[0] and "Commitment" not in known[0]
    # Newer than our dictionary.
    return uid.startswith("1.2.840.10008.5.1.4.1.1.")


def negotiate(proposal: pdu.Associate, services: frozenset[str]) -> tuple[dict[int, Context], dict[int, int]]:
    """Accepted contexts, and the result of each proposed one. `services`: abstract syntaxes offered besides storage."""
    contexts: dict[int, Context] = {}
    results: dict[int, int] = {}
    takes = {role.abstract for role in proposal.roles if role.scp}
    for item in proposal.proposals:
        transfer: str | None = None
        if item.abstract in services:
            transfer = next((uid for uid in SYNTAXES if uid in item.transfers), None)
        elif is_storage(item.abstract):
            # As it lies at the sender: the first it names. What it would have to re-encode is the last choice.
            transfer = next((uid for uid in item.transfers if uid not in _AVOIDED), item.transfers[0])
        else:
            results[item.id] = NO_ABSTRACT
            continue
        if transfer is None:
            results[item.id] = NO_TRANSFER
            continue
        results[item.id] = ACCEPTED
        contexts[item.id] = Context(
            id=item.id, abstract=item.abstract, transfer=transfer,
            peer_is_scp=item.abstract in takes and is_storage(item.abstract),
        )  # fmt: skip
    return contexts, results


def by_abstract(contexts: Mapping[int, Context], abstract: str) -> list[Context]:
    """The accepted contexts of one abstract syntax."""
    return [context for context in contexts.values() if context.abstract == abstract]
