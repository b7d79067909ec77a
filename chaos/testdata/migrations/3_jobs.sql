ALTER TABLE river_job ADD COLUMN chaos integer;

---- create above / drop below ----

ALTER TABLE river_job DROP COLUMN chaos;
