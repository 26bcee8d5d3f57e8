"""Copies of model packages save time, and are never trusted."""

from pathlib import Path

import pytest

from doubles import tiny_package
from trimtab.adapters import package_copies
from trimtab.adapters.model_package import digest
from trimtab.adapters.package_copies import load_copy, store_copy


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache of its own."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path / "trimtab" / "packages"


def test_copy_has_the_content_that_was_stored(cache: Path) -> None:
    package = tiny_package()
    assert load_copy(digest(package)) is None
    store_copy(digest(package), package)
    copy = load_copy(digest(package))
    assert copy is not None
    assert digest(copy) == digest(package)
    assert cache.stat().st_mode & 0o077 == 0


@pytest.mark.parametrize("length", [0, 10, -100, -1])
def test_copy_that_was_cut_off_is_none_or_has_another_digest(cache: Path, length: int) -> None:
    package = tiny_package()
    store_copy("abc", package)
    file = cache / "abc.zip"
    file.write_bytes(file.read_bytes()[:length])
    copy = load_copy("abc")
    assert copy is None or digest(copy) != digest(package)


def test_only_the_newest_copies_stay(cache: Path) -> None:
    for number in range(package_copies.KEPT + 3):
        store_copy(f"{number:02d}", {"a": b"b"})
    assert len(list(cache.glob("*"))) == package_copies.KEPT


def test_without_a_place_to_write_there_is_no_copy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(blocked))
    store_copy("abc", {"a": b"b"})
    assert load_copy("abc") is None
