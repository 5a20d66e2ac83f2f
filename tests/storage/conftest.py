import pytest

from server.storage import engine, migrations
from tests.storage import samples
from tests.storage.postgres import Postgres
from tests.storage.stores import FakeStore, SqlStore

POSTGRES = pytest.param("postgresql", marks=pytest.mark.postgres)


@pytest.fixture(scope="session")
def postgres():
    server = Postgres()
    server.start()
    yield server
    server.stop()


@pytest.fixture(scope="session")
def postgres_template(postgres):
    name = postgres.create()
    database = engine.open(postgres.url(name))
    migrations.apply(database)
    database.close()
    return name


def _url(request, tmp_path):
    """The address of a fresh migrated database, and what to do with it afterwards."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/clinic.db", lambda: None
    server = request.getfixturevalue("postgres")
    name = server.create(request.getfixturevalue("postgres_template"))
    return server.url(name), lambda: server.drop(name)


@pytest.fixture(params=["sqlite", POSTGRES])
def sql(request, tmp_path):
    """A seeded store on each engine."""
    url, after = _url(request, tmp_path)
    store = SqlStore(url)
    store.run(samples.seed)
    yield store
    store.close()
    after()


@pytest.fixture(params=["fakes", "sqlite", POSTGRES])
def store(request, tmp_path):
    """A seeded store: the fakes and each engine. The contract of consult/ports.py holds on all."""
    if request.param == "fakes":
        found = FakeStore()
        found.run(samples.seed)
        yield found
        return
    url, after = _url(request, tmp_path)
    found = SqlStore(url)
    found.run(samples.seed)
    yield found
    found.close()
    after()


@pytest.fixture(params=["sqlite", POSTGRES])
def address(request, tmp_path):
    """An empty database on each engine, not migrated."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path}/clinic.db"
        return
    server = request.getfixturevalue("postgres")
    name = server.create()
    yield server.url(name)
    server.drop(name)
