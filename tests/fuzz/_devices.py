"""What a device of one organisation is told over DIMSE: C-FIND, C-GET and C-MOVE of both roots at every level, the
worklist, storage commitment; and C-STORE for those that send.
"""

from __future__ import annotations

from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from dicom.elements import Window
from dicom.network import dimse, pdu
from dicom.network.commitment import FAILED, REASON, REFERENCED, SOP_CLASS, SOP_INSTANCE, TRANSACTION
from dicom.network.dimse import response_to
from dicom.network.negotiation import (
    PATIENT_FIND,
    PATIENT_GET,
    PATIENT_MOVE,
    STORAGE_COMMITMENT,
    STORAGE_COMMITMENT_INSTANCE,
    STUDY_FIND,
    STUDY_GET,
    STUDY_MOVE,
    WORKLIST_FIND,
)
from dicom.network.ports import Address
from dicom.network.records import parse_record, record, write_record
from dicom.network.scu import open_association
from dicom.network.terms import NetworkLimits
from dicom.part10 import split_file
from tests.fuzz._ground import Doors
from tests.fuzz._world import Thing

CT, MR, EXPLICIT = "1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.5.1.4.1.1.4", "1.2.840.10008.1.2.1"
SERVICES = (
    STUDY_FIND, PATIENT_FIND, STUDY_GET, PATIENT_GET, STUDY_MOVE, PATIENT_MOVE, WORKLIST_FIND, STORAGE_COMMITMENT, CT,
)  # fmt: skip
ROOTS = {"STUDY": (STUDY_FIND, STUDY_GET, STUDY_MOVE), "PATIENT": (PATIENT_FIND, PATIENT_GET, PATIENT_MOVE)}
TAGS = {"patient": 0x00100020, "study": 0x0020000D, "series": 0x0020000E, "sop": 0x00080018}
NAMED = {"PATIENT": ("patient",), "STUDY": ("study",), "SERIES": ("study", "series"), "IMAGE": ("study", "series", "sop")}
COUNTS = {"instances": 0x00201208, "series": 0x00201206, "in series": 0x00201209, "modalities": 0x00080061}
NAME, ABSENT = 0x00100010, "1.2.9999"
NO_SUCH_OBJECT, CLASS_CONFLICT = 0x0112, 0x0119


def check(condition: bool, who: str, what: str) -> None:
    assert condition, f"{who}: {what}"


@dataclass
class Told:
    """Answers with a dataset, the counts of every pending response, the last response, instances that came."""

    rows: list = field(default_factory=list)
    pending: list[list[int]] = field(default_factory=list)
    last: dimse.Command | None = None
    came: list[str] = field(default_factory=list)

    @property
    def status(self) -> int:
        return self.last.number("status")

    @property
    def counts(self) -> list[int]:
        return [self.last.number(x) for x in ("completed", "failed", "warning", "remaining")]


