package config_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hermod-agent/hermod/pipeline/config"
)

func TestParseDuration(t *testing.T) {
	good := map[string]time.Duration{
		"0": 0, "0s": 0, "15s": 15 * time.Second, "1m30s": 90 * time.Second, "7d": 7 * 24 * time.Hour, "1w": 7 * 24 * time.Hour,
		"1d12h": 36 * time.Hour, "1.5h": 90 * time.Minute, "250ms": 250 * time.Millisecond, "3us": 3 * time.Microsecond, "3µs": 3 * time.Microsecond, "9ns": 9,
	}
	for s, want := range good {
		if got, err := config.ParseDuration(s); err != nil || time.Duration(got) != want {
			t.Errorf("%q: %v, %v", s, time.Duration(got), err)
		}
	}
	bad := map[string]string{
		"":                      "not a duration",
		"15":                    `write "15s" for seconds`,
		"-5s":                   "negative",
		"s":                     "not a duration",
		"5x":                    `write it like "15s"`,
		"1.2.3s":                "not a duration",
		"5 s":                   "not a duration",
		"99999999999999999999w": "too long",
		"1e3s":                  "not a duration",
		".s":                    "not a duration",
	}
	for s, want := range bad {
		if _, err := config.ParseDuration(s); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v", s, err)
		}
	}
}

func TestDurationsAndSizesAreWrittenAsTheyAreRead(t *testing.T) {
	for _, s := range []string{"15s", "1m30s", "7d", "1d12h", "250ms", "1h", "10m"} {
		d, err := config.ParseDuration(s)
		if err != nil || d.String() != s {
			t.Errorf("%q became %q, %v", s, d, err)
		}
	}
	for _, s := range []string{"0", "1GiB", "512KiB", "1500B", "3TiB"} {
		n, err := config.ParseSize(s)
		if err != nil || n.String() != s {
			t.Errorf("%q became %q, %v", s, n, err)
		}
	}
}

func TestParseSize(t *testing.T) {
	good := map[string]config.Size{"0": 0, "10": 10, "1KiB": 1024, "1kB": 1000, "1KB": 1000, "10MB": 1e7, "1.5GiB": 3 << 29, "1 MiB": 1 << 20, "7B": 7}
	for s, want := range good {
		if got, err := config.ParseSize(s); err != nil || got != want {
			t.Errorf("%q: %d, %v", s, got, err)
		}
	}
	bad := map[string]string{
		"": "not a size", "1G": `"1GiB" (powers of 1024) or "1GB"`, "5m": `"5MiB"`, "1gib": `write "1GiB"`, "-1": "negative",
		"99999999TiB": "too large", "1XiB": "not a size", "..": "not a size", "1e9": "not a size",
	}
	for s, want := range bad {
		if _, err := config.ParseSize(s); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v", s, err)
		}
	}
}

func TestParseURL(t *testing.T) {
	for _, s := range []string{"http://a", "https://a:1/b?c=d", "redis://u:p@h:6379/0", "unix:///run/x.sock", "http://[::1]:80/"} {
		if _, err := config.ParseURL(s); err != nil {
			t.Errorf("%q: %v", s, err)
		}
	}
	bad := map[string]string{
		"":                       "not a URL",
		"loki":                   `write "http://loki"`,
		"loki:3100/push":         `write "http://loki:3100/push"`,
		"//loki/x":               `write "http://loki/x"`,
		"http://":                "without a host",
		"http://:80":             "without a host",
		"http://a:99999/":        "port",
		"http://a b/":            "white space",
		" http://a":              "white space",
		"10.0.0.1:3100":          `write "http://10.0.0.1:3100"`,
		"http://u:hunter2/@h/":   "percent-encoded",
		"u:hunter2@h/x":          "https://",
		"http://a/%zz":           "not a URL",
		"h:1/?password=hunter2":  "https://",
		"http://[::1/":           "not a URL",
		"http://u:hunter2@h:x/y": "percent-encoded",
	}
	for s, want := range bad {
		_, err := config.ParseURL(s)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v", s, err)
		}
		if err != nil && strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%q: the password is printed: %v", s, err)
		}
	}
}

// every way of printing that the standard library has
func printed(v any) string {
	var b bytes.Buffer
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d", "%10v", "%-10v|"} {
		fmt.Fprintf(&b, verb+"\n", v)
	}
	fmt.Fprintln(&b, v)
	if j, err := json.Marshal(v); err == nil {
		b.Write(j)
	}
	slog.New(slog.NewTextHandler(&b, nil)).Info("text", "v", v)
	slog.New(slog.NewJSONHandler(&b, nil)).Info("json", "v", v)
	return b.String()
}

