package remotewrite

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/golang/snappy"
	"github.com/klauspost/compress/zstd"

	"github.com/hermod-agent/hermod/pipeline/component"
	"github.com/hermod-agent/hermod/pipeline/delivery"
	"github.com/hermod-agent/hermod/pipeline/queue"
)

// Names of compressions, in the config and in the header Content-Encoding.
const (
	snappyName = "snappy"
	zstdName   = "zstd"
)

const (
	// maxRaw bounds what a body of our own is inflated to.
	maxRaw = 256 << 20
	// zstdWindow bounds what the encoder looks back, and with it the memory that it keeps; bodies are seldom larger.
	zstdWindow = 512 << 10
)

// taken is what is known of a server's taste.
type taken uint32

const (
	unknown taken = iota
	takesZstd
	snappyAlone // until the agent is started again, or the output's config changes
)

// packer compresses bodies. It is safe for concurrent use.
type packer struct {
	zstd  bool          // the user wants it
	knows atomic.Uint32 // taken

	once    sync.Once
	encoder *zstd.Encoder
}

func (p *packer) use(compression string) { p.zstd = compression == zstdName }

func (p *packer) known() taken { return taken(p.knows.Load()) }

// pack compresses raw into dst's memory, in the form that the server takes, and names the form.
func (p *packer) pack(dst, raw []byte) (body []byte, form string) {
	form = protocol
	if p.zstd && p.known() != snappyAlone {
		form = zstdProtocol
	}
	return p.packAs(form, dst, raw), form
}

func (p *packer) packAs(form string, dst, raw []byte) []byte {
	if form != zstdProtocol {
		return snappy.Encode(dst[:cap(dst)], raw)
	}
	p.once.Do(func() {
		// One at a time, without goroutines of its own. The fastest level: most of what the better ones gain is lost on samples.
		p.encoder, _ = zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1), zstd.WithEncoderLevel(zstd.SpeedFastest), // fails for wrong options only
			zstd.WithWindowSize(zstdWindow), zstd.WithLowerEncoderMem(true), zstd.WithEncoderCRC(false))
	})
	return p.encoder.EncodeAll(raw, dst[:0])
}

// inflate decompresses a body.
func inflate(b *queue.Block) ([]byte, error) { return inflateUpTo(maxRaw, b) }

func inflateUpTo(limit int, b *queue.Block) ([]byte, error) {
	if b.Protocol == zstdProtocol {
		d, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(uint64(limit)), zstd.WithDecoderLowmem(true))
		if err != nil {
			return nil, err
		}
		defer d.Close()
		raw, err := d.DecodeAll(b.Body, nil)
		if err != nil {
			return nil, fmt.Errorf("the body can't be decompressed: %w", err)
		}
		return raw, nil
	}
	if n, err := snappy.DecodedLen(b.Body); err != nil || n > limit {
		return nil, errors.Join(errors.New("the body can't be decompressed"), err)
	}
	return snappy.Decode(nil, b.Body)
}

func encodingOf(b *queue.Block) string {
	if b.Protocol == zstdProtocol {
		return zstdName
	}
	return snappyName
}

// Transcode implements delivery.Transcoder: the same body in 1.0 as snappy, which is what every server takes.
func (o *output) Transcode(b *queue.Block) (*queue.Block, error) {
	if b.Protocol == protocol2 {
		return o.downgrade(b)
	}
	if b.Protocol != zstdProtocol {
		return nil, nil
	}
	raw, err := inflate(b)
	if err != nil {
		return nil, err
	}
	c := &queue.Block{
		Body: o.packer.packAs(protocol, nil, raw), Protocol: protocol, Tenant: b.Tenant, Shard: b.Shard, Items: b.Items,
		OldestTime: b.OldestTime, NewestTime: b.NewestTime,
	}
	return c, nil
}

// inForm is the block in a form that the server takes, as far as that is known: a queue can hold blocks from before it was.
func (o *output) inForm(b *queue.Block) (*queue.Block, error) {
	if b.Protocol == zstdProtocol && o.packer.known() == snappyAlone || b.Protocol == protocol2 && o.firstAlone.Load() {
		return o.Transcode(b)
	}
	return b, nil
}

// learn notes from an answer whether the server takes zstd. Prometheus says no with 415. Mimir doesn't look at the header: it fails to
// read the body as snappy, and says so with 400. A refusal that is about samples, and one of a server that took zstd before and
// says nothing of encodings, is about what is in the body.
func (o *output) learn(sent *queue.Block, a *delivery.Answer) {
	if sent.Protocol != zstdProtocol {
		return
	}
	words := strings.ToLower(string(a.Body))
	switch {
	case a.Status >= 200 && a.Status < 300:
		o.packer.knows.CompareAndSwap(uint32(unknown), uint32(takesZstd))
		return
	case a.Misconfigured:
		return
	case a.Status == http.StatusUnsupportedMediaType:
	case o.packer.known() == takesZstd && !aboutEncoding(words):
		return
	case a.Status == http.StatusBadRequest && !aboutSamples(words):
		a.Unsupported = true
	case a.Status >= 500 && aboutEncoding(words):
		a.Unsupported = true
	default:
		return
	}
	if taken(o.packer.knows.Swap(uint32(snappyAlone))) != snappyAlone {
		o.env.Status.Note("compression", component.WithRemedy(
			fmt.Errorf("%s doesn't take zstd (it answered %d): requests are compressed by snappy", o.cfg.URL, a.Status),
			`write compression = "snappy", or nothing`))
	}
}

func aboutSamples(words string) bool {
	for _, r := range refusals() {
		if strings.Contains(words, r.words) {
			return true
		}
	}
	return false
}

// aboutEncoding recognises what decoders say of a body in another encoding.
func aboutEncoding(words string) bool {
	for _, s := range []string{"snappy", "zstd", "decompress", "corrupt input", "content-encoding", "illegal wiretype", "unexpected eof"} {
		if strings.Contains(words, s) {
			return true
		}
	}
	return false
}
