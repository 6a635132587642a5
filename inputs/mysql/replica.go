package mysql

import (
	"bytes"
	"context"
	"database/sql/driver"
	"slices"

	"github.com/hermod-agent/hermod/internal/pseudofile"
	"github.com/hermod-agent/hermod/pipeline/metrics"
)

// replicaStatus is the status of the channels, or connections, over which the server replicates from others.
type replicaStatus struct {
	series    *metrics.Registry
	statement string // that this server understands; "" until it was found
	asked     version

	channels metrics.Table[*channel]
	key      []byte
}

// channel is a row of the replica status.
type channel struct {
	labels  []string // name, value, ...
	columns []variable
	gtids   metrics.Table[*metrics.Series]
}

func newReplicaStatus(m *making) collector { return &replicaStatus{series: m.series} }

// replicaStatements are the statements to try, the right one first. The columns' names depend on the statement, and metrics are named after
// the columns: SHOW SLAVE STATUS is asked as long as the server knows it, as mysqld_exporter does, because dashboards read
// mysql_slave_status_slave_io_running. MySQL 8.4 has SHOW REPLICA STATUS alone. Before MySQL 5.7.6 the statement waited for a STOP SLAVE
// that hung, unless Percona's NOLOCK or the NONBLOCKING of early 5.7 was given. MariaDB has a statement for all its connections.
func replicaStatements(v version) []string {
	switch {
	case v.mariadb:
		return []string{"SHOW ALL SLAVES STATUS"}
	case v.since(8, 4, 0):
		return []string{"SHOW REPLICA STATUS"}
	case v.since(5, 7, 6):
		return []string{"SHOW SLAVE STATUS"}
	}
	return []string{"SHOW SLAVE STATUS NONBLOCKING", "SHOW SLAVE STATUS NOLOCK", "SHOW SLAVE STATUS"}
}

func (c *replicaStatus) collect(ctx context.Context, s *session, b *metrics.Batch) error {
	r, err := c.query(ctx, s)
	if err != nil {
		return err
	}
	defer r.close()
	defer c.channels.Sweep(b.Cycle)
	columns := r.columns()
	for {
		row, err := r.next()
		if err != nil || row == nil {
			return err
		}
		c.set(columns, row, b)
	}
}

// query sends the statement that this server understands.
func (c *replicaStatus) query(ctx context.Context, s *session) (*result, error) {
	if c.statement != "" && c.asked == s.version {
		return s.query(ctx, c.statement)
	}
	candidates := replicaStatements(s.version)
	for {
		r, err := s.query(ctx, candidates[0])
		if isServerError(err, errParse) && len(candidates) > 1 {
			candidates = candidates[1:]
			continue
		}
		if err == nil {
			c.statement, c.asked = candidates[0], s.version
		}
		return r, err
	}
}

func (c *replicaStatus) set(columns []string, row []driver.Value, b *metrics.Batch) {
	var host, uuid, name, connection, ioPosition, replicaPosition []byte
	for i, column := range columns {
		cell, _ := row[i].([]byte)
		switch column {
		case "Master_Host", "Source_Host":
			host = cell
		case "Master_UUID", "Source_UUID":
			uuid = cell
		case "Channel_Name":
			name = cell
		case "Connection_name":
			connection = cell
		case "Gtid_IO_Pos":
			ioPosition = cell
		case "Gtid_Slave_Pos":
			replicaPosition = cell
		}
	}
	c.key = c.key[:0]
	for _, part := range [...][]byte{host, uuid, name, connection} {
		c.key = append(append(c.key, part...), 0xff)
	}
	ch := *c.channels.Row(c.key, b.Cycle, newChannel)
	if len(ch.columns) != len(columns) {
		ch.columns = make([]variable, len(columns))
	}
	var scratch [32]byte
	for i, column := range columns {
		v := &ch.columns[i]
		if v.name != column {
			*v = variable{name: column}
		}
		raw, isText := row[i].([]byte)
		if !isText {
			raw = text(scratch[:0], row[i])
		}
		value, ok := v.state.read(raw)
		if !ok {
			continue
		}
		if v.series == nil {
			v.series = c.series.New(&metrics.Desc{
				Name: "mysql_slave_status_" + metricName(column), Help: "Generic metric from SHOW SLAVE STATUS.",
			}, ch.labels...)
		}
		b.Set(v.series, value)
	}
	c.setPosition(ch, "Gtid_IO_Pos", ioPosition, b)
	c.setPosition(ch, "Gtid_Slave_Pos", replicaPosition, b)
}

func newChannel(key string) *channel {
	parts := splitKey(key)
	return &channel{labels: []string{"master_host", parts[0], "master_uuid", parts[1], "channel_name", parts[2], "connection_name", parts[3]}}
}

// setPosition takes a position of MariaDB's GTIDs apart: domain-server-sequence, a comma between several
// (https://mariadb.com/kb/en/gtid/).
func (c *replicaStatus) setPosition(ch *channel, name string, position []byte, b *metrics.Batch) {
	for len(position) > 0 {
		var gtid []byte
		gtid, position, _ = bytes.Cut(position, []byte{','})
		domain, rest, ok := bytes.Cut(gtid, []byte{'-'})
		server, number, ok2 := bytes.Cut(rest, []byte{'-'})
		sequence, ok3 := pseudofile.ParseUint(number)
		if !ok || !ok2 || !ok3 {
			continue
		}
		c.key = append(append(c.key[:0], name...), 0xff)
		c.key = append(append(append(append(c.key, domain...), 0xff), server...), 0xff)
		b.Set(*ch.gtids.Row(c.key, b.Cycle, func(key string) *metrics.Series {
			parts := splitKey(key)
			return c.series.New(gauge("mysql_slave_status_"+metricName(parts[0]), parts[0]+" metric from SHOW SLAVE STATUS."),
				slices.Concat(ch.labels, []string{"domain_id", parts[1], "server_id", parts[2]})...)
		}), float64(sequence))
	}
	ch.gtids.Sweep(b.Cycle)
}
