"""Between text and token ids: characters, or pieces of byte-level BPE (Sennrich et al. 2016; on bytes, Radford et al. 2019, §2.2).

What a tokenizer knows is plain JSON: it stands in ``dataset.json`` and travels in a model's ``config.json``. Id 0 is the unknown token.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any, Protocol

import numpy as np

UNKNOWN = "\ufffd"
"""What the unknown token shows."""


_SHOWN = [*range(33, 127), *range(161, 173), *range(174, 256)]
BYTES = {chr(byte): byte for byte in _SHOWN}
BYTES |= {chr(256 + i): byte for i, byte in enumerate(sorted(set(range(256)) - set(_SHOWN)))}
"""The letters that byte-level BPE writes bytes with (Radford et al. 2019)."""


class Tokenizer(Protocol):
    """Text ↔ ids."""

    pieces: list[str]
    """What each id shows: its text, for bytes that are no character alone U+FFFD."""
    spelt: list[bytes]
    """The UTF-8 bytes of each id."""

    def encode(self, text: str) -> np.ndarray: ...

    def decode(self, ids: Sequence[int]) -> str: ...

    def spec(self) -> dict[str, Any]: ...


class Characters:
    """A token is a character; those that are not among ``known`` become the unknown token."""

    def __init__(self, known: str) -> None:
        self.pieces = [UNKNOWN, *known]
        self.spelt = [piece.encode("utf-8", "surrogatepass") for piece in self.pieces]
        self._points = np.array(sorted(map(ord, known)), np.int64)
        if len(set(known)) != len(known) or [ord(c) for c in known] != self._points.tolist():
            raise ValueError("the known characters have to be distinct and in order of their code points")

    @classmethod
    def learn(cls, texts: Iterable[str], size: int | None = None) -> Characters:
        """Every character of ``texts``, or the ``size`` − 1 most frequent ones; of equally frequent ones the lower code point."""
        counts: Counter[str] = Counter()
        for text in texts:
            counts.update(text)
        del counts[UNKNOWN]
        ranked = sorted(counts, key=lambda character: (-counts[character], character))
        return cls("".join(sorted(ranked[: None if size is None else size - 1])))

    def encode(self, text: str) -> np.ndarray:
        """(n,) int32."""
        points = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), np.uint32).astype(np.int64)
        at = np.searchsorted(self._points, points).clip(0, max(len(self._points) - 1, 0))
        known = self._points[at] == points if len(self._points) else np.zeros(len(points), bool)
        return np.where(known, at + 1, 0).astype(np.int32)

    def decode(self, ids: Sequence[int]) -> str:
        """The text of ids; the unknown token shows U+FFFD."""
        return "".join(self.pieces[i] for i in ids)

    def spec(self) -> dict[str, Any]:
        """As JSON."""
        return {"kind": "characters", "known": "".join(self.pieces[1:])}


class BytePairs:
    """A token is a run of bytes that BPE has merged, so that every text can be written and none is unknown."""

    def __init__(self, model: str) -> None:
        from tokenizers import Tokenizer as Fast

        self._model = model
        self._fast = Fast.from_str(model)
        size = self._fast.get_vocab_size()
        self.pieces = [UNKNOWN, *(self._fast.decode([i], skip_special_tokens=False) for i in range(1, size))]
        names = (self._fast.id_to_token(i) or "" for i in range(1, size))
        self.spelt = [UNKNOWN.encode(), *(bytes(BYTES[letter] for letter in name) for name in names)]

    @classmethod
    def learn(cls, texts: Iterable[str], size: int | None = None) -> BytePairs:
        """Merges of ``texts`` until there are ``size`` tokens (512 by default), the 256 bytes and the unknown token among them."""
        from tokenizers import Tokenizer as Fast
        from tokenizers import decoders, models, pre_tokenizers, trainers

        fast = Fast(models.BPE())
        fast.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        fast.decoder = decoders.ByteLevel()
        trainer = trainers.BpeTrainer(
            vocab_size=size or 512,
            special_tokens=[UNKNOWN],
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False,
        )
        fast.train_from_iterator(texts, trainer)
        return cls(fast.to_str())

    def encode(self, text: str) -> np.ndarray:
        """(n,) int32."""
        return np.array(self._fast.encode(text, add_special_tokens=False).ids, np.int32)

    def decode(self, ids: Sequence[int]) -> str:
        """The text of ids; bytes that form no character show U+FFFD."""
        parts: list[str] = []
        run: list[int] = []
        for i in [*ids, 0]:
            if i:
                run.append(int(i))
            else:
                parts += [self._fast.decode(run, skip_special_tokens=False), UNKNOWN]
                run = []
        return "".join(parts[:-1])

    def spec(self) -> dict[str, Any]:
        """As JSON; the tokenizers library's own text."""
        return {"kind": "bpe", "model": self._model}


TOKENS: dict[str, Any] = {"characters": Characters, "bpe": BytePairs}


def tokenizer_of(spec: dict[str, Any]) -> Tokenizer:
    """The tokenizer that ``spec`` describes."""
    options = dict(spec)
    return TOKENS[options.pop("kind")](**options)
