"""Upgrades: from nothing, again, half done, from the future, from a stranger; and the kept SQL equals the tables."""

from datetime import UTC, datetime
from importlib import resources

import pytest
from sqlalchemy import text

from server.storage import engine, migrations, tables
from server.storage.errors import SchemaMismatch
from server.storage.migrations import Upgrade
from server.storage.schema import UPGRADES, render


def version(database):
    with database.read() as connection:
        return [n for (n,) in connection.execute(text("SELECT n FROM schema_version ORDER BY n"))]


@pytest.fixture
def database(address):
    found = engine.open(address)
    yield found
    found.close()


def ours(database):
    return list(migrations.known("postgresql" if database.postgres else "sqlite"))


def test_an_empty_database_is_brought_up_to_date_and_then_left_alone(database):
    latest = migrations.apply(database)
    assert version(database) == list(UPGRADES)
    assert latest == max(UPGRADES)
    assert migrations.apply(database) == latest
    assert version(database) == list(UPGRADES)


def test_an_upgrade_with_a_smaller_number_that_came_later_is_applied_too(database):
    first = ours(database)[:1]
    late, early = (Upgrade(n=n, name=f"u{n}", sql=f"CREATE TABLE u{n} (a TEXT)\n") for n in (5, 3))
    assert migrations.apply(database, [*first, late]) == 5
    assert migrations.apply(database, [*first, early, late]) == 5
    assert version(database) == [1, 3, 5]


def test_a_later_upgrade_is_applied_on_its_own(database):
    migrations.apply(database, ours(database)[:1])
    extra = Upgrade(n=2, name="extra", sql="CREATE TABLE extra (a TEXT)\n;;\nINSERT INTO extra VALUES ('100%')\n")
    assert migrations.apply(database, [*ours(database)[:1], extra]) == 2
    with database.read() as connection:
        assert connection.execute(text("SELECT a FROM extra")).scalar_one() == "100%"
    assert version(database) == [1, 2]


def test_an_upgrade_that_fails_leaves_the_old_schema(database):
    migrations.apply(database, ours(database)[:1])
    bad = Upgrade(n=2, name="bad", sql="CREATE TABLE half (a TEXT)\n;;\nINSERT INTO nowhere VALUES (1)\n")
    with pytest.raises(Exception, match="nowhere"):
        migrations.apply(database, [*ours(database)[:1], bad])
    assert version(database) == [1]
    with database.write() as connection, pytest.raises(Exception, match="half"):
        connection.execute(text("SELECT * FROM half"))


def test_a_database_of_a_newer_version_is_refused_untouched(database):
    extra = Upgrade(n=2, name="extra", sql="CREATE TABLE extra (a TEXT)\n")
    migrations.apply(database, [*ours(database)[:1], extra])
    with pytest.raises(SchemaMismatch, match="newer version"):
        migrations.apply(database, ours(database)[:1])
    assert version(database) == [1, 2]


def test_a_database_of_another_build_is_refused(database):
    migrations.apply(database, [Upgrade(n=1, name="other", sql="CREATE TABLE organisation (a TEXT)\n")])
    with pytest.raises(SchemaMismatch, match="another build"):
        migrations.apply(database)


@pytest.mark.parametrize("name", ["sqlite", "postgresql"])
@pytest.mark.parametrize(("n", "title"), list(UPGRADES.items()))
def test_the_kept_upgrades_say_what_the_tables_say(name, n, title):
    """Change a table: before the first release run `python -m server.storage.schema`, afterwards add an upgrade."""
    kept = resources.files(migrations).joinpath(f"{n:04}_{title}.{name}.sql").read_text(encoding="utf-8")
    assert kept == render(name, n)


def test_every_upgrade_is_rendered_from_the_tables():
    assert [(u.n, u.name) for u in migrations.known("sqlite")] == list(UPGRADES.items())


def test_a_database_of_the_first_version_gains_the_table_of_feedback(database):
    migrations.apply(database, ours(database)[:1])
    with database.write() as connection, pytest.raises(Exception, match="feedback"):
        connection.execute(text("SELECT * FROM feedback"))
    migrations.apply(database)
    with database.read() as connection:
        assert connection.execute(text("SELECT count(*) FROM feedback")).scalar_one() == 0


def test_patients_of_an_older_version_have_no_estimated_birth_date(database):
    migrations.apply(database, ours(database)[:2])
    with database.write() as connection:
        place = {"id": "o", "name": "O", "short_name": "O", "tier": "clinic", "kind": "hospital", "district": "", "phone": "",
                 "active": True, "version": 0}
        empty = dict.fromkeys(("pinyin", "phone", "guardian", "payer", "allergies", "pinyin_key"), "")
        connection.execute(tables.organisation.insert().values(place))
        connection.execute(tables.patient.insert().values(
            empty | {"id": "p", "name": "x", "sex": "U", "unknown": True, "registered_by": "o", "version": 0,
                     "created_at": datetime(2026, 11, 22, tzinfo=UTC)}
        ))
        connection.commit()
    migrations.apply(database)
    with database.read() as connection:
        assert not connection.execute(text("SELECT birth_estimated FROM patient")).scalar_one()


def test_both_engines_have_the_same_upgrades():
    names = [[(u.n, u.name) for u in migrations.known(name)] for name in ("sqlite", "postgresql")]
    assert names[0] == names[1]
