package queue

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"strconv"
	"strings"
)

// A queue's folder holds segment files and a cursor. All numbers are little-endian, all checksums CRC-32C (Castagnoli).
//
// A segment is named NUMBER-SALT.segment: twenty decimal digits that rise with each file, and eight hexadecimal ones that are random. The
// checksums of its blocks begin with the four bytes of the salt, so that bytes which somebody logged can't pass for a block.
//
//	offset size
//	     0    8  "HERMODQ\n"
//	     8    4  version of the layout, 1
//	    12    4  length of this header, 40
//	    16    8  number of the segment
//	    24    8  when it was begun, nanoseconds since 1970
//	    32    4  salt
//	    36    4  checksum of bytes 0 to 35
//	    40       blocks, one after the other; behind the last one an index, where the segment was ended with all its blocks written
//
// A block:
//
//	 0    3  "HQB"
//	 3    1  version of the layout, 1
//	 4    4  length of the block with this header
//	 8    8  sequence number, from 1, never used twice
//	16    8  number of items that were written before it into this and earlier segments
//	24    8  time of the oldest item, nanoseconds since 1970
//	32    8  time of the newest item
//	40    8  when it was queued
//	48    4  number of items
//	52    2  shard
//	54    2  among how many shards its items were spread
//	56    2  length p of the name of the protocol
//	58    2  length t of the tenant
//	60    4  checksum of salt and bytes 68 to the end
//	64    4  checksum of salt and bytes 0 to 63
//	68    p  protocol
//	     t  tenant
//	        body
//
// The index repeats what the headers of the segment's n blocks say, so that a start needn't look at each of them in its place. It ends with the file.
//
//	0    4  "HQI\x01"
//	4 60*n  bytes 4 to 63 of the header of each block, in their order
//	     4  n
//	     4  checksum of salt and all before
//	     4  "HQI\x01"
//
// A sequence number may stand in two segments: when an fsync failed, what is doubtful is written once more. The later copy counts.
//
// The cursor has two slots, at 0 and at 4096, that are written in turn; the valid one of the higher generation counts.
//
//	 0    8  "HERMODC\n"
//	 8    4  version of the layout, 1
//	12    4  number n of shards
//	16    8  generation
//	24    8  next: the lowest sequence number that was never given to a block
//	32    8  number of items written into segments and synced
//	40    8  number of items that waited, written and synced, to be delivered
//	48  8*n  for each shard the lowest sequence number that isn't dealt with
//	     4  checksum of all before
const (
	version = 1

	segmentMagic  = "HERMODQ\n"
	segmentHeader = 40
	segmentSuffix = ".segment"

	blockMagic  = "HQB\x01"
	blockHeader = 68
	// maxRecord bounds a block, so that a length that isn't one is recognised.
	maxRecord = 256 << 20

	indexMagic   = "HQI\x01"
	indexEntry   = 60
	indexTrailer = 12
	// maxIndex bounds what a writer keeps of a segment's headers in memory: it ends a segment of many small blocks early.
	maxIndex = 1 << 20

	cursorMagic  = "HERMODC\n"
	cursorFile   = "cursor"
	cursorHeader = 48
	slotSize     = 4096
	// maxShards fit into a slot, and bound what a damaged block can say.
	maxShards = 256
)

var (
	errNoBlock = errors.New("not a block")
	errDamaged = errors.New("the block's body is damaged")
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli) //nolint:gochecknoglobals // a table of constants

// salted is the checksum of salt and data.
func salted(salt uint32, data []byte) uint32 {
	var s [4]byte
	binary.LittleEndian.PutUint32(s[:], salt)
	return crc32.Update(crc32.Checksum(s[:], castagnoli), castagnoli, data)
}

func segmentName(number uint64, salt uint32) string {
	return fmt.Sprintf("%020d-%08x%s", number, salt, segmentSuffix)
}

// parseSegmentName says whether name is one of a segment.
func parseSegmentName(name string) (number uint64, salt uint32, ok bool) {
	digits, rest, ok := strings.Cut(strings.TrimSuffix(name, segmentSuffix), "-")
	if !ok || len(digits) != 20 || len(rest) != 8 || !strings.HasSuffix(name, segmentSuffix) {
		return 0, 0, false
	}
	number, err := strconv.ParseUint(digits, 10, 64)
	s, err2 := strconv.ParseUint(rest, 16, 32)
	return number, uint32(s), err == nil && err2 == nil
}

