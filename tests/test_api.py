"""`jvae.load_run` and `jvae.train`: sentences and NumPy arrays in and out, on a tiny run."""

import json
import subprocess
import sys

import jax
import numpy as np
import pytest

import jvae
from jvae.api import configured
from jvae.errors import UserError
from jvae.tasks.text.config import default_config
from jvae.tasks.text.limits import longest_decoded
from jvae.tasks.text.run import TextRun
from jvae.tasks.text.use import encode
from tests.tiny import SENTENCES, TEXT, WORDS, run_tiny, sizes, tiny_config


@pytest.fixture(scope="module")
def run(finished) -> TextRun:
    return jvae.load_run(finished.workdir)


@pytest.fixture(scope="module")
def heldout(run) -> list[str]:
    """The sentences that the run was evaluated on."""
    data = TEXT.load(run.config, resources=run.trained.resources)
    return data.source.sentences(run.config.evaluation.split)


def test_a_run_is_what_was_trained(run, finished):
    assert run.workdir == finished.workdir
    assert run.config.to_dict() == finished.config.to_dict()
    stored = json.loads((finished.workdir / "results.json").read_text())
    assert run.results == stored and run.results["elbo"] == finished.results["elbo"]
    assert jvae.load_run(str(finished.workdir)).trained.epoch == finished.results["best_epoch"]


def test_encode_and_decode(run):
    means = run.encode(SENTENCES)
    assert type(means) is np.ndarray and means.shape == (4, 2) and means.dtype == np.float32
    expected = encode(run.trained, SENTENCES, key=jax.random.key(0))
    np.testing.assert_array_equal(means, expected.mean)
    posterior = run.posterior(SENTENCES)
    np.testing.assert_array_equal(posterior.mean, means)
    np.testing.assert_array_equal(posterior.log_var, expected.log_var)
    assert run.decode(means) == run.reconstruct(SENTENCES)
    assert run.decode(means.astype(np.float64).tolist()) == run.reconstruct(tuple(SENTENCES))


def test_sentences_come_from_a_seed(run):
    first = run.sample(20)
    assert len(first) == 20 and all(isinstance(sentence, str) for sentence in first)
    assert set(" ".join(first).split()) <= {*WORDS, "<unk>"}
    assert first == run.sample(20, seed=0) != run.sample(20, seed=1)
    assert run.sample(5) == first[:5], "more sentences begin alike"
    assert max(len(one.split()) for one in run.sample(64, temperature=1000.0, max_length=3)) == 3
    assert run.sample(16, top_k=1) == run.sample(16, strategy="greedy")
    assert len(run.sample(2, strategy="beam", beam_size=2, allow_unk=False)) == 2


def test_interpolation_and_arithmetic(run):
    first, second, other = SENTENCES[:3]
    path = run.interpolate(first, second)
    assert len(path) == 7
    assert [path[0], path[-1]] == run.reconstruct([first, second])
    assert len(run.interpolate(first, second, steps=3, path="spherical", strategy="sample")) == 3
    assert run.arithmetic(first, first, other) == run.reconstruct([other])[0]


def test_log_likelihood_is_that_of_the_evaluation(run, heldout):
    samples, seed = run.config.evaluation.iw_samples, run.config.training.seed
    values = run.log_likelihood(heldout, num_samples=samples, seed=seed)
    assert type(values) is np.ndarray and values.shape == (len(heldout),)
    np.testing.assert_allclose(values, -np.array(run.results["iw_nll_each"]), rtol=1e-5)
    # On average more samples raise the bound, and another seed is another estimate of it.
    assert run.log_likelihood(heldout, num_samples=200).mean() > values.mean() - 0.5
    assert np.all(run.log_likelihood(heldout, num_samples=samples, seed=seed + 1) != values)


