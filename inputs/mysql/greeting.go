package mysql

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"time"
)

// greeting is a connection whose first packet we have read before the driver does. In it a server says its version, which the driver keeps to
// itself: when the login is refused there is nobody to ask any more. And the driver takes the packet for what a server sends, whoever
// listens there.
type greeting struct {
	net.Conn
	packet  []byte // what the driver has still to read of the first packet
	version version
}

// errNoGreeting is a first packet that no server sends.
var errNoGreeting = errors.New("the first bytes aren't a greeting")

// greet reads the first packet.
func greet(ctx context.Context, c net.Conn) (*greeting, error) {
	stop := context.AfterFunc(ctx, func() { _ = c.SetReadDeadline(time.Unix(1, 0)) }) // ends the reading; the connection is closed then
	packet, err := readGreeting(c)
	if !stop() {
		return nil, context.Cause(ctx)
	}
	if err != nil {
		return nil, err
	}
	return &greeting{Conn: c, packet: packet, version: greetingVersion(packet)}, nil
}

// The header of a packet is its length in 3 bytes and a number in sequence. A greeting is far shorter than this.
const (
	packetHeader = 4
	maxGreeting  = 4096
)

func readGreeting(r io.Reader) ([]byte, error) {
	packet := make([]byte, packetHeader, 128)
	if _, err := io.ReadFull(r, packet); err != nil {
		return nil, err
	}
	n := int(packet[0]) | int(packet[1])<<8 | int(packet[2])<<16
	if n > maxGreeting {
		return nil, errNoGreeting
	}
	packet = append(packet, make([]byte, n)...)
	if _, err := io.ReadFull(r, packet[packetHeader:]); err != nil {
		return nil, err
	}
	if !isGreeting(packet[packetHeader:]) {
		return nil, errNoGreeting
	}
	return packet, nil
}

// What a greeting begins with: the version of the protocol, or the mark of an error.
const (
	protocolVersion = 10
	errorMark       = 0xff
)

// isGreeting says whether a packet is long enough for what it begins with: an error has a number and may have a state, a handshake has
// fields of fixed length behind the version
// (https://dev.mysql.com/doc/dev/mysql-server/latest/page_protocol_connection_phase_packets_protocol_handshake_v10.html).
func isGreeting(payload []byte) bool {
	const (
		short = 4 + 8 + 1 + 2              // thread, scramble, a zero, capabilities
		long  = short + 3 + 2 + 7 + 4 + 13 // character set and status, capabilities, lengths and reserved bytes, the rest of the scramble
	)
	switch {
	case len(payload) == 0:
	case payload[0] == errorMark:
		return len(payload) > 3 && (payload[3] != '#' || len(payload) >= 9)
	case payload[0] == protocolVersion:
		end := bytes.IndexByte(payload, 0)
		rest := len(payload) - end - 1
		return end > 0 && (rest == short || rest >= long)
	}
	return false
}

// greetingVersion is the version in a handshake; not known in an error, or when it has another form.
func greetingVersion(packet []byte) version {
	payload := packet[packetHeader:]
	end := bytes.IndexByte(payload, 0)
	if payload[0] != protocolVersion || end < 0 {
		return version{}
	}
	v, err := parseVersion(string(payload[1:end]))
	if err != nil {
		return version{}
	}
	return v
}

// Read implements net.Conn.
func (g *greeting) Read(b []byte) (int, error) {
	if len(g.packet) > 0 {
		n := copy(b, g.packet)
		g.packet = g.packet[n:]
		return n, nil
	}
	return g.Conn.Read(b)
}
