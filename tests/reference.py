"""The parts of the documentation that are tables of the code, written from the code.

`python -m tests.reference` rewrites them between their marks; a test says whether they are up to date.
"""

from __future__ import annotations

import ast
import inspect
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Literal, get_args, get_origin, get_type_hints

import click
from pydantic import BaseModel
from pydantic_core import PydanticUndefined

import eventtree
from eventtree import config, event
from eventtree.cli.main import main
from eventtree.delivery import report
from eventtree.tree import filter as tree_filter
from eventtree.usage.providers import FORMATS
from eventtree.vendors import VENDORS, Vendor, otlp_tables, vendor_class

ROOT = Path(__file__).parents[1]
PACKAGE = Path(eventtree.__file__).parent
REFERENCE = ROOT / "cookbook" / "reference"
PAGES = (ROOT / "README.md", ROOT / "integrations" / "README.md", *sorted(REFERENCE.glob("*.md")))
PART = re.compile(r"(?<=<!-- generated: )(\w+)( -->\n)(.*?)(?=<!-- end -->)", re.S)
"""What stands between the marks of a part."""

BOUND_TESTS = {
    "journal_bytes": "test_f18_a_journal_keeps_to_its_bytes_and_counts_what_it_leaves_out",
    "memory_bytes": "test_f18_a_journal_keeps_to_its_bytes_and_counts_what_it_leaves_out",
    "held_bytes": "test_what_a_refusing_disk_leaves_in_memory_is_bounded_and_counted",
    "kept_bytes": "test_settled_logs_go_by_size_and_by_age",
    "kept_days": "test_settled_logs_go_by_size_and_by_age",
    "open_runs": "test_open_runs_are_bounded_by_number_and_age",
    "open_hours": "test_open_runs_are_bounded_by_number_and_age",
    "value_bytes": "test_values_are_cut_to_the_bounds_marked_and_counted",
    "depth": "test_values_are_cut_to_the_bounds_marked_and_counted",
    "items": "test_values_are_cut_to_the_bounds_marked_and_counted",
    "nodes": "test_values_are_cut_to_the_bounds_marked_and_counted",
    "reply_bytes": "test_a_reply_is_read_up_to_the_bound_and_counted",
}
"""Bound → the test that goes beyond it."""

FOLDERS = (
    "own",
    *("langchain", "llama_index", "recording", "content", "journal", "tree", "usage", "pricing", "serializer"),
    *("vendors", "delivery", "query", "relay", "testing", "view", "cli", "demo"),
)
"""The folders of the package in the order in which an event meets them."""

MODELS = {
    "event": event.Event,
    "usage": event.Usage,
    "cost": event.Cost,
    "error": event.EventError,
    "note": event.Note,
    "report": report.Report,
    "totals": report.VendorTotals,
}
"""Part → the model whose fields it lists."""


