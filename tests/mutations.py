"""Seeded mutations of text files, for tests of the code that reads them."""

from __future__ import annotations

import random
from collections.abc import Sequence


def mutated(chance: random.Random, text: str, pieces: Sequence[str]) -> bytes:
    """Return a text with one to five changes: pieces inserted or removed, lines moved, bytes replaced."""
    for _ in range(chance.randint(1, 5)):
        at, other = (chance.randint(0, len(text)) for _ in range(2))
        lines = text.splitlines(keepends=True)
        kind = chance.randrange(6)
        if kind == 0:
            text = text[:at] + chance.choice(pieces) * chance.choice((1, 1, 1, 30)) + text[at:]
        elif kind == 1:
            text = text[:at] + text[at + chance.randint(1, 20) :]
        elif kind == 2:
            text = text[:at] + text[min(at, other) : max(at, other)] + text[at:]
        elif kind == 3 and lines:
            chance.shuffle(lines) if chance.random() < 0.1 else lines.pop(chance.randrange(len(lines)))
            text = "".join(lines)
        elif kind == 4 and lines:
            line = chance.randrange(len(lines))
            lines[line] = " " * chance.randint(0, 8) + lines[line].lstrip()
            text = "".join(lines)
        else:
            words = text.split(" ")
            words[chance.randrange(len(words))] = chance.choice(pieces)
            text = " ".join(words)
    content = text.encode()
    if chance.random() < 0.1:
        at = chance.randint(0, len(content))
        content = content[:at] + bytes([chance.randrange(256)]) + content[at + 1 :]
    return content
