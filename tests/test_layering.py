"""Each module of the library imports from lower floors only; environments import the library, never the reverse."""

import ast
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
LIBRARY = "agentdistill"
ENVIRONMENTS = "agentdistill_environments"

# A room is a module or a sub-package. Modules inside one sub-package may import each other.
FLOORS = [
    {"errors", "records", "redaction"},
    {"tools", "spaces", "chat", "sandbox", "store", "config", "ledger", "notes", "plugins"},
    {"environment", "policies", "results", "trackers", "verification"},
    {"formats"},
    {"rollout", "divergence", "losses", "loading", "playback", "leaks", "curriculum"},
    {"takeover", "teaching", "segments", "probing", "triage", "bought", "resuming", "opening", "messes"},
    {"curation", "pairs"},
    {"training", "evaluation", "accuracy", "collection", "transcripts", "recovering"},
    {"heldout", "metrics", "recipes"},
    {"settings", "ways", "kept"},
    {"stages", "collecting", "trainable"},
    {"distillation", "finetuning"},
    {"comparison"},
    {"report", "testing"},
    {"exporting"},
    {"cli"},  # the front door: shows reports and runs the shipped checks
]
FLOOR_OF = {room: floor for floor, rooms in enumerate(FLOORS) for room in rooms}


@dataclass(frozen=True)
class Import:
    module: str
    where: str
    how: str


def module_name(path: Path, folder: Path, package: str) -> str:
    parts = path.relative_to(folder).with_suffix("").parts
    return ".".join([package, *parts]).removesuffix(".__init__")


def all_modules(folder: Path, package: str) -> dict[str, Path]:
    return {module_name(path, folder, package): path for path in sorted(folder.rglob("*.py"))}


LIBRARY_MODULES = all_modules(ROOT / "agentdistill", LIBRARY)
ENVIRONMENT_MODULES = all_modules(ROOT / "environments", ENVIRONMENTS)


def imports_of(source: str, module: str, is_package: bool, known: set[str]) -> Iterator[Import]:
    """Every import in `source`, inside functions and under TYPE_CHECKING too, each told apart."""

    def walk(node: ast.AST, how: str) -> Iterator[Import]:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.Import | ast.ImportFrom):
                for name in targets(child):
                    yield Import(name, f"{module}:{child.lineno}", how)
            elif isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef):
                yield from walk(child, "inside a function")
            elif isinstance(child, ast.If) and "TYPE_CHECKING" in ast.dump(child.test):
                yield from walk(child, "under TYPE_CHECKING")
            else:
                yield from walk(child, how)

    def targets(node: ast.Import | ast.ImportFrom) -> list[str]:
        if isinstance(node, ast.Import):
            return [alias.name for alias in node.names]
        base = node.module or ""
        if node.level:
            above = module.split(".")[: None if is_package and node.level == 1 else is_package - node.level]
            base = ".".join([*above, *filter(None, [node.module])])
        # `from package import module` names a module of the package; anything else is a name inside `base`.
        return [inner if (inner := f"{base}.{alias.name}") in known else base for alias in node.names]

    yield from walk(ast.parse(source), "at the top")


def room_of(module: str) -> str:
    """The room of a module of the library; the package itself is above all rooms and has the empty name."""
    return module.split(".")[1] if "." in module else ""


def is_inside(module: str, package: str) -> bool:
    return module == package or module.startswith(f"{package}.")


def problems_of(module: str, imports: Iterator[Import]) -> Iterator[str]:
    """What is wrong with the imports of one module of the library."""
    room = room_of(module)
    for each in imports:
        told = f"{each.where} ({each.how}) imports {each.module}"
        if each.module.split(".")[0] in (ENVIRONMENTS, "environments", "examples", "tasks", "tests"):
            yield f"{told}: the library never imports it"
        elif is_inside(each.module, LIBRARY) and room != "":
            other = room_of(each.module)
            if other == "":
                yield f"{told}: import the module that has it, not the package above it"
            elif other != room and other in FLOOR_OF and FLOOR_OF[other] >= FLOOR_OF[room]:
                yield f"{told}: floor {FLOOR_OF[room]} may not import floor {FLOOR_OF[other]}"


