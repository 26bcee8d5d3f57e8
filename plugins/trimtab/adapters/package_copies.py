"""Copies of model packages on the local disk, by digest, so that each task need not fetch its model again.

A copy is only ever a proposal: whoever opens it checks its digest against the registry's, as with a fetched one.
"""

import io
import zipfile
import zlib
from pathlib import Path

from trimtab.adapters.disk_cache import cache_folder, keep_copy
from trimtab.domain.ports import Package

KEPT = 12
"""Champion and challenger of some models."""


def load_copy(digest: str) -> Package | None:
    """The package that was kept under that digest; None if there is no whole one."""
    try:
        with zipfile.ZipFile(io.BytesIO(_file(digest).read_bytes())) as archive:
            return {name: archive.read(name) for name in archive.namelist()}
    except (OSError, zipfile.BadZipFile, zlib.error, EOFError, ValueError):
        return None


def store_copy(digest: str, package: Package) -> None:
    """Keep a package; without a place to write there is no copy, and nothing else changes."""

    def write(draft: Path) -> None:
        with zipfile.ZipFile(draft, "w") as archive:
            for name, content in package.items():
                archive.writestr(name, content)

    keep_copy(_file(digest), write, KEPT)


def _file(digest: str) -> Path:
    return cache_folder() / "packages" / f"{digest}.zip"
