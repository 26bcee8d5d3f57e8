"""A client of an MLflow server that is quiet, gives up in time, and says in one sentence what went wrong."""

import logging
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from http import HTTPStatus
from types import MappingProxyType

import requests
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

from trimtab.errors import NotFoundError, RegistryUnavailableError, TrimtabError

CLIENT_SETTINGS: Mapping[str, str] = MappingProxyType(
    {
        # Two tries of 12 s, against MLflow's eight of 120 s: a server that hangs is given up after 25 s.
        "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
        "MLFLOW_HTTP_REQUEST_TIMEOUT": "12",
        "MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR": "1",
        # A server may ask for any wait.
        "MLFLOW_HTTP_RESPECT_RETRY_AFTER_HEADER": "false",
        "MLFLOW_ARTIFACT_UPLOAD_DOWNLOAD_TIMEOUT": "12",
        "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
        "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
        "MLFLOW_ENABLE_SYSTEM_METRICS_LOGGING": "false",
        # Else the uv.lock of the working directory, whatever it is, goes into every model.
        "MLFLOW_UV_AUTO_DETECT": "false",
    }
)
"""MLflow reads them from the environment at every request. One that is set already stays as it is."""

RIVAL_TRIES = 5
MESSAGE_LENGTH = 300
"""Characters of MLflow's own words in a message of ours."""


class MlflowConnection:
    """An MLflow server and the user that talks to it."""

    def __init__(self, uri: str, user: str, password: str) -> None:
        """Bind to a server; nothing is sent yet. User and password go to MLflow's own variables.

        Raises:
            TrimtabError: If MLflow cannot make anything of the address.
        """
        for name, value in CLIENT_SETTINGS.items():
            os.environ.setdefault(name, value)
        if user:
            os.environ.update(MLFLOW_TRACKING_USERNAME=user, MLFLOW_TRACKING_PASSWORD=password)
        for library in ("mlflow", "urllib3.connectionpool"):  # the second one announces every retry
            logging.getLogger(library).setLevel(logging.ERROR)
        self.uri, self.user = uri, user or os.environ.get("MLFLOW_TRACKING_USERNAME", "")
        with self.answering():
            self.client = MlflowClient(tracking_uri=uri, registry_uri=uri)

    @contextmanager
    def answering(self) -> Iterator[None]:
        """Tell a server that does not answer from one that refuses.

        Raises:
            RegistryUnavailableError: If it does not answer, or answers that it cannot work at the moment.
            NotFoundError: If it does not have what was asked for.
            TrimtabError: If it refuses.
        """
        try:
            yield
        except MlflowException as exc:
            status = exc.get_http_status_code()  # type: ignore[no-untyped-call]
            raise self._worded(status, str(exc.message)) from exc
        except requests.RequestException as exc:
            status = exc.response.status_code if exc.response is not None else HTTPStatus.SERVICE_UNAVAILABLE
            raise self._worded(status, str(exc)) from exc

    def _worded(self, status: int, message: str) -> TrimtabError:
        said = " ".join(message.split())[:MESSAGE_LENGTH].rstrip(".")
        if status in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN):
            who = f"user {self.user!r}" if self.user else "anybody without a user name"
            return TrimtabError(
                f"MLflow at {self.uri} does not let {who} do this ({status:d}): {said}. Mend login and password of the "
                "Airflow connection 'trimtab_registry' (outside Airflow: MLFLOW_TRACKING_USERNAME and _PASSWORD), or "
                "give the user the permission."
            )
        if status == HTTPStatus.NOT_FOUND:
            return NotFoundError(f"MLflow at {self.uri} does not have it: {said}.")
        if status >= HTTPStatus.INTERNAL_SERVER_ERROR or status == HTTPStatus.TOO_MANY_REQUESTS:
            return RegistryUnavailableError(
                f"MLflow at {self.uri} does not answer: {said}. Start it, or mend its address, and try again."
            )
        return TrimtabError(f"MLflow at {self.uri} refuses ({status:d}): {said}.")


def find_plugins() -> None:
    """Let MLflow look for its plugins now, which takes it 20 ms at the first request of a process otherwise.

    It remembers what it has found, and a fork of this process does too. Nothing is sent.
    """
    MlflowClient("http://localhost", "http://localhost")._get_registry_client()  # type: ignore[no-untyped-call]  # noqa: SLF001


@contextmanager
def unless(error_code: str) -> Iterator[None]:
    """Pass over one answer of MLflow: that another writer has already created, or deleted, what we wanted to."""
    try:
        yield
    except MlflowException as exc:
        if exc.error_code != error_code:
            raise


def despite_rivals(write: Callable[[], object]) -> None:
    """Repeat a write that met another one.

    MLflow looks for a row before it inserts it, so the slower of two breaks a key; its next try finds the row.
    """
    for remaining in reversed(range(RIVAL_TRIES)):
        try:
            write()
        except MlflowException as exc:
            if "IntegrityError" not in str(exc) or not remaining:
                raise
        else:
            return
