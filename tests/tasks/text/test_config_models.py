"""From a configuration to the model and its parameters, and models that cannot be."""

import jax
import pytest

from jvae.components import check
from jvae.decoders import CNN_SIZES
from jvae.errors import UserError
from jvae.layers import denoising
from jvae.objectives import init
from jvae.posteriors.nvib import NVIB
from jvae.tasks.text.config import TEXT_GROUPS, default_config
from jvae.tasks.text.model import example_batch, make_model, make_shared


def update(config, fields):
    """Fields of `model`; a double underscore is a dot."""
    config.update_from_flattened_dict(
        {f"model.{k.replace('__', '.')}": v for k, v in fields.items()}
    )


def test_a_language_model_has_no_latent():
    config = default_config()
    assert make_shared(config, 20).latent_size == 32
    config.model.mode = "lm"
    assert make_shared(config, 20).latent_size == 0
    assert jax.eval_shape(make_model(config, 20).encoder.init, KEY, example_batch(), None) == {}


KEY = jax.random.key(0)
SETS = {
    "encoder": "transformer",
    "decoder": "transformer",
    "posterior": "nvib",
    "prior": "dirichlet_process",
}
TOKENS = SETS | {"posterior": "vt", "prior": "normal_set"}


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"prior": "mixture", "mode": "ae"}, "elsewhere nothing would teach it"),
        ({"prior": "vamp", "encoder": "none"}, "a model without a latent"),
        ({"prior": "vamp", "posterior": "full"}, "it is a mixture of them"),
        ({"prior": "mixture", "posterior_map": "batch_norm"}, "follow the posteriors"),
        ({"posterior": "vmf"}, "model.prior = 'uniform_sphere' gives it, not 'standard_normal'"),
        ({"prior": "uniform_sphere"}, "model.posterior = 'vmf' gives it, not 'diagonal'"),
        ({"posterior": "vmf", "prior": "uniform_sphere", "latent_size": 1}, "at least 2"),
        ({"posterior": "full", "mode": "ae"}, "model.mode = 'vae' gives it, not 'ae'"),
        ({"posterior": "full", "posterior_map": "committed_rate"}, "its bound holds for"),
        ({"posterior_map": "committed_rate", "mode": "ae"}, "bounds the KL of a posterior"),
        ({"posterior": "iaf", "mode": "lm"}, "model.mode = 'vae' gives it, not 'lm'"),
        ({"posterior": "planar", "prior": "vamp"}, "it is a mixture of them"),
        ({"refine": "semi_amortised", "mode": "ae"}, "no posterior to refine"),
        ({"refine": "semi_amortised", "posterior": "iaf"}, "model.posterior = 'diagonal' gives it"),
        ({"refine": "semi_amortised", "posterior_map": "batch_norm"}, "would leave the bound"),
        ({"semi_amortised__momentum": 1.0}, "below 1"),
        (
            {"transformer__heads": 3, "encoder": "transformer"},
            "must divide model.hidden_size = 1024",
        ),
        (
            TOKENS | {"transformer__attention": "denoising"},
            "it reads weights and variances; model.posterior = 'nvib' gives it, not 'vt'",
        ),
        ({"prior": "normal_set"}, "it is a prior of sets"),
        ({"posterior": "vt"}, "model.encoder = 'transformer' gives it, not 'lstm'"),
        ({**SETS, "decoder": "cnn"}, "model.decoder = 'transformer' gives it, not 'cnn'"),
        ({**SETS, "prior": "standard_normal"}, "model.prior = 'dirichlet_process' gives it"),
        ({**SETS, "mode": "ae"}, "model.mode = 'vae' gives it, not 'ae'"),
        ({**TOKENS, "posterior": "vts", "mode": "ae"}, "model.mode = 'vae' gives it, not 'ae'"),
        ({**TOKENS, "mode": "lm"}, "model.posterior = 'vt' needs a latent"),
        ({**TOKENS, "posterior_map": "batch_norm"}, "its bound holds for"),
        ({**TOKENS, "refine": "semi_amortised"}, "model.posterior = 'diagonal' gives it"),
    ],
)
def test_a_combination_without_sense_is_refused(fields, says):
    config = default_config()
    update(config, fields)
    with pytest.raises(UserError) as caught:
        check(TEXT_GROUPS, config)
    message = str(caught.value)
    assert message.startswith("model.") and says in message and "\n" not in message