class Line:
    """An association of one device."""

    def __init__(self, doors: Doors, association) -> None:
        self.doors, self.association = doors, association
        self.contexts = {context.abstract: context.id for context in association.contexts.values()}

    async def ask(self, service: str, command: int, keys: dict, **more) -> Told:
        """C-FIND, C-GET or C-MOVE until its last response."""
        number, told, association = self.association.next_message(), Told(), self.association
        self.doors.asked += 1
        await association.send(self.contexts[service], {
            "field": command, "message": number, "priority": 0, "dataset": 1, "affected_class": service, **more,
        }, write_record(record(keys), EXPLICIT))  # fmt: skip
        while True:
            if await association.asked():
                asked = await association.receive()
                await association.discard()
                told.came.append(asked.sop_instance)
                await association.send(asked.context, response_to(asked, 0))
                continue
            answer, data = await association.reply(number)
            if answer.number("status") not in {0xFF00, 0xFF01}:
                told.last = answer
                return told
            if command != dimse.C_FIND:
                told.pending.append([answer.number(x) for x in ("completed", "failed", "warning", "remaining")])
            if data:
                told.rows.append(parse_record(data, EXPLICIT))

    async def commit(self, pairs: list[tuple[str, str]]):
        """(instances that are safe, failure reason of every other) as the report on this association says."""
        number, association, context = self.association.next_message(), self.association, self.contexts[STORAGE_COMMITMENT]
        self.doors.asked += 1
        named = [record({SOP_CLASS: a, SOP_INSTANCE: b}) for a, b in pairs]
        await association.send(context, {
            "field": dimse.N_ACTION, "message": number, "dataset": 1, "requested_class": STORAGE_COMMITMENT,
            "requested_instance": STORAGE_COMMITMENT_INSTANCE, "action_type": 1,
        }, write_record(record({TRANSACTION: f"1.2.3.{number}", REFERENCED: named}), EXPLICIT))  # fmt: skip
        answer, _ = await association.reply(number)
        assert answer.number("status") == 0, answer
        event = await association.receive()
        report = parse_record(await association.whole_dataset(1 << 20), EXPLICIT)
        await association.send(event.context, response_to(event, 0))
        good = [one.text(SOP_INSTANCE) for one in report.items(REFERENCED)]
        return good, [(one.text(SOP_INSTANCE), int(one.text(REASON))) for one in report.items(FAILED)]

    async def store(self, sop: str, file: bytes) -> tuple[int, str]:
        """C-STORE: (status, comment)."""
        number = self.association.next_message()
        self.doors.asked += 1
        await self.association.send(self.contexts[CT], {
            "field": dimse.C_STORE, "message": number, "priority": 0, "dataset": 1, "affected_class": CT, "affected_instance": sop,
        }, file[split_file(Window.of(file)).dataset_start :])  # fmt: skip
        answer, _ = await self.association.reply(number)
        return answer.number("status"), answer.text("comment")


@asynccontextmanager
async def line_of(doors: Doors, place: int):
    """The device of an organisation calls."""
    association = await open_association(
        Address(title="HUIZHEN", host="127.0.0.1", port=doors.ground.port), f"W{doors.world.number}D{place}",
        [pdu.Proposal(id=2 * n + 1, abstract=uid, transfers=(EXPLICIT,)) for n, uid in enumerate(SERVICES)], NetworkLimits(),
        roles=[pdu.Role(abstract=CT, scu=True, scp=True)],
    )  # fmt: skip
    try:
        yield Line(doors, association)
        await association.release()
    finally:
        association.drop()


def some(mine: list[Thing], narrowed: dict[str, str]) -> list[Thing]:
    """Those that an identifier names."""
    return [x for x in mine if all(getattr(x, name) in value.split("\\") for name, value in narrowed.items())]


def clear(mine: list[Thing]) -> bool:
    """Whose each study is can be said: no correction gave it another patient, and its instances name the same."""
    return all(x.patient for x in mine) and len({(x.study, x.patient) for x in mine}) == len({x.study for x in mine})


