"""A client of the prediction service."""

from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import TypeAlias

import httpx
from pydantic import ValidationError

from trimtab.errors import RequestError
from trimtab.serving.messages import Answer, Refusal

Row: TypeAlias = Mapping[str, float | str | None]

TIMEOUT = httpx.Timeout(30.0, connect=5.0)
"""Seconds for each part of a request."""
SHOWN = 3
CURES = {
    401: "Give a token that the service's token file knows.",
    404: "Ask for a model that is served.",
    413: "Send fewer rows at a time.",
    422: "Mend the rows.",
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

        Raises:
            RequestError: If there is no answer, with the reason and what to do.
        """
        body = {"rows": [dict(row) for row in rows], "request_id": request_id}
        try:
            response = self._http.post(f"/models/{model}/predict", json=body)
        except httpx.HTTPError as exc:
            raise RequestError(
                f"Prediction service {self._http.base_url} does not answer ({type(exc).__name__}: {exc}). "
                "Start it with `trimtab serve`, or mend the address."
            ) from exc
        except ValueError as exc:
            raise RequestError(f"Rows cannot be sent as JSON: {exc}. Write a missing value as None.") from exc
        if response.status_code != httpx.codes.OK:
            raise _refused(response, model)
        return self._answer(response)

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

    def _answer(self, response: httpx.Response) -> Answer:
        try:
            return Answer.model_validate_json(response.content)
        except ValidationError as exc:
            raise RequestError(
                f"{self._http.base_url} answers, but not as a prediction service. Mend the address."
            ) from exc


def _refused(response: httpx.Response, model: str) -> RequestError:
    status = response.status_code
    cure = CURES.get(status, "Look into the service's log.")
    try:
        refusal = Refusal.model_validate_json(response.content)
    except ValidationError:
        return RequestError(f"Prediction of {model!r} was refused with status {status}. {cure}")
    rows = [f"row {row.row}: {row.column or ''} {row.problem}".replace("  ", " ") for row in refusal.rows[:SHOWN]]
    return RequestError(
        f"Prediction of {model!r} was refused with status {status} (request {refusal.request_id}): "
        f"{refusal.reason} {'; '.join(rows)}{'. ' if rows else ''}{cure}"
    )
