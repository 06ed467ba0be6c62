-- Search without regard to case: the text as `str.casefold` has it, apart from all else that a search need not read.

CREATE TABLE row_search (
    row_id INTEGER PRIMARY KEY REFERENCES rows (id),
    folded TEXT NOT NULL
) STRICT;

INSERT INTO row_search (row_id, folded) SELECT row_id, casefold(text) FROM row_texts;
