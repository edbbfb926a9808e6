"""Every configuration that ships, its fields, and the values that they cannot have."""

import copy
import importlib
import importlib.util
import pkgutil
from pathlib import Path

import pytest
from absl import flags
from ml_collections import ConfigDict

import jvae.experiments
from jvae.components import check, free_fields
from jvae.configs import difference, flat
from jvae.errors import UserError
from jvae.tasks import get_task
from jvae.tasks.text.config import TEXT_GROUPS, default_config

FREE_FIELDS = free_fields(TEXT_GROUPS)
ROOT = Path(__file__).parents[3]
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
    check(get_task("documents" if name == "documents" else "text").groups, config)
    on_chitchat = name in ("compare", "documents", "nvib", "nvib_comparison")
    assert config.data.name == ("chitchat" if on_chitchat else name)
    assert f"python -m jvae.experiments.{name}" in module.__doc__
    assert module.get_config.__doc__
    fields = dict(flat(config))
    for field in overrides(module.__doc__):
        assert field in fields, field


@pytest.mark.parametrize("path", FILES, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_a_configuration_file_loads_and_says_how_to_run_it(path):
    module = load(path)
    config = module.get_config()
    check(TEXT_GROUPS, config)
    relative = path.relative_to(ROOT)
    assert f"--config={relative}" in module.__doc__
    assert f"python -m jvae.experiments.{config.data.name}" in module.__doc__
    assert path.parent.name in (config.data.name, "papers")
    assert config.to_dict().keys() == default_config().to_dict().keys()


@pytest.mark.parametrize("path", FILES, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_a_configuration_file_has_only_known_fields(path):
    known, found = dict(flat(default_config())), dict(flat(load(path).get_config()))
    assert found.keys() == known.keys()


def test_a_misspelt_field_is_refused_where_it_is_set():
    config = default_config()
    with pytest.raises(AttributeError, match="seed"):
        config.training.sed = 3
    with pytest.raises(KeyError, match="learning_rate"):
        config.training.update({"learning_rat": 3.0})
    with pytest.raises(TypeError):
        config.training.epochs = "many"


@pytest.mark.parametrize("field", sorted(FREE_FIELDS))
def test_free_fields_may_differ_on_resume(field):
    old, new = (dict(flat(default_config())) for _ in range(2))
    assert field in new
    new[field] = "something else"
    assert difference(old, new, FREE_FIELDS) is None


def fixed_fields() -> list[str]:
    return [name for name, _ in flat(default_config()) if name not in FREE_FIELDS]


@pytest.mark.parametrize("field", fixed_fields())
def test_every_other_field_is_named_with_both_values(field):
    old, new = (dict(flat(default_config())) for _ in range(2))
    new[field] = "changed"
    assert difference(old, new, FREE_FIELDS) == f"{field} was {old[field]!r} and is now 'changed'"


def test_a_field_of_another_version_is_named():
    old = default_config().to_dict()
    new = copy.deepcopy(old)
    del old["model"]["prior"]
    assert difference(old, new, FREE_FIELDS) == "model.prior was None and is now 'standard_normal'"
    assert difference(new, new, FREE_FIELDS) is None


def test_what_decides_the_phase_is_not_free():
    # The batch of He's MI estimator decides when the aggressive phase ends.
    old, new = default_config().to_dict(), default_config().to_dict()
    new["evaluation"]["mi_batch_size"] = 64
    assert "mi_batch_size" in difference(old, new, FREE_FIELDS)


@pytest.mark.parametrize(
    ("field", "value", "says"),
    [
        ("model.mode", "vea", "did you mean 'vae'"),
        ("model.encoder", "lsmt", "did you mean 'lstm'"),
        ("model.decoder", "lstn", "did you mean 'lstm'"),
        ("model.cnn.size", "XL", "known are S, M, L, VL"),
        ("model.denoise", "swop", "did you mean 'swap'"),
        ("model.denoise_rate", 1.5, "at least 0 and at most 1"),
        ("objective.bow_weight", -1.0, "at least 0"),
        ("objective.by_name.gaussian_weight", -1.0, "at least 0"),
        ("objective.by_name.dirichlet_weight", -1.0, "at least 0"),
        ("objective.kl_delay", -1.0, "at least 0"),
        ("objective.kl_delay", 1.0, "objective.kl_schedule = 'linear' gives it"),
        ("objective.by_name.dirichlet_schedule", "linaer", "did you mean 'linear'"),
        ("model.transformer.attention_bias", "v2", "known are half, v1, exact"),
        ("model.transformer.attention_bias", "v1", "needs denoising attention"),
        ("model.nvib.prune", -0.1, "at least 0"),
        ("model.transformer.norm", "per", "did you mean 'pre'"),
        ("model.transformer.positions", "learnt", "did you mean 'learned'"),
        ("model.transformer.pooling", "average", "known are mean, max, first"),
        ("model.transformer.attention", "denoise", "did you mean 'denoising'"),
        ("model.transformer.layers", 0, "above 0"),
        ("model.transformer.feed_forward", -1, "at least 0"),
        ("training.warmup_steps", -1, "at least 0"),
        ("model.prior", "standard_norm", "did you mean 'standard_normal'"),
        ("model.mixture.components", 0, "above 0"),
        ("model.posterior", "full_rank", "did you mean 'full'"),
        ("model.posterior_map", "batchnorm", "did you mean 'batch_norm'"),
        ("model.committed_rate.rate", 0.0, "above 0"),
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
        ("model.vmf.kappa", 1e9, "at most 10000"),
        ("training.epochs", 0, "above 0"),
        ("training.learning_rate", -1.0, "above 0"),
        ("training.clip_norm", float("nan"), "a finite number"),
        ("objective.info_alpha", float("nan"), "a finite number"),
        ("objective.kl_end", float("inf"), "a finite number"),
        ("objective.kl_end", -1.0, "at least 0"),
        ("objective.kl_start", -0.1, "at least 0"),
        ("objective.logistic.steepness", 0.0, "above 0"),
        ("training.seed", -1, "at least 0"),
        ("training.max_batches", -1, "at least 0"),
        ("training.num_devices", -1, "at least 0"),
        ("training.model_shards", 0, "above 0"),
        ("data.max_length", -1, "at least 0"),
        ("evaluation.num_examples", 0, "above 0"),
        ("evaluation.iw_examples", -1, "at least 0"),
        ("model.dropout_in", 1.0, "below 1"),
        ("model.dropout_out", -0.1, "at least 0"),
        ("model.word_dropout", 1.1, "at least 0 and at most 1"),
        ("model.encoder", "none", "model.mode = 'lm' gives it, not 'vae'"),
        ("objective.cyclical.ramp", 0.0, "above 0"),
        ("training.seed", 2**31, "below 2147483648"),
    ],
)
def test_a_value_that_cannot_be_is_refused(field, value, says):
    config = default_config()
    config.objective.kl_schedule = "constant"
    config.update_from_flattened_dict({field: value})
    with pytest.raises(UserError) as caught:
        check(TEXT_GROUPS, config)
    message = str(caught.value)
    assert message.startswith(field) and says in message and "\n" not in message
    assert repr(value) in message or str(value) in message


def test_no_experiment_defines_flags_when_imported():
    # Importing a configuration must not touch the command line of another.
    assert "workdir" not in flags.FLAGS
    assert isinstance(default_config(), ConfigDict)
