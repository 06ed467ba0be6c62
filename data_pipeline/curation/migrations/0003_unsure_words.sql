-- Words of which OCR was unsure, `{line, word, confidence}` each, by the lines of imported_text.

ALTER TABLE row_texts ADD COLUMN imported_unsure_words TEXT NOT NULL DEFAULT '[]';
