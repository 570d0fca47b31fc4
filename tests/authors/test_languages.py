"""What people call languages, and what the contract calls them."""

import pytest
from modelhost.authors.languages import code_of, name_of, spoken


@pytest.mark.parametrize(
    ("said", "code"),
    [
        *[("English", "en"), ("EN", "en"), ("EN-us", "en"), ("eng", "en"), ("en_GB", "en"), (" en ", "en")],
        *[
            ("pt_BR", "pt"),
            ("zh-Hant-TW", "zh"),
            ("Mandarin", "zh"),
            ("cmn", "zh"),
            ("yue", "yue"),
            ("Deutsch", "de"),
            ("ger", "de"),
        ],
        *[("nb", "no"), ("nob", "no"), ("nn", "nn"), ("Nynorsk", "nn"), ("fil", "tl"), ("iw", "he"), ("jw", "jv"), ("jv", "jv")],
        *[("haitian creole", "ht"), ("Español", "es"), ("spanish", "es"), ("haw", "haw"), ("lao", "lo"), ("日本語", "ja")],
    ],
)
def test_a_language_is_known_by_its_names_and_its_codes(said: str, code: str) -> None:
    assert code_of(said) == code == spoken(said)


@pytest.mark.parametrize("said", [None, "", " ", "auto", "Auto", "detect", "und"])
def test_who_does_not_know_the_language_has_it_found_out(said: str | None) -> None:
    assert spoken(said) is None


def test_what_nobody_here_knows_is_left_to_the_model() -> None:
    assert (code_of("Klingon"), spoken(" Klingon ")) == (None, "Klingon")
    assert (code_of("ast"), spoken("ast")) == (None, "ast")


def test_every_name_that_is_told_can_be_said() -> None:
    codes = ["en", "de", "jv", "he", "ht", "nn", "no", "tl", "yue", "zh", "haw", "lo", "ca"]
    assert [code_of(name_of(code)) for code in codes] == codes
    assert [name_of(code) for code in ("jv", "jw", "ht", "lo", "nn", "xx")] == [
        *("javanese", "javanese", "haitian creole", "lao", "nynorsk", "xx")
    ]
