"""Model folders on disk: finding them, reading `model.yaml`, and opening paths that a spec names."""

import difflib
import hashlib
import importlib.metadata
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from types import UnionType
from typing import Any, TypeVar, get_args, get_origin

import yaml
from pydantic import BaseModel, ValidationError

from trimtab.domain.spec import ModelSpec, Section, is_inside
from trimtab.errors import NotFoundError, SourceUnreadableError, SpecError

SPEC_FILE = "model.yaml"
FEATURE_FILE = "features.py"
PACKAGE_PREFIX = "package:"

SectionKind = TypeVar("SectionKind", bound=Section)


@dataclass(frozen=True, slots=True)
class ModelFolder:
    """One model as its owner keeps it."""

    path: Path
    spec: ModelSpec

    @property
    def feature_code(self) -> bytes:
        """Content of features.py, empty if the model has none."""
        file = self.path / FEATURE_FILE
        return file.read_bytes() if file.is_file() else b""

    @property
    def fingerprint(self) -> str:
        """SHA-256 of spec and feature code: what the folder says, not where it lies."""
        spec = json.dumps(self.spec.model_dump(mode="json", by_alias=True), sort_keys=True)
        return hashlib.sha256(spec.encode() + b"\0" + self.feature_code).hexdigest()

    def resolve(self, path: str) -> Path:
        """The file that a path of the spec means."""
        if path.startswith(PACKAGE_PREFIX):
            return _packaged(path.removeprefix(PACKAGE_PREFIX))
        return self.path / os.path.expandvars(path)


def folders(search: Sequence[Path]) -> list[Path]:
    """Every folder below the search paths that has a model.yaml, by name."""
    return sorted(
        (file.parent for root in search for file in root.glob(f"*/{SPEC_FILE}")), key=lambda folder: folder.name
    )


def load_all(search: Sequence[Path]) -> tuple[list[ModelFolder], list[SpecError]]:
    """All model folders that can be read, and an error for each that cannot."""
    good: list[ModelFolder] = []
    bad: list[SpecError] = []
    for path in folders(search):
        try:
            good.append(load_folder(path))
        except SpecError as error:
            bad.append(error)
    return good, bad


def find_folder(search: Sequence[Path], model: str) -> ModelFolder:
    """The folder of one model.

    Raises:
        NotFoundError: Naming the models there are.
        SpecError: If its model.yaml is not right.
    """
    for path in folders(search):
        if path.name == model:
            return load_folder(path)
    known = [path.name for path in folders(search)]
    places = ", ".join(map(str, search))
    raise NotFoundError(f"Model {model!r} has no folder with {SPEC_FILE} in {places}. There are: {', '.join(known)}.")


def load_folder(path: Path) -> ModelFolder:
    """Read and check a model folder.

    Raises:
        SpecError: Naming file, key and cure of the first problem, and how many more there are.
    """
    file = path / SPEC_FILE
    try:
        text = file.read_text(encoding="utf-8")
    except UnicodeDecodeError as exc:
        raise SpecError(str(file), "", "is not UTF-8. Save it in that encoding.") from exc
    except OSError as exc:
        raise SpecError(str(file), "", f"cannot be read: {exc.strerror}. Mend its permissions.") from exc
    spec = parse_spec(text, str(file))
    if spec.name != path.name:
        raise SpecError(str(file), "name", f"must be the folder's name {path.name!r}. Got {spec.name!r}.")
    if not is_inside(spec.validation.suite) or not (path / spec.validation.suite).is_file():
        raise SpecError(
            str(file), "validate.suite", f"no file {spec.validation.suite!r} in the folder. Add it, or name another."
        )
    return ModelFolder(path, spec)


@lru_cache(maxsize=64)
def parse_spec(text: str, file: str) -> ModelSpec:
    """Parse the text of a model.yaml; `file` is its name in errors.

    The same text is parsed once: a task meets it in the DAG file and in its own step, and a fork has its parent's.

    Raises:
        SpecError: As for load_folder.
    """
    return checked(ModelSpec, read_mapping(text, file), file)


