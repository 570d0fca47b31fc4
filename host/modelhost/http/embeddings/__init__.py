"""Texts to vectors: OpenAI's `/v1/embeddings`, and `/embed` for a file."""

from modelhost.http.embeddings.file import embed_file
from modelhost.http.embeddings.route import embeddings

__all__ = ["embed_file", "embeddings"]
