"""What is searched where a recipe gives neither methods nor settings: a few methods, and ranges for most."""

from collections.abc import Mapping
from typing import Any, Final

# Methods that need nothing but a teacher's logits, each of another kind: probabilities, relations between them, the
# true class apart from the others, and a teacher whose mistakes are corrected.
METHODS: Final = ("kd", "dist", "dkd", "lr")

_TEMPERATURE = {"low": 1.0, "high": 8.0, "log": True}
_ALPHA = {"low": 0.3, "high": 1.0}
_RELATION = {"temperature": _TEMPERATURE, "beta": {"low": 0.25, "high": 4.0, "log": True}}
_MIXED = {"temperature": _TEMPERATURE, "alpha": _ALPHA}
_SELF = {"temperature": _TEMPERATURE, "alpha": {"low": 0.1, "high": 0.9}}

RANGES: Final[Mapping[str, Mapping[str, Any]]] = {
    "label_smoothing": {"smoothing": {"low": 0.02, "high": 0.4, "log": True}},
    "kd": _MIXED,
    "dist": {**_RELATION, "gamma": {"low": 0.25, "high": 4.0, "log": True}},
    "dkd": {"temperature": _TEMPERATURE, "beta": {"low": 0.5, "high": 8.0, "log": True}},
    "nkd": {"temperature": _TEMPERATURE, "gamma": {"low": 0.5, "high": 8.0, "log": True}},
    "ttm": {"temperature": {"low": 2.0, "high": 16.0, "log": True}, "beta": {"low": 2.0, "high": 64.0, "log": True}},
    "wttm": {"temperature": {"low": 2.0, "high": 16.0, "log": True}, "beta": {"low": 0.5, "high": 8.0, "log": True}},
    "cmkd": {
        "temperature": _TEMPERATURE,
        "alpha": {"low": 2.0, "high": 32.0, "log": True},
        "beta": {"low": 2.0, "high": 32.0, "log": True},
    },
    "rld": {"temperature": _TEMPERATURE, "beta": {"low": 0.5, "high": 16.0, "log": True}},
    "reverse_kl": _MIXED,
    "jsd": _MIXED,
    "logit_mse": {"alpha": {"low": 0.1, "high": 0.9}},
    "lskd": {"temperature": _TEMPERATURE, "kd_weight": {"low": 1.0, "high": 16.0, "log": True}},
    "dts": {"alpha": _ALPHA},
    "ctkd": {"alpha": _ALPHA},
    "lr": {
        "temperature": _TEMPERATURE,
        "eta": {"low": 0.5, "high": 0.95},
        "kd_weight": {"low": 0.25, "high": 8.0, "log": True},
    },
    "lr_ds": {"eta": {"low": 0.5, "high": 0.95}, "max_confidence": {"low": 0.5, "high": 1.0}},
    "dr_kd": _SELF,
    "tf_kd_self": _SELF,
    "tf_kd_reg": {"temperature": {"low": 4.0, "high": 40.0, "log": True}, "alpha": {"low": 0.05, "high": 0.9}},
    "lw_kd": {"temperature": _TEMPERATURE, "alpha": {"low": 0.1, "high": 0.9}},
}
"""Ranges of the settings of each method that have most effect; the method's own default lies within."""
