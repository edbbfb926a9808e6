"""Document models: likelihood by enumeration, data from texts and counts, a run from end to end."""

import io
import itertools
import json
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from rich.console import Console

import jvae
from jvae.batch import Batch, Counts
from jvae.errors import UserError
from jvae.runs.run import run
from jvae.tasks import get_task
from jvae.tasks.documents.data import load
from jvae.tasks.documents.metrics import unigram_perplexity
from jvae.tasks.documents.model import bag_decoder, bag_encoder, top_words
from jvae.tasks.documents.task import documents_config

KEY, V, L = jax.random.key(1), 4, 2


def batch_of(counts: np.ndarray) -> Batch:
    """Documents `[B, V]` as sparse bags, padded."""
    rows = len(counts)
    ids = jnp.tile(jnp.arange(V, dtype=jnp.int32), (rows, 1))
    x = Counts(ids, jnp.asarray(counts, jnp.float32))
    return Batch(x, None, jnp.arange(rows, dtype=jnp.int32), jnp.ones(rows))


def model_and_params() -> tuple[jvae.VAE, dict]:
    model = jvae.VAE(
        bag_encoder(vocab_size=V, latent_size=L, hidden_size=5),
        bag_decoder(vocab_size=V),
        jvae.standard_normal(latent_size=L),
    )
    params = jvae.init(model, batch_of(np.ones((2, V))), key=KEY)
    return model, params


def test_the_likelihood_of_all_documents_of_a_length_sums_to_one():
    model, params = model_and_params()
    length = 3
    counts = np.array(
        [c for c in itertools.product(range(length + 1), repeat=V) if sum(c) == length]
    )
    # The multinomial coefficient, which the model leaves out, by hand.
    coefficient = [math.factorial(length) / math.prod(map(math.factorial, c)) for c in counts]
    z = jnp.broadcast_to(jnp.array([[0.7, -1.2]]), (len(counts), L))
    log_prob = model.decoder.log_prob(
        params["decoder"], z, batch_of(counts), None, key=KEY, train=False
    )
    np.testing.assert_allclose(np.sum(coefficient * np.exp(log_prob)), 1, rtol=1e-5)


def test_padding_and_the_order_of_words_change_nothing():
    model, params = model_and_params()
    counts = np.array([[2, 0, 1, 0], [0, 3, 0, 1]])
    plain = batch_of(counts)
    wide = plain.replace(x=plain.x.resized(9))
    order = np.array([2, 0, 3, 1])
    turned = plain.replace(x=Counts(plain.x.ids[:, order], plain.x.counts[:, order]))
    expected = jvae.elbo(model, params, plain, key=KEY)
    for other in (wide, turned):
        terms = jvae.elbo(model, params, other, key=KEY)
        np.testing.assert_allclose(terms.elbo, expected.elbo, rtol=1e-5)
    np.testing.assert_array_equal(plain.x.size, [3, 4])


def test_variances_start_at_one_and_every_parameter_learns():
    model, params = model_and_params()
    batch = batch_of(np.array([[2, 0, 1, 0], [0, 3, 0, 1]]))
    q = model.infer(params, batch, key=KEY, train=False).posterior
    np.testing.assert_array_equal(q.log_var, 0)

    def loss(params):
        return -jnp.sum(jvae.elbo(model, params, batch, key=KEY, train=True).elbo)

    for leaf in jax.tree.leaves(jax.grad(loss)(params)):
        assert np.all(np.isfinite(leaf)) and np.any(leaf != 0)


def test_importance_weights_agree_with_quadrature():
    model, params = model_and_params()
    batch = batch_of(np.array([[2, 0, 1, 0], [0, 3, 0, 1]]))
    nodes, weights = np.polynomial.hermite_e.hermegauss(40)
    grid = np.array(list(itertools.product(nodes, repeat=L)), np.float32)
    mass = np.array([a * b for a, b in itertools.product(weights, repeat=L)]) / (2 * math.pi)

    def log_prob(z):
        rows = jnp.broadcast_to(z, (batch.rows, L))
        return model.decoder.log_prob(params["decoder"], rows, batch, None, key=KEY, train=False)

    exact = np.log(mass @ np.exp(np.asarray(jax.vmap(log_prob)(jnp.asarray(grid)), np.float64)))
    bound, _ = jvae.iw_log_likelihood(
        model, params, batch, key=KEY, num_samples=4000, chunk_size=1000
    )
    np.testing.assert_allclose(bound, exact, atol=0.03)
    assert np.all(jvae.elbo(model, params, batch, key=KEY, num_samples=500).elbo <= exact + 0.05)


def test_top_words_are_those_of_the_largest_and_smallest_weights():
    params = {"words": {"kernel": jnp.array([[0.0, 3.0, -2.0, 1.0], [5.0, 0.0, 1.0, -1.0]])}}
    shown = top_words(params, ("a", "b", "c", "d"), 2)
    assert shown == [(["b", "d"], ["c", "a"]), (["a", "c"], ["d", "b"])]


