-- What the errors of one kind have in common: the first line, in which each quoted part, and each
-- number, hex number and UUID is one *. What joins numbers, as in dates, addresses and versions, is
-- a part of them. A quotation mark behind a letter quotes nothing: it is an apostrophe.
--
-- The line is cut twice. What it is cut to at last is shorter, so that lines of one kind end alike
-- although the parts that became * had different lengths. PostgreSQL inlines this function, so it
-- has no settings of its own.
create or replace function _jobs_error_line(error text) returns text
language sql immutable
return left(regexp_replace(
    btrim(split_part(left(error, 300), E'\n', 1), E' \t\r'),
    '"[^"]*("|$)'
    '|`[^`]*(`|$)'
    '|(?<!\w)[bru]?''[^'']*(''|$)'
    '|(?<![[:alpha:]])(0x)?[0-9a-fA-F]*[0-9][0-9a-fA-F]*([.,:-][0-9a-fA-F]+(?![[:alnum:]]))*(?![[:alpha:]])'
    '|[0-9]+',
    '*', 'g'), 160);

comment on function _jobs_error_line is
    'internal: the first line of an error without its quoted parts and numbers';
