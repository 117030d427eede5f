"""The layer over CUDA, with CUDA stood in for."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from echo_edge.engine.cuda import Cuda, device, nvidia_here
from echo_edge.errors import EngineError
from tests.engines import GPU, FakeCudart


def failing(name: str, code: int) -> FakeCudart:
    cudart = FakeCudart()
    cudart.failing[name] = code
    return cudart


def test_the_device_is_described_without_taking_anything() -> None:
    cudart = FakeCudart()
    assert device(cudart) == GPU
    assert not cudart.taken


def test_a_machine_without_a_gpu_says_why() -> None:
    for code, why in ((35, "no NVIDIA driver"), (100, "sees no device"), (3, "nvidia-smi")):
        with pytest.raises(EngineError, match=rf"^no GPU: cudaGetDeviceCount: .*\({code}\).*{why}") as raised:
            device(failing("cudaGetDeviceCount", code))
        assert not raised.value.lost
        assert "\n" not in str(raised.value)


def test_a_copy_to_the_device_and_back_keeps_every_number() -> None:
    cudart = FakeCudart()
    cuda = Cuda(cudart)
    sent, back, address = cuda.pinned(1000), cuda.pinned(1000), cuda.allocate(4000)
    sent[:] = np.arange(1000)
    cuda.upload(sent, address)
    cuda.download(address, back)
    cuda.wait()
    assert np.array_equal(back, np.arange(1000))
    cuda.close()


def test_closing_gives_everything_back_once() -> None:
    cudart = FakeCudart()
    cuda = Cuda(cudart)
    cuda.pinned(10)
    cuda.allocate(10)
    cuda.capture(lambda: None)
    assert len(cudart.taken) == 4  # the stream, too
    cuda.close()
    cuda.close()
    assert not cudart.taken


def test_what_a_lost_device_does_not_take_back_is_no_error() -> None:
    cudart = FakeCudart()
    cuda = Cuda(cudart)
    cuda.allocate(10)
    cudart.failing["cudaFree"] = 719
    cuda.close()


@pytest.mark.parametrize(
    ("code", "lost", "out_of_memory"),
    [(2, False, True), (1, False, False), (901, False, False)]
    + [(code, True, False) for code in (100, 214, 220, 226, 700, 702, 710, 715, 719, 999)],
)
def test_errors_name_the_call_and_tell_a_lost_device_and_full_memory_apart(
    code: int, lost: bool, out_of_memory: bool
) -> None:
    cudart = FakeCudart()
    cuda = Cuda(cudart)
    cudart.failing["cudaMalloc"] = code
    with pytest.raises(EngineError, match=rf"^cudaMalloc: .*\({code}\)") as raised:
        cuda.allocate(10)
    assert (raised.value.lost, raised.value.out_of_memory) == (lost, out_of_memory)
    cuda.close()


def test_a_capture_that_fails_leaves_the_stream_usable_and_nothing_behind() -> None:
    cudart = FakeCudart()
    cuda = Cuda(cudart)
    taken = set(cudart.taken)

    def work() -> None:
        raise EngineError("cannot be captured")

    with pytest.raises(EngineError, match="cannot be captured"):
        cuda.capture(work)
    assert cudart.recording is None
    cudart.failing["cudaGraphInstantiate"] = 900
    with pytest.raises(EngineError, match=r"cudaGraphInstantiate: .*\(900\)"):
        cuda.capture(lambda: None)
    assert set(cudart.taken) == taken
    cuda.close()


def test_nothing_of_nvidia_is_seen_where_the_kernel_shows_none(tmp_path: Path):
    (tmp_path / "dev").mkdir()
    assert not nvidia_here(tmp_path)
    (tmp_path / "dev" / "nvhost-ctrl").touch()
    assert nvidia_here(tmp_path)