func appendSegmentHeader(dst []byte, number uint64, created int64, salt uint32) []byte {
	le := binary.LittleEndian
	at := len(dst)
	dst = append(dst, segmentMagic...)
	dst = le.AppendUint32(dst, version)
	dst = le.AppendUint32(dst, segmentHeader)
	dst = le.AppendUint64(dst, number)
	dst = le.AppendUint64(dst, uint64(created))
	dst = le.AppendUint32(dst, salt)
	return le.AppendUint32(dst, crc32.Checksum(dst[at:], castagnoli))
}

// checkSegmentHeader says what is wrong with the beginning of a segment. A version of a later agent is told apart from damage.
func checkSegmentHeader(b []byte) error {
	le := binary.LittleEndian
	switch {
	case len(b) < segmentHeader || string(b[:8]) != segmentMagic:
		return errors.New("it doesn't begin as a segment does")
	case le.Uint32(b[36:]) != crc32.Checksum(b[:36], castagnoli):
		return errors.New("the checksum of its header is wrong")
	case le.Uint32(b[8:]) != version:
		return fmt.Errorf("it has version %d, and this agent reads %d alone: %w", le.Uint32(b[8:]), version, errVersion)
	}
	return nil
}

var errVersion = errors.New("written by another version of the agent")

// record is the header of a block.
type record struct {
	length                 int64 // of all of it
	seq                    uint64
	before                 uint64 // items
	oldest, newest, queued int64
	items                  int
	shard, layout          int
	protocol, tenant       int // lengths
	sum                    uint32
}

// recordLength is the length of b on disk.
func recordLength(b *Block) int {
	return blockHeader + len(b.Protocol) + len(b.Tenant) + len(b.Body)
}

// appendRecord appends a block as it stands in a segment.
func appendRecord(dst []byte, salt uint32, b *Block, before uint64) []byte {
	le := binary.LittleEndian
	at := len(dst)
	dst = append(dst, blockMagic...)
	dst = le.AppendUint32(dst, uint32(recordLength(b)))
	dst = le.AppendUint64(dst, b.seq)
	dst = le.AppendUint64(dst, before)
	dst = le.AppendUint64(dst, uint64(b.OldestTime))
	dst = le.AppendUint64(dst, uint64(b.NewestTime))
	dst = le.AppendUint64(dst, uint64(b.queued))
	dst = le.AppendUint32(dst, uint32(b.Items))
	dst = le.AppendUint16(dst, uint16(b.Shard))
	dst = le.AppendUint16(dst, uint16(b.layout))
	dst = le.AppendUint16(dst, uint16(len(b.Protocol)))
	dst = le.AppendUint16(dst, uint16(len(b.Tenant)))
	sums := len(dst)
	dst = append(dst, make([]byte, 8)...)
	dst = append(dst, b.Protocol...)
	dst = append(dst, b.Tenant...)
	dst = append(dst, b.Body...)
	le.PutUint32(dst[sums:], salted(salt, dst[at+blockHeader:]))
	le.PutUint32(dst[sums+4:], salted(salt, dst[at:sums+4]))
	return dst
}

// parseRecord reads the header of a block.
func parseRecord(salt uint32, b []byte) (record, error) {
	if len(b) < blockHeader || string(b[:4]) != blockMagic || binary.LittleEndian.Uint32(b[64:]) != salted(salt, b[:64]) {
		return record{}, errNoBlock
	}
	return parseFields(b[4 : 4+indexEntry])
}

// parseFields reads what stands between the magic of a block's header and the header's own checksum, which is what an index repeats.
func parseFields(b []byte) (record, error) {
	le := binary.LittleEndian
	r := record{
		length: int64(le.Uint32(b)), seq: le.Uint64(b[4:]), before: le.Uint64(b[12:]),
		oldest: int64(le.Uint64(b[20:])), newest: int64(le.Uint64(b[28:])), queued: int64(le.Uint64(b[36:])),
		items: int(le.Uint32(b[44:])), shard: int(le.Uint16(b[48:])), layout: int(le.Uint16(b[50:])),
		protocol: int(le.Uint16(b[52:])), tenant: int(le.Uint16(b[54:])), sum: le.Uint32(b[56:]),
	}
	if r.length < int64(blockHeader+r.protocol+r.tenant) || r.length > maxRecord || r.shard >= maxShards || r.seq == 0 {
		return record{}, errNoBlock
	}
	return r, nil
}

