"""What a measurement was made on."""

import importlib.metadata
import os
import platform
from pathlib import Path


def cpu_model() -> str:
    """Name of the processor."""
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


def load() -> str:
    """Processes that wanted to run during the last minute: above 1 without us, times are not to be trusted."""
    return f"{os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else "unknown"


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def describe() -> str:
    """CPU, cores, versions and how busy the machine is."""
    import llvmlite.binding

    names = ("numbragg", "numba", "llvmlite", "numpy")
    versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in names)
    return (
        f"{cpu_model()} ({llvmlite.binding.get_host_cpu_name()}), {cores()} cores, {platform.system()}, "
        f"Python {platform.python_version()}, {versions}, load {load()}"
    )
