-- While we wait for a table's lock, its queries queue up behind us. So wait 5 s at most.
set local lock_timeout = '5s';
-- Hides "already exists, skipping": a second run is meant to be harmless.
set local client_min_messages = warning;
-- Functions may call each other, whatever the order of their files.
set local check_function_bodies = off;
-- The style of the intervals that sql/install/signatures.sql lists.
set local intervalstyle = postgres;
