// Package integration holds the tests of the whole agent: bin/hermod as a process, containers on a real Docker engine, a real
// Prometheus, Mimir and Loki, and backends that count every line and misbehave on command. They are built with the tag integration;
// `make integration` runs them. integration/setup/setup installs what they need, integration/backends/build builds Mimir and Loki, and
// integration/images/build makes the images that compose.yaml and the examples are tested with; the other scripts beside it make those of
// the servers that inputs read.
package integration
