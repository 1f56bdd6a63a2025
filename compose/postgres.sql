-- Run once, when PostgreSQL makes its directory: a role that is no superuser, and its database.
\set ON_ERROR_STOP on
\set password `cat /run/secrets/database-password`
CREATE ROLE sovereign LOGIN PASSWORD :'password';
CREATE DATABASE sovereign OWNER sovereign ENCODING 'UTF8' TEMPLATE template0;
REVOKE ALL ON DATABASE sovereign FROM PUBLIC;
