// Package harness runs what the integration tests need around the agent: backends that count and misbehave on command, containers that
// write lines, Prometheus, and the agent itself as a process.
//
// Everything that a test starts it also ends, through t.Cleanup: processes by their id, containers by their name.
package harness
