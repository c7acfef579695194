"""YAML that people write: read so that whatever is wrong is told with the file that it is wrong in.

Numbers are those of YAML 1.2, as DVC reads them: ``1e-3`` is one, where PyYAML's own loaders, of YAML 1.1, see a word.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml

NO_YAML = (yaml.YAMLError, ValueError, RecursionError)
"""What reading raises; the last two for numbers of thousands of digits, and for nesting as deep."""

EXPONENT = re.compile(r"[-+]?[0-9][0-9_]*\.?[0-9_]*[eE][-+]?[0-9]+$")
"""Numbers that have no dot, or whose exponent has no sign. ``.5e3`` is none to DVC either."""


def _of_yaml_1_2(kind: Any) -> Any:
    """A loader or dumper of PyYAML that knows such numbers."""
    made: Any = type(kind.__name__, (kind,), {})
    made.add_implicit_resolver("tag:yaml.org,2002:float", EXPONENT, list("-+.0123456789"))
    return made


class _Careful(yaml.SafeLoader):
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


_Loader = _of_yaml_1_2(_Careful)
_Quick = _of_yaml_1_2(getattr(yaml, "CSafeLoader", yaml.SafeLoader))
_Dumper = _of_yaml_1_2(yaml.SafeDumper)


def load_yaml(text: str) -> Any:
    """What ``text`` says, None where it says nothing. Raises one of ``NO_YAML``."""
    return yaml.load(text, Loader=_Loader)


def load_quickly(text: str) -> Any:
    """As ``load_yaml``, many times as fast, of what DVC writes or has read already: no key is looked for twice."""
    return yaml.load(text, Loader=_Quick)


def dump_yaml(content: Any, **layout: Any) -> str:
    """Text that ``load_yaml`` reads as ``content``: words that look like numbers in quotes. ``layout``: what ``yaml.dump`` takes."""
    return yaml.dump(content, Dumper=_Dumper, sort_keys=False, allow_unicode=True, **layout)


def parse_yaml(text: str, where: str, error: type[ValueError]) -> Any:
    """What ``text`` says, an empty mapping where it says nothing. Raises ``error`` naming ``where`` it is no YAML, or says a key twice."""
    try:
        found = load_yaml(text)
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
