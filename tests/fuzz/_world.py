"""A random world in plain values, and the oracle: who may see what in it, by the domain's table and by nothing of ours."""

from __future__ import annotations

import random
from dataclasses import dataclass, field, replace

from consult.people import Role
from tests.archive.files import make

NAMES = ["王^小明", "WANG^XIAOMING", "Li^Si=李^四", "欧阳^娜娜", ""]
ROLES = {
    "doctor": Role.CLINIC_DOCTOR, "colleague": Role.CLINIC_DOCTOR, "expert": Role.EXPERT, "expert2": Role.EXPERT, "released": Role.EXPERT,
    "dispatcher": Role.DISPATCHER, "admin": Role.ORG_ADMIN, "tech0": Role.TECHNICIAN, "tech1": Role.TECHNICIAN, "tech2": Role.TECHNICIAN,
}  # fmt: skip
HOME = {"doctor": 0, "colleague": 0, "admin": 0, "tech0": 0, "tech1": 1, "tech2": 2}  # everybody else is at 2, the centre
GUESTS = ["colleague", "expert2", "tech1"]  # who may be invited to a session
WHO = [*ROLES, "token0", "token1", "token2", "device0", "device1", "device2"]


@dataclass(frozen=True, slots=True)
class Thing:
    """One instance as one organisation holds it."""

    organisation: int
    study: str
    series: str
    sop: str
    modality: str
    name: str
    patient: str = ""
    pixels: bytes = b""


@dataclass(slots=True)
class World:
    """What is so, in plain values; the oracle knows nothing else."""

    number: int
    held: list[Thing] = field(default_factory=list)
    stored: dict[tuple[int, str], tuple[Thing, bytes]] = field(default_factory=dict)  # what came: by place and instance
    studies: list[str] = field(default_factory=list)
    shared: list[set[str]] = field(default_factory=list)  # per consultation, shares in force
    triage: list[bool] = field(default_factory=list)
    expert: list[bool] = field(default_factory=list)  # per consultation: the expert is still on it
    seated: list[set[str]] = field(default_factory=list)  # per consultation: guests who sit in the running session
    matched: set[tuple[str, int]] = field(default_factory=set)  # (study, holder): of the referring doctor's patient
    ordered: set[tuple[str, int]] = field(default_factory=set)  # those among them that the doctor's clinic ordered
    doubted: set[str] = field(default_factory=set)
    orders: dict[tuple[int, str], bool] = field(default_factory=dict)  # (who performs it, accession): images are matched
    corrected: set[tuple[int, str]] = field(default_factory=set)  # (place, study) out of which something was moved
    quarantined: set[str] = field(default_factory=set)  # names that stand in quarantined files alone

    def permitted(self, who: str, purpose: str) -> list[Thing]:
        """DOMAIN §6: what this person, program or device may see in a `list`, in `pixels`, or `download`."""
        kind, number = who.rstrip("0123456789"), who[-1]
        seen: set[str] = set()
        if purpose != "download":  # a guest looks, while admitted
            seen = {study for shares, seated in zip(self.shared, self.seated, strict=True) for study in shares if who in seated}
        if kind in {"tech", "device"}:  # their own site's, doubted and unmatched included
            return [x for x in self.held if x.organisation == int(number) or x.study in seen - self.doubted]
        if kind == "token":  # the organisation's, but nothing in doubt: no technician looks at it there
            waiting = {study for study, _holder in self.matched if study in self.doubted and (study, int(number)) in self.matched}
            return [x for x in self.held if x.organisation == int(number) and x.study not in waiting]
        for shares, triage, expert in zip(self.shared, self.triage, self.expert, strict=True):
            if who == "doctor" or (who == "expert" and expert) or (who == "dispatcher" and triage and purpose == "list"):
                seen |= shares
        if who == "doctor":  # their patient's, held or ordered at home
            seen |= {study for study, holder in self.matched if holder == 0 or (study, holder) in self.ordered}
        return [x for x in self.held if x.study in seen - self.doubted]

    def sharing(self, study: str) -> set[int]:
        """The consultations whose material it is."""
        return {c for c, shares in enumerate(self.shared) if study in shares}

    def move(self, place: int, source: str, target: str, series: set[str]) -> None:
        """One organisation shows series of a study as parts of another; the others go on showing what they hold."""
        self.held = [
            replace(x, study=target, name="", patient="") if x.organisation == place and x.study == source and x.series in series else x
            for x in self.held
        ]


def file_of(thing: Thing, number: int) -> bytes:
    """The bytes of a thing of world `number`."""
    return make(thing.sop, study=thing.study, series=thing.series, PatientName=thing.name, Modality=thing.modality,
                PatientID=thing.patient, StudyDescription=f"world {number}", pixels=thing.pixels)  # fmt: skip


def imagine(seed: int, number: int) -> tuple[World, random.Random, list[tuple[int, bytes]]]:
    """World `number`, and the files to be stored: (organisation, bytes) in order."""
    chance = random.Random(f"{seed}:{number}")
    world, files = World(number), []
    first: dict[tuple[int, str], Thing] = {}
    for s in range(chance.choice([2, 3, 4])):
        study, name = f"1.2.{number + 1}.{s + 1}", chance.choice(NAMES)
        patient, apart = chance.choice([f"W{number}", f"W{number}P{s}"]), chance.random() < 0.3
        world.studies.append(study)
        for n in range(chance.choice([1, 2, 3])):
            series, sop = f"{study}.{n % 2 + 1}", f"{study}.{n % 2 + 1}.{n + 1}"
            modality = chance.choice(["CT", "MR"])
            # The same bytes in several places (custody), or each place its own.
            own = chance.random() < 0.3
            for place in chance.sample(range(3), chance.choice([1, 1, 2, 3])):
                thing = Thing(
                    place, study, series, sop, modality, f"{name or 'X'}{place}" if own else name,
                    patient=f"{patient}-{place}" if apart else patient,
                    pixels=bytes([0x90 + place, number % 251, n, 0xF0 + s]) if own else b"\x01\x02\x03\x04",
                )  # fmt: skip
                data = file_of(thing, number)
                files.append((place, data))
                first[place, sop] = thing
                world.stored[place, sop] = thing, data
                if chance.random() < 0.15:
                    secret = f"QUARANTINED{number}^{place}"
                    world.quarantined.add(secret)
                    files.append((place, make(sop, study=study, series=series, PatientName=secret, Modality="PT")))
    world.held = list(first.values())
    return world, chance, files