def read_mapping(text: str, file: str) -> dict[str, Any]:
    """The sections of a YAML text.

    Raises:
        SpecError: If it is not a mapping.
    """
    try:
        document = _parsed(text)
    except yaml.YAMLError as exc:
        mark = getattr(exc, "problem_mark", None)
        where = f"line {mark.line + 1}" if mark else ""
        raise SpecError(file, where, f"is not YAML: {getattr(exc, 'problem', exc)}. Mend the syntax.") from exc
    except ValueError as exc:  # a date such as 2013-02-31
        raise SpecError(file, "", f"has a value that YAML cannot read: {exc}. Mend it.") from exc
    if not isinstance(document, dict):
        raise SpecError(file, "", f"must hold a mapping of sections. Got {type(document).__name__}.")
    return document


def checked(kind: type[SectionKind], document: dict[str, Any], file: str) -> SectionKind:
    """A document as a section.

    Raises:
        SpecError: Naming file, key and cure of the first problem, and how many more there are.
    """
    try:
        return kind.model_validate(document)
    except ValidationError as exc:
        raise _worded(exc, kind, file) from exc


def _parsed(text: str) -> object:
    try:
        return yaml.load(text, Loader=yaml.CSafeLoader)  # every task reads it, and this takes a tenth of the time
    except yaml.YAMLError:
        return yaml.safe_load(text)  # the same error, in better words


def _worded(exc: ValidationError, kind: type[Section], file: str) -> SpecError:
    # A list whose items are wrong is reported as too short as well.
    reported = exc.errors(include_url=False)
    problems = [problem for problem in reported if problem["type"] != "too_short"] or reported
    # A key that was misspelt is reported twice, as unknown and as missing; the first says more.
    first = next((problem for problem in problems if problem["type"] == "extra_forbidden"), problems[0])
    key, siblings = _place(first["loc"], kind)
    message = first["msg"].removeprefix("Value error, ")
    got = "" if first["type"] in ("missing", "value_error") else f" Got {_short(first['input'])}."
    hint = _did_you_mean(str(first["loc"][-1]), siblings) if first["type"] == "extra_forbidden" else ""
    if first["type"] == "extra_forbidden":
        message, got = "there is no such key", ""
    if first["type"] == "missing":
        message = "is missing. Add it"
    others = len(problems) - 1
    more = f" ({others} more problem{'s' if others > 1 else ''} in this file.)" if others else ""
    return SpecError(file, key, f"{message}.{got}{hint}{more}")


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."  # noqa: PLR2004  # one line of a terminal


def _did_you_mean(name: str, known: Sequence[str]) -> str:
    close = difflib.get_close_matches(name, known, n=1)
    if close:
        return f" Did you mean {close[0]!r}?"
    return f" Known keys: {', '.join(sorted(known))}." if known else ""


def _place(location: Sequence[int | str], kind: Any) -> tuple[str, Sequence[str]]:
    """The dotted key as the file has it, and the keys that its section may have."""
    shown: list[str] = []
    siblings: Sequence[str] = []
    for part in location:
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            fields = {field.alias or name: field.annotation for name, field in kind.model_fields.items()}
            siblings, kind = list(fields), fields.get(str(part))
        elif get_origin(kind) is UnionType:  # the part is the kind of a variant, which the file writes elsewhere
            kind = next((one for one in get_args(kind) if _variant(one) == part), None)
            continue
        else:  # a list or a mapping
            siblings, kind = [], next((one for one in get_args(kind) if isinstance(one, type)), None)
        shown.append(str(part))
    return ".".join(shown), siblings


def _variant(section: Any) -> str | None:
    fields = getattr(section, "model_fields", {})
    return get_args(fields["kind"].annotation)[0] if "kind" in fields else None


def _packaged(path: str) -> Path:
    """A file of an installed distribution, found without importing it."""
    distribution, _, inside = path.partition("/")
    try:
        file = importlib.metadata.distribution(distribution).locate_file(f"{distribution}/{inside}")
    except importlib.metadata.PackageNotFoundError as exc:
        raise SourceUnreadableError(
            f"Distribution {distribution!r}, whose file {inside!r} is a source, is not installed. "
            f"Run `pip install {distribution}` (in this repository: `make setup`)."
        ) from exc
    return Path(str(file))
