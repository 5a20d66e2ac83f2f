"""Who may administer whom. The expected cells are written by hand from DOMAIN §6 ("users, devices")."""

from __future__ import annotations

import pytest

from server import keys
from tests.conftest import sign_in

ROLES = ["doctor", "technician", "expert", "dispatcher", "clinic_admin", "hospital_admin", "platform_admin", "auditor"]


async def call(client, method, path, body=None):
    if method == "GET":
        async with client.get(path) as answer:
            return answer.status
    async with getattr(client, method.lower())(path, json=body) as answer:
        return answer.status


# What each role gets on the clinic's people and on organisations.
EXPECTED = {
    "list": {"doctor": 403, "technician": 403, "expert": 403, "dispatcher": 403, "clinic_admin": 200, "hospital_admin": 404,
                 "platform_admin": 200, "auditor": 200},
    "add doctor": {"doctor": 403, "technician": 403, "expert": 403, "dispatcher": 403, "clinic_admin": 201, "hospital_admin": 404,
                       "platform_admin": 403, "auditor": 403},
    "add org admin": {"doctor": 403, "technician": 403, "expert": 403, "dispatcher": 403, "clinic_admin": 201,
                          "hospital_admin": 404, "platform_admin": 201, "auditor": 403},
    "add auditor": {"doctor": 403, "technician": 403, "expert": 403, "dispatcher": 403, "clinic_admin": 403, "hospital_admin": 403,
                        "platform_admin": 201, "auditor": 403},
    "disable": {"doctor": 403, "technician": 403, "expert": 403, "dispatcher": 403, "clinic_admin": 200, "hospital_admin": 404,
                    "platform_admin": 200, "auditor": 403},
    "password": {"doctor": 403, "technician": 403, "expert": 403, "dispatcher": 403, "clinic_admin": 200, "hospital_admin": 404,
                     "platform_admin": 200, "auditor": 403},
    "end": {"doctor": 403, "technician": 403, "expert": 403, "dispatcher": 403, "clinic_admin": 200, "hospital_admin": 404,
                "platform_admin": 403, "auditor": 403},
    "organisation": {"doctor": 403, "technician": 403, "expert": 403, "dispatcher": 403, "clinic_admin": 403, "hospital_admin": 403,
                         "platform_admin": 201, "auditor": 403},
    "organisations": dict.fromkeys(ROLES, 200),
}


@pytest.mark.parametrize("action", EXPECTED)
@pytest.mark.parametrize("who", ROLES)
async def test_each_role_on_the_clinics_people(client, city, who, action):
    await sign_in(client, getattr(city, who).login)
    person, colleague = city.colleague, city.colleague
    new = {"login": "somebody-new", "name": "新人"}
    path, body, method = {
        "list": (f"/api/organisations/{city.clinic}/staff", None, "GET"),
        "add doctor": (f"/api/organisations/{city.clinic}/staff", new | {"role": "clinic_doctor"}, "POST"),
        "add org admin": (f"/api/organisations/{city.clinic}/staff", new | {"role": "org_admin"}, "POST"),
        "add auditor": (f"/api/organisations/{city.clinic}/staff", new | {"role": "auditor"}, "POST"),
        "disable": (f"/api/staff/{person.staff}/disable", None, "POST"),
        "password": (f"/api/staff/{person.staff}/password", {}, "POST"),
        "end": (f"/api/memberships/{colleague.membership}/end", None, "POST"),
        "organisation": ("/api/organisations", {"name": "新院", "tier": "county", "kind": "hospital"}, "POST"),
        "organisations": ("/api/organisations", None, "GET"),
    }[action]
    assert await call(client, method, path, body) == EXPECTED[action][who]


async def test_nobody_administers_themselves(client, city):
    await sign_in(client, city.clinic_admin.login)
    for path in ("disable", "password"):
        assert await call(client, "POST", f"/api/staff/{city.clinic_admin.staff}/{path}", {}) == 403
    assert await call(client, "POST", f"/api/memberships/{city.clinic_admin.membership}/end") == 403


async def test_who_serves_elsewhere_too_is_not_one_places_to_take_over(client, city, app):
    """Else a clinic could set the password of a city expert and sign in as one."""
    from consult.people import Role
    from server.auth.staff import new_membership

    await app[keys.WORK].run(
        lambda uow: new_membership(uow, city.expert.staff, city.clinic, Role.EXPERT, "", (), on_call=False)
    )
    await sign_in(client, city.clinic_admin.login)
    for path in ("disable", "password"):
        assert await call(client, "POST", f"/api/staff/{city.expert.staff}/{path}", {}) == 403


async def test_a_taken_login_and_a_bad_one_name_their_field(client, city):
    await sign_in(client, city.clinic_admin.login)
    for login, code in ((city.doctor.login, "taken"), ("Has Space", "login_form"), ("x", "login_form")):
        new = {"login": login, "name": "新人", "role": "clinic_doctor"}
        async with client.post(f"/api/organisations/{city.clinic}/staff", json=new) as answer:
            assert answer.status == 422
            assert [(f["path"], f["code"]) for f in (await answer.json())["fields"]] == [("login", code)]


async def test_a_stale_change_is_refused(client, city):
    await sign_in(client, city.clinic_admin.login)
    change = {"version": 0, "name": "改名"}
    assert await call(client, "PATCH", f"/api/staff/{city.doctor.staff}", change) == 200
    assert await call(client, "PATCH", f"/api/staff/{city.doctor.staff}", change) == 409


async def audit_rows(client, **query):
    async with client.get("/api/audit", params=query) as answer:
        return answer.status, await answer.json()


async def test_the_audit_shows_each_role_what_the_table_says(open_browser, city):
    doctor = await open_browser()
    await sign_in(doctor, city.doctor.login)
    seen = {}
    for who in ("doctor", "clinic_admin", "hospital_admin", "platform_admin", "auditor"):
        browser = await open_browser()
        await sign_in(browser, getattr(city, who).login)
        status, value = await audit_rows(browser)
        assert status == 200
        seen[who] = {row["staff"] for row in value["rows"]}
    assert seen["doctor"] == {city.doctor.staff}
    assert seen["auditor"] >= {city.doctor.staff, city.clinic_admin.staff, city.platform_admin.staff}
    assert city.doctor.staff not in seen["hospital_admin"]
    assert (await audit_rows(doctor, staff=city.expert.staff))[0] == 404


async def test_every_sign_in_and_change_left_a_row_and_the_chain_is_whole(client, city, app):
    from server.storage.unit import verify_audit

    await sign_in(client, city.clinic_admin.login)
    await call(client, "POST", f"/api/staff/{city.colleague.staff}/disable")
    rows = await app[keys.WORK].read(lambda uow: uow.audit.rows())
    actions = [(row.action, row.object) for row in rows]
    assert ("login", f"staff:{city.clinic_admin.staff}") in actions
    assert ("staff.disable", f"staff:{city.colleague.staff}") in actions
    assert await app[keys.WORK].read(verify_audit) is None
