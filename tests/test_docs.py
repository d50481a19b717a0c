"""The README and the reference name what there is, and what they name is there."""

from __future__ import annotations

import ast
import importlib
import re
import tomllib
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

import click
import pytest
from packaging.specifiers import SpecifierSet

import eventtree
from eventtree import config
from eventtree.cli.main import main
from eventtree.delivery import report
from eventtree.usage.providers import FORMATS, ProviderFormat
from eventtree.vendors import VENDORS, vendor_class
from tests import reference
from tests.reference import FOLDERS, PACKAGE, PAGES, REFERENCE, ROOT

README = (ROOT / "README.md").read_text()
MAP = (ROOT / "integrations" / "README.md").read_text()
DOCS = "\n".join((README, *(path.read_text() for path in sorted(REFERENCE.glob("*.md")))))
COMMANDS = main.list_commands(click.Context(main))
FAULTS = (REFERENCE / "faults.md").read_text()
TESTS = {name for path in ROOT.glob("tests/**/test_*.py") for name in re.findall(r"def (test_\w+)", path.read_text())}


def tables(text: str) -> Iterator[tuple[list[str], list[list[str]]]]:
    """Each table of a page: its headings, and the cells of its rows."""
    for block in re.findall(r"(?:^\|.*\n)+", text, re.M):
        headings, _, *rows = ([cell.strip() for cell in line.split("|")[1:-1]] for line in block.splitlines())
        yield headings, rows


def row_of(first: str, text: str = DOCS) -> str:
    """The row of a table that begins with a cell."""
    return next(line for line in text.splitlines() if re.match(rf"\| {re.escape(first)} +\|", line))


@pytest.mark.parametrize(
    "module",
    ["eventtree", *(f"eventtree.{name}" for name in ("langchain", "llama_index", "vendors", "testing", "view"))],
)
def test_every_public_name_is_in_the_documentation(module: str) -> None:
    names = importlib.import_module(module).__all__
    assert [name for name in names if not re.search(rf"(?<!\w){name}(?!\w)", DOCS)] == []


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_is_in_the_readme_and_every_option_in_its_page(command: str) -> None:
    assert f"`eventtree {command}" in README
    page = (REFERENCE / "cli.md").read_text()
    for parameter in main.commands[command].params:
        for option in parameter.opts:
            if option.startswith("--"):
                assert option in page, option


@pytest.mark.parametrize("command", COMMANDS)
def test_the_help_of_every_command_and_option_is_a_sentence(command: str) -> None:
    options = [each for each in main.commands[command].params if isinstance(each, click.Option)]
    texts = [main.commands[command].help, *(option.help for option in options)]
    assert [text for text in texts if not re.fullmatch(r"[A-Z]\S* .*\.", (text or "").strip(), re.S)] == []


@pytest.mark.parametrize("kind", VENDORS)
def test_every_vendor_is_in_the_reference_with_its_key_and_host(kind: str) -> None:
    vendor = vendor_class(kind)
    row = row_of(f"`{kind}`")
    assert f"`{vendor.__name__}`" in row
    assert f"`{vendor.env['api_key'][0]}`" in row
    assert f"`{vendor.env['base_url'][0]}`" in row


@pytest.mark.parametrize("name", sorted(set(re.findall(r"EVENTTREE_\w+", Path(config.__file__).read_text()))))
def test_every_environment_variable_is_in_the_documentation(name: str) -> None:
    assert f"`{name}`" in DOCS


def test_every_setting_is_in_the_documentation_and_says_what_it_does() -> None:
    assert [name for name in config.Settings.model_fields if f"`{name}`" not in DOCS] == []
    assert config.Settings.model_fields.keys() <= reference.docstrings(config.Settings).keys()


@pytest.mark.parametrize("kind", VENDORS)
def test_every_setting_of_a_vendor_says_what_it_does(kind: str) -> None:
    vendor = vendor_class(kind)
    assert vendor.model_fields.keys() - reference.docstrings(vendor).keys() == set()


def test_the_version_has_a_changelog_entry() -> None:
    assert f"## [{eventtree.__version__}]" in (ROOT / "CHANGELOG.md").read_text()


