"""The settings that many methods share, each with the range it is checked against and a line for the card."""

from typing import Annotated, Literal

from pydantic import Field

from limbeck.validation import Settings

Temperature = Annotated[float, Field(gt=0, description="softens both sides before they are compared")]
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
