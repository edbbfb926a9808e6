"""A run directory is used from any folder."""

from pathlib import Path

from jvae.runs.directory import with_absolute_paths
from jvae.tasks.text.config import default_config


def test_files_are_named_from_the_root(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    config = default_config()
    config.data.update({"train": "texts/my.txt", "valid": str(tmp_path / "v.txt")})
    absolute = with_absolute_paths(config)
    assert Path(absolute.data.train) == tmp_path / "texts" / "my.txt"
    assert absolute.data.valid == str(tmp_path / "v.txt")
    assert absolute.data.test == absolute.data.dir == "", "what is not named stays so"
    assert config.data.train == "texts/my.txt", "the caller's configuration is its own"
