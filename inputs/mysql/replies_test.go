package mysql

import (
	"bufio"
	"context"
	"database/sql/driver"
	"flag"
	"fmt"
	"io"
	"net/url"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	mysql "github.com/go-sql-driver/mysql"

	"github.com/hermod-agent/hermod/pipeline/component"
	"github.com/hermod-agent/hermod/pipeline/config"
	"github.com/hermod-agent/hermod/pipeline/metrics"
)

// A file of replies is what a server answered: a line "> " with a statement, then a line of column names, then the rows, with tabs between
// the cells; or a line "! " with the number and the words of an error. Cells are percent-encoded; \N is a NULL, and i:, u: and f: are before
// what the driver gives as a number.
type replies struct {
	byText map[string]*reply
	asked  []string
	broken bool // the server ends each statement after the first row
}

type reply struct {
	columns []string
	rows    [][]driver.Value
	err     error
}

// squeeze writes a statement on one line.
func squeeze(statement string) string { return strings.Join(strings.Fields(statement), " ") }

func readReplies(t testing.TB, path string) *replies {
	t.Helper()
	file, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	r := &replies{byText: map[string]*reply{}}
	var now *reply
	lines := bufio.NewScanner(file)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		line := lines.Text()
		switch {
		case strings.HasPrefix(line, "#") || line == "":
		case strings.HasPrefix(line, "> "):
			now = &reply{}
			r.byText[line[2:]] = now
		case strings.HasPrefix(line, "! "):
			number, words, _ := strings.Cut(line[2:], " ")
			n, err := strconv.ParseUint(number, 10, 16)
			if err != nil {
				t.Fatalf("%s: %q", path, line)
			}
			now.err = &mysql.MySQLError{Number: uint16(n), Message: words}
		case now.columns == nil:
			now.columns = strings.Split(line, "\t")
		default:
			var row []driver.Value
			for _, cell := range strings.Split(line, "\t") {
				row = append(row, parseCell(t, cell))
			}
			if len(row) != len(now.columns) {
				t.Fatalf("%s: %d cells for %d columns: %q", path, len(row), len(now.columns), line)
			}
			now.rows = append(now.rows, row)
		}
	}
	if lines.Err() != nil {
		t.Fatal(lines.Err())
	}
	return r
}

