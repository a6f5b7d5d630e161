"""What a user gets: the wheel alone, in an environment of its own, used from a folder that is not the repository."""

import os
import shutil
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parent.parent
NOT_SOURCE = shutil.ignore_patterns(".*", "build", "dist", "*.egg-info", "runs", "__pycache__", "tests")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    """Built from a copy: setuptools writes into the source tree, and would pack what an earlier build left there."""
    source = tmp_path_factory.mktemp("source") / "agentdistill"
    shutil.copytree(ROOT, source, ignore=NOT_SOURCE)
    out = tmp_path_factory.mktemp("dist")
    build = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(out), str(source)]
    done = subprocess.run(build, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    (made,) = out.glob("*.whl")
    return made


class Installed:
    """An environment with the wheel in it. Its dependencies are those of the tests' own, lent by a path file."""

    def __init__(self, folder: Path, wheel: Path) -> None:
        self.venv = folder / "venv"
        self.folder = folder / "empty"
        self.folder.mkdir()
        subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(self.venv)], check=True)
        (packages,) = self.venv.glob("lib/python*/site-packages")
        pip = [sys.executable, "-m", "pip", "--python", str(self.venv / "bin/python"), "--disable-pip-version-check"]
        subprocess.run([*pip, "install", "--quiet", "--no-deps", "--no-index", str(wheel)], check=True)
        # Path files found by way of a path file are not read, so the editable install over there stays out.
        (packages / "lent.pth").write_text(sysconfig.get_path("purelib") + "\n")

    def run(self, program: str, *arguments: str) -> str:
        environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
        done = subprocess.run(
            [str(self.venv / "bin" / program), *arguments],
            cwd=self.folder, env=environment, capture_output=True, text=True, timeout=120,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def python(self, script: str) -> str:
        return self.run("python", "-c", script)


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory) -> Installed:
    return Installed(tmp_path_factory.mktemp("user"), wheel)


def test_every_source_file_is_in_the_wheel_and_nothing_else(wheel):
    packed = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    for folder, package in (("agentdistill", "agentdistill"), ("environments", "agentdistill_environments")):
        sources = {
            f"{package}/{path.relative_to(ROOT / folder)}"
            for path in (ROOT / folder).rglob("*")
            if path.is_file() and "__pycache__" not in path.parts
        }
        assert {name for name in packed if name.startswith(f"{package}/")} == sources
        packed -= sources
    assert packed == set()


def test_the_licence_comes_with_it(wheel):
    assert any(name.endswith("licenses/LICENSE") for name in zipfile.ZipFile(wheel).namelist())


def test_it_is_the_installed_library_that_is_used(installed):
    for package in ("agentdistill", "agentdistill_environments"):
        place = Path(installed.python(f"import {package}; print({package}.__file__)").strip())
        assert place.is_relative_to(installed.venv)


def test_gymnasium_finds_the_ready_environments(installed):
    script = """if True:
        import gymnasium
        environment = gymnasium.make("agentdistill_environments:agentdistill/Depot-v0")
        opening, _ = environment.reset(seed=1)
        print(opening[0].role)
        environment.close()
    """
    assert installed.python(script).strip() in {"system", "user"}


def test_the_command_lists_the_ready_environments(installed):
    listed = installed.run("agentdistill", "env", "list").lower()
    assert "repair" in listed
    assert "depot" in listed


def test_the_command_has_the_demo_and_its_configuration(installed):
    assert "demo" in installed.run("agentdistill", "demo", "--help")
    script = """if True:
        from pathlib import Path
        import agentdistill
        print([path.name for path in Path(agentdistill.__file__).parent.rglob("*.toml")])
    """
    assert "demo.toml" in installed.python(script)
