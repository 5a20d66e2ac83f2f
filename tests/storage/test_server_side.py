"""What only the server keeps: accounts, logins, grants, uploads, outbox, settings."""

from dataclasses import replace
from datetime import timedelta

import pytest

from consult.errors import Conflict, NotFound, Stale
from server.storage.accounts import Account, Login
from server.storage.grants import Grant
from server.storage.outbox import Delivery
from server.storage.uploads import Upload
from tests.storage import samples as s

NOW = s.T0


def test_an_account_is_put_and_replaced(sql):
    account = Account(staff="s-doctor", password_hash="one", changed_at=NOW)
    assert not sql.read(lambda u: u.accounts.any())
    sql.run(lambda u: u.accounts.put(account))
    changed = replace(account, password_hash="two", must_change=True, changed_at=s.after(days=1))
    sql.run(lambda u: u.accounts.put(changed))
    assert sql.read(lambda u: u.accounts.get("s-doctor")) == changed
    assert sql.read(lambda u: u.accounts.get("s-expert")) is None
    assert sql.read(lambda u: u.accounts.any())


def test_wrong_passwords_lock_the_account_for_a_while(sql):
    lock = timedelta(minutes=15)
    sql.run(lambda u: u.accounts.put(Account(staff="s-doctor", password_hash="h", changed_at=NOW)))

    def fail():
        return sql.run(lambda u: u.accounts.note_failure("s-doctor", now=NOW, limit=3, lock=lock))

    assert [(x.failed, x.locked_until) for x in (fail(), fail())] == [(1, None), (2, None)]
    assert fail().locked_until == NOW + lock
    sql.run(lambda u: u.accounts.note_success("s-doctor"))
    found = sql.read(lambda u: u.accounts.get("s-doctor"))
    assert (found.failed, found.locked_until) == (0, None)
    assert sql.run(lambda u: u.accounts.note_failure("nobody", now=NOW, limit=3, lock=lock)) is None


def login(digest, staff="s-doctor", membership=s.DOCTOR, **more):
    values = {"csrf": "c", "created_at": NOW, "last_seen": NOW, "expires_at": s.after(hours=8)} | more
    return Login(digest=digest, staff=staff, membership=membership, **values)


def test_a_login_lives_until_it_expires_or_is_revoked(sql):
    sql.run(lambda u: u.logins.add(login("a")))
    assert sql.read(lambda u: u.logins.get("a", now=NOW)) == login("a")
    assert sql.read(lambda u: u.logins.get("a", now=s.after(hours=8))) is None
    assert sql.read(lambda u: u.logins.get("b", now=NOW)) is None
    assert sql.run(lambda u: u.logins.revoke(now=NOW, digest="a")) == ["a"]
    assert sql.run(lambda u: u.logins.revoke(now=NOW, digest="a")) == []
    assert sql.read(lambda u: u.logins.get("a", now=NOW)) is None
    with pytest.raises(Conflict):
        sql.run(lambda u: u.logins.add(login("a")))


def test_all_logins_of_a_person_or_membership_end_at_once(sql):
    def fill(uow):
        uow.logins.add(login("a"))
        uow.logins.add(login("b", membership=None, created_at=s.after(minutes=1)))
        uow.logins.add(login("c", "s-expert", s.EXPERT))

    sql.run(fill)
    assert [x.digest for x in sql.read(lambda u: u.logins.of("s-doctor", now=NOW))] == ["b", "a"]
    assert sql.run(lambda u: u.logins.revoke(now=NOW, staff="s-doctor", but="b")) == ["a"]
    assert sql.run(lambda u: u.logins.revoke(now=NOW, membership=s.EXPERT)) == ["c"]
    assert [x.digest for x in sql.read(lambda u: u.logins.of("s-doctor", now=NOW))] == ["b"]
    with pytest.raises(TypeError):
        sql.run(lambda u: u.logins.revoke(now=NOW))
    assert sql.run(lambda u: u.logins.sweep(before=s.after(minutes=1))) == 2


def test_a_login_changes_only_where_it_may(sql):
    sql.run(lambda u: u.logins.add(login("a", membership=None)))
    sql.run(lambda u: u.logins.change("a", membership=s.DOCTOR, sign_unlocked_until=s.after(minutes=15)))
    found = sql.read(lambda u: u.logins.get("a", now=NOW))
    assert found == login("a", sign_unlocked_until=s.after(minutes=15))
    with pytest.raises(TypeError):
        sql.run(lambda u: u.logins.change("a", staff="s-expert"))
    with pytest.raises(NotFound):
        sql.run(lambda u: u.logins.change("b", csrf="x"))


