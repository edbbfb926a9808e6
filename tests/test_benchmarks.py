"""The gate of the benchmarks, where PyTorch is installed (`pip install -e '.[bench]'`)."""

import pytest


@pytest.mark.parametrize(
    ("size", "precision", "planted"),
    [("tiny", "float32", 3), ("tiny_cnn", "float32", 4), ("tiny", "bfloat16", 3)],
)
def test_jvae_and_pytorch_compute_the_same_and_planted_errors_are_seen(size, precision, planted):
    pytest.importorskip("torch")
    from benchmarks.parity import TOLERANCES, check
    from benchmarks.sizes import SIZES

    found = check(SIZES[size], precision)
    same = found.pop("same")
    assert all(error < TOLERANCES[precision][name] for name, error in same.items())
    assert len(found) == planted


@pytest.mark.parametrize(
    "name",
    [
        "ptb",
        "ptb/train",
        "other/joint",
        "captions_cnn/beam",
        "ptb/iw/bfloat16",
        "captions_cnn/joint/bfloat16",
        "a/b/c/d",
    ],
)
def test_a_case_that_does_not_exist_is_refused(name):
    from benchmarks.cases import parse

    with pytest.raises(ValueError, match=f"no case '{name}'"):
        parse(name)


def test_cases_are_named_by_what_they_are():
    from benchmarks.cases import parse

    for name in ("ptb/beam", "captions_cnn/iw", "ptb_he/joint/bfloat16"):
        assert str(parse(name)) == name
