"""Text: plain files cut into windows, or files with a text (and a label) in every row. The vocabulary is that of the train split."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from mae_core.data.quarantine import Refused
from mae_core.data.sources import Part, Source, SourceError, readable
from mae_core.data.split import digests, stratified
from mae_core.data.text_rows import SUFFIXES, Item, read_rows
from mae_core.data.texts import INVALID, TextProblem, decode_text, padded, windows
from mae_core.data.tokens import TOKENS, Tokenizer
from mae_core.registry import nearest

NEEDED = ("train", "validation", "test")


def read(
    folder: Path,
    parts: Mapping[str, Sequence[str]],
    context: int,
    stride: int | None = None,
    tokens: str = "characters",
    vocabulary: int | None = None,
    hold_out: Mapping[str, float] | None = None,
    text: str = "text",
    label: str | None = None,
    invalid: str = "refuse",
) -> Source:
    """Token ids (n, context) int32, padded with −1.

    Args:
        parts: split's name → files, or patterns of files, below ``folder``: all plain, or all .csv, .tsv or .jsonl.
        context: tokens of a sample. Plain text is cut into windows, what is left at a file's end is counted; rows are cut or padded.
        stride: tokens from one training window to the next, ``context`` by default; windows of other splits never overlap.
        tokens: ``characters``, or ``bpe`` of bytes.
        vocabulary: the most tokens there may be; all characters, or 512 of BPE, by default.
        hold_out: shares of train for splits without files: of plain text the end of each file, test last, so that no window overlaps
            one of another split; of rows, texts drawn by their hash, spread evenly over the classes.
        text, label: columns or keys of files of rows.
        invalid: what bytes that are not UTF-8 do: ``refuse`` the file, or ``replace`` each by U+FFFD.
    """
    _check(parts, context, stride, tokens, hold_out or {}, invalid)
    files = {name: _files(folder, patterns) for name, patterns in parts.items()}
    in_rows = {file.suffix.lower() in SUFFIXES for some in files.values() for file in some}
    if len(in_rows) > 1:
        raise SourceError(f"{folder}: {', '.join(sorted(SUFFIXES))} files and plain text do not mix in one dataset")
    refused: list[Refused] = []
    rows = in_rows == {True}
    found = {
        name: list(
            _rows(folder, some, text, label, invalid, refused) if rows else _plain(folder, some, invalid, refused)
        )
        for name, some in files.items()
    }
    items = (_hold_out_rows if rows else _hold_out_text)(found, hold_out or {})
    tokenizer: Tokenizer = TOKENS[tokens].learn((item.text for item in items["train"]), vocabulary)
    classes = _classes(items)
    notes: list[str] = []
    made = []
    for name, some in items.items():
        step = (stride or context) if name == "train" else context
        part = (
            _pad(name, some, tokenizer, context, classes, notes)
            if rows
            else _cut(name, some, tokenizer, context, step, notes, refused)
        )
        unknown = int((part.samples == 0).sum())
        if unknown:
            notes.append(f"{unknown} tokens of {name} are unknown: characters that train lacks, or has too seldom")
        made.append(part)
    return Source(
        made, classes, refused, 0, notes, {"tokens": tokenizer.spec()}, None if rows else sum(map(len, files.values()))
    )


def _check(
    parts: Mapping[str, Sequence[str]],
    context: int,
    stride: int | None,
    tokens: str,
    hold_out: Mapping[str, float],
    invalid: str,
) -> None:
    if context < 2 or (stride is not None and stride < 1):
        raise SourceError(f"context {context}, stride {stride}: a context has 2 tokens or more, a stride 1 or more")
    for given, known, what in ((tokens, TOKENS, "tokens"), (invalid, INVALID, "invalid")):
        if given not in known:
            raise SourceError(f"unknown {what} {given!r}{nearest(given, known)}: there are {', '.join(known)}")
    if "train" not in parts or any(name not in NEEDED for name in [*parts, *hold_out]):
        raise SourceError(f"parts {', '.join(parts)}: text has train, and validation and test or shares of them")
    missing = [name for name in NEEDED if name not in parts and name not in hold_out]
    if missing:
        raise SourceError(f"no {' or '.join(missing)}: name its files under `parts`, or a share under `hold_out`")
    if not all(0 < share < 1 for share in hold_out.values()) or sum(hold_out.values()) >= 1:
        raise SourceError(f"hold_out {dict(hold_out)}: shares lie between 0 and 1, and leave some to train")


def _files(folder: Path, patterns: Sequence[str]) -> list[Path]:
    found = []
    for pattern in patterns:
        files = sorted(path for path in folder.glob(pattern) if path.is_file())
        if not files:
            raise SourceError(f"{folder / pattern} is missing")
        found += files
    return found


def _plain(folder: Path, files: list[Path], invalid: str, refused: list[Refused]) -> Iterator[Item]:
    """A text a file."""
    for file in files:
        origin = readable(file.relative_to(folder))
        try:
            yield Item(decode_text(file.read_bytes(), invalid), origin)
        except TextProblem as problem:
            refused.append(Refused(origin, problem.reason, problem.detail))


def _rows(
    folder: Path, files: list[Path], text: str, label: str | None, invalid: str, refused: list[Refused]
) -> Iterator[Item]:
    """A text a row."""
    for file in files:
        for row in read_rows(file, readable(file.relative_to(folder)), text, label, invalid):
            if isinstance(row, Refused):
                refused.append(row)
            else:
                yield row


def _hold_out_text(found: dict[str, list[Item]], shares: Mapping[str, float]) -> dict[str, list[Item]]:
    """The end of each training text goes to the other splits, test last."""
    wanted = [name for name in NEEDED[1:] if name not in found]
    items = {name: list(found.get(name, [])) for name in NEEDED}
    items["train"] = []
    for item in found["train"]:
        ends = [len(item.text)]
        for name in reversed(wanted):
            ends.insert(0, ends[0] - round(shares[name] * len(item.text)))
        items["train"].append(item._replace(text=item.text[: ends[0]]))
        for name, start, end in zip(wanted, ends, ends[1:]):
            items[name].append(Item(item.text[start:end], f"{item.origin}, from character {start}"))
    return items


def _hold_out_rows(found: dict[str, list[Item]], shares: Mapping[str, float]) -> dict[str, list[Item]]:
    """Training texts are drawn by their hash; equal ones stay together."""
    wanted = {name: shares[name] for name in NEEDED[1:] if name not in found}
    train = found["train"]
    if not wanted or not train:
        return {name: found.get(name, []) for name in NEEDED}
    hashes = digests(np.frombuffer(item.text.encode(), np.uint8) for item in train)
    labels = np.unique([item.label or "" for item in train], return_inverse=True)[1]
    cut = stratified(hashes, labels, wanted, "train")
    return {name: [train[i] for i in cut[name]] if name in cut else found[name] for name in NEEDED}


def _classes(items: dict[str, list[Item]]) -> list[str]:
    """Sorted; whole numbers by their size."""
    named = {item.label for some in items.values() for item in some if item.label is not None}
    return sorted(named, key=int) if all(one.isdecimal() for one in named) else sorted(named)


def _cut(
    name: str,
    items: list[Item],
    tokenizer: Tokenizer,
    context: int,
    stride: int,
    notes: list[str],
    refused: list[Refused],
) -> Part:
    """Windows of plain texts."""
    blocks, names, left = [], [], 0
    for item in items:
        ids = tokenizer.encode(item.text)
        try:
            block = windows(ids, context, stride)
        except TextProblem as problem:
            refused.append(Refused(item.origin, problem.reason, problem.detail))
            continue
        blocks.append(block)
        names += [f"{item.origin}[{row * stride}]" for row in range(len(block))]
        left += len(ids) - (len(block) - 1) * stride - context
    if not blocks:
        first = f": {': '.join(part for part in refused[-1] if part)}" if refused else ""
        raise SourceError(f"part {name} holds no usable text{first}")
    if left:
        notes.append(f"{left} tokens of {name} at the end of a file fill no window and are left out")
    samples = np.concatenate(blocks)
    return Part(name, samples, np.full(len(samples), -1, np.int64), names)


def _pad(
    name: str, items: list[Item], tokenizer: Tokenizer, context: int, classes: list[str], notes: list[str]
) -> Part:
    """A row a text."""
    encoded = [tokenizer.encode(item.text) for item in items]
    longer = sum(len(ids) > context for ids in encoded)
    if longer:
        notes.append(f"{longer} of {len(items)} texts of {name} are longer than {context} tokens and are cut")
    samples = np.stack([padded(ids, context) for ids in encoded]) if items else np.zeros((0, context), np.int32)
    number = {label: i for i, label in enumerate(classes)}
    labels = np.array([-1 if item.label is None else number[item.label] for item in items], np.int64)
    return Part(name, samples, labels, [item.origin for item in items])
