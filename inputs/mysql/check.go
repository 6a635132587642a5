package mysql

import (
	"context"
	"errors"
	"fmt"

	"github.com/hermod-agent/hermod/pipeline/component"
	"github.com/hermod-agent/hermod/pipeline/metrics"
)

// Check implements component.Checker: it logs in and runs each collector once.
func (in *input) Check(ctx context.Context, report func(component.Finding)) {
	in.busy <- struct{}{}
	defer func() { <-in.busy }()
	where := in.cfg.Address.WithPort(defaultPort).String()
	if l, err := in.cfg.login(); err == nil {
		where = l.address.WithPort(defaultPort).String()
	}
	what := "connect"
	if where != "" {
		what += " to " + where
	}
	if in.stopped {
		report(component.Finding{What: what, Err: component.ErrStopped})
		return
	}
	if err := in.connect(ctx); err != nil {
		report(component.Finding{What: what, Err: err})
		return
	}
	s := in.session
	report(component.Finding{What: what, Detail: fmt.Sprintf("%s as %s, account %s", s.version, s.user, account(in.owner()))})
	for _, j := range in.collectors {
		what := "collect " + j.name
		if !s.version.since(j.major, j.minor, 0) {
			report(component.Finding{What: what, Note: true, Err: component.WithRemedy(
				fmt.Errorf("%s doesn't have this: MySQL has it since %d.%d", s.version, j.major, j.minor), "leave it out of collect")})
			continue
		}
		var b metrics.Batch
		b.Begin(nil, 1, 0)
		err := in.run(ctx, j, &b)
		f := component.Finding{What: what, Err: err, Detail: fmt.Sprintf("%d series", len(b.Samples))}
		if err != nil {
			f.Detail = ""
		} else if f.Err = in.hidden(&j.kind); f.Err != nil {
			f.Note = true
		}
		report(f)
		if err != nil && in.session == nil || errors.Is(err, context.DeadlineExceeded) && ctx.Err() != nil {
			return // the server is gone, or the time is over
		}
	}
}
