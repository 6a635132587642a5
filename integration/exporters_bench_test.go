//go:build integration

package integration

import (
	"fmt"
	"net/http"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/hermod-agent/hermod/integration/harness"
)

// BenchmarkExporters gives the CPU time of one scrape of a server through the agent and through its exporter, both of the same server and without
// compression, one after the other in one run. The agent's budget is a third of the exporter's.
//
//	go test -tags integration -run xxx -bench Exporters -benchtime 300x -count 5 ./integration
func BenchmarkExporters(b *testing.B) {
	for _, name := range []string{"mysql", "redis", "nginx"} {
		b.Run(name, func(b *testing.B) {
			s := benchServers[name](b)
			listen := harness.FreeAddress(b)
			agent := harness.NewAgent(b, harness.AgentOptions{Config: s.input(0) + fmt.Sprintf("output \"prometheus\" {\n  from = input\n  listen = %q\n  max_age = \"0s\"\n}\n", listen)})
			agent.Start()
			agent.AwaitReady()
			b.Run("agent", func(b *testing.B) { scrapes(b, "http://"+listen+"/metrics", agent.PID()) })
			b.Run("exporter", func(b *testing.B) { scrapes(b, s.exporter, s.pid) })
		})
	}
}

// BenchmarkInputMemory gives what inputs add to the agent's resident memory, in MB: beside the machine's own numbers, which are scraped as well, the
// first input of a kind and each of ten more. What isn't heap is pages of the program that are touched for the first time. The budget is 3 MB.
//
//	go test -tags integration -run xxx -bench InputMemory -benchtime 3x ./integration
func BenchmarkInputMemory(b *testing.B) {
	for _, name := range []string{"mysql", "redis", "nginx"} {
		b.Run(name, func(b *testing.B) {
			s := benchServers[name](b)
			listen := harness.FreeAddress(b)
			agent := harness.NewAgent(b, harness.AgentOptions{})
			resting := func(inputs int) (rss, anonymous float64) {
				config := "input \"host\" {}\n"
				for i := range inputs {
					config += s.input(i)
				}
				agent.Configure(config + fmt.Sprintf("output \"prometheus\" {\n  from = input\n  listen = %q\n  max_age = \"0s\"\n}\n", listen))
				agent.Start()
				defer agent.Stop()
				agent.AwaitReady()
				for range 500 { // garbage has been collected several times then, without inputs too
					fetchPlain(b, "http://"+listen+"/metrics")
				}
				return memoryOf(b, agent.PID())
			}
			const more = 10
			var first, heap, each float64
			for range b.N {
				none, noHeap := resting(0)
				one, oneHeap := resting(1)
				many, _ := resting(1 + more)
				first, heap, each = first+one-none, heap+oneHeap-noHeap, each+(many-one)/more
			}
			n := float64(b.N) * 1e6
			b.ReportMetric(first/n, "MB-first")
			b.ReportMetric(heap/n, "MB-heap-of-first")
			b.ReportMetric(each/n, "MB-each-more")
			b.ReportMetric(0, "ns/op")
		})
	}
}

// benched is a server with its exporter.
type benched struct {
	exporter string // the address of its page
	pid      int
	input    func(i int) string
}

var benchServers = map[string]func(*testing.B) benched{
	"mysql": func(b *testing.B) benched {
		images, network, password := harness.MySQLImages(b), harness.MySQLNetwork(b), "of-the-benchmark"
		m := harness.StartMySQL(b, images["MYSQL_IMAGE"], network)
		m.Await()
		m.SQL(fmt.Sprintf("CREATE USER exporter@'%%' IDENTIFIED BY '%s'; GRANT PROCESS, REPLICATION CLIENT, SELECT ON *.* TO exporter@'%%';", password))
		pageOf, exporter := harness.MysqldExporterIn(b, images["MYSQL_IMAGE"], network, "exporter", password)
		return benched{pageOf(m), exporter.PID(), func(i int) string {
			return fmt.Sprintf("input \"mysql\" \"i%d\" {\n  address = %q\n  user = \"exporter\"\n  password = %q\n}\n", i, m.Address(), password)
		}}
	},
	"redis": func(b *testing.B) benched {
		images, network := harness.Redis(b), harness.RedisNetwork(b)
		server := harness.RunRedis(b, images.Redis8, network, nil, "redis-server", "--protected-mode", "no", "--save", "")
		fillRedis(b, server)
		exporter := harness.RunRedis(b, images.Redis8, network, nil, "prometheus-redis-exporter", "-redis.addr", "redis://"+server.IP("")+":6379")
		page := "http://" + exporter.IP("") + ":9121/metrics"
		harness.Eventually(b, time.Minute, "redis_exporter answers", func() (bool, string) {
			_, err := harness.Fetch(page)
			return err == nil, fmt.Sprint(err)
		})
		return benched{page, exporter.PID(), func(i int) string {
			return fmt.Sprintf("input \"redis\" \"i%d\" {\n  address = %q\n}\n", i, server.IP(""))
		}}
	},
	"nginx": func(b *testing.B) benched {
		harness.RequireDocker(b)
		network := harness.Network(b)
		nginx := harness.Nginx(b, harness.ContainerName("nginx"), "--network", network)
		page := fmt.Sprintf("http://%s:8080/stub_status", nginx.IP(network))
		url, pid := harness.NginxExporterProcess(b, page)
		return benched{url, pid, func(i int) string {
			return fmt.Sprintf("input \"nginx\" \"i%d\" {\n  url = %q\n}\n", i, page)
		}}
	},
}

// scrapes fetches a page b.N times and reports what the process used for each.
func scrapes(b *testing.B, page string, pid int) {
	for range 5 {
		fetchPlain(b, page)
	}
	before := cpuOf(b, pid)
	b.ResetTimer()
	for range b.N {
		fetchPlain(b, page)
	}
	b.StopTimer()
	b.ReportMetric(float64((cpuOf(b, pid)-before).Microseconds())/float64(b.N), "cpu-µs/op")
}

// fetchPlain fetches a page without compression.
func fetchPlain(b *testing.B, page string) {
	b.Helper()
	request, err := http.NewRequestWithContext(b.Context(), http.MethodGet, page, nil)
	if err != nil {
		b.Fatal(err)
	}
	request.Header.Set("Accept-Encoding", "identity")
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		b.Fatal(err)
	}
	defer response.Body.Close()
	if n, err := response.Body.Read(make([]byte, 1)); n == 0 || response.StatusCode != http.StatusOK {
		b.Fatal(response.Status, err)
	}
	buf := make([]byte, 64<<10)
	for err == nil {
		_, err = response.Body.Read(buf)
	}
}

// cpuOf is the time that a process has used, by the clock that the kernel keeps for it (clock_getcpuclockid(3)).
func cpuOf(b *testing.B, pid int) time.Duration {
	b.Helper()
	const ofScheduler = 2 // CPUCLOCK_SCHED
	var at unix.Timespec
	if err := unix.ClockGettime(int32(^pid<<3|ofScheduler), &at); err != nil {
		b.Fatal(err)
	}
	return time.Duration(at.Nano())
}
