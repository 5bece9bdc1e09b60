from __future__ import annotations

import pytest

from diffsr.networks import TFTransformer
from diffsr.networks.cost import gflop_per_second


def test_the_count_is_that_of_the_formula():
    width, depth, ratio = 64, 3, 2.0
    net = TFTransformer(width=width, depth=depth, heads=2, ffn_ratio=ratio, taps=3)
    frames, bins, hidden = 8 * 16_000 // 256 + 1, 257, int(width * ratio)
    per_block = 4 * width * width + 3 * width * hidden + 5 * hidden  # qkv, out, gated ffn, convolution
    attention = 2 * frames * width
    per_frame = 3 * bins * width + depth * (per_block + attention) + width * 2 * bins * 4
    once = depth * 6 * width * width + 32 * width + width * width  # modulation and noise embedding
    expected = 2 * (frames * per_frame + once) / 8 / 1e9
    assert gflop_per_second(net, 16_000, window_s=8.0) == pytest.approx(expected, rel=1e-3)


def test_the_fast_backbone_stays_below_its_budget():
    assert gflop_per_second(TFTransformer(), 16_000) < 3.0
