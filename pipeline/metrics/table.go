package metrics

// Table keeps what a collector made for each of its devices, mount points or containers: usually a struct of *Series.
// It belongs to one collector and isn't safe for concurrent use. The zero value is ready.
type Table[V any] struct {
	rows map[string]*row[V]
}

type row[V any] struct {
	value V
	cycle uint64
}

// Row returns the value for key and makes it when the key is new. cycle is that of the batch being filled. It doesn't
// allocate for a known key.
func (t *Table[V]) Row(key []byte, cycle uint64, make func(key string) V) *V {
	if r := t.rows[string(key)]; r != nil {
		r.cycle = cycle
		return &r.value
	}
	return t.add(string(key), cycle, make)
}

// RowString is Row for a key that is a string already.
func (t *Table[V]) RowString(key string, cycle uint64, make func(key string) V) *V {
	if r := t.rows[key]; r != nil {
		r.cycle = cycle
		return &r.value
	}
	return t.add(key, cycle, make)
}

func (t *Table[V]) add(key string, cycle uint64, make func(key string) V) *V {
	if t.rows == nil {
		t.rows = map[string]*row[V]{}
	}
	r := &row[V]{value: make(key), cycle: cycle}
	t.rows[key] = r
	return &r.value
}

// Sweep forgets the keys that were not asked for in the last few cycles, so that a device which comes back soon gets its
// series back and one that is gone costs nothing.
func (t *Table[V]) Sweep(cycle uint64) {
	const keep = 5
	for key, r := range t.rows {
		if r.cycle+keep < cycle {
			delete(t.rows, key)
		}
	}
}
