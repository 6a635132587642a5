package delivery

import (
	"context"
	"errors"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hermod-agent/hermod/pipeline/component"
	"github.com/hermod-agent/hermod/pipeline/queue"
)

func TestFlushWaitsForDelivery(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := &backend{took: 100 * time.Millisecond}
		r := newRig(t, component.NewPool(), b, nil).start()
		if err := r.d.Flush(t.Context()); err != nil {
			t.Errorf("flush of nothing: %v", err)
		}
		r.mustPut(5)
		begin := time.Now()
		done := make(chan error, 3)
		for range 3 {
			go func() { done <- r.d.Flush(t.Context()) }()
		}
		for range 3 {
			if err := <-done; err != nil {
				t.Error(err)
			}
		}
		if took := time.Since(begin); took != 1100*time.Millisecond {
			t.Errorf("a flush took %s, want the batch's second and the request", took)
		}
		r.wantStored(5)
		if n := len(b.seen()); n != 1 {
			t.Errorf("%d requests: a flush must not close batches early", n)
		}

		r.mustPut(5)
		begin = time.Now()
		if err := r.d.Flush(component.WithHurry(t.Context())); err != nil {
			t.Error(err)
		}
		if took := time.Since(begin); took != 100*time.Millisecond {
			t.Errorf("a flush in a hurry took %s", took)
		}
		r.wantStored(10)

		// Rejected is safe, too; what waits isn't.
		b.set(status(400))
		r.mustPut(10)
		if err := r.d.Flush(t.Context()); err != nil {
			t.Error(err)
		}
		b.set(status(500))
		r.mustPut(10)
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if err := r.d.Flush(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("a flush of what isn't delivered: %v", err)
		}
		r.stop(time.Second)
		if err := r.d.Flush(t.Context()); !errors.Is(err, component.ErrStopped) {
			t.Errorf("a flush of what was never delivered: %v", err)
		}
	})
}

func TestFlushIsNotHeldUpByWhatComesLater(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := &backend{took: 300 * time.Millisecond}
		r := newRig(t, component.NewPool(), b, nil).start()
		stop := make(chan struct{})
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			for {
				r.mustPut(10)
				select {
				case <-stop:
					return
				case <-time.After(300 * time.Millisecond):
				}
			}
		}()
		time.Sleep(3 * time.Second)
		begin := time.Now()
		if err := r.d.Flush(t.Context()); err != nil {
			t.Error(err)
		}
		if took := time.Since(begin); took > 2*time.Second {
			t.Errorf("the flush took %s under a steady load", took)
		}
		close(stop)
		<-ended
		r.stop(time.Minute)
		r.wantStored(r.next)
	})
}

func TestStopDrains(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := &backend{took: 100 * time.Millisecond}
		r := newRig(t, component.NewPool(), b, nil).start()
		r.mustPut(95)
		begin := time.Now()
		r.stop(5 * time.Second)
		if took := time.Since(begin); took != time.Second {
			t.Errorf("took %s", took)
		}
		r.wantStored(95)
	})
}

func TestStopEndsInTimeWithADeadBackend(t *testing.T) {
	for name, b := range map[string]*backend{
		"hanging": {took: time.Hour}, "failing": {answer: status(500)}, "holding": {answer: status(401)},
		"limiting": {answer: func(request) Answer { return Answer{Status: 429, RetryAfter: time.Minute} }},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRig(t, component.NewPool(), b, nil).start()
				r.mustPut(95)
				time.Sleep(10 * time.Minute)
				begin := time.Now()
				r.stop(5 * time.Second)
				if took := time.Since(begin); took != 5*time.Second {
					t.Errorf("took %s", took)
				}
				if got := r.balance(); got.Queued != 95 {
					t.Errorf("traffic = %+v", got)
				}
			})
		})
	}
}

func TestStopTriesAgainAtOnce(t *testing.T) {
	for _, code := range []int{500, 503, 429} {
		synctest.Test(t, func(t *testing.T) {
			b := &backend{answer: status(code)}
			r := newRig(t, component.NewPool(), b, nil).start()
			r.mustPut(50)
			time.Sleep(10*time.Minute + time.Second) // in the middle of a pause of a minute
			b.set(nil)
			r.stop(5 * time.Second)
			r.wantStored(50)
		})
	}
}

