"""YAML whose mappings remember their lines, so that an error can say where."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from ehrtraj.labels.errors import TaskError


class Block(dict[str, Any]):
    """A mapping of a YAML file, with the line of each key."""

    lines: dict[str, int]
    line: int


class _Loader(yaml.SafeLoader):
    pass


def _block(loader: _Loader, node: yaml.MappingNode) -> Block:
    loader.flatten_mapping(node)
    block = Block()
    block.line, block.lines = node.start_mark.line + 1, {}
    for key_node, value_node in node.value:
        key = str(loader.construct_object(key_node, deep=True))
        if key in block:
            raise yaml.constructor.ConstructorError(
                None, None, f"'{key}' stands twice in one block", key_node.start_mark
            )
        block[key] = loader.construct_object(value_node, deep=True)
        block.lines[key] = key_node.start_mark.line + 1
    return block


_Loader.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _block)


def read_yaml(path: Path, text: str) -> Block:
    """Read a file that holds one mapping.

    Raises:
        TaskError: if it is not YAML, or holds something else; the message names the line.
    """
    try:
        content = yaml.load(text, Loader=_Loader)  # noqa: S506  # a SafeLoader
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = "" if mark is None else f", line {mark.line + 1}"
        raise TaskError(f"{path}{where}: it is not YAML: {error.problem or error.context}") from None
    except yaml.YAMLError as error:
        raise TaskError(f"{path}: it is not YAML: {str(error).splitlines()[0]}") from None
    if not isinstance(content, Block):
        raise TaskError(f"{path}: it is not a task file: it must hold predicates, trigger and windows")
    return content
