"""Why there is no answer, in the words of the protocol that was spoken."""

from collections.abc import Mapping, Sequence

from starlette.responses import Response

from trimtab.errors import RequestError
from trimtab.serving.messages import InferenceError, InvocationsError, Message, Refusal, RowProblem

SHOWN = 5
"""Problems in a text that has no list of them beside it."""


class RefusalError(RequestError):
    """A request that gets no answer but a status and a reason."""

    def __init__(
        self,
        status: int,
        reason: str,
        rows: Sequence[RowProblem] = (),
        headers: Mapping[str, str] | None = None,
    ) -> None:
        """Say why; `rows` are the problems of single rows."""
        self.status, self.reason, self.rows, self.headers = status, reason, rows, headers
        super().__init__(reason)


def try_later(reason: str) -> RefusalError:
    """The request is right, and cannot be answered now."""
    return RefusalError(503, reason, headers={"Retry-After": "1"})


def refusal(error: RefusalError, path: str, request_id: str) -> Response:
    """The refusal as the protocol of that path has it."""
    return Response(
        _body(error, path, request_id).model_dump_json(), error.status, error.headers, media_type="application/json"
    )


def _body(error: RefusalError, path: str, request_id: str) -> Message:
    if path == "/v2" or path.startswith("/v2/"):
        return InferenceError(error=_told(error))
    if path.endswith("/invocations"):
        return InvocationsError(error_code=_mlflow_code(error.status), message=_told(error))
    return Refusal(request_id=request_id, reason=error.reason, rows=list(error.rows))


def _told(error: RefusalError) -> str:
    """The reason with the first problems."""
    shown = [str(problem) for problem in error.rows[:SHOWN]]
    more = [f"and {len(error.rows) - SHOWN} more"] if len(error.rows) > SHOWN else []
    return " ".join([error.reason, "; ".join(shown + more)]).strip()


def _mlflow_code(status: int) -> str:
    known = {401: "UNAUTHENTICATED", 403: "PERMISSION_DENIED", 404: "ENDPOINT_NOT_FOUND"}
    return known.get(status, "TEMPORARILY_UNAVAILABLE" if status >= 500 else "BAD_REQUEST")  # noqa: PLR2004
