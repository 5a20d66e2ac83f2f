"""The upper layer by itself: the table against another implementation's, units against arbitrary bytes."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pynetdicom import pdu as theirs
from pynetdicom.fsm import TRANSITION_TABLE

from dicom.network import dimse, pdu
from dicom.network.machine import AFTER, TABLE, Action, Event, ImpossibleEventError, State, step

UIDS = st.from_regex(r"[1-9][0-9]{0,5}(\.[1-9][0-9]{0,5}){1,6}", fullmatch=True)
TITLES = st.from_regex(r"[A-Z][A-Z0-9_]{0,15}", fullmatch=True)


def test_our_table_is_the_standards_as_pynetdicom_reads_it():
    ours = {(f"Evt{int(event)}", f"Sta{int(state)}"): str(action) for (event, state), action in TABLE.items()}
    assert ours == TRANSITION_TABLE


def test_every_state_is_reached_and_leads_back_to_idle():
    edges: dict[State, set[State]] = {state: set() for state in State}
    for event, state in TABLE:
        for requestor in (True, False):
            edges[state].add(step(event, state, requestor=requestor)[1])
    for start in State:
        seen, waiting = {start}, [start]
        while waiting:
            for after in edges[waiting.pop()] - seen:
                seen.add(after)
                waiting.append(after)
        assert State.IDLE in seen
        if start is State.IDLE:
            assert seen == set(State)
    assert set(AFTER) == set(Action) == set(TABLE.values())


def test_a_release_collision_goes_its_own_way_on_each_side():
    asked = Event.RELEASE_REQUEST_RECEIVED
    assert step(asked, State.AWAITING_RELEASE, requestor=True)[1] is State.COLLISION_REQUESTOR
    assert step(asked, State.AWAITING_RELEASE, requestor=False)[1] is State.COLLISION_ACCEPTOR
    with pytest.raises(ImpossibleEventError):
        step(Event.DATA_LOCAL, State.AWAITING_REQUEST, requestor=False)


@given(
    called=TITLES, calling=TITLES, max_length=st.integers(0, 2**32 - 1),
    contexts=st.lists(st.tuples(UIDS, st.lists(UIDS, min_size=1, max_size=4)), min_size=1, max_size=6),
    roles=st.lists(st.tuples(UIDS, st.booleans(), st.booleans()), max_size=3),
)
@settings(max_examples=25, deadline=None)
def test_a_request_survives_both_codecs(called, calling, max_length, contexts, roles):
    value = pdu.Associate(
        called=called, calling=calling, max_length=max_length, implementation_uid="1.2.3", implementation_name="X",
        proposals=tuple(
            pdu.Proposal(id=2 * n + 1, abstract=abstract, transfers=tuple(transfers))
            for n, (abstract, transfers) in enumerate(contexts)
        ),
        roles=tuple(pdu.Role(abstract=uid, scu=scu, scp=scp) for uid, scu, scp in roles),
    )
    raw = pdu.encode_associate(value)
    kind, length = pdu.parse_header(raw)
    assert (kind, length) == (pdu.REQUEST, len(raw) - 6)
    assert pdu.decode_associate(memoryview(raw)[6:], request=True) == value
    other = theirs.A_ASSOCIATE_RQ()
    other.decode(raw)
    assert other.called_ae_title.strip() == called
    assert [str(item.abstract_syntax) for item in other.presentation_context] == [one for one, _ in contexts]
    assert pdu.decode_associate(memoryview(other.encode())[6:], request=True).proposals == value.proposals


@given(data=st.binary(max_size=400), request=st.booleans())
@settings(max_examples=400, deadline=None)
def test_arbitrary_bytes_are_read_or_refused_and_nothing_else(data, request):
    for read in (
        lambda view: pdu.decode_associate(view, request=request),
        lambda view: list(pdu.decode_data(view)),
        pdu.decode_abort,
        pdu.decode_reject,
        lambda view: dimse.decode_command(1, bytes(view)),
    ):
        try:
            read(memoryview(data))
        except pdu.PduError:
            continue


@given(position=st.integers(0, 10_000), byte=st.integers(0, 255), cut=st.integers(0, 400))
@settings(max_examples=300, deadline=None)
def test_a_request_with_one_wrong_byte_or_a_cut_is_read_or_refused(position, byte, cut):
    proposals = tuple(pdu.Proposal(id=n, abstract="1.2.840.10008.1.1", transfers=("1.2.840.10008.1.2",)) for n in (1, 3))
    raw = bytearray(pdu.encode_associate(pdu.Associate(called="A", calling="B", proposals=proposals, max_length=1))[6:])
    raw[position % len(raw)] = byte
    try:
        pdu.decode_associate(memoryview(bytes(raw[: len(raw) - cut % 20])), request=True)
    except pdu.PduError:
        return


@given(st.lists(st.tuples(st.integers(0, 127), st.booleans(), st.booleans(), st.binary(max_size=50)), min_size=1))
@settings(max_examples=100, deadline=None)
def test_values_come_back_from_their_unit_in_order(parts):
    fragments = [
        pdu.Fragment(context=2 * context + 1, command=command, last=last, data=data)
        for context, command, last, data in parts
    ]
    raw = pdu.encode_data(fragments)
    assert list(pdu.decode_data(memoryview(raw)[6:])) == fragments


@given(
    st.dictionaries(st.sampled_from(["message", "status", "remaining", "priority"]), st.integers(0, 0xFFFF)),
    UIDS, TITLES,
)
@settings(max_examples=60, deadline=None)
def test_a_command_comes_back_as_it_was(numbers, uid, title):
    values = {**numbers, "field": 1, "affected_class": uid, "destination": title}
    assert dict(dimse.decode_command(3, dimse.encode_command(values)).values) == values
