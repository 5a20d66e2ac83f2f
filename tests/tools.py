"""Programs the tests drive besides Python: `python -m tests.tools` installs them from Debian where it may, and
OHIF's viewer from npm, pynetdicom's test files with pip.

On a laptop it only says what is missing (those tests are skipped); in CI (`CI` is set) a missing one is a failure.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass

from server.frontend import FrontendError
from tests import ohif, sdist


@dataclass(frozen=True, slots=True)
class Tool:
    """A program and the Debian package that brings it."""

    program: str
    package: str
    reason: str


TOOLS = (
    Tool("chromium", "chromium", "browser tests"),
    Tool("firefox-esr", "firefox-esr", "a second browser engine"),
    Tool("storescu", "dcmtk", "DICOM peers and extraction of the report"),
    Tool("pdfsig", "poppler-utils", "a second opinion on signatures"),
    Tool("espeak-ng", "espeak-ng", "speech for the fake microphones"),
    Tool("turnserver", "coturn", "relayed media"),
    Tool("janus", "janus", "media through Janus"),
    Tool("/usr/sbin/Orthanc", "orthanc", "another archive as peer"),
    Tool("/usr/share/orthanc/plugins/libOrthancDicomWeb.so", "orthanc-dicomweb", "another archive as peer"),
    Tool("/usr/share/orthanc/plugins/libOrthancGdcm.so", "orthanc-gdcm", "another archive as peer"),
)


def missing() -> list[Tool]:
    """Those not found on the PATH or in /usr/bin."""
    return [
        tool for tool in TOOLS
        if not (shutil.which(tool.program) or os.path.exists(os.path.join("/usr/bin", tool.program)))
    ]


def may_install() -> bool:
    """Debian's apt, as root."""
    return shutil.which("apt-get") is not None and os.geteuid() == 0


def install(tools: list[Tool]) -> None:
    """apt-get, quietly; what it says is shown when it fails."""
    environment = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
    for command in (
        ["apt-get", "update", "-qq"],
        ["apt-get", "install", "-y", "-qq", "--no-install-recommends", *(tool.package for tool in tools)],
    ):
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            sys.stderr.write(done.stdout[-2000:] + done.stderr[-2000:])
            return


def main() -> int:
    """Install what may be installed; 1 only in CI with something still missing."""
    lacking = missing()
    if lacking and may_install():
        print("installing " + ", ".join(tool.package for tool in lacking))
        install(lacking)
        lacking = missing()
    for tool in lacking:
        print(f"missing: {tool.program} (Debian package {tool.package}): {tool.reason} will be skipped")
    fetched = with_viewer() & with_files()
    return 1 if (lacking or not fetched) and os.environ.get("CI") else 0


def with_viewer() -> bool:
    """Whether OHIF's viewer is there, fetched once from npm."""
    try:
        ohif.install()
    except (FrontendError, OSError, ValueError) as error:
        print(f"missing: OHIF's viewer (npm package @ohif/app): its test will be skipped ({error})")
        return False
    return True


def with_files() -> bool:
    """Whether pynetdicom's test files are there, fetched once with pip."""
    try:
        sdist.install()
    except (OSError, ValueError) as error:
        print(f"missing: the files of pynetdicom's source distribution: their test will be skipped ({error})")
        return False
    return True


if __name__ == "__main__":
    raise SystemExit(main())