@pytest.mark.parametrize(
    ("field", "value"),
    [("model.skip", True), ("model.denoise", "drop"), ("objective.bow_weight", 1.0)],
)
def test_what_works_through_z_needs_one(field, value):
    config = default_config()
    config.update_from_flattened_dict({field: value})
    check(TEXT_GROUPS, config)
    config.model.mode = "lm"
    with pytest.raises(
        UserError,
        match=rf"{field} = {value!r} needs a latent: .*model.mode = 'vae' or 'ae' gives it",
    ):
        check(TEXT_GROUPS, config)


@pytest.mark.parametrize(
    ("field", "says"),
    [
        ("bow_weight", "one latent vector for each example"),
        ("mi_weight", "one latent vector for each example"),
        ("info_lambda", "a standard normal prior"),
        ("adversarial_weight", "a standard normal prior"),
    ],
)
def test_what_needs_one_vector_is_refused_with_sets(field, says):
    config = default_config()
    config.model.update(SETS)
    config.model.transformer.attention = "denoising"
    config.objective.loss = "by_name"
    check(TEXT_GROUPS, config)
    config.objective[field] = 2.0
    with pytest.raises(UserError, match=rf"objective.{field} = 2.0 needs {says}"):
        check(TEXT_GROUPS, config)


BY_NAME = "training has other terms than the ELBO; 'by_name' weighs them"
IWAE = {"objective.loss": "elbo", "objective.bound": "iwae", "objective.num_samples": 2}


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"training.pretrain_epochs": 2}, "has the prior of one vector, not of sets"),
        ({"objective.gradient": "stl"}, "one vector and one KL term, not those of a set"),
        (IWAE | {"objective.gradient": "dreg"}, "one vector and one KL term, not those of a set"),
        (
            {"objective.loss": "elbo"},
            BY_NAME,
        ),
        ({"objective.loss": "free_bits", "objective.free_bits.mode": "total"}, BY_NAME),
        ({"objective.loss": "free_bits"}, BY_NAME),
        ({"objective.loss": "capacity"}, BY_NAME),
        ({"objective.loss": "elbo", "objective.rate_control": "minimum_rate"}, BY_NAME),
        ({"objective.rate_control": "minimum_rate"}, "aims at nats of the KL"),
        ({"model.denoise": "drop"}, "how many vectors damaged sentences have"),
        (
            {"training.aggressive": True},
            "training.aggressive = True needs diagonal Gaussian posteriors",
        ),
        ({"model.skip": True}, "model.skip = True needs one latent vector for each example"),
    ],
)
def test_what_cannot_train_sets_is_refused(fields, says):
    config = default_config()
    config.model.update(SETS)
    config.objective.update({"kl_schedule": "constant", "loss": "by_name"})
    check(TEXT_GROUPS, config)
    config.update_from_flattened_dict(fields)
    with pytest.raises(UserError, match=says):
        check(TEXT_GROUPS, config)


def test_sets_may_train_by_the_importance_weighted_bound():
    config = default_config()
    config.model.update(SETS)
    config.objective.kl_schedule = "constant"
    config.update_from_flattened_dict(IWAE)
    check(TEXT_GROUPS, config)


@pytest.mark.parametrize(
    "fields",
    [
        {"loss": "free_bits", "free_bits": {"mode": "total"}},
        {"loss": "capacity"},
        {"rate_control": "minimum_rate"},
        {"rate_control": "soft_free_bits"},
    ],
)
def test_what_aims_at_a_kl_is_refused_where_it_is_a_constant(fields):
    config = default_config()
    config.objective.kl_schedule = "constant"
    config.objective.update(fields)
    check(TEXT_GROUPS, config)
    config.model.update({"posterior": "vmf", "prior": "uniform_sphere"})
    with pytest.raises(UserError, match="which is a constant of 'vmf'"):
        check(TEXT_GROUPS, config)


def test_learned_positions_must_reach_the_longest_sentence():
    config = default_config()
    config.model.decoder = "transformer"
    config.model.transformer.update({"positions": "learned", "max_positions": 20})
    config.data.max_length = 19
    check(TEXT_GROUPS, config)
    config.data.max_length = 20
    with pytest.raises(
        UserError, match=r"model.transformer.max_positions = 20 must be at least 21"
    ):
        check(TEXT_GROUPS, config)


def test_an_autoencoder_may_have_a_vector_for_each_token():
    config = default_config()
    config.model.update(TOKENS | {"mode": "ae"})
    check(TEXT_GROUPS, config)


