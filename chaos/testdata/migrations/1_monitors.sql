ALTER TABLE monitors ADD COLUMN chaos integer NOT NULL DEFAULT 7;

---- create above / drop below ----

ALTER TABLE monitors DROP COLUMN chaos;
