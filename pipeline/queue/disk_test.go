package queue

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func diskLimits() Limits { return Limits{MaxSize: 1 << 30, WhenFull: Wait, Sync: SyncBatch} }

func openDisk(t testing.TB, dir string, limits Limits) (*Disk, Recovered) {
	t.Helper()
	q, found, err := OpenDisk(DiskOptions{Dir: dir, Limits: limits, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := q.Close(); err != nil {
			t.Error(err)
		}
	})
	return q, found
}

func stored(id, size int) *Block {
	return &Block{Protocol: "p", Body: body(uint64(id), size), Items: 1, OldestTime: int64(id), NewestTime: int64(id)}
}

func flush(t testing.TB, q *Disk) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if err := q.Safe(ctx, q.Tail()); err != nil {
		t.Fatal(err)
	}
}

// drain takes and acknowledges everything that a shard has now.
func drain(q *Disk, shard int) (ids []uint64) {
	for {
		b, _ := q.Take(shard)
		if b == nil {
			return ids
		}
		ids = append(ids, idOf(b))
		q.Ack(b)
	}
}

func wantIDs(t *testing.T, got []uint64, from, to uint64, without ...uint64) {
	t.Helper()
	var want []uint64
	for id := from; id <= to; id++ {
		if !slices.Contains(without, id) {
			want = append(want, id)
		}
	}
	if !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

// abandoned ends a queue as a kill does: nothing is written any more, and the lock is free.
func abandoned(t *testing.T, q *Disk) {
	t.Helper()
	q.mu.Lock()
	q.closed = true
	q.mu.Unlock()
	close(q.quit)
	<-q.ended
	q.keeping.Wait()
	q.lock.Close()
	q.w.active, q.w.file = nil, nil
}

func segmentsOf(t testing.TB, dir string) []string {
	t.Helper()
	paths, err := filepath.Glob(filepath.Join(dir, "*"+segmentSuffix))
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(paths)
	return paths
}

func TestBlocksSurviveAStopAndAKill(t *testing.T) {
	dir := t.TempDir()
	for round, end := range []func(q *Disk){func(q *Disk) { q.Close() }, func(q *Disk) { abandoned(t, q) }} {
		q, found := openDisk(t, dir, diskLimits())
		if want := 10 * round; found.Items != want || found.Lost != 0 {
			t.Fatalf("round %d: %+v", round, found)
		}
		for i := range 10 {
			q.Append(stored(10*round+i+1, 1000))
		}
		flush(t, q)
		end(q)
	}
	q, found := openDisk(t, dir, diskLimits())
	if found.Blocks != 20 || found.Lost != 0 {
		t.Fatalf("%+v", found)
	}
	wantIDs(t, drain(q, 0), 1, 20)
	if err := q.Close(); err != nil {
		t.Fatal(err)
	}
	if left := segmentsOf(t, dir); len(left) > 0 {
		t.Errorf("what is delivered is still there: %v", left)
	}
	if _, found := openDisk(t, dir, diskLimits()); found != (Recovered{}) {
		t.Errorf("%+v", found)
	}
}

func TestWhatIsDeliveredDoesNotComeAgainAfterAKill(t *testing.T) {
	dir := t.TempDir()
	q, _ := openDisk(t, dir, diskLimits())
	for i := range 30 {
		b := stored(i+1, 100)
		b.Shard = i % 3
		q.Append(b)
	}
	flush(t, q)
	for range 8 { // one shard is far ahead of the others
		b, _ := q.Take(1)
		q.Ack(b)
	}
	b, _ := q.Take(0)
	q.Ack(b)
	eventually(t, func() bool {
		q.mu.Lock()
		defer q.mu.Unlock()
		return !q.cursorDirty
	})
	abandoned(t, q)
	q, found := openDisk(t, dir, diskLimits())
	if found.Blocks != 21 {
		t.Errorf("%+v", found)
	}
	if got := drain(q, 1); !slices.Equal(got, []uint64{26, 29}) {
		t.Errorf("got %v", got)
	}
	if got := drain(q, 0); len(got) != 9 || got[0] != 4 {
		t.Errorf("got %v", got)
	}
}

func TestAShardThatIsDealtWithStaysSoOverManyStarts(t *testing.T) {
	dir := t.TempDir()
	q, _ := openDisk(t, dir, diskLimits())
	for i := range 30 {
		b := stored(i+1, 100)
		b.Shard = i % 3
		q.Append(b)
	}
	flush(t, q)
	drain(q, 1)
	drain(q, 2)
	q.Close()
	for left := 10; left > 7; left-- { // the blocks of shard 0 keep those of the others in their segment
		q, found := openDisk(t, dir, diskLimits())
		if found.Blocks != left {
			t.Fatalf("%d blocks are there, not %d: some come again", found.Blocks, left)
		}
		b, _ := q.Take(0)
		q.Ack(b)
		q.Close()
	}
}

func eventually(t testing.TB, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(30 * time.Second); !ok(); {
		if time.Now().After(end) {
			t.Fatal("it never was")
		}
		time.Sleep(time.Millisecond)
	}
}

func TestTwoOwnersAreRefused(t *testing.T) {
	dir := t.TempDir()
	openDisk(t, dir, diskLimits())
	_, _, err := OpenDisk(DiskOptions{Dir: dir, Log: slog.New(slog.DiscardHandler)})
	var locked *LockedError
	if !errors.As(err, &locked) || locked.PID != os.Getpid() || locked.Dir != dir {
		t.Errorf("err = %v", err)
	}
}

// filled makes a folder with blocks 1 to n, each of them the only one with one bit in its body.
func filled(t *testing.T, n, size int) string {
	t.Helper()
	dir := t.TempDir()
	limits := diskLimits()
	limits.MaxSize = 4 << 20 // segments of 256 KiB
	q, _ := openDisk(t, dir, limits)
	for i := range n {
		q.Append(stored(i+1, size))
	}
	if err := q.Close(); err != nil {
		t.Fatal(err)
	}
	return dir
}

func TestAFlippedBitCostsItsBlockAlone(t *testing.T) {
	const n = 40
	original := filled(t, n, 10_000)
	random := rand.New(rand.NewPCG(1, 2))
	for round := range 40 {
		dir := t.TempDir()
		copyDir(t, original, dir)
		paths := segmentsOf(t, dir)
		path := paths[random.IntN(len(paths))]
		content, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		at := random.IntN(len(content))
		if round%4 == 0 { // headers are few
			i := bytes.Index(content, []byte(blockMagic))
			at = i + random.IntN(blockHeader)
		}
		content[at] ^= 1 << random.IntN(8)
		if err := os.WriteFile(path, content, 0o600); err != nil {
			t.Fatal(err)
		}
		lost := 0
		q, found := openDisk(t, dir, diskLimits())
		q.Observe(Observer{Lost: func(_ string, items int) { lost += items }})
		got := drain(q, 0)
		if len(got) < n-1 || !slices.IsSorted(got) {
			t.Fatalf("bit %d of %s: %d of %d blocks: %v", at, filepath.Base(path), len(got), n, got)
		}
		if len(got)+lost+found.Lost != n || found.Items+found.Lost != n {
			t.Fatalf("bit %d of %s: %d delivered, %d lost when taken, %d at the start, of %d", at, filepath.Base(path), len(got), lost, found.Lost, n)
		}
		if files, _ := os.ReadDir(filepath.Join(dir, asideDir)); len(got) < n && len(files) != 1 {
			t.Fatalf("kept aside: %v", files)
		}
		q.Close()
	}
}

func copyDir(t *testing.T, from, to string) {
	t.Helper()
	if err := os.CopyFS(to, os.DirFS(from)); err != nil {
		t.Fatal(err)
	}
}

func TestATruncatedMissingOrBlankSegmentCostsWhatWasInItAndIsCounted(t *testing.T) {
	const n = 100
	original := filled(t, n, 10_000) // four segments of 25
	damages := map[string]struct {
		do   func(t *testing.T, paths []string)
		most int // blocks that it costs
	}{
		"cut in the middle":     {func(t *testing.T, p []string) { truncate(t, p[1], 128<<10) }, 14},
		"the newest cut":        {func(t *testing.T, p []string) { truncate(t, p[len(p)-1], 70_000) }, 25},
		"empty":                 {func(t *testing.T, p []string) { truncate(t, p[1], 0) }, 26},
		"removed":               {func(t *testing.T, p []string) { remove(t, p[2]) }, 26},
		"all removed":           {func(t *testing.T, p []string) { remove(t, p...) }, n},
		"zeros at the end":      {func(t *testing.T, p []string) { zero(t, p[1], 100_000, 200_000) }, 11},
		"zeros after the end":   {func(t *testing.T, p []string) { zero(t, p[len(p)-1], 1<<20, 1<<20+5000) }, 0},
		"a header of a segment": {func(t *testing.T, p []string) { zero(t, p[0], 0, segmentHeader) }, 0},
	}
	for name, d := range damages {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			copyDir(t, original, dir)
			d.do(t, segmentsOf(t, dir))
			q, found := openDisk(t, dir, diskLimits())
			lost := found.Lost
			q.Observe(Observer{Lost: func(_ string, items int) { lost += items }})
			got := drain(q, 0)
			if len(got) < n-d.most || !slices.IsSorted(got) || len(got)+lost != n {
				t.Errorf("%d of %d blocks, %d are said to be lost (%d at the start): %v", len(got), n, lost, found.Lost, got)
			}
			q.Append(stored(n+1, 10)) // and it works on
			flush(t, q)
			wantIDs(t, drain(q, 0), n+1, n+1)
		})
	}
}

