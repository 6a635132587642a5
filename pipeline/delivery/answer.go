package delivery

import (
	"net/http"
	"net/textproto"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// maxRetryAfter bounds how long a backend can make us wait.
const maxRetryAfter = 5 * time.Minute

// maxWords bounds what is kept of a backend's own words, in bytes.
const maxWords = 600

// Answer is what came back for a block.
type Answer struct {
	// Status is the HTTP status, 0 when there was no answer; Err then says why, in words for people and with a remedy.
	Status int
	Err    error
	// Misconfigured says that this won't go away by itself and isn't about the block: a certificate that isn't trusted, a secret's file
	// that can't be read, a server that wants https.
	Misconfigured bool
	// RetryAfter is how long the backend asks to be left alone; 0 when it doesn't say.
	RetryAfter time.Duration
	// Words are the backend's own: one line, bounded, control characters escaped.
	Words string
	// Body is the beginning of the answer's body as it came, and Truncated that there was more.
	Body      []byte
	Truncated bool
	// Location is where a redirect leads.
	Location string
	// Stored is how many items the backend says that it has stored, where Counted says that it says so.
	Stored  int
	Counted bool
	// TooLarge says that the words of a 429 mean the size of this body, which waiting doesn't change.
	TooLarge bool
	// Unsupported says that the words mean the encoding of the body, and not what is in it: it is sent again in another one, as after a 415.
	Unsupported bool
}

// Answered makes an Answer of a response. body may be a part of the response's body.
func Answered(status int, header http.Header, body []byte, now time.Time) Answer {
	a := Answer{Status: status, Words: Words(body), Body: body}
	if status == http.StatusTooManyRequests || status == http.StatusServiceUnavailable {
		a.RetryAfter = retryAfter(header.Get("Retry-After"), now)
	}
	if status >= 300 && status < 400 {
		a.Location = header.Get("Location")
	}
	return a
}

// retryAfter reads the header of that name (RFC 9110, 10.2.3): seconds or a date.
func retryAfter(value string, now time.Time) time.Duration {
	value = textproto.TrimString(value)
	var d time.Duration
	if n, err := strconv.ParseInt(value, 10, 64); err == nil {
		d = maxRetryAfter
		if n < int64(maxRetryAfter/time.Second) {
			d = time.Duration(n) * time.Second
		}
	} else if at, err := http.ParseTime(value); err == nil {
		d = at.Sub(now)
	}
	return min(max(d, 0), maxRetryAfter)
}

// Words makes text that came from elsewhere fit for a line on a terminal: one line, bounded, control characters and bad UTF-8 escaped.
func Words(text []byte) string {
	var b strings.Builder
	space := false
	for len(text) > 0 && b.Len() < maxWords {
		r, n := utf8.DecodeRune(text)
		switch {
		case r == utf8.RuneError && n == 1:
			b.WriteString(`\x` + strconv.FormatUint(uint64(text[0])|0x100, 16)[1:])
			space = false
		case unicode.IsSpace(r):
			if !space && b.Len() > 0 {
				b.WriteByte(' ')
			}
			space = true
		case unicode.IsControl(r) || !unicode.IsPrint(r):
			quoted := strconv.QuoteRuneToASCII(r)
			b.WriteString(quoted[1 : len(quoted)-1])
			space = false
		default:
			b.WriteRune(r)
			space = false
		}
		text = text[n:]
	}
	out := strings.TrimRight(b.String(), " ")
	if len(text) > 0 {
		out += "..."
	}
	return out
}

// verdict is what an answer means for the block.
type verdict uint8

const (
	delivered    verdict = iota // stored, or taken for good
	retry                       // again, for ever
	limited                     // again, when the backend wants it or later
	hold                        // somebody has to change something: again, now and then
	tooLarge                    // again in halves
	unsupported                 // again in another encoding
	refused                     // never again
	unauthorized                // hold, or refused where the user wants that
)

// judge says what an answer means. It is the table of the design, section 4 point 7.
func judge(a Answer) verdict {
	switch s := a.Status; {
	case a.Misconfigured:
		return hold
	case a.Unsupported:
		return unsupported
	case s == 0:
		return retry
	case s >= 200 && s < 300:
		return delivered
	case s == http.StatusTooManyRequests, s == http.StatusServiceUnavailable:
		return limited
	case s == http.StatusRequestTimeout, s == http.StatusTooEarly, s >= 500:
		return retry
	case s == http.StatusRequestEntityTooLarge:
		return tooLarge
	case s == http.StatusUnsupportedMediaType:
		return unsupported
	case s == http.StatusBadRequest, s == http.StatusConflict, s == http.StatusUnprocessableEntity:
		return refused
	case s == http.StatusUnauthorized, s == http.StatusForbidden, s == http.StatusProxyAuthRequired:
		return unauthorized
	}
	// 404, 405, redirects, and what else there is: the address isn't that of a backend, or something in between doesn't let us through.
	// Nothing is lost for that.
	return hold
}
