"""Every configuration that ships, and the way from a configuration to the library's values."""

import copy
import importlib
import importlib.util
import pkgutil
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from absl import flags
from ml_collections import ConfigDict, config_flags

import jvae.experiments
from jvae.decoders import CNN_SIZES
from jvae.errors import UserError
from jvae.experiments import command, setup
from jvae.experiments.building import (
    make_control,
    make_inner_loop,
    make_model,
    make_optimisers,
    make_schedules,
)
from jvae.experiments.checks import check
from jvae.experiments.config import FREE_FIELDS, default_config, difference
from jvae.experiments.job import score
from jvae.experiments.objective import make_loss
from jvae.experiments.setup import example_batch
from jvae.layers import denoising
from jvae.objectives import ELBOTerms, init
from jvae.posteriors.nvib import NVIB

ROOT = Path(__file__).parents[2]
FILES = sorted((ROOT / "experiments" / "configs").rglob("*.py"))
EXPERIMENTS = [
    name
    for _, name, _ in pkgutil.iter_modules(jvae.experiments.__path__)
    if "def get_config()" in Path(jvae.experiments.__path__[0], f"{name}.py").read_text()
]


def load(path: Path):
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def overrides(command: str) -> dict[str, str]:
    words = command.replace("\\\n", " ").split()
    pairs = (word.split("=", 1) for word in words if word.startswith("--config."))
    return {name.removeprefix("--config."): value for name, value in pairs}


def test_the_lists_are_not_empty():
    assert {"chitchat", "ptb", "synthetic", "text"} <= set(EXPERIMENTS)
    papers = {path.stem for path in FILES if path.parent.name == "papers"}
    assert len(FILES) >= 16 and {"bowman2016", "li2019", "shen2020"} <= papers


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_an_experiment_is_a_configuration(name):
    module = importlib.import_module(f"jvae.experiments.{name}")
    config = module.get_config()
    check(config)
    on_chitchat = name in ("compare", "nvib", "nvib_comparison")
    assert config.data.name == ("chitchat" if on_chitchat else name)
    assert f"python -m jvae.experiments.{name}" in module.__doc__
    assert module.get_config.__doc__
    fields = config.to_dict()
    for field in overrides(module.__doc__):
        group, name = field.split(".")
        assert name in fields[group], field


