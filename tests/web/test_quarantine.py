"""A technician settles what waits in quarantine: sees both, keeps the original or takes the new one, and takes it back."""

from __future__ import annotations

from dicom.model import Scope
from server.dicomweb.ports import ARCHIVE
from tests.archive.files import make
from tests.web.test_tech_studies import actions, enter, get, page, post  # noqa: F401 fixtures
from tests.web.test_tech_uploads import technician, whole  # noqa: F401 fixtures


async def test_a_quarantined_file_is_compared_taken_and_given_back_and_nobody_else_may(
    technician, app, city, enter  # noqa: F811 fixtures
):
    await whole(technician, make())
    await whole(technician, make(PatientName="Zhao^Liu=赵^六", pixels=b"\x09\x09\x09\x09"))
    (item,) = (await get(technician, "/api/quarantine"))[1]["items"]
    address = f"/api/quarantine/{item['id']}"
    status, found = await get(technician, address)
    assert status == 200
    assert [one["tag"] for one in found["differences"]] == ["00100010", "7FE00010"]
    for which in ("held", "new"):
        async with technician.get(f"{address}/thumbnail?which={which}") as answer:
            assert (answer.status, answer.content_type) == (200, "image/jpeg")
    doctor = await enter("doctor")
    assert (await get(doctor, address))[0] == 403
    assert (await post(doctor, address, {"decision": "take"}))[0] == 403
    status, taken = await post(technician, address, {"decision": "take"})
    assert (status, taken["state"]) == (200, "taken")
    status, problem = await post(technician, address, {"decision": "keep"})
    assert (status, problem["code"]) == (409, "correction_refused")
    scope = Scope(organisations=frozenset({city.clinic}))
    assert taken["new_sop"] in {x.sop_uid for x in app[ARCHIVE].instances(scope, item["study"])}
    assert "已作为新影像收下" in (await page(technician, "/studies/quarantine"))[1]
    assert (await post(technician, address, {"decision": "open"}))[0] == 200
    assert [x.sop_uid for x in app[ARCHIVE].instances(scope, item["study"])] == [item["sop"]]
    assert (await post(technician, address, {"decision": "keep", "reason": "核对过"}))[1]["state"] == "kept"
    assert (await get(technician, "/api/quarantine"))[1]["items"] == []
    noted = [action for action, _ in await actions(app)]
    assert noted.count("study.quarantine_decide") == 4
    assert "study.quarantine_compare" in noted
    assert (await get(technician, "/api/quarantine/999999"))[0] == 404
