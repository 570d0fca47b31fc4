import msgspec
import pytest
from modelhost.contract.backend import read_options
from modelhost_openaudio import OpenAudioBackend, OpenAudioOptions
from modelhost_openaudio.options import check_name


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"base_url": "127.0.0.1:8080"}, "http or https"),
        ({"base_url": "ftp://here"}, "http or https"),
        ({"base_url": "http://"}, "http or https"),
        ({"base_url": "http://me:secret@here"}, "api_key"),
        ({"base_url": "http://here?a=b"}, "query"),
        ({"path": "v1/tts"}, "path"),
        ({"api_key": "two words"}, "api_key"),
        ({"api_key": "secret\n"}, "api_key"),
        ({"base_url": "http://two words"}, "base_url"),
        ({"base_url": "http://here:99999"}, "Port"),
        ({"voice": "../anna"}, "name of a voice"),
        ({"temperature": 0}, "temperature"),
        ({"chunk_length": 50}, "chunk_length"),
        ({"command_folder": "fish-speech"}, "absolute"),
        ({"references": {"default": {"audio": "/a.wav", "text": "a"}}}, "configured voice"),
        ({"references": {"a/b": {"audio": "/a.wav", "text": "a"}}}, "name of a voice"),
        ({"references": {"anna": {"audio": "anna.wav", "text": "a"}}}, "absolute"),
        ({"references": {"anna": {"audio": "/a.wav", "text": ""}}}, "text"),
    ],
)
def test_a_wrong_option_is_refused_with_what_is_allowed(options, said):
    with pytest.raises(msgspec.ValidationError, match=said) as caught:
        read_options(OpenAudioOptions, options)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("url", "leaves"),
    [
        ("http://127.0.0.1:8080", False),
        ("http://127.9.9.9", False),
        ("http://[::1]:8080/fish", False),
        ("https://localhost", False),
        ("http://192.168.1.5:8080", True),
        ("https://speech.example.org", True),
        ("http://127.0.0.1.example.org", True),
    ],
)
def test_requests_leave_the_machine_unless_the_server_is_on_it(url, leaves):
    assert OpenAudioBackend.leaves_machine(OpenAudioOptions(base_url=url)) is leaves


@pytest.mark.parametrize("name", ["", "..", "a/b", "a\n", "ä", "a" * 256])
def test_a_name_that_could_be_a_path_is_no_name_of_a_voice(name):
    with pytest.raises(ValueError, match="name of a voice"):
        check_name(name)
