package config

import (
	"errors"
	"fmt"
	"log/slog"
	"math"
	"math/big"
	"net/url"
	"regexp"
	"regexp/syntax"
	"strconv"
	"strings"
	"time"
)

// Duration is a length of time, written "15s", "1m30s", "7d".
type Duration time.Duration

// durationUnits are the units of a Duration, longest name first where one begins with another.
var durationUnits = []struct {
	name string
	unit time.Duration
}{
	{"ns", time.Nanosecond}, {"us", time.Microsecond}, {"µs", time.Microsecond}, {"ms", time.Millisecond},
	{"s", time.Second}, {"m", time.Minute}, {"h", time.Hour}, {"d", 24 * time.Hour}, {"w", 7 * 24 * time.Hour},
}

// ParseDuration reads a Duration. Days have 24 hours and weeks seven days; a sign isn't allowed.
func ParseDuration(s string) (Duration, error) {
	if s == "0" {
		return 0, nil
	}
	var sum float64
	rest := s
	for rest != "" {
		digits := 0
		for digits < len(rest) && (rest[digits] >= '0' && rest[digits] <= '9' || rest[digits] == '.') {
			digits++
		}
		n, err := strconv.ParseFloat(rest[:digits], 64)
		if err != nil {
			return 0, notADuration(s)
		}
		rest = rest[digits:]
		letters := strings.IndexAny(rest, "0123456789.")
		if letters < 0 {
			letters = len(rest)
		}
		unit := time.Duration(0)
		for _, u := range durationUnits {
			if u.name == rest[:letters] {
				unit = u.unit
			}
		}
		if unit == 0 {
			return 0, notADuration(s)
		}
		rest = rest[letters:]
		sum += n * float64(unit)
	}
	if s == "" {
		return 0, notADuration(s)
	}
	if sum > float64(math.MaxInt64/2) {
		return 0, &valueError{given: s, is: "is too long", want: "the longest duration is about 146 years"}
	}
	return Duration(math.Round(sum)), nil
}

func notADuration(s string) error {
	e := &valueError{given: s, is: "is not a duration", want: `write it like "15s", "1m30s" or "7d"`}
	if strings.HasPrefix(s, "-") {
		e.want = "it can't be negative"
	} else if _, err := strconv.ParseFloat(s, 64); err == nil {
		e.fix = fmt.Sprintf("it needs a unit: write %q for seconds", s+"s")
	}
	return e
}

// String writes d the way that it is read, in the largest units that fit: "1d12h", "15s".
func (d Duration) String() string {
	if d <= 0 {
		return time.Duration(d).String()
	}
	var b strings.Builder
	rest := time.Duration(d)
	for _, u := range []struct {
		name string
		unit time.Duration
	}{{"d", 24 * time.Hour}, {"h", time.Hour}, {"m", time.Minute}} {
		if n := rest / u.unit; n > 0 {
			fmt.Fprintf(&b, "%d%s", n, u.name)
			rest %= u.unit
		}
	}
	if rest > 0 {
		b.WriteString(rest.String())
	}
	return b.String()
}

// MarshalText is String, for JSON.
func (d Duration) MarshalText() ([]byte, error) { return []byte(d.String()), nil }

// Size is a number of bytes, written "1GiB", "512KiB", "10MB" or a plain number.
type Size int64

var sizeUnits = []struct {
	name string
	unit int64
}{
	{"TiB", 1 << 40}, {"GiB", 1 << 30}, {"MiB", 1 << 20}, {"KiB", 1 << 10},
	{"TB", 1e12}, {"GB", 1e9}, {"MB", 1e6}, {"KB", 1e3}, {"kB", 1e3}, {"B", 1}, {"", 1},
}

