"""Who may ask the prediction service."""

import asyncio
import base64
import os
import stat
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from trimtab.errors import NotFoundError, SpecError
from trimtab.serving.edge import OPEN_PATHS
from trimtab.serving.tokens import TokenCheck, token_digest
from unit.serving_doubles import BEARER, MODEL, TOKEN, Service, client, flights, new_service, token_file

NOTHING: frozenset[str] = frozenset()

GUARDED = [
    ("POST", f"/models/{MODEL}/predict"),
    ("POST", "/models/unknown/predict"),
    ("POST", f"/models/{MODEL}/feedback"),
    ("POST", f"/models/{MODEL}/invocations"),
    ("POST", "/invocations"),
    ("POST", f"/v2/models/{MODEL}/infer"),
    ("GET", f"/v2/models/{MODEL}"),
    ("GET", f"/v2/models/{MODEL}/ready"),
    ("GET", "/v2"),
    ("GET", "/version"),
    ("GET", "/metrics"),
    ("GET", "/docs"),
    ("GET", "/docs/swagger-ui.css"),
    ("GET", "/openapi.json"),
    ("GET", "/nothing"),
    ("DELETE", f"/models/{MODEL}/predict"),
    ("GET", "/healthz/"),
    ("GET", "//healthz"),
]


def basic(password: str, user: str = "anyone") -> str:
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


WRONG = [
    "",
    "Bearer",
    "Bearer ",
    f"Bearer {TOKEN}x",
    f"Bearer {token_digest(TOKEN)}",
    TOKEN,
    f"Token {TOKEN}",
    basic(""),
    basic("wrong"),
    basic("x", user=TOKEN),
    "Basic !!!",
    "Basic " + base64.b64encode(b"\xff\xfe").decode(),
]


@pytest.mark.parametrize(("method", "path"), GUARDED)
def test_no_route_answers_without_a_known_token(tmp_path: Path, method: str, path: str) -> None:
    async def ask() -> list[tuple[int, str]]:
        async with client(new_service(tmp_path).app(), headers={}) as http:
            answers = [
                await http.request(method, path, headers={"Authorization": value} if value else {}) for value in WRONG
            ]
        return [(answer.status_code, answer.headers["www-authenticate"]) for answer in answers]

    assert set(asyncio.run(ask())) == {(401, 'Basic realm="trimtab", charset="UTF-8", Bearer')}


@pytest.mark.parametrize("authorization", [f"Bearer {TOKEN}", f"bearer  {TOKEN} ", basic(TOKEN), basic(TOKEN, "")])
def test_token_is_taken_as_bearer_and_as_password(tmp_path: Path, authorization: str) -> None:
    async def ask() -> list[int]:
        service = new_service(tmp_path)
        service.go_live("1")
        service.server.refresh()
        async with client(service.app(), headers={"Authorization": authorization}) as http:
            predicted = await http.post(f"/models/{MODEL}/predict", json={"rows": flights(1)})
            pages = [await http.get(path) for path in ("/metrics", "/docs", "/openapi.json")]
        return [answer.status_code for answer in (predicted, *pages)]

    assert asyncio.run(ask()) == [200, 200, 200, 200]


@pytest.mark.parametrize("path", sorted(OPEN_PATHS))
def test_probes_need_no_token(tmp_path: Path, path: str) -> None:
    async def ask() -> int:
        async with client(new_service(tmp_path).app(), headers={}) as http:
            return (await http.get(path)).status_code

    assert asyncio.run(ask()) in (200, 404, 503)


def test_body_of_a_stranger_is_not_even_read(tmp_path: Path) -> None:
    async def ask() -> int:
        async with client(new_service(tmp_path).app(), headers={}) as http:
            return (await http.post(f"/models/{MODEL}/predict", content=b"{" * 3_000_000)).status_code

    assert asyncio.run(ask()) == 401


def test_changed_token_file_counts_at_once(tmp_path: Path) -> None:
    file = token_file(tmp_path)
    tokens = TokenCheck(file)
    assert tokens.scopes(TOKEN)
    file.write_text(token_digest("another"))
    os.utime(file, ns=(1, 1))
    assert (tokens.scopes(TOKEN), tokens.scopes("another")) == (NOTHING, {"predict", "feedback"})


@pytest.mark.parametrize("spoil", [lambda file: file.unlink(), lambda file: file.write_text("not a digest")])
def test_token_file_that_goes_wrong_later_changes_nothing(
    tmp_path: Path, spoil: Callable[[Path], object], caplog: pytest.LogCaptureFixture
) -> None:
    file = token_file(tmp_path)
    tokens = TokenCheck(file)
    spoil(file)
    if file.exists():
        os.utime(file, ns=(1, 1))
    assert tokens.scopes(TOKEN)
    assert not tokens.scopes("not a digest")
    assert "stay in force" in caplog.text


def test_every_token_of_the_file_is_known_in_whatever_case_its_digest_is_written(tmp_path: Path) -> None:
    file = tmp_path / "tokens"
    file.write_text(f"\n# two\n{token_digest('one').upper()}\n  {token_digest('two')} # second\n")
    tokens = TokenCheck(file)
    assert [bool(tokens.scopes(token)) for token in ("one", "two", "three", "")] == [True, True, False, False]


