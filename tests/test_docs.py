"""The README names what there is: every public name, command, option, environment variable and vendor."""

from __future__ import annotations

import importlib
import re
from pathlib import Path

import pytest

import eventtree
from eventtree import config
from eventtree.cli.main import main
from eventtree.vendors import VENDORS, vendor_class

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()


@pytest.mark.parametrize(
    "module", ["eventtree", *(f"eventtree.{name}" for name in ("langchain", "llama_index", "vendors", "testing"))]
)
def test_every_public_name_is_in_the_readme(module: str) -> None:
    names = importlib.import_module(module).__all__
    assert [name for name in names if not re.search(rf"(?<!\w){name}(?!\w)", README)] == []


@pytest.mark.parametrize("command", sorted(main.commands))
def test_every_command_and_option_is_in_the_readme(command: str) -> None:
    assert f"`eventtree {command}" in README
    for parameter in main.commands[command].params:
        for option in parameter.opts:
            if option.startswith("--"):
                assert option in README, option


@pytest.mark.parametrize("kind", VENDORS)
def test_every_vendor_is_in_the_readme_with_its_key_and_host(kind: str) -> None:
    vendor = vendor_class(kind)
    row = next(line for line in README.splitlines() if line.startswith(f"| `{kind}`"))
    assert f"`{vendor.__name__}`" in row
    assert f"`{vendor.env['api_key'][0]}`" in row
    assert f"`{vendor.env['base_url'][0]}`" in row


@pytest.mark.parametrize("name", sorted(set(re.findall(r"EVENTTREE_\w+", config.__doc__ or ""))))
def test_every_environment_variable_is_in_the_readme(name: str) -> None:
    assert f"`{name}`" in README


def test_every_setting_is_in_the_readme() -> None:
    assert [name for name in config.Settings.model_fields if f"`{name}`" not in README] == []


def test_the_version_has_a_changelog_entry() -> None:
    assert f"## [{eventtree.__version__}]" in (ROOT / "CHANGELOG.md").read_text()


def test_every_vendor_has_a_test_and_goldens() -> None:
    for kind in VENDORS:
        assert (ROOT / "tests" / "vendors" / f"test_{kind}.py").is_file()
        assert list((ROOT / "tests" / "vendors" / "golden" / kind).glob("*.json"))


@pytest.mark.parametrize("number", range(1, 29))
def test_every_fault_has_a_row_that_names_its_test(number: int) -> None:
    fault = f"F{number:02d}"
    row = next(line for line in README.splitlines() if line.startswith(f"| {fault} |"))
    name = re.findall(r"`(test_\w+)`", row)[0]
    assert name.startswith(f"test_{fault.lower()}_")
    assert any(re.search(rf"def {name}\(", path.read_text()) for path in (ROOT / "tests").rglob("test_*.py"))


REFERENCE = sorted((ROOT / "cookbook" / "reference").glob("*.md"))
TESTED = [page for page in REFERENCE if page.stem != "vendors"]
"""All but the page that is printed from tests/vendors/fields.py, and compared with it there."""
TESTS = set(re.findall(r"def (test_\w+)\(", "".join(path.read_text() for path in (ROOT / "tests").rglob("test_*.py"))))


@pytest.mark.parametrize("page", TESTED, ids=lambda page: page.stem)
def test_every_row_of_the_reference_names_its_test(page: Path) -> None:
    rows = [line for line in page.read_text().splitlines() if line.startswith("| ") and not line.endswith("| test |")]
    assert rows
    for row in rows:
        last = row.split("|")[-2]
        named = re.findall(r"`(test_\w+)`", last)
        assert named or "the same" in last, row
        assert set(named) <= TESTS, row


@pytest.mark.parametrize("name", config.Bounds.model_fields)
def test_every_bound_has_a_row_with_its_default_and_its_test(name: str) -> None:
    row = next(line for line in README.splitlines() if line.startswith(f"| `{name}` |"))
    default = config.Bounds.model_fields[name].default
    units = {"GiB": 1 << 30, "MiB": 1 << 20}
    said, _, unit = row.split("|")[2].strip().partition(" ")
    assert int(said.replace(",", "")) * units.get(unit, 1) == default
    test = re.findall(r"`(test_\w+)`", row)[0]
    assert any(f"def {test}(" in path.read_text() for path in (ROOT / "tests").rglob("test_*.py"))