func truncate(t testing.TB, path string, size int64) {
	t.Helper()
	if err := os.Truncate(path, size); err != nil {
		t.Fatal(err)
	}
}

func remove(t *testing.T, paths ...string) {
	t.Helper()
	for _, p := range paths {
		if err := os.Remove(p); err != nil {
			t.Fatal(err)
		}
	}
}

func zero(t *testing.T, path string, from, to int) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteAt(make([]byte, to-from), int64(from)); err != nil {
		t.Fatal(err)
	}
}

func TestADamagedCursorRepeatsAndLosesNothing(t *testing.T) {
	for name, damage := range map[string]func(t *testing.T, path string){
		"removed":     func(t *testing.T, path string) { remove(t, path) },
		"zeros":       func(t *testing.T, path string) { zero(t, path, 0, 2*slotSize) },
		"empty":       func(t *testing.T, path string) { truncate(t, path, 0) },
		"first slot":  func(t *testing.T, path string) { zero(t, path, 0, 100) },
		"second slot": func(t *testing.T, path string) { zero(t, path, slotSize, slotSize+100) },
	} {
		t.Run(name, func(t *testing.T) {
			dir := filled(t, 20, 100)
			q, _ := openDisk(t, dir, diskLimits())
			for range 5 {
				b, _ := q.Take(0)
				q.Ack(b)
			}
			q.Close()
			damage(t, filepath.Join(dir, cursorFile))
			q, found := openDisk(t, dir, diskLimits())
			if found.Lost != 0 {
				t.Errorf("%+v", found)
			}
			got := drain(q, 0)
			if len(got) < 15 || !slices.IsSorted(got) || got[len(got)-1] != 20 {
				t.Errorf("got %v", got)
			}
		})
	}
}

