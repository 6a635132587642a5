// Package ecs reads what a task of Amazon ECS or Fargate is told about itself: the task metadata endpoint, version 4
// (https://docs.aws.amazon.com/AmazonECS/latest/developerguide/task-metadata-endpoint-v4.html).
//
// AWS extends the answers and changes them unannounced, so they are read with indulgence: what isn't known is passed over, what is missing or
// null is absent, and a field of another type than expected costs that field alone.
package ecs

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/hermod-agent/hermod/internal/httpclient"
	"github.com/hermod-agent/hermod/pipeline/component"
	"github.com/hermod-agent/hermod/pipeline/config"
)

// EndpointVariable is where ECS tells each container the address.
const EndpointVariable = "ECS_CONTAINER_METADATA_URI_V4"

const (
	// requestTimeout is the default of Options.Timeout: it is for an address of this machine, which answers in milliseconds.
	requestTimeout = 3 * time.Second
	// maxAnswer bounds an answer: a container takes about 6 KiB, and a task has ten.
	maxAnswer = 4 << 20
	// keptBuffer is how large a buffer is kept for the next answer.
	keptBuffer = 256 << 10
)

// Endpoint is the address that the environment names. getenv is os.LookupEnv when nil. The error says what to do.
func Endpoint(getenv func(string) (string, bool)) (config.URL, error) {
	if getenv == nil {
		getenv = os.LookupEnv
	}
	value, _ := getenv(EndpointVariable)
	if value = strings.TrimSpace(value); value == "" {
		return config.URL{}, component.WithRemedy(errors.New(EndpointVariable+" is not set, so this is no container of an ECS task"),
			"run the agent as a container of the task; ECS sets it on Fargate from platform version 1.4.0 on, and on EC2 from container agent 1.39.0 on")
	}
	u, err := config.ParseURL(value)
	if err == nil {
		err = Check(u)
	}
	if err != nil {
		return config.URL{}, component.WithRemedy(fmt.Errorf("%s: %w", EndpointVariable, err), "leave it as ECS sets it")
	}
	return u, nil
}

// Check says what is wrong with an endpoint.
func Check(u config.URL) error {
	switch {
	case u.Scheme != "http" && u.Scheme != "https":
		return fmt.Errorf("%s is not the address of an HTTP server; begin it with http://", u)
	case u.User != nil || u.RawQuery != "" || u.Fragment != "":
		return fmt.Errorf("%s has more than a host and a path; write it like http://169.254.170.2/v4/ID", u)
	}
	return nil
}

// TaskOf is the id of the task, where the endpoint's path holds it: on Fargate its last part is the id of a container, which is that of the
// task and a number. On EC2 it is something else, and the answer is "".
func TaskOf(endpoint config.URL) string {
	if !endpoint.IsSet() {
		return ""
	}
	path := strings.TrimSuffix(endpoint.Path, "/")
	id, number, found := strings.Cut(path[strings.LastIndexByte(path, '/')+1:], "-")
	if !found || len(id) != 32 || number == "" || strings.Trim(id, "0123456789abcdef") != "" || strings.Trim(number, "0123456789") != "" {
		return ""
	}
	return id
}

// Client asks one endpoint over one kept connection. It isn't safe for concurrent use but for Close.
type Client struct {
	endpoint config.URL
	http     *httpclient.Client
	timeout  time.Duration
	buf      bytes.Buffer
}

// Options of a Client.
type Options struct {
	UserAgent string
	// Timeout of a request; 0 means 3 s.
	Timeout time.Duration
	// Dial makes connections; a net.Dialer's when it isn't set.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)
}

// NewClient makes a client. It makes no connection yet.
func NewClient(endpoint config.URL, o Options) (*Client, error) {
	c, err := httpclient.New(endpoint, httpclient.Config{}, httpclient.Options{Name: "ecs", UserAgent: o.UserAgent, Dial: o.Dial})
	if err != nil {
		return nil, err
	}
	if o.Timeout <= 0 {
		o.Timeout = requestTimeout
	}
	return &Client{endpoint: endpoint, http: c, timeout: o.Timeout}, nil
}

// Close closes the connection.
func (c *Client) Close() { c.http.Close() }

// Task asks for the task and its containers. It may return both what could be read and an error.
func (c *Client) Task(ctx context.Context) (*Task, error) {
	t := new(Task)
	err := c.get(ctx, "/task", t)
	if t.TaskARN == "" && err == nil {
		err = c.odd("/task", errors.New("no TaskARN in it"))
	}
	if t.TaskARN == "" {
		return nil, err
	}
	return t, err
}

// Stats asks for the numbers of the containers by DockerId; those of a container that has none are nil. It may return both what could be read and
// an error.
func (c *Client) Stats(ctx context.Context) (map[string]*Stats, error) {
	stats := map[string]*Stats{}
	err := c.get(ctx, "/task/stats", &stats)
	for id, s := range stats {
		if !s.given() {
			delete(stats, id)
		}
	}
	return stats, err
}

func (c *Client) get(ctx context.Context, path string, into any) error {
	ctx, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, strings.TrimSuffix(c.endpoint.URL.String(), "/")+path, nil)
	if err != nil {
		return fmt.Errorf("the task metadata endpoint: %w", err)
	}
	resp, err := c.http.Do(r)
	if err == nil {
		defer resp.Body.Close()
		if c.buf.Reset(); c.buf.Cap() > keptBuffer {
			c.buf = bytes.Buffer{}
		}
		_, err = c.buf.ReadFrom(io.LimitReader(resp.Body, maxAnswer+1))
	}
	switch {
	case err != nil:
		told, _ := c.http.Explain(err)
		_, what := component.Remedy(told)
		return component.WithRemedy(fmt.Errorf("the task metadata endpoint: %s", what),
			"see that the agent runs as a container of the task, and that nothing keeps it from that address")
	case resp.StatusCode == http.StatusTooManyRequests:
		return component.WithRemedy(c.answered(path, resp.StatusCode), "it is asked too often by the containers of this task together: set a longer interval")
	case resp.StatusCode != http.StatusOK:
		return component.WithRemedy(c.answered(path, resp.StatusCode), "see that the address is the one that ECS gave this container")
	case c.buf.Len() > maxAnswer:
		return c.odd(path, fmt.Errorf("it has more than %s", config.Size(maxAnswer)))
	}
	if err := json.Unmarshal(c.buf.Bytes(), into); err != nil {
		return c.odd(path, err)
	}
	return nil
}

func (c *Client) answered(path string, status int) error {
	return fmt.Errorf("the task metadata endpoint %s%s answered %d (%s): %s", c.endpoint, path, status, http.StatusText(status), words(c.buf.Bytes()))
}

func (c *Client) odd(path string, err error) error {
	return component.WithRemedy(fmt.Errorf("the answer of the task metadata endpoint %s%s isn't what ECS gives: %w", c.endpoint, path, err),
		"see that the address is the one that ECS gave this container; if it is, please report this")
}

// words makes what a server said fit for a message: one line, bounded.
func words(text []byte) string {
	const most = 200
	text = bytes.TrimSpace(text)
	if len(text) > most {
		return fmt.Sprintf("%q...", text[:most])
	}
	return fmt.Sprintf("%q", text)
}
