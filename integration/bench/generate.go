//go:build integration

package main

import (
	"bufio"
	"fmt"
	"os"
	"time"
)

// generate writes numbered lines that look like an access log and differ as such lines do: about 200 bytes each, so that compression has
// something to do but no feast.
func generate(path string, lines int, format string) (err error) {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	defer func() {
		if closeErr := f.Close(); err == nil {
			err = closeErr
		}
	}()
	w := bufio.NewWriterSize(f, 1<<20)
	base := time.Now().Add(-time.Minute).UTC()
	seed := uint64(42)
	random := func() uint64 { // splitmix64: cheap, and the same in every run
		seed += 0x9e3779b97f4a7c15
		z := seed
		z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9
		z = (z ^ (z >> 27)) * 0x94d049bb133111eb
		return z ^ (z >> 31)
	}
	methods := []string{"GET", "POST", "PUT", "DELETE"}
	line := make([]byte, 0, 512)
	for i := range lines {
		r := random()
		line = fmt.Appendf(line[:0],
			`%09d 10.%d.%d.%d - - "%s /api/v1/items/%d?page=%d HTTP/1.1" %d %d "https://shop.example/cart/%x" "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36" rt=0.%03d id=%016x`,
			i, r&255, r>>8&255, r>>16&255, methods[r>>24&3], r>>26&0xffff, r>>42&31, 200+(r>>47&3)*100, r>>49&0x7fff, r>>20&0xffffff, r%1000, random())
		switch format {
		case "plain":
			line = append(line, '\n')
			_, err = w.Write(line)
		case "docker":
			at := base.Add(time.Duration(i) * 10 * time.Microsecond)
			_, err = fmt.Fprintf(w, "{\"log\":%q,\"stream\":\"stdout\",\"time\":\"%s\"}\n", string(line)+"\n", at.Format(time.RFC3339Nano))
		default:
			return fmt.Errorf("format %q is neither plain nor docker", format)
		}
		if err != nil {
			return err
		}
	}
	return w.Flush()
}
