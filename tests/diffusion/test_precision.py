"""How precisely a prior computes, and who decides that."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from diffsr import Restorer, load_prior
from diffsr.diffusion import Prior, WindowedPrior, devices
from diffsr.errors import ConfigError
from diffsr.likelihoods import NMFNoise
from diffsr.networks import NCSNpp, TFDualPath, TFTransformer, instructions
from diffsr.recipes import Recipe
from diffsr.samplers import AnnealedSampler
from diffsr.tasks import EnhanceModule

CPU = torch.device("cpu")


def decibel(error: torch.Tensor, signal: torch.Tensor) -> float:
    return float(10 * (error.square().sum() / signal.square().sum()).log10())


@pytest.fixture(scope="module")
def shipped():
    return load_prior("speech-16k-fast")


def test_auto_is_bfloat16_where_there_are_units_for_it(monkeypatch):
    for there_are in (True, False):
        monkeypatch.setattr(devices, "has_fast_bfloat16", lambda there_are=there_are: there_are)
        assert devices.takes_bfloat16("auto", CPU) is there_are
    # two GPUs of one machine, which need not be alike: one of capability 7.5 only emulates it
    majors = {"cuda:0": 7, "cuda:1": 9}
    monkeypatch.setattr(
        torch.cuda, "get_device_properties", lambda device: SimpleNamespace(major=majors[str(device)])
    )
    assert not devices.takes_bfloat16("auto", torch.device("cuda:0"))
    assert devices.takes_bfloat16("auto", torch.device("cuda:1"))
    assert not devices.takes_bfloat16("auto", torch.device("mps"))
    assert devices.takes_bfloat16("bfloat16", torch.device("mps"))
    assert not devices.takes_bfloat16("float32", CPU)


def test_a_torch_that_does_not_tell_has_no_units(monkeypatch):
    monkeypatch.delattr(torch.cpu, "get_capabilities", raising=False)
    assert not instructions.has_amx()
    assert not instructions.has_fast_bfloat16()


@pytest.mark.parametrize(
    ("there", "is_fast"),
    [
        (("amx_bf16", "avx512_bf16"), True),
        (("avx512_bf16", "avx512_vp2intersect"), True),  # Zen 5
        (("avx512_bf16",), False),
        (("avx512_vp2intersect",), False),
        ((), False),
    ],
)
def test_processors_are_told_by_their_instructions(monkeypatch, there, is_fast):
    capabilities = {name: name in there for name in ("amx_bf16", "avx512_bf16", "avx512_vp2intersect")}
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: capabilities, raising=False)
    assert instructions.has_fast_bfloat16() is is_fast


@pytest.mark.parametrize("wrong", ["half", "", "BFLOAT16"])
def test_other_precisions_are_refused_before_a_prior_is_loaded(wrong):
    with pytest.raises(ConfigError, match="choose one of: auto, float32, bfloat16"):
        Restorer("there is none", recipe=Recipe(), precision=wrong)


def test_a_device_without_bfloat16_is_refused(tiny_prior, monkeypatch):
    monkeypatch.setattr(torch, "is_autocast_enabled", lambda kind: False)
    with pytest.raises(ConfigError, match="Device cpu cannot compute in bfloat16. Try --precision float32"):
        Restorer(tiny_prior, recipe=Recipe(), device="cpu", precision="bfloat16")


def test_another_recipe_does_not_round_the_weights_again(tiny_prior):
    restorer = Restorer(tiny_prior, recipe=Recipe(), device="cpu", precision="bfloat16")
    windowed, other = restorer._windowed, Recipe()
    assert restorer.use(other) is restorer
    assert restorer.recipe is other
    assert restorer._windowed is windowed
    restorer.to("cpu")  # such as after a change of the weights
    assert restorer._windowed is not windowed


def test_the_module_of_a_task_hands_it_on(tiny_prior_folder):
    for precision in ("float32", "bfloat16"):
        task = EnhanceModule(str(tiny_prior_folder), AnnealedSampler(), NMFNoise(), precision=precision)
        assert task.restorer.in_bfloat16 is (precision == "bfloat16")


@pytest.mark.parametrize(
    "network",
    [
        TFTransformer(width=16, depth=1, heads=2, speaker_width=8),
        TFDualPath(width=16, depth=1, heads=2),
        NCSNpp(nf=8, channel_multipliers=(1, 2)),
    ],
    ids=lambda network: type(network).__name__,
)
def test_every_network_computes_in_it_and_with_a_talker(network):
    torch.manual_seed(0)
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    prior = Prior(network).eval().requires_grad_(False)
    z, sigma = 0.1 * torch.randn(2, 6000), torch.full((2,), 0.1)
    told = torch.randn(2, prior.speaker_width) if prior.speaker_width else None
    exact = WindowedPrior(prior, 8.192).denoise(z, sigma, told)
    rounded = WindowedPrior(prior, 8.192, in_bfloat16=True).denoise(z, sigma, told)
    assert rounded.dtype == torch.float32
    assert -80 < decibel(rounded - exact, exact) < -25


@pytest.mark.parametrize("sigma", [0.5, 0.05, 0.002])
def test_rounding_is_far_below_what_an_estimate_lacks(shipped, make_speech, sigma):
    speech = torch.from_numpy(make_speech(2.0))
    z = speech + sigma * torch.randn(speech.shape, generator=torch.Generator().manual_seed(0))
    level = torch.tensor([sigma])
    exact = WindowedPrior(shipped, 8.192).denoise(z, level)
    rounded = WindowedPrior(shipped, 8.192, in_bfloat16=True).denoise(z, level)
    assert rounded.dtype == torch.float32
    assert not torch.equal(rounded, exact)
    assert decibel(rounded - exact, exact - speech) < -30


def test_company_changes_no_more_than_rounding_does(shipped):
    torch.manual_seed(0)
    z, sigma = 0.1 * torch.randn(5, 20_000), torch.logspace(-3, 0, 5)
    prior = WindowedPrior(shipped, 8.192, in_bfloat16=True)
    alone = torch.cat([prior.denoise(z[[row]], sigma[[row]]) for row in range(5)])
    exact = WindowedPrior(shipped, 8.192).denoise(z, sigma)
    together = prior.denoise(z, sigma)
    for row in range(5):
        rounding = float((alone[row] - exact[row]).square().sum())
        # two roundings, neither nearer to the truth; as wrong as both, if they were opposite
        assert float((together[row] - alone[row]).square().sum()) < 4 * rounding


def test_a_gradient_through_the_network_is_exact(tiny_prior):
    z = (0.1 * torch.randn(1, 4000)).requires_grad_()
    sigma = torch.tensor([0.1])
    found = [
        WindowedPrior(tiny_prior, 0.5, 0.1, in_bfloat16=wanted).denoise(z, sigma) for wanted in (False, True)
    ]
    assert torch.equal(*found)
    assert torch.equal(*(torch.autograd.grad(one.square().sum(), z)[0] for one in found))


def test_restorations_differ_by_rounding_and_the_prior_stays_as_it_was(tiny_prior, make_speech):
    y = torch.from_numpy(make_speech())
    before = tiny_prior.denoise(y, torch.tensor([0.1]))

    def restored(precision):
        recipe = Recipe(AnnealedSampler(n_steps=4))
        return Restorer(tiny_prior, recipe=recipe, precision=precision).restore(y, 16000).wave

    exact, rounded = restored("float32"), restored("bfloat16")
    assert -70 < decibel(rounded - exact, exact) < -25
    assert torch.equal(before, tiny_prior.denoise(y, torch.tensor([0.1])))
