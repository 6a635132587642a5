package mysql

import (
	"context"
	"fmt"
	"strings"

	"github.com/hermod-agent/hermod/pipeline/metrics"
)

// binlogSize adds the binary logs up. A server that writes none has no numbers.
type binlogSize struct{ size, files, last *metrics.Series }

func newBinlogSize(m *making) collector {
	return &binlogSize{
		size:  m.series.New(gauge("mysql_binlog_size_bytes", "Combined size of all registered binlog files.")),
		files: m.series.New(gauge("mysql_binlog_files", "Number of registered binlog files.")),
		last:  m.series.New(gauge("mysql_binlog_file_number", "The last binlog file number.")),
	}
}

func (c *binlogSize) collect(ctx context.Context, s *session, b *metrics.Batch) error {
	on, _, err := s.scalar(ctx, "SELECT @@log_bin")
	if err != nil || on == "0" {
		return err
	}
	r, err := s.query(ctx, "SHOW BINARY LOGS")
	if err != nil {
		return err
	}
	defer r.close()
	var size float64
	var name []byte
	files := 0
	for {
		row, err := r.next()
		if err != nil {
			return err
		}
		if row == nil {
			break
		}
		if len(row) < 2 {
			return &columnError{"SHOW BINARY LOGS", fmt.Sprintf("has %d columns in place of a name and a size", len(row))}
		}
		n, ok := number(row[1])
		if !ok {
			return &columnError{"SHOW BINARY LOGS", fmt.Sprintf("has a size that is not a number: %q", text(nil, row[1]))}
		}
		size += n
		files++
		name = text(name[:0], row[0])
	}
	b.Set(c.size, size)
	b.Set(c.files, float64(files))
	b.Set(c.last, binlogNumber(string(name)))
	return nil
}

// binlogNumber is the number in binlog.000123; 0 where there is none.
func binlogNumber(name string) float64 {
	_, after, _ := strings.Cut(name, ".")
	digits, _, _ := strings.Cut(after, ".")
	n, _ := parseNumber([]byte(digits))
	return n
}

// replicaHosts lists the replicas that are connected.
type replicaHosts struct{ rows info }

func newReplicaHosts(m *making) collector {
	return &replicaHosts{info{series: m.series, desc: gauge("mysql_heartbeat_mysql_slave_hosts_info", "Information about running slaves")}}
}

// replicaHostsStatement changed its name in MySQL 8.0.22 and lost the old one in 8.4. The columns count, not their names: server, host, port,
// then the source's id and the replica's UUID, or before MySQL 5.6 a rank and the source's id, or in MariaDB the source's id alone.
func replicaHostsStatement(v version) string {
	if v.mysqlSince(8, 0, 22) {
		return "SHOW REPLICAS"
	}
	return "SHOW SLAVE HOSTS"
}

func (c *replicaHosts) collect(ctx context.Context, s *session, b *metrics.Batch) error {
	statement := replicaHostsStatement(s.version)
	r, err := s.query(ctx, statement)
	if err != nil {
		return err
	}
	defer r.close()
	for {
		row, err := r.next()
		if err != nil || row == nil {
			return err
		}
		if len(row) < 4 {
			return &columnError{statement, fmt.Sprintf("has %d columns in place of four or five", len(row))}
		}
		cells := make([]string, len(row))
		for i, cell := range row {
			cells[i] = string(text(nil, cell))
		}
		source, uuid := cells[3], ""
		if len(cells) > 4 {
			if isUUID(cells[4]) {
				uuid = cells[4]
			} else {
				source = cells[4]
			}
		}
		c.rows.set(b, "server_id", cells[0], "slave_host", cells[1], "port", cells[2], "master_id", source, "slave_uuid", uuid)
	}
}

// isUUID says whether s looks like 00000000-0000-0000-0000-000000000000.
func isUUID(s string) bool {
	if len(s) != 36 {
		return false
	}
	for i, c := range []byte(s) {
		hex := c >= '0' && c <= '9' || c >= 'a' && c <= 'f' || c >= 'A' && c <= 'F'
		if dash := i == 8 || i == 13 || i == 18 || i == 23; dash && c != '-' || !dash && !hex {
			return false
		}
	}
	return true
}
