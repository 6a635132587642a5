package admin

import (
	"time"

	"github.com/hermod-agent/hermod/pipeline/component"
	"github.com/hermod-agent/hermod/pipeline/graph"
)

// now is when all fixtures are looked at.
var now = time.Date(2026, 3, 14, 15, 9, 26, 0, time.UTC)

func before(d time.Duration) time.Time { return now.Add(-d) }

// calm is an agent where everything flows: the other situations are made from it.
func calm() graph.Status {
	return graph.Status{
		Version: "1.2.0", Host: "nas", Started: before(3 * time.Hour), Now: now, Config: "/etc/hermod/agent.hcl", Loaded: before(3 * time.Hour),
		DataDir: "/var/lib/hermod", Ready: true,
		Nodes: []graph.Node{
			{Address: "input.docker_logs", Kind: "input", Type: "docker_logs", State: graph.OK, Since: before(3 * time.Hour), Out: 48211, Last: before(2 * time.Second),
				Details: []component.Detail{
					{Name: "web", State: "following", Via: "/var/lib/docker/containers/0f3/0f3-json.log", Last: before(2 * time.Second)},
					{Name: "db", State: "following", Via: "the Docker API", Unread: -1, Last: before(40 * time.Minute)},
				}},
			{Address: "input.host", Kind: "input", Type: "host", State: graph.OK, Since: before(3 * time.Hour), Out: 694 * 720, Last: before(4 * time.Second),
				Interval: 15, LastCycle: before(4 * time.Second), LastDuration: 0.0011, Series: 694, Cycles: 720},
			{Address: "processor.filter.noise", Kind: "processor", Type: "filter", State: graph.OK, Since: before(3 * time.Hour), In: 48211, Out: 40100, Last: before(2 * time.Second)},
			{Address: "output.loki.main", Kind: "output", Type: "loki", State: graph.OK, Since: before(3 * time.Hour), In: 40100, Last: before(2 * time.Second),
				Traffic: &component.Traffic{Taken: 40100, Delivered: 40088, Queued: 12, QueuedBytes: 2048, QueueLimit: 64 << 20, SentBytes: 5 << 20,
					OldestQueued: before(time.Second), LastDelivery: before(time.Second)}},
			{Address: "output.prometheus", Kind: "output", Type: "prometheus", State: graph.OK, Since: before(3 * time.Hour), In: 694 * 720, Last: before(4 * time.Second),
				Details: []component.Detail{{Name: "http://127.0.0.1:9100/metrics", State: "listening", Last: before(4 * time.Second)}}},
		},
		Edges: []graph.Edge{
			{From: "input.docker_logs", To: "processor.filter.noise", Signal: "logs", Offered: 48211, Passed: 48211, Bytes: 6 << 20, Batches: 9000, Last: before(2 * time.Second)},
			{From: "input.host", To: "output.prometheus", Signal: "metrics", Offered: 694 * 720, Passed: 694 * 720, Batches: 720, Last: before(4 * time.Second)},
			{From: "processor.filter.noise", To: "output.loki.main", Signal: "logs", Offered: 40100, Passed: 40100, Bytes: 5 << 20, Batches: 8000, Last: before(2 * time.Second)},
		},
	}
}

func node(s *graph.Status, address string) *graph.Node {
	for i := range s.Nodes {
		if s.Nodes[i].Address == address {
			return &s.Nodes[i]
		}
	}
	return nil
}

