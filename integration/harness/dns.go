//go:build integration

package harness

import (
	"net"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"golang.org/x/net/dns/dnsmessage"
)

// DNS knows one name, or doesn't.
type DNS struct {
	conn net.PacketConn

	mu    sync.Mutex // guards what follows
	name  string
	to    net.IP // nil: there is no such name
	asked int
}

// NewDNS starts a name server on an address of loopback that nobody else uses; a resolver has no other port than 53.
func NewDNS(t testing.TB, name string, to net.IP) *DNS {
	t.Helper()
	d := &DNS{name: name + ".", to: to}
	var err error
	for i := 1; i < 250; i++ {
		if d.conn, err = net.ListenPacket("udp4", net.IPv4(127, 53, 53, byte(i)).String()+":53"); err == nil {
			break
		}
	}
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan struct{})
	go func() {
		defer close(served)
		d.serve()
	}()
	t.Cleanup(func() {
		_ = d.conn.Close()
		<-served
	})
	return d
}

// Within is for AgentOptions: the agent asks this server and no other. It gets a mount namespace of its own for that.
func (d *DNS) Within(t testing.TB) []string {
	t.Helper()
	dir := Dir(t)
	host, _, _ := net.SplitHostPort(d.conn.LocalAddr().String())
	conf, hosts := filepath.Join(dir, "resolv.conf"), filepath.Join(dir, "hosts")
	if err := os.WriteFile(conf, []byte("nameserver "+host+"\noptions timeout:1 attempts:1\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(hosts, []byte("127.0.0.1 localhost\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	// What other tests have mounted isn't to be kept mounted by this.
	return []string{"unshare", "--mount", "--propagation", "slave", "sh", "-c", `for m in $(sed -n 's|^[^ ]* \([^ ]*/hermod-it-[^ ]*\) .*|\1|p' /proc/mounts); do umount "$m"; done
		mount --bind "$0" /etc/resolv.conf && mount --bind "$1" /etc/hosts && shift && exec "$@"`, conf, hosts}
}

// Lead leads the name elsewhere from now on; nil is nowhere.
func (d *DNS) Lead(to net.IP) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.to = to
}

// Asked is how many questions came.
func (d *DNS) Asked() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.asked
}

func (d *DNS) serve() {
	buffer := make([]byte, 1500)
	for {
		n, from, err := d.conn.ReadFrom(buffer)
		if err != nil {
			return
		}
		if answer := d.answer(buffer[:n]); answer != nil {
			d.conn.WriteTo(answer, from) //nolint:errcheck // who asks gives up or asks again
		}
	}
}

func (d *DNS) answer(question []byte) []byte {
	var m dnsmessage.Message
	if err := m.Unpack(question); err != nil || len(m.Questions) != 1 {
		return nil
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.asked++
	m.Response, m.Additionals = true, nil
	q := m.Questions[0]
	if q.Name.String() != d.name || d.to == nil {
		m.RCode = dnsmessage.RCodeNameError
	} else if q.Type == dnsmessage.TypeA {
		m.Answers = []dnsmessage.Resource{{
			Header: dnsmessage.ResourceHeader{Name: q.Name, Type: q.Type, Class: q.Class, TTL: 1}, Body: &dnsmessage.AResource{A: [4]byte(d.to.To4())},
		}}
	}
	out, err := m.Pack()
	if err != nil {
		return nil
	}
	return out
}
