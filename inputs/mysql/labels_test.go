package mysql

import (
	"slices"
	"strings"
	"testing"

	"github.com/hermod-agent/hermod/internal/discover"
	"github.com/hermod-agent/hermod/pipeline/component"
	"github.com/hermod-agent/hermod/pipeline/config"
)

func TestLabelsSayAsWhomAndWhatAndNeverWhere(t *testing.T) {
	cfg := defaults()
	cfg.User, cfg.Collect = "exporter", []string{"binlog_size"}
	found := func(labels map[string]string, secret string) *discover.Found {
		return &discover.Found{Container: "shop_db", Address: address(t, "container://shop_db:3307"), Labels: labels, Secret: config.NewSecret(secret)}
	}
	own, err := cfg.labelled(found(map[string]string{"user": "monitor", "collect": "slave_hosts, heartbeat"}, "of the label"))
	if err != nil {
		t.Fatal(err)
	}
	l, err := own.login()
	if err != nil || l.address.String() != "container://shop_db:3307" || l.driver.User != "monitor" || l.driver.Passwd != "of the label" {
		t.Errorf("%+v, %v", l.address, err)
	}
	if !slices.Equal(own.Collect, []string{"binlog_size", "slave_hosts", "heartbeat"}) || len(cfg.Collect) != 1 {
		t.Errorf("%v, the block's own %v", own.Collect, cfg.Collect)
	}
	if own, err = cfg.labelled(found(nil, "")); err != nil || own.User != "exporter" {
		t.Errorf("%v, %v", own, err)
	}
	_, err = cfg.labelled(found(map[string]string{"collect": "slavehosts"}, ""))
	if remedy, what := component.Remedy(err); !strings.Contains(what, `did you mean "slave_hosts"?`) || remedy == "" {
		t.Error(err)
	}
}
