"""From the fields of NVIB to model, schedules and score, and the model's steps."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jvae
from jvae import posteriors
from jvae.data import Corpus
from jvae.errors import UserError
from jvae.evaluation.corpus import samples_per_chunk
from jvae.experiments import nvib
from jvae.experiments.building import make_model, make_schedules
from jvae.experiments.checks import check
from jvae.experiments.config import default_config
from jvae.experiments.job import score
from jvae.experiments.memory import decoder_states
from jvae.experiments.setup import encode_corpus, example_batch, initial_state, make_tokenizer
from jvae.objectives import negative_elbo_by_name
from jvae.posteriors import POSTERIORS
from jvae.posteriors.nvib import NVIB
from jvae.types import BOS, EOS
from tests.conftest import VOCAB, make_batch
from tests.training.setting import WIDTH, assert_close, make_problem

KEY = jax.random.key(3)
TINY = {"latent_size": 4, "embed_size": 4, "hidden_size": 4, "feed_forward": 4}
BATCH = make_batch(3, 4)


def config_with(**fields):
    config = nvib.get_config()
    config.model.update(TINY)
    config.update_from_flattened_dict({k.replace("__", "."): v for k, v in fields.items()})
    check(config)
    return config


def shapes_of(model):
    return jax.eval_shape(lambda key: jvae.init(model, BATCH, key=key), KEY)


@pytest.mark.parametrize(("alpha", "kappa"), [("relu", 1), ("exp", 3)])
def test_the_fields_reach_posterior_and_prior(alpha, kappa):
    config = config_with(
        model__nvib_alpha=alpha,
        model__nvib_kappa=kappa,
        model__nvib_delta=0.25,
        model__nvib_prior_alpha=0.5,
    )
    model = make_model(config, VOCAB)
    params = shapes_of(model)
    q = jax.eval_shape(lambda params: model.infer(params, BATCH, key=KEY, train=False), params)
    assert q.kappa == kappa
    assert ("alpha_quadratic" in params["encoder"]["posterior"]) == (alpha == "exp")
    p = jax.eval_shape(model.prior.distribution, params)
    assert (p.delta, p.prior_alpha, p.kappa) == (0.25, 0.5, kappa)


def test_what_is_left_out_follows_from_delta(monkeypatch):
    """The start, and the threshold of alphas that are never 0."""
    found = {}
    plain = posteriors.nvib(latent_size=4)
    monkeypatch.setitem(POSTERIORS, "nvib", lambda **options: found.update(options) or plain)
    for fields, expected in (
        ({}, {"start": 0.25, "prune": 0.0}),
        ({"start": 3.0, "prune": 0.01}, {"start": 3.0, "prune": 0.01}),
        ({"alpha": "exp"}, {"start": 0.25, "prune": pytest.approx(0.1)}),
        ({"alpha": "exp", "delta": 0.0}, {"start": 1.0, "prune": 0.4}),
    ):
        given = {"delta": 0.25} | fields
        make_model(config_with(**{f"model__nvib_{k}": v for k, v in given.items()}), VOCAB)
        assert {name: found[name] for name in expected} == expected


ONE_VECTOR = {
    "model.posterior": "diagonal",
    "model.prior": "standard_normal",
    "model.attention": "dot_product",
}


def test_the_configuration_reaches_the_encoder():
    config = nvib.get_config()
    config.model.update({"nvib_layers": 2, "layers": 3, "nvib_prior_alpha": 0.5})
    check(config)
    model = make_model(config, 20)
    params = jax.eval_shape(model.encoder.init, KEY, example_batch())
    assert {"bottlenecks_0", "bottlenecks_1"} <= set(params)
    blocks = params["transformer"]
    own = ["self_attention" in blocks[f"blocks_{number}"] for number in range(3)]
    assert own == [True, False, False]
    apply = partial(model.encoder.apply, key=KEY, train=True)
    found = jax.eval_shape(apply, params, example_batch())
    assert set(found.figures) == {"vectors_layer_2", "vectors_layer_3"}
    config.update_from_flattened_dict(ONE_VECTOR)
    check(config)


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"model.nvib_layers": -1}, "at least 0"),
        ({"model.nvib_layers": 2}, "at most model.layers = 1"),
        (ONE_VECTOR | {"model.encoder": "lstm"}, "needs model.encoder = 'transformer', not 'lstm'"),
        (ONE_VECTOR | {"model.posterior_map": "diversity"}, "model.posterior_map = 'diversity'"),
        (ONE_VECTOR | {"objective.loss": "elbo"}, "needs objective.loss = 'by_name', not 'elbo'"),
        ({"objective.gradient": "stl"}, "needs objective.gradient = 'plain', not 'stl'"),
    ],
)
def test_what_does_not_go_with_nvib_layers_is_refused(fields, says):
    config = nvib.get_config()
    config.model.nvib_layers = 1
    check(config)
    config.update_from_flattened_dict(fields)
    with pytest.raises(UserError, match=says):
        check(config)


def test_the_weights_by_name_follow_the_schedule():
    fields = {"loss": "by_name", "gaussian_weight": 0.125, "dirichlet_weight": 3.0}
    fields |= {"kl_start": 0.0, "kl_end": 0.5, "kl_epochs": 2.0}
    config = config_with(**{f"objective__{name}": value for name, value in fields.items()})
    schedules = make_schedules(config, steps_per_epoch=10)
    assert set(schedules) == {"kl_weight", "gaussian_weight", "dirichlet_weight"}
    for step, weight in ((0, 0.0), (5, 0.125), (20, 0.5), (99, 0.5)):
        found = {name: float(schedule(step)) for name, schedule in schedules.items()}
        assert found["kl_weight"] == pytest.approx(weight)
        assert found["gaussian_weight"] == pytest.approx(0.125 * weight)
        assert found["dirichlet_weight"] == pytest.approx(3 * weight)


@pytest.mark.parametrize("field", ["gaussian_weight", "dirichlet_weight"])
def test_weights_by_name_need_the_loss_that_reads_them(field):
    config = default_config()
    config.objective[field] = 0.5
    config.objective.loss = "by_name"
    check(config)
    config.objective.loss = "elbo"
    with pytest.raises(UserError, match=rf"objective.{field} = 0.5 needs objective.loss = 'by_n"):
        check(config)
    config.model.mode = "ae"  # has no KL to weigh: a baseline takes over what it does not read
    check(config)


def test_an_epoch_is_judged_by_the_last_weights_of_its_terms():
    """`-rec - kl_end (w_G KL_G + w_D KL_D) - KL_length`, those of the layers among them."""
    fields = {"kl_end": 0.5, "gaussian_weight": 0.25, "dirichlet_weight": 2.0}
    fields = {f"objective__{name}": value for name, value in fields.items()}
    one_vector = {"rec": 7.0, "kl": 100.0, "elbo": -107.0}
    figures = one_vector | {"kl_length": 0.375, "kl_gaussian": 8.0, "kl_dirichlet": 3.0}
    config = config_with(**fields)
    assert score(config, figures) == pytest.approx(-7 - 0.5 * (0.25 * 8 + 2 * 3) - 0.375)
    of_layers = {"kl_gaussian_layers": 4.0, "kl_dirichlet_layers": 1.5}
    expected = -7 - 0.5 * (0.25 * 12 + 2 * 4.5) - 0.375
    assert score(config, figures | of_layers) == pytest.approx(expected)
    config.update_from_flattened_dict(ONE_VECTOR)
    check(config)
    assert score(config, one_vector) == pytest.approx(-7 - 0.5 * 0.25 * 100)


def with_dropped(model):
    """Parameters that are not fresh; the ReLU deletes most vectors."""
    rng = np.random.default_rng(4)
    params = jax.tree.map(
        lambda s: jnp.asarray(rng.uniform(-0.8, 0.8, s.shape), s.dtype), shapes_of(model)
    )
    kernel = params["encoder"]["posterior"]["alpha"]["kernel"]
    params["encoder"]["posterior"]["alpha"] = {"kernel": -12 * kernel, "bias": -jnp.ones(1)}
    return params


@pytest.fixture
def quick_gamma(monkeypatch):
    """Of the exact draws the gradient alone compiles for long; it is tested with the posterior."""

    def draw(key, log_alpha):
        return log_alpha + 0.1 * jax.random.normal(key, log_alpha.shape)

    monkeypatch.setitem(NVIB.sample.__globals__, "draw_log_gamma", draw)


@pytest.mark.slow
@pytest.mark.usefixtures("quick_gamma")
@pytest.mark.parametrize("dtype", [None, jnp.bfloat16], ids=["float32", "bfloat16"])
def test_with_alphas_of_zero_values_and_gradients_are_finite(dtype):
    """The second sentence is `</s>` alone."""
    model = make_model(config_with(), VOCAB, dtype)
    params = with_dropped(model)
    tokens = BATCH.tokens.at[1].set(0).at[1, :2].set(jnp.asarray([BOS, EOS]))
    batch = BATCH._replace(tokens=tokens, lengths=BATCH.lengths.at[1].set(1))

    @partial(jax.grad, has_aux=True)
    def gradient(params):
        terms = jvae.elbo(model, params, batch, key=KEY, train=True)
        losses = negative_elbo_by_name(terms, {"dirichlet_weight": 2.0}, batch.weight)
        return jnp.mean(losses), (losses, terms.kl, terms.posterior.log_alpha)

    grad, (losses, kl, log_alpha) = jax.jit(gradient)(params)
    for leaf in jax.tree.leaves((grad, losses, kl)):
        assert np.all(np.isfinite(leaf))
    assert np.any(grad["encoder"]["posterior"]["alpha"]["kernel"] != 0)
    kept = np.asarray(log_alpha[:, 1:] != -jnp.inf)
    assert np.any(kept) and np.any(batch.mask & ~kept) and not np.any(kept[1])


@pytest.mark.slow
@pytest.mark.usefixtures("quick_gamma")
def test_four_devices_give_the_numbers_of_one():
    """Each sentence's sets are drawn by its number, wherever it lies."""

    def initialise(vocab_size):
        model = make_model(config_with(data__max_length=WIDTH), vocab_size)
        return model, with_dropped(model)

    options = {"inner": None, "buckets": 1, "loss": negative_elbo_by_name, "initialise": initialise}
    one, four = (
        make_problem(mode, devices, aggressive=False, **options)
        for mode, devices in (("jit", 1), ("pmap", 4))
    )
    after = [problem.run(problem.state, range(2)) for problem in (one, four)]
    assert_close(after[1].params, after[0].params, rtol=1e-4, atol=2e-5)
    assert_close(after[1].totals, after[0].totals, rtol=1e-4)


