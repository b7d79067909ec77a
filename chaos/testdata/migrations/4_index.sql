---- outside a transaction ----

SET lock_timeout = 0;
DROP INDEX CONCURRENTLY IF EXISTS monitors_chaos;
CREATE INDEX CONCURRENTLY monitors_chaos ON monitors (chaos);

---- create above / drop below ----

DROP INDEX monitors_chaos;
