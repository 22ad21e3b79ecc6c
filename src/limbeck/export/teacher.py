"""The teacher of a finished run, where it can be built without training or downloading anything."""

from torch import nn

from limbeck.build.reporting import Reporting
from limbeck.build.teachers import build_teacher, is_trained
from limbeck.errors import UserError
from limbeck.export.subject import Subject
from limbeck.models.estimators.network import EstimatorNetwork
from limbeck.runs.downloads import without_downloads
from limbeck.teachers import LiveTeacher


def teacher_of(subject: Subject) -> nn.Module:
    """Build the network that taught a run's student, in float32 and eval mode.

    Args:
        subject: The student and its run.

    Returns:
        The network, which takes the student's inputs.

    Raises:
        UserError: If the run had none, or it is not there any more; the line has the reason.
    """
    context = subject.context
    if context.source != "live":
        kind = "no teacher" if context.source is None else f"a {context.source} teacher, which is no network of its own"
        raise UserError(f"the method {subject.recipe.method.name} has {kind}")
    missing = [line for key, line in without_downloads(subject.recipe)[1].items() if key.startswith("teacher")]
    if missing:
        raise UserError(f"it would be downloaded ({missing[0]})")
    if not is_trained(context):
        raise UserError("its file is gone, and it would be trained again")
    teacher = build_teacher(context, Reporting()).teacher
    if not isinstance(teacher, LiveTeacher):
        raise UserError("it is an ensemble, whose members are several networks")
    if isinstance(teacher.network, EstimatorNetwork):
        raise UserError("it is an estimator of scikit-learn")
    network = teacher.network if teacher.adapter is None else nn.Sequential(teacher.adapter, teacher.network)
    return network.eval().float()
