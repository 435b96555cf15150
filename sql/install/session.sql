-- Rather fail than stand for long in front of a busy table's queries: locks queue up behind ours.
set local lock_timeout = '5s';
-- "already exists, skipping" is what a second run is for.
set local client_min_messages = warning;
-- Functions may call each other, whatever the order of their files.
set local check_function_bodies = off;
-- How PostgreSQL prints the defaults that sql/install/signatures.sql lists.
set local intervalstyle = postgres;
