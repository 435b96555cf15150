-- Queries of a busy table queue up behind our lock, so give up soon rather than wait for it.
set local lock_timeout = '5s';
-- Hides "already exists, skipping": a second run is meant to be harmless.
set local client_min_messages = warning;
-- Functions may call each other, whatever the order of their files.
set local check_function_bodies = off;
-- How PostgreSQL prints the defaults that sql/install/signatures.sql lists.
set local intervalstyle = postgres;
