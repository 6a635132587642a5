//go:build integration

package harness

import (
	"debug/elf"
	"encoding/binary"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"sync"
	"syscall"
	"testing"
	"time"
)

// A process can't be given a clock of its own: a time namespace has none for the time of day, and a static program no library that could be put
// before the system's. But it asks for the time by a pointer to a function that the kernel put into its memory. A Clock leads that pointer to a few
// instructions which call the function and add something.

// symbols are the addresses that a Clock needs.
type symbols struct {
	pointer  uint64 // of the pointer to the kernel's function
	function uint64 // of a function that is done when the program runs; ours is put there
}

// withSymbols builds the agent under test once more, not stripped.
var withSymbols = func() func(repository, dir string) (string, symbols, error) {
	var mu sync.Mutex
	return func(repository, dir string) (string, symbols, error) {
		mu.Lock()
		defer mu.Unlock()
		path := filepath.Join(dir, "hermod-with-symbols")
		build := exec.Command("go", "build", "-trimpath", "-o", path, "./cmd/hermod")
		build.Dir, build.Env = repository, append(os.Environ(), "CGO_ENABLED=0")
		if out, err := build.CombinedOutput(); err != nil {
			return "", symbols{}, fmt.Errorf("building the agent: %w: %s", err, out)
		}
		file, err := elf.Open(path)
		if err != nil {
			return "", symbols{}, err
		}
		defer file.Close()
		all, err := file.Symbols()
		if err != nil {
			return "", symbols{}, err
		}
		var s symbols
		for _, symbol := range all {
			switch {
			case symbol.Name == "runtime.vdsoClockgettimeSym":
				s.pointer = symbol.Value
			case symbol.Name == "runtime.vdsoauxv" && symbol.Size >= 64:
				s.function = symbol.Value
			}
		}
		if s.pointer == 0 || s.function == 0 {
			return "", s, fmt.Errorf("this version of Go has other names: %+v", s)
		}
		return path, s, nil
	}
}()

// Clock is that of an agent's process.
type Clock struct {
	t       testing.TB
	agent   *Agent
	symbols symbols
	pid     int    // of the process that it was put into
	kernel  uint64 // its function
}

// NewClock gives an agent that isn't running yet a clock that can be set. It skips the test where that can't be done.
func NewClock(t testing.TB, a *Agent) *Clock {
	t.Helper()
	if runtime.GOARCH != "amd64" || os.Getuid() != 0 {
		t.Skip("the clock of a process can be set on amd64 and by root alone")
	}
	path, s, err := withSymbols(repository(t), Dir(t))
	if err == nil {
		_, err = try("install", "-m", "755", path, a.binary)
	}
	if err != nil {
		t.Fatal(err)
	}
	return &Clock{t: t, agent: a, symbols: s}
}

// Ahead sets the clock of the agent that runs ahead of the machine's, or behind it.
func (c *Clock) Ahead(by time.Duration) {
	c.t.Helper()
	if err := c.set(int64(by / time.Second)); err != nil {
		c.t.Fatal(err)
	}
}

func (c *Clock) set(seconds int64) error {
	pid := c.agent.Pid()
	memory, err := os.OpenFile(fmt.Sprintf("/proc/%d/mem", pid), os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer memory.Close()
	c.agent.Signal(syscall.SIGSTOP)
	defer c.agent.Signal(syscall.SIGCONT)
	pointer := make([]byte, 8)
	if c.pid != pid {
		if _, err := memory.ReadAt(pointer, int64(c.symbols.pointer)); err != nil {
			return err
		}
		c.pid, c.kernel = pid, binary.LittleEndian.Uint64(pointer)
		if c.kernel == 0 {
			return fmt.Errorf("the kernel gave process %d no function to read the clock", pid)
		}
	}
	var code []byte
	code = append(code, 0x57, 0x56, 0x48, 0x83, 0xec, 0x08, 0x48, 0xb8) // push rdi; push rsi; sub rsp, 8; mov rax,
	code = binary.LittleEndian.AppendUint64(code, c.kernel)
	code = append(code, 0xff, 0xd0, 0x48, 0x83, 0xc4, 0x08, 0x5e, 0x5f) // call rax; add rsp, 8; pop rsi; pop rdi
	code = append(code, 0x85, 0xff, 0x75, 0x0d, 0x48, 0xb9)             // test edi, edi: the time of day?; jne to the end; mov rcx,
	code = binary.LittleEndian.AppendUint64(code, uint64(seconds))
	code = append(code, 0x48, 0x01, 0x0e, 0xc3) // add [rsi], rcx; ret
	if _, err := memory.WriteAt(code, int64(c.symbols.function)); err != nil {
		return err
	}
	binary.LittleEndian.PutUint64(pointer, c.symbols.function)
	_, err = memory.WriteAt(pointer, int64(c.symbols.pointer))
	return err
}
