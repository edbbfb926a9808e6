"""What README and docs promise: the example runs, commands exist and parse, files are there."""

import re
import shlex
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).parent.parent
PAGES = ("README.md", "docs/machines.md", "docs/remedies.md", "docs/sets.md", "docs/use.md")
TEXT = {page: (ROOT / page).read_text(encoding="utf-8") for page in PAGES}
README = TEXT["README.md"]
WRITTEN = ("runs/", "RUN/")  # in run directories


def code_of(text: str) -> list[str]:
    """What stands in backticks, and the lines of blocks of code."""
    parts = text.split("```")
    blocks = [block.replace("\\\n", " ") for block in parts[1::2]]
    lines = [line for block in blocks for line in block.splitlines()[1:]]
    return [span for part in parts[::2] for span in re.findall(r"`([^`]+)`", part)] + lines


def anchors_of(page: Path) -> set[str]:
    """What its headings are linked by."""
    heads = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), flags=re.M)
    return {re.sub(r"[^\w -]", "", head.lower()).replace(" ", "-") for head in heads}


def test_the_library_example_runs_as_printed():
    code = re.search(r"```python\n(.*?)```", README, flags=re.S)[1]
    names: dict = {}
    exec(compile(code, "README.md", "exec"), names)
    assert names["bound"].shape == (2,)
    # 500 importance samples give a tighter bound than the ELBO, in expectation.
    assert np.mean(names["bound"]) >= np.mean(names["terms"].elbo) - 0.1


@pytest.mark.parametrize("page", PAGES)
def test_every_module_and_file_that_is_named_exists(page):
    for module in set(re.findall(r"python -m ((?:jvae|benchmarks)[\w.]+)", TEXT[page])):
        assert (ROOT / (module.replace(".", "/") + ".py")).exists(), module
    for path in set(re.findall(r"[\w/.]+/[\w/]+\.(?:py|png|md|json|ipynb)\b", TEXT[page])):
        if not path.startswith((*WRITTEN, "/")):
            places = (ROOT, (ROOT / page).parent)
            assert any((place / path).exists() for place in places), path


@pytest.mark.parametrize("page", PAGES)
def test_every_link_leads_somewhere(page):
    links = re.findall(r"\]\(([^)\s]*)\)", TEXT[page].replace("\n", ""))
    own = [link for link in links if not link.startswith("https:")]
    assert own
    for link in own:
        path, _, anchor = link.partition("#")
        target = (ROOT / page).parent / path if path else ROOT / page
        assert target.exists(), link
        assert not anchor or anchor in anchors_of(target), link


def test_every_command_line_of_the_console_script_parses():
    from jvae.experiments.cli import _parser

    found = [
        match
        for text in TEXT.values()
        for code in code_of(text)
        for match in re.findall(r"\bjvae ([\w-]+ (?:RUN|runs/\w+)\b[^|#]*)", code)
    ]
    assert len(found) >= 20
    for command in found:
        try:
            _parser().parse_args(shlex.split(command))
        except SystemExit:
            raise AssertionError(f"jvae {command}") from None


def test_the_keys_of_the_numbers_are_those_of_the_results():
    section = README.split("\n## What the numbers mean\n")[1].split("\n## ")[0]
    rows = [line.split(" | ")[1] for line in section.splitlines() if line.startswith("| ")][1:]
    keys = {key for row in rows for key in re.findall(r"`([\w.]+)`", row)}
    assert {"iw_nll", "mi_batch.value", "mmd.value", "shuffled_rec"} <= keys
    source = (ROOT / "jvae/evaluation/evaluate.py").read_text(encoding="utf-8")
    of_sets = {"vectors"}  # named by the posterior
    assert all(f'"{key.partition(".")[0]}"' in source for key in keys - of_sets), keys


@pytest.mark.parametrize("page", PAGES)
def test_no_placeholder_is_left(page):
    assert "@@" not in TEXT[page]
    assert "TODO" not in TEXT[page]