func TestWhatSomebodyLoggedIsNoBlock(t *testing.T) {
	dir := filled(t, 3, 100)
	path := segmentsOf(t, dir)[0]
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	// Somebody logs a whole segment; then the header of the block that it is in is damaged.
	q, _ := openDisk(t, dir, diskLimits())
	drain(q, 0)
	q.Append(&Block{Protocol: "p", Body: content, Items: 1}, stored(9, 10))
	q.Close()
	path = segmentsOf(t, dir)[0]
	zero(t, path, segmentHeader, segmentHeader+8)
	indexed := t.TempDir()
	copyDir(t, dir, indexed)
	cutIndex(t, path)
	for _, dir := range []string{dir, indexed} {
		q, _ = openDisk(t, dir, diskLimits())
		wantIDs(t, drain(q, 0), 9, 9)
		q.Close()
	}
	// Or what is logged is the last block of a segment that has no index of its own.
	dir = t.TempDir()
	q, _ = openDisk(t, dir, diskLimits())
	q.Append(stored(1, 10), &Block{Protocol: "p", Body: content, Items: 1})
	q.Close()
	cutIndex(t, segmentsOf(t, dir)[0])
	q, found := openDisk(t, dir, diskLimits())
	if b, _ := q.Take(0); found.Blocks != 2 || b == nil || idOf(b) != 1 {
		t.Errorf("%+v, first %v", found, b)
	}
}

