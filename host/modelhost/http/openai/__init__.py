"""The routes of OpenAI, to the letter: paths, fields and answers are those of its specification."""
