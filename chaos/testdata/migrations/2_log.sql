ALTER TABLE monitor_log ADD COLUMN chaos integer;

---- create above / drop below ----

ALTER TABLE monitor_log DROP COLUMN chaos;
