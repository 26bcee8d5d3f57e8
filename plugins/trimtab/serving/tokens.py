"""Who may do what: tokens, of which only the digests are kept."""

import base64
import binascii
import hashlib
import hmac
import logging
import re
from pathlib import Path
from typing import Literal, TypeAlias, get_args

from trimtab.errors import NotFoundError, SpecError

logger = logging.getLogger(__name__)

Scope: TypeAlias = Literal["predict", "feedback", "admin"]
"""What a token may do: ask for predictions; tell what came of them; read the metrics."""
Scopes: TypeAlias = frozenset[Scope]

SCOPES: Scopes = frozenset(get_args(Scope))
OF_AN_APPLICATION: Scopes = frozenset({"predict", "feedback"})
"""Scopes of a line that names none."""
DIGEST = re.compile("[0-9a-f]{64}")
HOW_TO = 'Add the line that `printf %s "$TOKEN" | sha256sum | cut -c1-64` prints.'


def token_digest(token: str) -> str:
    """What the file holds for a token: its SHA-256 in hex. Meant for long random tokens, not for passwords."""
    return hashlib.sha256(token.encode("utf-8", "surrogateescape")).hexdigest()


class TokenCheck:
    """Tokens of a file, a line each: a SHA-256 in hex and, if it is not for an application, scopes with commas.

    '#' begins a comment. A changed file counts at once.
    """

    def __init__(self, file: Path) -> None:
        """Read the file.

        Raises:
            NotFoundError: If there is none.
            SpecError: If a line is not right, or there is no token at all.
        """
        self._file = file
        try:
            self._changed = file.stat().st_mtime_ns
            self._known = _known(file)
        except OSError as exc:
            raise NotFoundError(f"Token file {file} cannot be read ({exc.strerror}). Make it. {HOW_TO}") from exc

    def scopes(self, token: str) -> Scopes:
        """What the token may do; nothing, if it is not in the file. Takes the same time whichever it is."""
        self._read_again()
        digest = token_digest(token)
        found = [scopes for known, scopes in self._known if hmac.compare_digest(digest, known)]
        return frozenset[Scope]().union(*found)

    def scope_of(self, authorization: str) -> Scopes:
        """The same for an Authorization header: the token as Bearer, or as the password of Basic."""
        token = _token(authorization)
        return frozenset() if token is None else self.scopes(token)

    def _read_again(self) -> None:
        """Follow a changed file; one that is gone or wrong changes nothing."""
        try:
            changed = self._file.stat().st_mtime_ns
            if changed != self._changed:
                self._changed = changed
                self._known = _known(self._file)
        except (OSError, SpecError) as exc:
            logger.warning("the tokens read before stay in force; %s", exc)


def _known(file: Path) -> tuple[tuple[str, Scopes], ...]:
    lines = file.read_text(encoding="utf-8", errors="replace").splitlines()
    words = [(number, line.partition("#")[0].split(maxsplit=1)) for number, line in enumerate(lines, start=1)]
    known = tuple(
        (_digest(file, number, parts[0]), _scopes(file, number, *parts[1:])) for number, parts in words if parts
    )
    if not known:
        raise SpecError(str(file), "", f"holds no token, so that nobody could ask. {HOW_TO}")
    return known


def _digest(file: Path, number: int, word: str) -> str:
    if not DIGEST.fullmatch(word.lower()):
        raise SpecError(str(file), f"line {number}", f"must begin with a SHA-256 in hex (64 digits). {HOW_TO}")
    return word.lower()


def _scopes(file: Path, number: int, words: str = "") -> Scopes:
    named = {word.strip() for word in words.split(",")} - {""}
    if not named <= SCOPES:  # the word itself is not repeated: it may be a token in clear
        raise SpecError(str(file), f"line {number}", "must name scopes out of predict, feedback and admin. Mend it.")
    return frozenset(scope for scope in SCOPES if scope in named) or OF_AN_APPLICATION


def _token(authorization: str) -> str | None:
    scheme, _, rest = authorization.partition(" ")
    if scheme.lower() == "bearer":
        return rest.strip()
    if scheme.lower() != "basic":
        return None
    try:
        pair = base64.b64decode(rest.strip(), validate=True).decode("utf-8", "surrogateescape")
    except (binascii.Error, ValueError):
        return None
    return pair.partition(":")[2]
