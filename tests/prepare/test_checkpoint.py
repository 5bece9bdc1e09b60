"""Import of published checkpoints, on files with the published names and shapes made here.

The names and shapes of `published` are those of the state dicts that the public code of BUDDy (sp-uhh/buddy,
networks/ncsnpp.py with conf/network/ncsnpp.yaml) and SGMSE+ (sp-uhh/sgmse, sgmse/backbones/ncsnpp.py) makes:
`all_modules.N` in the order of construction, parts of blocks as in layerspp.py of score_sde_pytorch. The keys
around them are those of BUDDy's training/trainer.py and of Lightning with torch_ema (sgmse/model.py).
"""

from __future__ import annotations

import os
import pickle

import pytest
import torch
from omegaconf import OmegaConf

from diffsr.cli import main
from diffsr.diffusion import Prior
from diffsr.errors import CheckpointError
from diffsr.networks import NCSNpp
from diffsr.prepare.checkpoint import import_checkpoint

# Number of a module of NCSN++M -> what it is, channels in and out as multiples of nf.
RESIDUAL = {
    **{4: (1, 1), 5: (1, 1), 7: (1, 2), 8: (2, 2), 10: (2, 2), 11: (2, 2), 13: (2, 2)},
    **{14: (2, 2), 16: (2, 2)},
    **{17: (4, 2), 18: (4, 2), 21: (2, 2), 22: (4, 2), 23: (4, 2), 26: (2, 2), 27: (4, 2), 28: (3, 2)},
    **{31: (2, 2), 32: (3, 1), 33: (2, 1)},
}
RESAMPLING = {5, 8, 11, 21, 26, 31}
INJECTION = {6: 1, 9: 2, 12: 2}
HEADS = {19: 2, 24: 2, 29: 2, 34: 1}
SETTINGS = {
    "exp": {"sample_rate": 16000, "audio_len": 65536, "optimizer": {"betas": [0.9, 0.999]}},
    "network": {
        "_target_": "networks.ncsnpp.NCSNppTime",
        "fir": False,
        "fourier_scale": 16,
        "stft": {"n_fft": 510, "hop_length": 128, "center": True},
    },
    "diff_params": {"_target_": "diff_params.edm.EDM", "sde_hp": {"sigma_data": 0.057, "sigma_min": 1e-5}},
}


def published(nf: int = 8, parts: int = 2) -> dict[str, torch.Tensor]:
    """A state dict of NCSN++M with random values, in the order in which torch lists it."""
    shapes: dict[str, tuple[int, ...]] = {"output_layer.weight": (2, parts, 1, 1), "output_layer.bias": (2,)}

    def add(name: str, *shape: int) -> None:
        shapes[f"all_modules.{name}.weight"], shapes[f"all_modules.{name}.bias"] = shape, shape[:1]

    shapes["all_modules.0.W"] = (nf,)
    add("1", 4 * nf, 2 * nf)
    add("2", 4 * nf, 4 * nf)
    add("3", nf, parts, 3, 3)
    for number in range(4, 36):
        if number in RESIDUAL:
            c_in, c_out = (nf * multiple for multiple in RESIDUAL[number])
            add(f"{number}.GroupNorm_0", c_in)
            add(f"{number}.Conv_0", c_out, c_in, 3, 3)
            add(f"{number}.Dense_0", c_out, 4 * nf)
            add(f"{number}.GroupNorm_1", c_out)
            add(f"{number}.Conv_1", c_out, c_out, 3, 3)
            if c_in != c_out or number in RESAMPLING:
                add(f"{number}.Conv_2", c_out, c_in, 1, 1)
        elif number in INJECTION:
            add(f"{number}.Conv_0", nf * INJECTION[number], parts, 1, 1)
        elif number in HEADS:
            add(f"{number}", nf * HEADS[number])
        elif number == 15:
            add("15.GroupNorm_0", 2 * nf)
            for part in range(4):
                shapes[f"all_modules.15.NIN_{part}.W"] = (2 * nf, 2 * nf)
                shapes[f"all_modules.15.NIN_{part}.b"] = (2 * nf,)
        else:
            add(f"{number}", parts, nf * HEADS[number - 1], 3, 3)
    generator = torch.Generator().manual_seed(0)
    return {name: 0.1 * torch.randn(shape, generator=generator) for name, shape in shapes.items()}


def buddy_file(path, weights, **more):
    last = {name: torch.zeros_like(tensor) for name, tensor in weights.items()}
    content = {"it": 190_000, "network": last, "optimizer": {"state": {}}, "ema": weights, **more}
    torch.save(content, path)
    return path


def same_function(prior: Prior, weights, sigma_data: float) -> None:
    """The denoiser is EDM's around a network with these weights, box resampling and a plain STFT."""
    reference = NCSNpp(nf=8, resampling="box", unit_bins=False)
    reference.load_state_dict(weights, strict=True)
    z, sigma = 0.1 * torch.randn(2, 3_000), torch.tensor([0.01, 0.3])
    total = (sigma**2 + sigma_data**2)[:, None]
    with torch.no_grad():
        out = reference(z / total.sqrt(), sigma.log() / 4)
    expected = sigma_data**2 / total * z + sigma[:, None] * sigma_data / total.sqrt() * out
    torch.testing.assert_close(prior.denoise(z, sigma), expected, rtol=1e-4, atol=1e-6)


