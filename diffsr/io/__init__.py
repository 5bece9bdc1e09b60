"""Files in and out: recordings (`audio`), lists of utterances (`manifest`), safe writing (`atomic`)."""