TEXTS = [
    "Cats chase mice while dogs chase cats",
    "dogs bark loudly",
    "mice eat cheese cheese",
    "birds sing songs while cats sleep",
] * 10


@pytest.fixture
def config():
    config = documents_config()
    config.data.update({"name": "text", "min_documents": 1, "max_share": 1.0})
    return config


def write(path, lines):
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return str(path)


def test_texts_are_counted_as_scikit_learn_counts_them(config, tmp_path):
    config.data.update(
        {
            "train": write(tmp_path / "train.txt", TEXTS),
            "valid": write(tmp_path / "valid.txt", ["cats unheard", "unheard, unspoken"]),
            "test": write(tmp_path / "test.txt", ["Mice, mice; cheese!"]),
        }
    )
    data = load(config)
    words = data.resources
    assert "while" not in words and "cats" in words  # a stop word
    assert list(words) == sorted(words)
    assert [len(data.splits[split]) for split in ("train", "valid", "test")] == [40, 1, 1]
    assert any("1 documents without a known word left out" in note for note in data.notes)
    x, _ = data.splits["test"].take(np.array([0]))
    counted = {words[i]: c for i, c in zip(x.ids[0], x.counts[0], strict=True) if c}
    assert counted == {"cheese": 1.0, "mice": 2.0}
    # Another vocabulary is taken as it is.
    again = load(config, resources=("cats", "mice"))
    assert again.resources == ("cats", "mice")


def test_sparse_files_are_read_as_they_are(config, tmp_path):
    lines = ["1 3:2 1:1", "2 2:5"] * 10
    config.data.update(
        {
            "train": write(tmp_path / "train.feat", lines),
            "words": write(tmp_path / "vocab", ["one 9", "two 8", "three 7"]),
        }
    )
    data = load(config)
    assert data.resources == ("one", "two", "three")
    assert [len(data.splits[split]) for split in ("train", "valid", "test")] == [16, 2, 2]
    x, _ = data.splits["train"].take(np.array([0]))
    np.testing.assert_array_equal(x.ids, [[0, 2]])
    np.testing.assert_array_equal(x.counts, [[1, 2]])
    np.testing.assert_array_equal(np.unique(data.splits["train"].symbols), [3, 5])


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (["1 3:2", "1 x"], "line 2 is not `label index:count"),
        (["1 0:2", "1 1:1"], "line 1: indices and counts start at 1"),
        (["1 1:2", "1 1:0"], "line 2: indices and counts start at 1"),
        (["1 9:2", "1 1:1"], "3 words, but index 9 is used"),
        (["1 1:2"], "too few to hold out"),
    ],
)
def test_wrong_sparse_files_are_refused_in_one_line(config, tmp_path, lines, message):
    config.data.update(
        {
            "train": write(tmp_path / "train.feat", lines),
            "words": write(tmp_path / "vocab", ["one", "two", "three"]),
            "valid": "" if len(lines) == 1 else write(tmp_path / "valid.feat", ["1 1:1"]),
            "test": "" if len(lines) == 1 else write(tmp_path / "test.feat", ["1 1:1"]),
        }
    )
    with pytest.raises(UserError, match=message) as caught:
        load(config)
    assert "\n" not in str(caught.value)


def test_the_unigram_baseline_by_hand(config, tmp_path):
    config.data.update({"train": write(tmp_path / "train.feat", ["1 1:2 2:1"] * 20)})
    data = load(config)
    corpus, document = unigram_perplexity(data.splits["train"], data.splits["test"], 2)
    number = len(data.splits["train"])
    share = np.array([2 * number + 1, number + 1]) / (3 * number + 2)
    expected = np.exp(-(2 * np.log(share[0]) + np.log(share[1])) / 3)
    np.testing.assert_allclose([corpus, document], expected, rtol=1e-6)


def test_a_run_from_texts_to_its_report(config, tmp_path):
    config.data.train = write(tmp_path / "train.txt", TEXTS * 3)
    config.model.update({"latent_size": 2, "hidden_size": 8})
    config.training.update(
        {
            "epochs": 2,
            "batch_size": 16,
            "optimiser": "adam",
            "learning_rate": 0.01,
            "num_devices": 1,
        }
    )
    config.evaluation.update({"iw_samples": 10, "num_examples": 2})
    shown, task = io.StringIO(), get_task("documents")
    results = run(task, config, tmp_path / "run", Console(file=shown, width=120))
    text = shown.getvalue()
    assert "nats per document" in text and "unigram: PPL" in text
    assert results["ppl_document_elbo"] > 1 and results["ppl_document_iw"] > 1
    saved = json.loads((tmp_path / "run" / "results.json").read_text())
    assert len(saved["shown"]["top_words"]) == 2
    assert (tmp_path / "run" / "plots" / "latent_map.png").exists()
    # The same call reads what is there and ends with the same numbers.
    again = run(task, config, tmp_path / "run", Console(file=io.StringIO()))
    assert again["iw_nll"] == results["iw_nll"]
