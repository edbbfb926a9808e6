"""The gate of the benchmarks, where PyTorch is installed (`pip install -e '.[bench]'`)."""

import pytest


def test_jvae_and_pytorch_compute_the_same_and_planted_errors_are_seen():
    pytest.importorskip("torch")
    from benchmarks.parity import TOLERANCE, check
    from benchmarks.sizes import SIZES

    found = check(SIZES["tiny"])
    same = found.pop("same")
    assert max(same.values()) < TOLERANCE and len(found) == 3
