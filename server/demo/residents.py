"""The patients of the demo city. Numbers begin with 99, a district that does not exist (GB/T 2260)."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date

from consult.identity import check_character
from consult.patient import IdentifierSystem, Sex
from consult.registering import GivenIdentifier, register_patient
from server.demo.stage import Moments, Stage
from server.romanise import romanise

_DISTRICT = "990102"


def resident_id(birth: date, serial: int) -> str:
    """A number with a valid check digit in the district that does not exist; an odd serial is a man's."""
    first = f"{_DISTRICT}{birth:%Y%m%d}{serial:03d}"
    return first + check_character(first)


@dataclass(frozen=True, slots=True, kw_only=True)
class Resident:
    """One patient; `known` are further posts (organisations) that register the same person."""

    name: str
    by: str
    birth: date | None = None
    serial: int = 0                    # of the resident number; 0: none
    sex: Sex = Sex.UNKNOWN
    passport: tuple[str, str] | None = None
    card: str = ""
    local: tuple[tuple[str, str], ...] = ()    # (place, number of its devices)
    phone: str = ""
    guardian: str = ""
    payer: str = "城乡居民基本医疗保险"
    allergies: str = ""
    mother: str = ""
    known: tuple[str, ...] = ()
    days: float = 8                    # registered so long ago


RESIDENTS: dict[str, Resident] = {
    "zhang": Resident(
        name="张建国", by="zhoumin", birth=date(1958, 4, 12), serial=113, card="QY00120458", phone="19900001101",
        allergies="青霉素（皮疹，2009 年）", payer="城镇职工基本医疗保险",
    ),
    "wang": Resident(
        name="王秀英", by="zhoumin", birth=date(1951, 9, 3), serial=226, card="QY00120951", phone="19900001102",
        local=(("liuxiang", "LX-0951"),),
    ),
    "liqiang": Resident(
        name="李强", by="zhoumin", birth=date(1983, 6, 21), serial=337, phone="19900001103",
        payer="城镇职工基本医疗保险",
    ),
    "liu": Resident(
        name="刘桂芳", by="zhoumin", birth=date(1947, 1, 30), serial=448, card="QY00120147", phone="19900001104",
        allergies="磺胺类；含碘对比剂（2018 年注射后荨麻疹）", guardian="刘志强（儿子）", days=30,
    ),
    "chen": Resident(
        name="陈晓雨", by="zhoumin", birth=date(1994, 11, 8), serial=562, phone="19900001105",
        local=(("liuxiang", "LX-0771"),), known=("xujian",),
    ),
    "mueller": Resident(
        name="Anna Mueller", by="xujian", birth=date(1990, 2, 14), sex=Sex.FEMALE, passport=("D", "C01X00T47"),
        phone="19900001106", payer="自费", allergies="Latex 乳胶",
    ),
    "zhao": Resident(
        name="赵德海", by="luobin", birth=date(1966, 12, 19), serial=671, phone="19900001107",
        local=(("county", "CT-00871"),), known=("zhoumin",),
    ),
    "huang": Resident(
        name="黄丽华", by="zhoumin", birth=date(1975, 5, 5), serial=784, card="QY00120575", phone="19900001108",
        days=42,
    ),
    "huang2": Resident(
        name="黄丽华", by="sunqiang", birth=date(1975, 5, 5), sex=Sex.FEMALE, phone="19900001108", payer="自费",
    ),
    "sun": Resident(
        name="孙浩然", by="lihong", birth=date(2019, 3, 15), serial=891, guardian="孙伟（父亲）", phone="19900001109",
        allergies="头孢克肟（呕吐、皮疹）",
    ),
    "zhou": Resident(
        name="周国栋", by="tangyun", birth=date(1972, 8, 26), serial=915, phone="19900001110",
    ),
    "wu": Resident(
        name="吴美玲", by="zhoumin", birth=date(1984, 7, 17), serial=928, phone="19900001111",
        payer="城镇职工基本医疗保险",
    ),
    "ma": Resident(
        name="马成", by="luobin", birth=date(1949, 10, 1), serial=931, phone="19900001112",
        allergies="阿司匹林（哮喘发作）", local=(("county", "CT-00902"),),
    ),
    "qian": Resident(
        name="钱玉珍", by="xujian", birth=date(1955, 2, 27), serial=946, phone="19900001113",
    ),
    "he": Resident(
        name="何思琪", by="luobin", birth=date(1998, 3, 9), serial=962, phone="19900001114",
    ),
    "baby": Resident(name="何思琪之女", by="luobin", mother="he", sex=Sex.FEMALE, days=6.5),
}  # fmt: skip


def register(stage: Stage) -> Moments:
    """Registers everyone some days ago, minutes apart."""
    known = sorted(enumerate(RESIDENTS.items()), key=lambda x: -x[1][1].days)
    for number, (key, who) in known:
        yield stage.ago(days=who.days, minutes=-17 * number)
        numbers = [
            GivenIdentifier(system=IdentifierSystem.LOCAL, value=value, issuer=stage.places[place])
            for place, value in who.local
        ]
        if who.serial and who.birth:
            numbers.append(
                GivenIdentifier(system=IdentifierSystem.RESIDENT_ID, value=resident_id(who.birth, who.serial))
            )
        if who.passport:
            country, value = who.passport
            numbers.append(GivenIdentifier(system=IdentifierSystem.PASSPORT, value=value, issuer=country))
        if who.card:
            numbers.append(GivenIdentifier(system=IdentifierSystem.CARD, value=who.card))
        for by in (who.by, *who.known):
            mine = numbers if by == who.by else [x for x in numbers if x.system is IdentifierSystem.RESIDENT_ID]
            patient = stage.do(
                register_patient, by,
                name=who.name, sex=who.sex, birth_date=who.birth, identifiers=mine, phone=who.phone,
                guardian=who.guardian, payer=who.payer, allergies=who.allergies,
                mother=stage.patients[who.mother] if who.mother else None, romanise=romanise,
            )  # fmt: skip
            stage.patients[key] = patient.id