func TestStopLeavesABackendAloneThatAskedForIt(t *testing.T) {
	for _, code := range []int{503, 429} {
		synctest.Test(t, func(t *testing.T) {
			b := &backend{answer: func(request) Answer { return Answer{Status: code, RetryAfter: time.Minute} }}
			r := newRig(t, component.NewPool(), b, nil).start()
			r.mustPut(10)
			time.Sleep(10 * time.Second)
			before := len(b.seen())
			r.stop(5 * time.Second)
			if n := len(b.seen()) - before; n != 0 {
				t.Errorf("%d requests at a stop after a %d that asked for a minute", n, code)
			}
		})
	}
}

func TestStopWithoutRunOrStart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, component.NewPool(), &backend{}, nil)
		if err := r.d.Flush(t.Context()); err != nil {
			t.Error(err)
		}
		r.stop(time.Second)
		if err := r.d.Run(t.Context()); err == nil {
			t.Error("Run without Start works")
		}

		r = newRig(t, component.NewPool(), &backend{}, nil)
		if err := r.d.Start(t.Context()); err != nil {
			t.Fatal(err)
		}
		r.mustPut(25)
		r.stop(time.Second)
		r.wantStored(25)
	})
}

func TestStopWakesWhoWaitsForRoom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, component.NewPool(), &backend{answer: status(500)}, smallQueue(queue.Wait, queue.MinSize)).start()
		r.per = 10000
		done := make(chan error, 1)
		go func() {
			for {
				if err := r.put(context.Background(), 10000); err != nil {
					done <- err
					return
				}
			}
		}()
		time.Sleep(time.Minute)
		r.stop(time.Second)
		if err := <-done; !errors.Is(err, component.ErrStopped) {
			t.Errorf("err = %v", err)
		}
	})
}

func TestRemovedOutputCountsWhatItCannotDeliver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := &backend{answer: func(r request) Answer {
			if slices.Contains(r.items, 25) {
				return Answer{Status: 500}
			}
			return Answer{Status: 204}
		}}
		r := newRig(t, component.NewPool(), b, nil).start()
		r.mustPut(95)
		r.d.Removed()
		r.stop(5 * time.Second)
		if got, lost := r.balance(), r.env.Losses.Counts()["output_removed"]; got.Delivered != 20 || lost != 75 || got.Queued != 0 {
			t.Errorf("traffic = %+v, removed %d", got, lost)
		}
	})
}

// reload replaces r by a successor as the engine does: start the new, swap, stop the old, run the new.
func reload(t *testing.T, r *rig, b *backend, between func(old, successor *rig), change func(*Options)) *rig {
	t.Helper()
	s := newRig(t, r.env.Pool, b, change)
	s.next, s.per = r.next, r.per
	if err := s.d.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	if between != nil {
		between(r, s)
	}
	r.stop(5 * time.Second)
	s.running()
	return s
}

func TestReloadHandsTheQueueOver(t *testing.T) {
	for name, change := range map[string]func(*Options){
		"same shards": nil,
		"more shards": func(o *Options) { o.Config.Shards = 5 },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := &backend{answer: status(500)}
				r := newRig(t, component.NewPool(), b, nil).start()
				r.mustPut(55)
				synctest.Wait()
				begin := time.Now()
				s := reload(t, r, b, func(old, successor *rig) {
					successor.next = old.next
					successor.mustPut(32) // taken before the old one has queued its open batch
					if got := successor.balance(); got.Taken != 32 || got.Queued != 32 {
						t.Errorf("the successor before its Run: %+v", got)
					}
				}, change)
				if took := time.Since(begin); took != 0 {
					t.Errorf("the handover took %s with a dead backend", took)
				}
				if got := r.balance(); got.Queued != 0 || got.Taken != 0 {
					t.Errorf("the old one after its stop: %+v", got)
				}
				if got := s.balance(); got.Taken != 87 {
					t.Errorf("the successor: %+v", got)
				}
				flushed := make(chan error, 2)
				go func() { flushed <- s.d.Flush(context.Background()) }()
				go func() { flushed <- r.d.Flush(context.Background()) }()
				s.mustPut(10)
				time.Sleep(30 * time.Second)
				select {
				case err := <-flushed:
					t.Fatalf("a flush returned %v before anything was delivered", err)
				default:
				}
				b.set(nil)
				time.Sleep(2 * time.Minute)
				for range 2 {
					if err := <-flushed; err != nil {
						t.Error(err)
					}
				}
				s.balance()
				s.wantStored(97)
				if got := b.kept()[:55]; !slices.IsSorted(got) {
					t.Errorf("what the old one left did not come first: %v", got)
				}
				s.stop(time.Second)
			})
		})
	}
}