// appendIndex appends an index whose entries are given.
func appendIndex(dst []byte, salt uint32, entries []byte) []byte {
	le := binary.LittleEndian
	at := len(dst)
	dst = append(append(dst, indexMagic...), entries...)
	dst = le.AppendUint32(dst, uint32(len(entries)/indexEntry))
	dst = le.AppendUint32(dst, salted(salt, dst[at:]))
	return append(dst, indexMagic...)
}

// indexLength reads the end of a segment and says how long the index is that ends there, 0 when there is none.
func indexLength(trailer []byte) int64 {
	if string(trailer[8:]) != indexMagic {
		return 0
	}
	return int64(len(indexMagic)+indexTrailer) + indexEntry*int64(binary.LittleEndian.Uint32(trailer))
}

// parseIndex reads an index that begins at a place in a segment. ok is false when it isn't whole, or isn't one of the blocks before it.
func parseIndex(salt uint32, b []byte, begins int64) (records []record, ok bool) {
	end := len(b) - indexTrailer
	if end < len(indexMagic) || string(b[:4]) != indexMagic || binary.LittleEndian.Uint32(b[end+4:]) != salted(salt, b[:end+4]) {
		return nil, false
	}
	entries := b[len(indexMagic):end]
	records = make([]record, 0, len(entries)/indexEntry)
	at := int64(segmentHeader)
	for ; len(entries) >= indexEntry; entries = entries[indexEntry:] {
		r, err := parseFields(entries[:indexEntry])
		if err != nil {
			return nil, false
		}
		at += r.length
		records = append(records, r)
	}
	return records, len(entries) == 0 && at == begins
}

// block makes a block of what follows the header.
func (r *record) block(salt uint32, rest []byte) (*Block, error) {
	if int64(len(rest)) != r.length-blockHeader || r.sum != salted(salt, rest) {
		return nil, errDamaged
	}
	p, t := r.protocol, r.tenant
	return &Block{
		Protocol: string(rest[:p]), Tenant: string(rest[p : p+t]), Body: rest[p+t:],
		Shard: r.shard, Items: r.items, OldestTime: r.oldest, NewestTime: r.newest,
		seq: r.seq, layout: r.layout, queued: r.queued,
	}, nil
}

// cursor is what a slot holds.
type cursor struct {
	generation uint64
	next       uint64
	synced     uint64 // items
	waiting    uint64 // items
	shards     []uint64
}

// at is the lowest sequence number of a shard that isn't dealt with.
func (c *cursor) at(shard int) uint64 {
	if shard < len(c.shards) {
		return c.shards[shard]
	}
	return 0
}

func appendCursor(dst []byte, c *cursor) []byte {
	le := binary.LittleEndian
	at := len(dst)
	dst = append(dst, cursorMagic...)
	dst = le.AppendUint32(dst, version)
	dst = le.AppendUint32(dst, uint32(len(c.shards)))
	for _, n := range []uint64{c.generation, c.next, c.synced, c.waiting} {
		dst = le.AppendUint64(dst, n)
	}
	for _, n := range c.shards {
		dst = le.AppendUint64(dst, n)
	}
	return le.AppendUint32(dst, crc32.Checksum(dst[at:], castagnoli))
}

// parseSlot reads one slot; ok is false when it isn't whole.
func parseSlot(b []byte) (c cursor, ok bool) {
	le := binary.LittleEndian
	if len(b) < cursorHeader || string(b[:8]) != cursorMagic || le.Uint32(b[8:]) != version {
		return c, false
	}
	n := le.Uint32(b[12:])
	if n > maxShards {
		return c, false
	}
	end := cursorHeader + 8*int(n)
	if len(b) < end+4 || le.Uint32(b[end:]) != crc32.Checksum(b[:end], castagnoli) {
		return c, false
	}
	c = cursor{generation: le.Uint64(b[16:]), next: le.Uint64(b[24:]), synced: le.Uint64(b[32:]), waiting: le.Uint64(b[40:])}
	for i := range int(n) {
		c.shards = append(c.shards, le.Uint64(b[cursorHeader+8*i:]))
	}
	return c, true
}

// parseCursor reads the slot that counts. ok is false when there is none.
func parseCursor(b []byte) (c cursor, ok bool) {
	for at := 0; at < 2*slotSize && at < len(b); at += slotSize {
		if slot, whole := parseSlot(b[at:min(at+slotSize, len(b))]); whole && (!ok || slot.generation > c.generation) {
			c, ok = slot, true
		}
	}
	return c, ok
}
