"""The old releases from PyPI, each in an environment of its own, and the files that they write."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
RELEASES = ("0.8.6", "1.1.0")


def python_of(release: str) -> Path:
    """Return the Python that has an old release, which is installed the first time."""
    home = ROOT / f".venv-legacy-{release}-{sys.implementation.cache_tag}"
    python = home / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")
    if python.exists():
        return python
    # Made beside and renamed: of two processes one is first.
    making = Path(f"{home}.{Path(sys.prefix).stat().st_ino}.{id(home)}.making")
    inside = making / python.relative_to(home)
    try:
        subprocess.run([sys.executable, "-m", "venv", "--without-pip", making], check=True)
        pip = [sys.executable, "-m", "pip", "--python", inside, "install", "-q", "--disable-pip-version-check"]
        done = subprocess.run(
            [*pip, "--only-binary", ":all:", f"kohakuvault=={release}"], capture_output=True, text=True, check=False
        )
        if "No matching distribution found for kohakuvault" in done.stderr:
            pytest.skip(f"kohakuvault {release} has no wheel for this Python and platform, and so no files to import")
        assert done.returncode == 0, done.stderr
        if not home.exists():
            making.rename(home)
    finally:
        shutil.rmtree(making, ignore_errors=True)
    return python


def write_files(release: str, directory: Path) -> None:
    """Let an old release write its files into a directory."""
    done = subprocess.run(
        [python_of(release), Path(__file__).with_name("legacy_writer.py"), release, directory],
        capture_output=True,
        text=True,
        check=False,
        timeout=100,
    )
    assert done.returncode == 0, done.stderr