def test_the_published_names_are_those_of_the_full_network():
    expected = {name: tensor.shape for name, tensor in NCSNpp().state_dict().items()}
    found = {name: tensor.shape for name, tensor in published(nf=128).items()}
    assert list(found) == list(expected)  # the order counts for averages without names
    assert found == expected


def test_a_buddy_checkpoint_becomes_a_prior(tmp_path, capsys):
    weights = published()
    file = buddy_file(tmp_path / "VCTK-190000.pt", weights, args=OmegaConf.create(SETTINGS))
    assert main(["prepare", "checkpoint", str(file), str(tmp_path / "prior"), "--format", "buddy"]) == 0
    out = capsys.readouterr().out
    assert "nf 8, 0.1 M parameters" in out
    assert "active-speech RMS 0.057, context 4.096 s" in out
    assert "190000 iterations" in out
    prior = Prior.from_pretrained(tmp_path / "prior")
    assert (prior.rate_hz, prior.sigma_data, prior.window_s) == (16_000, 0.057, 4.096)
    same_function(prior, weights, 0.057)
    card = (tmp_path / "prior" / "README.md").read_text()
    assert "imported from VCTK-190000.pt (buddy)" in card
    assert "their licence applies" in card


def test_loading_runs_nothing_of_the_settings(tmp_path, monkeypatch):
    file = buddy_file(tmp_path / "a.pt", published(), args=OmegaConf.create(SETTINGS))

    allowed = set(torch.serialization.get_safe_globals())

    def never(*_: object) -> None:
        raise AssertionError("code of OmegaConf was run")

    monkeypatch.setattr("omegaconf.dictconfig.DictConfig.__setstate__", never)
    monkeypatch.setattr("omegaconf.dictconfig.DictConfig.__init__", never)
    assert import_checkpoint(file, "buddy").prior.sigma_data == 0.057
    assert set(torch.serialization.get_safe_globals()) == allowed  # nothing of it stays


@pytest.mark.parametrize("prefix", ["", "module.", "backbone.", "net.dnn."])
def test_prefixes_do_not_matter_and_published_settings_are_the_default(tmp_path, prefix):
    weights = published()
    torch.save({f"{prefix}{name}": tensor for name, tensor in weights.items()}, tmp_path / "w.pt")
    imported = import_checkpoint(tmp_path / "w.pt", "buddy")
    assert "no settings in the file" in " ".join(imported.notes)
    same_function(imported.prior, weights, 0.05)


def test_safetensors_are_read_too(tmp_path):
    from safetensors.torch import save_file

    weights = published()
    save_file(weights, tmp_path / "w.safetensors")
    same_function(import_checkpoint(tmp_path / "w.safetensors", "buddy").prior, weights, 0.05)


@pytest.mark.parametrize("with_frequencies", [True, False])
def test_an_average_without_names_is_put_in_order(tmp_path, with_frequencies):
    weights = published()
    model = {name: torch.zeros_like(tensor) for name, tensor in weights.items()}
    model["all_modules.0.W"] = weights["all_modules.0.W"]
    average = [w for name, w in weights.items() if with_frequencies or name != "all_modules.0.W"]
    torch.save({"model": model, "ema_weights": average}, tmp_path / "old.pt")
    same_function(import_checkpoint(tmp_path / "old.pt", "buddy").prior, weights, 0.05)
    torch.save({"model": model, "ema_weights": average[3:]}, tmp_path / "short.pt")
    with pytest.raises(CheckpointError, match="moving average of .* does not fit its"):
        import_checkpoint(tmp_path / "short.pt", "buddy")


def sgmse_file(path, weights, **settings):
    torch.save(
        {
            "state_dict": {f"dnn.{name}": tensor for name, tensor in weights.items()},
            "ema": {"decay": 0.999, "num_updates": 3, "shadow_params": list(weights.values())},
            "hyper_parameters": settings,
        },
        path,
    )
    return path


def test_scores_of_sgmse_are_refused_with_every_reason(tmp_path, capsys):
    settings = {"backbone": "ncsnpp", "sde": "ouve", "spec_abs_exponent": 0.5, "spec_factor": 0.15}
    file = sgmse_file(tmp_path / "wsj0.ckpt", published(parts=4), **settings)
    assert main(["prepare", "checkpoint", str(file), str(tmp_path / "prior"), "--format", "sgmse"]) == 2
    error = capsys.readouterr().err
    for reason in (
        "NCSN++ (nf 8, 0.1 M parameters), but no prior can be made of it",
        "it wants the noisy recording as well (4 input channels, a prior has 2)",
        "its process, ouve, shrinks the speech or draws it towards the recording",
        "its noise is added to spectrograms (|c|^0.5, times 0.15), not to waveforms",
        "make train EXP=prior/ncsnpp",
    ):
        assert reason in error
    assert not (tmp_path / "prior").exists()
    with pytest.raises(CheckpointError, match="Lightning, as SGMSE.*--format sgmse"):
        import_checkpoint(file, "buddy")
    torch.save(published(parts=4), tmp_path / "weights.pt")
    with pytest.raises(CheckpointError, match=r"4 input channels; BUDDy's has 2"):
        import_checkpoint(tmp_path / "weights.pt", "buddy")


