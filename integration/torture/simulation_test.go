//go:build integration

package torture

import (
	"os/exec"
	"strings"
	"testing"
)

// simulations are tests of parts of the agent in which its disk, its clock or the point of its end is chosen: what no machine gives at the moment when
// it is wanted.
var simulations = []struct {
	name   string
	cases  []int
	args   []string // of go test
	folder string
}{
	{
		"the process is killed at each point of the queue's writer: begin, append, torn, seal, fsync, fsynced, cursor, unlink, unlinked", []int{3},
		[]string{"-tags", "crashpoints", "-run", "Killed|Crash", "-timeout", "5m"}, "./pipeline/queue",
	},
	{"a crash at each step of a save of the positions", []int{3}, []string{"-run", "TestACrashAtAnyStepOfASave|TestASaveAfterAFailedOne"}, "./pipeline/positions"},
	{
		"the queue against a model, on a filesystem that tears, loses and reorders writes, fills up and fails", []int{4, 9, 10, 11},
		[]string{"-run", "TestDiskLosesNothingThatIsSafe"}, "./pipeline/queue",
	},
	{"every byte of a positions file flipped, and every length of it", []int{15}, []string{"-run", "TestAnyFlippedByte|TestATornWrite"}, "./pipeline/positions"},
	{
		"Docker's clock set back, over restarts and changes between file and engine", []int{38},
		[]string{"-run", "TestNothingIsLostWhenTheClockIsSetBack|TestAClockThatWasSetBackLosesNothing"}, "./inputs/docker_logs",
	},
	{
		"files against a model: renamed, truncated, copied, deleted, parked and read in any order", []int{28, 29, 30, 31},
		[]string{"-run", "TestNothingIsLostWhateverHappens"}, "./internal/tail",
	},
}

func TestSimulations(t *testing.T) {
	t.Parallel()
	for _, s := range simulations {
		t.Run(s.name, func(t *testing.T) {
			t.Parallel()
			begin(t, row{Group: "Simulations", Case: s.name, Source: "`" + s.folder + "`"}).shows(s.cases...)
			cmd := exec.Command("go", append(append([]string{"test"}, s.args...), s.folder)...)
			cmd.Dir = "../.."
			out, err := cmd.CombinedOutput()
			if err != nil || strings.Contains(string(out), "no tests to run") {
				t.Errorf("%v: %s", err, out)
			}
		})
	}
}
