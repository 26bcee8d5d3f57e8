"""Every error that Trimtab raises on purpose.

Each also subclasses the builtin that a caller would already catch, and says whether trying again can help, so
that an operator needs no ladder of isinstance checks.
"""

from typing import ClassVar

MAX_EXAMPLES = 5


def listed(values: list[str]) -> str:
    """Names or examples for a message: quoted, at most five, with the number left out."""
    shown = ", ".join(repr(value) for value in values[:MAX_EXAMPLES])
    more = len(values) - MAX_EXAMPLES
    return f"{shown} and {more} more" if more > 0 else shown


class TrimtabError(Exception):
    """Root of all errors of this package."""

    retryable: ClassVar[bool] = False


class SpecError(TrimtabError, ValueError):
    """A model folder does not say what it must."""

    def __init__(self, file: str, key: str, problem: str) -> None:
        """Name the file, the dotted key inside it, and what is wrong together with the cure."""
        self.file, self.key = file, key
        super().__init__(f"{file}: {key}: {problem}" if key else f"{file}: {problem}")


class BatchMissingError(TrimtabError, LookupError):
    """The source has no rows for the day that was asked for. It may still arrive."""

    retryable: ClassVar[bool] = True


class SourceUnreadableError(TrimtabError, ValueError):
    """The file or table is there and cannot be read as what the spec says it is."""


class DataContractError(TrimtabError, ValueError):
    """A whole batch breaks the contract of the spec, such as a column that is not there."""


class NotFoundError(TrimtabError, LookupError):
    """Something was asked for by name and is not there."""


class LedgerConflictError(TrimtabError, RuntimeError):
    """Another writer changed the stream between reading and appending."""

    retryable: ClassVar[bool] = True


class LedgerUnavailableError(TrimtabError, ConnectionError):
    """The ledger's database does not answer, or its schema is not the one this version needs."""

    retryable: ClassVar[bool] = True


class RegistryUnavailableError(TrimtabError, ConnectionError):
    """The MLflow server does not answer."""

    retryable: ClassVar[bool] = True


class ModelIntegrityError(TrimtabError, ValueError):
    """A stored model is not the one that was registered, or holds a type that is not allowed."""


class TransitionError(TrimtabError, ValueError):
    """A release was asked to make a step that its state does not allow."""


class RequestError(TrimtabError, ValueError):
    """A request to the prediction service, or to one of its clients, cannot be answered as it stands."""


class OverloadedError(TrimtabError, RuntimeError):
    """More is asked of the prediction service than it can answer in time."""

    retryable: ClassVar[bool] = True


class MemoryTrialError(TrimtabError, RuntimeError):
    """The memory that a version needs could not be measured."""


class StartupError(TrimtabError, RuntimeError):
    """A server that is to be started is running already, has ended, or is not ready in time."""
