"""One real MLflow server for all contract tests, and ways to make it fail."""

import socket
import warnings
from collections.abc import Callable, Iterator
from contextlib import closing

import pytest

from mlflow_servers import MlflowServer, Relay

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # MLflow warns about type hints of its own when it is imported
    import mlflow.pyfunc  # noqa: F401


@pytest.fixture(scope="session")
def mlflow_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MlflowServer]:
    """The server, running."""
    server = MlflowServer(tmp_path_factory.mktemp("mlflow"))
    server.start()
    yield server
    server.stop()


@pytest.fixture
def silent_server() -> Iterator[str]:
    """The address of a server that accepts and never answers."""
    with closing(socket.create_server(("127.0.0.1", 0), backlog=64)) as listener:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"


@pytest.fixture
def relay(mlflow_server: MlflowServer) -> Iterator[Callable[[int], Relay]]:
    """Opens lines to the server that fall silent after so many requests."""
    opened: list[Relay] = []

    def open_relay(requests: int) -> Relay:
        opened.append(Relay(mlflow_server.port, requests))
        return opened[-1]

    yield open_relay
    for one in opened:
        one.close()
