"""README and docs keep their promises: examples run, commands parse, fields and files exist."""

import re
import shlex
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import jax
import numpy as np
import pytest
from ml_collections import ConfigDict

from jvae.configs import flat
from jvae.tasks.documents.task import documents_config
from jvae.tasks.text.config import TEXT_GROUPS, default_config

ROOT = Path(__file__).parent.parent
GENERATED = ("docs/configuration.md", "docs/metrics.md")
PAGES = ("README.md", *sorted(str(path.relative_to(ROOT)) for path in ROOT.glob("docs/**/*.md")))
WRITTEN = tuple(page for page in PAGES if page not in GENERATED)
TEXT = {page: (ROOT / page).read_text(encoding="utf-8") for page in PAGES}
README = TEXT["README.md"]
EXTEND = TEXT["docs/extend.md"]
OF_RUNS = ("runs/", "RUN/")  # files in run directories
GROUPS = "|".join(group.name for group in TEXT_GROUPS)


def code_of(text: str) -> list[str]:
    """Returns the spans in backticks and the lines of code blocks."""
    parts = text.split("```")
    blocks = [block.replace("\\\n", " ") for block in parts[1::2]]
    lines = [line for block in blocks for line in block.splitlines()[1:]]
    return [span for part in parts[::2] for span in re.findall(r"`([^`]+)`", part)] + lines


def python_blocks(text: str) -> list[str]:
    """Returns the Python examples of a page."""
    return re.findall(r"```python\n(.*?)```", text, flags=re.S)


def anchors_of(page: Path) -> set[str]:
    """Returns the anchors of a page's headings."""
    heads = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), flags=re.M)
    return {re.sub(r"[^\w -]", "", head.lower()).replace(" ", "-") for head in heads}


def executed(code: str, name: str) -> dict[str, Any]:
    """Executes an example and returns its names."""
    names: dict[str, Any] = {}
    exec(compile(code, name, "exec"), names)
    return names


def test_readme_is_short():
    assert len(README.splitlines()) <= 150


@pytest.mark.smoke
def test_the_library_example_runs_as_printed():
    code = next(block for block in python_blocks(README) if "jvae.VAE(" in block)
    assert len(code.splitlines()) <= 15
    names = executed(code, "README.md")
    assert names["bound"].shape == (2,)
    # 500 importance samples give a tighter bound than the ELBO, in expectation.
    assert np.mean(names["bound"]) >= np.mean(names["terms"].elbo) - 0.1


def test_the_example_of_a_run_runs_as_printed(finished, monkeypatch, tmp_path, capsys):
    import jvae

    code = next(block for block in python_blocks(README) if "load_run" in block)
    assert len(code.splitlines()) <= 6
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs/chitchat").symlink_to(finished.workdir)
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {"jvae": jvae}
    exec(compile(code, "README.md", "exec"), names)
    assert names["z"].shape == (1, finished.config.model.latent_size)
    assert len(capsys.readouterr().out.splitlines()) == 4


def test_the_training_loop_of_the_page_extend_runs_as_printed():
    code = next(block for block in python_blocks(EXTEND) if "optax" in block)
    losses = executed(code, "extend.md")["losses"]
    assert np.all(np.isfinite(losses)) and np.mean(losses[-10:]) < 0.7 * losses[0]


def test_the_component_of_the_page_extend_is_built_and_trains(monkeypatch):
    import jvae
    from jvae.components import Choice, Group, build, check
    from jvae.components import default_config as defaults_of
    from jvae.encoders import ENCODERS
    from jvae.errors import UserError

    code = next(block for block in python_blocks(EXTEND) if "AVERAGE" in block)
    component = executed(code, "extend.md")["AVERAGE"]
    choice = Choice("encoder", {**ENCODERS, "average": component}, "average", "")
    group = Group("model", choices=(choice,), gives=frozenset(component.needs))
    config = defaults_of((group,))
    config.model.average.layers = 2
    check((group,), config)
    shared = SimpleNamespace(vocab_size=9, latent_size=3, embed_size=4, family=jvae.diagonal())
    encoder = build(group, "encoder", config, shared)
    decoder = jvae.lstm_decoder(vocab_size=9, latent_size=3, embed_size=4, hidden_size=5)
    model = jvae.VAE(encoder, decoder, jvae.standard_normal(latent_size=3))
    batch = jvae.text_batch([[1, 4, 5, 2, 0], [1, 6, 2, 0, 0]])
    params = jvae.init(model, batch, key=jax.random.key(0))
    assert len(params["encoder"]) == 4  # embeddings, two layers, the head

    def elbo(params: Any, batch: Any = batch) -> Any:
        return jvae.elbo(model, params, batch, key=jax.random.key(1)).elbo

    assert elbo(params).shape == (2,) and np.all(np.isfinite(elbo(params)))
    gradient = jax.grad(lambda params: elbo(params).sum())(params)["encoder"]
    assert all(np.any(leaf) for leaf in jax.tree.leaves(gradient))
    padded = batch.replace(x=batch.x.resized(8))
    np.testing.assert_allclose(elbo(params, padded), elbo(params), rtol=1e-5)
    config.model.average.layers = 0
    with pytest.raises(UserError, match=r"model\.average\.layers"):
        check((group,), config)


