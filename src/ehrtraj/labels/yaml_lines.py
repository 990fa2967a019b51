"""Read YAML into mappings that record their lines, so that errors can name them. Size and depth are limited."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from ehrtraj.labels.errors import TaskError

MOST_BYTES = 256 << 10
"""Maximum size of a task file. The largest predefined task has 3 kB."""
_DEEPEST = 20
_MOST_VALUES = 20_000
_LONGEST_NUMBER = 40
_MOST_EXPANDED = 2 * MOST_BYTES
"""Maximum size with every alias expanded, counted as the number of characters plus the number of values."""


class YamlMapping(dict[str, Any]):
    """A mapping of a YAML file, with the line of each key."""

    lines: dict[str, int]
    line: int


class _Loader(yaml.SafeLoader):
    """Reads nodes, and refuses files with too many values or levels, cyclic aliases, or huge expanded aliases."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self._depth = 0
        self._values = 0
        self._sizes: dict[int, int] = {}

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:  # noqa: ANN401  # as in PyYAML
        event = self.peek_event()  # type: ignore[no-untyped-call]
        if isinstance(event, yaml.NodeEvent) and not isinstance(event, yaml.AliasEvent):
            # Collections have one more event, which yaml's stubs do not know.
            tag = getattr(event, "tag", None)
            if tag not in (None, "!"):
                raise _RefusedError(f"tags such as {tag} are not supported", event.start_mark)
        self._values += 1
        if self._values > _MOST_VALUES:
            raise _RefusedError(f"more than {_MOST_VALUES:,} values", event.start_mark)
        self._depth += 1
        if self._depth > _DEEPEST:
            raise _RefusedError(f"more than {_DEEPEST} levels", event.start_mark)
        node = super().compose_node(parent, index)
        self._depth -= 1
        if node is not None:
            self._measure(node, event)
        return node

    def _measure(self, node: yaml.Node, event: yaml.Event) -> None:
        """Record the size of a node with all its aliases expanded."""
        if id(node) not in self._sizes:
            if isinstance(event, yaml.AliasEvent):
                raise _RefusedError("an alias refers to a value that contains it", event.start_mark)
            self._sizes[id(node)] = 1 + self._size_within(node)
        if self._sizes[id(node)] > _MOST_EXPANDED:
            raise _RefusedError("too large with its aliases expanded", event.start_mark)

    def _size_within(self, node: yaml.Node) -> int:
        if isinstance(node, yaml.MappingNode):
            return sum(self._sizes[id(part)] for pair in node.value for part in pair)
        if isinstance(node, yaml.SequenceNode):
            return sum(self._sizes[id(part)] for part in node.value)
        return len(node.value)


class _RefusedError(yaml.MarkedYAMLError):
    """YAML that this reader refuses."""

    def __init__(self, problem: str, mark: Any) -> None:  # noqa: ANN401  # from either of PyYAML's readers
        super().__init__(problem=problem, problem_mark=mark)


def _value(loader: _Loader, node: yaml.Node) -> Any:  # noqa: ANN401  # any YAML value
    if isinstance(node, yaml.MappingNode):
        return _block(loader, node)
    if isinstance(node, yaml.SequenceNode):
        return [_value(loader, part) for part in node.value]
    return _scalar(loader, node) if isinstance(node, yaml.ScalarNode) else None


def _block(loader: _Loader, node: yaml.MappingNode) -> YamlMapping:
    loader.flatten_mapping(node)
    block = YamlMapping()
    block.line, block.lines = node.start_mark.line + 1, {}
    for key_node, value_node in node.value:
        if not isinstance(key_node, yaml.ScalarNode):
            raise _RefusedError("a key must be a text", key_node.start_mark)
        _scalar(loader, key_node)
        # Keys stay as written: `on` is a name here, not a boolean.
        key = key_node.value
        if key in block:
            raise _RefusedError(f"the key '{key}' occurs twice in one mapping", key_node.start_mark)
        block[key] = _value(loader, value_node)
        block.lines[key] = key_node.start_mark.line + 1
    return block


def _scalar(loader: _Loader, node: yaml.ScalarNode) -> Any:  # noqa: ANN401  # any YAML value
    kind = node.tag.rpartition(":")[2]
    if any("\ud800" <= letter <= "\udfff" for letter in node.value):
        raise _RefusedError("half of a surrogate pair is not a character", node.start_mark)
    if kind in ("int", "float"):
        if len(node.value) > _LONGEST_NUMBER:
            raise _RefusedError(f"a number has more than {_LONGEST_NUMBER} digits", node.start_mark)
        try:
            return loader.construct_yaml_int(node) if kind == "int" else loader.construct_yaml_float(node)
        except (ValueError, OverflowError):
            raise _RefusedError(f"'{node.value}' is not a number", node.start_mark) from None
    if kind == "bool":
        return loader.construct_yaml_bool(node)
    # Dates stay text, because a task has none.
    return None if kind == "null" else node.value


def read_yaml(path: Path, text: str) -> YamlMapping:
    """Read a file that contains one mapping.

    Raises:
        TaskError: if the file is not valid YAML or not a mapping. The message names the line.
    """
    try:
        loader = _Loader(text)
        try:
            node = loader.get_single_node()
            content = None if node is None else _value(loader, node)
        except (ValueError, OverflowError) as error:
            # From PyYAML's scanner: "\U00110000" is not a character.
            raise _RefusedError(str(error), loader.get_mark()) from None
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = "" if mark is None else f", line {mark.line + 1}"
        raise TaskError(f"{path}{place}: invalid YAML: {error.problem or error.context}") from None
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise TaskError(f"{path}, line {line}: invalid YAML: {error.reason} (character {error.character})") from None
    except yaml.YAMLError as error:
        raise TaskError(f"{path}: invalid YAML: {str(error).splitlines()[0]}") from None
    if not isinstance(content, YamlMapping):
        raise TaskError(f"{path} is not a task file: it must contain predicates, trigger and windows")
    return content