def test_nothing_is_compiled_twice(run):
    def all_uses(run, seed: int) -> None:
        run.encode(SENTENCES, seed=seed)
        run.sample(3, seed=seed)
        run.reconstruct(SENTENCES, seed=seed)
        run.interpolate(*SENTENCES[:2], seed=seed)
        run.log_likelihood(SENTENCES[:2], num_samples=3, seed=seed)

    all_uses(run, 0)
    events: list[str] = []

    def note(event: str, seconds: float, **_: object) -> None:
        events.append(event)

    jax.monitoring.register_event_duration_secs_listener(note)
    try:
        all_uses(run, 1)
        # A trace alone is how too few steps of a path are refused.
        assert {event.rpartition("/")[2] for event in events} <= {"jaxpr_trace_duration"}
        run.sample(3, max_length=37)  # the listener hears what is compiled
        assert [event for event in events if event.endswith("/backend_compile_duration")]
    finally:
        jax.monitoring.unregister_event_duration_listener(note)


def test_the_limits_of_the_temperature_are_those_of_sampling(run):
    assert run.sample(16, temperature=1e-6) == run.sample(16, strategy="greedy")
    assert len(run.sample(64, temperature=1e6)) == 64


def test_decoding_ends_with_the_longest_training_sentence(run, finished, monkeypatch):
    lengths = [len(line.split()) + 1 for line in finished.train.read_text().splitlines()]
    data = TEXT.load(run.config, resources=run.trained.resources)
    assert run.trained.width == data.splits["train"].widths.max() <= max(lengths)
    asked = []
    monkeypatch.setattr("jvae.tasks.text.use._decoder", lambda decoder, how: asked.append(how))
    for call in (run.sample, lambda: run.decode([[0, 0]]), lambda: run.reconstruct(["a cat"])):
        with pytest.raises(TypeError):  # there is no decoder
            call()
    assert [how.max_length for how in asked] == [run.trained.width] * 3


def test_decoding_of_runs_of_an_earlier_jvae():
    config = default_config()
    assert longest_decoded(config, 700) == 700 and longest_decoded(config, 0) == 50
    config.data.max_length = 12
    assert longest_decoded(config, 0) == 13
    config.model.update({"decoder": "transformer"})
    config.model.transformer.update({"positions": "learned", "max_positions": 9})
    assert longest_decoded(config, 700) == 9


@pytest.mark.parametrize(
    ("use", "says"),
    [
        (lambda run: run.encode([]), "no sentence was given"),
        (lambda run: run.encode(["a", " "]), "sentence 2 is empty"),
        (lambda run: run.encode("a cat"), r"must be a list, .*: give \['a cat'\]"),
        (lambda run: run.encode(b"a cat"), "must be a list, not a single text"),
        (lambda run: run.reconstruct(["a", None]), "sentence 2 is None .*, not a text"),
        (lambda run: run.log_likelihood(["a", float("nan")]), "sentence 2 is nan .*, not a text"),
        (lambda run: run.posterior([b"a"]), r"sentence 1 is b'a' \(of type bytes\)"),
        (lambda run: run.encode(np.array([["a", "b"]])), r"shape \[1, 2\]: give one column"),
        (lambda run: run.encode({"a": "b"}), "not of type dict"),
        (lambda run: run.encode(3), "not of type int"),
        (lambda run: run.encode(["\ud800"]), "sentence 1 holds half a character"),
        (lambda run: run.interpolate("a", None), "sentence 2 is None"),
        (lambda run: run.arithmetic("a", "dog", 3), "sentence 3 is 3"),
        (lambda run: run.sample(temperature=float("inf")), "temperature=inf must be from 1e-06"),
        (lambda run: run.sample(temperature=float("nan")), "temperature=nan must be above 0"),
        (lambda run: run.sample(temperature=1e39), "temperature=1e.39 must be from 1e-06 to 1e.06"),
        (lambda run: run.sample(temperature=1e-46), "temperature=1e-46 must be from 1e-06"),
        (lambda run: run.sample(0), "number = 0 must be at least 1"),
        (lambda run: run.sample(strategy="magic"), "strategy = 'magic' is unknown"),
        (lambda run: run.sample(temprature=2.0), "did you mean 'temperature'"),
        (lambda run: run.sample(temperature=0.0), "temperature=0.0 must be above 0"),
        (lambda run: run.sample(top_p=2.0), "top_p=2.0 must be above 0 and at most 1"),
        (lambda run: run.sample(max_length=0), "max_length=0 must be at least 1"),
        (lambda run: run.interpolate("a", "dog", steps=1), "1 interpolation steps"),
        (lambda run: run.interpolate("a", "dog", path="liner"), "did you mean 'linear'"),
        (lambda run: run.decode(np.zeros((2, 3))), r"shape \[2, 3\]: this run has \[N, 2\]"),
        (lambda run: run.log_likelihood(["a"], num_samples=0), "num_samples = 0 must be at least"),
    ],
)
def test_mistakes_are_one_line(run, use, says):
    with pytest.raises(UserError, match=says) as caught:
        use(run)
    assert "\n" not in str(caught.value)


