"""The few calls of Airflow's public API that the demo makes."""

import time
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from types import TracebackType
from typing import Any
from urllib.parse import quote

import httpx

from trimtab.errors import RequestError

TRIES = 5
"""SQLite answers a burst of writers with a 500 now and then; the next try goes through."""
SETTLE_S = 3.0
"""An answer that comes before the scheduler has parked the task for good would fail the task."""


class AirflowApi:
    """A logged-in client."""

    def __init__(self, url: str, user: str, password: str) -> None:
        """Log in.

        Raises:
            RequestError: If Airflow refuses.
        """
        self._http = httpx.Client(base_url=url, timeout=30)
        answer = self._send("POST", "/auth/token", json={"username": user, "password": password})
        self._http.headers["Authorization"] = f"Bearer {answer['access_token']}"

    def __enter__(self) -> "AirflowApi":
        """The client itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the connections."""
        self._http.close()

    def wait_for_dags(self, dag_ids: list[str], timeout_s: float = 120) -> None:
        """Wait until the DAG processor has read the DAGs."""
        for dag_id in dag_ids:
            for _ in _until(timeout_s):
                if self._http.get(f"/api/v2/dags/{dag_id}").status_code == httpx.codes.OK:
                    break
            else:
                raise RequestError(f"Airflow has no DAG {dag_id!r} after {timeout_s:.0f} s. Look at its import errors.")

    def unpause(self, dag_id: str) -> None:
        """Let the scheduler run a DAG."""
        self._send("PATCH", f"/api/v2/dags/{dag_id}", json={"is_paused": False})

    def run_day(self, dag_id: str, day: date) -> str:
        """Start the run of one day with the interval that the schedule would give it; its run id."""
        start = datetime(day.year, day.month, day.day, tzinfo=UTC)
        run = self._send(
            "POST",
            f"/api/v2/dags/{dag_id}/dagRuns",
            json={
                "dag_run_id": f"day__{day}",
                "logical_date": start.isoformat(),
                "data_interval_start": start.isoformat(),
                "data_interval_end": (start + timedelta(days=1)).isoformat(),
            },
        )
        return str(run["dag_run_id"])

    def run(self, dag_id: str, run_id: str, conf: dict[str, Any]) -> str:
        """Start a run with params; its run id."""
        body = {"dag_run_id": run_id, "logical_date": None, "conf": conf}
        return str(self._send("POST", f"/api/v2/dags/{dag_id}/dagRuns", json=body)["dag_run_id"])

    def wait_for_run(self, dag_id: str, run_id: str, timeout_s: float = 300) -> str:
        """State that a run ends in; 'timeout' if it does not end."""
        for _ in _until(timeout_s):
            state = self.run_state(dag_id, run_id)
            if state in ("success", "failed"):
                return state
        return "timeout"

    def run_state(self, dag_id: str, run_id: str) -> str:
        """State of a run, 'none' if there is no such run."""
        response = self._http.get(f"/api/v2/dags/{dag_id}/dagRuns/{quote(run_id)}")
        return str(response.json()["state"]) if response.status_code == httpx.codes.OK else "none"

    def task_states(self, dag_id: str, run_id: str) -> dict[str, str]:
        """State of each task of a run."""
        return {str(task["task_id"]): str(task["state"]) for task in self.tasks(dag_id, run_id)}

    def tasks(self, dag_id: str, run_id: str) -> list[dict[str, Any]]:
        """The task instances of a run."""
        answer = self._send("GET", f"/api/v2/dags/{dag_id}/dagRuns/{quote(run_id)}/taskInstances")
        return list(answer["task_instances"])

    def approve(self, dag_id: str, run_id: str, task_id: str, comment: str) -> None:
        """Answer a waiting approval with yes, and make sure that the answer has been taken."""
        path = f"/api/v2/dags/{dag_id}/dagRuns/{quote(run_id)}/taskInstances/{task_id}/-1/hitlDetails"
        body = {"chosen_options": ["Approve"], "params_input": {"comment": comment}}
        for _ in range(TRIES):
            time.sleep(SETTLE_S)
            self._http.patch(path, json=body)
            time.sleep(SETTLE_S)
            if self.task_states(dag_id, run_id).get(task_id) not in ("awaiting_input", "up_for_retry"):
                return
        raise RequestError(f"The approval of {dag_id} {run_id} was not taken after {TRIES} tries. Answer it in the UI.")

    def _send(self, method: str, path: str, **arguments: Any) -> Any:
        for tried in range(TRIES):
            response = self._http.request(method, path, **arguments)
            if response.status_code < httpx.codes.INTERNAL_SERVER_ERROR:
                break
            time.sleep(1 + tried)
        if response.is_error:
            raise RequestError(f"Airflow answers {method} {path} with {response.status_code}: {response.text[:300]}")
        return response.json()


def _until(timeout_s: float, pause_s: float = 0.5) -> Iterator[None]:
    end = time.monotonic() + timeout_s
    while time.monotonic() < end:
        yield
        time.sleep(pause_s)
