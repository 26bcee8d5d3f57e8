"""A client of the prediction service."""

from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import TypeAlias, TypeVar

import httpx
from pydantic import ValidationError

from trimtab.errors import RequestError
from trimtab.serving.messages import Answer, FeedbackAnswer, Message, Refusal

Row: TypeAlias = Mapping[str, float | str | None]
Outcome: TypeAlias = Mapping[str, float | str | None]
"""`request_id`, `kind` (label, decision, correction, override, retry or click) and, where they say something, `row`,
`value` and `feedback_id`."""
AnyAnswer = TypeVar("AnyAnswer", bound=Message)

TIMEOUT = httpx.Timeout(30.0, connect=5.0)
"""Seconds for each part of a request."""
SHOWN = 3
CURES = {
    401: "Give a token that the service's token file knows.",
    403: "Give a token with that scope.",
    404: "Ask for a model that is served.",
    413: "Send fewer at a time.",
    503: "Try again when /readyz answers 200.",
}


class PredictionClient:
    """Asks the service for predictions. Threads may share it; as a context manager it closes its connections."""

    def __init__(self, url: str, token: str, *, transport: httpx.BaseTransport | None = None) -> None:
        """Bind to a service.

        Args:
            url: Such as 'http://127.0.0.1:8000'.
            token: One that the service knows.
            transport: How requests travel; for tests.
        """
        self._http = httpx.Client(
            base_url=url,
            headers={"Authorization": f"Bearer {token}"},
            timeout=TIMEOUT,
            # Tries again only to connect: a request that may have been answered is not sent twice.
            transport=transport or httpx.HTTPTransport(retries=2),
        )

    def predict(self, model: str, rows: Sequence[Row], request_id: str | None = None) -> Answer:
        """Predictions for 1 to 1,000 rows, in their order.

        A row that is not right does not take the others with it: its prediction is None, and `problems` says why. So is
        that of a row about which a person decides without a proposal.

        Raises:
            RequestError: If no row was predicted, with the reasons and what to do.
        """
        body = {"rows": [dict(row) for row in rows], "request_id": request_id}
        return self._ask(f"/models/{model}/predict", body, Answer, f"Prediction of {model!r}")

    def feedback(self, model: str, outcomes: Sequence[Outcome]) -> FeedbackAnswer:
        """Tell what became of 1 to 1,000 answers; one that is told again counts once.

        Those that are not right do not take the others with them: `problems` says why.

        Raises:
            RequestError: If none was taken, with the reasons and what to do.
        """
        body = {"outcomes": [dict(outcome) for outcome in outcomes]}
        return self._ask(f"/models/{model}/feedback", body, FeedbackAnswer, f"Feedback on {model!r}")

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def __enter__(self) -> "PredictionClient":
        """Return itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the connections."""
        self.close()

    def _ask(self, path: str, body: object, kind: type[AnyAnswer], what: str) -> AnyAnswer:
        try:
            response = self._http.post(path, json=body)
        except httpx.HTTPError as exc:
            raise RequestError(
                f"Prediction service {self._http.base_url} does not answer ({type(exc).__name__}: {exc}). "
                "Start it with `trimtab serve`, or mend the address."
            ) from exc
        except ValueError as exc:
            raise RequestError(f"{what} cannot be sent as JSON: {exc}. Write a missing value as None.") from exc
        if not response.is_success:
            raise _refused(response, what)
        try:
            return kind.model_validate_json(response.content)
        except ValidationError as exc:
            raise RequestError(
                f"{self._http.base_url} answers, but not as a prediction service. Mend the address."
            ) from exc


def _refused(response: httpx.Response, what: str) -> RequestError:
    status = response.status_code
    try:
        refusal = Refusal.model_validate_json(response.content)
    except ValidationError:
        cure = CURES.get(status, "Look into the service's log.")
        return RequestError(f"{what} was refused with status {status}. {cure}")
    reasons = [str(problem) for problem in refusal.rows[:SHOWN]]
    told = [refusal.reason, f"{'; '.join(reasons)}." if reasons else "", CURES.get(status, "")]
    return RequestError(
        f"{what} was refused with status {status} (request {refusal.request_id}): {' '.join(filter(None, told))}"
    )
