"""Licences by their SPDX identifiers, and those under which trained weights may be given away."""

from __future__ import annotations

import re

UNKNOWN = "unknown"
PUBLIC_DOMAIN = "LicenseRef-public-domain"  # SPDX has no identifier for it; this is its own way of writing such a one
PERMISSIVE = frozenset(
    {
        PUBLIC_DOMAIN,
        "CC0-1.0",
        "CC-PDDC",
        *(f"CC-BY-{version}" for version in ("1.0", "2.0", "2.1", "2.5", "3.0", "4.0")),
        *("MIT", "MIT-0", "Apache-2.0", "BSD-1-Clause", "BSD-2-Clause", "BSD-3-Clause", "0BSD", "ISC", "Zlib"),
        *("BSL-1.0", "Unlicense", "WTFPL"),
    }
)
"""No condition on what is learned from the recording; at most its author is to be named."""

_NAMES = {
    "publicdomain": PUBLIC_DOMAIN,
    "pd": PUBLIC_DOMAIN,
    "cc0": "CC0-1.0",
    "cczero": "CC0-1.0",
    "expat": "MIT",
    "apache": "Apache-2.0",
    "bsl": "BSL-1.0",
    "wtf": "WTFPL",
}
_PLAIN = {re.sub(r"[^a-z0-9]", "", name.lower()): name for name in PERMISSIVE}
_CC = re.compile(
    r"(?i)(?:cc|creative commons|licenses/)[\s:_/-]*(?P<kind>by(?:[\s_-]?(?:nc|sa|nd))*)(?![a-z])[\s_/-]*"
    r"(?P<version>\d\.\d)?"
)
_ZERO = re.compile(r"(?i)publicdomain/zero|\bcc[\s-]?0\b|\bcc[\s-]?zero\b")
_SPDX = re.compile(r"[A-Za-z0-9.-]+-\d+(?:\.\d+)*(?:-[A-Za-z-]+)?\+?|LicenseRef-[A-Za-z0-9.-]+")


def spdx(text: str) -> str:
    """Return the SPDX identifier that a licence's common name stands for; ``unknown`` where we cannot tell.

    >>> spdx("CC BY 3.0 (dataset)"), spdx("http://creativecommons.org/licenses/by-nc-sa/4.0/"), spdx("CC BY")
    ('CC-BY-3.0', 'CC-BY-NC-SA-4.0', 'unknown')
    """
    text = re.sub(r"\(.*\)", "", text).strip()
    if match := _CC.search(text):
        kind = re.sub(r"[\s_]|(?<=[a-z])(?=nc|sa|nd)", "-", match["kind"].lower()).replace("--", "-").upper()
        return f"CC-{kind}-{match['version']}" if match["version"] else UNKNOWN
    if _ZERO.search(text):
        return "CC0-1.0"
    plain = re.sub(r"[^a-z0-9]", "", text.lower())
    if found := _NAMES.get(plain) or _PLAIN.get(plain):
        return found
    return text if _SPDX.fullmatch(text) else UNKNOWN
