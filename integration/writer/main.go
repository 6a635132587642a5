// Writer writes the lines of the integration tests to its stdout and stderr, as a container would.
package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/hermod-agent/hermod/integration/lines"
)

func main() {
	source := flag.String("source", "a", "what every line begins with")
	n := flag.Int("lines", 1000, "how many numbered lines to write")
	rate := flag.Int("rate", 0, "numbered lines a second, with the identical ones among them; 0 is as many as go")
	stderr := flag.Bool("stderr", false, "write some of them to stderr")
	hold := flag.Bool("hold", false, "stay until SIGTERM when all is written")
	flag.Parse()
	if err := run(*source, *n, *rate, *stderr, *hold); err != nil {
		fmt.Fprintln(os.Stderr, "writer:", err)
		os.Exit(1)
	}
}

func run(source string, n, rate int, stderr, hold bool) error {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	pace := newPace(rate)
	buffer := make([]byte, 0, 64<<10)
	var err error
	lines.Each(source, n, stderr, func(l lines.Line) bool {
		if !pace.wait(ctx) {
			return false
		}
		var to io.Writer = os.Stdout
		if l.Stderr {
			to = os.Stderr
		}
		buffer = append(append(buffer[:0], l.Text...), '\n')
		_, err = to.Write(buffer)
		return err == nil
	})
	if hold && err == nil {
		<-ctx.Done()
	}
	return err
}

// pace lets so many calls a second through, in bursts of 10 ms.
type pace struct {
	rate, done int
	start      time.Time
}

func newPace(rate int) *pace { return &pace{rate: rate, start: time.Now()} }

func (p *pace) wait(ctx context.Context) bool {
	p.done++
	if p.rate == 0 {
		return ctx.Err() == nil
	}
	due := p.start.Add(time.Duration(p.done) * time.Second / time.Duration(p.rate))
	early := time.Until(due)
	if early < 10*time.Millisecond {
		return ctx.Err() == nil
	}
	timer := time.NewTimer(early)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}
