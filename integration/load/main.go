// Load uses CPU, memory, a disk and the network as the integration tests want it, as a container would.
package main

import (
	"context"
	"flag"
	"fmt"
	"net"
	"os"
	"os/signal"
	"syscall"
	"time"
)

func main() {
	cpu := flag.Bool("cpu", false, "compute without a pause")
	memory := flag.Int("memory", 0, "MiB to hold")
	file := flag.String("file", "", "a file to write and read, 1 MiB, again and again")
	send := flag.String("send", "", "an address to send UDP to, which need not be listened on")
	after := flag.Duration("exit", 0, "when to end; 0 is at SIGTERM")
	flag.Parse()
	if err := run(*cpu, *memory, *file, *send, *after); err != nil {
		fmt.Fprintln(os.Stderr, "load:", err)
		os.Exit(1)
	}
}

func run(cpu bool, memory int, file, send string, after time.Duration) error {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	if after > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, after)
		defer cancel()
	}
	if cpu {
		go func() {
			for n := 0; ctx.Err() == nil; n++ {
				_ = n * n
			}
		}()
	}
	var held [][]byte
	for range memory {
		b := make([]byte, 1<<20)
		for i := 0; i < len(b); i += 4096 {
			b[i] = 1
		}
		held = append(held, b)
	}
	block := make([]byte, 1<<20)
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			if len(held) != memory {
				return fmt.Errorf("%d MiB are left of %d", len(held), memory)
			}
			return nil
		case <-tick.C:
		}
		if file != "" {
			if err := os.WriteFile(file, block, 0o644); err != nil {
				return err
			}
			if _, err := os.ReadFile(file); err != nil {
				return err
			}
		}
		if send != "" {
			c, err := (&net.Dialer{}).DialContext(ctx, "udp", send)
			if err != nil {
				return err
			}
			_, _ = c.Write(block[:512]) // that nobody listens comes back as an error
			c.Close()
		}
	}
}