def test_every_vendor_has_a_test_and_goldens() -> None:
    for kind in VENDORS:
        assert (ROOT / "tests" / "vendors" / f"test_{kind}.py").is_file()
        assert list((ROOT / "tests" / "vendors" / "golden" / kind).glob("*.json"))


FAULT_ROWS = {match[1]: match[0] for match in re.finditer(r"^\| (F\d\d) +\|.*$", FAULTS, re.M)}


@pytest.mark.parametrize("fault", FAULT_ROWS)
def test_every_fault_has_a_row_that_names_its_test(fault: str) -> None:
    name = re.findall(r"`(test_\w+)`", FAULT_ROWS[fault])[0]
    assert name.startswith(f"test_{fault.lower()}_")
    assert name in TESTS


def test_the_faults_are_numbered_in_order_and_each_that_is_tested_has_a_row() -> None:
    tested = {number.upper() for name in TESTS for number in re.findall(r"(?<=_)f\d\d(?=_)", name)}
    assert list(FAULT_ROWS) == sorted(FAULT_ROWS)
    assert len(FAULT_ROWS) >= 28
    assert tested - FAULT_ROWS.keys() == set()
    assert set(re.findall(r"^\| (F\d\d) ", README, re.M)) <= FAULT_ROWS.keys()


@pytest.mark.parametrize("name", config.Bounds.model_fields)
def test_every_bound_has_a_row_with_its_default_and_its_test(name: str) -> None:
    row = row_of(f"`{name}`")
    default = config.Bounds.model_fields[name].default
    units = {"GiB": 1 << 30, "MiB": 1 << 20}
    figure, _, unit = row.split("|")[2].strip().partition(" ")
    assert int(figure.replace(",", "")) * units.get(unit, 1) == default
    assert re.findall(r"`(test_\w+)`", row)[0] in TESTS


@pytest.mark.parametrize("provider", FORMATS, ids=lambda provider: provider.name)
def test_the_reference_names_the_fields_of_every_provider(provider: ProviderFormat) -> None:
    """A table says which provider fields are understood."""
    page = (REFERENCE / "usage.md").read_text()
    (section,) = re.findall(rf"^## {provider.name}\n(.*?)(?=^## |<!--)", page, re.M | re.S)
    for figure, paths in provider.reads.items():
        row = row_of(figure.replace("_", " "), section)
        assert [path for path in paths.split(" | ") if f"`{path}`" not in row] == []


@pytest.mark.parametrize("page", sorted(REFERENCE.glob("*.md")), ids=lambda path: path.stem)
def test_every_row_of_a_table_with_tests_names_tests_that_exist(page: Path) -> None:
    rows = [row for headings, rows in tables(page.read_text()) if headings[-1] == "test" for row in rows]
    assert [row for row in rows if "`test_" not in row[-1] and "the same" not in row[-1]] == []
    assert {name for row in rows for name in re.findall(r"`(test_\w+)`", row[-1])} - TESTS == set()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_what_is_generated_is_up_to_date(page: Path) -> None:
    """Else: `python -m tests.reference`."""
    assert page.read_text() == reference.rewritten(page.read_text())
    assert [part[1] for part in reference.PART.finditer(page.read_text()) if not part[3].strip()] == []


def test_every_part_that_can_be_generated_stands_somewhere() -> None:
    parts = [part[1] for page in PAGES for part in reference.PART.finditer(page.read_text())]
    assert sorted(parts) == sorted([*reference.PARTS, "demo"])


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_every_link_leads_somewhere(page: Path) -> None:
    text = re.sub(r"^```.*?^```", "", page.read_text(), flags=re.M | re.S)
    for link in re.findall(r"\]\((?!https://)([^)]+)\)", text):
        path, _, anchor = link.partition("#")
        target = page.parent / path if path else page
        assert target.exists(), link
        if anchor:
            headings = re.findall(r"^#+ (.*)$", target.read_text(), re.M)
            assert anchor in [re.sub(r"[^\w -]", "", heading).lower().replace(" ", "-") for heading in headings]