func TestNoWayOfPrintingShowsASecret(t *testing.T) {
	secret := config.NewSecret("hunter2")
	u, err := config.ParseURL("https://user:hunter2@host/push?token=hunter2&tenant=a&X-Amz-Signature=hunter2&key=hunter2")
	if err != nil {
		t.Fatal(err)
	}
	type exported struct {
		Secret config.Secret
		URL    config.URL
	}
	// fmt doesn't ask the types of unexported fields.
	type unexported struct{ secret config.Secret }
	type unexportedURL struct{ url config.URL }
	for _, v := range []any{
		secret, &secret, []config.Secret{secret}, map[string]config.Secret{"a": secret},
		u, &u, exported{secret, u}, &exported{secret, u}, unexported{secret}, &unexported{secret},
	} {
		if s := printed(v); strings.Contains(s, "hunter2") || strings.Contains(s, fmt.Sprintf("%x", "hunter2")) {
			t.Errorf("%T is printed as\n%s", v, s)
		}
	}
	if s := fmt.Sprintf("%v %+v %#v", unexportedURL{u}, unexportedURL{u}, &unexportedURL{u}); strings.Contains(s, "hunter2") {
		t.Errorf("an unexported URL is printed as %s", s)
	}
	for _, marshal := range []func() ([]byte, error){secret.MarshalText, secret.MarshalJSON, u.MarshalText, u.MarshalBinary, func() ([]byte, error) { return u.AppendBinary(nil) }} {
		if text, err := marshal(); err != nil || strings.Contains(string(text), "hunter2") {
			t.Errorf("marshalled as %s, %v", text, err)
		}
	}
	if got := u.String(); got != "https://user:xxxxx@host/push?token=xxxxx&tenant=a&X-Amz-Signature=xxxxx&key=xxxxx" {
		t.Errorf("URL is printed as %s", got)
	}
	if got := u.Redacted(); strings.Contains(got, "hunter2") {
		t.Errorf("Redacted gives %s", got)
	}
	if p, _ := u.User.Password(); p != "hunter2" {
		t.Error("the password got lost")
	}
	if got := fmt.Sprint(secret); got != "<secret>" {
		t.Errorf("Secret is printed as %s", got)
	}
	if v, err := secret.Reveal(); v != "hunter2" || err != nil {
		t.Errorf("Reveal: %q, %v", v, err)
	}
}

func TestZeroValuesArePrintedAsNothing(t *testing.T) {
	var (
		s config.Secret
		u config.URL
		r config.Regexp
	)
	for _, v := range []any{s, u, r} {
		if got := fmt.Sprint(v); got != "" {
			t.Errorf("%T is printed as %q", v, got)
		}
	}
	if s.IsSet() || u.IsSet() || r.IsSet() {
		t.Error("a zero value says that it is set")
	}
	if v, err := s.Reveal(); v != "" || err != nil {
		t.Errorf("Reveal: %q, %v", v, err)
	}
}

func TestASecretFileIsTrimmedAndReadAgainWhenItChanges(t *testing.T) {
	path := filepath.Join(t.TempDir(), "secret")
	write := func(text string) {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	synctest.Test(t, func(t *testing.T) {
		reveal := func(s *config.Secret, want, wantErr string) {
			t.Helper()
			got, err := s.Reveal()
			if got != want || (err == nil) != (wantErr == "") || err != nil && !strings.Contains(err.Error(), wantErr) {
				t.Errorf("got %q, %v; want %q, %q", got, err, want, wantErr)
			}
		}
		write(" one \n\n")
		s := config.NewSecretFile(path)
		copied := s
		reveal(&s, "one", "")
		write("two!!")
		reveal(&s, "one", "") // the last look is not a second old
		time.Sleep(time.Second)
		reveal(&s, "two!!", "")
		reveal(&copied, "two!!", "")
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		reveal(&s, "", "doesn't exist")
		write("\n")
		time.Sleep(time.Second)
		reveal(&s, "", "is empty")
		write(strings.Repeat("x", 100<<10))
		time.Sleep(time.Second)
		reveal(&s, "", "more than the 64KiB")
		write("three")
		time.Sleep(time.Second)
		reveal(&s, "three", "")
	})
	dir := config.NewSecretFile(t.TempDir())
	if _, err := dir.Reveal(); err == nil || !strings.Contains(err.Error(), "folder") {
		t.Errorf("a folder: %v", err)
	}
	device := config.NewSecretFile("/dev/zero")
	if _, err := device.Reveal(); err == nil || !strings.Contains(err.Error(), "regular") {
		t.Errorf("a device: %v", err)
	}
}

func TestSuggest(t *testing.T) {
	candidates := []string{"address", "docker_logs", "interval", "scrape_interval", "mysql", "host", "password"}
	for given, want := range map[string]string{
		"adress": "address", "addres": "address", "docker-logs": "docker_logs", "docker": "docker_logs", "MySQL": "mysql", "msyql": "mysql",
		"hots": "host", "pasword": "password", "zzz": "", "": "", "x": "", "dog": "", strings.Repeat("a", 1000): "",
	} {
		got := config.Suggest(given, candidates)
		if want != "" {
			want = `; did you mean "` + want + `"?`
		}
		if got != want {
			t.Errorf("%q: %q, want %q", given, got, want)
		}
	}
}
