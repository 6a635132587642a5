package aws

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"
)

const (
	algorithm = "AWS4-HMAC-SHA256"
	// stamp and day are the forms of time in a signature: ISO 8601 without separators.
	stamp = "20060102T150405Z"
	day   = "20060102"
)

// Scope is what a signature is good for, besides the day.
type Scope struct {
	Region  string
	Service string // the name that the service signs with: "aps" for Managed Prometheus
}

// HashBody is the hash of a body as it is sent, in the form that Sign wants.
func HashBody(body []byte) string {
	sum := sha256.Sum256(body)
	return hex.EncodeToString(sum[:])
}

// Sign puts a signature of version 4 into the request's headers, with the date and the session token that belong to it
// (https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html). It is good for some minutes around now.
// Signed are the host, the type of the body and what begins with X-Amz-; a proxy may change the other headers.
func Sign(r *http.Request, bodyHash string, c Credentials, s Scope, now time.Time) {
	r.Header.Set("X-Amz-Date", now.UTC().Format(stamp))
	r.Header.Del("X-Amz-Security-Token")
	if c.SessionToken != "" {
		r.Header.Set("X-Amz-Security-Token", c.SessionToken)
	}
	host := r.Host
	if host == "" {
		host = r.URL.Host
	}
	host = withoutPort(r.URL.Scheme, host)
	r.Host = host
	m := message{method: r.Method, path: r.URL.EscapedPath(), query: r.URL.RawQuery, headers: map[string][]string{"host": {host}}, bodyHash: bodyHash}
	for name, values := range r.Header {
		if name = strings.ToLower(name); name == "content-type" || strings.HasPrefix(name, "x-amz-") {
			m.headers[name] = values
		}
	}
	r.Header.Set("Authorization", m.authorization(c, s, now))
}

// withoutPort takes the port away that goes without saying: it is not part of what is signed, so it must not be sent either.
func withoutPort(scheme, host string) string {
	switch scheme {
	case "http":
		host = strings.TrimSuffix(host, ":80")
	case "https":
		host = strings.TrimSuffix(host, ":443")
	}
	return host
}

// message is what is signed of a request.
type message struct {
	method   string
	path     string              // as it is sent
	query    string              // as it is sent
	headers  map[string][]string // with names in lower case
	bodyHash string
}

// authorization is the header of that name.
func (m *message) authorization(c Credentials, s Scope, now time.Time) string {
	now = now.UTC()
	scope := strings.Join([]string{now.Format(day), s.Region, s.Service, "aws4_request"}, "/")
	canonical, signed := m.canonical()
	toSign := strings.Join([]string{algorithm, now.Format(stamp), scope, HashBody([]byte(canonical))}, "\n")
	key := []byte("AWS4" + c.SecretKey)
	for part := range strings.SplitSeq(scope, "/") {
		key = mac(key, part)
	}
	return algorithm + " Credential=" + c.AccessKey + "/" + scope + ", SignedHeaders=" + signed + ", Signature=" + hex.EncodeToString(mac(key, toSign))
}

func mac(key []byte, text string) []byte {
	h := hmac.New(sha256.New, key)
	h.Write([]byte(text))
	return h.Sum(nil)
}

// canonical is the form of a request that both sides hash, and the names of the headers in it.
func (m *message) canonical() (text, signed string) {
	names := make([]string, 0, len(m.headers))
	for name := range m.headers {
		names = append(names, name)
	}
	slices.Sort(names)
	signed = strings.Join(names, ";")
	var b strings.Builder
	b.WriteString(m.method + "\n" + canonicalPath(m.path) + "\n" + canonicalQuery(m.query) + "\n")
	for _, name := range names {
		b.WriteString(name + ":")
		for i, value := range m.headers[name] {
			if i > 0 {
				b.WriteByte(',')
			}
			b.WriteString(strings.Join(strings.Fields(value), " "))
		}
		b.WriteByte('\n')
	}
	b.WriteString("\n" + signed + "\n" + m.bodyHash)
	return b.String(), signed
}

// canonicalPath takes needless parts of a path away and escapes what is there, which is what was escaped to be sent, once more. (S3 does
// neither; nothing here talks to S3.)
func canonicalPath(path string) string {
	var kept []string
	last := ""
	for part := range strings.SplitSeq(path, "/") {
		last = part
		switch part {
		case "", ".":
		case "..":
			kept = kept[:max(0, len(kept)-1)]
		default:
			kept = append(kept, part)
		}
	}
	out := "/" + strings.Join(kept, "/")
	if len(kept) > 0 && (last == "" || last == "." || last == "..") {
		out += "/"
	}
	return escape(out, true)
}

// canonicalQuery sorts a query by names and then by values, both escaped.
func canonicalQuery(query string) string {
	type pair struct{ name, value string }
	var pairs []pair
	for part := range strings.SplitSeq(query, "&") {
		if part == "" {
			continue
		}
		name, value, _ := strings.Cut(part, "=")
		pairs = append(pairs, pair{escape(unescape(name), false), escape(unescape(value), false)})
	}
	slices.SortFunc(pairs, func(a, b pair) int {
		if c := strings.Compare(a.name, b.name); c != 0 {
			return c
		}
		return strings.Compare(a.value, b.value)
	})
	var b strings.Builder
	for i, p := range pairs {
		if i > 0 {
			b.WriteByte('&')
		}
		b.WriteString(p.name + "=" + p.value)
	}
	return b.String()
}

func unescape(s string) string {
	if plain, err := url.QueryUnescape(s); err == nil {
		return plain
	}
	return s
}

// escape escapes all but the unreserved characters of RFC 3986, and slashes where they part a path.
func escape(s string, path bool) string {
	const hexDigits = "0123456789ABCDEF"
	var b strings.Builder
	for i := range len(s) {
		c := s[i]
		switch {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9', strings.IndexByte("-._~", c) >= 0, path && c == '/':
			b.WriteByte(c)
		default:
			b.WriteByte('%')
			b.WriteByte(hexDigits[c>>4])
			b.WriteByte(hexDigits[c&15])
		}
	}
	return b.String()
}
