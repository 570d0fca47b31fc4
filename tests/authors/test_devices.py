"""A device that a model is to run on, looked at before anything is loaded."""

import sys

import pytest
from modelhost import BadInputError
from modelhost.authors import devices
from modelhost.authors.devices import device_problem, torch_device

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


@pytest.mark.parametrize("wanted", ["cuda:2", "cuda:99", "tpu", "gpu", "cuda:x", "cpu:1", "", "CUDA", "mps"])
def test_a_device_that_torch_does_not_see_is_refused_with_what_to_use(wanted):
    with pytest.raises(BadInputError, match=r"options\.device"):
        torch_device(wanted, gpus=2, mps=False)


@pytest.mark.parametrize(("gpus", "mps", "found"), [(2, True, "cuda:0"), (0, True, "mps"), (0, False, "cpu")])
def test_auto_takes_what_torch_sees(gpus, mps, found):
    assert torch_device("auto", gpus=gpus, mps=mps) == found


def test_a_gpu_has_its_number():
    asked = ("cuda", "cuda:0", "cuda:1", "mps", "cpu")
    assert [torch_device(one, gpus=2, mps=True) for one in asked] == ["cuda:0", "cuda:0", "cuda:1", "mps", "cpu"]
