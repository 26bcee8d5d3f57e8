"""Who may ask: tokens, of which only the digests are kept."""

import base64
import binascii
import hashlib
import hmac
import logging
import re
from pathlib import Path

from trimtab.errors import NotFoundError, SpecError

logger = logging.getLogger(__name__)

DIGEST = re.compile("[0-9a-f]{64}")
HOW_TO = 'Add the line that `printf %s "$TOKEN" | sha256sum | cut -c1-64` prints.'


def token_digest(token: str) -> str:
    """What the file holds for a token: its SHA-256 in hex. Meant for long random tokens, not for passwords."""
    return hashlib.sha256(token.encode("utf-8", "surrogateescape")).hexdigest()


class TokenCheck:
    """Tokens of a file: a SHA-256 in hex on each line; '#' begins a comment. A changed file counts at once."""

    def __init__(self, file: Path) -> None:
        """Read the file.

        Raises:
            NotFoundError: If there is none.
            SpecError: If a line is not a digest, or there is no token at all.
        """
        self._file = file
        try:
            self._changed = file.stat().st_mtime_ns
            self._digests = _digests(file)
        except OSError as exc:
            raise NotFoundError(f"Token file {file} cannot be read ({exc.strerror}). Make it. {HOW_TO}") from exc

    def accepts(self, token: str) -> bool:
        """Whether the token is one of those in the file. Takes the same time whichever it is."""
        self._read_again()
        digest = token_digest(token)
        return sum(hmac.compare_digest(digest, known) for known in self._digests) > 0

    def accepts_header(self, authorization: str) -> bool:
        """Whether an Authorization header holds such a token: as Bearer, or as the password of Basic."""
        token = _token(authorization)
        return token is not None and self.accepts(token)

    def _read_again(self) -> None:
        """Follow a changed file; one that is gone or wrong changes nothing."""
        try:
            changed = self._file.stat().st_mtime_ns
            if changed != self._changed:
                self._changed = changed
                self._digests = _digests(self._file)
        except (OSError, SpecError) as exc:
            logger.warning("the tokens read before stay in force; %s", exc)


def _digests(file: Path) -> tuple[str, ...]:
    lines = [
        line.partition("#")[0].strip().lower()
        for line in file.read_text(encoding="utf-8", errors="replace").splitlines()
    ]
    for number, line in enumerate(lines, start=1):
        if line and not DIGEST.fullmatch(line):
            raise SpecError(str(file), f"line {number}", f"must be a SHA-256 in hex (64 digits). {HOW_TO}")
    digests = tuple(line for line in lines if line)
    if not digests:
        raise SpecError(str(file), "", f"holds no token, so that nobody could ask. {HOW_TO}")
    return digests


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
