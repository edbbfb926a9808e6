"""Import of He et al.'s and Li et al.'s PyTorch checkpoints as run directories."""

import json
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from jvae.batch import SPECIALS
from jvae.components import default_config
from jvae.data.files import decode, parse, read_bytes
from jvae.data.tokenizers import fixed_words
from jvae.errors import UserError
from jvae.files import write_atomically
from jvae.runs.directory import fingerprint, initial_state, make_workdir, save_config
from jvae.runs.process import environment, require_devices
from jvae.runs.task import Task
from jvae.tasks.text.data import read_corpus
from jvae.tasks.text.torch_layout import Sizes, read_sizes, to_params
from jvae.training import checkpoint


def read_state_dict(path: Path) -> dict[str, np.ndarray]:
    """Reads the arrays of a `state_dict` by name, as float32; executes nothing in the file.

    Raises:
      UserError: PyTorch is not installed, or the file is no `state_dict`.
    """
    try:
        import torch
    except ImportError:
        raise UserError(
            "jvae import-torch reads the checkpoint with PyTorch, which is not installed: "
            "pip install -e '.[torch]' in jvae's folder"
        ) from None
    try:
        file = path.open("rb")
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}); correct the path") from None
    try:
        with file:
            stored = torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged archive or pickle fails in any way
        raise UserError(
            f"{path}: not a PyTorch checkpoint of tensors alone; nothing in it was run: save the "
            "model again with torch.save(vae.state_dict(), FILE) (PyTorch says "
            f"{type(error).__name__}: {checkpoint.first_line(error)})"
        ) from None
    if not isinstance(stored, Mapping) or not all(map(torch.is_tensor, stored.values())):
        raise UserError(
            f"{path}: not a state_dict, tensors by name; save the model again with "
            "torch.save(vae.state_dict(), FILE)"
        )
    return {str(name): tensor.detach().float().numpy() for name, tensor in stored.items()}


def words_of(train: Path, *, label: bool) -> list[str]:
    """Lists the scripts' vocabulary: special tokens, then words in the training file's order.

    Args:
      train: the file that the model was trained on.
      label: whether its lines are `label<TAB>sentence`.
    """
    sentences = parse(read_bytes(train), train, label=label).sentences
    return list(dict.fromkeys((*SPECIALS, *(word for line in sentences for word in line.split()))))


def listed_words(path: Path) -> list[str]:
    """Reads a vocabulary file (`vocab_file` of Li et al.): a word a line, whose number is its id.

    Raises:
      UserError: a word is there twice, or a special token is not.
    """
    words = [line.strip() for line in decode(read_bytes(path), path).removesuffix("\n").split("\n")]
    missing = [special for special in SPECIALS if special not in words]
    if missing:
        raise UserError(f"{path}: no line {missing[0]}; give a word a line, {SPECIALS} among them")
    word, times = Counter(words).most_common(1)[0]
    if times > 1:
        raise UserError(f"{path}: {word!r} is there {times} times; give each word one line")
    return words


def import_arrays(
    task: Task,
    arrays: Mapping[str, np.ndarray],
    workdir: Path,
    *,
    train: Path,
    valid: Path | None = None,
    test: Path | None = None,
    label: bool = False,
    vocabulary: Path | None = None,
) -> Sizes:
    """Writes a run directory whose model is the checkpoint's.

    Args:
      task: of text.
      arrays: of the checkpoint, see `read_state_dict`.
      workdir: the run directory, which must not exist yet.
      train: sentences for `jvae evaluate`; without `vocabulary` the file that it was trained on.
      valid: likewise; without it, sentences of `train`.
      test: likewise.
      label: whether lines are `label<TAB>sentence`.
      vocabulary: see `listed_words`; None to make it from `train`.

    Raises:
      UserError: parameters, vocabulary and texts do not fit together, or the directory exists.
    """
    require_devices()
    if workdir.exists():
        raise UserError(f"{workdir} is there already; name a new run directory")
    sizes = read_sizes(arrays)
    words = listed_words(vocabulary) if vocabulary else words_of(train, label=label)
    if len(words) != sizes.vocab_size:
        raise UserError(
            f"the checkpoint has {sizes.vocab_size:,} words, {vocabulary or train} makes "
            f"{len(words):,}; give the training file that its script read (--label if its lines "
            "are label<TAB>sentence), or the --vocabulary"
        )
    own = [word for word in words if word not in SPECIALS]
    tokenizer = fixed_words(own)
    ids = {word: number for number, word in enumerate(words)}
    params = to_params(arrays, [ids[word] for word in tokenizer.vocabulary])

    config = _config(task, sizes, train, valid, test, label)
    corpus = read_corpus(config)
    model = task.build(config, tokenizer, None)
    # Their whole training counts as one epoch: the commands ask for a finished one.
    state = initial_state(task, config, model, tokenizer)._replace(
        params=jax.tree.map(jnp.asarray, params), best_epoch=jnp.int32(1)
    )
    make_workdir(workdir)
    files = dict(task.resources.files(tokenizer))
    for name, text in files.items():
        write_atomically(workdir / name, text)
    save_config(workdir, task, config)
    write_atomically(workdir / "environment.json", json.dumps(environment(), indent=2) + "\n")
    meta = {
        "config": config.to_dict(),
        "corpus": corpus.fingerprint,
        "resources": fingerprint(json.dumps(files)),
        "width": 1 + max(len(tokenizer.encode(line)) for line in corpus.sentences["train"]),
    }
    checkpoints = checkpoint.open_checkpoints(workdir)
    try:
        checkpoint.save(checkpoints, state, meta, None)
    finally:
        checkpoints.close()
    return sizes


def _config(
    task: Task, sizes: Sizes, train: Path, valid: Path | None, test: Path | None, label: bool
) -> ConfigDict:
    """Makes the configuration: the default is He et al.'s recipe, but for sizes and texts."""
    config = default_config(task.groups)
    config.data.update(
        {
            "name": "text",
            "train": str(train),
            "valid": str(valid or ""),
            "test": str(test or ""),
            "label": label,
        }
    )
    config.model.update(
        {
            "latent_size": sizes.latent_size,
            "embed_size": sizes.embed_size,
            "hidden_size": sizes.hidden_size,
        }
    )
    return config
