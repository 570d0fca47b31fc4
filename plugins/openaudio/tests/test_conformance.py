from fish_server import InThread
from modelhost import SynthesizeRequest, VoicesRequest
from modelhost.testing import BackendTests, SynthesizesSpeech
from modelhost_openaudio import OpenAudioBackend


class WithServer:
    backend = OpenAudioBackend
    settings = {}

    @classmethod
    def setup_class(cls):
        cls.server = InThread()
        cls.options = {"base_url": cls.server.url, **cls.settings}

    @classmethod
    def teardown_class(cls):
        cls.server.stop()


class TestStreaming(WithServer, SynthesizesSpeech):
    settings = {"concurrency": 4}
    request = SynthesizeRequest(text="This is a test. It has two sentences.")


class TestWholeFile(WithServer, SynthesizesSpeech):
    settings = {"stream": False}


class TestVoices(WithServer, BackendTests):
    ability = "voices"
    request = VoicesRequest()