@pytest.mark.parametrize(
    ("sizes", "measured"),  # tokens, and H, F, P, heads, kappa; what XLA's analysis gave on a CPU
    [
        ((50, 128, 512, 128, 1, 1), 57_604),
        ((100, 128, 256, 64, 8, 1), 252_999),
        ((40, 64, 128, 64, 2, 1), 23_934),
        ((40, 64, 128, 64, 2, 5), 120_079),
        ((64, 256, 256, 64, 4, 1), 65_793),
    ],
)
def test_the_states_of_a_decoder_are_about_as_many_as_xla_says(sizes, measured):
    tokens, *sizes = sizes
    names = ("hidden_size", "feed_forward", "latent_size", "heads", "nvib_kappa")
    config = config_with()
    config.model.update(dict(zip(names, sizes, strict=True)))
    states = decoder_states(config, tokens)
    assert measured / 1.3 < states < 2.2 * measured
    # A budget for the states of three samples of eight sentences; three times as many logits.
    for vocab_size, samples in ((states // 9, 3), (states, 1)):
        assert samples_per_chunk(3 * 4 * 8 * states, 8, vocab_size, states) == samples
    config.model.decoder = "lstm"
    assert decoder_states(config, tokens) == 0


@pytest.mark.parametrize(("posterior", "counts"), [("vt", {3: 2, 5: 1}), ("vts", {2: 2, 3: 1})])
def test_the_prior_counts_as_the_training_text_does_from_the_start(posterior, counts):
    config = config_with(
        model__posterior=posterior,
        model__prior="normal_set",
        model__attention="dot_product",
        model__vts_stride=0.5,
        data__max_length=4,
    )
    state = initial_state(config, make_model(config, VOCAB), np.array([3, 5, 3]))
    expected = np.ones(6)
    for number, sentences in counts.items():
        expected[number] += sentences
    logits = state.params["prior"]["logits"]
    np.testing.assert_allclose(jax.nn.softmax(logits), expected / 9, rtol=1e-5)


@pytest.mark.parametrize("limit", [4, 3])
def test_sentences_of_more_tokens_than_the_prior_counts_are_refused(limit):
    config = config_with(data__max_length=0, model__max_positions=limit)
    sentences = dict.fromkeys(("train", "valid", "test"), ["a b", "a b c"])
    corpus = Corpus("tiny", sentences, None, None, (), "")
    tokenizer = make_tokenizer(config, corpus)
    if limit == 4:  # three words and </s>
        assert encode_corpus(config, corpus, tokenizer).buckets.widths[-1] == 4
        return
    with pytest.raises(UserError, match=r"model.max_positions = 3 must be at least 4"):
        encode_corpus(config, corpus, tokenizer)
