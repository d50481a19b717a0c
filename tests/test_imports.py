"""The house stands: imports point one way, and importing the package is cheap."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import eventtree

SOURCE = Path(eventtree.__file__).parent

LAYERS = [
    {
        *("errors", "event", "kinds", "loop", "pace", "record", "diagnostics", "process", "remembered", "trace"),
        *("summary", "terminal", "notebook"),
    },
    {"config"},
    {"content"},
    {"journal"},
    {"usage"},
    {"pricing"},
    {"tree"},
    {"serializer"},
    {"vendors"},
    {"delivery"},
    {"query", "relay"},
    {"recording"},
    {"langchain", "llama_index", "own", "asgi"},
    {"testing", "view"},
    {"cli", "demo", "pytest_plugin", "__main__"},
]
"""Each may import its own layer and those above it in this list."""
LEVEL = {name: level for level, names in enumerate(LAYERS) for name in names}


def imports_of(path: Path) -> set[str]:
    """Top-level parts of eventtree that a file imports, late imports too; those only for type checkers left out."""
    tree = ast.parse(path.read_text())
    checking = [
        node for node in ast.walk(tree) if isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING")
    ]
    hidden = {id(inner) for node in checking for inner in ast.walk(node)}
    found = set()
    for node in ast.walk(tree):
        if id(node) in hidden:
            continue
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("eventtree."):
            found.add(node.module.split(".")[1])
        elif isinstance(node, ast.Import):
            found |= {alias.name.split(".")[1] for alias in node.names if alias.name.startswith("eventtree.")}
    return found


def part_of(path: Path) -> str:
    return path.relative_to(SOURCE).parts[0].removesuffix(".py")


def test_every_part_has_a_layer() -> None:
    parts = {part_of(path) for path in SOURCE.rglob("*.py")} - {"__init__"}
    assert parts == set(LEVEL)


def test_imports_point_one_way() -> None:
    wrong = [
        f"{path.relative_to(SOURCE)} imports {name}"
        for path in SOURCE.rglob("*.py")
        if part_of(path) != "__init__"
        for name in imports_of(path)
        if LEVEL.get(name, 0) > LEVEL[part_of(path)]
    ]
    assert not wrong


def test_the_server_of_tests_knows_nothing_of_our_vendors() -> None:
    files = [*(SOURCE / "testing" / "rules").rglob("*.py"), SOURCE / "testing" / "server.py"]
    assert not [path for path in files if "vendors" in imports_of(path)]


def test_only_one_file_knows_httpx() -> None:
    knowing = [path for path in SOURCE.rglob("*.py") if "import httpx" in path.read_text()]
    assert [path.relative_to(SOURCE).as_posix() for path in knowing] == ["delivery/http.py"]


def loaded_by(statement: str, parts: int = 1) -> set[str]:
    """The modules that a fresh interpreter has loaded after a statement, named by so many parts at most."""
    code = (
        f"{statement}; import sys; print(' '.join(sorted(name for name in sys.modules if name.count('.') < {parts})))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


HEAVY = {"httpx", "httpx2", "genai_prices", "langchain_core", "llama_index", "llama_index_instrumentation", "rich"}


def test_importing_the_package_loads_nothing_heavy() -> None:
    assert not loaded_by("import eventtree") & {*HEAVY, "pydantic"}


EAGER = "from langchain_core.callbacks import BaseCallbackHandler"
LATE = {
    "eventtree.cli", "eventtree.delivery", "eventtree.event", "eventtree.journal.files", "eventtree.pricing.pricer",
    "eventtree.vendors", "eventtree.serializer", "eventtree.tree.builder", "eventtree.usage.normalize", "filelock",
    "genai_prices", "httpx", "httpcore", "platformdirs", "rich", "click", "langchain_core.outputs",
    "langchain_core.tracers", "langgraph",
}  # fmt: skip
"""What recording needs only once there is a handler, or not at all: an import of the way in leaves it where it is."""


def test_importing_the_langchain_way_in_loads_what_its_callbacks_need_and_no_more() -> None:
    assert not loaded_by(f"{EAGER}; import eventtree.langchain", parts=3) & LATE


def test_the_way_in_builds_no_schema_before_there_is_a_handler() -> None:
    """Building the models of settings and events takes longer than importing all the rest."""
    code = (
        "import eventtree.langchain, eventtree.config as c, eventtree.event as e\n"
        "models = [c.Settings, c.Bounds, e.Event, e.EventTree, e.Usage, e.Cost]\n"
        "assert not [one for one in models if one.__pydantic_complete__]\n"
        "eventtree.langchain.CallbackHandler(journal=':memory:', vendors=[])\n"
        "assert [one for one in models if one.__pydantic_complete__][:1] == [c.Settings]\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_importing_settings_and_vendors_loads_no_framework_and_no_http() -> None:
    statement = (
        "import eventtree; eventtree.flush; eventtree.configure; from eventtree.vendors import HoneyHive, Nebuly"
    )
    assert not loaded_by(statement) & HEAVY


def test_the_llama_index_pipeline_does_not_load_llama_index_core() -> None:
    assert "llama_index" not in loaded_by("import eventtree.llama_index")


def test_the_public_names_are_there() -> None:
    assert sorted(eventtree.__all__) == eventtree.__all__ or set(eventtree.__all__)
    for name in eventtree.__all__:
        assert getattr(eventtree, name) is not None