// cutIndex takes the index of a segment away, as a kill before its end does.
func cutIndex(t testing.TB, path string) {
	t.Helper()
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	length := indexLength(content[len(content)-indexTrailer:])
	if length == 0 {
		t.Fatalf("%s has no index", path)
	}
	truncate(t, path, int64(len(content))-length)
}

func TestAnIndexSaysWhatTheBlocksSay(t *testing.T) {
	const n = 60
	dir := filled(t, n, 10_000) // three segments
	q, _ := openDisk(t, dir, diskLimits())
	for range 3 {
		b, _ := q.Take(0)
		q.Ack(b)
	}
	q.Close()
	for _, path := range segmentsOf(t, dir) {
		content, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		_, salt, _ := parseSegmentName(filepath.Base(path))
		read := func(content []byte) (all []record, at []int64) {
			got, err := scan(bytes.NewReader(content), int64(len(content)), salt, func(r record, from int64) {
				all, at = append(all, r), append(at, from)
			})
			if err != nil || got.torn || len(got.damaged) > 0 || got.header != nil {
				t.Fatalf("%+v, %v", got, err)
			}
			return all, at
		}
		length := indexLength(content[len(content)-indexTrailer:])
		if length == 0 {
			t.Fatalf("%s has no index", path)
		}
		blocks := content[:len(content)-int(length)]
		short, shortAt := read(content)
		long, longAt := read(blocks)
		if len(short) == 0 || !slices.Equal(short, long) || !slices.Equal(shortAt, longAt) {
			t.Errorf("the index of %s says %v, the blocks %v", path, short, long)
		}
		// Without a look at the blocks: they may as well be gone.
		gone := slices.Concat(content[:segmentHeader], make([]byte, len(blocks)-segmentHeader), content[len(blocks):])
		if again, _ := read(gone); !slices.Equal(again, short) {
			t.Errorf("a start with an index reads the blocks of %s", path)
		}
		random := rand.New(rand.NewPCG(uint64(length), 1))
		for range 50 { // a damaged index, half of one: as if there were none
			broken := slices.Clone(content)
			broken[len(blocks)+random.IntN(int(length))] ^= 1 << random.IntN(8)
			for _, broken := range [][]byte{broken, content[:len(blocks)+random.IntN(int(length))]} {
				var again []record
				_, err := scan(bytes.NewReader(broken), int64(len(broken)), salt, func(r record, _ int64) { again = append(again, r) })
				if err != nil || !slices.Equal(again, short) {
					t.Fatalf("with a broken index %v, without %v (%v)", again, short, err)
				}
			}
		}
	}
}

func TestHalfAnIndexIsNoDamage(t *testing.T) {
	dir := filled(t, 60, 10_000)
	paths := segmentsOf(t, dir)
	for i, path := range paths {
		info, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		truncate(t, path, info.Size()-int64(10*(i+1)))
	}
	q, found := openDisk(t, dir, diskLimits())
	if found.Lost != 0 || found.Blocks != 60 {
		t.Errorf("%+v", found)
	}
	if files, _ := os.ReadDir(filepath.Join(dir, asideDir)); len(files) > 0 {
		t.Errorf("kept aside: %v", files)
	}
	wantIDs(t, drain(q, 0), 1, 60)
}

func TestASegmentOfManySmallBlocksEndsBeforeItsIndexIsLarge(t *testing.T) {
	d := newSim()
	q := newDisk(DiskOptions{Dir: "/q", Limits: diskLimits(), Log: slog.New(slog.DiscardHandler)}, d)
	if _, err := q.recover(); err != nil {
		t.Fatal(err)
	}
	const n = maxIndex/indexEntry + 1000
	for id := 1; id <= n; id++ {
		q.Append(stored(id, 0))
		if id%1000 == 0 {
			q.step(true)
		}
	}
	q.step(true)
	if len(q.segments) != 2 || len(q.w.index) > maxIndex {
		t.Errorf("%d segments, an index of %d bytes", len(q.segments), len(q.w.index))
	}
	wantIDs(t, drain(q, 0), 1, n)
}