def test_every_path_of_the_map_exists() -> None:
    paths = re.findall(r"`((?:eventtree|tests|cookbook|\.ci)/[\w./]+)`", MAP)
    assert len(paths) > 40
    assert [path for path in paths if not ((ROOT / "integrations" / path).exists() or (ROOT / path).exists())] == []


def test_every_folder_and_every_file_of_the_root_is_on_the_map() -> None:
    folders = {path.parent.name for path in PACKAGE.glob("*/__init__.py")}
    assert folders == set(FOLDERS)
    assert [name for name in folders if f"`eventtree/{name}/`" not in MAP] == []
    assert [path.name for path in PACKAGE.glob("*.py") if f"`eventtree/{path.name}`" not in MAP] == []


@pytest.mark.parametrize("folder", FOLDERS)
def test_every_file_that_a_folder_says_it_has_is_there(folder: str) -> None:
    doc = ast.get_docstring(ast.parse((PACKAGE / folder / "__init__.py").read_text())) or ""
    assert [name for name in re.findall(r"^(\w+\.py) ", doc, re.M) if not (PACKAGE / folder / name).exists()] == []


LOGS = re.compile(r"(^|\.)(logger\.(warning|error|info)|warn_once)$")
"""Calls that write a line to the log."""
HOW_TO = (REFERENCE / "howto.md").read_text()
TROUBLES = [
    re.split(r" … ", row[0].strip("`")) for headings, rows in tables(HOW_TO) if "log" in headings[0] for row in rows
]


def log_lines() -> Iterator[str]:
    """Every text that the package logs, with its places filled by a blank."""
    for path in sorted(PACKAGE.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and LOGS.search(ast.unparse(node.func)):
                at = 1 if ast.unparse(node.func).endswith("warn_once") else 0
                pieces = (one.value for one in ast.walk(node.args[at]) if isinstance(one, ast.Constant))
                text = " ".join(piece for piece in pieces if isinstance(piece, str))
                if re.search("[a-z] [a-z]", text):
                    yield text


@pytest.mark.parametrize("line", sorted(set(log_lines())))
def test_every_line_of_the_log_has_a_row_that_says_what_to_do(line: str) -> None:
    plain = " ".join(re.sub(r"%[sd]", " ", line).split())
    assert any(all(part in plain for part in parts) for parts in TROUBLES), line


@pytest.mark.parametrize("name", [*report.VendorTotals.model_fields, *report.Report.model_fields])
def test_every_word_of_a_report_has_a_row_that_says_what_to_do(name: str) -> None:
    said_elsewhere = {"name", "fingerprint", "accepted", "delivered", "feedback", "journal", "events", "vendors"}
    assert name in said_elsewhere or f"`{name}`" in HOW_TO


def test_the_table_of_what_was_tested_is_what_the_package_says_of_itself() -> None:
    (tested,) = [dict(rows) for headings, rows in tables(HOW_TO) if headings[-1] == "tested with"]
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    said = [line.split(" :: ") for line in project["classifiers"]]
    assert re.findall(r"3\.\d+", tested["Python"]) == [path[-1] for path in said if path[1:2] == ["Python"]]
    assert tested["systems"].split(", ") == [path[-1] for path in said if path[0] == "Operating System"]
    for row, package, extra in (
        ("LangChain", "langchain-core", "langchain"),
        ("LangChain", "langgraph", "all"),
        ("LlamaIndex", "llama-index-core", "llama-index"),
    ):
        (allowed,) = [one for one in project["optional-dependencies"][extra] if re.match(rf"{package}[<>=]", one)]
        (versions,) = re.findall(rf"{package} ([\d., ]*\d)", tested[row], re.I)
        assert all(SpecifierSet(allowed.removeprefix(package)).contains(one) for one in versions.split(", "))
        assert ".".join(version(package).split(".")[:2]) in versions.split(", ")


def test_every_command_has_its_help_on_the_page() -> None:
    page = (REFERENCE / "cli.md").read_text()
    assert [name for name in COMMANDS if f"## eventtree {name}\n" not in page] == []
