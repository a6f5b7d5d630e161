"""What the README shows is what the examples are, and it works."""

import re
from pathlib import Path

import pytest

from agentdistill.config import read_config
from agentdistill.loading import load_environment
from agentdistill.testing import check_environment

ROOT = Path(__file__).parent.parent
CONFIGS = sorted([*(ROOT / "examples").rglob("*.toml"), ROOT / "agentdistill" / "cli" / "demo.toml"])


def test_the_readme_shows_the_whole_example_environment() -> None:
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    assert (ROOT / "examples" / "tank.py").read_text() in blocks


def test_the_readme_shows_the_example_loss() -> None:
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    assert (ROOT / "examples" / "own_loss.py").read_text().split("\n\n\n", 1)[1] in blocks


def test_the_example_environment_passes_every_check() -> None:
    checks = check_environment(load_environment(f"{ROOT / 'examples' / 'tank.py'}:Tank"))
    assert [each for each in checks if each.status == "failed"] == []
    assert len(checks) >= 10


@pytest.mark.parametrize("config", CONFIGS, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_every_shipped_config_is_valid(config: Path) -> None:
    from agentdistill.comparison import read_grid
    from agentdistill.recipes import read_recipe
    from agentdistill.settings import RunConfig

    if config.parent.name == "recipes":
        assert read_recipe(config).way
    elif config.parent.name == "grids":
        assert read_grid(config).variants
    else:
        assert read_config(config, [], RunConfig).environment


def test_the_readme_names_every_file_of_the_library() -> None:
    readme = (ROOT / "README.md").read_text()
    rooms = [path.relative_to(ROOT / "agentdistill") for path in (ROOT / "agentdistill").rglob("*.py")]
    missing = [str(path) for path in rooms if path.name != "__init__.py" and path.name not in readme]
    assert missing == []