def test_an_unconditional_score_is_refused_for_what_it_is(tmp_path):
    with pytest.raises(CheckpointError) as caught:
        import_checkpoint(sgmse_file(tmp_path / "u.ckpt", published()), "sgmse")
    assert "input channels" not in str(caught.value)
    assert "does not say which diffusion process" in str(caught.value)


class Code:
    def __reduce__(self):
        return os.mkdir, ("created-by-the-pickle",)


@pytest.mark.parametrize("family", ["buddy", "sgmse"])
def test_a_pickle_that_wants_code_is_refused(tmp_path, monkeypatch, family):
    monkeypatch.chdir(tmp_path)
    file = buddy_file(tmp_path / "evil.pt", published(), args=Code())
    with pytest.raises(CheckpointError, match=r"wants to run code .*\.mkdir.*save the weights alone"):
        import_checkpoint(file, family)
    (tmp_path / "plain.pt").write_bytes(pickle.dumps(Code()))
    with pytest.raises(CheckpointError, match="cannot be loaded as plain weights"):
        import_checkpoint(tmp_path / "plain.pt", family)
    assert not (tmp_path / "created-by-the-pickle").exists()


def test_damaged_and_missing_files(tmp_path):
    with pytest.raises(CheckpointError, match="No file at"):
        import_checkpoint(tmp_path / "nothing.pt", "buddy")
    (tmp_path / "empty.pt").touch()
    whole = buddy_file(tmp_path / "whole.pt", published()).read_bytes()
    (tmp_path / "cut.pt").write_bytes(whole[: len(whole) // 2])
    for name in ("empty.pt", "cut.pt"):
        with pytest.raises(
            CheckpointError, match=f"{name} cannot be loaded as plain weights.*Download it again"
        ):
            import_checkpoint(tmp_path / name, "buddy")
    torch.save([1, 2], tmp_path / "list.pt")
    with pytest.raises(CheckpointError, match="holds a list; expected a mapping"):
        import_checkpoint(tmp_path / "list.pt", "buddy")


def without(weights, name):
    return {key: tensor for key, tensor in weights.items() if key != name}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda w: {"layer.weight": torch.zeros(2)}, r"holds no NCSN\+\+ \(found layer.weight\).*--prior"),
        (
            lambda w: without(w, "all_modules.7.Conv_2.bias"),
            "1 tensors differ .*7.Conv_2.bias: found nothing",
        ),
        (
            lambda w: {**w, "all_modules.36.weight": torch.zeros(1)},
            r"first all_modules.36.weight: found \(1,\)",
        ),
        (lambda w: {**w, "all_modules.19.bias": torch.full((16,), torch.nan)}, "NaN .* all_modules.19.bias"),
        (lambda w: {**w, "all_modules.3.weight": torch.zeros(8)}, "expected a 3 x 3 convolution"),
        (lambda w: {**w, "all_modules.3.weight": torch.zeros(10, 2, 3, 3)}, "no prior .*multiple of 4"),
        (
            lambda w: {**w, **{f"b.{k}": t for k, t in w.items()}},
            "holds several networks: output_layer.weight",
        ),
    ],
)
def test_other_weights_are_told_apart(tmp_path, change, message):
    file = buddy_file(tmp_path / "a.pt", change(published()))
    with pytest.raises(CheckpointError, match=message):
        import_checkpoint(file, "buddy")


@pytest.mark.parametrize(
    ("part", "target"), [("diff_params", "diff_params.ve.VE"), ("network", "networks.ncsnpp.NCSNpp")]
)
def test_other_processes_of_the_same_code_are_refused(tmp_path, part, target):
    settings = {**SETTINGS, part: {**SETTINGS[part], "_target_": target}}
    file = buddy_file(tmp_path / "a.pt", published(), args=OmegaConf.create(settings))
    with pytest.raises(CheckpointError, match=f"trained with {part} {target}"):
        import_checkpoint(file, "buddy")


def test_a_folder_that_is_not_empty_is_kept(tmp_path, capsys):
    file = buddy_file(tmp_path / "a.pt", published())
    output = tmp_path / "prior"
    output.mkdir()
    (output / "mine.txt").write_text("mine")
    given = ["prepare", "checkpoint", str(file), str(output), "--format", "buddy"]
    assert main(given) == 2
    assert "is not empty" in capsys.readouterr().err
    assert main([*given, "--overwrite"]) == 0
    assert (output / "mine.txt").read_text() == "mine"
    assert main([*given[:3], str(file), "--format", "buddy"]) == 2
    assert "is a file; expected the name of a folder" in capsys.readouterr().err
