"""From a configuration to the model and its parameters, and models that cannot be."""

import jax
import pytest

from jvae.decoders import CNN_SIZES
from jvae.errors import UserError
from jvae.experiments.building import make_model
from jvae.experiments.checks import check
from jvae.experiments.config import default_config
from jvae.experiments.setup import example_batch
from jvae.layers import denoising
from jvae.objectives import init
from jvae.posteriors.nvib import NVIB


def test_a_language_model_has_no_latent():
    config = default_config()
    assert make_model(config, 20).latent_size == 32
    config.model.mode = "lm"
    assert make_model(config, 20).latent_size == 0


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
        ({"prior": "mixture", "mode": "ae"}, "needs model.mode = 'vae'"),
        ({"prior": "vamp", "encoder": "none"}, "reads embeddings"),
        ({"prior": "vamp", "posterior": "full"}, "a mixture of 'diagonal'"),
        ({"prior": "mixture", "posterior_map": "batch_norm"}, "follow the posteriors"),
        ({"posterior": "vmf"}, "need each other"),
        ({"prior": "uniform_sphere"}, "need each other"),
        ({"posterior": "vmf", "prior": "uniform_sphere", "latent_size": 1}, "at least 2"),
        ({"posterior": "full", "mode": "ae"}, "'ae' has no such posterior"),
        ({"posterior": "full", "posterior_map": "committed_rate"}, "its bound holds for"),
        ({"posterior_map": "committed_rate", "mode": "ae"}, "bounds the KL of a posterior"),
        ({"posterior": "iaf", "mode": "lm"}, "'lm' has no such posterior"),
        ({"posterior": "planar", "prior": "vamp"}, "a mixture of 'diagonal'"),
        ({"refine_steps": 20, "mode": "ae"}, "no posterior to refine"),
        ({"refine_steps": 20, "posterior": "iaf"}, "needs model.posterior = 'diagonal'"),
        ({"refine_steps": 20, "posterior_map": "batch_norm"}, "would leave its bound"),
        ({"refine_momentum": 1.0}, "below 1"),
        ({"heads": 3, "encoder": "transformer"}, "does not divide model.hidden_size = 1024"),
        ({"attention": "denoising", "posterior": "vt"}, "it reads weights and variances"),
        ({"prior": "normal_set"}, "it is one of sets"),
        ({"posterior": "vt"}, "needs model.encoder = 'transformer', not 'lstm'"),
        ({**SETS, "decoder": "cnn"}, "needs model.decoder = 'transformer', not 'cnn'"),
        ({**SETS, "prior": "standard_normal"}, "needs model.prior = 'dirichlet_process'"),
        ({**SETS, "mode": "ae"}, "in mode 'ae' nothing would teach it"),
        ({**TOKENS, "posterior": "vts", "mode": "ae"}, "no such posterior"),
        ({**TOKENS, "posterior_map": "batch_norm"}, "its bound holds for"),
        ({**TOKENS, "refine_steps": 20}, "needs model.posterior = 'diagonal'"),
    ],
)
def test_a_combination_without_sense_is_refused(fields, says):
    config = default_config()
    config.model.update(fields)
    with pytest.raises(UserError) as caught:
        check(config)
    message = str(caught.value)
    assert message.startswith("model.") and says in message and "\n" not in message


@pytest.mark.parametrize(
    ("field", "value"),
    [("model.skip", True), ("model.denoise", "drop"), ("objective.bow_weight", 1.0)],
)
def test_what_works_through_z_needs_one(field, value):
    config = default_config()
    config.update_from_flattened_dict({field: value})
    check(config)
    config.model.mode = "lm"
    with pytest.raises(UserError, match=f"{field} = {value!r} needs a latent: model.mode = 'lm'"):
        check(config)


@pytest.mark.parametrize(
    ("field", "says"),
    [
        ("bow_weight", "one latent vector a sentence"),
        ("mi_weight", "one latent vector a sentence"),
        ("info_lambda", "model.prior = 'standard_normal'"),
        ("adversarial_weight", "model.prior = 'standard_normal'"),
    ],
)
def test_what_needs_one_vector_is_refused_with_sets(field, says):
    config = default_config()
    config.model.update(SETS)
    config.model.attention = "denoising"
    config.objective.loss = "by_name"
    check(config)
    config.objective[field] = 2.0
    with pytest.raises(UserError, match=rf"objective.{field} = 2.0 needs {says}"):
        check(config)


