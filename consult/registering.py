"""Registering, finding, correcting, merging patients."""

from calendar import monthrange
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from typing import Any

from consult.access import Action, authorize, open_patient, present, surviving
from consult.errors import Conflict, ConsultError, Invalid, Stale, Wrong, WrongState
from consult.events import record
from consult.identity import read_identifier, read_resident_id, read_scan
from consult.patient import IdentifierSystem, Patient, PatientId, PatientIdentifier, Sex
from consult.people import Actor
from consult.ports import UnitOfWork

Romanise = Callable[[str], str]
"""Name → the `pinyin` search text of a patient ("zhang xiao ming|zxm"); the server gives pypinyin."""

EDITABLE = ("name", "sex", "birth_date", "phone", "guardian", "payer", "allergies", "unknown")
_LIMITS = {"name": 64, "phone": 32, "guardian": 64, "payer": 64, "allergies": 1000}
_OLDEST = date(1850, 1, 1)
_MOST_MONTHS = 130 * 12
_SUSPICIOUS = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class GivenIdentifier:
    system: IdentifierSystem
    value: str
    issuer: str = ""                   # LOCAL: the organisation id (empty: the actor's); PASSPORT: the country


@dataclass(frozen=True, slots=True, kw_only=True)
class Duplicate:
    patient: Patient
    score: int                         # 100 = the same identifier
    reasons: tuple[str, ...]           # identifier | name | pinyin | birth_date | sex | phone


def find_patients(uow: UnitOfWork, *, actor: Actor, text: str, limit: int = 20) -> Sequence[Patient]:
    """Patients known to the actor's organisation by name part, pinyin or initials, number or phone.

    `text` may be what a card reader or code scanner typed. A number that finds somebody wins over the name.
    """
    authorize(uow, actor, Action.PATIENT_REGISTER, actor.organisation)
    scan = read_scan(text)
    found: dict[PatientId, Patient] = {}
    for wanted in (*scan.numbers, scan.name, "" if scan.numbers or scan.name else scan.text):
        if not wanted or (found and wanted == scan.name):
            continue
        for patient in uow.patients.find(wanted, actor.organisation, limit=limit):
            alive = surviving(uow, patient)
            found.setdefault(alive.id, alive)
    return tuple(found.values())[:limit]


def possible_duplicates(
    uow: UnitOfWork,
    *,
    actor: Actor,
    name: str,
    sex: Sex,
    birth_date: date | None,
    identifiers: Sequence[GivenIdentifier] = (),
    phone: str = "",
    romanise: Romanise,
) -> Sequence[Duplicate]:
    """Patients known to the organisation who may be the same person, likeliest first. Numbers are not checked."""
    authorize(uow, actor, Action.PATIENT_REGISTER, actor.organisation)
    seen: dict[PatientId, Patient] = {}
    same: set[PatientId] = set()
    for given in identifiers:
        try:
            value = read_identifier(given.system, given.value)
        except ConsultError:
            continue
        holder = uow.patients.by_identifier(given.system, _issuer(given, actor), value)
        if holder is not None and uow.patients.known_to(holder.id, actor.organisation):
            alive = surviving(uow, holder)
            seen[alive.id] = alive
            same.add(alive.id)
    reading = romanise(name.strip()) if name.strip() else ""
    for wanted in (name.strip(), reading.partition("|")[0], phone.strip()):
        if wanted:
            for patient in uow.patients.find(wanted, actor.organisation):
                seen.setdefault(patient.id, patient)
    found = []
    for patient in seen.values():
        reasons = {
            "identifier": patient.id in same,
            "name": bool(name.strip()) and patient.name == name.strip(),
            "pinyin": bool(reading) and patient.pinyin == reading,
            "birth_date": birth_date is not None
            and patient.birth_date == birth_date
            and not patient.birth_estimated,
            "phone": bool(phone.strip()) and patient.phone == phone.strip(),
            "sex": sex is not Sex.UNKNOWN and patient.sex is sex,
        }
        weights = {"identifier": 100, "name": 35, "pinyin": 15, "birth_date": 30, "phone": 25, "sex": 5}
        score = min(100, sum(weights[x] for x, holds in reasons.items() if holds))
        if score >= _SUSPICIOUS:
            kept = tuple(x for x, holds in reasons.items() if holds)
            found.append(Duplicate(patient=patient, score=score, reasons=kept))
    return sorted(found, key=lambda x: -x.score)


