"""Text in any language: a cell is a token, a character or a piece of byte-level BPE."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from mae_core.cells import Belief, Cells, Plan
from mae_core.data.texts import PADDING, decode_text, padded
from mae_core.data.tokens import Tokenizer, tokenizer_of
from mae_core.modalities.base import OWN, TAUGHT, Example, Facts, Geometry, Mask, Modality
from mae_core.modalities.panels import Panel, Text
from mae_core.modalities.text_pieces import Token, pieces_of

BLANK = -2
LONGEST_RUN, BUCKETS = 4, 2048
"""Of the plain features: tokens of a run, and places that runs are hashed to."""
BLOCK = 1024


class TextModality(Modality):
    """Raw int32 token ids (B, L), −1 behind the end ↔ a cell for each token.

    Args:
        width: D of the embedding.
        context: L.
        tokens: what the tokenizer knows, as ``Tokenizer.spec`` gives it.
        log_shares: (V,) log-probability of each token in train; even where absent.
    """

    default_ratio = 0.15
    default_target = "tokens"
    targets = ("tokens", *TAUGHT)
    maskers = ("random", "span", "tail", "whole_word", "weight_map", *OWN)
    dtype = torch.int32
    blank = float(BLANK)
    noun = "text"
    suffixes = frozenset({".txt", ".md", ".text"})
    axes = ("tokens",)
    legend = "Two blocks a text: what was seen, then the reconstruction, right tokens green, wrong ones red with the true one below."
    unit = "share of wrong tokens"
    bank = (
        Mask("random-15", "random", 0.15),
        Mask("random-40", "random", 0.4),
        Mask("span-15", "span", 0.15),
        Mask("whole_word-15", "whole_word", 0.15),
    )
    values_per_cell = 1

    def __init__(
        self, width: int, context: int, tokens: Mapping[str, Any], log_shares: Sequence[float] | None = None
    ) -> None:
        super().__init__()
        if context < 2:
            raise ValueError(f"context {context}: at least two cells are needed")
        self.tokens = dict(tokens)
        self.tokenizer: Tokenizer = tokenizer_of(self.tokens)
        self.context, self.shape = context, (context,)
        pieces = self.tokenizer.pieces
        shares = [0.0] * len(pieces) if log_shares is None else [float(share) for share in log_shares]
        if len(shares) != len(pieces):
            raise ValueError(f"log_shares has {len(shares)} entries for {len(pieces)} tokens")
        self.register_buffer("log_shares", torch.tensor(shares).log_softmax(0), persistent=False)
        self.register_buffer("coords", torch.arange(context).float().view(-1, 1), persistent=False)
        spaces = [[piece[:1].isspace(), piece[-1:].isspace()] for piece in pieces]
        self.register_buffer("spaces", torch.tensor(spaces), persistent=False)
        self.table = nn.Embedding(len(pieces), width)

    log_shares: Tensor
    coords: Tensor
    spaces: Tensor
    """(V, 2) bool: whether a token begins with white space, and whether it ends so."""

    @staticmethod
    def examples() -> dict[str, Example]:
        """Whole windows of words, and texts of very different lengths."""
        tokens = {"kind": "characters", "known": " abcde"}
        shares = [-7.0, -1.5, -1.2, -1.6, -2.0, -2.5, -3.0]
        config = {"context": 12, "tokens": tokens, "log_shares": shares}
        return {
            "windows": Example(config, partial(_random_ids, (12,))),
            "padded": Example(config, partial(_random_ids, (12, 3, 7, 2))),
        }

    @staticmethod
    def facts(samples: np.ndarray, indices: np.ndarray, described: Mapping[str, Any]) -> Facts:
        """The log-probability of each token (every count raised by one), and how long the texts are."""
        size = len(tokenizer_of(described["tokens"]).pieces)
        counts, lengths = np.zeros(size, np.int64), []
        for start in range(0, len(indices), BLOCK):
            block = samples[indices[start : start + BLOCK]]
            counts += np.bincount(block[block >= 0], minlength=size)
            lengths.append((block >= 0).sum(1))
        shares = (counts + 1) / (counts + 1).sum()
        shortest, median, longest = np.percentile(np.concatenate(lengths), [0, 50, 100], method="nearest").tolist()
        entries = {
            "log_shares": [round(float(share), 4) for share in np.log(shares)],
            "lengths": {"shortest": shortest, "median": median, "longest": longest},
        }
        bits = -float((shares * np.log2(shares)).sum())
        return Facts(entries, [f"{size} different tokens, {bits:.2f} bits each by their frequencies alone"])

    @staticmethod
    def default_patch(info: dict[str, Any]) -> int:
        """A cell is one token."""
        return 1

    @staticmethod
    def misfit(info: dict[str, Any], patch: Any) -> str:
        """A cell is one token."""
        return "" if patch == 1 else "a cell of a text is one token: model.patch is 1"

    @staticmethod
    def configure(info: dict[str, Any], patch: Any) -> dict[str, Any]:
        """Context, tokenizer and the shares of tokens in train."""
        if reason := TextModality.misfit(info, patch):
            raise ValueError(reason)
        return {"context": info["sample"]["shape"][0], "tokens": info["tokens"], "log_shares": info["log_shares"]}

    @staticmethod
    def geometry(config: dict[str, Any]) -> Geometry:
        """A table is looked up, which costs nothing; every hidden token gets as many values as there are tokens."""
        return Geometry(config["context"], 0, len(tokenizer_of(config["tokens"]).pieces))

    @staticmethod
    def plain(samples: np.ndarray, info: Mapping[str, Any]) -> np.ndarray:
        """(n, 2048): how often runs of one to four tokens occur, hashed; log(1 + count), of unit length."""
        found = np.zeros((len(samples), BUCKETS), np.float32)
        for start in range(0, len(samples), BLOCK):
            ids = np.asarray(samples[start : start + BLOCK]).astype(np.uint64)
            known = np.asarray(samples[start : start + BLOCK]) >= 0
            rows = np.arange(len(ids))[:, None]
            run, whole = np.zeros_like(ids), np.ones_like(known)
            for length in range(1, min(LONGEST_RUN, ids.shape[1]) + 1):
                ends = ids.shape[1] - length + 1
                # Knuth's multiplicative hash, the length mixed in; arithmetic is modulo 2^64
                run = (run[:, :ends] + ids[:, length - 1 :] + np.uint64(length)) * np.uint64(0x9E3779B97F4A7C15)
                whole = whole[:, :ends] & known[:, length - 1 :]
                place = (run >> np.uint64(53)).astype(np.int64)
                flat = (rows * BUCKETS + place)[whole]
                counts = np.bincount(flat, minlength=len(ids) * BUCKETS).reshape(len(ids), BUCKETS)
                found[start : start + len(ids)] += counts
        found = np.log1p(found)
        return found / np.maximum(np.linalg.norm(found, axis=1, keepdims=True), 1e-12)

    @property
    def cells(self) -> int:
        """N."""
        return self.context

    def differs(self, info: dict[str, Any]) -> str:
        """Ids of another vocabulary are other tokens."""
        return "" if info["tokens"] == self.tokens else "its tokens are not those that the model was trained on"

    def read(self, data: bytes) -> np.ndarray:
        """UTF-8 text, cut into windows that do not overlap, the last one padded."""
        ids = self.tokenizer.encode(decode_text(data))
        return np.stack([padded(ids[at:], self.context) for at in range(0, len(ids), self.context)])

    def words(self, raw: Tensor) -> list[str]:
        """The texts; hidden tokens show U+FFFD."""
        return [self.tokenizer.decode([max(i, 0) for i in row if i != PADDING]) for row in raw.tolist()]

    def init_weights(self) -> None:
        """Rows of the table are about three times as long as position vectors: learning leaves the frequencies of tokens behind sooner."""
        nn.init.normal_(self.table.weight, std=2.0)

    def split(self, raw: Tensor) -> Cells:
        """Raw ids (B, L) → cells whose values are (B, N) long; words are numbered in ``group``."""
        if raw.dim() != 2 or raw.shape[1] != self.context:
            raise ValueError(f"texts of shape {tuple(raw.shape)} given, this model takes (B, {self.context})")
        valid = raw >= 0
        ids = raw.long().clamp_min(0)
        begins, ends = self.spaces[ids].unbind(-1)
        begins[:, 1:] |= ends[:, :-1]
        begins[:, 0] = False
        return Cells(ids, self.coords, valid=valid, group=begins.cumsum(1))

    def embed(self, cells: Cells, keep: Tensor | None = None, ok: Tensor | None = None) -> Tensor:
        """(B, N, D), or (B, V, D) of the kept cells alone."""
        ids = cells.values if keep is None else cells.values.gather(1, keep)
        return self.table(ids if ok is None else ids.masked_fill(~ok, 0))

    def covers(self, raw: Tensor, index: Tensor, ok: Tensor | None = None) -> Tensor:
        """Bool (B, L): the tokens of the cells ``index`` (B, M) that are there."""
        flags = torch.zeros(raw.shape, dtype=torch.bool, device=raw.device)
        flags.scatter_(1, index, True if ok is None else ok)
        return flags & (raw >= 0)

    def paste(self, raw: Tensor, values: Tensor, plan: Plan) -> Tensor:
        """Texts whose hidden tokens are ``values`` (B, M, 1)."""
        filled = raw.scatter(1, plan.hide, values.squeeze(-1).to(raw.dtype))
        return torch.where(self.covers(raw, plan.hide, plan.hide_ok), filled, raw)

    def error(self, filled: Tensor, raw: Tensor) -> Tensor:
        """1 where a token is wrong, 0 where it is right."""
        return (filled != raw).float()

    def trivial(self, raw: Tensor, hidden: Tensor) -> Tensor:
        """Hidden tokens become the most frequent token of the train split."""
        return torch.where(hidden, self.log_shares.argmax().to(raw.dtype), raw)

    def fills(self, raw: Tensor, hidden: Tensor) -> dict[str, Tensor]:
        """The most frequent token. (N-grams need the training text: ``benchmarks/text.py`` has them.)"""
        return {"unigram_fill": self.trivial(raw, hidden)}

    def quality(self, filled: Tensor, raw: Tensor, hidden: Tensor) -> dict[str, np.ndarray]:
        """The share of hidden tokens that are right; NaN for a text of which none is hidden."""
        right = ((filled == raw) & hidden).sum(1) / hidden.sum(1)
        return {"accuracy_hidden": right.cpu().numpy()}

    def picture(self, raw: Tensor, masked: Tensor, filled: Tensor) -> np.ndarray:
        """Two blocks of lines a text: what was seen, and the reconstruction, right tokens green and wrong ones red, the true one below."""
        from mae_core.modalities.text_picture import draw_pair

        return draw_pair(self.tokenizer.spelt, *(x.cpu().numpy() for x in (raw, masked, filled)))

    def render(self, raw: Tensor) -> Tensor:
        """Lines of text, (B, H, W, 3); hidden tokens are grey boxes."""
        from mae_core.modalities.text_picture import draw

        return torch.from_numpy(draw(self.tokenizer.spelt, raw.cpu().numpy()))

    def view(
        self, raw: Tensor, hidden: Tensor | None = None, truth: Tensor | None = None, belief: Belief | None = None
    ) -> list[list[Panel]]:
        """The text in pieces, tokens or characters of several; of hidden ones what should be there and how likely the model finds them."""
        marks = torch.zeros_like(raw, dtype=torch.bool) if hidden is None else hidden
        true = torch.full_like(raw, PADDING) if truth is None else truth
        sure = torch.full(raw.shape, math.nan) if belief is None else belief.probability
        rows = zip(*(x.cpu().tolist() for x in (raw, marks, true, sure)))
        tokens = ([Token(*token) for token in zip(*row) if token[0] != PADDING] for row in rows)
        return [[Text(pieces_of(self.tokenizer.spelt, one))] for one in tokens]

    def written(self, raw: Tensor) -> str:
        """The windows one after another."""
        return "".join(self.words(raw))


def _random_ids(lengths: tuple[int, ...], n: int, generator: torch.Generator) -> Tensor:
    """(n, lengths[0]) int32 of 7 tokens, the rows as long as ``lengths`` says in turn."""
    ids = torch.randint(0, 7, (n, lengths[0]), generator=generator)
    until = torch.tensor([lengths[i % len(lengths)] for i in range(n)]).view(-1, 1)
    return torch.where(torch.arange(lengths[0]) < until, ids, PADDING).int()
