"""The same losses in torchdistill, an independent implementation, where it is installed."""

import pytest
import torch
from torch import nn

from limbeck.losses.features import (
    CRDLoss,
    FitNetLoss,
    VIDLoss,
    at_loss,
    hierarchical_context_loss,
    pkt_loss,
    rkd_loss,
    sp_loss,
)

peer = pytest.importorskip("torchdistill.losses.mid_level", reason="torchdistill is not installed")
AT = {"student": {"io": "output", "path": "layer"}, "teacher": {"io": "output", "path": "layer"}}


def maps(channels=6, seed=0, n=8, size=5):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(n, channels, size, size, generator=generator, dtype=torch.float64)


def layer_output(feature, path="layer"):
    return {path: {"output": feature, "input": feature}}


def same(ours, theirs):
    torch.testing.assert_close(ours, theirs.reshape(()), rtol=1e-9, atol=1e-12)


def test_at():
    """Both average over places and rows (mode 'code')."""
    student, teacher = maps(), maps(9, 1)
    same(at_loss(student, teacher), peer.ATLoss({"one": AT}, mode="code")(layer_output(student), layer_output(teacher)))


def test_sp(monkeypatch):
    """Both divide by N^2 (reduction 'batchmean').

    torchdistill 1.1.5 passes 1 as the norm's order where the dimension was meant, and so divides rows by their sum of
    absolute values; equation 2 of the paper has the Euclidean length. The comparison is with the latter.
    """
    student, teacher = maps(), maps(9, 1)
    loss = peer.SPKDLoss("layer", "layer", "batchmean")
    lengths = lambda z: nn.functional.normalize(z.flatten(1) @ z.flatten(1).T, dim=1)  # noqa: E731
    monkeypatch.setattr(loss, "matmul_and_normalize", lengths)
    same(sp_loss(student, teacher), loss(layer_output(student), layer_output(teacher)))


@pytest.mark.parametrize(("distance", "angle"), [(25, 50), (1, 2), (1, 0)])
def test_rkd(distance, angle):
    """Both average over all pairs and triples (reduction 'mean')."""
    student, teacher = maps(), maps(9, 1)
    theirs = peer.RKDLoss("layer", "layer", distance, angle, "mean")(layer_output(student), layer_output(teacher))
    same(rkd_loss(student, teacher, distance=distance, angle=angle), theirs)


def test_pkt():
    """Both average over all pairs. They add 1e-7 to each vector's length, which ours does not need."""
    student, teacher = maps().flatten(1), maps(9, 1).flatten(1)
    theirs = peer.PKTLoss("layer", "output", "layer", "output")(
        layer_output(student.clone()), layer_output(teacher.clone())
    )
    torch.testing.assert_close(pkt_loss(student, teacher), theirs, rtol=1e-6, atol=1e-12)


def test_hierarchical_context():
    """Both average over entries and rows at every level, and divide by the levels' weights."""
    student, teacher = maps(), maps(seed=1)
    loss = peer.HierarchicalContextLoss("layer", "output", "layer", "output")
    # Its student's module returns two values, of which the first is compared; it adds to the loss in place.
    same(hierarchical_context_loss(student, teacher), loss(layer_output((student, None)), layer_output(teacher)))


def test_fitnet():
    """A regressor and the mean squared error: torchdistill composes it of nn.MSELoss, averaged over everything."""
    student, teacher = maps(), maps(9, 1)
    loss = FitNetLoss([(6, 5, 5)], [(9, 5, 5)]).double()
    same(loss([student], [teacher]), nn.MSELoss()(loss.regressors[0](student), teacher))


def test_vid():
    """Both average over entries and rows; the regressor is the same with the same weights."""
    wrapper = pytest.importorskip("torchdistill.models.wrapper", reason="torchdistill's models need its dependencies")
    student, teacher = maps(), maps(9, 1)
    loss = VIDLoss([(6, 5, 5)], [(9, 5, 5)], variance=3.0).double()
    regressor = wrapper.Regressor4VID(6, 9, 9, eps=1e-5, init_pred_var=3.0).double()
    ours = list(loss.gaussians[0].mean.parameters())
    theirs = list(regressor.regressor.parameters())
    with torch.no_grad():
        for one, other in zip(theirs, ours, strict=True):
            one.copy_(other)
    pairs = {"one": {"student": {"io": "output", "path": "layer"}, "teacher": {"io": "output", "path": "layer"}}}
    value = peer.VIDLoss(pairs)(layer_output(regressor(student)), layer_output(teacher))
    torch.testing.assert_close(loss([student], [teacher]), value, rtol=1e-6, atol=0)


def test_crd():
    """Both sum over negatives and average over rows, with the same banks, embeddings and negatives; two batches."""

    class Chosen(CRDLoss):
        def draw(self, indices):
            return negatives

    ours = Chosen([(6,)], [(9,)], num_samples=20, negatives=7, dim=4).double()
    theirs = peer.CRDLoss("norm", "empty", "norm", 4, 20, 7, 20).double()
    contrast = ours.contrasts[0]
    theirs.memory_v1.copy_(contrast.student_bank)
    theirs.memory_v2.copy_(contrast.teacher_bank)
    for step in range(2):
        negatives = torch.randint(20, (8, 7), generator=torch.Generator().manual_seed(step))
        indices = torch.arange(8) + 5 * step
        student, teacher = maps(seed=step).mean((2, 3)), maps(9, 5 + step).mean((2, 3))
        own, other = (vectors.detach() for vectors in contrast(student, teacher))
        extra = {"pos_idx": indices, "contrast_idx": torch.cat([indices[:, None], negatives], 1)}
        said_student = {"norm": {"output": own}, "empty": {"input": extra}}
        value = theirs(said_student, {"norm": {"output": other}})
        # Its temperature is an fp32 number.
        torch.testing.assert_close(ours([student], [teacher], indices=indices), value.reshape(()), rtol=1e-7, atol=0)
    torch.testing.assert_close(theirs.memory_v1, contrast.student_bank)
    torch.testing.assert_close(theirs.memory_v2, contrast.teacher_bank)
