"""Prepared corpora on disk: found, checked, rebuilt.

A corpus is prepared in a private directory and then renamed into its place, so that a place holds
either nothing or a whole corpus, however many processes prepare it at once. Each place holds the
checksums of its files: a damaged one is never opened (array_record may abort the process on it)
but replaced. Imports tensorflow_datasets: import this module inside functions only.
"""

import contextlib
import hashlib
import io
import json
import logging
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import tensorflow_datasets as tfds

from jvae.data.builder import Contents, SentenceBuilder

_CHECKSUMS = "checksums.json"


def cached(
    builder_class: type[SentenceBuilder],
    config: tfds.core.BuilderConfig | None = None,
    cache_dir: str | None = None,
) -> Contents:
    """Returns the contents of a corpus, prepared now or earlier.

    Args:
      builder_class: what prepares it; its name and version are part of the place in the cache.
      config: its options, whose `name` must identify the content; None without options.
      cache_dir: default `$JVAE_CACHE_DIR`, or `~/.cache/jvae`.

    Raises:
      UserError: what `builder_class.contents` raises.
    """
    root = _root(cache_dir)
    place = root / builder_class.name / (config.name if config else "") / str(builder_class.VERSION)
    if _is_whole(place):
        # Anything that goes wrong from here on means another layout or version of TFDS.
        with contextlib.suppress(Exception), _quiet():
            return _builder(builder_class, config, root).prepared()
    try:
        root.mkdir(parents=True, exist_ok=True)
        private = tempfile.TemporaryDirectory(dir=root, prefix=".preparing-")
    except OSError as error:
        contents = _prepare(builder_class, config, None)
        note = (
            f"cache directory {root} cannot be written ({error.strerror}): "
            "prepared in a temporary directory, and again at the next start"
        )
        return contents._replace(notes=(*contents.notes, note))
    with private:
        return _prepare(builder_class, config, (Path(private.name), place))


def _prepare(
    builder_class: type[SentenceBuilder],
    config: tfds.core.BuilderConfig | None,
    publish: tuple[Path, Path] | None,
) -> Contents:
    """Prepares in a private directory, reads, and moves it into the place of the cache, if any."""
    if publish is None:
        with tempfile.TemporaryDirectory(prefix="jvae-") as name:
            return _prepare(builder_class, config, (Path(name), Path(name) / "unused"))
    private, place = publish
    with _quiet():
        builder = _builder(builder_class, config, private)
        builder.download_and_prepare()
        contents = builder.prepared()
    source = Path(builder.data_dir)
    (source / _CHECKSUMS).write_text(json.dumps(_checksums(source)), encoding="utf-8")
    # A failure means that another process was first, or holds the place: ours is read already.
    with contextlib.suppress(OSError):
        place.parent.mkdir(parents=True, exist_ok=True)
        if place.exists() and not _is_whole(place):
            place.rename(private / "damaged")
        source.rename(place)
    return contents


def _builder(
    builder_class: type[SentenceBuilder], config: tfds.core.BuilderConfig | None, root: Path
) -> SentenceBuilder:
    return builder_class(data_dir=root, config=config, file_format="array_record")


def _root(cache_dir: str | None) -> Path:
    chosen = cache_dir or os.environ.get("JVAE_CACHE_DIR") or "~/.cache/jvae"
    # Absolute, because a relative path could not be told apart from a TFDS name.
    return Path(os.path.abspath(os.path.expanduser(chosen)))


def _checksums(directory: Path) -> dict[str, str]:
    files = sorted(p for p in directory.iterdir() if p.name != _CHECKSUMS)
    return {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in files}


def _is_whole(place: Path) -> bool:
    try:
        expected = json.loads((place / _CHECKSUMS).read_text(encoding="utf-8"))
        return bool(expected) and expected == _checksums(place)
    except (OSError, ValueError):
        return False


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Silences TFDS, which logs and draws a bar per split; preparing takes seconds."""
    tfds.disable_progress_bar()
    logger = logging.getLogger("absl")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            yield
    finally:
        logger.setLevel(level)
