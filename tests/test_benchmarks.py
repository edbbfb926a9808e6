"""The benchmarks' gate (where PyTorch is, `pip install -e '.[bench]'`), counts and table."""

import io
import subprocess
from pathlib import Path

import numpy as np
import pytest


@pytest.mark.slow
@pytest.mark.parametrize(
    ("size", "precision", "planted"),
    [
        ("tiny", "float32", 6),
        ("tiny_cnn", "float32", 5),
        ("tiny_tf", "float32", 5),
        ("tiny", "bfloat16", 3),
    ],
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
        "captions_tf/inner",
        "captions_tf/joint/bfloat16",
        "a/b/c/d",
    ],
)
def test_a_case_that_does_not_exist_is_refused(name):
    from benchmarks.cases import parse

    with pytest.raises(ValueError, match=f"no case '{name}'"):
        parse(name)


def test_what_is_timed_after_a_prefix_is_greedy_decoding():
    import jax

    from benchmarks.building import make_model
    from benchmarks.prefix import continued, start
    from benchmarks.sizes import SIZES, random_weights
    from jvae.batch import EOS
    from jvae.generation import greedy

    size = SIZES["tiny_tf"]
    decoder, params = make_model(size, 0.0).decoder, random_weights(size, 0)["decoder"]
    z = jax.random.normal(jax.random.key(0), (8, size.latent_size))
    block = jax.jit(continued(decoder, 3))
    state, first = block(params, start(decoder, params, z, 6))
    tokens = np.concatenate([first, block(params, state)[1]]).T

    expected = greedy(decoder, params, z, max_length=6).tokens
    ended = np.cumsum(tokens == EOS, axis=1) - (tokens == EOS) > 0
    assert not ended.all()
    np.testing.assert_array_equal(np.where(ended, 0, tokens), expected)


def test_cases_are_named_by_what_they_are():
    from benchmarks.cases import parse

    for name in ("ptb/beam", "captions_cnn/iw", "captions_tf/greedy", "ptb_he/joint/bfloat16"):
        assert str(parse(name)) == name


def test_the_products_of_rounds_and_beams_are_counted():
    from benchmarks.cases import BEAM, ROUND_INNER, ROUNDS, operations, parse, ragged
    from benchmarks.sizes import SIZES, flops

    size = SIZES["captions"]
    # An LSTM's products grow linearly: all sentences cost what those of the mean length do.
    mean = size._replace(length=float(np.mean(ragged(size)[1])))
    inner, joint = (flops(mean, part, sentences=size.batch_size) for part in ("inner", "joint"))
    counted = operations(parse("captions/epoch"))
    np.testing.assert_allclose(counted, ROUNDS * (ROUND_INNER * inner + joint), rtol=1e-9)

    hypotheses = 1 + BEAM * (size.length - 1)
    beam, greedy = (operations(parse(f"captions/{kind}")) for kind in ("beam", "greedy"))
    np.testing.assert_allclose(beam / 100, greedy / 1000 / size.length * hypotheses, rtol=1e-9)


def shown(disturbed):
    from rich.console import Console

    from benchmarks.run import table

    result = {
        "case": "captions/epoch",
        "seconds": {"jvae": [1.0, 1.0], "torch-published": [1.5, 1.6]},
        "ratios": {"torch-published": [1.5, 1.6]},
        "first_seconds": {"jvae": 2.0},
        "operations": 1e9,
        "foreign_cores": 0.7 if disturbed else 0.05,
        "samples_disturbed": disturbed,
    }
    console = Console(width=120, file=io.StringIO())
    console.print(table([result], 10.0))
    return console.file.getvalue()


def test_the_table_marks_a_disturbed_case_and_says_what_a_run_is():
    calm, disturbed = shown(0), shown(2)
    assert "epoch: 2 rounds of 30 inner updates and one outer" in calm
    assert "1.55 [1.50-1.60]" in calm and "*" not in calm
    assert "1.55* [1.50-1.60]" in disturbed
    assert "* samples were kept while other processes used up to 0.7 cores" in disturbed


def test_the_record_names_the_commit():
    from benchmarks.run import commit

    root = Path(__file__).parent.parent
    if not (root / ".git").exists():
        pytest.skip("not a checkout")
    head = subprocess.run(["git", "rev-parse", "HEAD"], cwd=root, capture_output=True, text=True)
    assert commit().removesuffix("-dirty") == head.stdout.strip()


@pytest.mark.parametrize("framework", ["jvae", "torch"])
def test_a_framework_without_cuda_says_so_in_one_line(framework):
    import jax

    from benchmarks.device import use

    if framework == "torch":
        torch = pytest.importorskip("torch")
        if torch.cuda.is_available():
            pytest.skip("it has CUDA")
    elif jax.devices()[0].platform == "gpu":
        pytest.skip("it has CUDA")
    before = jax.config.jax_platforms
    try:
        with pytest.raises(
            SystemExit, match="--device=cuda: this .*, or take --device=cpu"
        ) as said:
            use(framework, "cuda", False)
    finally:
        jax.config.update("jax_platforms", before)
    assert "\n" not in str(said.value)


def test_tf32_without_a_gpu_is_refused(monkeypatch, capsys):
    from benchmarks import run

    monkeypatch.setattr("sys.argv", ["run", "--tf32"])
    with pytest.raises(SystemExit):
        run.main()
    assert "--tf32 is a GPU's: give --device=cuda too" in capsys.readouterr().err
