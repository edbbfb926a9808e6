"""Whatever is wrong with the input ends in one line that says what and where, and exit code 2."""

import sys

import pytest

from jvae.data import ptb
from jvae.errors import UserError
from jvae.experiments import ptb as ptb_experiment
from jvae.runs.flags import _check_config_file
from tests.tiny import TEXT, execute, refused, the_line, tiny_config


def text(*arguments: str, **options) -> str:
    return the_line(execute([sys.executable, "-m", "jvae.experiments.text", *arguments], **options))


# The command line.
SLOW = pytest.mark.slow  # a process each


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--config.training.sed=3"], ["'sed'", "'seed'"]),
        pytest.param(["--config.trainin.seed=3"], ["'trainin'", "'training'"], marks=SLOW),
        pytest.param(["--trian=x.txt"], ["trian", "train"], marks=SLOW),
        pytest.param(["--config.training.seed=x"], ["config.training.seed=x", "'x'"], marks=SLOW),
        pytest.param(["--config=/nowhere/my.py"], ["/nowhere/my.py", "No such file"], marks=SLOW),
        (["--config=FILE"], ["config.py, line 3: invalid syntax"]),
        pytest.param(
            ["--config=SAVED", "--train=x.txt"],
            ["model.latent_size = 0 must be above 0"],
            marks=SLOW,
        ),
        pytest.param(
            ["--config=BROKEN"], ["config.json is damaged: Expecting", "line 1"], marks=SLOW
        ),
        pytest.param(["train.txt"], ["'train.txt'", "--"], marks=SLOW),
        pytest.param(
            ["--train=/nowhere/my.txt", "--workdir=DIR"],
            ["/nowhere/my.txt: no such file"],
            marks=SLOW,
        ),
        pytest.param([], ["--train=FILE"], marks=SLOW),
    ],
)
def test_a_wrong_command_line(arguments, says, tmp_path):
    file = tmp_path / "config.py"
    file.write_text("from jvae.experiments import text\n\ndef get_config(:\n    return 1\n")
    saved, broken = tmp_path / "saved.json", tmp_path / "config.json"
    saved.write_text('{"model": {"latent_size": 0}}')
    broken.write_text('{"training": ')
    paths = {"FILE": file, "SAVED": saved, "BROKEN": broken, "DIR": tmp_path / "run"}
    for name, path in paths.items():
        arguments = [argument.replace(name, str(path)) for argument in arguments]
    message = text(*arguments, cwd=tmp_path)
    for part in says:
        assert part in message


@pytest.mark.slow
def test_the_limits_of_own_text_are_told(tmp_path):
    module = [sys.executable, "-m", "jvae.experiments.text", "--config.data.max_size=0"]
    done = execute([*module, "--train=/nowhere/my.txt", f"--workdir={tmp_path}"])
    assert "/nowhere/my.txt: no such file" in the_line(done)
    shown = "limits of these files: data.max_size=0, data.max_length=50 (0: none; "
    assert done.stdout.startswith(shown)


HEAD = "from jvae.experiments import text\n\ndef get_config():\n    config = text.get_config()\n"


@pytest.mark.parametrize(
    ("source", "says"),
    [
        (HEAD + "    config.training.sed = 3\n    return config\n", "line 5: .*'sed'.*'seed'"),
        (HEAD + "    config.model.update({'latent_siz': 3})\n", "line 5: .*'latent_siz'"),
        (HEAD + "    config.training.epochs = 'many'\n", "line 5: .*epochs"),
        (HEAD + "    return confg\n", "line 5: name 'confg' is not defined"),
        (HEAD, "returns a ConfigDict"),
        ("x = 1\n", "needs a function get_config"),
        ("import no_such_module\n", "line 1: No module named 'no_such_module'"),
        ("raise ValueError('two\\nlines')\n", "line 1: two lines"),
        (
            "from ml_collections import ConfigDict\ndef get_config():\n"
            "    return ConfigDict({'data': {}})\n",
            "lacks data",
        ),
    ],
)
def test_a_wrong_configuration_file(source, says, tmp_path):
    file = tmp_path / "config.py"
    file.write_text(source)
    with pytest.raises(UserError, match=says) as caught:
        _check_config_file(str(file), TEXT)
    assert str(file) in str(caught.value) and "\n" not in str(caught.value)


def test_a_runs_configuration_that_is_missing(tmp_path):
    with pytest.raises(UserError, match=r"config.json is missing: is .* a run directory\?"):
        _check_config_file(str(tmp_path / "config.json"), TEXT)


# The data.


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (None, "no such file"),
        ("directory", "is a directory"),
        (b"", "empty file"),
        (b"\n \n\n", "no sentence in it, only 3 blank lines"),
        (b"a cat\nthe dog \xe9\n", "not UTF-8 (byte 0xe9) in line 2, byte offset 14"),
        (b"a cat\n\x7fELF\0\n", "binary file (NUL byte) in line 2, byte offset 10"),
    ],
)
@pytest.mark.parametrize("split", ["train", "valid"])
def test_a_wrong_file(content, says, split, train, tmp_path):
    path = tmp_path / "my.txt"
    if content == "directory":
        path.mkdir()
    elif content is not None:
        path.write_bytes(content)
    config = tiny_config(train, **{f"data__{split}": str(path)})
    message = refused(config, tmp_path / "run")
    assert str(path) in message and says in message
    assert not (tmp_path / "run" / "config.json").exists()


def test_a_limit_that_drops_everything(train, tmp_path):
    config = tiny_config(train, data__max_length=1, data__too_long="drop")
    message = refused(config, tmp_path / "run")
    assert "split train: none of 54 sentences is left" in message and "data.max_length=1" in message


def test_unknown_names_are_refused_before_anything_is_written(train, tmp_path):
    config = tiny_config(train, training__optimiser="adma")
    message = refused(config, tmp_path / "run")
    assert message.startswith("training.optimiser = 'adma'") and "'adam'" in message
    assert not (tmp_path / "run").exists()


def test_a_run_directory_that_cannot_be_written(train, tmp_path):
    (tmp_path / "file").write_text("")
    message = refused(tiny_config(train), tmp_path / "file" / "run")
    assert str(tmp_path / "file" / "run") in message and "Not a directory" in message


def test_more_devices_than_there_are(train, tmp_path):
    message = refused(tiny_config(train, training__num_devices=64), tmp_path / "run")
    assert "training.num_devices asks for 64 devices but this machine has 4" in message


def test_ptb_without_files_and_network(tmp_path, monkeypatch):
    monkeypatch.setenv("JVAE_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("JVAE_DATA_DIR", str(tmp_path))
    # Nobody listens there.
    monkeypatch.setattr(ptb, "MIRRORS", ("http://127.0.0.1:9/one/{split}",) * 2)
    message = refused(ptb_experiment.get_config(), tmp_path / "run")
    assert "corpus ptb: cannot be downloaded" in message and "JVAE_DATA_DIR" in message
    config = ptb_experiment.get_config()
    config.data.dir = str(tmp_path)
    message = refused(config, tmp_path / "run")
    assert f"no ptb.train.txt in {tmp_path}" in message
