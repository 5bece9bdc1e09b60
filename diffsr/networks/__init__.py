"""Backbones, one file each. They map `(wave [B, T], c_noise [B]) -> [B, T]` and know nothing of diffusion."""

from diffsr.networks.backbone import Backbone
from diffsr.networks.ncsnpp import NCSNpp
from diffsr.networks.tf_dualpath import TFDualPath
from diffsr.networks.tf_transformer import TFTransformer

NETWORKS: dict[str, type[Backbone]] = {
    "ncsnpp": NCSNpp,
    "tf_dualpath": TFDualPath,
    "tf_transformer": TFTransformer,
}
"""Name in a prior's `config.yaml` -> class. Only what stands here can be loaded from a prior folder."""

__all__ = ["NETWORKS", "Backbone", "NCSNpp", "TFDualPath", "TFTransformer"]
