"""Files of skops that depend on the estimator alone.

skops names objects and arrays by their addresses in memory, and its archive notes when it was written. So two dumps of
equal estimators differ, and the same training would give another digest each time.
"""

import io
import json
import zipfile
from pathlib import PurePath
from typing import Any

SCHEMA = "schema.json"
EARLIEST = (1980, 1, 1, 0, 0, 0)
"""The first moment that a zip archive can note."""


def reproducible(dump: bytes) -> bytes:
    """The same dump, with objects and arrays numbered in the order in which its schema names them."""
    with zipfile.ZipFile(io.BytesIO(dump)) as archive:
        schema = json.loads(archive.read(SCHEMA))
        files: dict[str, str] = {}
        _number(schema, {}, files)
        contents = {new: archive.read(old) for old, new in files.items()}
    written = io.BytesIO()
    with zipfile.ZipFile(written, "w") as archive:
        for name, content in {**contents, SCHEMA: json.dumps(schema).encode()}.items():
            archive.writestr(zipfile.ZipInfo(name, EARLIEST), content)
    return written.getvalue()


def _number(node: Any, objects: dict[int, int], files: dict[str, str]) -> None:
    """Give each object and each file of a part of the schema its number, in place."""
    if isinstance(node, list):
        for part in node:
            _number(part, objects, files)
    elif isinstance(node, dict):
        if "__id__" in node:
            node["__id__"] = objects.setdefault(node["__id__"], len(objects) + 1)
        if "__loader__" in node and isinstance(node.get("file"), str):
            node["file"] = files.setdefault(node["file"], f"{len(files) + 1}{PurePath(node['file']).suffix}")
        for part in node.values():
            _number(part, objects, files)