// situations are what a user comes to the page for.
func situations() map[string]Report {
	out := map[string]Report{"calm": {Status: calm()}}

	s := calm()
	n := node(&s, "input.docker_logs")
	*n = graph.Node{Address: n.Address, Kind: n.Kind, Type: n.Type, State: graph.Failing, Since: before(3 * time.Hour),
		Faults: []component.Fault{{Key: "/var/run/docker.sock", What: "connect to /var/run/docker.sock: no such file or directory",
			Remedy: "start Docker, or mount the socket into the agent's container: -v /var/run/docker.sock:/var/run/docker.sock:ro",
			Since:  before(3 * time.Hour), Last: before(12 * time.Second), Count: 181}}}
	n.Why, n.Remedy = n.Faults[0].What, n.Faults[0].Remedy
	s.Ready, s.NotReady = false, []string{"input.docker_logs has not opened its sources"}
	*node(&s, "processor.filter.noise") = graph.Node{Address: "processor.filter.noise", Kind: "processor", Type: "filter", State: graph.Waiting, Since: s.Started}
	*node(&s, "output.loki.main") = graph.Node{Address: "output.loki.main", Kind: "output", Type: "loki", State: graph.Waiting, Since: s.Started,
		Traffic: &component.Traffic{QueueLimit: 64 << 20}}
	for i := range s.Edges {
		if s.Edges[i].Signal == "logs" {
			s.Edges[i] = graph.Edge{From: s.Edges[i].From, To: s.Edges[i].To, Signal: "logs"}
		}
	}
	out["no_socket"] = Report{Status: s}

	s = calm()
	n = node(&s, "output.loki.main")
	n.State, n.Since = graph.Failing, before(3*time.Minute+20*time.Second)
	n.Faults = []component.Fault{{Key: "http://loki:3100/loki/api/v1/push", What: "post http://loki:3100/loki/api/v1/push: connection refused",
		Remedy: "see whether Loki runs and listens there", Since: n.Since, Last: before(20 * time.Second), Count: 7}}
	n.Why, n.Remedy = n.Faults[0].What, n.Faults[0].Remedy
	n.Traffic.Queued, n.Traffic.QueuedBytes, n.Traffic.OldestQueued, n.Traffic.LastDelivery = 31200, 21<<20, before(200*time.Second), before(201*time.Second)
	n.Traffic.NextTry = now.Add(32 * time.Second)
	out["loki_down"] = Report{Status: s, Trends: map[string]Trend{
		"input.docker_logs": {Seconds: 60, Out: 156}, "output.loki.main": {Seconds: 60, In: 156, Queued: 104 << 10}}}

	s = calm()
	n = node(&s, "output.loki.main")
	n.State, n.Since = graph.Failing, before(26*time.Minute)
	n.Faults = []component.Fault{{What: "post http://loki:3100/loki/api/v1/push: 401 Unauthorized: \"no credentials provided\"",
		Remedy: "correct user and password of output.loki.main", Since: n.Since, Last: before(time.Minute), Count: 12}}
	n.Why = n.Faults[0].What
	n.Traffic = &component.Traffic{Taken: 120000, Queued: 120000, QueuedBytes: 64 << 20, QueueLimit: 64 << 20, OldestQueued: before(26 * time.Minute), NextTry: now.Add(4 * time.Minute)}
	s.Edges[0].BlockedSince, s.Edges[2].BlockedSince = before(14*time.Minute), before(14*time.Minute)
	node(&s, "input.docker_logs").Unread = 9 << 20
	s.Edges = append(s.Edges, graph.Edge{From: "processor.filter.noise", To: "output.stdout", Signal: "logs", Offered: 300, Passed: 300})
	out["wrong_password"] = Report{Status: s, Trends: map[string]Trend{"input.docker_logs": {Seconds: 60, Unread: 11 << 10}}}

	s = calm()
	s.Faults = []component.Fault{{Key: "positions", What: "save positions: write /var/lib/hermod/positions.json.new: no space left on device",
		Remedy: "free space on the filesystem of /var/lib/hermod; until then a restart reads again what came after the last save", Since: before(41 * time.Minute), Last: before(time.Second), Count: 2460}}
	out["full_disk"] = Report{Status: s}

	s = calm()
	n = node(&s, "input.docker_logs")
	n.State, n.Since, n.Last = graph.Quiet, before(6*time.Hour), before(6*time.Hour)
	for i := range n.Details {
		n.Details[i].Last = before(6*time.Hour + time.Duration(i)*time.Hour)
	}
	n.Details = append(n.Details, component.Detail{Name: "job", State: "ended", Via: "the Docker API", Last: before(7 * time.Hour)}, component.Detail{Name: "new", State: "following", Via: "the Docker API"})
	out["quiet_container"] = Report{Status: s}

	s = calm()
	n = node(&s, "output.loki.main")
	n.State, n.Since = graph.Noted, before(9*time.Minute)
	n.Losses = map[string]uint64{"rejected_too_old": 1200, "rejected_line_too_long": 3}
	n.Traffic.Rejected = 1200
	n.Faults = []component.Fault{{Note: true, What: "Loki refused 1,200 records: entry too far behind", Remedy: "set reject_old_samples_max_age in Loki, or start later", Since: n.Since, Last: n.Since, Count: 1}}
	s.Edges[1].Errors, s.Edges[1].LastErr = 2, "page is busy"
	node(&s, "input.host").Skipped = 4
	node(&s, "input.docker_logs").Losses = map[string]uint64{"line_too_long": 7}
	node(&s, "processor.filter.noise").Losses = map[string]uint64{"filtered": 8111}
	out["dropped"] = Report{Status: s, Trends: map[string]Trend{"output.loki.main": {Seconds: 60, Lost: 20}, "processor.filter.noise": {Seconds: 60, Lost: 2}}}

	s = calm()
	s.ReloadError = "Error: Unsupported argument\n\n  on /etc/hermod/agent.hcl line 3:\n   3:   adress = \"x\"\n        ^^^^^^\n\nThere is no \"adress\"; did you mean \"address\"?\n"
	out["refused_reload"] = Report{Status: s}

	s = calm()
	evil := "<script>alert(1)</script>\x1b[2J\u202Exe"
	s.Host, s.Config, s.Version = evil, evil, evil
	n = node(&s, "input.docker_logs")
	n.State = graph.Failing
	n.Faults = []component.Fault{{Key: evil, What: "line one\nline two " + evil, Remedy: evil, Since: before(time.Minute), Count: 1}}
	n.Details[0] = component.Detail{Name: evil, State: evil, Via: evil, Note: evil, Last: now.Add(time.Hour)}
	n.Losses = map[string]uint64{evil: 1}
	s.Edges[0].LastErr, s.Edges[0].Errors, s.Edges[0].To = evil+"\xff", 1, evil
	s.ReloadError = evil
	s.Ready, s.NotReady = false, []string{evil}
	out["hostile"] = Report{Status: s}
	return out
}
