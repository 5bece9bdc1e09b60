"""Published checkpoints of the NCSN++ family as priors."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor

from diffsr.diffusion import Prior
from diffsr.errors import CheckpointError
from diffsr.networks import NCSNpp
from diffsr.prepare.checkpoint_file import plain, read_foreign_checkpoint

Number = TypeVar("Number", bool, int, float)

PARTS = ("all_modules.", "output_layer.")
FREQUENCIES = "all_modules.0.W"
STEM = "all_modules.3.weight"
LAYOUTS: tuple[tuple[tuple[int, ...], int, tuple[int, ...]], ...] = (
    ((1, 2, 2, 2), 1, ()),  # NCSN++M
    ((1, 1, 2, 2, 2, 2, 2), 2, (16,)),  # NCSN++
    ((1, 1, 1, 1), 1, ()),
)
"""Channel multipliers, blocks and bins with attention of published networks."""


@dataclass(frozen=True)
class Imported:
    """A prior from a published checkpoint.

    Attributes:
        prior: It, ready for use.
        notes: What was found and what was taken for granted, one fact each.
    """

    prior: Prior
    notes: tuple[str, ...]


def import_checkpoint(path: Path, family: str) -> Imported:
    """Read a published checkpoint.

    Args:
        path: A `.pt` or `.ckpt` as its authors published it, or its weights as `.safetensors`.
        family: One of `FAMILIES`.

    Raises:
        CheckpointError: Not such a checkpoint, or one of which no prior can be made; says why.
    """
    return FAMILIES[family](read_foreign_checkpoint(path), path)


def _buddy(content: dict[str, Any], path: Path) -> Imported:
    """BUDDy (arXiv 2405.04272): a denoiser of waveforms with the scalings of EDM, as `Prior` has them."""
    if "state_dict" in content:
        raise CheckpointError(
            f"{path} is a checkpoint of Lightning, as SGMSE+ writes them; BUDDy's has 'ema' and 'network'. "
            "Give --format sgmse, which says what it holds."
        )
    weights, source = _buddy_weights(content, path)
    channels = _stem(weights, path).shape[1]
    if channels != 2:
        raise CheckpointError(
            f"{path} holds a network with {channels} input channels; BUDDy's has 2 (one complex "
            "spectrogram). If it comes from SGMSE+, see --format sgmse."
        )
    settings = plain(content.get("args"))
    _check_settings(settings, path)
    try:
        prior = _prior(weights, settings, path)
    except (ValueError, ArithmeticError) as error:
        raise CheckpointError(f"{path}: its settings describe no prior ({error}).") from error
    notes = [f"weights: {source}"]
    if isinstance(content.get("it"), int):
        notes.append(f"{content['it']} iterations")
    if settings is None:
        notes.append("no settings in the file: those that BUDDy published are taken")
    return Imported(prior, tuple(notes))


def _check_settings(settings: object, path: Path) -> None:
    """Other processes and networks of the same code are not what `Prior` computes."""
    for part, wanted in {"diff_params": "EDM", "network": "NCSNppTime"}.items():
        found = _entry(settings, part, "_target_")
        if isinstance(found, str) and found.rpartition(".")[2] != wanted:
            raise CheckpointError(
                f"{path} was trained with {part} {found}; a prior can be made of {wanted} only, the denoiser "
                "of waveforms that BUDDy published."
            )


def _prior(weights: dict[str, Tensor], settings: object, path: Path) -> Prior:
    rate_hz = _setting(settings, "exp", "sample_rate", default=16_000)
    sigma_data = _setting(settings, "diff_params", "sde_hp", "sigma_data", default=0.05)
    window_s = _setting(settings, "exp", "audio_len", default=65_536) / rate_hz
    network = _fitting_network(weights, settings, path)
    return Prior(network, rate_hz, sigma_data, window_s).eval().requires_grad_(False)


def _buddy_weights(content: dict[str, Any], path: Path) -> tuple[dict[str, Tensor], str]:
    network = content.get("network", content.get("model"))
    if isinstance(content.get("ema"), dict):
        return _named(content["ema"], path), "moving average"
    if isinstance(content.get("ema_weights"), list) and isinstance(network, dict):
        return _averaged(_named(network, path), content["ema_weights"], path), "moving average"
    if isinstance(network, dict):
        return _named(network, path), "last iteration, as there is no moving average"
    return _named(content, path), "as they are in the file"


def _sgmse(content: dict[str, Any], path: Path) -> Imported:
    """SGMSE+ (arXiv 2208.05830): scores between clean and noisy spectrograms; never a `Prior`."""
    weights = _named(content.get("state_dict", content), path)
    shadow = content["ema"].get("shadow_params") if isinstance(content.get("ema"), dict) else None
    if shadow is not None:
        weights = _averaged(weights, shadow, path)  # a damaged file is told from an unfit one
    stem, millions = _stem(weights, path), sum(tensor.numel() for tensor in weights.values()) / 1e6
    raise CheckpointError(
        f"{path} holds an NCSN++ (nf {stem.shape[0]}, {millions:.1f} M parameters), but no prior can be made "
        f"of it: {'; '.join(_against(content, stem))}. A prior denoises waveforms with white noise and knows "
        "of no recording. Import a checkpoint of BUDDy, or train the same layers as a prior with "
        "`make train EXP=prior/ncsnpp DATA=SPEECH`."
    )


def _against(content: dict[str, Any], stem: Tensor) -> list[str]:
    """Why scores of SGMSE+ are none of a prior, by what the file says of itself."""
    settings = plain(content.get("hyper_parameters"))
    reasons = []
    if stem.shape[1] != 2:
        reasons.append(
            f"it wants the noisy recording as well ({stem.shape[1]} input channels, a prior has 2)"
        )
    process = _entry(settings, "sde")
    if process is None:
        reasons.append("the file does not say which diffusion process it was trained on")
    elif process in ("ouve", "ouvp"):
        reasons.append(f"its process, {process}, shrinks the speech or draws it towards the recording")
    else:
        reasons.append(f"its process is {process}")
    exponent, factor = _entry(settings, "spec_abs_exponent"), _entry(settings, "spec_factor")
    compressed = f" (|c|^{exponent}, times {factor})" if exponent is not None else ""
    return [*reasons, f"its noise is added to spectrograms{compressed}, not to waveforms"]


FAMILIES: dict[str, Callable[[dict[str, Any], Path], Imported]] = {"buddy": _buddy, "sgmse": _sgmse}
"""What `--format` takes."""


# Weights ----------------------------------------------------------------------------------------


def _named(weights: object, path: Path) -> dict[str, Tensor]:
    """The network's tensors, whatever stands before their names (`dnn.`, `backbone.`, `module.`)."""
    tensors = weights if isinstance(weights, Mapping) else {}
    found: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        starts = [str(name).find(part) for part in PARTS if part in str(name)]
        if not starts or not isinstance(tensor, Tensor):
            continue
        short = str(name)[min(starts) :]
        if short in found:
            raise CheckpointError(
                f"{path} holds several networks: {short} stands there twice, the second time as {name}. "
                "Save the weights of one of them, and import that file."
            )
        found[short] = tensor
    if STEM not in found:
        what = ", ".join(sorted(map(str, tensors))[:3]) or "nothing with a name"
        raise CheckpointError(
            f"{path} holds no NCSN++ (found {what}); expected weights named {STEM}, as in checkpoints of "
            "BUDDy and SGMSE+. A checkpoint of diffsr needs no import: give it to --prior."
        )
    return found


