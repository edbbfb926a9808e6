"""Every configuration that ships, its fields, and the values that they cannot have."""

import copy
import importlib
import importlib.util
import pkgutil
from pathlib import Path

import pytest
from absl import flags
from ml_collections import ConfigDict, config_flags

import jvae.experiments
from jvae.errors import UserError
from jvae.experiments import command, setup
from jvae.experiments.checks import check
from jvae.experiments.config import FREE_FIELDS, default_config, difference

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
        ("objective.dirichlet_delay", 1.0, "needs objective.dirichlet_schedule = 'linear'"),
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


def test_no_experiment_defines_flags_when_imported():
    # Importing a configuration must not touch the command line of another.
    assert "workdir" not in flags.FLAGS
    assert isinstance(default_config(), ConfigDict)
