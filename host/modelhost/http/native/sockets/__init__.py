"""Live work over WebSockets: transcription while somebody speaks, speech while somebody writes, text as it is made."""
