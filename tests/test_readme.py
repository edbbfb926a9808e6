"""What README promises: its example runs, its commands exist, its files are there."""

import re
from pathlib import Path

import numpy as np

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_the_library_example_runs_as_printed():
    code = re.search(r"```python\n(.*?)```", README, flags=re.S)[1]
    names: dict = {}
    exec(compile(code, "README.md", "exec"), names)
    assert names["bound"].shape == (2,)
    # 500 importance samples give a tighter bound than the ELBO, in expectation.
    assert np.mean(names["bound"]) >= np.mean(names["terms"].elbo) - 0.1


def test_every_module_and_file_that_is_named_exists():
    for module in set(re.findall(r"python -m (jvae[\w.]+)", README)):
        assert (ROOT / (module.replace(".", "/") + ".py")).exists(), module
    paths = re.findall(r"[\w/]+/[\w/]+\.(?:py|png|md|json)\b", README)
    assert paths
    for path in set(paths):
        if not path.startswith("runs/"):
            assert (ROOT / path).exists(), path


def test_every_subcommand_in_the_table_is_known():
    from jvae.experiments.cli import _parser

    known = _parser().format_help()
    for name in set(re.findall(r"`jvae (\w+) RUN", README)):
        assert name in known


def test_no_placeholder_is_left():
    assert "@@" not in README
    assert "TODO" not in README
