"""A baseline goes to a twin machine as one file; what was changed on the way, or comes from strangers, is refused."""

from __future__ import annotations

import io
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from echo_edge.baseline_file import LIMITS, read_file
from echo_edge.baseline_manifest import _array, pack, unpack
from echo_edge.errors import BaselineError
from echo_edge.stored_zip import stored_members
from tests.baselines import enroll, make_store, same, small
from tests.world import POINT

TWIN = "fan/top"


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One file of the gateway ``gw``, with its public key beside it."""
    folder = tmp_path_factory.mktemp("gw")
    store = make_store(folder)
    enroll(store, small(1))
    store.export("bl_0001", folder / "pump.eebl")
    return folder / "pump.eebl"


def key_of(file: Path) -> bytes:
    return (file.parent / "signing.pub").read_bytes()


def members(file: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(file) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def rezipped(parts: dict[str, bytes], **options: int) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", **options) as archive:  # type: ignore[arg-type]
        for name, content in parts.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def test_an_import_is_a_proposal_with_the_same_arrays_that_says_where_it_came_from(
    tmp_path: Path, exported: Path
) -> None:
    store = make_store(tmp_path, "gw2")
    proposal = store.import_(exported, TWIN, "lang", key_of(exported), "twin of pump")
    assert store.active(TWIN) is None
    loaded = store.load(proposal.id)
    assert same(loaded, small(1))
    assert (loaded.point, loaded.parent, loaded.learned["run"].how) == (TWIN, None, "import")
    came = loaded.imported_from
    assert came is not None
    assert (came.id, came.point, came.gateway) == ("bl_0001", POINT, "gw")
    assert [(one.status, one.imported_from) for one in store.list(TWIN)] == [("proposed", "gw")]
    assert [one.what for one in store.audit()] == ["trust", "import"]
    store.activate(TWIN, proposal.id, "lang", "checked for 10 minutes")
    assert store.verify_audit().problems == []


def test_a_key_that_was_trusted_once_is_trusted_again(tmp_path: Path, exported: Path) -> None:
    store = make_store(tmp_path, "gw2")
    with pytest.raises(BaselineError, match="of gateway 'gw', which is not trusted here"):
        store.import_(exported, TWIN, "lang")
    assert store.list() == []
    store.import_(exported, TWIN, "lang", key_of(exported))
    assert store.import_(exported, TWIN, "lang").id == "bl_0002"
    assert [key.pem() for key in store.trusted_keys()] == [key_of(exported)]


def test_a_gateway_takes_back_its_own_without_any_key(tmp_path: Path) -> None:
    store = make_store(tmp_path)
    enroll(store, small(1))
    store.export("bl_0001", tmp_path / "own.eebl")
    assert store.import_(tmp_path / "own.eebl", TWIN, "lang").id == "bl_0002"


def test_another_key_than_the_signers_is_refused(tmp_path: Path, exported: Path) -> None:
    store = make_store(tmp_path, "gw2")
    store.propose(small(2), "lang")
    with pytest.raises(BaselineError, match=r"is signed with key [0-9a-f]{16}, the key given is [0-9a-f]{16}"):
        store.import_(exported, TWIN, "lang", (tmp_path / "signing.pub").read_bytes())
    with pytest.raises(BaselineError, match="is no ed25519 public key"):
        store.import_(exported, TWIN, "lang", b"hello")
    assert store.trusted_keys() == []


def test_an_export_never_replaces_a_file(tmp_path: Path) -> None:
    store = make_store(tmp_path)
    enroll(store, small(1))
    file = tmp_path / "pump.eebl"
    file.write_text("mine")
    with pytest.raises(BaselineError, match="is there already"):
        store.export("bl_0001", file)
    with pytest.raises(BaselineError, match=r"name a file that ends in \.eebl"):
        store.export("bl_0001", tmp_path / "pump.zip")
    with pytest.raises(BaselineError, match="cannot be written"):
        store.export("bl_0001", tmp_path / "none" / "pump.eebl")
    assert file.read_text() == "mine"


def test_the_same_baseline_makes_the_same_bytes(tmp_path: Path, exported: Path) -> None:
    store = make_store(exported.parent)
    store.export("bl_0001", tmp_path / "again.eebl")
    assert (tmp_path / "again.eebl").read_bytes() == exported.read_bytes()


def changed(name: str, change: Callable[[bytes], bytes]) -> Callable[[dict[str, bytes]], bytes]:
    return lambda parts: rezipped({**parts, name: change(parts[name])})


def without_vectors(parts: dict[str, bytes]) -> bytes:
    return rezipped({name: content for name, content in parts.items() if name != "vectors.npz"})


def twice(parts: dict[str, bytes]) -> bytes:
    data = rezipped({**parts, "signaturf": b"0" * 64})
    return data.replace(b"signaturf", b"signature")


def flipped(content: bytes) -> bytes:
    middle = len(content) // 2
    return content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]


HOSTILE: dict[str, tuple[Callable[[dict[str, bytes]], bytes], str]] = {
    "another point": (changed("manifest.json", lambda m: m.replace(b"pump/de", b"pump/dx")), "does not verify"),
    "another vector": (changed("vectors.npz", flipped), "vectors do not have the SHA-256 that was signed"),
    "no vectors": (without_vectors, "must hold exactly"),
    "a path that leads out": (lambda p: rezipped({**p, "../../etc/passwd": b"root"}), "must hold exactly"),
    "a member twice": (twice, "there twice"),
    "compressed": (lambda p: rezipped(p, compression=zipfile.ZIP_DEFLATED), "compressed members"),
    "a bomb": (
        lambda p: rezipped({**p, "signature": b"\0" * 10_000_000}, compression=zipfile.ZIP_DEFLATED),
        "compressed members",
    ),
    "a large signature": (changed("signature", lambda s: s + b"0"), "signature has 65 bytes, at most 64"),
    "an empty key": (changed("public_key", lambda _: b""), "is no ed25519 public key"),
    "no zip": (lambda _: b"hello", "damaged"),
    "nothing": (lambda _: b"", "damaged"),
}


@pytest.mark.parametrize("what", HOSTILE)
def test_a_file_that_was_changed_is_refused_with_a_reason(tmp_path: Path, exported: Path, what: str) -> None:
    make, message = HOSTILE[what]
    file = tmp_path / "changed.eebl"
    file.write_bytes(make(members(exported)))
    store = make_store(tmp_path, "gw2")
    with pytest.raises(BaselineError, match=message):
        store.import_(file, TWIN, "lang", key_of(exported))
    assert store.list() == []
    assert store.trusted_keys() == []


def test_a_folder_a_pipe_and_a_file_that_is_not_there_are_named(tmp_path: Path) -> None:
    for file, message in ((tmp_path, "no baseline file"), (Path("/dev/zero"), "no baseline file")):
        with pytest.raises(BaselineError, match=message):
            read_file(file)
    with pytest.raises(BaselineError, match="No such file"):
        read_file(tmp_path / "none.eebl")


@settings(deadline=None, max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_no_change_of_a_file_gets_in_and_none_makes_a_traceback(exported: Path, data: st.DataObject) -> None:
    """Bytes of a whole file replaced, cut out or put in anywhere."""
    whole = exported.read_bytes()
    start = data.draw(st.integers(0, len(whole) - 1))
    end = data.draw(st.integers(start, min(len(whole), start + 64)))
    changed_bytes = whole[:start] + data.draw(st.binary(max_size=64)) + whole[end:]
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "changed.eebl"
        file.write_bytes(changed_bytes)
        try:
            found = read_file(file)
        except BaselineError:
            return
        same_as = read_file(exported)
        assert (found.signed, found.vectors, found.signer) == (same_as.signed, same_as.vectors, same_as.signer)


@settings(deadline=None, max_examples=200)
@given(st.dictionaries(st.sampled_from([*LIMITS, "x"]), st.binary(max_size=200)), st.binary(max_size=50))
def test_an_archive_of_anything_is_refused(parts: dict[str, bytes], after: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "any.eebl"
        file.write_bytes(rezipped(parts) + after)
        with pytest.raises(BaselineError):
            read_file(file)


def npy(header: str, content: bytes = b"") -> bytes:
    text = header.encode().ljust(117) + b"\n"
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text + content


@pytest.mark.parametrize(
    "member",
    [
        npy("{'descr': '<f4', 'fortran_order': False, 'shape': (1000000000000,), }"),
        npy("{'descr': '<f4', 'fortran_order': False, 'shape': (-1,), }"),
        npy("{'descr': '<f4', 'fortran_order': True, 'shape': (1, 1), }", b"0000"),
        npy("{'descr': '>f4', 'fortran_order': False, 'shape': (1,), }", b"0000"),
        npy("{'descr': '|V0', 'fortran_order': False, 'shape': (5,), }"),
        npy("{'descr': '|O', 'fortran_order': False, 'shape': (1,), }", b"00000000"),
        npy("{'descr': '<f4', 'fortran_order': False, 'shape': ("),
        npy("__import__('os').abort()"),
        b"\x93NUMPY\x03\x00",
        b"",
    ],
)
def test_arrays_are_read_only_when_their_headers_account_for_every_byte(member: bytes) -> None:
    with pytest.raises(BaselineError, match="cannot be read"):
        unpack(["run"], rezipped({"0_vectors.npy": member}))


def test_a_signed_file_with_other_arrays_than_the_states_need_is_refused() -> None:
    buffer = io.BytesIO()
    np.savez(buffer, **{"0_vectors": np.zeros(3)})
    with pytest.raises(BaselineError, match="state 'run'"):
        unpack(["run"], buffer.getvalue())
    with pytest.raises(BaselineError, match="belongs to no state"):
        unpack(["run"], rezipped({"1_vectors.npy": b""}))


def test_arrays_of_no_element_and_of_no_axis_come_back_as_they_were() -> None:
    class Small:
        def arrays(self) -> dict[str, Any]:
            return {"none": np.empty((3, 0), np.float16), "one": np.array(2.5), "turned": np.eye(2, 3).T}

    packed = pack([Small()])  # type: ignore[list-item]
    given = {name: _array(content, name) for name, content in stored_members(packed, "packed").items()}
    assert {name: (a.shape, a.dtype.str) for name, a in given.items()} == {
        "0_none.npy": ((3, 0), "<f2"),
        "0_one.npy": ((), "<f8"),
        "0_turned.npy": ((3, 2), "<f8"),
    }
    assert (given["0_turned.npy"] == np.eye(2, 3).T).all()
