-- While we wait for a table's lock, its queries queue up behind us. So wait 5 s at most.
set local lock_timeout = '5s';
-- Hides "already exists, skipping": a second run is meant to be harmless.
set local client_min_messages = warning;
-- Functions may call each other, whatever the order of their files.
set local check_function_bodies = off;
-- What the files rely on, whatever the role or the database has as its default. The files are
-- UTF-8. sql/install/signatures.sql lists names without quotes, and intervals in this style.
-- Functions keep their path as it is quoted now.
set local client_encoding = utf8;
set local quote_all_identifiers = off;
set local standard_conforming_strings = on;
set local timezone = 'UTC';
set local datestyle = 'ISO, MDY';
set local intervalstyle = postgres;
