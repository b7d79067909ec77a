-- As a stranger would have it who wants to hold as much as he can for as long as he may.
UPDATE monitors SET regexp = 'well$', timeout_ms = 30000, request = '{"tls_skip_verify": true}'
WHERE url NOT LIKE '%/well/%';
UPDATE monitors SET regexp = 'well$' WHERE url LIKE '%/well/%';
