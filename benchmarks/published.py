"""The papers' figures for CIFAR-100: top-1 accuracy in percent, of the best epoch on the test images."""

from types import MappingProxyType

PUBLISHED = MappingProxyType(
    {
        "resnet56 -> resnet20": {"none": "69.06", "kd": "70.66", "dist": "71.75 +- .30", "dkd": "71.97"},
        "resnet110 -> resnet32": {"none": "71.14", "kd": "73.08", "dist": "73.69", "dkd": "74.11"},
        "resnet32x4 -> resnet8x4": {"none": "72.50", "kd": "73.33", "dist": "76.31 +- .19", "dkd": "76.32"},
        "wrn_40_2 -> wrn_16_2": {"none": "73.26", "kd": "74.92", "dist": "75.51", "dkd": "76.24"},
        "wrn_40_2 -> wrn_40_1": {"none": "71.98", "kd": "73.54", "dist": "74.43 +- .24", "dkd": "74.81"},
        "vgg13 -> vgg8": {"none": "70.36", "kd": "72.98", "dist": "73.89", "dkd": "74.68"},
        "resnet32x4 -> shufflenetv1": {"none": "70.50", "kd": "74.07", "dist": "76.34 +- .18"},
        "resnet32x4 -> shufflenetv2": {"none": "71.82", "kd": "74.45", "dist": "77.35 +- .25", "dkd": "77.07"},
        "resnet50 -> mobilenetv2": {"none": "64.60", "kd": "67.35", "dist": "68.66 +- .23"},
    }
)
TEACHERS = MappingProxyType({"resnet56": "72.34", "resnet32x4": "79.42", "wrn_40_2": "75.61", "resnet50": "79.34"})
_BENCHMARK = "CIFAR benchmark of CRD, arXiv 1910.10699"
_SOURCES = MappingProxyType({"none": _BENCHMARK, "kd": _BENCHMARK, "dkd": "arXiv 2203.08679"})


def source(pair: str, method: str) -> str:
    """Return where a number stands."""
    if method != "dist":
        return _SOURCES[method]
    # Its paper gives a spread; the others are what later papers list for it.
    return "arXiv 2205.10536" if "+-" in PUBLISHED[pair]["dist"] else "later papers' tables"
