# ruff: noqa: S608 - values are always parameters; only our own fragments are put together
"""Names by the pieces they are written of: an inverted index of every three neighbouring characters.

Three serve two and one as well, since a shorter piece is what longer ones begin with: 伟强 finds 伟强=, 伟强文. What is
found so is only where to look: the conditions of the search still decide, so that a piece too many costs time alone.
"""

from __future__ import annotations

import json
import re
import sqlite3
from collections.abc import Iterable, Sequence

from dicom import query as qido
from dicom.index.names import fold
from dicom.model import Query

LONG = 3
COMMON = 16
"""A piece that more than one study in so many has leads nowhere: reading them in order is as good."""
WORTH = 400
"""Studies at most that are looked at one by one; of more, the newest are found sooner in order."""
_MOST = 512  # pieces of one name: whoever writes more is looked at by every search
_ANY = ""
_AFTER = "\U0010ffff"


def grams(*texts: str) -> list[str]:
    """The pieces of a name as it is searched (`dicom.index.names`); their ends, being shorter, too."""
    found = {text[i : i + LONG] for text in texts for i in range(len(text))}
    return sorted(found) if len(found) <= _MOST else [_ANY]


def grams_json(search: str, sound: str) -> str:
    """The same as a JSON list, for SQL."""
    return json.dumps(grams(search, sound))


def candidates(connection: sqlite3.Connection, query: Query) -> list[int] | None:
    """The ids of all studies where a PatientName can be found; None where reading in order is as good."""
    value = query.matches.get("PatientName", "")
    if not value:
        return None
    found = {row[0] for row in connection.execute("SELECT study FROM name_gram WHERE gram = ?", (_ANY,))}
    for needles in _alternatives(fold(value), fuzzy=query.fuzzy and not qido.is_wildcard(value)):
        having = _having(connection, needles) if needles else None
        if having is None:
            return None
        found |= having
    return sorted(found) if len(found) <= WORTH else None


def _alternatives(pattern: str, *, fuzzy: bool) -> list[list[str]]:
    """Every way to fit `conditions._name`: the pieces that a name must have, all of them; [] where nothing is said."""
    if fuzzy and (words := pattern.replace("^", " ").replace("=", " ").split()):
        return [_needles(words)]
    runs = re.split(r"[*?]+", f"={pattern}=")
    spoken = [run.replace("^", " ") for run in runs]
    return [_needles(runs)] if spoken == runs else [_needles(runs), _needles(spoken)]


def _needles(runs: Iterable[str]) -> list[str]:
    out: dict[str, None] = {}
    for run in runs:
        if run != "=":
            out.update((run[i : i + LONG], None) for i in range(max(1, len(run) - LONG + 1)) if run)
    return list(out)


def _having(connection: sqlite3.Connection, needles: Sequence[str]) -> set[int] | None:
    """The studies that have all of these pieces; None where each is common, or there are too many."""
    (newest,) = connection.execute("SELECT coalesce(max(id), 0) FROM study").fetchone()
    first, fewest = -1, max(newest // COMMON, WORTH)
    for i, needle in enumerate(needles):
        (count,) = connection.execute(
            "SELECT count(*) FROM (SELECT 1 FROM name_gram WHERE gram >= ? AND gram < ? LIMIT ?)",
            (*_span(needle), fewest),
        ).fetchone()
        if count < fewest:
            first, fewest = i, count
        if not fewest:
            return set()
    if first < 0:
        return None
    # Those far from the rarest first: its neighbours say what it says.
    order = sorted(range(len(needles)), key=lambda i: abs(i - first) < LONG)
    others = [needles[i] for i in order if i != first and len(needles[i]) == LONG]
    joins = "".join(
        f" CROSS JOIN name_gram n{i} ON n{i}.gram = ? AND n{i}.study = a.study" for i in range(len(others))
    )
    rows = connection.execute(
        f"SELECT DISTINCT a.study FROM name_gram a{joins} WHERE a.gram >= ? AND a.gram < ? LIMIT ?",
        (*others, *_span(needles[first]), WORTH + 1),
    ).fetchall()
    return {row[0] for row in rows} if len(rows) <= WORTH else None


def _span(needle: str) -> tuple[str, str]:
    """From and before which pieces begin with this one."""
    return needle, needle + ("\0" if len(needle) == LONG else _AFTER)
