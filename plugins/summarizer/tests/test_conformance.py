from collections.abc import Iterator
from typing import Any

import pytest
from modelhost.testing import Loaded, SummarizesTexts
from modelhost_summarizer import SummarizerBackend


class TestSummarizer(SummarizesTexts):
    backend = SummarizerBackend

    @pytest.fixture(scope="class")
    @classmethod
    def loaded(cls, summaries_of: type[Loaded], class_host: Any) -> Iterator[Loaded]:
        loaded = summaries_of(class_host)
        yield loaded
        loaded.close()


class TestSummarizerInParts(SummarizesTexts):
    backend = SummarizerBackend
    options = {"max_tokens": 40}

    @pytest.fixture(scope="class")
    @classmethod
    def loaded(cls, summaries_of: type[Any], class_host: Any) -> Iterator[Loaded]:
        class_host.context_length = 400
        loaded = summaries_of(class_host, **cls.options)
        yield loaded
        loaded.close()
