"""Where things may lie, and what may know what."""

import ast
import importlib.metadata
import inspect
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from trimtab.domain import spec
from trimtab.domain.spec import Section

ROOT = Path(__file__).parents[2]
PLUGINS = ROOT / "plugins"
PACKAGE = PLUGINS / "trimtab"
MODULES = sorted(PACKAGE.rglob("*.py"))
HOMES = {
    "altair": r"adapters/replay_report\.py",
    "great_expectations": r"adapters/gx_validator\.py",
    "mlflow": r"adapters/(mlflow_\w+|logged_model)\.py|cli/demo\.py",
    "pyspark": r"adapters/spark_profiler\.py",
    "sklearn": r"adapters/sklearn_trainer\.py",
    "skops": r"adapters/model_package\.py",
}
"""Who may import each library. The demo links to pages of MLflow."""


def tree(file: Path) -> ast.Module:
    return ast.parse(file.read_text(encoding="utf-8"))


def imports(file: Path) -> Iterator[str]:
    for node in ast.walk(tree(file)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module or ""


def attributes(folder: Path) -> set[str]:
    return {
        node.attr for file in folder.rglob("*.py") for node in ast.walk(tree(file)) if isinstance(node, ast.Attribute)
    }


def sections() -> list[type[Section]]:
    return [
        member
        for _, member in inspect.getmembers(spec, inspect.isclass)
        if issubclass(member, Section) and member is not Section
    ]


def test_the_import_contracts_of_pyproject_hold() -> None:
    lint = Path(sys.executable).with_name("lint-imports")
    found = subprocess.run(
        [lint, "--no-cache", "--no-logo"], cwd=ROOT, capture_output=True, text=True, check=False, timeout=120
    )
    assert found.returncode == 0, found.stdout + found.stderr


@pytest.mark.parametrize("library", HOMES)
def test_a_library_behind_a_port_is_imported_by_its_adapter_only(library: str) -> None:
    users = [
        file.relative_to(PACKAGE).as_posix()
        for file in MODULES
        if any(name.split(".")[0] == library for name in imports(file))
    ]
    assert users
    assert [user for user in users if not re.fullmatch(HOMES[library], user)] == []


def test_no_module_has_the_name_of_a_library() -> None:
    """Airflow would put a file of the plugin folder in the library's place, were it not for .airflowignore."""
    foreign = {name for name, owners in importlib.metadata.packages_distributions().items() if owners != ["trimtab"]}
    own = {file.stem for file in PLUGINS.rglob("*.py")} - {"__init__"}
    assert own & (foreign | set(sys.stdlib_module_names)) == set()


def test_no_module_is_a_drawer_for_everything() -> None:
    drawers = {"utils", "util", "common", "helpers", "helper", "misc", "base", "core", "shared"}
    assert [file for file in MODULES if file.stem in drawers] == []


def test_airflow_loads_one_file_of_the_plugin_folder() -> None:
    from airflow._shared.module_loading.file_discovery import find_path_from_directory

    loaded = [Path(path) for path in find_path_from_directory(PLUGINS, ".airflowignore", "glob")]
    assert [path for path in loaded if path.suffix == ".py"] == [PLUGINS / "trimtab_plugin.py"]


def test_stages_take_sections_of_the_spec_and_never_the_whole() -> None:
    whole = [
        f"{file.name}: {function.name}"
        for file in (PACKAGE / "stages").glob("*.py")
        for function in ast.walk(tree(file))
        if isinstance(function, ast.FunctionDef)
        for argument in [*function.args.args, *function.args.kwonlyargs]
        if argument.annotation and "ModelSpec" in ast.unparse(argument.annotation)
    ]
    assert whole == []


@pytest.mark.parametrize("section", sections(), ids=lambda section: section.__name__)
def test_every_field_of_the_spec_is_read_somewhere(section: type[Section]) -> None:
    read = attributes(PACKAGE) | attributes(ROOT / "dags") | {"kind"}  # the union itself reads the kind
    assert set(section.model_fields) - read == set()


def test_every_field_of_the_spec_can_be_written_in_yaml() -> None:
    for section in sections():
        assert section.model_json_schema()["additionalProperties"] is False


def test_sections_stay_small() -> None:
    """With more than this, a section is two; ModelSpec has no settings, only sections."""
    sizes = {section.__name__: len(section.model_fields) for section in sections() if section is not spec.ModelSpec}
    assert {name: size for name, size in sizes.items() if size > 8} == {}


def test_every_variable_is_documented() -> None:
    code = [*MODULES, *ROOT.glob("dags/*.py"), *PLUGINS.glob("*.py"), *ROOT.glob("tests/**/*.*")]
    code = [file for file in code if file.suffix in {".py", ".yaml"}]
    names = {name for file in code for name in re.findall(r"\bTRIMTAB_[A-Z]+(?:_[A-Z]+)*\b", file.read_text("utf-8"))}
    documented = (ROOT / "docs" / "configuration.md").read_text(encoding="utf-8")
    assert len(names) > 10
    assert {name for name in names if f"`{name}`" not in documented} == set()
