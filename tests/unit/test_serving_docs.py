"""The page that shows the API."""

import asyncio
import re
from pathlib import Path

import httpx
import pytest

from trimtab.serving.docs_page import ICON, SCRIPT, STYLE
from unit.serving_doubles import client, new_service


@pytest.fixture
def assets(tmp_path: Path) -> Path:
    folder = tmp_path / "static"
    folder.mkdir()
    for name in (SCRIPT, STYLE, ICON):
        (folder / name).write_text(f"content of {name}")
    (tmp_path / "secret").write_text("not to be served")
    (folder / "other.js").write_text("not to be served")
    return folder


def pages(tmp_path: Path, assets: Path | None, *paths: str) -> list[httpx.Response]:
    async def get() -> list[httpx.Response]:
        async with client(new_service(tmp_path).app(docs_assets=assets)) as http:
            return [await http.get(path) for path in paths]

    return asyncio.run(get())


def test_page_needs_nothing_from_elsewhere_where_its_files_are_at_hand(tmp_path: Path, assets: Path) -> None:
    page, script, style = pages(tmp_path, assets, "/docs", f"/docs/{SCRIPT}", f"/docs/{STYLE}")
    assert (page.status_code, re.findall("https?://[^\"']+", page.text)) == (200, [])
    assert f'src="docs/{SCRIPT}"' in page.text
    assert [script.text, style.text] == [f"content of {SCRIPT}", f"content of {STYLE}"]


def test_page_takes_its_files_from_a_cdn_where_they_are_not(tmp_path: Path) -> None:
    page, script = pages(tmp_path, None, "/docs", f"/docs/{SCRIPT}")
    assert f"https://cdn.jsdelivr.net/npm/swagger-ui-dist@5/{SCRIPT}" in page.text
    assert script.status_code == 404


@pytest.mark.parametrize("name", ["other.js", "..%2Fsecret", "%2e%2e/secret", "../secret", "%2Fetc%2Fpasswd", ""])
def test_no_other_file_is_served(tmp_path: Path, assets: Path, name: str) -> None:
    (page,) = pages(tmp_path, assets, f"/docs/{name}")
    assert page.status_code in (307, 404)
    assert "not to be served" not in page.text