func TestAFullDiskIsToldAndRecoversByItself(t *testing.T) {
	d := newSim()
	now := time.Unix(1e9, 0)
	q := newDisk(DiskOptions{Dir: "/q", Limits: diskLimits(), Log: slog.New(slog.DiscardHandler)}, d)
	q.clock = func() time.Time { return now }
	if _, err := q.recover(); err != nil {
		t.Fatal(err)
	}
	var fault error
	q.Observe(Observer{Fault: func(err error) { fault = err }})
	q.Append(stored(1, 1000))
	q.step(false)
	d.capacity = d.used() + 1500
	id := 2
	for ; ; id++ {
		if ok, _ := q.Room(0); !ok {
			break
		}
		q.Append(stored(id, 1<<20))
		q.step(false)
		if id > 20 {
			t.Fatal("a full disk has no end")
		}
	}
	if !errors.Is(fault, unix.ENOSPC) {
		t.Fatalf("fault = %v", fault)
	}
	if !q.unsafeUpTo(q.Tail()) {
		t.Error("what is not on disk is said to be safe")
	}
	if size := len(d.names[segmentPath(q)].data); size != int(q.segments[0].size) {
		t.Errorf("a part of a block was left behind: %d bytes, not %d", size, q.segments[0].size)
	}
	d.capacity = 0
	now = now.Add(time.Minute)
	q.step(false)
	now = now.Add(time.Minute)
	q.step(false)
	if ok, _ := q.Room(0); fault != nil || !ok || q.unsafeUpTo(q.Tail()) {
		t.Errorf("fault = %v, room = %v", fault, ok)
	}
	wantIDs(t, drain(q, 0), 1, uint64(id-1))
}

// A cursor whose name a power cut may take says nothing: what was delivered would come again.
func TestTheCursorsNameLastsWithWhatItSays(t *testing.T) {
	d := newSim()
	start := func() *Disk {
		q := newDisk(DiskOptions{Dir: "/q", Limits: diskLimits(), Log: slog.New(slog.DiscardHandler)}, d)
		if _, err := q.recover(); err != nil {
			t.Fatal(err)
		}
		return q
	}
	q := start()
	q.Append(stored(1, 100))
	q.Append(stored(2, 100))
	q.step(true)
	if d.lasting["/q/"+cursorFile] == nil {
		t.Error("the name of a new cursor doesn't last")
	}
	delete(d.lasting, "/q/"+cursorFile) // as a process before left it
	q = start()
	b, _ := q.Take(0)
	q.Ack(b)
	q.step(true)
	if pending, _ := q.cursor.pending(); pending || d.lasting["/q/"+cursorFile] == nil {
		t.Error("the name of a cursor that was there doesn't last")
	}
}

func segmentPath(q *Disk) string { return q.path(q.segments[0]) }

func TestADiskThatIsFullOfOldBlocksGivesThemUp(t *testing.T) {
	d := newSim()
	now := time.Unix(1e9, 0)
	limits := Limits{MaxSize: 1 << 30, WhenFull: DropOldest, Sync: SyncBatch}
	q := newDisk(DiskOptions{Dir: "/q", Limits: limits, Log: slog.New(slog.DiscardHandler)}, d)
	q.clock = func() time.Time { return now }
	if _, err := q.recover(); err != nil {
		t.Fatal(err)
	}
	lost := 0
	q.Observe(Observer{Lost: func(_ string, items int) { lost += items }})
	d.capacity = 40 << 20
	const n = 70
	for id := 1; id <= n; id++ {
		q.Append(stored(id, 1<<20))
		q.step(false)
		now = now.Add(time.Second)
		if q.unwrittenBytes > 2*memoryBudget {
			t.Fatalf("%d bytes in memory", q.unwrittenBytes)
		}
	}
	got := drain(q, 0)
	if len(got)+lost != n || len(got) < 10 {
		t.Fatalf("%d kept, %d lost", len(got), lost)
	}
	wantIDs(t, got, n-uint64(len(got))+1, n)
}

