"""The settings that many methods share, each with the range it is checked against and a line for the card."""

import math
from typing import Annotated, Any, Final, Literal

from pydantic import BeforeValidator, Field

from limbeck.errors import UserError, shortened
from limbeck.validation import Settings

AUTO: Final = "auto"
"""A temperature that is measured on the teacher, see :func:`limbeck.selection.loss_temperature`."""
UNMEASURED: Final = 4.0
"""The temperature of the same losses where no weight is measured beside them."""


def _auto_or_above_zero(value: Any) -> Any:
    if value == AUTO:
        return value
    try:
        # YAML has 1e-1 as a string.
        number = float(value)
    except (TypeError, ValueError):
        number = 0.0
    if not 0 < number < math.inf:
        raise UserError(f"got {shortened(value)}, expected 'auto' (beside weigh) or a number above 0")
    return number


Temperature = Annotated[float, Field(gt=0, description="softens both sides before they are compared")]
MeasuredTemperature = Annotated[
    Literal["auto"] | float,
    BeforeValidator(_auto_or_above_zero),
    Field(
        description="softens both sides before they are compared; 'auto', beside weigh: by the teacher's reliability"
    ),
]
Alpha = Annotated[float, Field(ge=0, le=1, description="weight of the teacher; the true labels get 1 - alpha")]
Weight = Annotated[float, Field(ge=0)]
LabelWeight = Annotated[Weight, Field(description="weight of the true labels")]
Warmup = Annotated[int, Field(ge=0, description="epochs over which this loss rises to its full weight")]
Eta = Annotated[float, Field(gt=0, lt=1, description="how much of the teacher a revised label keeps")]
Scale = Literal["paper", "code"]
MinSpread = Annotated[
    float, Field(ge=0, description="least spread of logits that a relation follows; 0 is the published formula")
]


class NoSettings(Settings):
    """Nothing to set.

    Example:
        >>> NoSettings()
        NoSettings()
    """
