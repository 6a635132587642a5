package config

import (
	"crypto/sha256"
	"encoding"
	"encoding/binary"
	"fmt"
	"hash"
	"reflect"
	"slices"
	"strings"

	"github.com/prometheus/prometheus/model/labels"

	"github.com/hermod-agent/hermod/pipeline/config/internal/schema"
)

// fingerprint is SHA-256 over what the component and the engine see of a block. Every part is written with its length, so that no two
// configs run together to the same bytes. A secret counts by its value, or by the path of its file and not by what that holds.
func fingerprint(b *Block) [32]byte {
	h := digest{sha256.New()}
	h.text(b.Address)
	c := &b.Common
	h.number(len(c.From))
	for _, r := range c.From {
		h.text(r.String())
	}
	h.number(len(c.Where))
	for _, m := range c.Where {
		h.text(m.String())
	}
	c.Labels.Range(func(l labels.Label) {
		h.text(l.Name)
		h.text(l.Value)
	})
	h.text(fmt.Sprint(c.Enabled, int64(c.Interval), int64(c.Timeout), c.MaxSeries))
	h.text(c.Job)
	h.text(c.Instance)
	h.value(reflect.ValueOf(b.Config))
	var out [32]byte
	h.Sum(out[:0])
	return out
}

type digest struct{ hash.Hash }

func (h digest) number(n int) {
	var b [8]byte
	binary.BigEndian.PutUint64(b[:], uint64(n))
	_, _ = h.Write(b[:]) // a hash never fails
}

func (h digest) text(s string) {
	h.number(len(s))
	_, _ = h.Write([]byte(s))
}

func (h digest) value(v reflect.Value) {
	if v.Kind() == reflect.Pointer {
		if v.IsNil() {
			h.text("nil")
			return
		}
		h.text("pointer")
		h.value(v.Elem())
		return
	}
	if v.CanInterface() {
		switch t := v.Interface().(type) {
		case Secret:
			if t.value != nil {
				h.text("value")
				h.text(*t.value)
			}
			h.text(t.File())
			return
		case Regexp:
			h.text(t.String())
			return
		case URL:
			if t.URL != nil {
				h.text(t.URL.String())
			}
			h.text("")
			return
		}
	}
	switch v.Kind() {
	case reflect.Struct:
		fields, err := schema.Of(v.Type())
		if m, is := v.Interface().(encoding.TextMarshaler); is && (err != nil || len(fields) == 0) {
			text, _ := m.MarshalText() // what can't be written can't have been read
			h.text(string(text))
			return
		}
		for _, f := range fields {
			h.text(f.Name)
			h.value(schema.At(v, f.Path))
		}
	case reflect.Slice:
		h.number(v.Len())
		for i := range v.Len() {
			h.value(v.Index(i))
		}
	case reflect.Map:
		keys := v.MapKeys()
		slices.SortFunc(keys, func(a, b reflect.Value) int { return strings.Compare(a.String(), b.String()) })
		h.number(len(keys))
		for _, k := range keys {
			h.text(k.String())
			h.value(v.MapIndex(k))
		}
	default:
		h.text(fmt.Sprint(v.Interface()))
	}
}