func TestAReadOnlyDiskGivesOutWhatItHas(t *testing.T) {
	d := newSim()
	q := newDisk(DiskOptions{Dir: "/q", Limits: diskLimits(), Log: slog.New(slog.DiscardHandler)}, d)
	if _, err := q.recover(); err != nil {
		t.Fatal(err)
	}
	q.Append(stored(1, 100), stored(2, 100))
	q.step(true)
	d.readonly = true
	q = newDisk(DiskOptions{Dir: "/q", Limits: diskLimits(), Log: slog.New(slog.DiscardHandler)}, d)
	if _, err := q.recover(); err != nil {
		t.Fatal(err)
	}
	var fault error
	q.Observe(Observer{Fault: func(err error) { fault = err }})
	q.Append(stored(3, 100))
	q.step(false)
	if !errors.Is(fault, unix.EROFS) {
		t.Errorf("fault = %v", fault)
	}
	wantIDs(t, drain(q, 0), 1, 3)
}

func TestAFailedSyncIsNotTriedAgainOnThatFile(t *testing.T) {
	d := newSim()
	now := time.Unix(1e9, 0)
	q := newDisk(DiskOptions{Dir: "/q", Limits: diskLimits(), Log: slog.New(slog.DiscardHandler)}, d)
	q.clock = func() time.Time { return now }
	if _, err := q.recover(); err != nil {
		t.Fatal(err)
	}
	q.Append(stored(1, 1000))
	q.step(true)
	q.Append(stored(2, 1000))
	d.failSyncs = 1
	now = now.Add(time.Second)
	q.step(false)
	now = now.Add(time.Second)
	q.step(false) // what failed is written once more
	now = now.Add(time.Second)
	q.step(false)
	if q.unsafeUpTo(q.Tail()) {
		t.Fatal("not safe after the disk was well again")
	}
	after := d.powerCut(func(int) int { return 0 }) // nothing lasts that wasn't synced
	q = newDisk(DiskOptions{Dir: "/q", Limits: diskLimits(), Log: slog.New(slog.DiscardHandler)}, after)
	if _, err := q.recover(); err != nil {
		t.Fatal(err)
	}
	wantIDs(t, drain(q, 0), 1, 2)
}

func TestABlockThatCannotBeReadIsTriedAgain(t *testing.T) {
	for fails, want := range map[int]int{1: 2, readTries: 1} {
		t.Run(fmt.Sprint(fails), func(t *testing.T) {
			d := newSim()
			q := newDisk(DiskOptions{Dir: "/q", Limits: diskLimits(), Log: slog.New(slog.DiscardHandler)}, d)
			if _, err := q.recover(); err != nil {
				t.Fatal(err)
			}
			q.Append(stored(1, 100), stored(2, 100))
			q.step(true)
			q = newDisk(DiskOptions{Dir: "/q", Limits: diskLimits(), Log: slog.New(slog.DiscardHandler)}, d)
			if _, err := q.recover(); err != nil {
				t.Fatal(err)
			}
			lost := 0
			q.Observe(Observer{Lost: func(_ string, items int) { lost += items }})
			d.failReads = fails
			for range fails {
				if b, _ := q.Take(0); b != nil {
					q.Return(b)
				}
			}
			if got := drain(q, 0); len(got) != want || len(got)+lost != 2 {
				t.Errorf("got %v, lost %d", got, lost)
			}
		})
	}
}

func TestMemoryDoesNotGrowWithTheQueue(t *testing.T) {
	dir := t.TempDir()
	q, _ := openDisk(t, dir, diskLimits())
	const n, size = 100, 512 << 10
	for i := range n {
		q.Append(stored(i+1, size))
		if i%10 == 0 {
			flush(t, q)
		}
	}
	flush(t, q)
	if s := q.Stats(); s.Bytes < n*size {
		t.Fatalf("%+v", s)
	}
	q.mu.Lock()
	resident := q.resident
	q.mu.Unlock()
	if resident > memoryBudget+2*size {
		t.Errorf("%d bytes of %d in memory", resident, n*size)
	}
	wantIDs(t, drain(q, 0), 1, n)
}

func TestWhatWaitedTooLongIsGivenUp(t *testing.T) {
	d := newSim()
	now := time.Unix(1e9, 0)
	limits := diskLimits()
	limits.MaxAge = time.Hour
	q := newDisk(DiskOptions{Dir: "/q", Limits: limits, Log: slog.New(slog.DiscardHandler)}, d)
	q.clock = func() time.Time { return now }
	q.ages = ages{began: now, since: func(t time.Time) time.Duration { return now.Sub(t) }}
	if _, err := q.recover(); err != nil {
		t.Fatal(err)
	}
	lost := map[string]int{}
	q.Observe(Observer{Lost: func(reason string, items int) { lost[reason] += items }})
	q.Append(stored(1, 1), stored(2, 1))
	now = now.Add(50 * time.Minute)
	q.Append(stored(3, 1))
	now = now.Add(20 * time.Minute)
	wantIDs(t, drain(q, 0), 3, 3)
	if lost[lostExpired] != 2 {
		t.Errorf("lost = %v", lost)
	}
}