func parseCell(t testing.TB, cell string) driver.Value {
	t.Helper()
	var v driver.Value
	var err error
	switch {
	case cell == `\N`:
	case strings.HasPrefix(cell, "i:"):
		v, err = strconv.ParseInt(cell[2:], 10, 64)
	case strings.HasPrefix(cell, "u:"):
		v, err = strconv.ParseUint(cell[2:], 10, 64)
	case strings.HasPrefix(cell, "f:"):
		v, err = strconv.ParseFloat(cell[2:], 64)
	default:
		var s string
		s, err = url.QueryUnescape(cell)
		v = []byte(s)
	}
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// formatCell is the reverse of parseCell.
func formatCell(v driver.Value) string {
	switch v := v.(type) {
	case nil:
		return `\N`
	case int64:
		return "i:" + strconv.FormatInt(v, 10)
	case uint64:
		return "u:" + strconv.FormatUint(v, 10)
	case float64:
		return "f:" + strconv.FormatFloat(v, 'g', -1, 64)
	case float32:
		return "f:" + strconv.FormatFloat(float64(v), 'g', -1, 32)
	}
	plain := string(text(nil, v))
	escaped := strings.NewReplacer("%", "%25", "\t", "%09", "\n", "%0A", "\r", "%0D", "+", "%2B", "\\", "%5C").Replace(plain)
	for _, prefix := range []string{"i:", "u:", "f:", "> ", "! ", "#"} {
		if strings.HasPrefix(escaped, prefix) {
			escaped = fmt.Sprintf("%%%02X", escaped[0]) + escaped[1:]
		}
	}
	return escaped
}

// Prepare and Begin are not used.
func (r *replies) Prepare(string) (driver.Stmt, error) { return nil, driver.ErrSkip }
func (r *replies) Begin() (driver.Tx, error)           { return nil, driver.ErrSkip }
func (r *replies) Close() error                        { return nil }
func (r *replies) Ping(context.Context) error          { return nil }

func (r *replies) ExecContext(context.Context, string, []driver.NamedValue) (driver.Result, error) {
	return driver.ResultNoRows, nil
}

func (r *replies) QueryContext(_ context.Context, statement string, args []driver.NamedValue) (driver.Rows, error) {
	statement = squeeze(statement)
	r.asked = append(r.asked, statement)
	for _, a := range args {
		statement += fmt.Sprintf(" -- %v", a.Value)
	}
	found := r.byText[statement]
	if found == nil {
		return nil, &mysql.MySQLError{Number: errParse, Message: "no reply is recorded for: " + statement}
	}
	if found.err != nil {
		return nil, found.err
	}
	return &replyRows{reply: found, broken: r.broken}, nil
}

type replyRows struct {
	reply  *reply
	next   int
	broken bool
}

func (r *replyRows) Columns() []string { return r.reply.columns }
func (r *replyRows) Close() error      { return nil }
func (r *replyRows) Next(into []driver.Value) error {
	switch {
	case r.next == len(r.reply.rows):
		return io.EOF
	case r.broken && r.next == 1:
		return &mysql.MySQLError{Number: errStatementTime, Message: "Query execution was interrupted, maximum statement execution time exceeded"}
	}
	copy(into, r.reply.rows[r.next])
	r.next++
	return nil
}

var (
	recordFrom = flag.String("record-from", "", "host:port of a server to record replies from, for TestRecord")
	recordTo   = flag.String("record-to", "", "file that TestRecord writes")
)

// recorder writes down what a server answers; long answers are cut.
type recorder struct {
	conn
	out *strings.Builder
}

func (r *recorder) QueryContext(ctx context.Context, statement string, args []driver.NamedValue) (driver.Rows, error) {
	rows, err := r.conn.QueryContext(ctx, statement, args)
	fmt.Fprintf(r.out, "\n> %s", squeeze(statement))
	for _, a := range args {
		fmt.Fprintf(r.out, " -- %v", a.Value)
	}
	r.out.WriteByte('\n')
	if err != nil {
		if e := serverError(err); e != nil {
			fmt.Fprintf(r.out, "! %d %s\n", e.Number, e.Message)
		}
		return nil, err
	}
	all := &reply{columns: rows.Columns()}
	for i, name := range all.columns {
		if i > 0 {
			r.out.WriteByte('\t')
		}
		r.out.WriteString(squeeze(name)) // that of an expression is its text
	}
	r.out.WriteByte('\n')
	for {
		row := make([]driver.Value, len(all.columns))
		if err := rows.Next(row); err != nil {
			break
		}
		for i, v := range row {
			if b, ok := v.([]byte); ok {
				row[i] = append([]byte(nil), b...)
			}
		}
		all.rows = append(all.rows, row)
		if most := 8; len(all.rows) <= most || strings.HasPrefix(statement, "SHOW GLOBAL") {
			for i, v := range row {
				if i > 0 {
					r.out.WriteByte('\t')
				}
				r.out.WriteString(formatCell(v))
			}
			r.out.WriteByte('\n')
		}
	}
	return &replyRows{reply: all}, rows.Close()
}

// TestRecord records the replies of a server to all collectors:
//
//	go test ./inputs/mysql -run TestRecord -record-from 172.18.0.2:3306 -record-to inputs/mysql/testdata/mysql-9.7.replies
//
// as the user exporter, whose password is in HERMOD_MYSQL_PASSWORD.
func TestRecord(t *testing.T) {
	if *recordFrom == "" {
		t.Skip("no -record-from")
	}
	cfg := defaults()
	cfg.Collect = names()
	var err error
	if cfg.Address, err = config.ParseAddress(*recordFrom); err != nil {
		t.Fatal(err)
	}
	cfg.User, cfg.Password = "exporter", config.NewSecret(os.Getenv("HERMOD_MYSQL_PASSWORD"))
	in, err := openServer(testEnv(), &cfg)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if err := in.connect(ctx); err != nil {
		t.Fatal(err)
	}
	r := &recorder{conn: in.session.conn, out: &strings.Builder{}}
	fmt.Fprintf(r.out, "# %s, recorded by TestRecord.\n\n> SELECT @@version, user(), current_user()\n@@version\tuser()\tcurrent_user()\n%s\t%s\t%s\n",
		in.session.version, in.session.version.text, in.session.user, formatCell([]byte(in.session.account)))
	in.session.conn = r
	var b metrics.Batch
	b.Begin(nil, 1, 0)
	if err := in.Collect(ctx, &b); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(*recordTo, []byte(r.out.String()), 0o644); err != nil {
		t.Fatal(err)
	}
	_ = in.Stop(ctx)
}

// testEnv is the environment of an input that is tested alone.
func testEnv() *component.Env {
	return &component.Env{Series: metrics.NewRegistry(), Host: component.Host{Name: "box"}}
}
