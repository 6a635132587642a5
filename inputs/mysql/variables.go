package mysql

import (
	"context"
	_ "embed"
	"strings"

	"github.com/hermod-agent/hermod/internal/pseudofile"
	"github.com/hermod-agent/hermod/pipeline/metrics"
)

// rocksdbHelp has the help texts of MyRocks' variables: name, tab, text, a line each. The other variables share one text.
//
//go:embed rocksdb.tsv
var rocksdbHelp string

// globalVariables is SHOW GLOBAL VARIABLES: a gauge for each variable that has a number, and a few words as labels.
type globalVariables struct {
	series    *metrics.Registry
	variables metrics.Table[variable]

	version, galera, isolation info
	gcache                     *metrics.Series
}

// variableTexts are the variables with words that are shown.
type variableTexts struct {
	innodbVersion, version, comment     string
	cluster, provider                   string // Galera's
	isolation, isolationUnderItsOldName string
}

func newGlobalVariables(m *making) collector {
	return &globalVariables{
		series:    m.series,
		version:   info{series: m.series, desc: gauge("mysql_version_info", "MySQL version and distribution.")},
		galera:    info{series: m.series, desc: gauge("mysql_galera_variables_info", "PXC/Galera variables information.")},
		isolation: info{series: m.series, desc: gauge("mysql_transaction_isolation", "MySQL transaction isolation.")},
	}
}

func (c *globalVariables) collect(ctx context.Context, s *session, b *metrics.Batch) error {
	r, err := s.query(ctx, "SHOW GLOBAL VARIABLES")
	if err != nil {
		return err
	}
	defer r.close()
	defer c.variables.Sweep(b.Cycle)
	var texts variableTexts
	for {
		row, err := r.next()
		if err != nil {
			return err
		}
		if row == nil {
			break
		}
		name, ok := row[0].([]byte)
		raw, isText := row[1].([]byte)
		if !ok || !isText {
			continue
		}
		v := c.variables.Row(name, b.Cycle, newVariable)
		value, ok := v.state.read(raw)
		if !ok {
			texts.take(v.name, raw)
			continue
		}
		if v.series == nil {
			v.series = c.newSeries(v.name)
		}
		b.Set(v.series, value)
	}
	c.setTexts(b, &texts)
	return nil
}

func (c *globalVariables) newSeries(name string) *metrics.Series {
	name = metricName(name)
	help := "Generic gauge metric from SHOW GLOBAL VARIABLES."
	if special := helpOf(name); special != "" {
		help = special
	}
	return c.series.New(&metrics.Desc{Name: "mysql_global_variables_" + name, Help: help, Kind: metrics.Gauge})
}

// helpOf finds the help text of a variable of MyRocks.
func helpOf(name string) string {
	if !strings.HasPrefix(name, "rocksdb_") {
		return ""
	}
	for line := range strings.Lines(rocksdbHelp) {
		if rest, ok := strings.CutPrefix(line, name+"\t"); ok {
			return strings.TrimSuffix(rest, "\n")
		}
	}
	return ""
}

// take keeps the value of a variable whose words are shown.
func (t *variableTexts) take(name string, value []byte) {
	switch name {
	case "innodb_version":
		t.innodbVersion = string(value)
	case "version":
		t.version = string(value)
	case "version_comment":
		t.comment = string(value)
	case "wsrep_cluster_name":
		t.cluster = string(value)
	case "wsrep_provider_options":
		t.provider = string(value)
	case "transaction_isolation":
		t.isolation = string(value)
	case "tx_isolation":
		t.isolationUnderItsOldName = string(value)
	}
}

func (c *globalVariables) setTexts(b *metrics.Batch, t *variableTexts) {
	c.version.set(b, "innodb_version", t.innodbVersion, "version", t.version, "version_comment", t.comment)
	if t.cluster != "" {
		c.galera.set(b, "wsrep_cluster_name", t.cluster)
	}
	if t.provider != "" {
		if c.gcache == nil {
			c.gcache = c.series.New(&metrics.Desc{Name: "mysql_galera_gcache_size_bytes", Help: "PXC/Galera gcache size.", Kind: metrics.Gauge, Unit: "bytes"})
		}
		b.Set(c.gcache, gcacheSize(t.provider))
	}
	if t.isolation == "" {
		t.isolation = t.isolationUnderItsOldName
	}
	if t.isolation != "" {
		c.isolation.set(b, "level", t.isolation)
	}
}

// gcacheSize finds "gcache.size = 128M;" among the options of Galera's provider, and gives it in bytes; 0 when it isn't there.
func gcacheSize(options string) float64 {
	_, after, found := strings.Cut(options, "gcache.size = ")
	if !found {
		return 0
	}
	size, _, found := strings.Cut(after, ";")
	if !found {
		return 0
	}
	unit := 1.0
	if digits, ok := strings.CutSuffix(size, "M"); ok {
		size, unit = digits, 1<<20
	} else if digits, ok := strings.CutSuffix(size, "G"); ok {
		size, unit = digits, 1<<30
	}
	n, ok := pseudofile.ParseUint([]byte(size))
	if !ok {
		return 0
	}
	return float64(n) * unit
}
