"""Posterior samplers: schedule x solver x guidance x M-steps, all independent of each other."""

from diffsr.samplers.annealed import AnnealedSampler, Samples
from diffsr.samplers.averaging import LogSpectralMean
from diffsr.samplers.balanced import BalancedRenoise
from diffsr.samplers.ceiling import PowerCeiling
from diffsr.samplers.constraint import EvenShare, Remainder
from diffsr.samplers.dps import DPS
from diffsr.samplers.each_talker import EachTalker
from diffsr.samplers.early_reflections import EarlyReflections
from diffsr.samplers.estimation import UpdateNoise
from diffsr.samplers.filter_estimation import UpdateLowPass
from diffsr.samplers.gain_estimation import UpdateGain
from diffsr.samplers.guidance import NoisePerturbed, Projection, Proximal, Unguided
from diffsr.samplers.hybrid_gradient import HybridGradient
from diffsr.samplers.initialise import FromNoise, FromObservation, FromWiener, FromWPE
from diffsr.samplers.joining import Consensus
from diffsr.samplers.learning import LearnVoices
from diffsr.samplers.little_noise import LittleNoise
from diffsr.samplers.noised_mixture import FromNoisedMixture
from diffsr.samplers.prediction_estimation import MeasureDecay, UpdateLateReverberation, UpdatePrediction
from diffsr.samplers.problem import Problem
from diffsr.samplers.published import EMPasses, Every, NoiseLatent, ResidualNoise
from diffsr.samplers.randomness import RowNoise
from diffsr.samplers.ranking import Agreement
from diffsr.samplers.resample import Resample
from diffsr.samplers.room_estimation import AtLevel, UpdateRoom
from diffsr.samplers.second_pass import SecondPass
from diffsr.samplers.second_search import SecondSearch
from diffsr.samplers.separation import Dirac, StateLikelihood
from diffsr.samplers.solvers import Euler, Heun, Renoise
from diffsr.samplers.speaker_guidance import SpeakerGuidance
from diffsr.samplers.stochastic import Ancestral, PosteriorTransition, PredictorCorrector
from diffsr.samplers.telling import KnownVoices, Telling, TellVoices
from diffsr.samplers.tracks import ExchangeTracks, TracksInOrder
from diffsr.samplers.voice_estimation import UpdateVoice
from diffsr.samplers.voices import ExchangeVoices, OneVoice, VoicesInOrder

__all__ = [
    "Agreement",
    "UpdateRoom",
    "AtLevel",
    "UpdatePrediction",
    "UpdateLateReverberation",
    "FromWPE",
    "FromObservation",
    "FromWiener",
    "FromNoise",
    "DPS",
    "Dirac",
    "EachTalker",
    "EarlyReflections",
    "EvenShare",
    "FromNoisedMixture",
    "HybridGradient",
    "Remainder",
    "Resample",
    "SecondPass",
    "SecondSearch",
    "SpeakerGuidance",
    "StateLikelihood",
    "Ancestral",
    "AnnealedSampler",
    "BalancedRenoise",
    "Consensus",
    "EMPasses",
    "Euler",
    "Every",
    "ExchangeTracks",
    "ExchangeVoices",
    "Heun",
    "KnownVoices",
    "LearnVoices",
    "LittleNoise",
    "LogSpectralMean",
    "MeasureDecay",
    "NoiseLatent",
    "NoisePerturbed",
    "OneVoice",
    "PosteriorTransition",
    "PowerCeiling",
    "PredictorCorrector",
    "Problem",
    "Projection",
    "Proximal",
    "Renoise",
    "ResidualNoise",
    "RowNoise",
    "Samples",
    "TellVoices",
    "Telling",
    "Unguided",
    "UpdateGain",
    "UpdateLowPass",
    "UpdateNoise",
    "UpdateVoice",
    "TracksInOrder",
    "VoicesInOrder",
]
