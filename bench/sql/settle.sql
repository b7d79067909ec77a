-- As if each monitor had been scanned for long: up, and with no first scan to come.
UPDATE monitor_states SET status = 'up', judged_slot = since, failures = 0, successes = 0;
DELETE FROM river_job WHERE kind = 'scan';