class Device:
    """A device of one organisation, and what it may see: what its organisation holds."""

    def __init__(self, doors: Doors, place: int, may: list[Thing], line: Line) -> None:
        self.doors, self.world, self.place, self.may, self.line = doors, doors.world, place, may, line
        self.who = f"device{place}"
        self.most = doors.ground.archive.limits.query_rows

    async def find(self, root: str, level: str, **narrowed: str) -> None:
        """C-FIND: exactly what is permitted, with its own counts and names."""
        what = f"C-FIND {root} root {level} {narrowed}"
        keys = {TAGS[name]: "" for name in NAMED[level]} | dict.fromkeys(COUNTS.values(), "") | {NAME: "", TAGS["patient"]: ""}
        asked = {0x00080052: level} | keys | {TAGS[name]: value for name, value in narrowed.items()}
        told = await self.line.ask(ROOTS[root][0], dimse.C_FIND, asked)
        check(told.status == 0, self.who, f"{what} ends with {told.status:#x}")
        held = some(self.may, narrowed)
        loose = not clear(self.may) and (level == "PATIENT" or "patient" in narrowed)
        if loose:  # one study shows one patient only; ids of the organisation's own files are the most there can be
            held = [x for x in self.may if all(getattr(x, name) == value for name, value in narrowed.items() if name != "patient")]
        ids = {tuple(getattr(x, name) for name in NAMED[level]) for x in held}
        if level == "PATIENT":
            ids = {(thing.patient,) for (where, _), (thing, _) in self.world.stored.items() if where == self.place} if loose else ids
        found = [tuple(row.text(TAGS[name]) for name in NAMED[level]) for row in told.rows]
        check(len(set(found)) == len(found), self.who, f"{what} names something twice")
        check(set(found) <= ids, self.who, f"{what} shows {set(found) - ids}")
        if not loose and level != "PATIENT":
            check(len(found) == min(len(ids), self.most + 1), self.who, f"{what} shows {len(found)} of {len(ids)}")
        check(bool(found) == bool(held) or loose, self.who, f"{what} shows {found} of {ids}")
        for row, uids in zip(told.rows, found, strict=True):
            self.counted(what, level, row, [x for x in self.may if x.study == uids[0]], uids)

    def counted(self, what: str, level: str, row, study: list[Thing], uids: tuple[str, ...]) -> None:
        """The counts and names of one answer; `study`: what is permitted of its study."""
        names = {x.name for x in study}
        if level == "PATIENT" or self.world.corrected:  # a study may keep the name that a part of it had which was moved
            names = {x.name for (where, _), (x, _) in self.world.stored.items() if where == self.place}
        check(row.text(NAME) in names, self.who, f"{what} says {row.text(NAME)}, not {names}")
        if level == "PATIENT":
            return
        right = {
            "instances": str(len({x.sop for x in study})),
            "series": str(len({x.series for x in study})),
            "modalities": "\\".join(sorted({x.modality for x in study})),
            "in series": str(len({x.sop for x in study if x.series == uids[1]})) if level == "SERIES" else "",
        }
        for name, tag in COUNTS.items():
            said = "\\".join(sorted(row.text(tag).split("\\"))) if name == "modalities" else row.text(tag)
            # Nothing but what belongs to the level must be answered, but what is answered must be right.
            must = level == {"in series": "SERIES"}.get(name, "STUDY")
            check(said == right[name] or (not must and said == ""), self.who, f"{what} counts {name} {said!r}, not {right[name]!r}")

    async def bring(self, root: str, level: str, **narrowed: str) -> None:
        """C-GET or C-MOVE: exactly what is permitted comes, and all counts on the way are of that."""
        what = f"{root} root {level} {narrowed}"
        wanted = {x.sop for x in some(self.may, narrowed)}
        loose = "patient" in narrowed and (not clear(self.may) or len({x.study for x in self.may}) > self.most)
        asked = {0x00080052: level} | {TAGS[name]: value for name, value in narrowed.items()}
        arrived = self.doors.ground.arrived
        for title in ("", f"W{self.world.number}T{self.place}"):
            start = len(arrived.kept)
            told = await self.line.ask(
                ROOTS[root][2 if title else 1], dimse.C_MOVE if title else dimse.C_GET, asked, **({"destination": title} if title else {})
            )
            came = told.came
            if title:  # the other worlds' go to the same shelf
                own = {sop for _, sop in self.world.stored}
                came = [x.sop_uid for x in arrived.kept[start:] if x.sop_uid in own]
            most = {x.sop for x in self.may} if loose else wanted
            check(set(came) <= most and len(set(came)) == len(came), self.who, f"{what} {title} brings {came}, permitted {most}")
            check(loose or set(came) == wanted, self.who, f"{what} {title} brings {came}, permitted {wanted}")
            check(told.counts == [len(came), 0, 0, 0], self.who, f"{what} {title} counts {told.counts} of {len(came)}")
            check(told.status == 0, self.who, f"{what} {title} ends with {told.status:#x}")
            check(all(sum(one) == len(came) for one in told.pending), self.who, f"{what} {title} counts on the way {told.pending}")
        other = f"W{self.world.number}T{(self.place + 1) % 3}"
        told = await self.line.ask(ROOTS[root][2], dimse.C_MOVE, asked, destination=other)
        check(told.counts[0] == 0 and told.status == 0xA801, self.who, f"C-MOVE to another house {told.status:#x}")

    async def worklist(self) -> None:
        """Orders that this organisation performs; before anything was corrected exactly those without images."""
        told = await self.line.ask(WORKLIST_FIND, dimse.C_FIND, {0x00080050: "", NAME: "", TAGS["study"]: "", 0x00400100: [record({0x00080060: ""})]})
        found = [row.text(0x00080050) for row in told.rows]
        mine = {accession for place, accession in self.world.orders if place == self.place}
        waiting = {accession for accession in mine if not self.world.orders[self.place, accession]}
        check(told.status == 0 and len(set(found)) == len(found), self.who, f"worklist {found}")
        check(set(found) <= mine and waiting <= set(found), self.who, f"worklist {found} of {mine}, waiting {waiting}")
        check(self.doors.changed or set(found) == waiting, self.who, f"worklist {found}, waiting {waiting}")

    async def commitment(self, chance) -> None:
        """Safe is what the organisation holds; of everything else it is said that there is no such thing."""
        sops = sorted({*(sop for _, sop in self.world.stored), f"{ABSENT}.1.1"})
        # They are looked up 500 at a time, which every real limit lets through, but not that of the capped worlds.
        sops = sorted(chance.sample(sops, min(len(sops), self.most)))
        mine, wrong = {x.sop for x in self.may}, {chance.choice(sops)}
        good, failed = await self.line.commit([(MR if sop in wrong else CT, sop) for sop in sops])
        check(good == [x for x in sops if x in mine - wrong], self.who, f"commitment of {good}, held {mine - wrong}")
        reasons = [(x, CLASS_CONFLICT if x in mine else NO_SUCH_OBJECT) for x in sops if x not in mine - wrong]
        check(failed == reasons, self.who, f"commitment fails with {failed}, not {reasons}")