def table(headings: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """A Markdown table whose columns are aligned, but for the last, which holds sentences."""
    lines = [[cell.replace("|", "\\|") for cell in row] for row in (tuple(headings), *rows)]
    wide = [max(len(row[at]) for row in lines) for at in range(len(lines[0]) - 1)]
    lines.insert(1, ["-" * width for width in [*wide, 3]])
    return "".join(f"| {' | '.join([*map(str.ljust, row, wide), row[-1]])} |\n" for row in lines)


BASES = (BaseModel, event.Light)


@cache
def docstrings(model: type[BaseModel | event.Light]) -> Mapping[str, str]:
    """What stands below each field of a class and its bases, on one line."""
    found: dict[str, str] = {}
    for cls in reversed([cls for cls in model.__mro__ if issubclass(cls, BASES) and cls not in BASES]):
        (body,) = (node.body for node in ast.parse(inspect.getsource(cls)).body if isinstance(node, ast.ClassDef))
        for field, below in pairwise(body):
            if isinstance(field, ast.AnnAssign) and isinstance(below, ast.Expr):
                found[ast.unparse(field.target)] = " ".join(ast.literal_eval(below.value).split())
    return found


def fields_of(model: type[BaseModel | event.Light]) -> str:
    """The fields of a model, with their types as they are written."""
    written = inspect.get_annotations(model)
    rows = []
    for name, field in model.model_fields.items():
        kind = (
            written[name]
            .replace("JsonValue", "JSON")
            .replace("Tokens", "int")
            .replace("Moment", "datetime")
            .replace(" | None", "")
        )
        if not field.exclude:
            rows.append((f"`{name}`", kind, docstrings(model).get(name, "")))
    return table(("field", "type", "what it is"), rows)


def settings() -> str:
    """The settings of a handler."""
    named = {field: config.variable(field) for field in config.FROM_ENVIRONMENT}
    return table(
        ("setting", "environment", "default", "what it does"),
        (
            (
                f"`{name}`",
                code(named.get(name, "")),
                default_of(config.Settings, name),
                docstrings(config.Settings)[name],
            )
            for name in config.Settings.model_fields
        ),
    )


def bounds() -> str:
    """The bounds, with the test of each."""
    return table(
        ("bound", "default", "what it bounds", "test"),
        (
            (f"`{name}`", amount(name), docstrings(config.Bounds)[name], f"`{BOUND_TESTS[name]}`")
            for name in config.Bounds.model_fields
        ),
    )


def amount(bound: str) -> str:
    """A default in the largest unit that leaves it whole."""
    default = config.Bounds.model_fields[bound].default
    for unit, size in (("GiB", 1 << 30), ("MiB", 1 << 20)):
        if bound.endswith("_bytes") and default % size == 0:
            return f"{default // size:,} {unit}"
    return f"{default:,}"


def default_of(model: type[BaseModel], name: str) -> str:
    """The default of a setting as a user would write it; nothing where there is none."""
    default = model.model_fields[name].default
    if default is PydanticUndefined or default in (None, "", ()) or isinstance(default, BaseModel):
        return ""
    if isinstance(default, bool):
        return "on" if default else "off"
    return code(default)


def code(value: object) -> str:
    """A value as code, nothing as nothing."""
    return f"`{value}`" if value != "" else ""


def vendors() -> str:
    """The vendors: class, key, host."""
    rows = []
    for kind in VENDORS:
        vendor = vendor_class(kind)
        names = [", ".join(map(code, vendor.env.get(setting, ()))) for setting in ("api_key", "base_url")]
        rows.append((f"`{kind}`", f"`{vendor.__name__}`", *names, f"`{vendor.default_url}`"))
    return table(("vendor", "class", "key", "host", "default host"), rows)


def vendor_settings() -> str:
    """The settings that each vendor has beside the key, the host and the name."""
    return table(
        ("class", "setting", "environment", "default", "what it does"),
        (row for kind in VENDORS for row in _own(vendor_class(kind))),
    )


def _own(vendor: type[Vendor]) -> Iterator[tuple[str, ...]]:
    for name in [name for name in vendor.model_fields if name not in Vendor.model_fields]:
        environment = ", ".join(map(code, vendor.env.get(name, ())))
        what = " ".join(filter(None, (choices(vendor, name), docstrings(vendor).get(name, ""))))
        yield f"`{vendor.__name__}`", f"`{name}`", environment, default_of(vendor, name), what


def choices(model: type[BaseModel], name: str) -> str:
    """The values that a field may have, where they are few."""
    kind = get_type_hints(model)[name]
    if get_origin(kind) is not Literal:
        return ""
    return f"{' or '.join(code(choice) for choice in get_args(kind))}."


ANY = "any"
DROPS = {
    "internal": (ANY, "Nothing: a framework's plumbing, which vendors don't get."),
    "no_place": (
        "any",
        "Nothing: this vendor has no field for such events: see [vendors](vendors.md).",
    ),
    "sampled": (
        "any",
        "Nothing, or raise `sample_rate` or let `keep` choose more. A replay sends what `keep` left out.",
    ),
    "by_user": (ANY, "Nothing: `eventtree clear` or `eventtree dead --drop` deleted it before it was sent."),
    "late": (ANY, "End what a tree begins before its root ends: this vendor takes nothing for a tree that it has."),
    "damaged": (ANY, "Look to the disk: the lines of the log that held these events cannot be read."),
    "journal_full": (
        "any",
        "The journal had no room for the tree: raise `journal_bytes`, or see why nothing goes out.",
    ),
    "memory_full": (
        "any",
        "The journal in memory had no room for the tree: raise `memory_bytes`, or use a disk.",
    ),
    "rejected": ("`otlp`", "Read the backend's words in the log: it took the request but for these spans."),
}
"""Reason → the vendor that has it, and what to do; what a vendor itself has a hint for comes from its class."""


def drops() -> str:
    """Every reason for which an event is dropped."""
    own = [(reason, f"`{kind}`", hint) for kind in VENDORS for reason, hint in vendor_class(kind).drop_hints.items()]
    known = [(reason, vendor, what) for reason, (vendor, what) in DROPS.items()]
    return table(("reason", "vendor", "what to do"), ((f"`{name}`", who, what) for name, who, what in known + own))


def otlp_rows(*tables: otlp_tables.Table) -> str:
    """Attributes, and the field that each is made of."""
    rows: dict[str, list[str]] = {}
    for row in (row for table in tables for row in table):
        fields = rows.setdefault(row.attribute, [])
        fields += [row.field] if row.field not in fields else []
    return table(("attribute", "from"), ((f"`{name}`", ", ".join(map(code, fields))) for name, fields in rows.items()))


def providers() -> str:
    """For each provider's way of writing usage: which figure is read from which fields."""
    parts = []
    for written in FORMATS:
        rows = [(figure.replace("_", " "), ", ".join(paths(where))) for figure, where in written.reads.items()]
        parts.append(f"\n## {written.name}\n\n{table(('figure', 'read from'), rows)}")
    return "".join(parts) + "\n"


def paths(where: str) -> Iterator[str]:
    """The alternatives of a path as code."""
    for path in where.split(" | "):
        yield f"`{path}`"


def filter_words() -> str:
    """The words of a filter, as its module's docstring lists them."""
    lines = re.split(r"^=+ +=+$\n", tree_filter.__doc__ or "", flags=re.M)[2].splitlines()
    cells = (re.split(r"  +(?=\S+ )", line, maxsplit=1) for line in lines)
    return table(("word", "chooses trees"), ((word if "else" in word else f"`{word}`", what) for word, what in cells))


def commands() -> str:
    """The help of every command, as a terminal of 100 columns shows it."""
    found = []
    above = click.Context(main, info_name="eventtree", **main.context_settings)
    for name in main.list_commands(above):
        command = main.commands[name]
        context = click.Context(command, above, name, terminal_width=100, max_content_width=100)
        text = "\n".join(line.rstrip() for line in command.get_help(context).splitlines())
        found.append(f"## eventtree {name}\n\n```text\n{text}\n```\n")
    return "\n".join(found)


def folders() -> str:
    """The folders of the package, with the first sentence of each."""
    names = sorted((path.parent.name for path in PACKAGE.glob("*/__init__.py")), key=FOLDERS.index)
    rows = ((f"`eventtree/{name}/`", begins(PACKAGE / name / "__init__.py")) for name in names)
    return table(("folder", "what it is"), rows)


def files() -> str:
    """The files beside the folders, with the first sentence of each."""
    rows = ((f"`eventtree/{path.name}`", begins(path)) for path in sorted(PACKAGE.glob("*.py")))
    return table(("file", "what it is"), rows)


def begins(path: Path) -> str:
    """The first paragraph of a module's docstring."""
    return " ".join((ast.get_docstring(ast.parse(path.read_text())) or "").split("\n\n")[0].split())


def demo(shown: str) -> str:
    """What `eventtree demo` prints of the chain's run and of the vendors; `shown`, if only figures differ."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "eventtree", "demo", "--out", folder]
        printed = excerpt(subprocess.run(command, capture_output=True, text=True, timeout=120, check=True).stdout)
    return shown if shape(shown) == shape(printed) else printed


def shape(drawn: str) -> list[str]:
    """What is drawn, without figures and columns: times, ids and counts of requests differ from run to run."""
    return [re.sub(r" +", " ", re.sub(r"[0-9a-f-]{36}|\$?[\d.,]+( m?s\b)?", "0", line)) for line in drawn.splitlines()]


def excerpt(printed: str) -> str:
    """The chain's tree and the vendors' sums, as a block."""
    chain = printed[printed.index("LangChain chain\n") : printed.index("\n\nLangGraph")]
    sums = "".join(re.findall(rf"^(?:vendor|{'|'.join(VENDORS)}) .*\n", printed, re.M))
    lines = "\n".join(line.rstrip() for line in f"{chain}\n…\n{sums}".splitlines())
    return f"```text\n{lines}\n```\n"


PARTS: Mapping[str, Callable[[], str]] = {
    "settings": settings,
    "bounds": bounds,
    "vendors": vendors,
    "vendor_settings": vendor_settings,
    "providers": providers,
    "commands": commands,
    "filter": filter_words,
    "drops": drops,
    "otlp_genai": lambda: otlp_rows(otlp_tables.ABOUT, otlp_tables.GENAI),
    "otlp_openinference": lambda: otlp_rows(otlp_tables.OPENINFERENCE),
    "otlp_more": lambda: otlp_rows(otlp_tables.LANGFUSE, otlp_tables.LANGSMITH, otlp_tables.MLFLOW),
    "folders": folders,
    "files": files,
    **{name: (lambda model=model: fields_of(model)) for name, model in MODELS.items()},
}
"""Name of a part → what makes it. The demo, whose times differ from run to run, is written apart."""


def rewritten(text: str) -> str:
    """A page with the parts that are made of the code as they should be."""
    return PART.sub(lambda part: part[1] + part[2] + (PARTS[part[1]]() if part[1] in PARTS else part[3]), text)


if __name__ == "__main__":
    for page in PAGES:
        page.write_text(rewritten(page.read_text()))
    readme = PAGES[0].read_text()
    PAGES[0].write_text(
        PART.sub(lambda part: part[1] + part[2] + (demo(part[3]) if part[1] == "demo" else part[3]), readme)
    )
