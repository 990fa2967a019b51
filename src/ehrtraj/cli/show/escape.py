r"""Make text from data safe to print: characters that a terminal would obey or hide are shown as `\x1b` or `\u202e`.

Codes, units, texts, column names and file names come from the input, which cannot be trusted. An escape sequence in
them can move the cursor, overwrite earlier output, or change the window's title. A bidi override changes the order in
which text is displayed.
"""

from __future__ import annotations

import re

# All control (Cc), format (Cf), surrogate (Cs), and line or paragraph separator (Zl, Zp) characters of Unicode, and the
# invisible letters and marks: fillers and variation selectors.
_UNSAFE = re.compile(
    "[\x00-\x1f\x7f-\x9f\xad\u034f\u0600-\u0605\u061c\u06dd\u070f\u0890\u0891\u08e2\u115f\u1160\u17b4\u17b5\u180b-\u180f"
    "\u200b-\u200f\u2028-\u202e\u2060-\u206f\u3164\ud800-\udfff\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufffb\U000110bd\U000110cd"
    "\U00013430-\U0001343f\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff]"
)
_NAMED = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}

# Replacements of the same width for typographic characters that rich or our texts use, for consoles that lack them.
_PLAIN = {"…": "~", "–": "-", "—": "-", "−": "-", "→": ">", "×": "x", "•": "*", "·": "*", "‘": "'", "’": "'"}
_PLAIN |= {"“": '"', "”": '"', "\u00a0": " ", "\u202f": " "}


def visible(text: str, *, keep: str = "") -> str:
    r"""Escape every character that a terminal would obey, or that is invisible.

    Args:
        text: text that is, or contains, data.
        keep: characters to keep because they are structure, such as `"\n"`.

    Returns:
        The text, in which `\n`, `\x1b`, `\u202e` and the like replace these characters.
    """
    return _UNSAFE.sub(lambda found: found[0] if found[0] in keep else _escaped(found[0]), text)


def _escaped(character: str) -> str:
    if character in _NAMED:
        return _NAMED[character]
    code = ord(character)
    if code < 0x100:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def encodable(text: str, encoding: str) -> str:
    r"""Replace characters that an encoding lacks: typographic ones with plain ones, others with `\xb5` or `\u2265`."""
    try:
        text.encode(encoding)
    except UnicodeEncodeError:
        return "".join(_in_encoding(character, encoding) for character in text)
    except LookupError:
        return encodable(text, "ascii")
    return text


def _in_encoding(character: str, encoding: str) -> str:
    try:
        character.encode(encoding)
    except UnicodeEncodeError:
        return _PLAIN.get(character) or _escaped(character)
    return character