@pytest.mark.parametrize("path", FILES, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_a_configuration_file_loads_and_says_how_to_run_it(path):
    module = load(path)
    config = module.get_config()
    check(config)
    relative = path.relative_to(ROOT)
    assert f"--config={relative}" in module.__doc__
    assert f"python -m jvae.experiments.{config.data.name}" in module.__doc__
    assert path.parent.name in (config.data.name, "papers")
    assert config.to_dict().keys() == default_config().to_dict().keys()


@pytest.mark.parametrize("path", FILES, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_a_configuration_file_has_only_known_fields(path):
    known, found = default_config().to_dict(), load(path).get_config().to_dict()
    assert {g: set(f) for g, f in found.items()} == {g: set(f) for g, f in known.items()}


def test_a_misspelt_field_is_refused_where_it_is_set():
    config = default_config()
    with pytest.raises(AttributeError, match="seed"):
        config.training.sed = 3
    with pytest.raises(KeyError, match="learning_rate"):
        config.training.update({"learning_rat": 3.0})
    with pytest.raises(TypeError):
        config.training.epochs = "many"


@pytest.mark.parametrize("field", FREE_FIELDS)
def test_free_fields_may_differ_on_resume(field):
    old, new = default_config().to_dict(), default_config().to_dict()
    group, name = field.split(".")
    assert name in new[group]
    new[group][name] = "something else"
    assert difference(old, new) is None


def fixed_fields() -> list[str]:
    groups = default_config().to_dict()
    names = [f"{group}.{name}" for group, fields in groups.items() for name in fields]
    return [name for name in names if name not in FREE_FIELDS]


@pytest.mark.parametrize("field", fixed_fields())
def test_every_other_field_is_named_with_both_values(field):
    old, new = default_config().to_dict(), default_config().to_dict()
    group, name = field.split(".")
    new[group][name] = "changed"
    assert difference(old, new) == f"{field} was {old[group][name]!r} and is now 'changed'"


def test_a_field_of_another_version_is_named():
    old = default_config().to_dict()
    new = copy.deepcopy(old)
    del old["model"]["prior"]
    assert difference(old, new) == "model.prior was None and is now 'standard_normal'"
    assert difference(new, new) is None


def test_a_run_older_than_a_field_had_its_default(tmp_path, monkeypatch):
    stored = default_config().to_dict()
    del stored["objective"]["info_alpha"]
    monkeypatch.setattr(setup.checkpoint, "open_checkpoints", lambda workdir: None)
    monkeypatch.setattr(setup.checkpoint, "load_meta", lambda checkpoints: {"config": stored})
    config = default_config()
    assert setup.open_run(config, tmp_path)[1] == {"config": stored}
    config.objective.info_alpha = 0.5
    with pytest.raises(UserError, match="objective.info_alpha was 0.0 and is now 0.5"):
        setup.open_run(config, tmp_path)


@pytest.mark.filterwarnings("ignore:the load_module:DeprecationWarning")  # of ml_collections
@pytest.mark.parametrize("separator", ["=", " "])
def test_a_runs_own_configuration_is_one(separator, tmp_path):
    config = default_config()
    config.training.update({"seed": 7, "learning_rate": 0.5})
    setup.save_config(tmp_path, config)
    words = f"--config{separator}{tmp_path / 'config.json'}".split(" ")
    given = flags.FlagValues()
    config_flags.DEFINE_config_file("config", flag_values=given)
    given(command._loadable(["program", *words]))
    assert given.config.to_dict() == config.to_dict()


def test_what_decides_the_phase_is_not_free():
    # The batch of He's MI estimator decides when the aggressive phase ends.
    old, new = default_config().to_dict(), default_config().to_dict()
    new["evaluation"]["mi_batch_size"] = 64
    assert "mi_batch_size" in difference(old, new)


def weights(steps, **options) -> list[float]:
    config = default_config()
    config.objective.update(options)
    schedule = make_schedules(config, steps_per_epoch=100)["kl_weight"]
    return [float(schedule(step)) for step in steps]


def test_linear_counts_in_epochs():
    found = weights([0, 100, 200, 400], kl_schedule="linear", kl_start=0.2, kl_epochs=2.0)
    np.testing.assert_allclose(found, [0.2, 0.6, 1.0, 1.0], rtol=1e-6)
    found = weights([0, 25, 50], kl_schedule="linear", kl_start=0.0, kl_epochs=0.5, kl_end=0.4)
    np.testing.assert_allclose(found, [0.0, 0.2, 0.4], rtol=1e-6)


def test_linear_may_wait():
    found = weights([0, 100, 150, 200, 400], kl_start=0.0, kl_epochs=1.0, kl_delay=1.0)
    np.testing.assert_allclose(found, [0, 0, 0.5, 1, 1], atol=1e-6)


def test_the_dirichlet_weight_has_a_schedule_of_its_own():
    config = default_config()
    config.objective.update(
        {"loss": "by_name", "kl_start": 0.0, "kl_epochs": 1.0, "gaussian_weight": 3.0}
    )
    config.objective.dirichlet_weight = 0.5

    def found() -> list[list[float]]:
        schedules = make_schedules(config, steps_per_epoch=100)
        names = ("gaussian_weight", "dirichlet_weight")
        return [[float(schedules[name](step)) for step in (0, 50, 200)] for name in names]

    np.testing.assert_allclose(found(), [[0, 1.5, 3], [0, 0.25, 0.5]], rtol=1e-6)
    config.objective.update({"dirichlet_schedule": "linear", "dirichlet_epochs": 4.0})
    np.testing.assert_allclose(found(), [[0, 1.5, 3], [0, 0.0625, 0.25]], rtol=1e-6)


def test_the_best_epoch_is_chosen_by_what_training_weighs():
    config = default_config()
    config.objective.update({"loss": "by_name", "gaussian_weight": 0.5, "dirichlet_weight": 2.0})
    config.objective.kl_end = 0.1
    figures = {"rec": 10.0, "kl": 99.0, "elbo": -109.0, "kl_gaussian": 4.0, "kl_dirichlet": 3.0}
    figures |= {"kl_gaussian_layers": 2.0, "kl_length": 7.0}
    assert score(config, figures) == pytest.approx(-10 - 0.1 * (2 + 6 + 1) - 7)
    config.objective.loss = "elbo"
    assert score(config, figures) == -109


@pytest.mark.parametrize("schedule", ["constant", "linear", "logistic", "cyclical"])
def test_without_a_last_weight_the_best_epoch_is_the_best_reconstruction(schedule):
    config = default_config()
    config.objective.update({"kl_schedule": schedule, "kl_end": 0.0})
    assert weights([10**6], kl_schedule=schedule, kl_end=0.0) == [0.0]
    assert score(config, {"rec": 10.0, "kl": 99.0, "elbo": -109.0}) == -10.0


def test_constant_is_beta():
    assert weights([0, 999], kl_schedule="constant", kl_end=0.25) == [0.25, 0.25]


def test_logistic_has_its_midpoint_in_epochs():
    found = weights(
        [0, 300, 400, 10**6],
        kl_schedule="logistic",
        kl_epochs=3.0,
        kl_steepness=0.01,
        kl_end=0.8,
    )
    expected = [0.8 / (1 + np.exp(3)), 0.4, 0.8 / (1 + np.exp(-1)), 0.8]
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_cyclical_has_cycles_of_epochs():
    found = weights(
        [0, 25, 50, 99, 100, 125, 199, 200, 225, 10000],
        kl_schedule="cyclical",
        kl_epochs=1.0,
        kl_cycles=2,
        kl_ramp=0.5,
        kl_start=0.2,
    )
    expected = [0.2, 0.6, 1.0, 1.0, 0.2, 0.6, 1.0, 1.0, 1.0, 1.0]
    np.testing.assert_allclose(found, expected, rtol=1e-6)


@pytest.mark.parametrize("mode", ["ae", "lm"])
def test_without_a_posterior_the_kl_weighs_nothing(mode):
    config = default_config()
    config.model.mode = mode
    schedule = make_schedules(config, 100)["kl_weight"]
    assert float(schedule(0)) == float(schedule(5000)) == 0.0


def test_limits_and_inner_loop_come_from_the_configuration():
    config = default_config()
    assert make_inner_loop(config) is None
    config.training.update(
        {"epochs": 7, "patience": 3, "warm_epochs": 4, "decay": 0.3, "max_decays": 2}
    )
    config.training.update({"aggressive": True, "aggressive_epochs": 6, "inner_clip": "joint"})
    config.training.aggressive_min_epochs = 5
    config.training.update({"inner_max_updates": 8, "inner_window": 9})
    assert tuple(make_control(config)) == (7, 3, 4, 0.3, 2, 6, 5)
    assert tuple(make_inner_loop(config)) == (8, 9, "joint")


def test_a_language_model_has_no_latent():
    config = default_config()
    assert make_model(config, 20).latent_size == 32
    config.model.mode = "lm"
    assert make_model(config, 20).latent_size == 0


@pytest.mark.parametrize(
    ("field", "value", "says"),
    [
        ("model.mode", "vea", "did you mean 'vae'"),
        ("model.encoder", "lsmt", "did you mean 'lstm'"),
        ("model.decoder", "lstn", "did you mean 'lstm'"),
        ("model.cnn_size", "XL", "known are S, M, L, VL"),
        ("model.denoise", "swop", "did you mean 'swap'"),
        ("model.denoise_rate", 1.5, "from 0 to 1"),
        ("objective.bow_weight", -1.0, "at least 0"),
        ("objective.gaussian_weight", -1.0, "at least 0"),
        ("objective.dirichlet_weight", -1.0, "at least 0"),
        ("objective.kl_delay", -1.0, "at least 0"),
        ("objective.kl_delay", 1.0, "'linear'"),
        ("objective.dirichlet_schedule", "linaer", "did you mean 'linear'"),
        ("objective.dirichlet_schedule", "linear", "needs objective.loss = 'by_name'"),
        ("model.attention_bias", "v2", "known are half, v1, exact"),
        ("model.attention_bias", "v1", "needs model.attention = 'denoising'"),
        ("model.nvib_prune", -0.1, "at least 0"),
        ("model.norm", "per", "did you mean 'pre'"),
        ("model.positions", "learnt", "did you mean 'learned'"),
        ("model.pooling", "average", "known are mean, max, first"),
        ("model.attention", "denoise", "did you mean 'denoising'"),
        ("model.layers", 0, "above 0"),
        ("model.feed_forward", -1, "at least 0"),
        ("training.warmup_steps", -1, "at least 0"),
        ("model.prior", "standard_norm", "did you mean 'standard_normal'"),
        ("model.prior_components", 0, "above 0"),
        ("model.posterior", "full_rank", "did you mean 'full'"),
        ("model.posterior_map", "batchnorm", "did you mean 'batch_norm'"),
        ("model.committed_rate", 0.0, "above 0"),
        ("objective.kl_schedule", "cyclic", "did you mean 'cyclical'"),
        ("training.optimiser", "adma", "did you mean 'adam'"),
        ("training.inner_optimiser", "sdg", "did you mean 'sgd'"),
        ("training.parallel", "pjit", "known are jit, pmap"),
        ("training.inner_clip", "both", "known are encoder, joint"),
        ("data.too_long", "trunc", "did you mean 'truncate'"),
        ("data.name", "chichat", "did you mean 'chitchat'"),
        ("data.tokenizer", "word", "did you mean 'words'"),
        ("model.latent_size", 0, "above 0"),
        ("model.hidden_size", -1, "above 0"),
        ("objective.num_samples", 0, "above 0"),
        ("objective.kl_epochs", 0.0, "above 0"),
        ("training.batch_size", 0, "above 0"),
        ("training.decay", -1.0, "above 0 and at most 1"),
        ("model.vmf_kappa", 1e9, "at most 10000"),
        ("training.epochs", 0, "above 0"),
        ("training.learning_rate", -1.0, "above 0"),
        ("training.clip_norm", float("nan"), "a finite number"),
        ("objective.info_alpha", float("nan"), "a finite number"),
        ("objective.kl_end", float("inf"), "a finite number"),
        ("objective.kl_end", -1.0, "at least 0"),
        ("objective.kl_start", -0.1, "at least 0"),
        ("objective.kl_steepness", 0.0, "above 0"),
        ("training.seed", -1, "at least 0"),
        ("training.max_batches", -1, "at least 0"),
        ("training.num_devices", -1, "at least 0"),
        ("training.vocab_shards", 0, "above 0"),
        ("data.max_length", -1, "at least 0"),
        ("evaluation.num_examples", 0, "above 0"),
        ("evaluation.iw_sentences", -1, "at least 0"),
        ("model.dropout_in", 1.0, "below 1"),
        ("model.dropout_out", -0.1, "at least 0"),
        ("model.word_dropout", 1.1, "from 0 to 1"),
        ("model.encoder", "none", "needs model.mode = 'lm'"),
        ("objective.kl_ramp", 0.0, "above 0"),
        ("training.seed", 2**31, "below 2**31"),
    ],
)
def test_a_value_that_cannot_be_is_refused(field, value, says):
    config = default_config()
    config.objective.kl_schedule = "constant"
    config.update_from_flattened_dict({field: value})
    with pytest.raises(UserError) as caught:
        check(config)
    message = str(caught.value)
    assert message.startswith(field) and says in message and "\n" not in message
    assert repr(value) in message or str(value) in message


@pytest.mark.parametrize("mode", ["ae", "lm"])
def test_aggressive_training_needs_a_posterior(mode):
    config = default_config()
    config.training.aggressive = True
    check(config)
    config.model.mode = mode
    with pytest.raises(UserError, match=r"training.aggressive needs model.mode = 'vae'"):
        check(config)


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
    ("model", "training", "says"),
    [
        ({"posterior_map": "batch_norm"}, {"batch_size": 1}, "at least 2"),
        ({"posterior_map": "batch_norm"}, {"parallel": "pmap"}, "over the whole batch"),
        ({"posterior_map": "batch_norm"}, {"memory_gb": 1.0}, "over the whole batch"),
        ({"posterior": "full"}, {"aggressive": True}, "ends by the mutual information"),
        ({"refine_steps": 20}, {"aggressive": True}, "both keep q up with the decoder"),
    ],
)
def test_a_posterior_that_training_cannot_serve_is_refused(model, training, says):
    config = default_config()
    config.model.update(model)
    check(config)
    config.training.update(training)
    with pytest.raises(UserError, match=says):
        check(config)


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
    ("model", "objective", "says"),
    [
        ({"posterior": "iaf"}, {"gradient": "stl"}, "the density of its own draws"),
        ({"refine_steps": 20}, {"gradient": "stl"}, "passes through the steps"),
        (
            {"refine_steps": 20},
            {"bound": "iwae", "num_samples": 5, "kl_schedule": "constant"},
            "that is what the steps raise",
        ),
    ],
)
def test_a_posterior_that_an_objective_cannot_serve_is_refused(model, objective, says):
    config = default_config()
    config.model.update(model)
    check(config)
    config.objective.update(objective)
    with pytest.raises(UserError, match=says):
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
        ({"model.skip": True}, "needs model.decoder = 'lstm'"),
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


