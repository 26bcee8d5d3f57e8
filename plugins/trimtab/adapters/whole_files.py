"""Files that a reader sees as they were or as they are, and never in between."""

import os
from pathlib import Path

DRAFT = ".draft"
"""Ends the name of a file that is still being written."""


def write_whole(file: Path, content: bytes) -> None:
    """Write a file as a whole or not at all, also if the power fails."""
    draft = file.with_name(file.name + DRAFT)
    with draft.open("wb") as sink:
        sink.write(content)
        sink.flush()
        os.fsync(sink.fileno())
    draft.replace(file)