func TestReloadWaitsForTheRequestInFlight(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := &backend{took: 2 * time.Second}
		r := newRig(t, component.NewPool(), b, nil).start()
		r.mustPut(30)
		synctest.Wait()
		s := reload(t, r, b, nil, nil)
		time.Sleep(time.Minute)
		s.balance()
		s.wantStored(30) // each once
		s.stop(time.Second)
	})
}

func TestManyReloadsUnderLoadLoseNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := &backend{took: 30 * time.Millisecond}
		r := newRig(t, component.NewPool(), b, nil).start()
		delivered := uint64(0)
		for i := range 40 {
			for range 10 {
				r.mustPut(7)
				time.Sleep(17 * time.Millisecond)
			}
			old := r
			r = reload(t, r, b, nil, func(o *Options) { o.Config.Shards = 1 + i%3 })
			delivered += old.balance().Delivered
		}
		r.stop(time.Minute)
		delivered += r.balance().Delivered
		if delivered != r.next {
			t.Errorf("%d of %d delivered", delivered, r.next)
		}
		got := b.kept()
		slices.Sort(got)
		if len(got) != int(r.next) || len(slices.Compact(got)) != int(r.next) {
			t.Errorf("stored %d of %d", len(got), r.next)
		}
	})
}

func TestSuccessorThatNeverRanLeavesItsItemsToTheOther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := &backend{}
		r := newRig(t, component.NewPool(), b, nil).start()
		synctest.Wait()
		r.mustPut(10)
		s := newRig(t, r.env.Pool, b, nil)
		s.next = r.next
		if err := s.d.Start(t.Context()); err != nil {
			t.Fatal(err)
		}
		s.mustPut(15)
		s.stop(time.Second)
		time.Sleep(time.Second)
		synctest.Wait()
		r.wantStored(25)
		r.stop(time.Second)
	})
}

func TestIdleBatchesAreGivenUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, component.NewPool(), &backend{}, nil).start()
		r.mustPut(3)
		time.Sleep(5 * time.Minute)
		r.d.mu.Lock()
		n := len(r.d.batches)
		r.d.mu.Unlock()
		if n != 0 {
			t.Errorf("%d batches are kept", n)
		}
		r.mustPut(3)
		r.stop(time.Second)
		r.wantStored(6)
	})
}

func TestWordsOfABackendFitOnALine(t *testing.T) {
	for in, want := range map[string]string{
		"":                                "",
		" plain words\n":                  "plain words",
		"two\nlines\tand   more":          "two lines and more",
		"\x1b[31mred\x1b[0m\x00\x7f":      `\x1b[31mred\x1b[0m\x00\x7f`,
		"bad \xff utf8, good ü":           `bad \xff utf8, good ü`,
		"bidi \u202e override \u2028":     `bidi \u202e override`,
		"<html><body>502</body></html>\n": "<html><body>502</body></html>",
	} {
		if got := Words([]byte(in)); got != want {
			t.Errorf("Words(%q) = %q, want %q", in, got, want)
		}
	}
	if got := Words(make([]byte, 1<<20)); len(got) > maxWords+8 {
		t.Errorf("%d bytes of words", len(got))
	}
}
