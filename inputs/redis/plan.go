package redis

import (
	"fmt"
	"slices"
	"strings"

	"github.com/hermod-agent/hermod/pipeline/component"
	"github.com/hermod-agent/hermod/pipeline/metrics"
)

// step is a command of each collection.
type step struct {
	name  string // as people call it: "LATENCY HISTOGRAM"
	acl   string // what an ACL user needs for it: "+latency|histogram"
	words call
	show  func(v value, b *metrics.Batch)
	// failed is called in place of show when the server refused.
	failed func(b *metrics.Batch)

	// off says that it isn't sent any more on this connection, since the server has no such command; denied that the user may not run it,
	// which is tried again now and then.
	off, denied bool
}

// retryDenied is after how many collections a command is tried again that the user may not run: each attempt is an entry in the server's
// ACL LOG.
const retryDenied = 4

// prepare makes the steps for the server that INFO described.
func (in *input) prepare(f *facts) {
	cfg := in.cfg
	in.steps = in.steps[:0]
	add := func(name, acl string, show func(value, *metrics.Batch), of ...string) {
		in.steps = append(in.steps, &step{name: name, acl: acl, words: words(of...), show: show})
	}
	info := []string{"INFO", "ALL"}
	if in.plainInfo {
		info = info[:1]
	}
	add("INFO", "+info", nil, info...)
	if cfg.ConfigCommand != "-" && !f.sentinel {
		get := append([]string{cfg.ConfigCommand, "GET"}, settings(cfg, f)...)
		add(cfg.ConfigCommand+" GET", "+"+strings.ToLower(cfg.ConfigCommand)+"|get", in.config.collect, get...)
	}
	if f.cluster {
		add("CLUSTER INFO", "+cluster|info", func(v value, b *metrics.Batch) { in.info.pairs(v.text(), b) }, "CLUSTER", "INFO")
	}
	if !cfg.ExcludeLatencyHistogramMetrics && !f.sentinel {
		add("LATENCY LATEST", "+latency|latest", in.logs.latest, "LATENCY", "LATEST")
		add("LATENCY HISTOGRAM", "+latency|histogram", in.info.commands.histograms, "LATENCY", "HISTOGRAM")
	}
	if !f.sentinel {
		add("SLOWLOG LEN", "+slowlog|len", in.logs.slowLength, "SLOWLOG", "LEN")
		add("SLOWLOG GET", "+slowlog|get", in.logs.slowLast, "SLOWLOG", "GET", "1")
	}
	if f.valkeyVersion != nil && !f.sentinel { // since Valkey 8.1
		for i, kind := range commandLogs {
			add("COMMANDLOG LEN", "+commandlog|len", in.logs.commandLog(i), "COMMANDLOG", "LEN", kind)
		}
	}
	if f.sentinel {
		add("SENTINEL MASTERS", "+sentinel", in.sentinel.masters, "SENTINEL", "MASTERS")
		if cfg.IncludeConfigMetrics {
			add("SENTINEL CONFIG GET", "+sentinel", in.sentinel.config, "SENTINEL", "CONFIG", "GET", "*")
		}
	}
	if cfg.ExportClientList {
		add("CLIENT LIST", "+client|list", in.clients.collect, "CLIENT", "LIST")
	}
	if cfg.IncludeModulesMetrics {
		add("INFO MODULES", "+info", in.modules, "INFO", "MODULES")
	}
	if len(in.scripts) > 0 && in.keys.otherDatabase() {
		add("SELECT", "+select", nil, "SELECT", "0")
	}
	for i := range in.scripts {
		s := &in.scripts[i]
		name := "EVAL"
		if cfg.LuaScriptReadOnly {
			name = "EVAL_RO"
		}
		add(name+" of "+s.path, "+"+strings.ToLower(name), s.collect, name, s.text, "0", "0")
		in.steps[len(in.steps)-1].failed = s.failed
	}
	in.write()
}

// write lists the commands that are sent, once for all collections to come.
func (in *input) write() {
	in.request, in.sent = in.request[:0], in.sent[:0]
	for _, s := range in.steps {
		if !s.off && !s.denied {
			in.request = append(in.request, s.words)
			in.sent = append(in.sent, s)
		}
	}
}

// settings are the patterns that CONFIG GET is asked for. It takes several since Redis 7; before, all settings have to be had, among them
// passwords that nobody needs here.
func settings(cfg *Config, f *facts) []string {
	major, _, _ := strings.Cut(string(f.version), ".")
	if n, ok := parseInt([]byte(major)); !ok || n < 7 || cfg.IncludeConfigMetrics {
		return []string{"*"}
	}
	patterns := []string{"databases", "io-threads", "maxclients", "maxmemory", "repl-backlog-size", "client-output-buffer-limit"}
	if f.valkeyVersion != nil {
		patterns = append(patterns, "commandlog-*")
	}
	return patterns
}

