"""The DICOM upper layer's state machine as a table: (event, state) → action, state after it (PS3.8 §9.2, Table 9-10).

Numbers are the standard's. A pair that is not in the table cannot happen: `step` raises.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import IntEnum, StrEnum


class State(IntEnum):
    """PS3.8 Tables 9-1 to 9-5."""

    IDLE = 1
    AWAITING_REQUEST = 2  # transport open, ARTIM running
    AWAITING_LOCAL_ANSWER = 3  # a request came; ours to accept or reject
    AWAITING_TRANSPORT = 4
    AWAITING_ANSWER = 5  # our request is out
    ESTABLISHED = 6
    AWAITING_RELEASE = 7  # our release request is out
    AWAITING_LOCAL_RELEASE = 8  # theirs came; ours to answer
    COLLISION_REQUESTOR = 9
    COLLISION_ACCEPTOR = 10
    COLLISION_REQUESTOR_AWAITS = 11
    COLLISION_ACCEPTOR_ANSWERS = 12
    AWAITING_CLOSE = 13  # ARTIM running


class Event(IntEnum):
    """PS3.8 Table 9-10, left column."""

    ASSOCIATE_LOCAL = 1
    TRANSPORT_CONFIRMED = 2
    ACCEPT_RECEIVED = 3
    REJECT_RECEIVED = 4
    TRANSPORT_OPENED = 5
    REQUEST_RECEIVED = 6
    ACCEPT_LOCAL = 7
    REJECT_LOCAL = 8
    DATA_LOCAL = 9
    DATA_RECEIVED = 10
    RELEASE_LOCAL = 11
    RELEASE_REQUEST_RECEIVED = 12
    RELEASE_RESPONSE_RECEIVED = 13
    RELEASE_ANSWER_LOCAL = 14
    ABORT_LOCAL = 15
    ABORT_RECEIVED = 16
    TRANSPORT_CLOSED = 17
    ARTIM_EXPIRED = 18
    INVALID_RECEIVED = 19


class Action(StrEnum):
    """PS3.8 Tables 9-6 to 9-9."""

    AE1, AE2, AE3, AE4 = "AE-1", "AE-2", "AE-3", "AE-4"
    AE5, AE6, AE7, AE8 = "AE-5", "AE-6", "AE-7", "AE-8"
    DT1, DT2 = "DT-1", "DT-2"
    AR1, AR2, AR3, AR4, AR5 = "AR-1", "AR-2", "AR-3", "AR-4", "AR-5"
    AR6, AR7, AR8, AR9, AR10 = "AR-6", "AR-7", "AR-8", "AR-9", "AR-10"
    AA1, AA2, AA3, AA4 = "AA-1", "AA-2", "AA-3", "AA-4"
    AA5, AA6, AA7, AA8 = "AA-5", "AA-6", "AA-7", "AA-8"


_A = Action
# The state after each action. AE-6 may also refuse (to 13), AR-8 depends on who asked for the association.
AFTER: Mapping[Action, int] = {
    _A.AE1: 4, _A.AE2: 5, _A.AE3: 6, _A.AE4: 1, _A.AE5: 2, _A.AE6: 3, _A.AE7: 6, _A.AE8: 13,
    _A.DT1: 6, _A.DT2: 6,
    _A.AR1: 7, _A.AR2: 8, _A.AR3: 1, _A.AR4: 13, _A.AR5: 1, _A.AR6: 7, _A.AR7: 8, _A.AR8: 9, _A.AR9: 11, _A.AR10: 12,
    _A.AA1: 13, _A.AA2: 1, _A.AA3: 1, _A.AA4: 1, _A.AA5: 1, _A.AA6: 13, _A.AA7: 13, _A.AA8: 13,
}  # fmt: skip


def _row(event: int, **cells: Action) -> dict[tuple[Event, State], Action]:
    """One row of Table 9-10; `s6` is the cell of state 6, `s8_12` the cells of states 8 to 12."""
    found = {}
    for name, action in cells.items():
        first, _, last = name.removeprefix("s").partition("_")
        for state in range(int(first), int(last or first) + 1):
            found[Event(event), State(state)] = action
    return found


TABLE: Mapping[tuple[Event, State], Action] = {
    **_row(1, s1=_A.AE1),
    **_row(2, s4=_A.AE2),
    **_row(3, s2=_A.AA1, s3=_A.AA8, s5=_A.AE3, s6_12=_A.AA8, s13=_A.AA6),
    **_row(4, s2=_A.AA1, s3=_A.AA8, s5=_A.AE4, s6_12=_A.AA8, s13=_A.AA6),
    **_row(5, s1=_A.AE5),
    **_row(6, s2=_A.AE6, s3=_A.AA8, s5_12=_A.AA8, s13=_A.AA7),
    **_row(7, s3=_A.AE7),
    **_row(8, s3=_A.AE8),
    **_row(9, s6=_A.DT1, s8=_A.AR7),
    **_row(10, s2=_A.AA1, s3=_A.AA8, s5=_A.AA8, s6=_A.DT2, s7=_A.AR6, s8_12=_A.AA8, s13=_A.AA6),
    **_row(11, s6=_A.AR1),
    **_row(12, s2=_A.AA1, s3=_A.AA8, s5=_A.AA8, s6=_A.AR2, s7=_A.AR8, s8_12=_A.AA8, s13=_A.AA6),
    **_row(13, s2=_A.AA1, s3=_A.AA8, s5_6=_A.AA8, s7=_A.AR3, s8_9=_A.AA8, s10=_A.AR10, s11=_A.AR3, s12=_A.AA8,
           s13=_A.AA6),
    **_row(14, s8=_A.AR4, s9=_A.AR9, s12=_A.AR4),
    **_row(15, s3=_A.AA1, s4=_A.AA2, s5_12=_A.AA1),
    **_row(16, s2=_A.AA2, s3=_A.AA3, s5_12=_A.AA3, s13=_A.AA2),
    **_row(17, s2=_A.AA5, s3_12=_A.AA4, s13=_A.AR5),
    **_row(18, s2=_A.AA2, s13=_A.AA2),
    **_row(19, s2=_A.AA1, s3=_A.AA8, s5_12=_A.AA8, s13=_A.AA7),
}  # fmt: skip


class ImpossibleEventError(RuntimeError):
    """The caller asked for something that the present state does not allow."""


def step(event: Event, state: State, *, requestor: bool) -> tuple[Action, State]:
    """The action for `event` in `state` and the state after it. Raises ImpossibleEventError."""
    action = TABLE.get((event, state))
    if action is None:
        raise ImpossibleEventError(f"{event.name} in {state.name}")
    if action is Action.AR8 and not requestor:
        return action, State.COLLISION_ACCEPTOR
    return action, State(AFTER[action])
