"""One launcher for the whole folder: the server is imported once."""

import pytest

from tests.durability.life import Launcher


@pytest.fixture(scope="session")
def launcher():
    launcher = Launcher()
    yield launcher
    launcher.close()
