#!/bin/sh
# The account of the agent: it may look and change nothing.
mariadb -uroot -p"$MARIADB_ROOT_PASSWORD" <<SQL
CREATE USER 'hermod'@'%' IDENTIFIED BY '$HERMOD_PASSWORD' WITH MAX_USER_CONNECTIONS 3;
GRANT PROCESS, REPLICATION CLIENT, SLAVE MONITOR, SELECT ON *.* TO 'hermod'@'%';
SQL
