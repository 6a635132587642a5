package wire

import (
	"bytes"
	"encoding/binary"
	"math"
	"testing"

	"pgregory.net/rapid"
)

func TestSizeIsThatOfTheVarint(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		v := rapid.Uint64().Draw(t, "v")
		if got, want := Size(v), len(binary.AppendUvarint(nil, v)); got != want {
			t.Fatalf("Size(%d) = %d, want %d", v, got, want)
		}
	})
}

func TestFieldsComeBack(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		text := rapid.String().Draw(t, "text")
		number := rapid.Uint64Min(1).Draw(t, "number")
		message := AppendString(nil, 1, text)
		if len(message) != SizeString(text) {
			t.Fatalf("SizeString(%q) = %d, want %d", text, SizeString(text), len(message))
		}
		message = AppendVarint(message, 2, number)
		message = AppendVarint(message, 2, 0) // nothing
		message = AppendFixed8(message, 3, number)
		message = AppendBytes(message, 15, []byte(text))
		want := []Field{{Number: 1, Type: Bytes}, {Number: 2, Type: Varint, Value: number}, {Number: 3, Type: Fixed8, Value: number}, {Number: 15, Type: Bytes}}
		all, whole := message, []byte(nil)
		for _, w := range want {
			f, rest, err := Next(message)
			if err != nil || f.Number != w.Number || f.Type != w.Type || f.Value != w.Value || w.Type == Bytes && string(f.Bytes) != text {
				t.Fatalf("field %+v, %v, want %+v", f, err, w)
			}
			whole, message = append(whole, f.Whole...), rest
		}
		if len(message) != 0 || !bytes.Equal(whole, all) {
			t.Fatalf("%d bytes are left, and the fields are %q of %q", len(message), whole, all)
		}
	})
}

func TestZigZag(t *testing.T) {
	for v, want := range map[int64]uint64{0: 0, -1: 1, 1: 2, -2: 3, math.MaxInt64: math.MaxUint64 - 1, math.MinInt64: math.MaxUint64} {
		if got := ZigZag(v); got != want {
			t.Errorf("ZigZag(%d) = %d, want %d", v, got, want)
		}
	}
}

func FuzzNext(f *testing.F) {
	f.Add([]byte("\x0a\x03abc\x10\x07\x19abcdefgh\x25abcd"))
	f.Add([]byte("\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"))
	f.Fuzz(func(t *testing.T, message []byte) {
		rest := message
		var whole []byte
		for len(rest) > 0 {
			field, after, err := Next(rest)
			if err != nil {
				return
			}
			if len(after) >= len(rest) {
				t.Fatal("no progress")
			}
			whole, rest = append(whole, field.Whole...), after
		}
		if !bytes.Equal(whole, message) {
			t.Fatal("the fields are not the message")
		}
	})
}
