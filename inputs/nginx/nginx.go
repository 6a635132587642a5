package nginx

import (
	"bytes"
	"context"
	"errors"
	"fmt"

	"github.com/hermod-agent/hermod/internal/discover"
	"github.com/hermod-agent/hermod/internal/httpclient"
	"github.com/hermod-agent/hermod/internal/target"
	"github.com/hermod-agent/hermod/pipeline/component"
	"github.com/hermod-agent/hermod/pipeline/config"
	"github.com/hermod-agent/hermod/pipeline/metrics"
)

// maxPage bounds what is read of a page. VTS writes about 2 KB a virtual host.
const maxPage = 16 << 20

// keptPage is how much memory is kept for the next page.
const keptPage = 1 << 20

// maxName is how long a name may be that becomes a label: Mimir refuses a series with a longer one.
const maxName = 2048

// input is one server.
type input struct {
	target *target.Target
	client *httpclient.Client
	url    config.URL // as it was written
	format string
	status *component.Status
	page   []byte // the last one; its memory is used again

	up   *metrics.Series
	stub stubSeries
	vts  vtsCollector // made when a page of VTS was seen first
	// makeVTS makes it under the names that the user wants.
	makeVTS func() vtsCollector
}

var (
	_ component.Collector = (*input)(nil)
	_ component.Instancer = (*input)(nil)
	_ component.Checker   = (*input)(nil)
	_ component.Stopper   = (*input)(nil)
	_ discover.Server     = (*input)(nil)
)

func open(env *component.Env, c *Config) (component.Collector, error) {
	if c.Discovery.Discover {
		return discover.New(discover.Options{
			Env: env, Port: 80, Labels: []string{"path", "host", "user"}, Secrets: c.Discovery.Secrets, Up: &upDesc,
			Open: func(env *component.Env, f discover.Found) (discover.Server, error) {
				own, err := c.labelled(&f)
				if err != nil {
					return nil, err
				}
				return openServer(env, own)
			},
		})
	}
	return openServer(env, c)
}

func openServer(env *component.Env, c *Config) (*input, error) {
	page, server, err := c.where()
	if err != nil {
		return nil, err
	}
	in := &input{url: c.URL, format: c.Format, status: env.Status, up: env.Series.New(&upDesc)}
	if in.target, err = target.Open(env, server, 80); err != nil {
		return nil, err
	}
	in.client, err = httpclient.New(page, c.HTTP, httpclient.Options{Name: "nginx", UserAgent: "hermod/" + env.Version, Dial: in.target.Dial})
	if err != nil {
		return nil, errors.Join(err, in.target.Close())
	}
	in.client.Warn(env.Status)
	in.stub = newStubSeries(env.Series)
	in.makeVTS = func() vtsCollector { return newNative(env.Series) }
	if c.Names == legacy {
		in.makeVTS = func() vtsCollector { return newLegacy(env.Series) }
	}
	return in, nil
}

// Instance is the server's address.
func (in *input) Instance() string { return in.target.String() }

// Stop lets the kept connection go.
func (in *input) Stop(context.Context) error {
	in.client.Close()
	return in.target.Close()
}

// Collect reads the page.
func (in *input) Collect(ctx context.Context, b *metrics.Batch) error {
	defer func() {
		if cap(in.page) > keptPage {
			in.page = nil
		}
	}()
	format, err := in.read(ctx)
	if err == nil {
		switch format {
		case vts:
			if in.vts == nil {
				in.vts = in.makeVTS()
			}
			err = in.collectVTS(b)
		default:
			err = in.collectStub(b)
		}
	}
	if err != nil {
		b.Samples = b.Samples[:0]
		b.Set(in.up, 0)
		return err
	}
	b.Set(in.up, 1)
	return nil
}

// read gets the page and says what it is.
func (in *input) read(ctx context.Context) (format string, err error) {
	reply, err := in.client.Get(ctx, in.page, maxPage)
	if err != nil {
		err, _ = in.client.Explain(err)
		return "", err
	}
	in.page = reply.Body
	if reply.Status != 200 {
		return "", in.refused(reply)
	}
	if reply.Truncated {
		return "", component.WithRemedy(fmt.Errorf("%s is larger than %d bytes", in.client.URL(), maxPage), "see what stands there; with VTS, vhost_traffic_status_filter_max_node bounds the number of its nodes")
	}
	body := bytes.TrimLeft(in.page, " \t\r\n")
	switch {
	case in.format != "":
		return in.format, nil
	case bytes.HasPrefix(body, []byte("{")):
		return vts, nil
	case bytes.HasPrefix(body, []byte("# HELP nginx_vts_")), bytes.HasPrefix(body, []byte("<")) && bytes.Contains(body, []byte("vhost")):
		return "", component.WithRemedy(fmt.Errorf("%s is a page of the module VTS, but not its JSON", in.client.URL()), "write the URL of the JSON, which ends in /format/json")
	}
	return stubStatus, nil
}

func (in *input) collectStub(b *metrics.Batch) error {
	s, err := parseStub(in.page)
	if err != nil {
		return in.notThePage(err)
	}
	in.stub.set(b, &s)
	return nil
}

func (in *input) collectVTS(b *metrics.Batch) error {
	s, err := parseVTS(in.page)
	if err != nil {
		return in.notThePage(err)
	}
	var long error
	if example, n := s.leaveOutLongNames(); n > 0 {
		long = component.WithRemedy(fmt.Errorf("%d counts of VTS are left out: their names are longer than %d bytes; one begins with %q", n, maxName, example[:40]),
			"see what vhost_traffic_status_filter_by_set_key makes a name of")
	}
	in.status.Note("long names", long)
	in.vts.collect(b, s)
	return nil
}

// Check reads the page once.
func (in *input) Check(ctx context.Context, report func(component.Finding)) {
	what := "read " + in.url.String()
	b := new(metrics.Batch)
	err := in.Collect(ctx, b)
	f := component.Finding{What: what, Err: err}
	if err == nil {
		f.Detail = fmt.Sprintf("stub_status, %d series", len(b.Samples))
		if in.vts != nil {
			f.Detail = fmt.Sprintf("VTS, %d series", len(b.Samples))
		}
	}
	report(f)
}
