"""Languages by code, as the contract has them, and by the names people and other programs give them: those Whisper knows."""

_TABLE = """
    af afr afrikaans; am amh amharic; ar ara arb arabic العربية; as asm assamese; az aze azj azerbaijani; ba bak bashkir; be
    bel belarusian; bg bul bulgarian български; bn ben bengali bangla; bo bod tib tibetan; br bre breton; bs bos bosnian; ca
    cat catalan valencian català; cs ces cze czech čeština; cy cym wel welsh; da dan danish dansk; de deu ger german deutsch;
    el ell gre greek ελληνικά; en eng english; es spa spanish castilian español; et est ekk estonian; eu eus baq basque; fa
    fas per pes persian farsi فارسی; fi fin finnish suomi; fo fao faroese; fr fra fre french français; gl glg galician; gu guj
    gujarati; ha hau hausa; haw hawaiian; he heb iw hebrew עברית; hi hin hindi हिन्दी; hr hrv scr croatian hrvatski; ht hat
    haitian_creole haitian; hu hun hungarian magyar; hy hye arm armenian; id ind in indonesian; is isl ice icelandic; it ita
    italian italiano; ja jpn jp japanese 日本語; jv jav jw javanese; ka kat geo georgian; kk kaz kazakh; km khm khmer; kn kan
    kannada; ko kor korean 한국어; la lat latin; lb ltz luxembourgish letzeburgesch; ln lin lingala; lo lao lao; lt lit
    lithuanian; lv lav lvs latvian; mg mlg plt malagasy; mi mri mao maori; mk mkd mac macedonian; ml mal malayalam; mn mon khk
    mongolian; mr mar marathi; ms msa may zsm malay; mt mlt maltese; my mya bur myanmar burmese; ne nep npi nepali; nl nld dut
    dutch flemish nederlands; nn nno nynorsk; no nor nb nob norwegian bokmål bokmal norsk; oc oci occitan; pa pan punjabi
    panjabi; pl pol polish polski; ps pus pashto pushto; pt por portuguese português; ro ron rum mo mol romanian moldavian
    moldovan română; ru rus russian русский; sa san sanskrit; sd snd sindhi; si sin sinhala sinhalese; sk slk slo slovak
    slovenčina; sl slv slovenian slovene; sn sna shona; so som somali; sq sqi alb albanian; sr srp scc serbian српски; su sun
    sundanese; sv swe swedish svenska; sw swa swh swahili; ta tam tamil; te tel telugu; tg tgk tajik; th tha thai ไทย; tk tuk
    turkmen; tl tgl fil tagalog filipino; tr tur turkish türkçe; tt tat tatar; uk ukr ukrainian українська; ur urd urdu اردو;
    uz uzb uzbek; vi vie vietnamese; yi yid ydd ji yiddish; yo yor yoruba; yue cantonese 粵語; zh zho chi cmn cn chinese
    mandarin 中文
"""
"""Of each language its code, other codes (ISO 639-2 and 639-3, and older ones), its English name, and other names.

The name is the first word of more than three letters, and `lao`.
"""


def _rows() -> list[list[str]]:
    return [[word.replace("_", " ") for word in row.split()] for row in _TABLE.split(";")]


_NAME_OF = {code: next((name for name in names if len(name) > 3), names[-1]) for code, *names in _rows()}
_CODE_OF = {name: code for code, *names in _rows() for name in (code, *names)}

_UNKNOWN = frozenset({"", "auto", "automatic", "autodetect", "detect", "none", "und", "mul"})
"""What people write for "find out"; the last two are ISO 639's for undetermined and for several."""


def name_of(code: str) -> str:
    """Return the English name of a language, in small letters; of one nobody knows, its code."""
    return _NAME_OF.get(_CODE_OF.get(code, code), code)


def code_of(language: str) -> str | None:
    """Return the code of a language from its name, or any of its codes, with a region or without; None for what nobody knows."""
    named = " ".join(language.lower().replace("_", "-").split())
    return _CODE_OF.get(named) or _CODE_OF.get(named.partition("-")[0].strip())


def spoken(language: str | None) -> str | None:
    """Return the code of a language that somebody says is spoken: None where it is to be found out, as with `auto`.

    What nobody here knows stays as it is: a model may know it, and says so if not.
    """
    if language is None or language.strip().lower() in _UNKNOWN:
        return None
    return code_of(language) or language.strip()