def test_every_module_has_a_floor():
    rooms = {room_of(module) for module in LIBRARY_MODULES} - {""}
    homeless = sorted(rooms - set(FLOOR_OF))
    assert not homeless, (
        f"place {', '.join(homeless)} in FLOORS of {Path(__file__).name}: one floor above all it imports"
    )


def test_no_room_has_two_floors():
    assert sum(len(rooms) for rooms in FLOORS) == len(FLOOR_OF)


def test_modules_import_from_lower_floors_only():
    problems = []
    for module, path in LIBRARY_MODULES.items():
        if room_of(module) in FLOOR_OF or room_of(module) == "":
            found = imports_of(path.read_text(), module, path.name == "__init__.py", set(LIBRARY_MODULES))
            problems += problems_of(module, found)
    assert not problems, "\n" + "\n".join(problems)


def test_the_package_itself_imports_nothing_of_its_own_when_imported():
    found = imports_of(LIBRARY_MODULES[LIBRARY].read_text(), LIBRARY, True, set(LIBRARY_MODULES))
    eager = [each for each in found if each.how == "at the top" and is_inside(each.module, LIBRARY)]
    assert not eager


def test_environments_import_only_the_library_and_their_own_folder():
    problems = []
    for module, path in ENVIRONMENT_MODULES.items():
        own = ".".join(module.split(".")[:2])
        for each in imports_of(path.read_text(), module, path.name == "__init__.py", set(ENVIRONMENT_MODULES)):
            ours = each.module.split(".")[0] in (ENVIRONMENTS, "environments", "examples", "tasks", "tests")
            if ours and not is_inside(each.module, own):
                problems.append(f"{each.where} ({each.how}) imports {each.module}")
            if each.module.startswith(f"{LIBRARY}.cli"):
                problems.append(f"{each.where} ({each.how}) imports the command line")
    assert not problems, "\n" + "\n".join(problems)


# ---- the test is tested ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("source", "module", "told"),
    [
        ("from agentdistill.rollout import run", "agentdistill.tools", "at the top"),
        ("def f():\n    from agentdistill import rollout", "agentdistill.tools", "inside a function"),
        ("if TYPE_CHECKING:\n    import agentdistill.rollout", "agentdistill.tools", "under TYPE_CHECKING"),
        ("class A:\n    def f(self):\n        from . import rollout", "agentdistill.tools", "inside a function"),
        ("from ..rollout import run", "agentdistill.sandbox.base", "floor 1 may not import floor 4"),
        ("from agentdistill import Task", "agentdistill.tools", "not the package above it"),
        ("import agentdistill_environments.repair", "agentdistill.cli.main", "never imports"),
        ("from agentdistill.chat import Renderer", "agentdistill.tools", "floor 1 may not import floor 1"),
    ],
)
def test_a_forbidden_import_is_found_wherever_it_stands(source, module, told):
    known = {"agentdistill", "agentdistill.rollout", "agentdistill.tools", "agentdistill.chat", "agentdistill.sandbox"}
    (problem,) = problems_of(module, imports_of(source, module, False, known))
    assert told in problem
    assert f"{module}:" in problem


@pytest.mark.parametrize(
    ("source", "module", "is_package"),
    [
        ("from agentdistill.sandbox.confinement import confine", "agentdistill.sandbox.bubblewrap", False),
        ("from .base import Sandbox", "agentdistill.sandbox", True),
        ("from agentdistill.errors import ToolError\nimport json", "agentdistill.tools", False),
        ("def f():\n    from agentdistill.sandbox.bubblewrap import B", "agentdistill.environment", False),
    ],
)
def test_an_allowed_import_is_not_reported(source, module, is_package):
    known = {"agentdistill", "agentdistill.sandbox", "agentdistill.sandbox.base"}
    assert not list(problems_of(module, imports_of(source, module, is_package, known)))


def test_every_package_is_one_that_a_wheel_gets():
    setuptools = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
    there = {
        module_name(path, ROOT / folder, package)
        for package, folder in setuptools["package-dir"].items()
        for path in (ROOT / folder).rglob("__init__.py")
    }
    assert set(setuptools["packages"]) == there
