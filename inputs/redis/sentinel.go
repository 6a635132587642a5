package redis

import (
	"bytes"
	"context"
	"strings"

	"github.com/hermod-agent/hermod/pipeline/metrics"
)

// sentinel shows what a Sentinel knows of its masters beyond INFO (SENTINEL MASTERS, CKQUORUM, SENTINELS, SLAVES).
type sentinel struct {
	in       *input
	watched  []watched // of this collection
	settings []sentinelSetting

	quorum                *family
	okSentinels, okSlaves *family
	peer                  *family
	settingText, setting  *family
}

// watched is a master.
type watched struct{ name, address string }

// sentinelSetting is a number of SENTINEL MASTERS.
type sentinelSetting struct {
	field  string
	millis bool // the metric is in seconds
	family *family
}

func newSentinel(in *input) *sentinel {
	master := func(name, help string) *family {
		return in.family(gauge("sentinel_master_"+name, help), "master_name", "master_address")
	}
	return &sentinel{
		in: in,
		settings: []sentinelSetting{
			{"quorum", false, master("setting_ckquorum", "Show the current ckquorum config for each master")},
			{"failover-timeout", false, master("setting_failover_timeout", "Show the current failover-timeout config for each master")},
			{"parallel-syncs", false, master("setting_parallel_syncs", "Show the current parallel-syncs config for each master")},
			{"down-after-milliseconds", false, master("setting_down_after_milliseconds", "Show the current down-after-milliseconds config for each master")},
			{"config-epoch", false, master("config_epoch", "The configuration epoch of the master (increments on each failover)")},
			{"last-ok-ping-reply", true, master("last_ok_ping_reply_seconds", "Elapsed time in seconds since the last successful ping reply from the master")},
		},
		quorum:      in.family(gauge("sentinel_master_ckquorum_status", "Master ckquorum status"), "master_name", "message"),
		okSentinels: master("ok_sentinels", "The number of okay sentinels monitoring this master"),
		okSlaves:    master("ok_slaves", "The number of okay slaves of the master"),
		peer: in.family(gauge("sentinel_peer_info", "Other Sentinel peers discovered via SENTINEL SENTINELS (one scrape from one Sentinel)"),
			"master_name", "master_address", "name", "ip", "port", "runid", "flags"),
		settingText: in.family(gauge("sentinel_config_key_value", "Sentinel global config key and value"), "key", "value"),
		setting:     in.family(gauge("sentinel_config_value", "Sentinel global config key and value as metric"), "key"),
	}
}

// masters shows an array of masters, each an array of names and values in turn.
func (s *sentinel) masters(v value, b *metrics.Batch) {
	for i := range v.len() {
		m := v.at(i)
		name, hasName := m.field("name")
		ip, hasIP := m.field("ip")
		port, hasPort := m.field("port")
		if !hasName || !hasIP || !hasPort {
			continue
		}
		w := watched{name: string(name.text()), address: string(ip.text()) + ":" + string(port.text())}
		s.watched = append(s.watched, w)
		for _, setting := range s.settings {
			n := 0.0
			if at, ok := m.field(setting.field); ok {
				n, _ = parseFloat(at.text())
			}
			if setting.millis {
				n /= 1000
			}
			setting.family.set(b, n, []byte(w.name), []byte(w.address))
		}
	}
}

// ask goes on with each master that masters found.
func (s *sentinel) ask(ctx context.Context, b *metrics.Batch) error {
	found := s.watched
	s.watched = s.watched[:0]
	if len(found) == 0 {
		return nil
	}
	var request []call
	for _, w := range found {
		request = append(request, words("SENTINEL", "CKQUORUM", w.name), words("SENTINEL", "SENTINELS", w.name), words("SENTINEL", "SLAVES", w.name))
	}
	replies, err := s.in.conn.exchange(ctx, request)
	if err != nil {
		return err
	}
	for i, w := range found {
		name, address := []byte(w.name), []byte(w.address)
		quorum, others, replicas := replies[3*i], replies[3*i+1], replies[3*i+2]
		well := 1.0
		if quorum.isError() {
			well = 0
		}
		s.quorum.set(b, well, name, quorum.text())
		sentinels, slaves := 1, 0 // this one is well
		for j := range others.len() {
			p := others.at(j)
			if s.in.cfg.IncludeSentinelPeerInfo {
				values := [7][]byte{name, address}
				for k, field := range [...]string{"name", "ip", "port", "runid", "flags"} {
					if at, ok := p.field(field); ok {
						values[2+k] = at.text()
					}
				}
				s.peer.set(b, 1, values[:]...)
			}
			if isUp(p) {
				sentinels++
			}
		}
		for j := range replicas.len() {
			if isUp(replicas.at(j)) {
				slaves++
			}
		}
		s.okSentinels.set(b, float64(sentinels), name, address)
		s.okSlaves.set(b, float64(slaves), name, address)
	}
	return nil
}

// isUp says whether neither this Sentinel nor several hold another process to be down.
func isUp(p value) bool {
	flags, ok := p.field("flags")
	return ok && !bytes.Contains(flags.text(), []byte("o_down")) && !bytes.Contains(flags.text(), []byte("s_down"))
}

// config shows the settings that all masters of a Sentinel share, names and values in turn.
func (s *sentinel) config(v value, b *metrics.Batch) {
	for name, is := range v.pairs {
		setting, text := name.text(), is.text()
		if isPassword(setting) || strings.HasSuffix(string(setting), "-pass") {
			continue
		}
		s.settingText.set(b, 1, setting, text)
		if n, ok := parseFloat(text); ok {
			s.setting.set(b, n, setting)
		}
	}
}
