//go:build integration

package harness

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
)

// promQL asks whatever answers Prometheus' query API.
type promQL struct {
	base   string // before /api/v1
	tenant string
}

// answered is a series of a query's answer, with one value or many.
type answered struct {
	Metric map[string]string
	Value  [2]any
	Values [][2]any
}

func (p promQL) query(expr string) ([]answered, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, p.base+"/api/v1/query?query="+url.QueryEscape(expr), nil)
	if err != nil {
		return nil, err
	}
	if p.tenant != "" {
		request.Header.Set("X-Scope-OrgID", p.tenant)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		return nil, err
	}
	if response.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%s: %s: %.500s", expr, response.Status, body)
	}
	var answer struct{ Data struct{ Result []answered } }
	if err := json.Unmarshal(body, &answer); err != nil {
		return nil, fmt.Errorf("%s: %w: %.500s", expr, err, body)
	}
	return answer.Data.Result, nil
}

func point(v [2]any) (Point, error) {
	seconds, _ := v[0].(float64)
	text, _ := v[1].(string)
	value, err := strconv.ParseFloat(text, 64)
	return Point{Time: int64(seconds*1000 + 0.5), Value: value}, err
}

// vector asks for an instant vector.
func (p promQL) vector(expr string) ([]Result, error) {
	series, err := p.query(expr)
	if err != nil {
		return nil, err
	}
	out := make([]Result, 0, len(series))
	for _, s := range series {
		at, err := point(s.Value)
		if err != nil {
			return nil, err
		}
		out = append(out, Result{s.Metric, at.Value})
	}
	return out, nil
}

// matrix asks for the samples of a range selector, as they were stored.
func (p promQL) matrix(selector string) ([]Pushed, error) {
	series, err := p.query(selector)
	if err != nil {
		return nil, err
	}
	out := make([]Pushed, 0, len(series))
	for _, s := range series {
		one := Pushed{Labels: s.Metric}
		for _, v := range s.Values {
			at, err := point(v)
			if err != nil {
				return nil, err
			}
			one.Samples = append(one.Samples, at)
		}
		out = append(out, one)
	}
	return out, nil
}

// selfMetric sums a counter of a server's own /metrics by one label.
func selfMetric(address, name, label string) (map[string]int, error) {
	page, err := get("http://" + address + "/metrics")
	if err != nil {
		return nil, err
	}
	// Only the family that is asked for: the page has thousands of lines.
	var kept bytes.Buffer
	for line := range strings.Lines(string(page)) {
		if strings.HasPrefix(line, name+"{") {
			kept.WriteString(line)
		}
	}
	parser := expfmt.NewTextParser(model.LegacyValidation)
	families, err := parser.TextToMetricFamilies(&kept)
	if err != nil {
		return nil, err
	}
	out := map[string]int{}
	for _, family := range families {
		for _, m := range family.Metric {
			for _, l := range m.Label {
				if l.GetName() == label {
					out[l.GetValue()] += int(m.GetUntyped().GetValue())
				}
			}
		}
	}
	return out, nil
}
