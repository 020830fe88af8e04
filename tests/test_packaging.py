"""The two distributions: what is in them; they install, upgrade and run outside a checkout.

Everything runs without an index. `bare` environments see torch and the like of the environment that
runs the tests, but neither its denoiseq nor its dilconv.
"""

import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import tomllib
import zipfile
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parents[1]
PROJECTS = {"dilconv": ROOT / "kernels", "denoiseq": ROOT}
BACKENDS = {"dilconv": "scikit_build_core.build", "denoiseq": "hatchling.build"}
# scikit-build-core compiles the kernels without optimization: that takes a third of the time.
QUICK = {"SKBUILD_CMAKE_BUILD_TYPE": "Debug"}
NO_INDEX = ("--no-index", "--no-build-isolation")


def project(name: str) -> dict:
    return tomllib.loads((PROJECTS[name] / "pyproject.toml").read_text("utf-8"))["project"]


def run(*command, **options) -> subprocess.CompletedProcess:
    """The command in an environment without pip's and Python's own variables, and with cmake.

    pip asks no index for a newer pip: without a route its complaint would stand in the output.
    """
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("PIP_", "PYTHON"))}
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    kept |= {"PATH": path, "PIP_CONFIG_FILE": os.devnull, "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
    kept |= {**QUICK, **options.pop("variables", {})}
    return subprocess.run(
        list(map(str, command)), env=kept, capture_output=True, text=True, **options
    )


def succeed(*command, **options) -> str:
    done = run(*command, **options)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


class Bare(NamedTuple):
    folder: Path

    @property
    def python(self) -> Path:
        return self.folder / "bin" / "python"

    def pip(self, *arguments, **options) -> subprocess.CompletedProcess:
        return run(self.python, "-m", "pip", *arguments, **options)


def make_bare(folder: Path) -> Bare:
    """A virtual environment with links to everything installed here but the two distributions."""
    succeed(sys.executable, "-m", "venv", "--without-pip", folder)
    outer = folder / "outer"
    outer.mkdir()
    for place in map(Path, sys.path):
        if place.name in ("site-packages", "dist-packages"):
            for entry in place.iterdir():
                ours = re.search("denoiseq|dilconv", entry.name) or entry.suffix == ".pth"
                if not ours and not (outer / entry.name).exists():
                    (outer / entry.name).symlink_to(entry)
    base = {"base": str(folder), "platbase": str(folder)}
    site = Path(sysconfig.get_path("purelib", "venv", base))
    (site / "outer.pth").write_text(f"{outer}\n")
    return Bare(folder)


def make_wheel(folder: Path, name: str, version: str, files: dict[str, str]) -> None:
    """A wheel of a few text files, as somebody else, or an older release, has it."""
    info = f"{name}-{version}.dist-info"
    files = files | {
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    record = "".join(f"{path},,\n" for path in [*files, f"{info}/RECORD"])
    folder.mkdir(exist_ok=True)
    with zipfile.ZipFile(folder / f"{name}-{version}-py3-none-any.whl", "w") as wheel:
        for path, text in (files | {f"{info}/RECORD": record}).items():
            wheel.writestr(path, text)


@pytest.fixture(scope="module")
def sdists(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("sdists")
    for name, backend in BACKENDS.items():
        build = f"import sys; from {backend} import build_sdist; build_sdist(sys.argv[1])"
        succeed(sys.executable, "-c", build, folder, cwd=PROJECTS[name])
    return folder


@pytest.fixture(scope="module")
def wheels(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("wheels")
    build = f"--config-settings=build-dir={tmp_path_factory.mktemp('build')}"
    pip = (sys.executable, "-m", "pip", "wheel", *NO_INDEX, "--no-deps", "--wheel-dir", folder)
    succeed(*pip, build, PROJECTS["dilconv"])
    succeed(*pip, PROJECTS["denoiseq"])
    return folder


@pytest.fixture(scope="module")
def bare(tmp_path_factory) -> Bare:
    return make_bare(tmp_path_factory.mktemp("bare") / "venv")


def contents(folder: Path, pattern: str) -> set[str]:
    [archive] = folder.glob(pattern)
    if archive.suffix == ".whl":
        return set(zipfile.ZipFile(archive).namelist())
    with tarfile.open(archive) as opened:
        names = [member.name for member in opened.getmembers() if member.isfile()]
    return {name.partition("/")[2] for name in names}


def sources(folder: Path, place: str = "") -> set[str]:
    """Paths below `folder`, as they shall stand below `place`."""
    files = (path.relative_to(folder) for path in folder.rglob("*") if path.is_file())
    return {str(place / path) for path in files if "__pycache__" not in path.parts}


def test_one_version_is_said_everywhere():
    version = project("denoiseq")["version"]
    assert project("dilconv")["version"] == version
    assert f"dilconv=={version}" in project("denoiseq")["dependencies"]
    assert f"## [{version}]" in (ROOT / "CHANGELOG.md").read_text("utf-8")
    assert project("dilconv")["dependencies"] == ["torch>=2.9"]
    assert (ROOT / "kernels" / "LICENSE").read_text() == (ROOT / "LICENSE").read_text()


def test_what_is_pinned_are_the_tools_that_build():
    pinned = (ROOT / "constraints.txt").read_text()
    for name, path in PROJECTS.items():
        text = tomllib.loads((path / "pyproject.toml").read_text("utf-8"))
        assert text["build-system"]["build-backend"] == BACKENDS[name]
        for requirement in text["build-system"]["requires"]:
            assert f"\n{re.split('[>=]', requirement)[0]}==" in pinned


def test_no_page_installs_from_an_index():
    pages = [ROOT / "README.md", ROOT / "kernels/README.md", ROOT / "CHANGELOG.md"]
    for page in [*pages, *(ROOT / "docs").rglob("*.md")]:
        assert not re.search(r"pip install [^`\n]*\b(denoiseq|dilconv)\b", page.read_text("utf-8"))


@pytest.mark.slow
def test_the_archives_hold_what_they_should(wheels, sdists):
    configs = sources(ROOT / "configs", Path("denoiseq/configs"))
    package = sources(ROOT / "app" / "denoiseq", Path("denoiseq")) | configs
    made = contents(wheels, "denoiseq-*-py3-none-any.whl")
    assert {name for name in made if ".dist-info/" not in name} == package
    made = contents(wheels, "dilconv-*-py3-none-linux_*.whl")
    module = {name for name in sources(ROOT / "kernels" / "dilconv", Path("dilconv"))}
    expected = {name for name in module if name.endswith(".py")} | {"dilconv/libdilconv.so"}
    assert {name for name in made if ".dist-info/" not in name} == expected
    assert any(name.endswith("licenses/LICENSE") for name in made)

    source = contents(sdists, "denoiseq-*.tar.gz")
    assert {name.partition("/")[0] for name in source if "/" in name} == {"app", "configs"}
    assert {"LICENSE", "README.md", "CHANGELOG.md", "configs/train.yaml"} <= source
    source = contents(sdists, "dilconv-*.tar.gz")
    folders = {name.partition("/")[0] for name in source if "/" in name}
    assert folders == {"csrc", "dilconv", "include"}
    assert {"LICENSE", "README.md", "CMakeLists.txt", "pyproject.toml"} <= source


FACTS = """
import json, denoiseq, dilconv, torch
from importlib.metadata import version
x, conv, oracle = torch.randn(2, 4, 300), dilconv.Conv1d(4, 8, 21), torch.nn.Conv1d(4, 8, 21)
oracle.load_state_dict(conv.state_dict())
torch.testing.assert_close(conv(x), oracle(x))
places = [module.__file__ for module in (denoiseq, dilconv)]
versions = [module.__version__ for module in (denoiseq, dilconv)]
print(json.dumps([places, versions, [version("denoiseq"), version("dilconv")]]))
"""


@pytest.mark.slow
@pytest.mark.parametrize("archives", ["wheels", "sdists"])
def test_both_install_and_run_in_a_foreign_folder(archives, bare, request, tmp_path):
    links = request.getfixturevalue(archives)
    done = bare.pip("install", *NO_INDEX, f"--find-links={links}", "denoiseq", cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    try:
        assert "Successfully installed denoiseq-" in done.stdout and "dilconv-" in done.stdout
        places, said, versions = json.loads(succeed(bare.python, "-c", FACTS, cwd=tmp_path))
        assert all(place.startswith(f"{bare.folder}/lib") for place in places)
        expected = [project("denoiseq")["version"], project("dilconv")["version"]]
        assert said == versions == expected

        program = bare.folder / "bin" / "denoiseq"
        assert succeed(program, "--version", cwd=tmp_path) == f"denoiseq {expected[0]}\n"
        settings = succeed(program, "train", "--cfg", "job", cwd=tmp_path)
        assert "\noptim:\n" in settings
        assert not list(tmp_path.iterdir())
    finally:
        assert bare.pip("uninstall", "--yes", "denoiseq", "dilconv").returncode == 0


def test_denoiseq_alone_takes_no_other_package_of_that_name(bare, tmp_path):
    for version in ("0.1.0", "9.0.0"):
        make_wheel(tmp_path, "dilconv", version, {"dilconv/__init__.py": ""})
    done = bare.pip("install", *NO_INDEX, f"--find-links={tmp_path}", ROOT)
    assert done.returncode != 0
    pin = f"dilconv=={project('dilconv')['version']}"
    assert f"No matching distribution found for {pin}" in done.stderr
    page = (ROOT / "docs" / "troubleshooting.md").read_text("utf-8")
    assert "No matching distribution found for dilconv==…" in page


PROJECT = """
[build-system]
requires = ["hatchling"]
build-backend = "hatchling.build"
[project]
name = "{name}"
version = "{version}"
dependencies = {requires}
[tool.hatch.build.targets.wheel]
packages = ["{package}"]
dev-mode-dirs = ["."]
[tool.hatch.build.targets.wheel.force-include]
"LICENSE" = "{name}/compiled"
"""


@pytest.fixture
def checkout(tmp_path) -> Path:
    """A checkout of the same shape whose kernels need no compiler, with 0.1.0 in its .venv."""
    pin = [f"dilconv=={project('dilconv')['version']}"]
    for name, folder, package, requires in (
        ("denoiseq", tmp_path, "app/denoiseq", pin),
        ("dilconv", tmp_path / "kernels", "dilconv", []),
    ):
        values = {"name": name, "version": project(name)["version"]}
        (folder / package).mkdir(parents=True)
        (folder / package / "__init__.py").touch()
        (folder / "LICENSE").write_text("anyone")
        text = PROJECT.format(**values, package=package, requires=json.dumps(requires))
        (folder / "pyproject.toml").write_text(text)
    (tmp_path / "kernels" / "kernel.cpp").write_text("// one\n")
    (tmp_path / "constraints.txt").touch()
    shutil.copy(ROOT / "scripts" / "install.sh", tmp_path)
    names = ("denoiseq/__init__.py", "dilconv/__init__.py", "dilconv/compiled")
    make_wheel(tmp_path / "old", "denoiseq", "0.1.0", dict.fromkeys(names, ""))
    old = make_bare(tmp_path / ".venv")
    done = old.pip("install", *NO_INDEX, f"--find-links={tmp_path / 'old'}", "denoiseq")
    assert done.returncode == 0, done.stderr
    return tmp_path


def install(checkout: Path) -> str:
    """What install.sh says; pip finds no index and builds with the tools that are here."""
    script = "set -euo pipefail; source install.sh; install_denoiseq ."
    variables = {"PIP_NO_INDEX": "1", "PIP_NO_BUILD_ISOLATION": "0"}
    return succeed("bash", "-c", script, cwd=checkout, variables=variables)


def test_install_sh_takes_no_torch_of_an_active_environment():
    """A `.venv` made from its Python would not see it."""
    script = f"source scripts/install.sh; has_torch {sys.executable}"
    done = subprocess.run(["bash", "-c", script], cwd=ROOT)
    assert (done.returncode == 0) == (sys.prefix == sys.base_prefix)


@pytest.mark.slow
def test_install_sh_upgrades_from_the_single_distribution(checkout):
    said = install(checkout)
    assert "uninstalling the denoiseq of before 0.2.0" in said and "installing denoiseq" in said
    site = next((checkout / ".venv" / "lib").glob("python*/site-packages"))
    assert (site / "dilconv" / "compiled").read_text() == "anyone"
    listed = succeed(checkout / ".venv" / "bin" / "python", "-m", "pip", "list", "--format=json")
    versions = {item["name"]: item["version"] for item in json.loads(listed)}
    assert {name: versions[name] for name in PROJECTS} == {
        name: project(name)["version"] for name in PROJECTS
    }

    assert install(checkout) == ""
    (checkout / "app" / "denoiseq" / "new.py").touch()
    assert install(checkout) == "", "an edit of app/ asks for nothing"
    stamp = checkout / ".venv" / "denoiseq-installed"
    before = stamp.read_text()
    with (checkout / "pyproject.toml").open("a") as file:
        file.write("# edited\n")
    built = (site / "dilconv" / "compiled").stat().st_ctime_ns
    assert install(checkout) == "installing denoiseq into .venv\n"
    assert (site / "dilconv" / "compiled").stat().st_ctime_ns == built, "dilconv was built again"
    (checkout / "kernels" / "kernel.cpp").write_text("// two\n")
    assert install(checkout) == "installing denoiseq into .venv\n"
    assert (site / "dilconv" / "compiled").stat().st_ctime_ns > built
    assert stamp.read_text() != before
