package access

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestWhatKeepsAUserFromAPathIsNamed(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "log")
	if err := os.WriteFile(file, nil, 0o640); err != nil {
		t.Fatal(err)
	}
	what, remedy := Denied(file, Read)
	if !strings.Contains(what, file) || !strings.Contains(what, "mode 0640") || !strings.Contains(remedy, "usermod -aG ") {
		t.Errorf("%s; %s", what, remedy)
	}
	if err := os.Chmod(file, 0o600); err != nil {
		t.Fatal(err)
	}
	what, remedy = Denied(file, Write)
	if !strings.Contains(what, "may not write to") || !strings.Contains(remedy, "CAP_DAC_OVERRIDE") || !strings.Contains(remedy, "no group") {
		t.Errorf("%s; %s", what, remedy)
	}
	what, remedy = Denied(filepath.Join(dir, "none"), Read)
	if !strings.Contains(what, "can't be looked at") || !strings.Contains(remedy, "CAP_DAC_READ_SEARCH") {
		t.Errorf("%s; %s", what, remedy)
	}
}