IWAE = {"objective.loss": "elbo", "objective.bound": "iwae", "objective.num_samples": 2}


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"training.pretrain_epochs": 2}, "has the prior of one vector, not of sets"),
        ({"objective.gradient": "stl"}, "needs objective.gradient = 'plain', not 'stl'"),
        (IWAE | {"objective.gradient": "dreg"}, "needs objective.gradient = 'plain', not 'dreg'"),
        ({"objective.loss": "elbo"}, "by which it would choose its best epoch; take 'by_name'"),
        ({"objective.loss": "free_bits", "objective.free_bits_mode": "total"}, "nats of the KL"),
        ({"objective.loss": "free_bits"}, "a KL that is a sum over dimensions"),
        ({"objective.loss": "capacity"}, "objective.loss = 'capacity' does not go with"),
        ({"objective.loss": "elbo", "objective.rate_control": "minimum_rate"}, "nats of the KL"),
        ({"model.denoise": "drop"}, "how many vectors damaged sentences have"),
        ({"training.aggressive": True}, "does not go with training.aggressive"),
        ({"model.skip": True}, "model.skip needs one latent vector: model.posterior = "),
    ],
)
def test_what_cannot_train_sets_is_refused(fields, says):
    config = default_config()
    config.model.update(SETS)
    config.objective.update({"kl_schedule": "constant", "loss": "by_name"})
    check(config)
    config.update_from_flattened_dict(fields)
    with pytest.raises(UserError, match=says):
        check(config)


def test_sets_may_train_by_the_importance_weighted_bound():
    config = default_config()
    config.model.update(SETS)
    config.objective.kl_schedule = "constant"
    config.update_from_flattened_dict(IWAE)
    check(config)


@pytest.mark.parametrize(
    "fields",
    [
        {"loss": "free_bits", "free_bits_mode": "total"},
        {"loss": "capacity"},
        {"rate_control": "minimum_rate"},
        {"rate_control": "soft_free_bits"},
    ],
)
def test_what_aims_at_a_kl_is_refused_where_it_is_a_constant(fields):
    config = default_config()
    config.objective.kl_schedule = "constant"
    config.objective.update(fields)
    check(config)
    config.model.update({"posterior": "vmf", "prior": "uniform_sphere"})
    with pytest.raises(UserError, match="'vmf': its KL is a constant, which model.vmf_kappa sets"):
        check(config)


def test_learned_positions_must_reach_the_longest_sentence():
    config = default_config()
    config.model.update({"decoder": "transformer", "positions": "learned", "max_positions": 20})
    config.data.max_length = 19
    check(config)
    config.data.max_length = 20
    with pytest.raises(UserError, match=r"model.max_positions = 20 must be at least 21"):
        check(config)


def test_an_autoencoder_may_have_a_vector_for_each_token():
    config = default_config()
    config.model.update(TOKENS | {"mode": "ae"})
    check(config)


def test_a_skip_connection_is_not_the_convolutions():
    config = default_config()
    config.model.update({"skip": True, "decoder": "cnn"})
    with pytest.raises(UserError, match="needs model.decoder = 'lstm' or 'transformer', not"):
        check(config)


def parameters(**options) -> dict:
    """Names and shapes of a small model's parameters; a double underscore is a dot."""
    config = default_config()
    config.model.update({"latent_size": 2, "embed_size": 3, "hidden_size": 4})
    config.update_from_flattened_dict({k.replace("__", "."): v for k, v in options.items()})
    model, batch = make_model(config, 10), example_batch()
    return jax.eval_shape(lambda key: init(model, batch, key=key), jax.random.key(0))


def test_the_configuration_chooses_the_parameters_of_remedies():
    plain = parameters()
    assert "bag_of_words" not in plain["decoder"]  # weight 0: no parameters
    with_head = parameters(objective__bow_weight=0.5)
    assert with_head["decoder"]["text"] == plain["decoder"]
    assert with_head["decoder"]["bag_of_words"]["output_kernel"].shape == (400, 10)
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
            for name in parameters(model__decoder="cnn", model__cnn_size=size)["decoder"]
        )
        for size in CNN_SIZES
    }
    assert blocks == {"S": 3, "M": 5, "L": 10, "VL": 14}


def test_the_configuration_chooses_the_transformer():
    options = {
        "encoder": "transformer",
        "decoder": "transformer",
        "layers": 3,
        "feed_forward": 6,
        "norm": "post",
        "positions": "learned",
        "max_positions": 9,
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
        found = parameters(**sets, model__attention=attention)
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
    options = {"model__attention_bias": "v1", "model__nvib_prune": 0.3, "model__layers": 1}
    parameters(**sets, **options, model__attention="denoising", model__nvib_alpha="exp")
    assert set(variants) == {"v1"} and set(thresholds) == {0.3}  # of the decoder, of the posterior
    variants.clear(), thresholds.clear()
    parameters(**options, model__encoder="transformer", model__nvib_layers=1)
    # An NVIB layer tells the one above of all alphas.
    assert set(variants) == {"v1"} and set(thresholds) == {0.0, 0.3}
    # Without a threshold: of what the prior expects, where alpha is never 0.
    for alpha, expected in (("relu", 0.0), ("exp", pytest.approx(0.1))):
        thresholds.clear()
        parameters(**sets, model__layers=1, model__nvib_alpha=alpha, model__nvib_delta=0.25)
        assert len(set(thresholds)) == 1 and thresholds[0] == expected
