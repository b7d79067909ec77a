-- What a migration before this one set is not set any more.

DO $$ BEGIN ASSERT current_setting('lock_timeout') = '500ms'; END $$;

---- create above / drop below ----

SELECT;