def _averaged(weights: dict[str, Tensor], average: list[Any], path: Path) -> dict[str, Tensor]:
    """Put names to a moving average that was saved as a list in the order of the parameters.

    The frequencies of the noise embedding do not learn, so some versions leave them out.
    """
    names = list(weights)
    if len(average) == len(names) - 1:
        names.remove(FREQUENCIES)
    fits = len(average) == len(names) and all(
        isinstance(new, Tensor) and new.shape == weights[name].shape
        for name, new in zip(names, average, strict=True)
    )
    if not fits:
        raise CheckpointError(
            f"{path}: its moving average of {len(average)} tensors does not fit its {len(weights)} weights; "
            "the file is damaged or of another project. Download it again."
        )
    return {**weights, **dict(zip(names, average, strict=True))}


def _stem(weights: dict[str, Tensor], path: Path) -> Tensor:
    stem = weights[STEM]
    if stem.ndim != 4:
        raise CheckpointError(
            f"{path}: {STEM} has shape {tuple(stem.shape)}; expected a 3 x 3 convolution. Is this an NCSN++?"
        )
    return stem


# Network ----------------------------------------------------------------------------------------


def _fitting_network(weights: dict[str, Tensor], settings: object, path: Path) -> NCSNpp:
    """The network that has these weights.

    Raises:
        CheckpointError: No known layout has these names and shapes, or a value is not finite.
    """
    broken = [name for name, tensor in weights.items() if not bool(torch.isfinite(tensor).all())]
    if broken:
        raise CheckpointError(f"The weights in {path} hold NaN or infinite values, first in {broken[0]}.")
    differences = []
    for multipliers, n_blocks, attention_bins in LAYOUTS:
        network = NCSNpp(
            nf=weights[STEM].shape[0],
            channel_multipliers=multipliers,
            n_blocks=n_blocks,
            attention_bins=attention_bins,
            resampling="fir" if _setting(settings, "network", "fir", default=False) else "box",
            fourier_scale=float(_setting(settings, "network", "fourier_scale", default=16)),
            unit_bins=False,
            n_fft=_setting(settings, "network", "stft", "n_fft", default=510),
            hop_samples=_setting(settings, "network", "stft", "hop_length", default=128),
        )
        difference = _difference(network, weights)
        if not difference:
            network.load_state_dict(weights)
            return network
        differences.append(difference)
    n_differing, first = min(differences)
    raise CheckpointError(
        f"{path} is no NCSN++ that diffsr knows: {n_differing} tensors differ from the nearest layout, "
        f"{first}. Known channel multipliers: {', '.join(str(list(layout[0])) for layout in LAYOUTS)}."
    )


def _difference(network: NCSNpp, weights: dict[str, Tensor]) -> tuple[int, str] | None:
    expected = {name: tuple(tensor.shape) for name, tensor in network.state_dict().items()}
    found = {name: tuple(tensor.shape) for name, tensor in weights.items()}
    names = sorted(n for n in expected.keys() | found.keys() if expected.get(n) != found.get(n))
    if not names:
        return None
    first = names[0]
    return len(names), (
        f"first {first}: found {found.get(first, 'nothing')}, expected {expected.get(first, 'nothing')}"
    )


def _setting(settings: object, *keys: str, default: Number) -> Number:
    """A number of the settings, or what was published where the file has none."""
    value = _entry(settings, *keys)
    return type(default)(value) if isinstance(value, int | float) else default


def _entry(settings: object, *keys: str) -> object:
    for key in keys:
        settings = settings.get(key) if isinstance(settings, dict) else None
    return settings
