"""MAT files read as scipy reads them, and damage is an error instead of the process's end."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest
import scipy.io

from trainer.data.matfile import MatError, read_arrays


def stored(compressed: bool = False, **variables: Any) -> bytes:
    file = io.BytesIO()
    scipy.io.savemat(file, variables, do_compression=compressed)
    return file.getvalue()


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize("kind", ["f8", "f4", "i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8"])
def test_numbers_read_as_they_were_stored(kind: str, compressed: bool):
    values = (np.arange(12).reshape(3, 4) * 7 % 100).astype(kind)
    found = read_arrays(stored(compressed, first=values, X=values[:1]))
    assert list(found) == ["first", "X"]
    np.testing.assert_array_equal(found["first"], values, strict=True)


def test_what_is_no_real_array_is_passed_over():
    found = read_arrays(
        stored(text="words", s={"a": 1.0}, cell=np.array([1, "a"], dtype=object), z=np.ones(3) * 1j, x=np.ones(3))
    )
    assert list(found) == ["x"]


def test_a_file_cut_short_is_an_error_at_every_length():
    whole = stored(x=np.arange(20.0))
    for length in range(129, len(whole) - 1):
        with pytest.raises(MatError):
            read_arrays(whole[:length])


def test_a_file_of_another_kind_is_an_error():
    with pytest.raises(MatError, match="not a MAT file of version 5"):
        read_arrays(b"RIFF" * 100)


def test_a_damaged_compressed_element_is_an_error():
    whole = bytearray(stored(True, x=np.arange(200.0)))
    whole[160] ^= 0xFF
    with pytest.raises(MatError, match="damaged"):
        read_arrays(bytes(whole))
