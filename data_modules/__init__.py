"""LightningDataModules: what a run reads."""

from data_modules.clean_speech import CleanSpeech
from data_modules.folder import Folder
from data_modules.paired import Paired
from data_modules.whamr import Whamr

__all__ = ["CleanSpeech", "Folder", "Paired", "Whamr"]
