package component

import "context"

// Checker is a component that knows better than the engine how to find out whether it would work: `hermod check` asks it.
//
// Check is called once on a component that was opened and not started; Stop follows. It tries everything that the config names (each server,
// each privilege that a collector needs) and reports a Finding for each, well or not, as soon as it is known. The errors MUST be those that
// the running component would give. It MUST NOT change anything outside but what a Finding tells of, and MUST end with ctx.
//
// Without a Checker an input of metrics is collected once, an input of logs is run until it has opened its sources, and of an output and a
// processor it is told that they could be opened.
type Checker interface {
	Check(ctx context.Context, report func(Finding))
}

// Finding is one thing that was tried.
type Finding struct {
	// What was tried, without the component's address: "connect to db:3306", "collect perf_schema.eventswaits". "" stands for all of it.
	What string
	// Err is what is wrong, with a remedy (WithRemedy); nil when it is well.
	Err error
	// Note says that Err is something that the user should know while everything works: it doesn't fail the check.
	Note bool
	// Detail is what was seen when it is well: "MySQL 9.1.0 as exporter@172.18.0.2".
	Detail string
}
