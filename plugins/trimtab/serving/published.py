"""Routes that are published in full and read their bodies themselves, which FastAPI takes three times as long for.

Those whose path is fixed can be asked without FastAPI's way to them, which takes twice as long as all that they do.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Annotated, Any, TypeAlias

from fastapi import Body, Depends, FastAPI
from fastapi.routing import APIRoute
from fastapi.security import HTTPBasic, HTTPBearer
from pydantic import BaseModel, JsonValue, ValidationError
from pydantic_core import from_json
from starlette.requests import Request
from starlette.responses import Response

from trimtab.serving.messages import Refusal
from trimtab.serving.refusals import RefusalError
from trimtab.serving.row_check import body_problem

Handler: TypeAlias = Callable[[Request], Awaitable[Response]]
Responses: TypeAlias = dict[int | str, dict[str, Any]]  # FastAPI's own form

UTF8 = frozenset({"utf-8", "utf8", "us-ascii", "ascii"})
MAX_LISTED = 20
"""Problems of a body that a refusal lists."""

TOKEN = [
    Depends(HTTPBearer(auto_error=False, scheme_name="token")),
    Depends(HTTPBasic(auto_error=False, scheme_name="token_as_password")),
]
"""What the published description says of the token; that it is demanded is the matter of `Edge`."""

REASONS = {
    400: "The body cannot be read.",
    401: "No token, or none that is known.",
    403: "The token has not the scope that is needed.",
    404: "There is no such model, or no such version of it.",
    408: "The body did not arrive in time.",
    413: "The body is too large.",
    415: "The content type or the encoding is not one that is read here.",
    422: "Nothing in the body could be used, and why.",
    503: "It cannot be answered now. Try again later.",
}


def refusals(message: type[BaseModel] = Refusal, statuses: Sequence[int] = tuple(REASONS)) -> Responses:
    """The refusals of a route as the published description has them."""
    return {status: {"model": message, "description": REASONS[status]} for status in statuses}


class UnreadRoute(APIRoute):
    """A route whose handler gets the request as it came."""


def direct_handlers(app: FastAPI) -> Mapping[str, Handler]:
    """By path, the handlers of the POST routes that `add_post` has added without a parameter in the path."""
    routes = [route for route in app.routes if isinstance(route, UnreadRoute) and not route.param_convertors]
    return {route.path: route.get_route_handler() for route in routes}


def add_post(
    app: FastAPI,
    path: str,
    handler: Handler,
    body: Any,  # a type, or a union of types
    *,
    examples: Sequence[JsonValue] = (),
    **published: Any,  # of FastAPI's `add_api_route`
) -> None:
    """Add a POST route whose handler gets the request unread, published as if FastAPI checked its body."""

    class Unread(UnreadRoute):
        def get_route_handler(self) -> Callable[[Request], Any]:
            return handler

    async def described(body: object) -> None:
        """Never called: its signature is what is published."""

    described.__annotations__["body"] = Annotated[body, Body(examples=list(examples))]
    published = {"dependencies": TOKEN, **published}
    app.router.add_api_route(path, described, methods=["POST"], route_class_override=Unread, **published)


async def json_body(request: Request) -> bytes:
    """The bytes of a body that is declared as JSON.

    Raises:
        RefusalError: If it is declared as something else.
    """
    kind = content_type(request.headers)
    if kind != "application/json" and not (kind.startswith("application/") and kind.endswith("+json")):
        raise RefusalError(415, "The body must be JSON: send the header 'Content-Type: application/json'.")
    return await request.body()


def content_type(headers: Mapping[str, str]) -> str:
    """The media type that a request declares, in lower case.

    Raises:
        RefusalError: If the text is not in UTF-8.
    """
    kind, *parameters = headers.get("content-type", "").lower().split(";")
    pairs = [parameter.partition("=") for parameter in parameters]
    charset = next((value.strip(" \"'") for name, _, value in pairs if name.strip() == "charset"), "utf-8")
    if charset not in UTF8:
        raise RefusalError(415, "The body must be in UTF-8.")
    return kind.strip()


def parsed(body: bytes) -> Any:
    """What JSON says.

    Raises:
        RefusalError: If it is not JSON, or nested beyond 200 levels.
    """
    try:
        return from_json(body)
    except ValueError as exc:
        raise RefusalError(400, f"The body is not JSON that can be read: {exc}.") from exc


def refused(exc: ValidationError) -> RefusalError:
    """Why a body is not taken that is wrong as a whole."""
    errors = exc.errors(include_url=False, include_context=False)
    return RefusalError(422, "The body is not right.", [body_problem(error) for error in errors[:MAX_LISTED]])
