// Package torture mistreats the agent, its files and its containers, while a backend counts every line: nothing may be missing, and what comes again must
// lie within one save interval. Each test adds rows to a table, which `make torture` writes to docs/reliability.md; `make test` runs a short form
// of the same tests. They are built with the tag integration.
//
// A new case is a test that calls begin for each of its rows and fills in what was written and what came. What its rows are about belongs to one of
// the groups of the table.
package torture