// ParseSize reads a Size. KiB, MiB, GiB and TiB are powers of 1024, kB (or KB), MB, GB and TB powers of 1000.
func ParseSize(s string) (Size, error) {
	digits := 0
	for digits < len(s) && (s[digits] >= '0' && s[digits] <= '9' || s[digits] == '.') {
		digits++
	}
	fault := &valueError{given: s, is: "is not a size", want: `write it like "512KiB", "10MB", "1GiB" or as a plain number of bytes`}
	if strings.HasPrefix(s, "-") {
		fault.want = "it can't be negative"
	}
	if digits == 0 || digits > 32 {
		return 0, fault
	}
	n, ok := new(big.Rat).SetString(s[:digits])
	if !ok {
		return 0, fault
	}
	name := strings.TrimSpace(s[digits:])
	for _, u := range sizeUnits {
		if u.name != name {
			continue
		}
		n.Mul(n, new(big.Rat).SetInt64(u.unit))
		whole := new(big.Int).Quo(n.Num(), n.Denom())
		if !whole.IsInt64() {
			return 0, &valueError{given: s, is: "is too large", want: "a size is at most 8388607TiB"}
		}
		return Size(whole.Int64()), nil
	}
	var names []string
	for _, u := range sizeUnits[:9] {
		names = append(names, u.name)
	}
	switch strings.ToUpper(name) {
	case "K", "M", "G", "T":
		fault.fix = fmt.Sprintf("write %q (powers of 1024) or %q (powers of 1000)", s[:digits]+strings.ToUpper(name)+"iB", s[:digits]+strings.ToUpper(name)+"B")
	default:
		for _, known := range names {
			if strings.EqualFold(known, name) {
				fault.fix = fmt.Sprintf("write %q", s[:digits]+known)
			}
		}
	}
	return 0, fault
}

// String writes s in the largest unit of 1024 that divides it: "1GiB", "1500B".
func (s Size) String() string {
	if s == 0 {
		return "0"
	}
	for _, u := range sizeUnits[:4] {
		if int64(s)%u.unit == 0 {
			return strconv.FormatInt(int64(s)/u.unit, 10) + u.name
		}
	}
	return strconv.FormatInt(int64(s), 10) + "B"
}

// MarshalText is String, for JSON.
func (s Size) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// URL is an absolute URL. Printing it leaves out the password, and the values of query parameters that look like secrets.
type URL struct{ *url.URL }

// ParseURL reads a URL. Its errors never contain what stood before an @.
func ParseURL(s string) (URL, error) {
	const example = `write it like "https://host:port/path"`
	bad := func(is, want string) (URL, error) {
		given := s
		if strings.ContainsAny(s, "@?") {
			given = "" // it may hold a password
		}
		return URL{}, &valueError{given: given, is: is, want: want}
	}
	relative := func() (URL, error) {
		e := &valueError{given: s, is: "is not an absolute URL", want: example, fix: fmt.Sprintf("write %q", "http://"+strings.TrimLeft(s, "/"))}
		if strings.ContainsAny(s, "@?") {
			e.given, e.fix = "", ""
		}
		return URL{}, e
	}
	if s == "" {
		return bad("is not a URL", example)
	}
	if strings.TrimSpace(s) != s || strings.ContainsAny(s, " \t\n\r") {
		return bad("is not a URL: it holds white space", example)
	}
	u, err := url.Parse(s)
	var inner *url.Error
	switch {
	case err == nil:
	case strings.Contains(s, "@"):
		return bad("is not a URL", "a password with special characters is written percent-encoded: %23 for #, %2F for /, %40 for @")
	case errors.As(err, &inner) && strings.Contains(inner.Err.Error(), "first path segment"):
		return relative()
	case errors.As(err, &inner):
		return bad("is not a URL: "+inner.Err.Error(), example)
	default:
		return bad("is not a URL", example)
	}
	switch {
	case u.Scheme == "", u.Opaque != "": // "loki:3100/push" parses as scheme loki
		return relative()
	case u.Host == "" && (u.Scheme == "http" || u.Scheme == "https" || u.Path == ""):
		return bad("is a URL without a host", example)
	case u.Host != "" && u.Hostname() == "":
		return bad("is a URL without a host", example)
	}
	if port := u.Port(); port != "" {
		if n, err := strconv.Atoi(port); err != nil || n < 1 || n > 65535 {
			return bad("is not a URL: the port is not between 1 and 65535", example)
		}
	}
	return URL{u}, nil
}

// secretQuery are parts of names of query parameters whose values are left out where a URL is printed.
var secretQuery = regexp.MustCompile(`(?i)token|secret|passw|pwd|api_?key|auth|sig(nature)?$|credential|^key$`)

// String is the URL for people: without its password and without the values of query parameters that look like secrets.
func (u URL) String() string {
	if u.URL == nil {
		return ""
	}
	c := *u.URL
	if c.User != nil {
		if _, has := c.User.Password(); has {
			c.User = url.UserPassword(c.User.Username(), "xxxxx")
		}
	}
	if c.RawQuery != "" {
		parts := strings.Split(c.RawQuery, "&")
		for i, p := range parts {
			name, _, _ := strings.Cut(p, "=")
			if plain, err := url.QueryUnescape(name); err != nil || secretQuery.MatchString(plain) {
				parts[i] = name + "=xxxxx"
			}
		}
		c.RawQuery = strings.Join(parts, "&")
	}
	return c.String()
}

