-- A column: a lock of a moment on a table that all read.

ALTER TABLE monitors ADD COLUMN note text NOT NULL DEFAULT '';

---- create above / drop below ----

ALTER TABLE monitors DROP COLUMN note;
