-- What an operator ends.

DO $$ BEGIN RAISE EXCEPTION 'cancelled' USING ERRCODE = '57014'; END $$;

---- create above / drop below ----

SELECT 1;
