"""Common checks for parts that others add: a loss from a package of one's own passes what limbeck's losses pass.

    from limbeck.testing import check_loss

    def test_my_loss():
        check_loss(my_loss, reference=my_loss_in_numpy)

Every check raises ``AssertionError``; nothing here needs pytest.
"""

from limbeck.testing._loss_processes import check_loss_across_processes
from limbeck.testing.loss_case import LossCase, LossClaims, Reference
from limbeck.testing.losses import check_loss, loss_checks
from limbeck.testing.processes import Processes

__all__ = [
    "LossCase",
    "LossClaims",
    "Processes",
    "Reference",
    "check_loss",
    "check_loss_across_processes",
    "loss_checks",
]
