-- What takes longer than statements may take here.

SELECT pg_sleep(0.3);

---- create above / drop below ----

SELECT 1;
