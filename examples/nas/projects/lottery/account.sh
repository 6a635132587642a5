#!/bin/sh
# The account of the agent: it may look and change nothing.
mysql -uroot -p"$MYSQL_ROOT_PASSWORD" <<SQL
CREATE USER 'hermod'@'%' IDENTIFIED BY '$HERMOD_PASSWORD' WITH MAX_USER_CONNECTIONS 3;
GRANT PROCESS, REPLICATION CLIENT, SELECT ON *.* TO 'hermod'@'%';
SQL
