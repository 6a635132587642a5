package mysql

import (
	"context"
	"fmt"
	"strings"

	"github.com/hermod-agent/hermod/pipeline/component"
)

// granted is what SHOW GRANTS says that our account may do.
type granted struct {
	everywhere map[string]bool // privileges on *.*
	anywhere   map[string]bool // privileges on anything
	roles      bool            // the account has roles, whose privileges aren't listed
}

// askGrants asks the server. Where it doesn't tell, nothing is known, and nothing is said to be missing.
func askGrants(ctx context.Context, s *session) (*granted, error) {
	r, err := s.query(ctx, "SHOW GRANTS")
	if serverError(err) != nil {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer r.close()
	g := &granted{everywhere: map[string]bool{}, anywhere: map[string]bool{}}
	for {
		row, err := r.next()
		if err != nil {
			return nil, err
		}
		if row == nil {
			return g, nil
		}
		g.add(string(text(nil, row[0])))
	}
}

// add reads a line like "GRANT SELECT, PROCESS ON *.* TO `exporter`@`%` WITH GRANT OPTION", or "GRANT `role`@`%` TO `exporter`@`%`".
func (g *granted) add(line string) {
	rest, ok := strings.CutPrefix(line, "GRANT ")
	if !ok {
		return // MariaDB's SET DEFAULT ROLE, or MySQL's REVOKE of a part
	}
	privileges, rest, ok := strings.Cut(rest, " ON ")
	if !ok {
		g.roles = true
		return
	}
	place, _, _ := strings.Cut(rest, " TO ")
	for _, p := range strings.Split(privileges, ",") {
		p = strings.ToUpper(strings.TrimSpace(p))
		if i := strings.IndexByte(p, '('); i >= 0 {
			p = strings.TrimSpace(p[:i]) // of some columns
		}
		g.anywhere[p] = true
		if place == "*.*" {
			g.everywhere[p] = true
		}
	}
}

// lacks gives the privileges among needs without which the server hides rows: PROCESS, which counts everywhere or not at all, and SELECT, which
// shows the tables that it is given for.
func (g *granted) lacks(needs []grant) []grant {
	if g == nil || g.roles || g.everywhere["ALL PRIVILEGES"] {
		return nil
	}
	var missing []grant
	for _, n := range needs {
		switch n.privilege {
		case "PROCESS":
			if !g.everywhere["PROCESS"] {
				missing = append(missing, n)
			}
		case "SELECT":
			if !g.anywhere["SELECT"] && !g.anywhere["ALL PRIVILEGES"] {
				missing = append(missing, n)
			}
		}
	}
	return missing
}

// hides says whether the server leaves rows out, and says nothing, where the account lacks what the collector needs.
func (k *kind) hides() bool {
	switch k.name {
	case "info_schema.processlist", "info_schema.userstats", "info_schema.clientstats", "info_schema.tables", "auto_increment.columns",
		"info_schema.schemastats", "info_schema.tablestats":
		return true
	}
	return false
}

// hidden says what a collector that went well doesn't see, or nil.
func (in *input) hidden(k *kind) error {
	if !k.hides() || in.session == nil {
		return nil
	}
	missing := in.session.granted.lacks(k.needs(in.session.version, in.cfg))
	if len(missing) == 0 {
		return nil
	}
	return component.WithRemedy(fmt.Errorf("the account lacks %s, so the server shows it only what is its own", missing[0].privilege),
		fmt.Sprintf("run on the server: %s or leave %s out of collect", grants(missing, account(in.owner())), k.name))
}
