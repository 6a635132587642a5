//go:build integration

package torture

import (
	"fmt"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/hermod-agent/hermod/integration/harness"
)

// The way to the backend: names, certificates, redirects, and how much goes over it at once.

func TestNamesThatLeadElsewhere(t *testing.T) {
	t.Parallel()
	const name = "backend.test"
	requireRoot(t)
	for _, u := range users {
		t.Run(u.name, func(t *testing.T) {
			t.Parallel()
			dns := harness.NewDNS(t, name, net.IPv4(127, 0, 0, 1))
			loki, samples := harness.NewLoki(t), harness.NewRemoteWrite(t)
			p := newPair(t, backends, "the backend's name can't be resolved, then leads to another address", pairOptions{
				user: u, loki: loki, samples: samples, agent: harness.AgentOptions{Within: dns.Within(t)},
			}, 26)
			p.agent.Overwrite(strings.NewReplacer(loki.URL(), named(loki.URL(), name), samples.URL(), named(samples.URL(), name)).Replace(config(p.world)))
			p.start()
			p.flows()
			p.while(200, func() {
				dns.Lead(nil)
				loki.Gone()
				samples.Gone()
				p.why("output.loki.lines", name)
				p.why("output.remote_write.samples", name)
				lasts(length(2*time.Second, time.Minute))
				loki.BackAt("127.0.0.2")
				samples.BackAt("127.0.0.2")
				dns.Lead(net.IPv4(127, 0, 0, 2))
			})
			p.conclude(0)
			p.noneAgain()
			p.healthy()
		})
	}
}

// named is a URL with a name in place of its address.
func named(url, name string) string { return strings.Replace(url, "127.0.0.1", name, 1) }

func TestCertificatesThatExpireAndAreReplaced(t *testing.T) {
	t.Parallel()
	requireRoot(t)
	for _, u := range users {
		t.Run(u.name, func(t *testing.T) {
			t.Parallel()
			first, second := harness.NewAuthority(t), harness.NewAuthority(t)
			loki, samples := harness.NewLoki(t), harness.NewRemoteWrite(t)
			secure := func(a *harness.Authority, until time.Time) {
				loki.Secure(a.Sign(until))
				samples.Secure(a.Sign(until))
			}
			secure(first, time.Now().Add(time.Hour))
			ca := harness.Dir(t) + "/ca.pem"
			trust := func(a *harness.Authority) {
				if err := os.WriteFile(ca+".new", a.PEM, 0o644); err != nil {
					t.Fatal(err)
				}
				if err := os.Rename(ca+".new", ca); err != nil {
					t.Fatal(err)
				}
			}
			trust(first)
			p := newPair(t, backends, "the backend's certificate expires, and is replaced by one of another authority", pairOptions{
				user: u, loki: loki, samples: samples, outputs: fmt.Sprintf("  tls {\n    ca_file = %q\n  }", ca),
			}, 26)
			p.start()
			p.flows()
			p.while(200, func() {
				secure(first, time.Now().Add(-time.Hour))
				p.why("output.loki.lines", "expired")
				p.why("output.remote_write.samples", "expired")
				secure(second, time.Now().Add(time.Hour))
				trust(second)
			})
			p.conclude(0)
			p.noneAgain()
			p.healthy()
		})
	}
}

func TestRedirectsAreNotFollowed(t *testing.T) {
	t.Parallel()
	requireRoot(t)
	for _, u := range users {
		t.Run(u.name, func(t *testing.T) {
			t.Parallel()
			elsewhere := harness.NewLoki(t)
			p := newPair(t, backends, "the backend redirects to another host", pairOptions{
				user: u, outputs: "  basic_auth {\n    username = \"hermod\"\n    password = \"canary-7f3a\"\n  }",
			}, 27, 21)
			p.start()
			p.flows()
			p.while(200, func() {
				for _, status := range []int{http.StatusFound, http.StatusTemporaryRedirect, http.StatusPermanentRedirect} {
					p.loki.Answer(harness.Answer{Status: status, Location: elsewhere.URL()})
					p.samples.Answer(harness.Answer{Status: status, Location: strings.Replace(elsewhere.URL(), "/loki/api/v1/push", "/api/v1/write", 1)})
					if status == http.StatusFound {
						p.why("output.loki.lines", "302", elsewhere.Address())
						p.why("output.remote_write.samples", "302", elsewhere.Address())
					}
					if !full() {
						break
					}
					lasts(40 * time.Second)
				}
				p.loki.Answer(harness.Answer{})
				p.samples.Answer(harness.Answer{})
			})
			p.conclude(0)
			p.noneAgain()
			if seen := elsewhere.Seen(); len(seen) > 0 {
				t.Errorf("the other host was asked %d times", len(seen))
			}
			if strings.Contains(p.agent.Log(), "canary-7f3a") {
				t.Error("the log shows the password")
			}
			p.healthy()
		})
	}
}

func TestBodiesThatAreTooLarge(t *testing.T) {
	t.Parallel()
	everyPair(t, backends, "413 for bodies over 24 KB", pairOptions{}, func(p *pair) {
		limit := harness.Answer{Limit: 24 << 10}
		p.loki.Answer(limit)
		p.samples.Answer(limit)
		p.start()
		p.flows()
		p.noise(2000, 300)
		want := len(p.log.want())
		p.noise(1, 60_000) // doesn't fit alone
		for text := range p.log.others {
			if len(text) > 24<<10 {
				delete(p.log.others, text)
			}
		}
		p.while(500, func() { lasts(length(3*time.Second, time.Minute)) })
		p.conclude(0)
		p.noneAgain()
		if n := p.loki.Answers()[http.StatusRequestEntityTooLarge]; n < 10 {
			p.Errorf("bodies were refused %d times, of %d lines", n, want)
		}
		harness.Eventually(p.T, patience, "the line that doesn't fit alone is counted", func() (bool, string) {
			lost := p.losses("output.loki.lines")
			n := uint64(0)
			for _, c := range lost {
				n += c
			}
			return n == 1, fmt.Sprint(lost)
		})
		aside, err := os.ReadDir(p.agent.QueueDir("output.loki.lines") + "/aside")
		if err != nil || len(aside) != 1 {
			p.Errorf("what doesn't fit alone is kept aside: %v, %v", aside, err)
		}
		p.lines.Written, p.lines.Note = p.lines.Written+1, fmt.Sprintf("1 line that doesn't fit alone is counted %v and kept aside", p.losses("output.loki.lines"))
		p.healthy()
	}, 22)
}
