"""A device that a model is to run on, looked at before anything is loaded."""

import sys

import pytest
from modelhost.authors import devices
from modelhost.authors.devices import device_problem

GPUS = (("0", "GPU-aaaa"), ("1", "GPU-bbbb"))


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch):
    """Makes this machine one with other accelerators."""

    def made(*, files: tuple[str, ...] = (), gpus: tuple[tuple[str, str], ...] = (), system: str = "linux") -> None:
        monkeypatch.setattr(devices, "device_files", lambda: files)
        monkeypatch.setattr(devices, "nvidia_gpus", lambda: gpus)
        monkeypatch.setattr(sys, "platform", system)

    return made


@pytest.mark.parametrize("wanted", ["gpu", "CPU", "", "cuda:", "cuda:x", "cpu:0", "mps:1", "rocm"])
def test_what_is_no_device_is_named_with_those_that_are(machine, wanted):
    machine(gpus=GPUS)
    assert device_problem(wanted) == f"device: there is no device {wanted!r}; write `auto`, `cpu`, `cuda`, `mps`, `cuda:N`"


@pytest.mark.parametrize("wanted", ["auto", "cpu"])
def test_a_cpu_is_always_there(machine, wanted):
    machine()
    assert device_problem(wanted) is None


def test_cuda_needs_a_gpu_and_a_number_one_of_them(machine):
    machine()
    assert device_problem("cuda") == "device: there is no GPU for 'cuda' here; write `auto` or `cpu`"
    machine(gpus=GPUS)
    assert device_problem("cuda") is None
    assert device_problem("cuda:1") is None
    assert device_problem("cuda:2") == "device: there is no 'cuda:2' here, but 2 GPUs, counted from 0"


def test_a_driver_without_its_tool_may_have_any_gpu(machine):
    machine(files=("kfd",))
    assert device_problem("cuda:5") is None


def test_a_mac_has_mps(machine):
    machine()
    assert "only a Mac" in str(device_problem("mps"))
    machine(system="darwin")
    assert device_problem("mps") is None
    assert "there is no device 'mps'" in str(device_problem("mps", ("cpu", "cuda")))