func TestAClockThatIsSetMakesNoBlockOlder(t *testing.T) {
	limits := diskLimits()
	limits.MaxAge = time.Minute
	began := time.Now()
	memory := NewMemory(limits)
	disk := newDisk(DiskOptions{Dir: "/q", Limits: limits, Log: slog.New(slog.DiscardHandler)}, newSim())
	if _, err := disk.recover(); err != nil {
		t.Fatal(err)
	}
	day := time.Duration(0)
	disk.clock = func() time.Time { return began.Add(day) } // that of the machine
	passed := time.Duration(0)
	clock := ages{began: began, since: func(time.Time) time.Duration { return passed }}
	memory.ages, disk.ages = clock, clock
	for _, q := range []Queue{memory, disk} {
		lost := 0
		q.Observe(Observer{Lost: func(_ string, items int) { lost += items }})
		for _, day = range []time.Duration{0, time.Hour, -time.Hour} {
			q.Append(stored(1, 1))
			b, _ := q.Take(0)
			if b == nil || lost > 0 {
				t.Fatalf("%T: given up after the clock was set by %s", q, day)
			}
			q.Ack(b)
		}
		q.Append(stored(2, 1))
		passed += 2 * time.Minute
		if b, _ := q.Take(0); b != nil || lost != 1 {
			t.Errorf("%T: two minutes are not longer than one", q)
		}
	}
}

// TestASenderThatHoldsTheOldestBlockCostsNoOther: what holds all segments back is in a request, the others of the queue don't.
func TestASenderThatHoldsTheOldestBlockCostsNoOther(t *testing.T) {
	d := newSim()
	limits := Limits{MaxSize: 1 << 20, WhenFull: DropOldest, Sync: SyncBatch}
	q := newDisk(DiskOptions{Dir: "/q", Limits: limits, Log: slog.New(slog.DiscardHandler)}, d)
	if _, err := q.recover(); err != nil {
		t.Fatal(err)
	}
	lost := 0
	q.Observe(Observer{Lost: func(_ string, items int) { lost += items }})
	q.Append(stored(1, 10))
	held, _ := q.Take(0)
	const n = 300 // much more than the limit, but never much at a time
	var got []uint64
	for id := 2; id <= n; id++ {
		b := stored(id, 10_000)
		b.Shard = 1
		q.Append(b)
		q.step(true)
		if id%5 == 0 {
			got = append(got, drain(q, 1)...)
		}
	}
	wantIDs(t, got, 2, n)
	if lost != 0 {
		t.Errorf("%d items are given up from a queue that was nearly empty", lost)
	}
	q.Return(held)
	b := stored(n+1, 10)
	b.Shard = 1
	q.Append(b) // the block that holds everything back is what goes, now that nobody has it
	q.step(true)
	if used := d.used(); lost != 1 || used > 1<<20 {
		t.Errorf("%d items given up, %d bytes on disk", lost, used)
	}
}

