"""Imports point downward only, and what serves every task knows no task's words."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "jvae"
# The lowest first. Modules of one row do not import each other.
LAYERS = (
    ("types", "errors", "capabilities", "terminal"),
    ("files", "random", "configs", "batch"),
    ("components", "data", "distributions", "plots"),
    ("layers",),
    ("model",),
    ("estimators", "posteriors"),
    ("priors", "objectives"),
    ("encoders", "decoders", "remedies", "generation"),
    ("training", "evaluation"),
    ("runs",),
    ("tasks",),
    ("compare", "api"),
    ("commands", "estimator"),
    ("experiments",),
)
RANK = {layer: rank for rank, row in enumerate(LAYERS) for layer in row}
# absl loads this file by its path: nothing in runs/ imports it.
UPWARD = {("jvae.runs.saved_config", "tasks")}

# Only what all kinds of observations have may be named in these.
NEUTRAL = ("objectives", "training", "runs", "evaluation/evaluate.py")
# Also as a part of a name, such as `vocab_size`; not `int.bit_length` and `enable`.
WORDS = re.compile(
    r"(?<![a-z])(?<!bit_)(tokens?|lengths?|vocab|label|pixels?)(?![a-z])", re.IGNORECASE
)


def module_of(path: Path) -> str:
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imported(node: ast.AST) -> Iterator[str]:
    """Names of jvae's modules that are imported below a node, in functions, too."""
    if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
        for other in node.orelse:
            yield from imported(other)
        return
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names if alias.name.split(".")[0] == "jvae")
    elif isinstance(node, ast.ImportFrom):
        assert node.level == 0 and node.module is not None, "imports name their whole path"
        if node.module == "jvae":
            yield from (f"jvae.{alias.name}" for alias in node.names)
        elif node.module.startswith("jvae."):
            yield node.module
    for child in ast.iter_child_nodes(node):
        yield from imported(child)


def wrong(module: str, code: str) -> list[str]:
    """What is wrong with a module's imports."""
    layer, found = module.split(".")[1], []
    for name in imported(ast.parse(code)):
        other = name.split(".")[1] if "." in name else "all of jvae"
        if other == layer or (module, other) in UPWARD:
            continue
        if RANK.get(other, len(LAYERS)) >= RANK[layer]:
            found.append(f"{module} imports {name}, which is not below {layer}")
    return found


FILES = [path for path in sorted(PACKAGE.rglob("*.py")) if path.parent != PACKAGE]
FILES += [path for path in sorted(PACKAGE.glob("*.py")) if path.name != "__init__.py"]


def test_every_module_has_its_layer():
    assert {module_of(path).split(".")[1] for path in FILES} == set(RANK)


def test_imports_point_downward():
    found = [text for path in FILES for text in wrong(module_of(path), path.read_text("utf-8"))]
    assert not found, "\n".join(found)


@pytest.mark.parametrize(
    ("module", "code"),
    [
        ("jvae.model", "from jvae.runs.run import run"),
        ("jvae.encoders.lstm", "from jvae import decoders"),
        ("jvae.runs.run", "def act():\n    from jvae.tasks import get_task"),
        ("jvae.training.loop", "import jvae.evaluation.evaluate"),
        ("jvae.layers.lstm", "import jvae"),
        ("jvae.data.split", "if TYPE_CHECKING:\n    x = 1\nelse:\n    import jvae.model"),
    ],
)
def test_an_import_that_points_upward_is_seen(module, code):
    assert len(wrong(module, code)) == 1


def test_imports_for_types_alone_do_not_count():
    assert wrong("jvae.model", "if TYPE_CHECKING:\n    from jvae.runs.run import run") == []


def test_what_serves_every_task_has_no_words_of_one():
    assert WORDS.search("def f(vocab_size):") and WORDS.search("the Tokens are")
    assert not WORDS.search("number.bit_length()") and not WORDS.search("available, labelled")
    roots = [PACKAGE / name for name in NEUTRAL]
    files = [path for root in roots for path in (root.rglob("*.py") if root.is_dir() else [root])]
    assert len(files) > 20
    found = [
        f"{path.relative_to(PACKAGE)}, line {number}: {line.strip()}"
        for path in files
        for number, line in enumerate(path.read_text("utf-8").splitlines(), start=1)
        if WORDS.search(line)
    ]
    assert not found, "\n".join(found)
