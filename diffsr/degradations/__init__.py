"""Observation models: from sources to the observation, with parameters of their own."""

from diffsr.degradations.base import Chain, Degradation
from diffsr.degradations.blind_low_pass import BlindLowPass
from diffsr.degradations.blind_room import BlindRoom
from diffsr.degradations.clipping import Clipping
from diffsr.degradations.gain import Gain
from diffsr.degradations.low_pass import LowPass
from diffsr.degradations.mixing import Mixing
from diffsr.degradations.packet_loss import PacketLoss
from diffsr.degradations.prediction import LatePrediction
from diffsr.degradations.room import Room, RoomFile, read_response

__all__ = [
    "LatePrediction",
    "BlindLowPass",
    "BlindRoom",
    "Chain",
    "Clipping",
    "Degradation",
    "Gain",
    "LowPass",
    "Mixing",
    "PacketLoss",
    "Room",
    "RoomFile",
    "read_response",
]
