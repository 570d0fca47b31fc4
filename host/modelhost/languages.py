"""Languages by code, as the contract has them, and by English name, as OpenAI's transcripts have them: those Whisper knows."""

_CODES = """
    af afrikaans, am amharic, ar arabic, as assamese, az azerbaijani, ba bashkir, be belarusian, bg bulgarian, bn bengali,
    bo tibetan, br breton, bs bosnian, ca catalan, cs czech, cy welsh, da danish, de german, el greek, en english, es spanish,
    et estonian, eu basque, fa persian, fi finnish, fo faroese, fr french, gl galician, gu gujarati, ha hausa, haw hawaiian,
    he hebrew, hi hindi, hr croatian, ht haitian creole, hu hungarian, hy armenian, id indonesian, is icelandic, it italian,
    ja japanese, jv javanese, ka georgian, kk kazakh, km khmer, kn kannada, ko korean, la latin, lb luxembourgish, ln lingala,
    lo lao, lt lithuanian, lv latvian, mg malagasy, mi maori, mk macedonian, ml malayalam, mn mongolian, mr marathi, ms malay,
    mt maltese, my myanmar, ne nepali, nl dutch, nn nynorsk, no norwegian, oc occitan, pa punjabi, pl polish, ps pashto,
    pt portuguese, ro romanian, ru russian, sa sanskrit, sd sindhi, si sinhala, sk slovak, sl slovenian, sn shona, so somali,
    sq albanian, sr serbian, su sundanese, sv swedish, sw swahili, ta tamil, te telugu, tg tajik, th thai, tk turkmen,
    tl tagalog, tr turkish, tt tatar, uk ukrainian, ur urdu, uz uzbek, vi vietnamese, yi yiddish, yo yoruba, yue cantonese,
    zh chinese
"""

_CODE_OF = {name: code for code, _, name in (line.strip().partition(" ") for line in " ".join(_CODES.split()).split(","))}


_NAME_OF = {code: name for name, code in _CODE_OF.items()}


def name_of(code: str) -> str:
    """Give the English name of a language, in small letters; of one nobody knows, its code."""
    return _NAME_OF.get(code, code)


def code_of(language: str) -> str | None:
    """Give the code of a language from its name or code; None for one that nobody knows."""
    named = language.strip().lower()
    if named in _CODE_OF.values():
        return named
    return _CODE_OF.get(named)
