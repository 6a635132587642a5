package prometheus

import (
	"bytes"
	"math"
	"strconv"
	"strings"
	"testing"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"
)

// reference renders v as client_golang does.
func reference(t interface{ Fatal(...any) }, v float64) string {
	var b bytes.Buffer
	family := &dto.MetricFamily{
		Name: proto.String("x"), Type: dto.MetricType_UNTYPED.Enum(),
		Metric: []*dto.Metric{{Untyped: &dto.Untyped{Value: proto.Float64(v)}}},
	}
	if _, err := expfmt.MetricFamilyToText(&b, family); err != nil {
		t.Fatal(err)
	}
	text := b.String()
	return strings.TrimSpace(text[strings.LastIndex(text, "\nx ")+3:])
}

func TestValuesAreWrittenAsClientGolangWritesThem(t *testing.T) {
	values := []float64{
		0, math.Copysign(0, -1), 1, -1, 9, 10, 100, 99999, 100000, 999999, 1e6, 1000001, -1e6, 1.5e9, 123456789, 1e15, 9007199254740991,
		9007199254740992, 9007199254740993, -9007199254740992, 1e16, 1e20, 1e21, 1e22, 1e300, 0.1, 1.5, 1e-4, 1e-5, 3.14159, 5e-324,
		math.MaxFloat64, math.NaN(), math.Inf(1), math.Inf(-1), 1 << 62, 1 << 63, 1 << 64, 0.30000000000000004, 1690000000.123,
	}
	for _, v := range values {
		if got, want := string(appendValue(nil, v)), reference(t, v); got != want {
			t.Errorf("%g is written %s, client_golang writes %s", v, got, want)
		}
	}
	rapid.Check(t, func(t *rapid.T) {
		v := rapid.OneOf(rapid.Float64(), rapid.Map(rapid.Int64(), func(i int64) float64 { return float64(i) }),
			rapid.Map(rapid.Int64Range(-1<<54, 1<<54), func(i int64) float64 { return float64(i) }),
			rapid.Map(rapid.IntRange(-20, 20), func(e int) float64 { return math.Pow10(e) })).Draw(t, "value")
		if got, want := string(appendValue([]byte("prefix "), v)), "prefix "+reference(t, v); got != want {
			t.Fatalf("%g is written %s, client_golang writes %s", v, got, want)
		}
	})
}

func TestOpenMetricsFloatsHaveAPointAndCountsNone(t *testing.T) {
	for _, c := range []struct {
		v            float64
		float, count string
	}{
		{0, "0.0", "0"}, {1, "1.0", "1"}, {-1, "-1.0", "-1.0"}, {1.5, "1.5", "1.5"}, {1e6, "1e+06", "1000000"},
		{123456789, "1.23456789e+08", "123456789"}, {math.NaN(), "NaN", "NaN"}, {math.Inf(1), "+Inf", "+Inf"}, {1 << 63, "9.223372036854776e+18", "9.223372036854776e+18"},
	} {
		if got := string(appendFloat(nil, c.v)); got != c.float {
			t.Errorf("the float %g is written %s, want %s", c.v, got, c.float)
		}
		if got := string(appendCount(nil, c.v)); got != c.count {
			t.Errorf("the count %g is written %s, want %s", c.v, got, c.count)
		}
	}
}

func TestMillisecondsAreWrittenAsSeconds(t *testing.T) {
	for ms, want := range map[int64]string{0: "0.0", 1: "0.001", 1700000000123: "1700000000.123", 1700000000000: "1700000000.0", -1500: "-1.500", 12340: "12.340"} {
		got := string(appendSeconds(nil, ms))
		if got != want {
			t.Errorf("%d ms are written %s, want %s", ms, got, want)
		}
		if f, err := strconv.ParseFloat(got, 64); err != nil || math.Abs(f*1000-float64(ms)) > 0.001 {
			t.Errorf("%s isn't %d ms: %v", got, ms, err)
		}
	}
}
