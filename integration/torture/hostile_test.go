//go:build integration

package torture

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hermod-agent/hermod/integration/harness"
	"github.com/hermod-agent/hermod/pipeline/graph"
)

const asked = "Servers that are asked"

// listener accepts connections for as long as the test lasts, and gives each to handle.
func listener(t *testing.T, handle func(c net.Conn)) (address string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	open := map[net.Conn]bool{}
	var served sync.WaitGroup
	served.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			mu.Lock()
			open[c] = true
			mu.Unlock()
			served.Go(func() {
				handle(c)
				mu.Lock()
				delete(open, c)
				mu.Unlock()
				c.Close()
			})
		}
	})
	t.Cleanup(func() {
		l.Close()
		mu.Lock()
		for c := range open {
			c.Close()
		}
		mu.Unlock()
		served.Wait()
	})
	return l.Addr().String()
}

// pages are what a server may answer that has been asked for its status.
func pages(t *testing.T, elsewhere string) map[string]http.HandlerFunc {
	var bomb bytes.Buffer
	z := gzip.NewWriter(&bomb)
	zeros := make([]byte, 1<<20)
	for range 1024 {
		if _, err := z.Write(zeros); err != nil {
			t.Fatal(err)
		}
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	flood := func(w http.ResponseWriter, r *http.Request) {
		for r.Context().Err() == nil {
			if _, err := w.Write(zeros); err != nil {
				return
			}
		}
	}
	vts := func(name string, n int) string {
		var b strings.Builder
		b.WriteString(`{"hostName":"h","nginxVersion":"1","loadMsec":1,"nowMsec":2,"connections":{"active":1,"reading":0,"writing":1,"waiting":0,"accepted":1,"handled":1,"requests":1},"serverZones":{`)
		for i := range n {
			if i > 0 {
				b.WriteByte(',')
			}
			fmt.Fprintf(&b, `"%s%d":{"requestCounter":1,"inBytes":1,"outBytes":1,"responses":{"1xx":0,"2xx":1,"3xx":0,"4xx":0,"5xx":0,"miss":0}}`, name, i)
		}
		b.WriteString("}}")
		return b.String()
	}
	return map[string]http.HandlerFunc{
		"endless": flood,
		"two_gigabytes": func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Length", fmt.Sprint(int64(2)<<30))
			flood(w, r)
		},
		"inflates": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Encoding", "gzip")
			w.Write(bomb.Bytes())
		},
		"hangs":     func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() },
		"redirects": func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, elsewhere, http.StatusFound) },
		"nonsense":  func(w http.ResponseWriter, _ *http.Request) { w.Write([]byte("\x00\xff{{{\x1b[31m")) },
		"one_line": func(w http.ResponseWriter, _ *http.Request) {
			w.Write(bytes.Repeat([]byte("Active connections: "), 500_000))
		},
		"twice": func(w http.ResponseWriter, _ *http.Request) {
			w.Write([]byte("Active connections: 1\nserver accepts handled requests requests\n 1 1 99999999999999999999999 1\n"))
		},
		"broken":  func(w http.ResponseWriter, _ *http.Request) { w.Write([]byte(vts("zone", 1000)[:30_000])) },
		longNames: func(w http.ResponseWriter, _ *http.Request) { w.Write([]byte(vts(strings.Repeat("z", 4<<20), 3))) },
		"refuses": func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "who are you", http.StatusUnauthorized) },
	}
}

// replies are what something that isn't quite Redis may answer.
var replies = map[string]func(c net.Conn){
	"bulk_of_2_gigabytes": func(c net.Conn) { talk(c, "$2147483647\r\n", true) },
	"endless_bulk":        func(c net.Conn) { talk(c, "+", true) },
	"deep":                func(c net.Conn) { talk(c, strings.Repeat("*1\r\n", 100_000), false) },
	"many":                func(c net.Conn) { talk(c, "*2147483647\r\n", true) },
	"nonsense":            func(c net.Conn) { talk(c, "HTTP/1.1 400 Bad Request\r\n\r\n", false) },
	"wrong_password":      func(c net.Conn) { talk(c, "-WRONGPASS invalid username-password pair or user is disabled.\r\n", false) },
	"hangs":               func(c net.Conn) { io.Copy(io.Discard, c) },
	"leaves":              func(net.Conn) {},
}

// talk answers every line that comes with the same; on says that what follows doesn't end.
func talk(c net.Conn, answer string, on bool) {
	in := bufio.NewReader(c)
	noise := bytes.Repeat([]byte("x"), 1<<20)
	for {
		if _, err := in.ReadString('\n'); err != nil {
			return
		}
		if _, err := io.WriteString(c, answer); err != nil {
			return
		}
		for on {
			if _, err := c.Write(noise); err != nil {
				return
			}
		}
	}
}

// longNames is the page that is read, but for what nothing could store.
const longNames = "long_names"

