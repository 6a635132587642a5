//go:build integration

package main

import (
	"bufio"
	"context"
	"encoding/base64"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/hermod-agent/hermod/pipeline/queue"
)

// drainCommand fills a queue on disk while its backend is down, starts the agent again with a backend that takes so many bytes a second and no more,
// and tells how fast the queue is emptied and what memory that takes, for backlogs of several sizes.
func drainCommand(ctx context.Context, args []string) error {
	flags := flag.NewFlagSet("drain", flag.ExitOnError)
	hermod := flags.String("hermod", "bin/hermod", "binary")
	sizes := flags.String("mb", "64,1024", "backlogs in MiB")
	rate := flags.Int("rate", 50, "MB/s that the backend takes; 0 is all it can")
	batch := flags.String("batch", "1MiB", "batch_size of the output")
	_ = flags.Parse(args) // ExitOnError
	fmt.Println("| backlog MiB | blocks | backend's MB/s | drained MB/s | backend busy | start to first request ms | peak RSS MB, filling | peak RSS MB, draining |")
	fmt.Println("|---|---|---|---|---|---|---|---|")
	for text := range strings.SplitSeq(*sizes, ",") {
		mb, err := strconv.Atoi(text)
		if err != nil {
			return err
		}
		if err := drain(ctx, *hermod, mb, *rate, *batch); err != nil {
			return fmt.Errorf("%d MiB: %w", mb, err)
		}
	}
	return nil
}

func drain(ctx context.Context, hermod string, mb, rate int, batch string) error {
	dir, err := os.MkdirTemp("", "hermod-bench-")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(dir) }() // a folder of ours in the system's temporary one
	const line = 1000
	lines := mb << 20 / line
	if err := noise(filepath.Join(dir, "noise.log"), lines, line); err != nil {
		return err
	}
	address, err := freeAddress(ctx)
	if err != nil {
		return err
	}
	config := filepath.Join(dir, "agent.hcl")
	if err := os.WriteFile(config, fmt.Appendf(nil, `
agent {
  data_dir = %q
  listen   = "127.0.0.1:0"
}

input "files" "noise" {
  paths = [%q]
}

output "loki" "main" {
  from       = input.files.noise
  url        = "http://%s/loki/api/v1/push"
  batch_size = %q

  queue {
    max_size = "4GiB"
  }
}
`, filepath.Join(dir, "data"), filepath.Join(dir, "noise.log"), address, batch), 0o600); err != nil {
		return err
	}
	folder := filepath.Join(dir, "data", "output", "output.loki.main", "queue")
	blocks := 0
	filling, _, err := watch(ctx, hermod, config, func() (bool, error) {
		c, err := queue.Inspect(folder)
		blocks = len(c.Blocks)
		return c.Items == lines, ignoreMissing(err)
	})
	if err != nil {
		return err
	}

	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", address)
	if err != nil {
		return err
	}
	var taken, first, last, busy atomic.Int64
	server := &http.Server{ReadHeaderTimeout: 10 * time.Second, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		came := time.Now()
		first.CompareAndSwap(0, came.UnixNano())
		n, _ := io.Copy(io.Discard, r.Body) // what didn't come isn't counted
		if rate > 0 {
			time.Sleep(time.Duration(n) * time.Second / time.Duration(rate*1e6))
		}
		taken.Add(n)
		last.Store(time.Now().UnixNano())
		busy.Add(int64(time.Since(came)))
		w.WriteHeader(http.StatusNoContent)
	})}
	go func() { _ = server.Serve(listener) }() // until Close
	defer server.Close()
	began := time.Now()
	draining, _, err := watch(ctx, hermod, config, func() (bool, error) {
		c, err := queue.Inspect(folder)
		return c.Items == 0 && taken.Load() > 0, ignoreMissing(err)
	})
	if err != nil {
		return err
	}
	took := time.Duration(last.Load() - first.Load()).Seconds()
	fmt.Printf("| %d | %d | %d | %.1f | %.0f%% | %d | %.1f | %.1f |\n", mb, blocks, rate, float64(taken.Load())/1e6/took, float64(busy.Load())/1e7/took,
		time.Unix(0, first.Load()).Sub(began).Milliseconds(), float64(filling)/1e6, float64(draining)/1e6)
	return nil
}

func ignoreMissing(err error) error {
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	return err
}

// watch runs the agent until done says so, ends it, and tells the most memory that was resident.
func watch(ctx context.Context, hermod, config string, done func() (bool, error)) (peak int64, took time.Duration, err error) {
	cmd := exec.CommandContext(ctx, hermod, "run", config)
	log, err := os.Create(config + ".log")
	if err != nil {
		return 0, 0, err
	}
	defer func() { _ = log.Close() }() // read by people only
	cmd.Stdout, cmd.Stderr = log, log
	began := time.Now()
	if err := cmd.Start(); err != nil {
		return 0, 0, err
	}
	for ended := false; !ended && err == nil; {
		select {
		case <-ctx.Done():
			err = ctx.Err()
		case <-time.After(20 * time.Millisecond):
			var now int64
			if now, err = residentBytes(cmd.Process.Pid); err == nil {
				peak = max(peak, now)
				ended, err = done()
			}
			if time.Since(began) > 10*time.Minute {
				err = errors.New("it takes too long; see " + log.Name())
			}
		}
	}
	took = time.Since(began)
	_ = cmd.Process.Signal(syscall.SIGTERM)
	return peak, took, errors.Join(err, cmd.Wait())
}

// noise writes lines that don't compress.
func noise(path string, lines, size int) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }() // Flush tells
	w := bufio.NewWriterSize(f, 1<<20)
	random := rand.NewChaCha8([32]byte{1})
	raw := make([]byte, size/4*3)
	for range lines {
		_, _ = random.Read(raw) // never fails
		text := base64.StdEncoding.EncodeToString(raw)
		_, _ = w.WriteString(text[:size-1] + "\n") // Flush tells
	}
	return w.Flush()
}
