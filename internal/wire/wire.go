// Package wire is the little of protobuf's wire format (https://protobuf.dev/programming-guides/encoding/) that the encoders of push bodies
// need: they write straight into the body, and walk over it again to divide it.
package wire

import (
	"encoding/binary"
	"errors"
	"math/bits"
)

// Types of fields on the wire.
const (
	Varint = 0
	Fixed8 = 1 // eight bytes
	Bytes  = 2
	Fixed4 = 5 // four bytes
)

// ErrBroken is returned for bytes that are not a message.
var ErrBroken = errors.New("not a protobuf message")

// Tag is the key of a field with a number below 16: one byte.
func Tag(number, typ byte) byte { return number<<3 | typ }

// Size is the length of v as a varint.
func Size(v uint64) int { return (bits.Len64(v|1) + 6) / 7 }

// AppendBytes appends a field of bytes.
func AppendBytes(dst []byte, number byte, value []byte) []byte {
	dst = binary.AppendUvarint(append(dst, Tag(number, Bytes)), uint64(len(value)))
	return append(dst, value...)
}

// AppendString appends a field of text.
func AppendString(dst []byte, number byte, value string) []byte {
	dst = binary.AppendUvarint(append(dst, Tag(number, Bytes)), uint64(len(value)))
	return append(dst, value...)
}

// SizeString is the length of what AppendString appends.
func SizeString(value string) int { return 1 + Size(uint64(len(value))) + len(value) }

// AppendVarint appends a number; zero is left out, as proto3 does.
func AppendVarint(dst []byte, number byte, value uint64) []byte {
	if value == 0 {
		return dst
	}
	return binary.AppendUvarint(append(dst, Tag(number, Varint)), value)
}

// AppendFixed8 appends eight bytes, zero included.
func AppendFixed8(dst []byte, number byte, value uint64) []byte {
	return binary.LittleEndian.AppendUint64(append(dst, Tag(number, Fixed8)), value)
}

// ZigZag is the encoding of sint32 and sint64.
func ZigZag(v int64) uint64 { return uint64(v<<1) ^ uint64(v>>63) }

// Field is a field of a message.
type Field struct {
	Number uint64
	Type   byte
	Value  uint64 // of a Varint, Fixed4 or Fixed8
	Bytes  []byte // of Bytes: a slice of the message
	Whole  []byte // the field with its key
}

// Next splits the first field off a message.
func Next(message []byte) (f Field, rest []byte, err error) {
	key, n := binary.Uvarint(message)
	if n <= 0 || key>>3 == 0 {
		return f, nil, ErrBroken
	}
	f.Number, f.Type = key>>3, byte(key&7)
	rest = message[n:]
	switch f.Type {
	case Varint:
		f.Value, n = binary.Uvarint(rest)
		if n <= 0 {
			return f, nil, ErrBroken
		}
		rest = rest[n:]
	case Fixed8:
		if len(rest) < 8 {
			return f, nil, ErrBroken
		}
		f.Value, rest = binary.LittleEndian.Uint64(rest), rest[8:]
	case Fixed4:
		if len(rest) < 4 {
			return f, nil, ErrBroken
		}
		f.Value, rest = uint64(binary.LittleEndian.Uint32(rest)), rest[4:]
	case Bytes:
		size, n := binary.Uvarint(rest)
		if n <= 0 || size > uint64(len(rest)-n) {
			return f, nil, ErrBroken
		}
		f.Bytes, rest = rest[n:n+int(size)], rest[n+int(size):]
	default:
		return f, nil, ErrBroken
	}
	f.Whole = message[:len(message)-len(rest)]
	return f, rest, nil
}
