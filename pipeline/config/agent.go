package config

import (
	"fmt"
	"net"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Defaults of the agent block.
const (
	defaultListen   = "127.0.0.1:12345"
	defaultInterval = 15 * time.Second
	defaultTimeout  = 10 * time.Second
	defaultDrain    = 5 * time.Second

	minInterval = 10 * time.Millisecond
)

// DefaultAgent is the agent block that isn't written. Timeout is set once the interval is known.
func DefaultAgent() Agent {
	return Agent{
		Listen: defaultListen, Interval: Duration(defaultInterval), DrainTimeout: Duration(defaultDrain),
		LogLevel: "info", LogFormat: "logfmt",
	}
}

// finish sets what follows from the rest.
func (a *Agent) finish() {
	if a.Timeout == 0 {
		a.Timeout = Duration(timeoutFor(time.Duration(a.Interval)))
	}
}

// timeoutFor is the timeout of collections that nobody set.
func timeoutFor(interval time.Duration) time.Duration { return min(interval, defaultTimeout) }

// Validate checks what the types can't say.
func (a *Agent) Validate() []error {
	var errs []error
	fault := func(name, format string, args ...any) { errs = append(errs, Attr(name, fmt.Errorf(format, args...))) }
	if time.Duration(a.Interval) < minInterval {
		fault("interval", "the interval is at least %s", Duration(minInterval))
	}
	if a.Timeout > a.Interval {
		fault("timeout", "the timeout %s is longer than the interval %s", a.Timeout, a.Interval)
	}
	if a.Timeout <= 0 {
		fault("timeout", "the timeout is more than 0")
	}
	if what := listenFault(a.Listen); what != "" {
		fault("listen", "%s", what)
	}
	for _, name := range sortedKeys(a.Labels) {
		if summary, detail := labelFault(name); summary != "" {
			fault("labels", "%s: %s", summary, detail)
		}
	}
	if strings.TrimSpace(a.Host) != a.Host || strings.ContainsAny(a.Host, "\n\r\t") {
		fault("host", "the host's name has white space around it")
	}
	oneOf := func(name, value string, allowed []string) {
		if !slices.Contains(allowed, value) {
			fault(name, "%s is not one of %s%s", quoteShort(value), strings.Join(allowed, ", "), Suggest(value, allowed))
		}
	}
	oneOf("log_level", a.LogLevel, []string{"debug", "info", "warn", "error"})
	oneOf("log_format", a.LogFormat, []string{"logfmt", "json"})
	return errs
}

// listenFault says what is wrong with a listen address, or "".
func listenFault(address string) string {
	if address == "off" {
		return ""
	}
	if path, unix := strings.CutPrefix(address, "unix:"); unix {
		if !strings.HasPrefix(path, "/") {
			return fmt.Sprintf("%s is not an address to listen on: a socket is written unix:/path", quoteShort(address))
		}
		return ""
	}
	_, port, err := net.SplitHostPort(address)
	if err != nil {
		if n, err := strconv.Atoi(address); err == nil {
			return fmt.Sprintf("%s is not an address to listen on: write \"127.0.0.1:%d\"", quoteShort(address), n)
		}
		return fmt.Sprintf("%s is not an address to listen on: write it like \"127.0.0.1:12345\", or \"off\"", quoteShort(address))
	}
	if n, err := strconv.Atoi(port); err != nil || n < 0 || n > 65535 {
		return fmt.Sprintf("%s is not an address to listen on: the port is not between 0 and 65535", quoteShort(address))
	}
	return ""
}

// valueOf is the reflect value that a pointer points to.
func valueOf[T any](p *T) reflect.Value { return reflect.ValueOf(p).Elem() }
