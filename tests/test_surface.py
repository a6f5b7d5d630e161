"""The public surface is exactly what `agentdistill.__all__` says."""

import ast
import importlib
import inspect
import tomllib
from pathlib import Path

import pytest

import agentdistill

ROOT = Path(__file__).parent.parent
# All public classes of these modules are contracts and belong to the surface.
CONTRACTS = ["errors", "records", "spaces", "environment", "store", "sandbox.base", "policies.base"]
NAMES = [name for name in agentdistill.__all__ if name != "__version__"]


def shown_to_type_checkers() -> set[str]:
    tree = ast.parse(Path(agentdistill.__file__).read_text())
    (block,) = (node for node in tree.body if isinstance(node, ast.If))
    return {alias.name for node in ast.walk(block) if isinstance(node, ast.ImportFrom) for alias in node.names}


@pytest.mark.parametrize("name", NAMES)
def test_a_public_name_resolves_and_is_documented(name):
    found = getattr(agentdistill, name)
    assert found.__name__ == name
    assert found.__module__.startswith("agentdistill.")
    assert inspect.getdoc(found)


@pytest.mark.parametrize("module_name", CONTRACTS)
def test_no_public_class_of_a_contract_is_missing(module_name):
    module = importlib.import_module(f"agentdistill.{module_name}")
    public = {
        name
        for name, found in vars(module).items()
        if inspect.isclass(found) and found.__module__ == module.__name__ and not name.startswith("_")
    }
    assert public <= set(NAMES)


def test_editors_and_type_checkers_are_shown_the_same_names():
    assert shown_to_type_checkers() == set(NAMES)


def test_the_list_is_in_order_and_names_nothing_twice():
    assert sorted(set(agentdistill.__all__)) == agentdistill.__all__
    assert set(agentdistill.__all__) <= set(dir(agentdistill))


def test_no_public_name_hides_a_module():
    modules = {path.stem for path in Path(agentdistill.__file__).parent.iterdir()}
    assert not modules & set(NAMES)


def test_an_unknown_name_is_an_ordinary_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'Taks'"):
        agentdistill.Taks  # noqa: B018
    assert not hasattr(agentdistill, "json")


def test_star_import_gives_the_public_names():
    here: dict[str, object] = {}
    exec("from agentdistill import *", here)
    assert set(NAMES) <= set(here)


def test_the_version_is_the_one_in_the_project_file():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert agentdistill.__version__ == project["version"]
