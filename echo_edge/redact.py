"""Redact: what looks like a secret does not leave the gateway, wherever somebody wrote it."""

from __future__ import annotations

import re

HIDDEN = "***"
_KEY = re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|\Z)", re.DOTALL)
_IN_URL = re.compile(r"(?<=://)[^/\s:@]*:[^/\s@]+(?=@)")
# a word that means a secret, and what is said of it; what names a file or a credential tells no secret
_NAMED = re.compile(
    r"""(?ix) \b ([\w-]* (?: password | passwd | passphrase | secret | token | api_?key | private_?key )
        (?! [\w-]* _(?: file | credential ) \b ) [\w-]*) (["']? \s* [:=] \s*)
        (?! \*\*\* ) ("[^"\n]*" | '[^'\n]*' | [^\s,}]+)"""
)


def redact(text: str) -> str:
    """Return the text with passwords, tokens, private keys and what stands before the ``@`` of an address hidden."""
    text = _KEY.sub(HIDDEN, text)
    text = _IN_URL.sub(HIDDEN, text)
    return _NAMED.sub(rf"\1\2{HIDDEN}", text)
