---- outside a transaction ----
-- An index on a table that is written to. It waits for transactions that are open, and nobody waits for it; what an
-- attempt that was cut off left is no index.

SET lock_timeout = 0;
DROP INDEX CONCURRENTLY IF EXISTS monitors_updated;
CREATE INDEX CONCURRENTLY monitors_updated ON monitors (updated_at);

---- create above / drop below ----

DROP INDEX monitors_updated;
