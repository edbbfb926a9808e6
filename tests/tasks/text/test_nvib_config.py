"""From the fields of NVIB to model, schedules and score, and the model's steps."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jvae
from jvae.batch import BOS, EOS
from jvae.components import check
from jvae.data import Corpus
from jvae.errors import UserError
from jvae.evaluation.corpus import samples_per_chunk
from jvae.experiments import nvib
from jvae.objectives import negative_elbo_by_name
from jvae.posteriors.nvib import NVIB
from jvae.runs.directory import initial_state
from jvae.tasks.text.config import TEXT_GROUPS
from jvae.tasks.text.data import Source, load
from jvae.tasks.text.model import decoder_states, example_batch, make_model, make_shared
from jvae.tasks.text.objective import make_schedules, score
from jvae.tasks.text.task import TEXT
from tests.conftest import VOCAB, make_batch
from tests.training.setting import WIDTH, assert_close, make_problem

KEY = jax.random.key(3)
TINY = {"latent_size": 4, "embed_size": 4, "hidden_size": 4, "transformer": {"feed_forward": 4}}
BATCH = make_batch(3, 4)


def config_with(**fields):
    config = nvib.get_config()
    config.model.update(TINY)
    config.update_from_flattened_dict({k.replace("__", "."): v for k, v in fields.items()})
    check(TEXT_GROUPS, config)
    return config


def shapes_of(model):
    return jax.eval_shape(lambda key: jvae.init(model, BATCH, key=key), KEY)


@pytest.mark.parametrize(("alpha", "kappa"), [("relu", 1), ("exp", 3)])
def test_the_fields_reach_posterior_and_prior(alpha, kappa):
    config = config_with(
        model__nvib__alpha=alpha,
        model__nvib__kappa=kappa,
        model__nvib__delta=0.25,
        model__nvib__prior_alpha=0.5,
    )
    model = make_model(config, VOCAB)
    params = shapes_of(model)
    infer = partial(model.infer, key=KEY, train=False)
    q = jax.eval_shape(lambda params: infer(params, BATCH).posterior, params)
    assert q.kappa == kappa
    assert ("alpha_quadratic" in params["encoder"]["posterior"]) == (alpha == "exp")
    p = jax.eval_shape(partial(model.prior.apply, context=None), params)
    assert (p.delta, p.prior_alpha, p.kappa) == (0.25, 0.5, kappa)


def test_what_is_left_out_follows_from_delta():
    """The start, and the threshold of alphas that are never 0."""
    for fields, (start, prune) in (
        ({}, (0.25, 0.0)),
        ({"start": 3.0, "prune": 0.01}, (3.0, 0.01)),
        ({"alpha": "exp"}, (0.25, 0.1)),
        ({"alpha": "exp", "delta": 0.0}, (1.0, 0.4)),
    ):
        given = {"delta": 0.25} | fields
        config = config_with(**{f"model__nvib__{k}": v for k, v in given.items()})
        head = make_shared(config, VOCAB).family.posterior
        assert (head.start, head.prune) == (start, pytest.approx(prune))


ONE_VECTOR = {
    "model.posterior": "diagonal",
    "model.prior": "standard_normal",
    "model.transformer.attention": "dot_product",
}


def test_the_configuration_reaches_the_encoder():
    config = nvib.get_config()
    config.model.transformer.update({"nvib_layers": 2, "layers": 3})
    config.model.nvib.prior_alpha = 0.5
    check(TEXT_GROUPS, config)
    model = make_model(config, 20)
    params = jax.eval_shape(model.encoder.init, KEY, example_batch(), None)
    assert {"bottlenecks_0", "bottlenecks_1"} <= set(params)
    blocks = params["transformer"]
    own = ["self_attention" in blocks[f"blocks_{number}"] for number in range(3)]
    assert own == [True, False, False]
    apply = partial(model.encoder.apply, key=KEY, train=True)
    found = jax.eval_shape(apply, params, example_batch(), None)
    assert set(found.metrics) == {"vectors_layer_2", "vectors_layer_3"}
    config.update_from_flattened_dict(ONE_VECTOR)
    check(TEXT_GROUPS, config)


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"model.transformer.nvib_layers": -1}, "at least 0"),
        ({"model.transformer.nvib_layers": 2}, "at most model.transformer.layers = 1"),
        (
            ONE_VECTOR | {"model.encoder": "lstm"},
            "model.encoder = 'transformer' gives it, not 'lstm'",
        ),
        (
            ONE_VECTOR | {"model.posterior_map": "diversity"},
            "model.posterior_map = 'none' gives it, not 'diversity'",
        ),
        (
            ONE_VECTOR | {"objective.loss": "elbo"},
            "objective.loss = 'by_name' gives it, not 'elbo'",
        ),
        ({"objective.gradient": "stl"}, "objective.gradient = 'plain' gives it, not 'stl'"),
    ],
)
def test_what_does_not_go_with_nvib_layers_is_refused(fields, says):
    config = nvib.get_config()
    config.model.transformer.nvib_layers = 1
    check(TEXT_GROUPS, config)
    config.update_from_flattened_dict(fields)
    with pytest.raises(UserError, match=says):
        check(TEXT_GROUPS, config)


def test_the_weights_by_name_follow_the_schedule():
    fields = {"loss": "by_name"}
    fields |= {"by_name__gaussian_weight": 0.125, "by_name__dirichlet_weight": 3.0}
    fields |= {"kl_start": 0.0, "kl_end": 0.5, "kl_epochs": 2.0}
    config = config_with(**{f"objective__{name}": value for name, value in fields.items()})
    schedules = make_schedules(config, steps_per_epoch=10)
    assert set(schedules) == {"kl_weight", "gaussian_weight", "dirichlet_weight"}
    for step, weight in ((0, 0.0), (5, 0.125), (20, 0.5), (99, 0.5)):
        found = {name: float(schedule(step)) for name, schedule in schedules.items()}
        assert found["kl_weight"] == pytest.approx(weight)
        assert found["gaussian_weight"] == pytest.approx(0.125 * weight)
        assert found["dirichlet_weight"] == pytest.approx(3 * weight)


def test_an_epoch_is_judged_by_the_last_weights_of_its_terms():
    """`-rec - kl_end (w_G KL_G + w_D KL_D) - KL_length`, those of the layers among them."""
    fields = {"kl_end": 0.5}
    fields |= {"by_name__gaussian_weight": 0.25, "by_name__dirichlet_weight": 2.0}
    fields = {f"objective__{name}": value for name, value in fields.items()}
    one_vector = {"rec": 7.0, "kl": 100.0, "elbo": -107.0}
    metrics = one_vector | {"kl_length": 0.375, "kl_gaussian": 8.0, "kl_dirichlet": 3.0}
    config = config_with(**fields)
    assert score(config, metrics) == pytest.approx(-7 - 0.5 * (0.25 * 8 + 2 * 3) - 0.375)
    of_layers = {"kl_gaussian_layers": 4.0, "kl_dirichlet_layers": 1.5}
    expected = -7 - 0.5 * (0.25 * 12 + 2 * 4.5) - 0.375
    assert score(config, metrics | of_layers) == pytest.approx(expected)
    config.update_from_flattened_dict(ONE_VECTOR)
    check(TEXT_GROUPS, config)
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
    ids = BATCH.x.ids.at[1].set(0).at[1, :2].set(jnp.asarray([BOS, EOS]))
    batch = jvae.text_batch(ids, BATCH.x.lengths.at[1].set(1))

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
    assert np.any(kept) and np.any(batch.x.mask & ~kept) and not np.any(kept[1])


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
    names = ("hidden_size", "transformer.feed_forward", "latent_size", "transformer.heads")
    fields = zip((*names, "nvib.kappa"), sizes, strict=True)
    config = config_with()
    config.update_from_flattened_dict({f"model.{name}": size for name, size in fields})
    states = decoder_states(config, tokens)
    assert measured / 1.3 < states < 2.2 * measured
    # A budget for the states of three samples of eight sentences; three times as many logits.
    for vocab_size, samples in ((states // 9, 3), (states, 1)):
        assert samples_per_chunk(3 * 4 * 8 * states, 8, vocab_size, states) == samples
    config.model.decoder = "lstm"
    assert decoder_states(config, tokens) == 0


def read(config, *sentences: str):
    """The data of a corpus whose splits are all the same."""
    splits = dict.fromkeys(("train", "valid", "test"), list(sentences))
    data = load(config, source=Source(Corpus("tiny", splits, None, None, (), "")))
    TEXT.check_data(config, data)
    return data


@pytest.mark.parametrize(("posterior", "counts"), [("vt", {3: 2, 5: 1}), ("vts", {2: 2, 3: 1})])
def test_the_prior_counts_as_the_training_text_does_from_the_start(posterior, counts):
    config = config_with(
        model__posterior=posterior,
        model__prior="normal_set",
        model__transformer__attention="dot_product",
        model__vts__stride=0.5,
        data__max_length=4,
    )
    data = read(config, "a b", "a b c d", "b a")
    model = TEXT.build(config, data.resources, None)
    state = initial_state(TEXT, config, model, data.resources, data)
    expected = np.ones(6)
    for number, sentences in counts.items():
        expected[number] += sentences
    logits = state.params["prior"]["logits"]
    np.testing.assert_allclose(jax.nn.softmax(logits), expected / 9, rtol=1e-5)


@pytest.mark.parametrize("limit", [4, 3])
def test_sentences_of_more_tokens_than_the_prior_counts_are_refused(limit):
    config = config_with(data__max_length=0, model__transformer__max_positions=limit)
    if limit == 4:  # three words and </s>
        assert read(config, "a b", "a b c").buckets.widths[-1] == 4
        return
    with pytest.raises(UserError, match=r"transformer.max_positions = 3 must be at least 4"):
        read(config, "a b", "a b c")
