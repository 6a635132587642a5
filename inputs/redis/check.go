package redis

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/hermod-agent/hermod/pipeline/component"
	"github.com/hermod-agent/hermod/pipeline/metrics"
)

// Check implements component.Checker: it connects and collects once, and says of each command whether it may be run.
func (in *input) Check(ctx context.Context, report func(component.Finding)) {
	if component.Enter(ctx, in.busy) != nil {
		return
	}
	defer func() { <-in.busy }()
	if in.stopped {
		return
	}
	connect := "connect to " + in.server.String()
	// What is wrong with a part comes in between; it is told after the connection.
	var parts []component.Finding
	in.report = func(f component.Finding) { parts = append(parts, f) }
	defer func() { in.report = nil }()
	var b metrics.Batch
	b.Begin(&metrics.Source{Address: in.env.Address, Type: in.env.Type, Job: "redis", Instance: in.Instance()}, 1, time.Now().UnixMilli())
	if err := in.cycleOnce(ctx, &b); err != nil {
		report(component.Finding{What: connect, Err: err})
		return
	}
	report(component.Finding{What: connect, Detail: in.describe(&b)})
	for _, f := range parts {
		report(f)
	}
	told := map[string]bool{}
	for _, s := range in.steps {
		if !s.off && !s.denied && !told[s.name] {
			if _, faulty := in.told[s.name]; !faulty {
				report(component.Finding{What: s.name})
			}
			told[s.name] = true
		}
	}
}

// describe says which server it is, from what it told.
func (in *input) describe(b *metrics.Batch) string {
	for _, s := range b.Samples {
		if s.Series.Desc != in.info.instance.desc {
			continue
		}
		l := s.Series
		name, version := "Redis", l.Get("redis_version")
		if v := l.Get("valkey_version"); v != "" {
			name, version = "Valkey", v
		}
		role := []string{}
		for _, word := range []string{l.Get("redis_mode"), l.Get("role")} {
			if word != "" {
				role = append(role, word)
			}
		}
		return fmt.Sprintf("%s %s (%s) as user %q", name, version, strings.Join(role, ", "), in.user())
	}
	return ""
}
