"""Draws how early reflections are heard: cepstra of dry and of reverberant speech, and the true response.

    python benchmarks/reflections_picture.py DATA [--item dereverb-valid-34] [--output reflections.png]

Above the long-term cepstrum of the dry talker, in the middle that of the recording less what a short
prediction takes away, with the peaks that count; below the true response after the direct path, which is
looked at for the picture alone. All are at half of a reflection's gain, as peaks of a cepstrum are.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from torch import Tensor

from diffsr.benchmark.items import committed_list
from diffsr.benchmark.scenes import render_item
from diffsr.report.pictures import new_figure, save_png
from diffsr.samplers import EarlyReflections, FromWPE
from diffsr.signal.reflections import long_term_cepstrum
from diffsr.signal.room_acoustics import direct_path_sample
from diffsr.signal.stft import STFT

RATE_HZ = 16000
FIRST, LAST = 32, 449
GREY, BLUE, ORANGE = "#9aa0a6", "#1f4e79", "#d9822b"


def cepstrum(wave: Tensor) -> Tensor:
    return long_term_cepstrum(STFT(4096, 512)(wave[None])[0].abs().square(), LAST)[FIRST:]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", type=Path)
    parser.add_argument("--item", default="dereverb-valid-34")
    parser.add_argument("--output", type=Path, default=Path("reflections.png"))
    options = parser.parse_args()
    found = committed_list("dereverb", "valid")
    sound = render_item(next(one for one in found.items if one.id == options.item), options.data, found)
    assert sound.responses is not None
    response = sound.responses[0, 0]
    place = direct_path_sample(response, RATE_HZ)
    true = 0.5 * response[place:][FIRST:LAST] / response[place]
    heard_in = FromWPE(10, 3, 3).reference(sound.observation, RATE_HZ)
    counted = EarlyReflections().heard(heard_in, RATE_HZ)[0, FIRST:LAST]
    time_ms = torch.arange(FIRST, LAST) / (RATE_HZ / 1000)

    figure = new_figure(9.0, 5.4)
    rows = figure.subplots(3, 1, sharex=True, sharey=True)
    rows[0].plot(time_ms, cepstrum(sound.reference[0]), color=GREY, linewidth=1)
    rows[0].set_title("cepstrum of the dry talker", loc="left", fontsize=9)
    rows[1].plot(time_ms, cepstrum(heard_in[0]), color=GREY, linewidth=1)
    rows[1].vlines(time_ms[counted != 0], 0, counted[counted != 0], color=ORANGE, linewidth=2)
    rows[1].set_title("cepstrum of the recording, and what counts (orange)", loc="left", fontsize=9)
    rows[2].vlines(time_ms, 0, true, color=BLUE, linewidth=1)
    rows[2].set_title("true response, half of its gains", loc="left", fontsize=9)
    rows[2].set_xlabel("time after the direct path (ms)")
    for row in rows:
        row.spines[["top", "right"]].set_visible(False)
        row.axhline(0, color="black", linewidth=0.5)
    save_png(figure, options.output)
    print(f"Wrote {options.output}.")


if __name__ == "__main__":
    main()
