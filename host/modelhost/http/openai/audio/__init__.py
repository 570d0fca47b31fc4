"""Sound over HTTP: transcription, translation, speech and voices, in OpenAI's shapes and in those of older clients."""