def test_directories_that_are_no_runs(tmp_path):
    with pytest.raises(UserError, match="is not a run directory"):
        jvae.load_run(tmp_path / "nothing")
    with pytest.raises(UserError, match="config.json is missing"):
        jvae.load_run(tmp_path)
    (tmp_path / "config.json").write_text('{"task": "txt"}')
    with pytest.raises(UserError, match="task = 'txt' is unknown: did you mean 'text'"):
        jvae.load_run(tmp_path)


def test_configurations_differ_from_an_experiment():
    config = configured({"training.epochs": 3, "model.hidden_size": 7}, "chitchat")
    assert (config.training.epochs, config.model.hidden_size) == (3, 7)
    assert config.data.max_length == 12, "the rest is chitchat's"
    assert configured(config, "chitchat") is config
    with pytest.raises(UserError, match="no field 'epohs': did you mean 'epochs'"):
        configured({"training.epohs": 3}, "text")
    with pytest.raises(UserError, match="experiment = 'chitcat' is unknown"):
        configured({}, "chitcat")


@pytest.mark.slow
def test_train_gives_the_run_and_says_what_happens(finished, tmp_path, capsys):
    """A finished run is evaluated again; nothing is trained, and the numbers stay."""
    fields = sizes() | {"data.train": str(finished.train), "training.epochs": 1}
    first = jvae.train(fields, tmp_path / "run")
    assert "verdict:" in capsys.readouterr().out and first.trained.epoch == 1
    again = jvae.train(first.config, str(tmp_path / "run"), quiet=True)
    assert capsys.readouterr().out == ""
    assert again.results["elbo"] == first.results["elbo"]
    np.testing.assert_array_equal(again.encode(SENTENCES), first.encode(SENTENCES))


@pytest.mark.slow
def test_a_language_model_is_exact_and_has_no_latent(train, tmp_path):
    config = tiny_config(train, model__mode="lm", training__aggressive=False, training__epochs=1)
    results, _ = run_tiny(config, tmp_path / "lm")
    run = jvae.load_run(tmp_path / "lm")
    data = TEXT.load(config, resources=run.trained.resources)
    values = run.log_likelihood(data.source.sentences("test"))
    np.testing.assert_allclose(values.mean(), results["elbo"], rtol=1e-5)
    np.testing.assert_array_equal(values, run.log_likelihood(data.source.sentences("test"), seed=3))
    for use in (run.encode, run.reconstruct):
        with pytest.raises(UserError, match="is a language model: it has no latent"):
            use(["a cat"])


@pytest.mark.slow
def test_an_autoencoder_has_no_likelihood(train, tmp_path):
    config = tiny_config(train, model__mode="ae", training__aggressive=False, training__epochs=1)
    run_tiny(config, tmp_path / "ae")
    with pytest.raises(UserError, match="is an autoencoder: it gives sentences no probability"):
        jvae.load_run(tmp_path / "ae").log_likelihood(["a cat"])


def test_the_console_script_is_light_until_a_command_runs():
    heavy = ["orbax", "tokenizers", "matplotlib", "sklearn", "ml_collections"]
    program = f"""
import sys
import jvae.commands.cli as cli
cli._parser()
print([name for name in {heavy} if name in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout == "[]\n", done.stderr