def test_a_skip_connection_is_not_the_convolutions():
    config = default_config()
    config.model.update({"skip": True, "decoder": "cnn"})
    with pytest.raises(
        UserError, match="model.decoder = 'lstm' or 'transformer' gives it, not 'cnn'"
    ):
        check(TEXT_GROUPS, config)


def parameters(**options) -> dict:
    """Names and shapes of a small model's parameters; a double underscore is a dot."""
    config = default_config()
    config.model.update({"latent_size": 2, "embed_size": 3, "hidden_size": 4})
    config.update_from_flattened_dict({k.replace("__", "."): v for k, v in options.items()})
    model, batch = make_model(config, 10), example_batch()
    return jax.eval_shape(lambda key: init(model, batch, key=key), jax.random.key(0))


def test_the_configuration_chooses_the_parameters_of_remedies():
    plain = parameters()
    for decoder in ("lstm", "transformer"):
        without, with_skip = (
            parameters(model__decoder=decoder, model__skip=skip)["decoder"]
            for skip in (False, True)
        )
        assert set(with_skip) - set(without) == {"latent_to_output"}
    assert parameters(model__denoise="mask") == plain
    blocks = {
        size: sum(
            name.startswith("blocks_")
            for name in parameters(model__decoder="cnn", model__cnn__size=size)["decoder"]
        )
        for size in CNN_SIZES
    }
    assert blocks == {"S": 3, "M": 5, "L": 10, "VL": 14}


def test_the_configuration_chooses_the_transformer():
    options = {
        "encoder": "transformer",
        "decoder": "transformer",
        "transformer__layers": 3,
        "transformer__feed_forward": 6,
        "transformer__norm": "post",
        "transformer__positions": "learned",
        "transformer__max_positions": 9,
    }
    found = parameters(**{f"model__{name}": value for name, value in options.items()})
    for part in ("encoder", "decoder"):
        stack = found[part]["transformer"]
        assert {name for name in stack if name.startswith("blocks_")} == {
            "blocks_0",
            "blocks_1",
            "blocks_2",
        }
        assert "final_norm" not in stack
        assert stack["position_table"].shape == (9, 4)
        assert stack["blocks_0"]["widen"]["kernel"].shape == (4, 6)
    assert found["decoder"]["transformer"]["blocks_0"]["latent"]["kernel"].shape == (2, 4)
    sets = {f"model__{name}": value for name, value in SETS.items()}
    for attention, expected in (("dot_product", "memory"), ("denoising", "key_kernel")):
        found = parameters(**sets, model__transformer__attention=attention)
        assert expected in found["decoder"]["transformer"]["blocks_0"]["cross_attention"]
        assert "head" not in found["encoder"]


def test_the_configuration_chooses_bias_and_pruning(monkeypatch):
    variants, thresholds = [], []
    precompute, pruned = denoising.precompute, NVIB.pruned

    def recorded(*arguments, variant, **options):
        variants.append(variant)
        return precompute(*arguments, variant=variant, **options)

    def also_recorded(q, least):
        thresholds.append(least)
        return pruned(q, least)

    monkeypatch.setattr(denoising, "precompute", recorded)
    monkeypatch.setattr(NVIB, "pruned", also_recorded)
    sets = {f"model__{name}": value for name, value in SETS.items()}
    options = {
        "model__transformer__attention_bias": "v1",
        "model__nvib__prune": 0.3,
        "model__transformer__layers": 1,
    }
    parameters(
        **sets, **options, model__transformer__attention="denoising", model__nvib__alpha="exp"
    )
    assert set(variants) == {"v1"} and set(thresholds) == {0.3}  # of the decoder, of the posterior
    variants.clear(), thresholds.clear()
    parameters(**options, model__encoder="transformer", model__transformer__nvib_layers=1)
    # An NVIB layer tells the one above of all alphas.
    assert set(variants) == {"v1"} and set(thresholds) == {0.0, 0.3}
    # Without a threshold: of what the prior expects, where alpha is never 0.
    for alpha, expected in (("relu", 0.0), ("exp", pytest.approx(0.1))):
        thresholds.clear()
        parameters(
            **sets, model__transformer__layers=1, model__nvib__alpha=alpha, model__nvib__delta=0.25
        )
        assert len(set(thresholds)) == 1 and thresholds[0] == expected
