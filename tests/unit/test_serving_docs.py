"""The page that shows the API."""

import asyncio
import json
import re
from pathlib import Path

import httpx
import pytest
from starlette.requests import Request
from starlette.responses import Response

from trimtab.serving.docs_page import ICON, SCRIPT, STYLE
from trimtab.serving.edge import Edge
from trimtab.serving.messages import Answer, RowAnswer
from trimtab.serving.published import direct_handlers
from trimtab.serving.telemetry import Telemetry
from unit.serving_doubles import BEARER, MODEL, client, new_service


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


GUIDE = (Path(__file__).parents[2] / "docs" / "serving.md").read_text(encoding="utf-8")


def test_requests_of_the_guide_are_answered(tmp_path: Path) -> None:
    requests = re.findall(r"curl -s \$URL(\S+) .*?-d '(\{.*?\})'\n", GUIDE, re.DOTALL)
    service = new_service(tmp_path)
    service.go_live("1")
    service.server.refresh()

    async def post() -> list[httpx.Response]:
        async with client(service.app()) as http:
            return [await http.post(path, json=json.loads(body)) for path, body in requests]

    answers = asyncio.run(post())
    assert [answer.status_code for answer in answers] == [200, 200, 200, 202]
    assert [answer.json().get("problems", []) for answer in answers] == [[], [], [], []]


def test_answers_of_the_guide_have_the_form_of_answers() -> None:
    shown = re.findall(r"```json\n(.*?)```", GUIDE, re.DOTALL)
    whole, row = shown[:2], shown[2:]
    assert [len(Answer.model_validate_json(text).problems) for text in whole] == [0, 1]
    assert [RowAnswer.model_validate_json(text).decided_by for text in row] == ["person"]


def test_statuses_of_the_guide_are_those_that_are_published(tmp_path: Path) -> None:
    published = {
        int(status)
        for status in new_service(tmp_path).app().openapi()["paths"][f"/models/{MODEL}/predict"]["post"]["responses"]
    }
    listed = {int(status) for row in re.findall(r"^\| ([0-9, ]+) \|", GUIDE, re.MULTILINE) for status in row.split(",")}
    assert listed - {405} == published


def test_every_post_route_with_a_fixed_path_is_asked_without_the_router(tmp_path: Path) -> None:
    app = new_service(tmp_path).app()
    fixed = {path for path, route in app.openapi()["paths"].items() if "post" in route and "{" not in path}
    assert set(direct_handlers(app)) == fixed
    assert f"/models/{MODEL}/predict" in fixed


def test_such_a_route_is_asked_behind_the_edge_and_not_through_the_app(tmp_path: Path) -> None:
    service = new_service(tmp_path)

    async def marked(request: Request) -> Response:
        return Response(await request.body(), headers={"marked": "yes"})

    edge = Edge(
        service.app(),
        direct={"/models/x/predict": marked},
        tokens=service.tokens,
        telemetry=Telemetry({}),
        models=frozenset(),
        max_body_bytes=10,
        body_timeout_s=1,
        answer_timeout_s=1,
    )

    async def post() -> list[httpx.Response]:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app=edge), base_url="http://test") as http:
            path, known = "/models/x/predict", BEARER
            return [
                await http.post(path, content=b"1", headers=known),
                await http.post(path, content=b"1"),
                await http.post(path, content=b"1" * 11, headers=known),
                await http.get(path, headers=known),
            ]

    answers = asyncio.run(post())
    assert [(one.status_code, one.headers.get("marked")) for one in answers] == [
        (200, "yes"),
        (401, None),
        (413, None),
        (405, None),
    ]