def register_patient(
    uow: UnitOfWork,
    *,
    actor: Actor,
    name: str,
    sex: Sex = Sex.UNKNOWN,
    birth_date: date | None = None,
    identifiers: Sequence[GivenIdentifier] = (),
    phone: str = "",
    guardian: str = "",
    payer: str = "",
    allergies: str = "",
    unknown: bool = False,
    mother: PatientId | None = None,
    estimated_months: int | None = None,
    romanise: Romanise,
) -> Patient:
    """A new patient, or the one another organisation registered under the same identity number and name.

    Sex and birth date are read from an identity number where they are not given. An unknown patient needs nothing;
    a newborn is named after the mother until it has a name. `estimated_months`: an age that was guessed; the birth date
    made from it is kept as an estimate. Raises Invalid with the fields; Conflict (params
    `field`, and `patient` if the organisation knows them) when a number belongs to somebody else.
    """
    authorize(uow, actor, Action.PATIENT_REGISTER, actor.organisation)
    today = (uow.now + uow.rules.utc_offset).date()
    values = {"name": name, "phone": phone, "guardian": guardian, "payer": payer, "allergies": allergies}
    values = {key: value.strip() for key, value in values.items()}
    if mother is not None:
        parent = open_patient(uow, actor, mother, Action.PATIENT_FIND)
        values["name"] = values["name"] or f"{parent.name}之婴"
        values["guardian"] = values["guardian"] or parent.name
        birth_date = birth_date or today
    estimated = birth_date is None and estimated_months is not None
    if estimated and estimated_months is not None:
        if not 0 <= estimated_months <= _MOST_MONTHS:
            raise Invalid(("estimated_months", "age_range", {"max": _MOST_MONTHS // 12}))
        birth_date = _months_before(today, estimated_months)
    if unknown and not values["name"]:
        values["name"] = f"无名氏{(uow.now + uow.rules.utc_offset):%m%d%H%M}"
    sex, birth_date, numbers = _checked(
        actor, values, sex, birth_date, identifiers, today, guessed=estimated
    )
    if (known := _already(uow, actor, values["name"], numbers)) is not None:
        uow.patients.link_organisation(known.id, actor.organisation)
        record(uow, actor, f"patient:{known.id}", "register_patient", payload={"linked": True})
        return known
    patient = Patient(
        id=PatientId(uow.new_id()),
        name=values["name"],
        sex=sex,
        birth_date=birth_date,
        birth_estimated=estimated and not _stated(numbers),
        pinyin=romanise(values["name"]),
        unknown=unknown,
        mother=mother,
        registered_by=actor.organisation,
        created_at=uow.now,
        phone=values["phone"],
        guardian=values["guardian"],
        payer=values["payer"],
        allergies=values["allergies"],
    )
    uow.patients.add(patient)
    for system, issuer, value in numbers:
        uow.patients.add_identifier(
            PatientIdentifier(patient=patient.id, system=system, issuer=issuer, value=value)
        )
    record(uow, actor, f"patient:{patient.id}", "register_patient", payload={"unknown": unknown})
    return patient


def _issuer(given: GivenIdentifier, actor: Actor) -> str:
    if given.system is IdentifierSystem.LOCAL:
        return given.issuer or actor.organisation
    return given.issuer.strip().upper() if given.system is IdentifierSystem.PASSPORT else ""


_Numbers = list[tuple[IdentifierSystem, str, str]]


def _stated(numbers: _Numbers) -> bool:
    """An identity number says the birth date."""
    return any(system is IdentifierSystem.RESIDENT_ID for system, _issuer, _value in numbers)


def _months_before(day: date, months: int) -> date:
    """The same day of the month so many months earlier; the last day where that month is shorter."""
    year, month = divmod(day.year * 12 + day.month - 1 - months, 12)
    return date(year, month + 1, min(day.day, monthrange(year, month + 1)[1]))


def _checked(
    actor: Actor,
    values: Mapping[str, str],
    sex: Sex,
    birth_date: date | None,
    identifiers: Sequence[GivenIdentifier],
    today: date,
    *,
    guessed: bool,
) -> tuple[Sex, date | None, _Numbers]:
    """Everything wrong with the form at once: Invalid with one entry per field. A `guessed` birth date contradicts no
    identity number.
    """
    wrong: list[Wrong] = []
    if not values["name"]:
        wrong.append(("name", "required"))
    for key, limit in _LIMITS.items():
        if len(values[key]) > limit:
            wrong.append((key, "too_long", {"max": limit}))
    if values["phone"] and not all(x in "0123456789+-() " for x in values["phone"]):
        wrong.append(("phone", "phone_format"))
    numbers: _Numbers = []
    for n, given in enumerate(identifiers):
        path = f"identifiers.{n}.value"
        try:
            value = read_identifier(given.system, given.value, path=path, today=today)
            if given.system is IdentifierSystem.RESIDENT_ID:
                stated = read_resident_id(value, path=path, today=today)
                if sex not in {Sex.UNKNOWN, stated.sex}:
                    wrong.append(("sex", "id_mismatch"))
                if birth_date not in {None, stated.birth_date} and not guessed:
                    wrong.append(("birth_date", "id_mismatch"))
                sex, birth_date = stated.sex, stated.birth_date
            numbers.append((given.system, _issuer(given, actor), value))
        except Invalid as error:
            wrong += error.fields
    if birth_date is not None and not _OLDEST <= birth_date <= today:
        wrong.append(("birth_date", "out_of_range"))
    if wrong:
        raise Invalid(*wrong)
    return sex, birth_date, numbers


def _already(uow: UnitOfWork, actor: Actor, name: str, numbers: _Numbers) -> Patient | None:
    """The person another organisation registered under one of these numbers. Conflict where it is not so simple."""
    for n, (system, issuer, value) in enumerate(numbers):
        holder = uow.patients.by_identifier(system, issuer, value)
        if holder is None:
            continue
        holder = surviving(uow, holder)
        field = f"identifiers.{n}.value"
        if uow.patients.known_to(holder.id, actor.organisation):
            raise Conflict(field=field, patient=holder.id)
        if system is IdentifierSystem.RESIDENT_ID and holder.name == name:
            return holder
        raise Conflict(field=field)
    return None


def update_patient(
    uow: UnitOfWork,
    *,
    actor: Actor,
    patient: PatientId,
    version: int,
    changes: Mapping[str, Any],
    identifiers: Sequence[GivenIdentifier] | None = None,
    romanise: Romanise,
) -> Patient:
    """Corrects demographics (keys EDITABLE) and, if `identifiers` is given, makes them the patient's numbers
    (numbers that other organisations' devices issued stay). Raises Invalid, Conflict, Stale.
    """
    stored = open_patient(uow, actor, patient, Action.PATIENT_WRITE)
    if stored.version != version:
        raise Stale(version=stored.version)
    strange = [(x, "unknown_field") for x in changes if x not in EDITABLE]
    if strange:
        raise Invalid(*strange)
    cleaned: dict[str, Any] = {k: v.strip() if isinstance(v, str) else v for k, v in changes.items()}
    if "sex" in cleaned:
        cleaned["sex"] = Sex(cleaned["sex"])
    merged = replace(stored, **cleaned)
    held = uow.patients.identifiers(stored.id)
    own = [x for x in held if x.system is not IdentifierSystem.LOCAL or x.issuer == actor.organisation]
    given = identifiers
    if given is None:
        given = [GivenIdentifier(system=x.system, value=x.value, issuer=x.issuer) for x in own]
    values = {key: str(getattr(merged, key)) for key in _LIMITS}
    today = (uow.now + uow.rules.utc_offset).date()
    sex, birth_date, numbers = _checked(
        actor, values, merged.sex, merged.birth_date, given, today,
        guessed=stored.birth_estimated and merged.birth_date == stored.birth_date,
    )  # fmt: skip
    wanted = [PatientIdentifier(patient=stored.id, system=s, issuer=i, value=v) for s, i, v in numbers]
    for n, x in enumerate(wanted):
        holder = uow.patients.by_identifier(x.system, x.issuer, x.value)
        if holder is not None and holder.id != stored.id:
            known = uow.patients.known_to(holder.id, actor.organisation)
            raise Conflict(field=f"identifiers.{n}.value", **({"patient": holder.id} if known else {}))
    saved = uow.patients.save(
        replace(
            merged,
            sex=sex,
            birth_date=birth_date,
            # What somebody has entered, or an identity number says, is no estimate any more.
            birth_estimated=stored.birth_estimated and birth_date == stored.birth_date and not _stated(numbers),
            pinyin=romanise(merged.name),
        )
    )
    for x in own:
        if x not in wanted:
            uow.patients.remove_identifier(x)
    for x in wanted:
        if x not in own:
            uow.patients.add_identifier(x)
    before = {k: getattr(stored, k) for k in EDITABLE if getattr(stored, k) != getattr(saved, k)}
    record(
        uow, actor, f"patient:{saved.id}", "update_patient",
        payload={"before": {k: str(v) for k, v in before.items()}, "numbers": wanted != own},
    )  # fmt: skip
    return saved


def merge_patients(
    uow: UnitOfWork, *, actor: Actor, source: PatientId, target: PatientId, reason: str
) -> Patient:
    """`source` becomes `target`: its numbers move, its consultations and studies stay where they are written and
    are found through the target. Returns the target. Raises Invalid, NotFound, NotAllowed, WrongState.
    """
    if not reason.strip():
        raise Invalid(("reason", "required"))
    if source == target:
        raise Invalid(("target", "same_patient"))
    leaving = present(uow.patients.get, source)
    authorize(uow, actor, Action.PATIENT_MERGE, leaving)
    staying = present(uow.patients.get, target)
    authorize(uow, actor, Action.PATIENT_MERGE, staying)
    if leaving.merged_into is not None or staying.merged_into is not None:
        raise WrongState(state="merged", trigger="merge_patients")
    numbers = [[x.system.value, x.issuer, x.value] for x in uow.patients.identifiers(source)]
    uow.patients.move_identifiers(source, target)
    uow.patients.save(replace(leaving, merged_into=target))
    places = {leaving.registered_by, actor.organisation}
    places |= {x.organisation for x in uow.consultations.of_patient(source)}
    for order in uow.studies.orders(patient=source):
        places |= {order.ordering, order.performing}
    for place in places:
        uow.patients.link_organisation(target, place)
    payload = {"source": source, "target": target, "identifiers": numbers}
    for one in (source, target):
        record(uow, actor, f"patient:{one}", "merge_patients", reason=reason, payload=payload)
    return uow.patients.get(target)


def unmerge_patients(uow: UnitOfWork, *, actor: Actor, source: PatientId, reason: str) -> Patient:
    """Undoes a merge: the numbers that came with `source` go back. Returns the source.

    Raises WrongState when it is not merged, Conflict when the target itself was merged on in the meantime.
    """
    if not reason.strip():
        raise Invalid(("reason", "required"))
    leaving = present(uow.patients.get, source)
    authorize(uow, actor, Action.PATIENT_MERGE, surviving(uow, leaving))
    if leaving.merged_into is None:
        raise WrongState(state="separate", trigger="unmerge_patients")
    target = uow.patients.get(leaving.merged_into)
    if target.merged_into is not None:
        raise Conflict(field="target")
    event = next(
        x
        for x in reversed(uow.events.of(f"patient:{source}"))
        if x.trigger == "merge_patients" and x.payload.get("source") == source
    )
    held = set(uow.patients.identifiers(target.id))
    for system, issuer, value in event.payload["identifiers"]:
        moved = PatientIdentifier(
            patient=target.id, system=IdentifierSystem(system), issuer=issuer, value=value
        )
        if moved in held:                      # corrected or removed since: it stays as it is now
            uow.patients.remove_identifier(moved)
            uow.patients.add_identifier(replace(moved, patient=source))
    restored = uow.patients.save(replace(leaving, merged_into=None))
    payload = {"source": source, "target": target.id}
    for one in (source, target.id):
        record(uow, actor, f"patient:{one}", "unmerge_patients", reason=reason, payload=payload)
    return restored