// Redacted is String; it hides the method of url.URL that leaves the query as it is.
func (u URL) Redacted() string { return u.String() }

// IsSet says whether a URL was given.
func (u URL) IsSet() bool { return u.URL != nil }

// Format prints String for every verb, so that %#v and %+v don't reach the fields.
func (u URL) Format(f fmt.State, verb rune) { printAs(f, verb, u.String()) }

// GoString is String, quoted.
func (u URL) GoString() string { return strconv.Quote(u.String()) }

// MarshalText is String.
func (u URL) MarshalText() ([]byte, error) { return []byte(u.String()), nil }

// MarshalBinary is String: the method of url.URL would give the password.
func (u URL) MarshalBinary() ([]byte, error) { return []byte(u.String()), nil }

// AppendBinary is String appended: the method of url.URL would give the password.
func (u URL) AppendBinary(b []byte) ([]byte, error) { return append(b, u.String()...), nil }

// LogValue is String.
func (u URL) LogValue() slog.Value { return slog.StringValue(u.String()) }

// Regexp is a regular expression in RE2 syntax, as written (not anchored).
type Regexp struct{ *regexp.Regexp }

// ParseRegexp compiles a Regexp.
func ParseRegexp(s string) (Regexp, error) {
	re, err := regexp.Compile(s)
	if err == nil {
		return Regexp{re}, nil
	}
	is, want := "is not a regular expression", ""
	var fault *syntax.Error
	if errors.As(err, &fault) {
		is += ": " + fault.Code.String()
		want = regexpRemedy(fault)
	}
	return Regexp{}, &valueError{given: s, is: is, want: want}
}

func regexpRemedy(fault *syntax.Error) string {
	switch fault.Code {
	case syntax.ErrInvalidPerlOp:
		return "the syntax is RE2's, which knows no lookahead, lookbehind or atomic groups"
	case syntax.ErrMissingRepeatArgument:
		return `nothing stands before the repetition: for a literal character write it after two backslashes, as in "\\*"`
	case syntax.ErrInvalidEscape:
		return "the syntax is RE2's, which knows no backreferences"
	}
	return ""
}

// IsSet says whether an expression was given.
func (r Regexp) IsSet() bool { return r.Regexp != nil }

// String is the expression as written, "" when none was given.
func (r Regexp) String() string {
	if r.Regexp == nil {
		return ""
	}
	return r.Regexp.String()
}

// MarshalText is String.
func (r Regexp) MarshalText() ([]byte, error) { return []byte(r.String()), nil }

// valueError is a fault of a value. Its text shows the value, except where the value is not to be shown.
type valueError struct {
	given string // "" shows nothing
	is    string // what is wrong: "is not a duration"
	want  string // what to do about it
	fix   string // what to write in its place, made of the value; "" when there is no saying
}

func (e *valueError) Error() string {
	s := e.what(false)
	if remedy := e.remedy(false); remedy != "" {
		s += ": " + remedy
	}
	return s
}

// remedy is what to do about it; hidden leaves the value out.
func (e *valueError) remedy(hidden bool) string {
	if e.fix != "" && !hidden {
		return e.fix
	}
	return e.want
}

// what is the text without the remedy; hidden leaves the value out.
func (e *valueError) what(hidden bool) string {
	if e.given == "" || hidden {
		if i := strings.Index(e.is, ": "); hidden && i >= 0 {
			return "the value " + e.is[:i]
		}
		return "the value " + e.is
	}
	return fmt.Sprintf("%s %s", quoteShort(e.given), e.is)
}

// quoteShort quotes s for a message, cut where it is long.
func quoteShort(s string) string {
	const most = 80
	if len(s) > most {
		cut := most
		for cut > 0 && s[cut]&0xC0 == 0x80 {
			cut--
		}
		return strconv.Quote(s[:cut]) + "..."
	}
	return strconv.Quote(s)
}

// printAs is fmt's behaviour for a plain string under any verb that makes sense for one.
func printAs(f fmt.State, verb rune, s string) {
	switch {
	case verb == 'q', verb == 'v' && f.Flag('#'):
		s = strconv.Quote(s)
	}
	if width, ok := f.Width(); ok {
		pad := strings.Repeat(" ", max(0, width-len([]rune(s))))
		if f.Flag('-') {
			s += pad
		} else {
			s = pad + s
		}
	}
	_, _ = f.Write([]byte(s))
}
