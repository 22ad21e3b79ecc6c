"""Facts about versions, threads, machine and switches on which the last digits of a run's numbers depend."""

import os
import platform
from collections.abc import Mapping
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

# Those that every run computes, reads or decodes with.
_NEEDED = ("limbeck", "torch", "torchvision", "lightning-fabric")
_FURTHER = (
    "numpy",
    "pillow",
    "scikit-learn",
    "scipy",
    "timm",
    "torchmetrics",
    "transformers",
    "tokenizers",
    "datasets",
    "pandas",
    "pyarrow",
    "pycocotools",
)
# Set or not, these change how torch and the libraries below it compute.
_VARIABLES = (
    "OMP_NUM_THREADS",
    "MKL_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_CBWR",
    "MKL_ENABLE_INSTRUCTIONS",
    "ATEN_CPU_CAPABILITY",
    "ONEDNN_MAX_CPU_ISA",
    "ONEDNN_DEFAULT_FPMATH_MODE",
    "CUBLAS_WORKSPACE_CONFIG",
    "NVIDIA_TF32_OVERRIDE",
    "TORCH_ALLOW_TF32_CUBLAS_OVERRIDE",
    "PYTHONHASHSEED",
)


def versions() -> dict[str, str]:
    """Return the versions of Python and of the packages that every run's numbers depend on.

    Example:
        >>> sorted(versions())
        ['lightning-fabric', 'limbeck', 'python', 'torch', 'torchvision']
    """
    return {"python": platform.python_version(), **{name: version(name) for name in _NEEDED}}


def all_versions() -> dict[str, str]:
    """Return :func:`versions` and those of the further packages that are installed.

    Example:
        >>> {"numpy", "pillow", "torch"} <= all_versions().keys()
        True
    """
    found = versions()
    for name in _FURTHER:
        with suppress(PackageNotFoundError):
            found[name] = version(name)
    return found


def machine(device: torch.device) -> dict[str, str]:
    """Describe what computes: the system, its C library, the processor, and the accelerator if there is one.

    Args:
        device: Where networks are.

    Example:
        >>> sorted(machine(torch.device("cpu")))
        ['instructions', 'libc', 'processor', 'system']
    """
    facts = {
        "system": f"{platform.system()} {platform.machine()}",
        "libc": " ".join(platform.libc_ver()).strip(),
        "processor": _processor(),
        # Which of its kernels torch takes, such as AVX2.
        "instructions": torch.backends.cpu.get_cpu_capability(),
    }
    return facts | (_accelerator(device) if device.type == "cuda" else {})


def _processor() -> str:
    # Linux gives the model here alone.
    with suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor()


def _accelerator(device: torch.device) -> dict[str, str]:
    return {
        "accelerator": torch.cuda.get_device_name(device),
        "cuda": str(torch.version.cuda),
        "cudnn": str(torch.backends.cudnn.version()),  # type: ignore[no-untyped-call]
    }


def environment(variables: Mapping[str, str] | None = None) -> dict[str, str | None]:
    """Return the environment variables that change how numbers are computed; None for one that is not set.

    Args:
        variables: The variables; by default those of this process.

    Example:
        >>> found = environment({"MKL_CBWR": "COMPATIBLE"})
        >>> found["MKL_CBWR"], found["OMP_NUM_THREADS"]
        ('COMPATIBLE', None)
    """
    given = os.environ if variables is None else variables
    return {name: given.get(name) for name in _VARIABLES}


def switches() -> dict[str, Any]:
    """Return torch's own switches between exact, fast and repeatable computing.

    Example:
        >>> switches()["deterministic_algorithms"]
        False
    """
    return {
        "deterministic_algorithms": torch.are_deterministic_algorithms_enabled(),
        "cudnn.deterministic": torch.backends.cudnn.deterministic,
        "cudnn.benchmark": torch.backends.cudnn.benchmark,
        "float32_matmul_precision": torch.get_float32_matmul_precision(),
    }