@pytest.mark.parametrize(
    ("lines", "scopes"),
    [
        ("{}", {"predict", "feedback"}),
        ("{}  predict", {"predict"}),
        ("{}\tfeedback , admin # both", {"feedback", "admin"}),
        ("{} ,", {"predict", "feedback"}),
        ("{0} predict\n{0} admin", {"predict", "admin"}),
    ],
)
def test_line_says_what_its_token_may_do(tmp_path: Path, lines: str, scopes: set[str]) -> None:
    file = tmp_path / "tokens"
    file.write_text(lines.format(token_digest("one")))
    assert TokenCheck(file).scopes("one") == scopes


NEEDS = {
    "predict": [
        ("POST", f"/models/{MODEL}/predict"),
        ("POST", f"/models/{MODEL}/invocations"),
        ("POST", "/invocations"),
        ("POST", f"/v2/models/{MODEL}/infer"),
        ("POST", f"/v2/models/{MODEL}/versions/1/infer"),
        ("POST", "/nothing"),
    ],
    "feedback": [("POST", f"/models/{MODEL}/feedback")],
    "admin": [("GET", "/metrics"), ("HEAD", "/metrics"), ("POST", "/metrics")],
}


def with_tokens(path: Path, lines: str) -> Service:
    """A service that knows these tokens and no other."""
    service = new_service(path)
    (path / "tokens").write_text(lines)
    service.tokens = TokenCheck(path / "tokens")
    return service


@pytest.mark.parametrize("scope", NEEDS)
def test_token_with_every_other_scope_is_refused_in_the_words_of_the_protocol(tmp_path: Path, scope: str) -> None:
    others = ",".join(sorted(set(NEEDS) - {scope}))
    service = with_tokens(tmp_path, f"{token_digest('others')}  {others}\n{token_digest('it')}  {scope}\n")

    async def ask(token: str) -> list[httpx.Response]:
        async with client(service.app(), headers={"Authorization": f"Bearer {token}"}) as http:
            return [await http.request(method, path, json={}) for method, path in NEEDS[scope]]

    refused = asyncio.run(ask("others"))
    assert {answer.status_code for answer in refused} == {403}
    for answer in refused:
        if answer.request.method != "HEAD":
            (said,) = [text for key, text in answer.json().items() if key in ("error", "message", "reason")]
            assert said.startswith(f"This needs a token with the scope '{scope}'")
    assert 403 not in {answer.status_code for answer in asyncio.run(ask("it"))}


@pytest.mark.parametrize("path", ["/docs", "/openapi.json", "/v2", f"/v2/models/{MODEL}", "/version"])
def test_what_is_public_to_all_who_know_a_token_needs_no_scope(tmp_path: Path, path: str) -> None:
    service = with_tokens(tmp_path, f"{token_digest('one')} feedback")

    async def ask() -> int:
        async with client(service.app(), headers={"Authorization": "Bearer one"}) as http:
            return (await http.get(path)).status_code

    assert asyncio.run(ask()) == 200


@pytest.mark.parametrize("end", ["%0A", "%0D", "%00", "%0A%0A"])
def test_path_with_a_line_break_at_its_end_is_no_way_around_a_scope(tmp_path: Path, end: str) -> None:
    service = with_tokens(tmp_path, f"{token_digest('one')} predict")

    async def ask() -> list[int]:
        async with client(service.app(), headers={"Authorization": "Bearer one"}) as http:
            feedback = await http.post(f"/models/{MODEL}/feedback{end}", json={})
            return [feedback.status_code, (await http.get(f"/metrics{end}")).status_code]

    assert asyncio.run(ask()) == [404, 404]


def test_token_file_must_be_there(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match=r"cannot be read .*Add the line"):
        TokenCheck(tmp_path / "none")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "holds no token"),
        ("# only a comment", "holds no token"),
        (f"{'a' * 64}\n{TOKEN}", "line 2: must begin with a SHA-256"),
        (f"{'a' * 64} predict,all", "line 1: must name scopes out of predict, feedback and admin"),
    ],
)
def test_token_file_must_hold_digests(tmp_path: Path, content: str, message: str) -> None:
    file = tmp_path / "tokens"
    file.write_text(content)
    with pytest.raises(SpecError, match=message):
        TokenCheck(file)


def test_wrong_line_of_the_token_file_is_not_repeated_in_the_error(tmp_path: Path) -> None:
    file = tmp_path / "tokens"
    for line in ("a-secret-in-clear-text", f"{'a' * 64} a-secret-in-clear-text"):
        file.write_text(line)
        with pytest.raises(SpecError) as caught:
            TokenCheck(file)
        assert "a-secret" not in str(caught.value)


def test_log_of_predictions_is_not_for_all_to_read(tmp_path: Path) -> None:
    service = new_service(tmp_path)
    service.go_live("1")
    service.server.refresh()

    async def ask() -> None:
        async with client(service.app(), headers=BEARER) as http:
            await http.post(f"/models/{MODEL}/predict", json={"rows": flights(1)})

    asyncio.run(ask())
    modes = [stat.S_IMODE(file.stat().st_mode) & 0o007 for file in service.traffic.rglob("*.jsonl")]
    assert modes == [0]
