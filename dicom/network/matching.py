"""Matching of a query against a small dataset that is no row of the index (PS3.4 §C.2.2.2): worklist items."""

from __future__ import annotations

from fnmatch import fnmatchcase

from dicom.index.names import fold
from dicom.network.records import CHARSET, Item, Record
from dicom.query import date_span, glob, is_wildcard, time_span

_WILD = frozenset({"AE", "CS", "LO", "LT", "SH", "ST", "UC", "UR", "UT"})


def matches(query: Record, item: Record) -> bool:
    """Whether the item fits every key of the query. Raises BadQueryError for a key that cannot be read."""
    for tag, key in query.values.items():
        if tag == CHARSET:
            continue
        if key.vr == "SQ":
            # An empty sequence, or one empty item, restricts nothing.
            wanted = [one for one in key.items if one.values]
            if wanted and not any(matches(wanted[0], inner) for inner in item.items(tag)):
                return False
        elif key.text and not _fits(key, item.text(tag)):
            return False
    return True


def _fits(key: Item, value: str) -> bool:
    wanted = key.text
    if not wanted.strip("*"):
        return True  # the wildcard alone is universal matching
    if key.vr == "DA":
        low, high = date_span(wanted)
        return bool(value) and (not low or value >= low) and (not high or value <= high)
    if key.vr == "TM":
        low, high = time_span(wanted)
        return bool(value) and (not low or value >= low) and (not high or value <= high)
    if key.vr == "UI":
        return value in wanted.split("\\")
    if key.vr == "PN":
        pattern = glob(fold(wanted))
        return any(fnmatchcase(fold(group), pattern) for group in (*value.split("="), value))
    if key.vr in _WILD and is_wildcard(wanted):
        return fnmatchcase(value, glob(wanted))
    return value in wanted.split("\\")


def project(query: Record, item: Record) -> Record:
    """The answer to a query: its keys, filled from the item; what the item does not know comes back empty."""
    values: dict[int, Item] = {}
    for tag, key in query.values.items():
        if tag == CHARSET:
            continue
        found = item.values.get(tag)
        if found is None:
            values[tag] = Item(vr=key.vr)
        elif key.vr == "SQ" and key.items and key.items[0].values:
            values[tag] = Item(vr="SQ", items=tuple(project(key.items[0], inner) for inner in found.items))
        else:
            values[tag] = found
    return Record(values=values)


def check(query: Record) -> None:
    """Raises BadQueryError where a date or time of the query cannot be read, before anything is answered."""
    for key in query.values.values():
        for inner in key.items:
            check(inner)
        if key.vr in {"DA", "TM"} and key.text.strip("*"):
            _fits(key, "0")
