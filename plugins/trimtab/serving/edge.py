"""What every request meets first: its id, the token, the bounds of its body; and what is counted of it."""

import logging
import re
import time
import uuid
from collections.abc import Callable

import anyio
from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from trimtab.serving.messages import REQUEST_ID, Refusal, RowProblem
from trimtab.serving.telemetry import Telemetry
from trimtab.serving.tokens import TokenCheck

logger = logging.getLogger(__name__)

OPEN_PATHS = frozenset({"/healthz", "/readyz"})
"""Answered without a token."""
PREDICT_PATH = re.compile("/models/([^/]+)/predict")


def refuse(
    status: int,
    reason: str,
    request_id: str,
    rows: list[RowProblem] | None = None,
    headers: dict[str, str] | None = None,
) -> Response:
    """A refusal in the form that all of them have."""
    body = Refusal(request_id=request_id, reason=reason, rows=rows or [])
    return Response(body.model_dump_json(), status, headers, "application/json")


class Edge:
    """ASGI middleware around the whole service."""

    def __init__(
        self,
        app: ASGIApp,
        *,
        tokens: TokenCheck,
        telemetry: Telemetry,
        models: frozenset[str],
        max_body_bytes: int,
        body_timeout_s: float,
        new_id: Callable[[], str] = lambda: str(uuid.uuid4()),
    ) -> None:
        """Wrap `app`; see `create_app` for the bounds."""
        self._app, self._tokens, self._telemetry, self._models = app, tokens, telemetry, models
        self._max_body_bytes, self._body_timeout_s, self._new_id = max_body_bytes, body_timeout_s, new_id

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, or let the app answer."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        start = time.perf_counter()
        status: int | None = None
        state = scope.setdefault("state", {})
        state["request_id"] = self._request_id(scope)

        async def send_named(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                MutableHeaders(scope=message)["X-Request-Id"] = state["request_id"]
            await send(message)
            if message["type"] == "http.response.body" and not message.get("more_body"):
                self._count(scope, status or 0, time.perf_counter() - start)

        try:
            await self._pass(scope, receive, send_named)
        except Exception:
            logger.exception("request %s", state["request_id"])
            if status is None:
                reason = "The service has a fault; its log has more under this request's id."
                await refuse(500, reason, state["request_id"])(scope, receive, send_named)

    async def _pass(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers, request_id = Headers(scope=scope), scope["state"]["request_id"]
        if scope["path"] not in OPEN_PATHS and not self._tokens.accepts_header(headers.get("authorization", "")):
            await _unauthorized(request_id)(scope, receive, send)
            return
        if scope["method"] != "POST":
            await self._app(scope, receive, send)
            return
        body = await self._body(headers, receive)
        if isinstance(body, bytes):
            await self._app(scope, _replayed(body, receive), send)
        elif body is not None:
            await refuse(*body, request_id, headers={"Connection": "close"})(scope, receive, send)

    async def _body(self, headers: Headers, receive: Receive) -> bytes | tuple[int, str] | None:
        """The body; or status and reason of the refusal; or None if the client has gone."""
        too_large = (413, f"The body must have at most {self._max_body_bytes} bytes. Send fewer rows at a time.")
        declared = headers.get("content-length", "")
        if declared.isdecimal() and int(declared[:20]) > self._max_body_bytes:
            return too_large
        body = bytearray()
        with anyio.move_on_after(self._body_timeout_s):
            while True:
                message = await receive()
                if message["type"] != "http.request":
                    return None
                body += message.get("body", b"")
                if len(body) > self._max_body_bytes:
                    return too_large
                if not message.get("more_body"):
                    return bytes(body)
        return 408, f"The body must arrive within {self._body_timeout_s:g} s. Send it again."

    def _request_id(self, scope: Scope) -> str:
        wished = Headers(scope=scope).get("x-request-id", "")
        return wished if re.fullmatch(REQUEST_ID, wished) else self._new_id()

    def _count(self, scope: Scope, status: int, seconds: float) -> None:
        match = PREDICT_PATH.fullmatch(scope["path"])
        if match:
            self._telemetry.answered(match[1] if match[1] in self._models else "", status, seconds)


def _unauthorized(request_id: str) -> Response:
    response = refuse(
        401, "A token is needed: 'Authorization: Bearer TOKEN', or Basic with the token as password.", request_id
    )
    response.headers.append("WWW-Authenticate", 'Basic realm="trimtab", charset="UTF-8"')
    response.headers.append("WWW-Authenticate", "Bearer")
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