def test_the_learning_rate_warms_up():
    config = default_config()
    config.training.update({"learning_rate": 0.5, "warmup_steps": 4})
    optimiser, inner = make_optimisers(config)
    params, gradient, rates = {"w": jnp.zeros(1)}, {"w": jnp.ones(1)}, []
    state = optimiser.init(params)
    for _ in range(6):
        update, state = optimiser.update(gradient, state, params)
        rates.append(-float(update["w"][0]))
    np.testing.assert_allclose(rates, [0, 0.125, 0.25, 0.375, 0.5, 0.5], rtol=1e-6)
    update, _ = inner.update(gradient, inner.init(params), params)
    assert float(update["w"][0]) == -1.0


def test_a_skip_connection_needs_the_lstm_decoder():
    config = default_config()
    config.model.update({"skip": True, "decoder": "cnn"})
    with pytest.raises(UserError, match=r"model.skip needs model.decoder = 'lstm', not 'cnn'"):
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
    assert set(parameters(model__skip=True)["decoder"]) - set(plain["decoder"]) == {
        "latent_to_output"
    }
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


def test_the_weight_of_the_bag_of_words_is_the_configured_one():
    config = default_config()
    terms = ELBOTerms(
        np.zeros(2), {"latent": np.ones(2)}, auxiliary={"bag_of_words": np.full(2, -3)}
    )
    config.objective.bow_weight = 2.0
    loss = make_loss(config)
    np.testing.assert_array_equal(loss(terms, {"kl_weight": 0.5}, np.ones(2)), [6.5, 6.5])


def test_no_experiment_defines_flags_when_imported():
    # Importing a configuration must not touch the command line of another.
    assert "workdir" not in flags.FLAGS
    assert isinstance(default_config(), ConfigDict)