// TestAnotherSyncIsForWhatIsWrittenFromThenOn: what was or wasn't promised under the old one stays so, also where the disk then fails.
func TestAnotherSyncIsForWhatIsWrittenFromThenOn(t *testing.T) {
	for name, x := range map[string]struct {
		from, to Sync
		fail     func(d *disk)
	}{
		"a write fails after off":            {SyncOff, SyncBatch, func(d *disk) { d.failWrites = 1 }},
		"a sync fails after off":             {SyncOff, SyncBatch, func(d *disk) { d.failSyncs = 1 }},
		"a sync fails before off":            {SyncBatch, SyncOff, func(d *disk) { d.failSyncs = 1 }},
		"no segment can be begun before off": {SyncBatch, SyncOff, func(d *disk) { d.capacity = d.used() + 10 }},
	} {
		t.Run(name, func(t *testing.T) {
			d := newSim()
			now := time.Unix(1e9, 0)
			limits := Limits{MaxSize: 1 << 20, WhenFull: Wait, Sync: x.from}
			q := newDisk(DiskOptions{Dir: "/q", Limits: limits, Log: slog.New(slog.DiscardHandler)}, d)
			q.clock = func() time.Time { return now }
			if _, err := q.recover(); err != nil {
				t.Fatal(err)
			}
			id := 1
			for ; id <= 26; id++ { // that fill a segment
				q.Append(stored(id, 10_000))
			}
			q.step(false)
			limits.Sync = x.to
			q.SetLimits(limits)
			x.fail(d)
			for ; id <= 30; id++ {
				q.Append(stored(id, 10_000))
				q.step(false)
				now = now.Add(time.Second)
				q.step(false)
			}
			d.capacity = 0
			now = now.Add(time.Minute)
			q.step(true)
			if q.unsafeUpTo(q.Tail()) {
				t.Fatal("not safe after the disk was well again")
			}
			q.evictAll()
			wantIDs(t, drain(q, 0), 1, uint64(id-1))
		})
	}
}

// TestWhatWasWrittenWithoutASyncIsNotMissedAfterAnother: what a cursor says is synced isn't more than what it says is synced and waits.
func TestWhatWasWrittenWithoutASyncIsNotMissedAfterAnother(t *testing.T) {
	d := newSim()
	limits := Limits{MaxSize: 1 << 20, WhenFull: Wait, Sync: SyncOff}
	q := newDisk(DiskOptions{Dir: "/q", Limits: limits, Log: slog.New(slog.DiscardHandler)}, d)
	if _, err := q.recover(); err != nil {
		t.Fatal(err)
	}
	q.Append(stored(1, 100), stored(2, 100))
	q.step(false)
	limits.Sync = SyncBatch
	q.SetLimits(limits)
	b, _ := q.Take(0)
	q.Ack(b)
	q.step(false) // writes the cursor
	q = newDisk(DiskOptions{Dir: "/q", Limits: limits, Log: slog.New(slog.DiscardHandler)}, d)
	found, err := q.recover()
	if err != nil || found.Lost != 0 || found.Blocks != 1 {
		t.Errorf("%+v, %v", found, err)
	}
}

// evictAll makes a queue read everything from its files.
func (q *Disk) evictAll() {
	for i := range q.shards {
		for _, e := range q.shards[i].entries {
			if e.state == safe && e.block != nil {
				e.block = nil
				q.resident -= e.size()
			}
		}
	}
}

func TestAStuckShardDoesNotFillTheDisk(t *testing.T) {
	d := newSim()
	limits := Limits{MaxSize: 1 << 20, WhenFull: Wait, Sync: SyncBatch}
	q := newDisk(DiskOptions{Dir: "/q", Limits: limits, Log: slog.New(slog.DiscardHandler)}, d)
	if _, err := q.recover(); err != nil {
		t.Fatal(err)
	}
	q.Append(stored(1, 10))
	id := 2
	for ; id < 1000; id++ {
		if ok, _ := q.Room(0); !ok {
			break
		}
		b := stored(id, 10_000)
		b.Shard = 1
		q.Append(b)
		q.step(true)
		drain(q, 1)
	}
	if used := d.used(); used > 3<<20 || id == 1000 {
		t.Errorf("%d bytes on disk after %d blocks", used, id)
	}
	drain(q, 0)
	q.step(false)
	if ok, _ := q.Room(0); !ok {
		t.Error("there is no room after the shard came free")
	}
}

func TestAsideIsBounded(t *testing.T) {
	d := newSim()
	a := aside{dir: "/q/aside", fs: d, log: slog.New(slog.DiscardHandler)}
	for range 100 {
		a.keep("rejected bad/words", make([]byte, 1<<20))
	}
	if used := d.used(); used > maxAside || used < maxAside/2 {
		t.Errorf("%d bytes", used)
	}
	for path := range d.names {
		if !strings.HasSuffix(path, "-rejected_bad_words") {
			t.Errorf("name %q", path)
		}
	}
	again := aside{dir: "/q/aside", fs: d, log: slog.New(slog.DiscardHandler)}
	again.keep("x", make([]byte, 1<<20))
	if used := d.used(); used > maxAside {
		t.Errorf("%d bytes after a start", used)
	}
}
