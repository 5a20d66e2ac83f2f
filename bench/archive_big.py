"""Searches where a district's studies lie: 100,000 of ten instances, headers only, through the real index writer."""

import asyncio
import json
from pathlib import Path

from bench.archive_clients import timed
from bench.archive_index import STUDY_ROOT
from bench.archive_sides import Ours, Run, asks
from bench.common import Row, p

INSTANCES = 10
SEARCHES = {
    "name*": "PatientName=WANG*",
    "two Chinese characters, inner": "PatientName=*伟强*",
    "two Chinese characters, nobody": "PatientName=*鑫淼*",
    "pinyin of a Chinese name": "PatientName=zhangwei*",
    "an exact Chinese name": "PatientName=张^伟强",
    "fuzzy, two words": "PatientName=wei zhang&fuzzymatching=true",
    "date range": "StudyDate=20230101-20231231",
    "paging": "offset={offset}",
    "modalities + counts": "ModalitiesInStudy=CT&includefield=00080061,00201206,00201208",
    "inner wildcard": "PatientName=*G^P1*",
    "accession": "AccessionNumber=ACC{n}",
    "series of a study": "/studies/{study}/series",
    "instances of a study": "/studies/{study}/instances",
    "an instance by its UID": "/instances?SOPInstanceUID={study}.1.2",
    "a series by its UID": "/series?SeriesInstanceUID={study}.1",
}
ONE = {"accession", "an instance by its UID", "a series by its UID"}  # an index leads to the one answer


async def rows(folder: Path, run: Run, *, studies: int, count: int) -> list[Row]:
    """P50 as a note, P99 against the goal."""
    ours = await Ours(folder / "big").start()
    found = []
    try:
        held = (await ours.do("fill", studies=studies, instances=INSTANCES))["instances"]
        for name, query in SEARCHES.items():

            def path(_, n: int, query: str = query) -> str:
                if query.startswith("/"):
                    return query.format(study=f"{STUDY_ROOT}{n * 37 % studies}")
                return f"/studies?limit=50&{query.format(n=n * 37 % studies, offset=n * 911 % max(studies - 50, 1))}"

            ask = asks(path, "application/dicom+json")
            answer = await asyncio.to_thread(ours.side.get, path(None, 0), "application/dicom+json")
            _, times = await asyncio.to_thread(timed, 1, [ask(ours.side, n) for n in range(count)])
            title = f"QIDO {name}, {studies:,} studies, {held:,} instances"
            run.note(title, ours.side, 0, times)
            note = f"P50 {p(times, 0.5):.1f} ms, {len(json.loads(answer or b'[]'))} found"
            goal = 5 if name in ONE else 30
            found.append(Row(name=f"{title}, P99", unit="ms", ours=p(times, 0.99), goal=goal, note=note))
    finally:
        await ours.stop()
    return found
