"""The pages of remedies and of sets: their configurations are accepted, or refused, as they say."""

import re
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

from jvae.compare.methods import all_bounds
from jvae.components import check
from jvae.configs import flat
from jvae.errors import UserError
from jvae.experiments import nvib
from jvae.tasks.text.config import TEXT_GROUPS, default_config
from jvae.tasks.text.methods import METHODS, TEXT_METHODS

ROOT = Path(__file__).parents[3]
README = (ROOT / "README.md").read_text(encoding="utf-8")
OVERVIEW = (ROOT / "docs" / "remedies.md").read_text(encoding="utf-8")
FAMILIES = {
    path.name: path.read_text(encoding="utf-8")
    for path in sorted((ROOT / "docs" / "remedies").glob("*.md"))
}
DOCS = "\n".join([OVERVIEW, *FAMILIES.values()])
SETS = (ROOT / "docs" / "sets.md").read_text(encoding="utf-8")
SPAN = re.compile(r"`([^`]+)`")
FIELD = r"(\w+(?:\.\w+)+)=([^\s`]*)"
FLAG = re.compile(rf"--config\.{FIELD}")
KNOWN = dict(flat(default_config()))
BOUNDS = all_bounds(TEXT_METHODS)


def parse(text: str, like: Any) -> Any:
    """A value as the command line reads it, of the default's type."""
    if isinstance(like, bool):
        return {"True": True, "False": False}[text]
    return type(like)(text)


def values(fields: list[tuple[str, str]]) -> dict[str, Any]:
    """Dotted name -> value; a field that does not exist, or another type, is an error."""
    return {name: parse(text, KNOWN[name]) for name, text in fields}


def flags(text: str) -> list[dict[str, Any]]:
    """The fields of each pair of backticks that sets any."""
    found = [values(FLAG.findall(span)) for span in SPAN.findall(text)]
    return [fields for fields in found if fields]


def entries() -> dict[str, str]:
    parts = re.split(r"^#+ (.+)$", DOCS, flags=re.M)[1:]
    bodies = dict(zip(parts[::2], parts[1::2], strict=True))
    return {title: body for title, body in bodies.items() if "- **Config**" in body}


ENTRIES = entries()


def line_of(entry: str, name: str) -> str:
    return re.search(rf"^- \*\*{name}\*\*:(.*?)(?=^- \*\*|\Z)", entry, flags=re.S | re.M)[1]


def accepted(*changes: dict[str, Any]) -> None:
    config = default_config()
    for fields in changes:
        config.update_from_flattened_dict(fields)
    check(TEXT_GROUPS, config)


def test_every_entry_has_its_five_lines():
    assert len(ENTRIES) >= 29
    for title, entry in ENTRIES.items():
        names = re.findall(r"^- \*\*(\w+)\*\*:", entry, flags=re.M)
        assert names == ["Config", "Does", "Refused", "Use", "Signs"], title
        assert flags(line_of(entry, "Config")), title


@pytest.mark.parametrize("title", ENTRIES)
def test_a_configuration_is_accepted_and_says_something(title):
    for fields in flags(line_of(ENTRIES[title], "Config")):
        accepted(fields)


@pytest.mark.parametrize("title", ENTRIES)
def test_what_is_refused_is(title):
    first = flags(line_of(ENTRIES[title], "Config"))[0]
    for fields in flags(line_of(ENTRIES[title], "Refused")):
        try:
            accepted(first, fields)
        except UserError:
            continue
        raise AssertionError(f"{title}: {fields} is not refused")


def test_every_other_configuration_is_accepted():
    assert values(FLAG.findall(DOCS))  # wherever they stand
    for entry in ENTRIES.values():
        for name in ("Does", "Use", "Signs"):
            for fields in flags(line_of(entry, name)):
                accepted(fields)
    assert len(FLAG.findall(DOCS)) == sum(len(FLAG.findall(span)) for span in SPAN.findall(DOCS))


def test_defaults_are_those_of_the_configuration():
    found = re.findall(rf"`{FIELD}`", DOCS)
    assert len(found) >= 40
    for name, text in found:
        assert parse(text, KNOWN[name]) == KNOWN[name], f"{name}={text}"


def test_every_method_that_is_named_exists_and_every_method_is_named():
    named = ",".join(re.findall(r"--methods=([\w,]+)", DOCS)).split(",")
    assert set(named) == set(METHODS) - BOUNDS
    assert set(",".join(re.findall(r"--methods=([\w,]+)", README)).split(",")) <= set(METHODS)


def test_a_method_is_what_its_entry_configures():
    for title, entry in ENTRIES.items():
        config = line_of(entry, "Config")
        set_there = {name for fields in flags(config) for name in fields}
        defaults = {name for name, _ in re.findall(rf"`{FIELD}`", config)}
        for method in re.findall(r"--methods=(\w+)", config):
            schedule = {
                name for name in METHODS[method].fields if ".kl_" in name or ".cyclical." in name
            }
            assert set(METHODS[method].fields) - schedule <= set_there | defaults, (title, method)


def rows(page: str, title: str) -> list[list[str]]:
    """Returns the cells of the table in a section."""
    section = page.split(f"\n## {title}\n")[1].split("\n## ")[0]
    lines = [line for line in section.splitlines() if line.startswith("|")][2:]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


ALL = rows(OVERVIEW, "All remedies")


def linked(table: list[list[str]]) -> set[str]:
    return {re.search(r"\(remedies/[\w-]+\.md#([\w-]+)\)", row[0])[1] for row in table}


def test_the_table_of_all_remedies_has_every_entry():
    anchors = {title.lower().replace(" ", "-") for title in ENTRIES}
    assert linked(ALL) == anchors


@pytest.mark.parametrize("row", ALL, ids=lambda row: row[0][:20])
def test_a_row_of_remedies_has_a_configuration_that_is_accepted(row):
    spans = flags(row[1])
    assert spans
    for fields in spans:
        accepted(fields)


def commands_of_sets() -> list[str]:
    """Returns the fields that follow NVIB's command, in the table of docs/sets.md and below it."""
    spans = [span for span in SPAN.findall(SETS.split("```")[0]) if span.startswith("--config")]
    assert len(spans) >= 5
    return spans


@pytest.mark.parametrize("command", commands_of_sets())
def test_a_command_of_sets_is_accepted(command):
    config = nvib.get_config()
    config.update_from_flattened_dict(values(FLAG.findall(command)))
    assert not FLAG.sub("", command).strip()
    check(TEXT_GROUPS, config)


@pytest.mark.slow
def test_the_examples_of_sets_run_and_do_not_see_what_is_absent():
    names: dict = {}
    code = "\n".join(re.findall(r"```python\n(.*?)```", SETS, flags=re.S))
    exec(compile(code, "sets.md", "exec"), names)
    np.testing.assert_allclose(names["token"], names["sentence"][:, :1], rtol=1e-4, atol=1e-5)
    assert names["output"].shape == (2, 5, 64)
    attention, params, memory = (names[name] for name in ("attention", "params", "memory"))
    apply = jax.jit(attention.apply)

    def output(row):  # with one vector of the first set changed
        vectors = np.array(memory.vectors)
        vectors[0, row] = 0.0
        return apply(params, np.ones((2, 5, 64), np.float32), memory._replace(vectors=vectors))

    absent, present = output(2), output(1)
    np.testing.assert_allclose(absent, names["output"], rtol=1e-4, atol=1e-5)
    assert np.any(np.abs(present - absent) > 0.01)
