//go:build integration

package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"
)

// testCase is a file of lines in a format.
type testCase struct {
	name   string
	format string
	engine string // endpoint of the engine that lists the docker case's container, for those that ask it
}

// figures are what one run gave.
type figures struct {
	CPU       float64 // seconds, user and system
	Elapsed   float64 // seconds from the start of the process to the last line at the sink
	PeakRSS   int64   // bytes
	Lines     int
	Distinct  int
	Samples   int
	WireBytes int64
}

type peerFlags map[string]string

func (p peerFlags) String() string { return fmt.Sprint(map[string]string(p)) }

func (p peerFlags) Set(v string) error {
	name, path, ok := strings.Cut(v, "=")
	if !ok {
		return errors.New("write NAME=PATH")
	}
	p[name] = path
	return nil
}

func runCommand(ctx context.Context, args []string) error {
	flags := flag.NewFlagSet("run", flag.ExitOnError)
	hermod := flags.String("hermod", "bin/hermod", "binary")
	lines := flags.Int("lines", 1_000_000, "lines in the file")
	rounds := flags.Int("rounds", 3, "runs of each; the median is reported")
	only := flags.String("case", "", "plain, docker or samples; all when empty")
	span := flags.Duration("for", 30*time.Second, "how long a run of the samples case is")
	format := flags.String("format", "table", "table (Markdown) or json")
	patience := flags.Duration("patience", 5*time.Minute, "how long one run may take")
	given := peerFlags{}
	flags.Var(given, "peer", "NAME=PATH of a peer's binary; may be repeated")
	_ = flags.Parse(args) // ExitOnError

	subjects, collectors, err := peers(*hermod, given)
	if err != nil {
		return err
	}

	dir, err := os.MkdirTemp("", "hermod-bench-")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(dir) }() // a folder of ours in the system's temporary one
	sink, stop, err := startSink(ctx, dir)
	if err != nil {
		return err
	}
	defer stop()

	results := map[string]map[string]figures{}
	for _, c := range []testCase{{name: "plain", format: "plain"}, {name: "docker", format: "docker"}} {
		if *only != "" && c.name != *only {
			continue
		}
		file, done, err := prepare(ctx, &c, dir, *lines)
		if err != nil {
			return err
		}
		got := map[string][]figures{}
		for round := range *rounds { // in turn, because the machine drifts
			for _, s := range subjects {
				f, err := measure(ctx, s, c, file, sink, filepath.Join(dir, fmt.Sprintf("%s-%s-%d", s.name, c.name, round)), *lines, *patience)
				if err != nil {
					return fmt.Errorf("%s, %s: %w", s.name, c.name, err)
				}
				fmt.Fprintf(os.Stderr, "%-10s %-7s round %d: %.2f CPU s, %.1f s, %d MB, %d lines (%d distinct)\n",
					s.name, c.name, round+1, f.CPU, f.Elapsed, f.PeakRSS>>20, f.Lines, f.Distinct)
				got[s.name] = append(got[s.name], f)
			}
		}
		done()
		results[c.name] = map[string]figures{}
		for name, all := range got {
			results[c.name][name] = median(all)
		}
	}
	if *only == "" || *only == samplesCase {
		got := map[string][]figures{}
		for round := range *rounds {
			for _, c := range collectors {
				f, err := measureSamples(ctx, c, sink, filepath.Join(dir, fmt.Sprintf("%s-samples-%d", c.name, round)), *span)
				if err != nil {
					return fmt.Errorf("%s, samples: %w", c.name, err)
				}
				fmt.Fprintf(os.Stderr, "%-10s samples round %d: %.2f CPU s, %d samples, %d MB\n", c.name, round+1, f.CPU, f.Samples, f.PeakRSS>>20)
				got[c.name] = append(got[c.name], f)
			}
		}
		results[samplesCase] = map[string]figures{}
		for name, all := range got {
			results[samplesCase][name] = median(all)
		}
	}
	return report(*format, results, subjects, collectors, *lines)
}

const samplesCase = "samples"

// prepare writes the case's file and, for docker, starts an engine that lists its container.
func prepare(ctx context.Context, c *testCase, dir string, lines int) (file string, done func(), err error) {
	file = filepath.Join(dir, c.name+".log")
	done = func() { _ = os.Remove(file) } // the folder goes anyway
	if c.format == "docker" {
		var stop func()
		if c.engine, stop, err = fakeEngine(ctx, dir, file); err != nil {
			return "", nil, err
		}
		done = func() { stop(); _ = os.Remove(file) }
	}
	return file, done, generate(file, lines, c.format)
}

func startSink(ctx context.Context, dir string) (address string, stop func(), err error) {
	self, err := os.Executable()
	if err != nil {
		return "", nil, err
	}
	cmd := exec.CommandContext(ctx, self, "sink")
	cmd.Dir, cmd.Stderr = dir, os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		return "", nil, err
	}
	if err := cmd.Start(); err != nil {
		return "", nil, err
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		_ = cmd.Process.Kill()
		return "", nil, fmt.Errorf("the sink said nothing: %w", err)
	}
	return strings.TrimSpace(line), func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		_ = cmd.Wait()
	}, nil
}

