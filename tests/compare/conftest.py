"""A file of sentences, shared by the comparisons of text."""

from pathlib import Path

import pytest

from tests.experiments.setting import write_sentences


@pytest.fixture(scope="session")
def train(tmp_path_factory) -> Path:
    """A file of 60 sentences."""
    return write_sentences(tmp_path_factory.mktemp("sentences") / "train.txt")
