"""What every request meets first: its id, the token, the bounds of body and time; and what is counted of it."""

import asyncio
import logging
import re
import time
import uuid
from collections.abc import Callable, Mapping
from typing import TypeAlias

import anyio
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from trimtab.serving import tokens
from trimtab.serving.messages import REQUEST_ID
from trimtab.serving.published import Handler
from trimtab.serving.refusals import RefusalError, refusal, try_later
from trimtab.serving.telemetry import Telemetry

logger = logging.getLogger(__name__)

Headers: TypeAlias = Mapping[bytes, bytes]
"""By name in lower case; of a name that comes twice, the first."""

OPEN_PATHS = frozenset({"/healthz", "/readyz", "/ping", "/health", "/v2/health/live", "/v2/health/ready"})
"""Answered without a token: what a load balancer asks."""
PREDICT_PATH = re.compile(
    "/models/([^/]+)/(?:predict|invocations)|/v2/models/([^/]+)(?:/versions/[^/]+)?/infer|/invocations"
)
FEEDBACK_PATH = re.compile("/models/[^/]+/feedback")
CHALLENGES = ('Basic realm="trimtab", charset="UTF-8"', "Bearer")


def needed_scope(method: str, path: str) -> tokens.Scope | None:
    """What a token must allow; None: any known token will do. Whatever is sent and not feedback is to predict."""
    if path == "/metrics":
        return "admin"
    if FEEDBACK_PATH.fullmatch(path):
        return "feedback"
    return "predict" if method == "POST" else None


class Edge:
    """ASGI middleware around the whole service."""

    def __init__(
        self,
        app: ASGIApp,
        *,
        direct: Mapping[str, Handler],
        tokens: tokens.TokenCheck,
        telemetry: Telemetry,
        models: frozenset[str],
        max_body_bytes: int,
        body_timeout_s: float,
        answer_timeout_s: float,
        new_id: Callable[[], str] = lambda: str(uuid.uuid4()),
    ) -> None:
        """Wrap `app`, past which the POST routes of `direct` are asked; see `create_app` for the bounds."""
        self._app, self._direct = app, direct
        self._tokens, self._telemetry, self._models = tokens, telemetry, models
        self._max_body_bytes, self._body_timeout_s, self._new_id = max_body_bytes, body_timeout_s, new_id
        self._answer_timeout_s = answer_timeout_s

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, or let the app answer."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        start = time.perf_counter()
        status: int | None = None
        headers: Headers = dict(reversed(scope["headers"]))
        state = scope.setdefault("state", {})
        state["request_id"] = self._request_id(headers)

        async def send_named(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                named = (b"x-request-id", state["request_id"].encode())
                message["headers"] = [*message.get("headers", ()), named]
            await send(message)
            if message["type"] == "http.response.body" and not message.get("more_body"):
                self._count(scope["path"], status or 0, time.perf_counter() - start)

        try:
            await self._pass(scope, headers, receive, send_named)
        except Exception as exc:
            if status is not None:  # too late to say so
                logger.exception("request %s", state["request_id"])
            else:
                await _refused(exc, scope)(scope, receive, send_named)

    async def _pass(self, scope: Scope, headers: Headers, receive: Receive, send: Send) -> None:
        self._admit(scope, headers.get(b"authorization", b"").decode("latin-1"))
        handler: Handler | None = None
        if scope["method"] == "POST":
            body = await self._body(headers, receive)
            if body is None:
                return
            receive, handler = _replayed(body, receive), self._direct.get(scope["path"])
        # Not asyncio's: it would take its thread's end from who writes outcomes in one, and leave them uncounted.
        with anyio.move_on_after(self._answer_timeout_s) as bound:
            if handler is None:
                await self._app(scope, receive, send)
            else:
                response = await handler(Request(scope, receive))
                await response(scope, receive, send)
        if bound.cancelled_caught:
            raise try_later(f"There was no answer within {self._answer_timeout_s:g} s.")

    def _admit(self, scope: Scope, authorization: str) -> None:
        path = scope["path"]
        if path in OPEN_PATHS:
            return
        allowed = self._tokens.scope_of(authorization)
        if not allowed:
            raise RefusalError(401, "A token is needed: 'Authorization: Bearer TOKEN', or Basic with it as password.")
        if not path.isprintable():  # a route would be found for a path that ends with a line break
            raise RefusalError(404, "There is nothing here.")
        needed = needed_scope(scope["method"], path)
        if needed and needed not in allowed:
            has = ", ".join(sorted(allowed))
            raise RefusalError(403, f"This needs a token with the scope {needed!r}; the one that was sent has {has}.")

    async def _body(self, headers: Headers, receive: Receive) -> bytes | None:
        """The body; None if the client has gone."""
        if headers.get(b"content-encoding", b"identity") != b"identity":
            raise RefusalError(415, "The body must not be compressed.")
        declared = headers.get(b"content-length", b"")
        if declared.isdigit() and int(declared[:20]) > self._max_body_bytes:
            raise self._too_large()
        try:
            async with asyncio.timeout(self._body_timeout_s):
                return await self._received(receive)
        except TimeoutError as exc:
            reason = f"The body must arrive within {self._body_timeout_s:g} s. Send it again."
            raise RefusalError(408, reason, headers={"Connection": "close"}) from exc

    async def _received(self, receive: Receive) -> bytes | None:
        body = bytearray()
        while True:
            message = await receive()
            if message["type"] != "http.request":
                return None
            body += message.get("body", b"")
            if len(body) > self._max_body_bytes:
                raise self._too_large()
            if not message.get("more_body"):
                return bytes(body)

    def _too_large(self) -> RefusalError:
        reason = f"The body must have at most {self._max_body_bytes} bytes. Send fewer rows at a time."
        return RefusalError(413, reason, headers={"Connection": "close"})

    def _request_id(self, headers: Headers) -> str:
        wished = headers.get(b"x-request-id", b"").decode("latin-1")
        return wished if re.fullmatch(REQUEST_ID, wished) else self._new_id()

    def _count(self, path: str, status: int, seconds: float) -> None:
        match = PREDICT_PATH.fullmatch(path)
        if match:
            # Without a name it is the only model's, if there is only one.
            named = {match[1] or match[2]} if match.lastindex else self._models
            known = named & self._models if len(named) == 1 else set()
            self._telemetry.answered(next(iter(known), ""), status, seconds)


def _refused(exc: Exception, scope: Scope) -> Response:
    request_id = scope["state"]["request_id"]
    if not isinstance(exc, RefusalError):
        logger.error("request %s", request_id, exc_info=exc)
        exc = RefusalError(500, "The service has a fault; its log has more under this request's id.")
    response = refusal(exc, scope["path"], request_id)
    for challenge in CHALLENGES if exc.status == 401 else ():  # noqa: PLR2004
        response.headers.append("WWW-Authenticate", challenge)
    return response


def _replayed(body: bytes, receive: Receive) -> Receive:
    """A body that has been read, as the app expects to read it."""
    unread = True

    async def replay() -> Message:
        nonlocal unread
        if unread:
            unread = False
            return {"type": "http.request", "body": body, "more_body": False}
        return await receive()

    return replay