async def device(doors: Doors, place: int, may: list[Thing], chance) -> None:
    """Everything that a device of one organisation may ask."""
    world = doors.world
    async with line_of(doors, place) as line:
        one = Device(doors, place, may, line)
        for root in ROOTS:
            for level in NAMED:
                if level == "PATIENT" and root == "STUDY":
                    told = await line.ask(STUDY_FIND, dimse.C_FIND, {0x00080052: level, TAGS["patient"]: ""})
                    check(told.status == 0xA900 and not told.rows, one.who, f"C-FIND of patients in the study root {told.status:#x}")
                    continue
                await one.find(root, level)
            root_only = {"patient": chance.choice(sorted({x.patient for x, _ in world.stored.values()}))} if root == "PATIENT" else {}
            thing = chance.choice(world.held)
            for study in [*world.studies, ABSENT]:
                await one.find(root, "STUDY", study=study, **root_only)
                await one.find(root, "SERIES", study=study, **root_only)
                await one.find(root, "IMAGE", study=study, **root_only)
            await one.find(root, "IMAGE", study=thing.study, series=thing.series)
            await one.find(root, "IMAGE", series=thing.series, sop=thing.sop)
            await one.find(root, "SERIES", series=thing.series)
            two = "\\".join(sorted({x.sop for x in chance.choices(world.held, k=2)}))
            named = [
                ("STUDY", {"study": thing.study}), ("STUDY", {"study": "\\".join(world.studies[:2])}), ("STUDY", {"study": ABSENT}),
                ("SERIES", {"study": thing.study, "series": thing.series}), ("SERIES", {"series": thing.series}),
                ("IMAGE", {"study": thing.study, "series": thing.series, "sop": thing.sop}), ("IMAGE", {"sop": two}),
                ("IMAGE", {"series": thing.series, "sop": thing.sop}), *([("PATIENT", root_only)] * 3 if root_only else []),
            ]  # fmt: skip
            for level, narrowed in chance.sample(named, 3):
                await one.bring(root, level, **narrowed)
        await one.worklist()
        await one.commitment(chance)