// refuse takes a step's error from the server.
func (in *input) refuse(s *step, text string) {
	code, _, _ := strings.Cut(text, " ")
	err := &serverError{command: s.name, text: text}
	lower := strings.ToLower(text)
	switch {
	case code == "NOPERM":
		s.denied, in.planChanged = true, true
	case strings.HasPrefix(lower, "err unknown"), strings.HasPrefix(lower, "err wrong number of arguments"), strings.HasPrefix(lower, "err syntax"):
		s.off, in.planChanged = true, true
		if s.words[0] == in.cfg.ConfigCommand {
			in.stick(s.name, component.WithRemedy(fmt.Errorf("the server has no command %s, so that its settings can't be shown", s.words[0]),
				`set config_command to what it is called there, or to "-" on a managed server`), true)
		}
	default:
		in.fault(s.name, in.explain(err))
	}
}

// replan leaves out what the server has refused, and tells what it is.
func (in *input) replan(cycle uint64) {
	var denied, rights []string
	for _, s := range in.steps {
		if s.denied {
			denied = append(denied, s.name)
			if !slices.Contains(rights, s.acl) {
				rights = append(rights, s.acl)
			}
		}
	}
	in.deniedAt = cycle
	if len(denied) == 0 {
		in.stick(permissions, nil, false)
	} else {
		slices.Sort(denied)
		in.stick(permissions, component.WithRemedy(
			fmt.Errorf("%s doesn't let user %q run %s (NOPERM): what they tell is missing", in.server, in.user(), strings.Join(slices.Compact(denied), ", ")),
			fmt.Sprintf("in redis-cli: ACL SETUSER %s %s", word(in.user()), strings.Join(rights, " "))), false)
	}
	in.planChanged = false
	in.write()
}

// permissions is what faults about rights are filed under.
const permissions = "permissions"

// retry tries commands again that the user may not run.
func (in *input) retry(cycle uint64) {
	if cycle < in.deniedAt+retryDenied {
		return
	}
	in.deniedAt = cycle
	for _, s := range in.steps {
		if s.denied {
			s.denied, in.planChanged = false, true
		}
	}
	if in.planChanged {
		in.write()
	}
}

// grants is what an ACL user needs for this config, as ACL SETUSER takes it.
func (in *input) grants() string {
	cfg := in.cfg
	rights := []string{"+info"}
	if cfg.ConfigCommand != "-" {
		rights = append(rights, "+"+strings.ToLower(cfg.ConfigCommand)+"|get")
	}
	if cfg.SetClientName {
		rights = append(rights, "+client|setname")
	}
	rights = append(rights, "+cluster|info", "+slowlog|len", "+slowlog|get")
	if !cfg.ExcludeLatencyHistogramMetrics {
		rights = append(rights, "+latency|latest", "+latency|histogram")
	}
	if cfg.PingOnConnect {
		rights = append(rights, "+ping")
	}
	if cfg.ExportClientList {
		rights = append(rights, "+client|list")
	}
	switch {
	case len(cfg.Script) > 0 && cfg.LuaScriptReadOnly:
		rights = append(rights, "+eval_ro")
	case len(cfg.Script) > 0:
		rights = append(rights, "+eval")
	}
	return strings.Join(append(rights, in.keys.grants()...), " ")
}

// fault tells what is wrong beside the collection as a whole; it is right again when a collection went by without it. nil takes it back
// at once.
func (in *input) fault(key string, err error) { in.tell(key, err, in.cycle, false) }

// stick is fault for what stays as it is until something else is told, or the server is connected to anew.
func (in *input) stick(key string, err error, note bool) { in.tell(key, err, forever, note) }

// forever is the cycle of what doesn't go by itself.
const forever = ^uint64(0)

func (in *input) tell(key string, err error, cycle uint64, note bool) {
	if _, told := in.told[key]; err == nil {
		if !told {
			return
		}
		delete(in.told, key)
	} else {
		in.told[key] = cycle
		if in.report != nil {
			in.report(component.Finding{What: key, Err: err, Note: note})
		}
	}
	switch {
	case in.env.Status == nil:
	case note:
		in.env.Status.Note(key, err)
	default:
		in.env.Status.Fault(key, err)
	}
}

// untell takes back what isn't so any more.
func (in *input) untell(all bool) {
	for key, cycle := range in.told {
		if all || cycle != in.cycle && cycle != forever {
			in.fault(key, nil)
		}
	}
}
