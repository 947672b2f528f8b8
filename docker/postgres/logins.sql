-- Run once, by the image, on an empty database: a login for each program, in a role with the least rights
-- (feltsense roles). psql reads the passwords itself, so that no argument shows them.
\set ON_ERROR_STOP on
\set worker `cat "$LOGINS/worker_password"`
\set trainer `cat "$LOGINS/trainer_password"`
\set reader `cat "$LOGINS/reader_password"`
CREATE ROLE feltsense_worker NOLOGIN;
CREATE ROLE feltsense_trainer NOLOGIN;
CREATE ROLE feltsense_reader NOLOGIN;
CREATE ROLE worker LOGIN PASSWORD :'worker' IN ROLE feltsense_worker;
CREATE ROLE trainer LOGIN PASSWORD :'trainer' IN ROLE feltsense_trainer;
CREATE ROLE reader LOGIN PASSWORD :'reader' IN ROLE feltsense_reader;
-- The studies of the trainer's searches are kept apart from people's rows.
CREATE DATABASE studies OWNER trainer;
REVOKE ALL ON DATABASE studies FROM PUBLIC;
