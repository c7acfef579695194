"""YAML that people write: read so that whatever is wrong is told with the file that it is wrong in."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

NO_YAML = (yaml.YAMLError, ValueError, RecursionError)
"""What reading raises; the last two for numbers of thousands of digits, and for nesting as deep."""


class _Loader(yaml.SafeLoader):
    """Refuses a key that is said twice, where YAML's own loader drops the first without a word."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """As the safe loader does."""
        seen: set[tuple[str, str]] = set()
        for key, _ in node.value if isinstance(node, yaml.MappingNode) else ():
            if isinstance(key, yaml.ScalarNode) and key.tag != "tag:yaml.org,2002:merge":
                if (key.tag, key.value) in seen:
                    raise yaml.constructor.ConstructorError(None, None, f"{key.value} is said twice", key.start_mark)
                seen.add((key.tag, key.value))
        return super().construct_mapping(node, deep)


def parse_yaml(text: str, where: str, error: type[ValueError]) -> Any:
    """What ``text`` says, an empty mapping where it says nothing. Raises ``error`` naming ``where`` it is no YAML, or says a key twice."""
    try:
        found = yaml.load(text, Loader=_Loader)
    except NO_YAML as problem:
        raise error(f"{where} is not YAML: {problem}") from problem
    return {} if found is None else found


def read_text(path: Path, error: type[ValueError]) -> str:
    """Raises ``error`` naming the file where it cannot be read, or holds no UTF-8."""
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as problem:
        raise error(f"{path} cannot be read: {problem}") from problem


def read_yaml(path: Path, error: type[ValueError]) -> Any:
    """What a file says; raises what ``parse_yaml`` and ``read_text`` raise."""
    return parse_yaml(read_text(path, error), str(path), error)
