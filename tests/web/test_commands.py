"""The command line when people mistype: a sentence and a status, never a traceback, never a new folder."""

from __future__ import annotations

import logging

import pytest

from server import cli


@pytest.mark.parametrize(
    "command",
    [
        ["user", "list"], ["user", "passwd", "somebody"], ["user", "disable", "somebody"], ["audit", "verify"],
    ],
)
def test_a_mistyped_folder_is_no_empty_installation(command, tmp_path, capsys):
    there = tmp_path / "mistyped"
    assert cli.run([*command, "--data", str(there)]) == 1
    assert "holds no installation" in capsys.readouterr().err
    assert not there.exists()


def test_check_says_that_a_folder_is_not_there(tmp_path, capsys):
    assert cli.run(["check", "--data", str(tmp_path / "mistyped")]) == 1
    lines = {line.split()[1]: line for line in capsys.readouterr().out.splitlines()}
    assert lines["data"].startswith("BAD")
    assert lines["database"].startswith("BAD")
    assert lines["settings"].startswith("ok")


@pytest.fixture
def own_logging():
    """A server that begins writes its log to standard error, which here is the test's own and soon closed."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)


@pytest.mark.usefixtures("own_logging")
@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--data", "/dev/null/x"], "the data folder cannot be made"),
        (["--tls", "perhaps"], "--tls takes off, lan, or certificate and key"),
        (["--tls", "/nowhere/a,/nowhere/b"], "No such file"),
        (["--proxy", "my-proxy"], "my-proxy is no address"),
        (["--port", "99999"], "port"),
    ],
)
def test_serving_refuses_in_one_sentence(options, sentence, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("HUIZHEN_DATA", str(tmp_path / "data"))
    assert cli.run(["serve", *options]) == 1
    said = capsys.readouterr()
    assert sentence in said.err
    assert said.err.count("\n") == 1
    assert said.out == ""


@pytest.mark.parametrize("arguments", [[], ["user"], ["frobnicate"], ["serve", "--port", "x"]])
def test_what_is_no_command_is_status_2_with_the_usage(arguments, capsys):
    with pytest.raises(SystemExit) as ended:
        cli.run(arguments)
    assert ended.value.code == 2
    assert "usage: huizhen" in capsys.readouterr().err


@pytest.mark.parametrize(
    "command", [[], ["serve"], ["user"], ["user", "add"], ["check"], ["audit"], ["report"], ["report", "verify"]]
)
def test_every_command_explains_itself(command, capsys):
    with pytest.raises(SystemExit) as ended:
        cli.run([*command, "--help"])
    assert ended.value.code == 0
    assert len(capsys.readouterr().out) > 100
