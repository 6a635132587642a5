package positions

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"maps"
	"slices"
)

// The file, all numbers little endian:
//
//	 0  8  magic "hermodps"
//	 8  4  version, 1
//	12  8  when it was written, seconds since 1970
//	20  8  length of the body in bytes
//	28  4  CRC-32C of the body
//	32  4  CRC-32C of the 32 bytes before
//	36     body; the file ends with it
//
// The body is the books:
//
//	uvarint  number of books, then for each, by address
//	  string   address of the input
//	  uvarint  number of positions, then for each
//	    string   key
//	    string   path
//	    uvarint  device
//	    uvarint  inode
//	    varint   born
//	    8 bytes  hash of the head
//	    varint   length of the head
//	    varint   offset
//	    varint   time
//	    varint   repeats
//	    varint   since
//	    varint   updated
//
// A string is its length in bytes as uvarint and then its bytes, which need not be UTF-8: a path may hold anything but NUL. uvarint and
// varint are those of encoding/binary.
const (
	magic      = "hermodps"
	version    = 1
	headerSize = 36
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// contents is what the file holds: address -> key -> position.
type contents map[string]map[string]Position

// encode appends the file's bytes to b.
func encode(b []byte, all contents, writtenAt int64) []byte {
	start := len(b)
	b = append(b, make([]byte, headerSize)...)
	b = binary.AppendUvarint(b, uint64(len(all)))
	for _, address := range slices.Sorted(maps.Keys(all)) {
		book := all[address]
		b = appendString(b, address)
		b = binary.AppendUvarint(b, uint64(len(book)))
		for key, p := range book {
			b = appendString(b, key)
			b = appendString(b, p.Path)
			b = binary.AppendUvarint(b, p.Device)
			b = binary.AppendUvarint(b, p.Inode)
			b = binary.AppendVarint(b, p.Born)
			b = binary.LittleEndian.AppendUint64(b, p.Head)
			b = binary.AppendVarint(b, p.HeadLen)
			b = binary.AppendVarint(b, p.Offset)
			b = binary.AppendVarint(b, p.Time)
			b = binary.AppendVarint(b, p.Repeats)
			b = binary.AppendVarint(b, p.Since)
			b = binary.AppendVarint(b, p.Updated)
		}
	}
	header := b[start : start+headerSize]
	copy(header, magic)
	binary.LittleEndian.PutUint32(header[8:], version)
	binary.LittleEndian.PutUint64(header[12:], uint64(writtenAt))
	seal(b[start:])
	return b
}

// seal writes the length of the body and the checksums into the header that b begins with.
func seal(b []byte) []byte {
	header, body := b[:headerSize], b[headerSize:]
	binary.LittleEndian.PutUint64(header[20:], uint64(len(body)))
	binary.LittleEndian.PutUint32(header[28:], crc32.Checksum(body, castagnoli))
	binary.LittleEndian.PutUint32(header[32:], crc32.Checksum(header[:32], castagnoli))
	return b
}

func appendString(b []byte, s string) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}

// decode reads the file's bytes. Any byte that isn't as it was written is an error.
func decode(b []byte) (contents, error) {
	if len(b) < headerSize {
		return nil, fmt.Errorf("it has %d bytes, fewer than a header", len(b))
	}
	header, body := b[:headerSize], b[headerSize:]
	if string(header[:8]) != magic {
		return nil, errors.New("it doesn't begin like a positions file")
	}
	if crc32.Checksum(header[:32], castagnoli) != binary.LittleEndian.Uint32(header[32:]) {
		return nil, errors.New("the header's checksum is wrong")
	}
	if v := binary.LittleEndian.Uint32(header[8:]); v != version {
		return nil, fmt.Errorf("it has version %d and this agent reads %d", v, version)
	}
	if n := binary.LittleEndian.Uint64(header[20:]); n != uint64(len(body)) {
		return nil, fmt.Errorf("its body has %d bytes instead of %d", len(body), n)
	}
	if crc32.Checksum(body, castagnoli) != binary.LittleEndian.Uint32(header[28:]) {
		return nil, errors.New("the body's checksum is wrong")
	}
	r := reader{rest: body}
	all := contents{}
	for range r.count(minBook) {
		address := r.string()
		book := map[string]Position{}
		for range r.count(minPosition) {
			key := r.string()
			book[key] = Position{
				Path: r.string(), Device: r.uvarint(), Inode: r.uvarint(), Born: r.varint(), Head: r.fixed(), HeadLen: r.varint(),
				Offset: r.varint(), Time: r.varint(), Repeats: r.varint(), Since: r.varint(), Updated: r.varint(),
			}
		}
		all[address] = book
	}
	if r.failed || len(r.rest) != 0 {
		return nil, errors.New("its body can't be read")
	}
	return all, nil
}

// The fewest bytes that a book and a position take. A count that could not fit into the rest of the body is a fault, so that a
// made-up one can't make the reader loop or allocate.
const (
	minBook     = 2
	minPosition = 19
)

// reader takes values off the front of a body. After the first fault all it gives is zero.
type reader struct {
	rest   []byte
	failed bool
}

func (r *reader) fail() { r.failed, r.rest = true, nil }

func (r *reader) uvarint() uint64 {
	v, n := binary.Uvarint(r.rest)
	if n <= 0 {
		r.fail()
		return 0
	}
	r.rest = r.rest[n:]
	return v
}

func (r *reader) varint() int64 {
	v, n := binary.Varint(r.rest)
	if n <= 0 {
		r.fail()
		return 0
	}
	r.rest = r.rest[n:]
	return v
}

func (r *reader) fixed() uint64 {
	if len(r.rest) < 8 {
		r.fail()
		return 0
	}
	v := binary.LittleEndian.Uint64(r.rest)
	r.rest = r.rest[8:]
	return v
}

func (r *reader) string() string {
	n := r.uvarint()
	if n > uint64(len(r.rest)) {
		r.fail()
		return ""
	}
	s := string(r.rest[:n])
	r.rest = r.rest[n:]
	return s
}

func (r *reader) count(size int) int {
	n := r.uvarint()
	if n > uint64(len(r.rest)/size) {
		r.fail()
		return 0
	}
	return int(n)
}
