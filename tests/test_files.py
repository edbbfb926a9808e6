"""Files that are written aside, and output that takes any text."""

import io
import os
import sys
from types import SimpleNamespace

import jax
import pytest
from rich.console import Console

from jvae.errors import UserError
from jvae.files import replacing
from jvae.plots import training_curves
from jvae.runs import process
from jvae.runs.flags import guarded


def test_a_file_is_replaced_once_its_block_ends_well(tmp_path):
    path = tmp_path / "file"
    path.write_text("old")
    with replacing(path) as file:
        file.write(b"new")
        assert path.read_text() == "old"
    assert path.read_text() == "new"
    assert [entry.name for entry in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize("error", [KeyboardInterrupt, MemoryError, UserError])
def test_any_failure_leaves_the_old_file(tmp_path, error):
    path = tmp_path / "file"
    path.write_text("old")
    with pytest.raises(error), replacing(path) as file:
        file.write(b"new")
        raise error
    assert path.read_text() == "old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["file"]


def test_a_link_goes_on_pointing_to_its_file(tmp_path):
    (tmp_path / "file").write_text("old")
    (tmp_path / "link").symlink_to(tmp_path / "file")
    with replacing(tmp_path / "link") as file:
        file.write(b"new")
    assert (tmp_path / "link").is_symlink() and (tmp_path / "file").read_text() == "new"


@pytest.mark.parametrize("name", ["", "missing/file"])
def test_a_place_that_cannot_be_written_is_named(tmp_path, name):
    with (
        pytest.raises(UserError, match=f"cannot write {tmp_path / name}: "),
        replacing(tmp_path / name),
    ):
        pass


def test_a_device_is_written_in_place():
    with replacing(os.devnull) as file:
        file.write(b"new")
    assert not os.path.isfile(os.devnull)


def test_a_picture_that_fails_leaves_the_old_one(tmp_path, monkeypatch):
    from matplotlib.figure import Figure

    path = tmp_path / "training.png"
    path.write_text("old")

    def half(self, file, **options):
        file.write(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Figure, "savefig", half)
    with pytest.raises(UserError, match="training.png: No space left on device"):
        training_curves([{"epoch": 1, "elbo": -1.0}], path)
    assert path.read_text() == "old"


@pytest.mark.parametrize("encoding", ["ascii", "cp1252"])
def test_what_the_terminal_cannot_write_is_replaced(monkeypatch, encoding):
    written = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(written, encoding))

    def act():
        print("a 中 b")
        Console().rule("± 中")

    guarded(act)
    assert written.getvalue().startswith(b"a ? b\n")
    assert b"?" in written.getvalue().splitlines()[1]


def test_a_cache_that_cannot_be_written_is_not_used(tmp_path, monkeypatch):
    before = jax.config.jax_compilation_cache_dir
    (tmp_path / "file").write_text("in the way")
    monkeypatch.delenv("JVAE_CACHE_DIR", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "file"))
    try:
        for named, used in (
            ("", None),
            (str(tmp_path / "file"), None),
            (str(tmp_path / "new"), str(tmp_path / "new")),
            ("gs://bucket/cache", "gs://bucket/cache"),
        ):
            monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", named)
            process._use_compilation_cache()
            assert jax.config.jax_compilation_cache_dir == used
    finally:
        jax.config.update("jax_compilation_cache_dir", before)


def test_a_platform_that_is_not_there_is_named(monkeypatch):
    def absent():
        raise AssertionError

    monkeypatch.setattr(process, "jax", SimpleNamespace(devices=absent, config=jax.config))
    with pytest.raises(UserError, match="JAX_PLATFORMS=cpu asks for devices") as caught:
        process.require_devices()
    assert "\n" not in str(caught.value)
