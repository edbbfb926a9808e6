"""Chit-Chat: short sentences of students' conversations, the default corpus.

The text is that of the package `chitchat-dataset` 0.9.0 (MIT licence, Brigham Young University's
Chit-Chat Challenge of 2018: 7,168 conversations, 258,145 messages).
"""

import hashlib
import importlib.util
import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

from jvae.data.builder import SPLITS, Contents, SentenceBuilder
from jvae.errors import UserError

MIN_TOKENS, MAX_TOKENS = 4, 20
_SHA256 = "d2a5d0bf6acf354fef51f3af39cbece2220d3b8f6086b658c3d335105798312a"

_URL = re.compile(r"https?:|www\.|\w\.(?:com|org|net|edu|gov|io|co|tv|ly|me)\b", re.IGNORECASE)
# Tags and entities, and the characters of *emphasis*, #tags, drawings and code.
_MARKUP = re.compile(r"[<>\[\]{}|\\^~_=`#*]|&\w+;")
# The site played a game of describing pictures: "The pink book blinked slowly."
_GAME = re.compile(r"^the \w+ \w+ \w+ed \w+ly\.?$", re.IGNORECASE)
_DOTS = re.compile(r"\.\.+")
_DASHES = re.compile(r"--+")
_REPEATED = re.compile(r"""([!?,;:()"'])\1+""")
_TOKEN = re.compile(
    r"""[:;]-?[()dp](?!\w)         # smileys
    |\d+(?:[.,:]\d+)+             # numbers, times
    |[a-z0-9]+(?:['-][a-z0-9]+)*  # words, with contractions and hyphens
    |\.\.\.
    |\S""",
    re.VERBOSE,
)


class Chitchat(SentenceBuilder):
    """Messages of the Chit-Chat Challenge, LOWER-CASED, one message a sentence.

    Words, numbers, smileys and punctuation marks are separated by single spaces; contractions
    stay one word; a repeated mark is written once, and dots as `...`. Kept are distinct ASCII
    sentences of 4 to 20 tokens, without URL, `@`, markup, lines of the site's game, or a token
    three times in a row. Splits are by conversation.
    """

    def contents(self) -> Contents:
        """Reads, filters and splits the messages."""
        return select(messages())


def select(messages: Iterable[tuple[str, str]]) -> Contents:
    """Filters and splits messages, the first of equal sentences winning.

    Args:
      messages: pairs of a conversation's id and a message, in a fixed order.
    """
    splits: dict[str, list[str]] = {split: [] for split in SPLITS}
    dropped: Counter[str] = Counter()
    seen: set[str] = set()
    total = 0
    for conversation, message in messages:
        total += 1
        tokens = tokenize(message)
        sentence = " ".join(tokens)
        reason = why_dropped(message, tokens) or ("repeated sentence" if sentence in seen else "")
        if reason:
            dropped[reason] += 1
        else:
            seen.add(sentence)
            splits[split_of(conversation)].append(sentence)
    sizes = " / ".join(f"{len(splits[split]):,}" for split in SPLITS)
    notes = (
        "all text is lower-cased and split into words and punctuation marks",
        f"{len(seen):,} of {total:,} messages kept, split by conversation: {sizes}",
        *(f"dropped {count:,}: {reason}" for reason, count in sorted(dropped.items())),
    )
    return Contents({split: {"sentences": rows} for split, rows in splits.items()}, notes)


def why_dropped(message: str, tokens: list[str]) -> str:
    """Names the first filter that a message fails, or returns an empty string."""
    if not message.isascii():
        return "not ASCII"
    if "@" in message or _URL.search(message):
        return "URL or @"
    if _MARKUP.search(message):
        return "markup or drawing"
    if _GAME.match(message.strip()):
        return "line of the collecting site's game"
    if len(tokens) < MIN_TOKENS:
        return f"fewer than {MIN_TOKENS} tokens"
    if len(tokens) > MAX_TOKENS:
        return f"more than {MAX_TOKENS} tokens"
    if any(a == b == c for a, b, c in zip(tokens, tokens[1:], tokens[2:], strict=False)):
        return "one token three times in a row"
    return ""


def tokenize(message: str) -> list[str]:
    """Splits into lower-cased words, numbers, smileys and punctuation marks."""
    text = _DASHES.sub(" - ", _DOTS.sub("...", message.lower()))
    return _TOKEN.findall(_REPEATED.sub(r"\1", text))


def split_of(conversation: str) -> str:
    """Returns the split of a conversation: 2 % valid, 2 % test, by a hash of its id."""
    percent = int(hashlib.sha256(conversation.encode()).hexdigest(), 16) % 100
    return "valid" if percent < 2 else "test" if percent < 4 else "train"


def messages() -> Iterator[tuple[str, str]]:
    """Yields the raw messages, each with its conversation's id, in a fixed order.

    Raises:
      UserError: the package is missing, or its file damaged.
    """
    yield from _messages(_find())


def _messages(path: Path) -> Iterator[tuple[str, str]]:
    raw = path.read_bytes()
    found = hashlib.sha256(raw).hexdigest()
    if found != _SHA256:
        raise UserError(
            f"{path}: sha256 is {found}, expected {_SHA256}; "
            "reinstall it: pip install --force-reinstall chitchat-dataset==0.9.0"
        )
    for conversation, content in json.loads(raw).items():
        for turn in content["messages"]:
            for message in turn:
                yield conversation, message["text"]


def _find() -> Path:
    # The package itself is not imported: only its data file is wanted.
    spec = importlib.util.find_spec("chitchat_dataset")
    places = (spec.submodule_search_locations or []) if spec else []
    for place in places:
        path = Path(place) / "dataset.json"
        if path.is_file():
            return path
    raise UserError(
        "corpus chitchat: the package chitchat-dataset is not installed; "
        "install it: pip install chitchat-dataset==0.9.0"
    )