@pytest.mark.parametrize("page", PAGES)
def test_every_module_and_file_that_is_named_exists(page):
    for module in set(re.findall(r"python -m ((?:jvae|benchmarks)[\w.]+)", TEXT[page])):
        path = ROOT / module.replace(".", "/")
        assert path.with_suffix(".py").exists() or (path / "__main__.py").exists(), module
    for path in set(re.findall(r"[\w/.]+/[\w/]+\.(?:py|png|md|json|ipynb)\b", TEXT[page])):
        if not path.startswith((*OF_RUNS, "/")):
            places = (ROOT, (ROOT / page).parent)
            assert any((place / path).exists() for place in places), path
    for folder in set(re.findall(r"`(jvae/[\w/]+/)`", TEXT[page])):
        assert (ROOT / folder).is_dir(), folder


@pytest.mark.parametrize("page", PAGES)
def test_every_link_leads_somewhere(page):
    links = re.findall(r"\]\(([^)\s]*)\)", TEXT[page].replace("\n", ""))
    for link in (link for link in links if not link.startswith("https:")):
        path, _, anchor = link.partition("#")
        target = (ROOT / page).parent / path if path else ROOT / page
        assert target.exists(), link
        assert not anchor or anchor in anchors_of(target), link


def test_every_page_is_linked():
    linked = {
        ((ROOT / page).parent / link).resolve()
        for page in PAGES
        for link in re.findall(r"\]\(([^)\s#]*)", TEXT[page].replace("\n", ""))
    }
    assert {ROOT.resolve() / page for page in PAGES[1:]} <= linked


def test_every_command_line_of_the_console_script_parses():
    from jvae.commands.cli import _parser

    commands = [
        match
        for text in TEXT.values()
        for code in code_of(text)
        for match in re.findall(r"\bjvae ([\w-]+ (?:RUN|runs/\w+)\b[^|#]*)", code)
    ]
    assert len(commands) >= 20
    for command in commands:
        try:
            _parser().parse_args(shlex.split(command))
        except SystemExit:
            raise AssertionError(f"jvae {command}") from None


def test_every_command_of_the_console_script_is_on_a_page():
    from jvae.commands.cli import COMMANDS

    named = {word for page in WRITTEN for code in code_of(TEXT[page]) for word in code.split()}
    assert set(COMMANDS) <= named


@pytest.mark.parametrize("page", WRITTEN)
def test_every_field_that_is_named_exists(page):
    """Some pages have placeholders for values; `test_docs` checks those of remedies and sets."""
    config: ConfigDict = documents_config() if page == "docs/documents.md" else default_config()
    if page == "docs/extend.md":
        config = ConfigDict(config.to_dict())
        config.model.average = ConfigDict({"layers": 1})  # the component that it builds
    names = re.findall(rf"--config\.((?:{GROUPS})(?:\.\w+)+)", TEXT[page])
    names += re.findall(rf"`((?:{GROUPS})(?:\.\w+)+)(?:=[^`]*)?`", TEXT[page])
    known = dict(flat(config))
    assert not [name for name in names if name not in known]


@pytest.mark.parametrize("page", PAGES)
def test_no_placeholder_is_left(page):
    assert "@@" not in TEXT[page]
    assert "TODO" not in TEXT[page]


@pytest.mark.parametrize("page", WRITTEN)
def test_lines_are_short(page):
    lines = [line for line in TEXT[page].splitlines() if not line.startswith(("|", "!"))]
    assert max(map(len, lines)) <= 110
