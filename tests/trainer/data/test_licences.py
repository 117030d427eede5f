"""Common names of licences are known by their SPDX identifiers; what is unclear stays unknown."""

from __future__ import annotations

import pytest

from trainer.data.licences import PERMISSIVE, spdx


@pytest.mark.parametrize(
    ("text", "identifier"),
    [
        ("CC BY 3.0 (dataset; clips CC0/CC BY, see its README)", "CC-BY-3.0"),
        ("CC-BY-4.0", "CC-BY-4.0"),
        ("cc by-nc-sa 4.0", "CC-BY-NC-SA-4.0"),
        ("CC BY-NC 3.0", "CC-BY-NC-3.0"),
        ("CC-BY-SA-3.0-us", "CC-BY-SA-3.0"),
        ("http://creativecommons.org/licenses/by/3.0/fr/", "CC-BY-3.0"),
        ("https://creativecommons.org/licenses/by-nc-nd/2.5/", "CC-BY-NC-ND-2.5"),
        ("https://creativecommons.org/publicdomain/zero/1.0/", "CC0-1.0"),
        ("CC0", "CC0-1.0"),
        ("Public Domain", "LicenseRef-public-domain"),
        ("Expat", "MIT"),
        ("BSD-3-Clause (repository licence)", "BSD-3-Clause"),
        ("bsd 2-clause", "BSD-2-Clause"),
        ("GPL-2+", "GPL-2+"),
        ("CC BY", "unknown"),
        ("free for personal use", "unknown"),
        ("", "unknown"),
    ],
)
def test_a_licence_has_its_identifier(text: str, identifier: str):
    assert spdx(text) == identifier


def test_identifiers_stay_what_they_are():
    assert {spdx(identifier) for identifier in PERMISSIVE} == PERMISSIVE


def test_share_alike_non_commercial_and_copyleft_are_not_permissive():
    assert not [name for name in PERMISSIVE if any(word in name for word in ("SA", "NC", "ND", "GPL"))]