// measure runs a subject until the sink has as many distinct lines as the file, and ends it.
func measure(ctx context.Context, s subject, c testCase, file, sink, dir string, lines int, patience time.Duration) (figures, error) {
	if err := post(ctx, "http://"+sink+"/reset"); err != nil {
		return figures{}, err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return figures{}, err
	}
	files, args := s.config(c, file, sink, dir)
	for name, content := range files {
		if err := os.WriteFile(name, []byte(content), 0o600); err != nil {
			return figures{}, err
		}
	}
	log, err := os.Create(filepath.Join(dir, "output"))
	if err != nil {
		return figures{}, err
	}
	defer func() { _ = log.Close() }() // read by people only
	cmd := exec.CommandContext(ctx, s.binary, args...)
	cmd.Stdout, cmd.Stderr = log, log
	began := time.Now()
	if err := cmd.Start(); err != nil {
		return figures{}, err
	}
	ended := make(chan struct{})
	var endErr error
	go func() {
		defer close(ended)
		endErr = cmd.Wait()
	}()
	got, arrived, waitErr := awaitLines(ctx, sink, lines, patience, ended)
	if waitErr == nil {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		select {
		case <-ended:
		case <-time.After(30 * time.Second):
			_ = cmd.Process.Kill()
			<-ended
		}
	}
	if waitErr != nil {
		_ = cmd.Process.Kill() // where it hasn't ended by itself
		<-ended
		text, _ := os.ReadFile(log.Name())
		return figures{}, fmt.Errorf("%w (%w); its output ends:\n%s", waitErr, endErr, text[max(0, len(text)-2000):])
	}
	usage, ok := cmd.ProcessState.SysUsage().(*syscall.Rusage)
	if !ok {
		return figures{}, errors.New("this system tells no resource usage")
	}
	// What came after the last distinct line counts as well: repeats.
	if final, err := readCounts(ctx, sink); err == nil {
		got = final
	}
	return figures{
		CPU: seconds(usage.Utime) + seconds(usage.Stime), Elapsed: arrived.Sub(began).Seconds(), PeakRSS: usage.Maxrss << 10,
		Lines: got.Lines, Distinct: got.Distinct, WireBytes: got.WireBytes,
	}, nil
}

func seconds(t syscall.Timeval) float64 { return float64(t.Sec) + float64(t.Usec)/1e6 }

// awaitLines waits until the sink has them all, nothing has come for a while, or the process has ended.
func awaitLines(ctx context.Context, sink string, lines int, patience time.Duration, ended <-chan struct{}) (counts, time.Time, error) {
	deadline := time.Now().Add(patience)
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return counts{}, time.Time{}, ctx.Err()
		case <-ended:
			return counts{}, time.Time{}, errors.New("the process ended by itself")
		case <-tick.C:
		}
		c, err := readCounts(ctx, sink)
		if err != nil {
			return c, time.Time{}, err
		}
		if c.Distinct >= lines {
			return c, c.Last, nil
		}
		if time.Now().After(deadline) || c.Lines > 0 && time.Since(c.Last) > 30*time.Second {
			return c, c.Last, nil // what is missing is part of the result
		}
	}
}

func readCounts(ctx context.Context, sink string) (counts, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+sink+"/counts", nil)
	if err != nil {
		return counts{}, err
	}
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		return counts{}, err
	}
	defer func() { _ = answer.Body.Close() }() // read whole below
	var c counts
	return c, json.NewDecoder(answer.Body).Decode(&c)
}

func post(ctx context.Context, url string) error {
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, url, nil)
	if err != nil {
		return err
	}
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		return err
	}
	return answer.Body.Close()
}

// median takes each figure's own.
func median(all []figures) figures {
	pick := func(of func(figures) float64) float64 {
		v := make([]float64, len(all))
		for i, f := range all {
			v[i] = of(f)
		}
		slices.Sort(v)
		return v[len(v)/2]
	}
	out := all[0]
	out.CPU = pick(func(f figures) float64 { return f.CPU })
	out.Elapsed = pick(func(f figures) float64 { return f.Elapsed })
	out.PeakRSS = int64(pick(func(f figures) float64 { return float64(f.PeakRSS) }))
	out.WireBytes = int64(pick(func(f figures) float64 { return float64(f.WireBytes) }))
	out.Samples = int(pick(func(f figures) float64 { return float64(f.Samples) }))
	for _, f := range all { // the worst
		out.Distinct = min(out.Distinct, f.Distinct)
		out.Lines = max(out.Lines, f.Lines)
	}
	return out
}

func report(format string, results map[string]map[string]figures, subjects []subject, collectors []collector, lines int) error {
	if format == "json" {
		return json.NewEncoder(os.Stdout).Encode(results)
	}
	head := "| case | program | lines/s | CPU s a million lines | against hermod | peak RSS MB | on the wire MB | missing | repeated |\n|---|---|---|---|---|---|---|---|---|\n"
	for _, c := range []string{"plain", "docker"} {
		own := results[c]["hermod"]
		for _, s := range subjects {
			f, ok := results[c][s.name]
			if !ok {
				continue
			}
			fmt.Printf("%s| %s | %s | %.0f | %.2f | %.1fx | %.1f | %.0f | %d | %d |\n", head, c, s.name, float64(f.Lines)/f.Elapsed, f.CPU/float64(f.Lines)*1e6,
				f.CPU/own.CPU, float64(f.PeakRSS)/1e6, float64(f.WireBytes)/1e6, lines-f.Distinct, f.Lines-f.Distinct)
			head = ""
		}
	}
	head = "\n| case | program | samples/s | CPU s a million samples | against hermod | peak RSS MB | bytes a sample on the wire |\n|---|---|---|---|---|---|---|\n"
	for _, c := range collectors {
		f, ok := results[samplesCase][c.name]
		if !ok {
			continue
		}
		own := results[samplesCase]["hermod"]
		cost := func(f figures) float64 { return f.CPU / float64(f.Samples) * 1e6 }
		fmt.Printf("%s| samples | %s | %.0f | %.2f | %.1fx | %.1f | %.1f |\n", head, c.name, float64(f.Samples)/f.Elapsed, cost(f), cost(f)/cost(own),
			float64(f.PeakRSS)/1e6, float64(f.WireBytes)/float64(f.Samples))
		head = ""
	}
	return nil
}