def test_a_grant_counts_frames_and_dies_by_every_way_of_revoking(sql):
    def grant(digest, **more):
        values = {
            "membership": s.DOCTOR, "study_uid": "2.25.1", "consultation": "c1", "created_at": NOW,
            "expires_at": s.after(minutes=15), "login": "l1",
        } | more
        return Grant(digest=digest, **values)

    def fill(uow):
        s.with_consultation(uow)
        for one in (
            grant("a"), grant("b", study_uid="2.25.2"), grant("c", membership=s.EXPERT),
            grant("d", login="l2", consultation=None),
        ):
            uow.grants.add(one)

    sql.run(fill)
    sql.run(lambda u: (u.grants.count("a", 3), u.grants.count("a", 4)))
    assert sql.read(lambda u: u.grants.get("a", now=NOW)) == replace(grant("a"), frames=7)
    assert sql.read(lambda u: u.grants.get("a", now=s.after(minutes=15))) is None
    assert {x.digest for x in sql.read(lambda u: u.grants.of(s.DOCTOR, now=NOW))} == {"a", "b", "d"}
    assert sql.run(lambda u: u.grants.revoke(now=NOW, logins=["l2"])) == ["d"]
    assert sql.run(lambda u: u.grants.revoke(now=NOW, study_uid="2.25.2")) == ["b"]
    assert sql.run(lambda u: u.grants.revoke(now=NOW, memberships=[s.EXPERT], consultation="c1")) == ["c"]
    assert sql.run(lambda u: u.grants.revoke(now=NOW, digest="a")) == ["a"]
    assert list(sql.read(lambda u: u.grants.of(s.DOCTOR, now=NOW))) == []
    with pytest.raises(TypeError):
        sql.run(lambda u: u.grants.revoke(now=NOW))
    assert sql.run(lambda u: u.grants.sweep(before=s.after(seconds=1))) == 4


def test_an_upload_moves_forward_by_version(sql):
    upload = Upload(
        id="u1", organisation=s.CLINIC, membership=s.DOCTOR, size=100, created_at=NOW, touched_at=NOW
    )
    sql.run(lambda u: u.uploads.add(upload))
    half = sql.run(lambda u: u.uploads.save(replace(upload, received=50, touched_at=s.after(minutes=1))))
    assert half.version == 1
    with pytest.raises(Stale):
        sql.run(lambda u: u.uploads.save(replace(upload, received=60)))
    assert [x.id for x in sql.read(lambda u: u.uploads.stale(before=s.after(hours=1)))] == ["u1"]
    assert list(sql.read(lambda u: u.uploads.stale(before=NOW))) == []
    whole = sql.run(lambda u: u.uploads.save(replace(half, received=100, state="complete")))
    assert [x.id for x in sql.read(lambda u: u.uploads.unfinished())] == ["u1"]
    done = sql.run(lambda u: u.uploads.save(replace(whole, state="done", result={"stored": ["1.2"], "failed": []})))
    assert sql.read(lambda u: u.uploads.get("u1")) == done
    assert list(sql.read(lambda u: u.uploads.unfinished())) == []
    assert list(sql.read(lambda u: u.uploads.of(s.DOCTOR))) == [done]
    assert list(sql.read(lambda u: u.uploads.of(s.DOCTOR, states=("open",)))) == []
    sql.run(lambda u: u.uploads.remove("u1"))
    with pytest.raises(NotFound):
        sql.read(lambda u: u.uploads.get("u1"))


def test_a_delivery_is_tried_until_it_is_sent_or_given_up(sql):
    def delivery(id, minutes):
        return Delivery(
            id=id, kind="webhook", target="pager", payload={"offer": id}, created_at=NOW,
            next_at=s.after(minutes=minutes),
        )

    sql.run(lambda u: [u.outbox.add(delivery(f"d{n}", n)) for n in range(3)])

    def due(minutes):
        return [x.id for x in sql.read(lambda u: u.outbox.due(s.after(minutes=minutes)))]

    assert due(1) == ["d0", "d1"]
    sql.run(lambda u: (u.outbox.sent("d0"), u.outbox.again("d1", at=s.after(minutes=9), error="http_500")))
    assert due(2) == ["d2"]
    assert due(9) == ["d2", "d1"]
    sql.run(lambda u: u.outbox.again("d2", at=None, error="http_410"))
    found = sql.read(lambda u: u.outbox.get("d2"))
    assert (found.state, found.attempts, found.last_error) == ("failed", 1, "http_410")
    assert sql.run(lambda u: u.outbox.sweep(before=s.after(days=1))) == 1
    with pytest.raises(NotFound):
        sql.run(lambda u: u.outbox.sent("d0"))


def test_settings_are_json_under_a_name(sql):
    assert sql.read(lambda u: u.settings.get("installation", "none")) == "none"
    sql.run(lambda u: u.settings.put("installation", {"id": "x", "n": [1, 2.5, None, True]}))
    sql.run(lambda u: u.settings.put("installation", {"id": "y"}))
    assert sql.read(lambda u: u.settings.get("installation")) == {"id": "y"}
    assert sql.run(lambda u: u.settings.add("consent:1", "文本"))
    assert not sql.run(lambda u: u.settings.add("consent:1", "else"))
    assert sql.read(lambda u: u.settings.get("consent:1")) == "文本"
    sql.run(lambda u: u.settings.put("consent_1", "trap"))
    assert sql.read(lambda u: u.settings.names("consent:")) == ["consent:1"]
    with pytest.raises(TypeError):
        sql.run(lambda u: u.settings.put("nothing", None))
    sql.run(lambda u: u.settings.remove("installation"))
    assert sql.read(lambda u: u.settings.get("installation")) is None