func TestServersThatAreHostile(t *testing.T) {
	requireRoot(t)
	t.Parallel()
	for _, u := range users {
		t.Run(u.name, func(t *testing.T) {
			t.Parallel()
			const password = "canary-51c9e2"
			elsewhere := make(chan string, 100)
			target := listener(t, func(c net.Conn) {
				select {
				case elsewhere <- c.RemoteAddr().String():
				default:
				}
			})
			p := newPair(t, asked, "pages and replies that don't end, inflate, redirect, hang, are nonsense; servers that aren't there or refuse", pairOptions{user: u}, 39, 40)
			var text strings.Builder
			var bad []string // addresses of inputs that must fail
			add := func(kind, name, body string) {
				fmt.Fprintf(&text, "\ninput %q %q {\n%s  interval = \"1s\"\n}\n", kind, name, body)
				bad = append(bad, "input."+kind+"."+name)
			}
			for name, handler := range pages(t, "http://"+target+"/latest/meta-data/") {
				server := &http.Server{Handler: handler}
				l, err := net.Listen("tcp", "127.0.0.1:0")
				if err != nil {
					t.Fatal(err)
				}
				served := make(chan struct{})
				go func() {
					defer close(served)
					if err := server.Serve(l); !errors.Is(err, http.ErrServerClosed) {
						t.Errorf("the page: %v", err)
					}
				}()
				t.Cleanup(func() {
					server.Close()
					<-served
				})
				add("nginx", name, fmt.Sprintf("  url = \"http://%s/status\"\n  basic_auth {\n    username = \"u\"\n    password = %q\n  }\n", l.Addr(), password))
			}
			bad = slices.DeleteFunc(bad, func(address string) bool { return address == "input.nginx."+longNames })
			for name, handle := range replies {
				add("redis", name, fmt.Sprintf("  address  = %q\n  password = %q\n", listener(t, handle), password))
			}
			mysql := func(address string) string {
				return fmt.Sprintf("  address  = %q\n  user     = \"u\"\n  password = %q\n", address, password)
			}
			add("mysql", "hangs", mysql(listener(t, replies["hangs"])))
			add("mysql", "leaves", mysql(listener(t, replies["leaves"])))
			add("mysql", "nonsense", mysql(listener(t, func(c net.Conn) { c.Write(bytes.Repeat([]byte("x"), 1<<20)) })))
			nobody := harness.FreeAddress(t)
			add("mysql", "nobody", mysql(nobody))
			add("redis", "nobody", fmt.Sprintf("  address = %q\n", nobody))
			add("nginx", "nobody", fmt.Sprintf("  url = \"http://%s/stub_status\"\n", nobody))
			p.agent.Overwrite(config(p.world) + text.String() + fmt.Sprintf(`
output "remote_write" "others" {
  from = [input.nginx, input.redis, input.mysql]
  url  = %q
}
`, harness.NewRemoteWrite(t).URL()))
			p.agent.Start()
			failing := func() (left []string, told string) {
				status, err := p.agent.Status()
				if err != nil {
					return []string{err.Error()}, ""
				}
				for _, address := range bad {
					n := harness.NodeOf(t, status, address)
					if n.State != graph.Failing || n.Why == "" {
						left = append(left, fmt.Sprintf("%s: %s %q", address, n.State, n.Why))
					}
				}
				if n := harness.NodeOf(t, status, "input.nginx."+longNames); n.State == graph.Failing || !strings.Contains(fmt.Sprint(n.Faults), "longer than") {
					left = append(left, fmt.Sprintf("%s: %s %.300v", longNames, n.State, n.Faults))
				}
				return left, fmt.Sprint(status)
			}
			var told string
			harness.Eventually(t, patience, "each input fails and says why", func() (bool, string) {
				var left []string
				left, told = failing()
				return len(left) == 0, strings.Join(left, "; ")
			})
			p.agent.AwaitReady()
			var err error
			if p.begun, err = p.agent.Resources(); err != nil {
				t.Fatal(err)
			}
			p.while(200, func() { lasts(length(10*time.Second, 5*time.Minute)) })
			p.conclude(0)
			p.noneAgain()
			select {
			case from := <-elsewhere:
				t.Errorf("a redirect was followed: %s", from)
			default:
			}
			metrics, err := p.agent.Get("/metrics")
			if err != nil {
				t.Fatal(err)
			}
			for where, text := range map[string]string{"log": p.agent.Log(), "status": told, "metrics": metrics} {
				if strings.Contains(text, password) {
					t.Errorf("the %s shows a password", where)
				}
			}
			p.numbers.Note = fmt.Sprintf("%d inputs that fail beside that of the numbers; the same with real MySQL, Redis and nginx servers: `integration`, in the same run of `make test`", len(bad))
			p.memory = 256 << 20
			p.lines.Note = "up to 16 MiB are read of each page, and the agent may take 256 MB"
			p.healthy()
		})
	}
}
