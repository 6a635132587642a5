package nginx

import (
	"bytes"
	"cmp"
	"fmt"
	"net/http"
	"strconv"

	"github.com/hermod-agent/hermod/internal/httpclient"
	"github.com/hermod-agent/hermod/pipeline/component"
)

// refused says what to do about an answer that isn't the page.
func (in *input) refused(reply *httpclient.Reply) error {
	switch reply.Status {
	case http.StatusNotFound:
		return component.WithRemedy(fmt.Errorf("%s answered 404 (Not Found)", in.client.URL()),
			"the server has no status page there: check the URL, or add to its server block: "+in.location("127.0.0.1"))
	case http.StatusForbidden:
		return component.WithRemedy(fmt.Errorf("%s answered 403 (Forbidden): the server doesn't let this agent see its status page", in.client.URL()),
			"allow the address from which the agent comes (nginx's error log names it) in the page's location: "+in.location("ADDRESS"))
	}
	return in.client.ExplainStatus(reply.Status, words(reply.Body), reply.Header.Get("Location"))
}

// location is the block of nginx's config that shows the page.
func (in *input) location(allow string) string {
	what := "stub_status;"
	if in.format == vts {
		what = "vhost_traffic_status_display; vhost_traffic_status_display_format json;"
	}
	return fmt.Sprintf("location = %s { %s allow %s; deny all; }", cmp.Or(in.client.URL().Path, "/"), what, allow)
}

// notThePage is told of a page that can't be read.
func (in *input) notThePage(err error) error {
	remedy := "check the URL: it is that of the page with stub_status in its location, or with /format/json at the end that of the module VTS"
	if in.format != "" {
		remedy = fmt.Sprintf("check the URL, and format = %q: without it the format is recognised by itself", in.format)
	}
	return component.WithRemedy(fmt.Errorf("%s: %w; it begins with %s", in.client.URL(), err, words(in.page)), remedy)
}

// words are the beginning of what a server said, fit for a message: the title of a page, which says what is wrong where nginx refuses, or the
// first line.
func words(body []byte) string {
	line, _, _ := bytes.Cut(bytes.TrimSpace(body), []byte("\n"))
	if _, rest, found := bytes.Cut(body, []byte("<title>")); found {
		if title, _, closed := bytes.Cut(rest, []byte("</title>")); closed {
			line = title
		}
	}
	line = bytes.TrimSpace(line)
	return strconv.Quote(string(line[:min(len(line), 80)]))
}
