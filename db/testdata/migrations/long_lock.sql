-- What must be caught: a lock that is held for over a second.

ALTER TABLE monitor_states ADD COLUMN note text;
SELECT pg_sleep(1.5);

---- create above / drop below ----

ALTER TABLE monitor_states DROP COLUMN note;
