"""What every observation model promises, for all of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import pytest
import torch
from torch import Tensor

from diffsr.degradations import (
    BlindLowPass,
    BlindRoom,
    Chain,
    Clipping,
    Degradation,
    Gain,
    LatePrediction,
    LowPass,
    Mixing,
    PacketLoss,
    Room,
)
from diffsr.errors import ConfigError
from diffsr.signal.damage import TOLERANCE

ROWS, T = 3, 1501


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def decaying(*shape: int, seed: int = 5) -> Tensor:
    response = 0.2 * noise(*shape, seed=seed) * torch.exp(-torch.arange(shape[-1]) / 40.0)
    response[..., 20] = 1.5
    return response


def received() -> Tensor:
    mask = torch.ones(ROWS, T, dtype=torch.bool)
    for row in range(ROWS):
        mask[row, 200 + 50 * row : 420] = False
    return mask


def gains() -> Tensor:
    return torch.tensor([[3.0, -6.0], [0.0, 1.0], [20.0, -20.0]])


@dataclass
class Case:
    """`make(rows)` builds the model with the parameters of these rows."""

    name: str
    make: Callable[[slice], Degradation]
    n_sources: int = 1
    n_microphones: int = 1

    def ready(self, rows: slice = slice(None)) -> tuple[Degradation, Tensor, Tensor]:
        """The model, reset to recordings that it explains; sources; the recordings."""
        x = noise(ROWS, self.n_sources, T)[rows]
        y = torch.zeros(len(x), self.n_microphones, T)
        model = self.make(rows)
        if "clip" in self.name or "found" in self.name:
            part = x.sum(1, keepdim=True).expand(-1, self.n_microphones, -1)
            y = part.clamp(-0.8, 0.8) if "clip" in self.name else part * received()[rows][:, None]
        if "blind low" in self.name:
            known = LowPass(torch.tensor([3000.0, 2000.0, 1000.0])[rows])
            known.reset(x, self.n_sources)
            y = known(x)
        if "prediction" in self.name:
            y = noise(ROWS, 1, T, seed=9)[rows]
        model.reset(y, self.n_sources)
        if isinstance(model, LatePrediction):
            model.fit(x, torch.full((1, 1, 1), 1.0))
            assert model.late.abs().amax((1, 2)).min() > 0.01
        return model, x, model(x)


CASES = [
    Case("mixing", lambda rows: Mixing(), 2),
    Case("gain", lambda rows: Gain(gains()[rows]), 2, 2),
    Case("room", lambda rows: Room(decaying(1, 90))),
    Case("room of rows, talkers, microphones", lambda rows: Room(decaying(ROWS, 2, 3, 90)[rows]), 2, 3),
    Case("blind room", lambda rows: BlindRoom(longest_rt60_s=0.2), 2),
    Case("late prediction", lambda rows: LatePrediction(taps=3, response_taps=2), 2),
    Case("clipping, known", lambda rows: Clipping(0.8), 2, 2),
    Case("clipping, estimated", lambda rows: Clipping()),
    Case("gaps, known", lambda rows: PacketLoss(received()[rows]), 2, 2),
    Case("gaps, found", lambda rows: PacketLoss()),
    Case("low-pass", lambda rows: LowPass(torch.tensor([3000.0, 2000.0, 1000.0])[rows]), 2, 2),
    Case("blind low-pass", lambda rows: BlindLowPass(), 2, 2),
    Case("chain", lambda rows: Chain([Gain(gains()[rows]), Room(decaying(2, 90)), LowPass(2000.0)]), 2, 2),
    Case(
        "chain with a projection",
        lambda rows: Chain([Gain(gains()[rows]), Mixing(), PacketLoss(received()[rows])]),
        2,
    ),
    Case("chain, clipped", lambda rows: Chain([Mixing(), Clipping(0.8)]), 2),
]
every = pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)


@every
def test_shapes_and_gradient(case):
    model, x, y = case.ready()
    assert y.shape == (ROWS, case.n_microphones, T)
    x.requires_grad_(True)
    model(x).square().sum().backward()
    assert x.grad.isfinite().all()
    assert (x.grad.abs().sum((1, 2)) > 0).all()


def assert_same_but_for_rounding(found: Tensor, expected: Tensor) -> None:
    """Vectorised and single numbers, and memory at other addresses, round differently on CPUs."""
    torch.testing.assert_close(found, expected, atol=5e-6 * float(expected.abs().max()), rtol=0)


@every
def test_a_batch_gives_each_row_what_it_gets_alone(case):
    model, x, y = case.ready()
    for row in range(ROWS):
        alone, _, y_alone = case.ready(slice(row, row + 1))
        assert_same_but_for_rounding(y_alone[0], y[row])
        if model.linear:
            assert_same_but_for_rounding(alone.adjoint(y_alone)[0], model.adjoint(y)[row])
        if model.has_projection:
            x0 = x.roll(7, -1)
            found = alone.consistent(x0[row : row + 1], y_alone)[0]
            assert_same_but_for_rounding(found, model.consistent(x0, y)[row])


@every
def test_linear_models_are_linear_and_have_an_adjoint(case):
    model, x, y = case.ready()
    other, r = noise(*x.shape, seed=1), noise(*y.shape, seed=2)
    if not model.linear:
        with pytest.raises(ConfigError, match="not linear"):
            model.adjoint(r)
        return
    torch.testing.assert_close(
        model(2 * x - 3 * other), 2 * model(x) - 3 * model(other), atol=1e-4, rtol=1e-4
    )
    back = model.adjoint(r)
    assert back.shape == x.shape
    torch.testing.assert_close((model(x) * r).sum((1, 2)), (x * back).sum((1, 2)), atol=1e-2, rtol=1e-4)
    torch.testing.assert_close(Degradation.adjoint(model, r), back, atol=1e-4, rtol=1e-4)


@every
def test_projections_explain_the_recording_and_change_nothing_twice(case):
    model, x, y = case.ready()
    x0 = noise(*x.shape, seed=3)
    if not model.has_projection:
        with pytest.raises(ConfigError, match="no projection"):
            model.consistent(x0, y)
        return
    # Samples just below a threshold count as clipped.
    near = {"atol": TOLERANCE if "clip" in case.name else 2e-5, "rtol": 1e-5}
    once = model.consistent(x0, y)
    torch.testing.assert_close(model(once), y, **near)
    torch.testing.assert_close(model.consistent(once, y), once, **near)
    torch.testing.assert_close(model.consistent(x, y), x, **near)
    if not isinstance(model, Chain):
        # The nearest: no step towards another x that explains y comes closer.
        assert ((x0 - once) * (x - once)).sum() <= 1e-2


@every
def test_what_is_described_belongs_to_rows_and_carries_no_graph(case):
    model, _, _ = case.ready()
    for value in model.describe().values():
        assert value.shape[0] == ROWS
        assert not value.requires_grad


def test_restarts_of_an_item_share_its_parameters():
    model = Room(decaying(2, 1, 1, 90))
    x = noise(1, 1, T).expand(6, -1, -1)
    model.reset(torch.zeros(6, 1, T), 1)
    y = model(x)
    torch.testing.assert_close(y[0], y[2])  # transforms of some CPUs round the rows of a batch differently
    torch.testing.assert_close(y[3], y[5])
    assert not torch.allclose(y[2], y[3])


def test_a_chain_is_its_parts_one_after_the_other():
    gain, room, low_pass = Gain(gains()), Room(decaying(1, 90)), LowPass(2000.0)
    chain = Chain([gain, room, low_pass])
    x = noise(ROWS, 2, T)
    chain.reset(torch.zeros(ROWS, 1, T), 2)
    assert torch.equal(chain(x), low_pass(room(gain(x))))
    assert torch.equal(chain.before(room, x), gain(x))
    assert torch.equal(chain.after(room, room(gain(x))), chain(x))
    assert set(chain.describe()) == {"gain_db", "room_response", "cutoff_hz"}
    # What the low-pass removes cannot be asked of the parts before it.
    assert not Chain([LowPass(2000.0), PacketLoss()]).has_projection


def test_models_that_keep_channels_do_not_mix():
    with pytest.raises(ConfigError, match=r"Chain\(\[Mixing\(\)"):
        LowPass(2000.0).reset(torch.zeros(1, 1, T), 2)
    with pytest.raises(ConfigError, match="keeps the number"):
        Chain([Gain(), LowPass(2000.0)]).reset(torch.zeros(1, 1, T), 2)
    with pytest.raises(ConfigError, match="mixes once"):
        Chain([Mixing(), Mixing()])
    with pytest.raises(ConfigError, match="at least one"):
        Chain([])
