// Package positions keeps where each log source was read to, and saves it so that a crash repeats little and loses nothing.
package positions

// Position is where one source (a file, a container's log) was read to. Which fields mean something is up to the input that
// wrote it.
type Position struct {
	// Path of the file as it was last seen; for reading by people and for finding a renamed file.
	Path string `json:"path,omitempty"`
	// Device and Inode of the file.
	Device uint64 `json:"device,omitempty"`
	Inode  uint64 `json:"inode,omitempty"`
	// Born is when the file was made, in nanoseconds since 1970, on filesystems that say: it tells a file from a later one with its inode.
	Born int64 `json:"born,omitempty"`
	// Head is a hash of the file's first HeadLen bytes.
	Head    uint64 `json:"head,omitempty"`
	HeadLen int64  `json:"head_len,omitempty"`
	// Offset is the first byte that has not been taken.
	Offset int64 `json:"offset,omitempty"`
	// Time is that of the newest record taken, in nanoseconds, for sources that are read by time.
	Time int64 `json:"time,omitempty"`
	// Repeats is how many records with exactly that Time were taken.
	Repeats int64 `json:"repeats,omitempty"`
	// Since is set for sources whose times step back now and then: the time of a record taken somewhat before the newest one.
	// Repeats is then how many records from that one on were taken.
	Since int64 `json:"since,omitempty"`
	// Updated is when the position was last set, in seconds since 1970; old ones of sources that are gone are forgotten.
	Updated int64 `json:"updated,omitempty"`
}
