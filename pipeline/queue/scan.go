package queue

import (
	"bytes"
	"errors"
	"io"
)

// span is a part of a file.
type span struct{ from, to int64 }

// scanned is what the headers of a segment's blocks say.
type scanned struct {
	damaged []span // what lies before or between blocks and isn't one
	end     int64  // of the last whole block, or of the segment's header
	torn    bool   // what follows isn't a block
	header  error  // what is wrong with the segment's own header
}

// scan calls visit for each block of a segment, without a look at the bodies, nor, where there is an index, at the headers. Behind what isn't a
// block it searches for the next. It fails when the file can't be read.
func scan(f io.ReaderAt, size int64, salt uint32, visit func(r record, at int64)) (s scanned, err error) {
	b := make([]byte, blockHeader)
	if err := readFull(f, b[:min(segmentHeader, size)], 0); err != nil {
		return s, err
	}
	s.header = checkSegmentHeader(b[:min(segmentHeader, size)])
	if errors.Is(s.header, errVersion) {
		return s, s.header
	}
	at := min(segmentHeader, size)
	s.end = at
	records, err := readIndex(f, size, salt)
	if err != nil {
		return s, err
	}
	for _, r := range records {
		visit(r, s.end)
		s.end += r.length
	}
	if len(records) > 0 {
		return s, nil
	}
	for at < size {
		r, ok, err := recordAt(f, at, size, salt, b)
		if err != nil {
			return s, err
		}
		if !ok {
			from := at
			if at, err = nextRecord(f, at+1, size, salt, b); err != nil {
				return s, err
			}
			if at < 0 {
				s.torn = true
				return s, nil
			}
			s.damaged = append(s.damaged, span{from, at})
			continue
		}
		visit(r, at)
		at += r.length
		s.end = at
	}
	return s, nil
}

// readIndex reads the index at the end of a segment. There is none in one that wasn't ended in order, or whose end is damaged.
func readIndex(f io.ReaderAt, size int64, salt uint32) ([]record, error) {
	if size < segmentHeader+blockHeader+indexTrailer {
		return nil, nil
	}
	var trailer [indexTrailer]byte
	if err := readFull(f, trailer[:], size-indexTrailer); err != nil {
		return nil, err
	}
	length := indexLength(trailer[:])
	if length == 0 || length > size-segmentHeader {
		return nil, nil
	}
	b := make([]byte, length)
	if err := readFull(f, b, size-length); err != nil {
		return nil, err
	}
	if records, ok := parseIndex(salt, b, size-length); ok {
		return records, nil
	}
	return nil, nil
}

// recordAt reads the header of a block that lies within the file as a whole. b has the length of a header.
func recordAt(f io.ReaderAt, at, size int64, salt uint32, b []byte) (record, bool, error) {
	if size-at < blockHeader {
		return record{}, false, nil
	}
	if err := readFull(f, b, at); err != nil {
		return record{}, false, err
	}
	r, err := parseRecord(salt, b)
	return r, err == nil && at+r.length <= size, nil
}

// nextRecord finds the first whole block from at on, -1 when there is none.
func nextRecord(f io.ReaderAt, at, size int64, salt uint32, header []byte) (int64, error) {
	chunk := make([]byte, 64<<10)
	for size-at >= blockHeader {
		b := chunk[:min(int64(len(chunk)), size-at)]
		if err := readFull(f, b, at); err != nil {
			return 0, err
		}
		from := 0
		for {
			i := bytes.Index(b[from:], []byte(blockMagic))
			if i < 0 {
				break
			}
			_, ok, err := recordAt(f, at+int64(from+i), size, salt, header)
			if err != nil {
				return 0, err
			}
			if ok {
				return at + int64(from+i), nil
			}
			from += i + 1
		}
		at += int64(len(b) - len(blockMagic) + 1)
	}
	return -1, nil
}

// readFull reads all of b; a file that ends before is an error.
func readFull(f io.ReaderAt, b []byte, at int64) error {
	n, err := f.ReadAt(b, at)
	if n == len(b) {
		return nil
	}
	if err == nil || errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}
