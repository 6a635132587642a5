package delivery

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hermod-agent/hermod/pipeline/component"
	"github.com/hermod-agent/hermod/pipeline/queue"
)

func TestBatchIsSentWhenItIsFullOrOld(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, component.NewPool(), &backend{}, nil).start()
		r.mustPut(25)
		r.balance()
		r.wantStored(20)
		time.Sleep(999 * time.Millisecond)
		r.balance()
		r.wantStored(20)
		time.Sleep(2 * time.Millisecond)
		r.balance()
		r.wantStored(25)
		r.stop(time.Second)
	})
}

func TestRequestsAreSentAgainWithDoublingPauses(t *testing.T) {
	for name, answer := range map[string]Answer{
		"network": {Err: errors.New("refused")}, "408": {Status: 408}, "425": {Status: 425}, "500": {Status: 500}, "502": {Status: 502},
		"503": {Status: 503}, "504": {Status: 504}, "429": {Status: 429},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := &backend{answer: func(request) Answer { return answer }}
				r := newRig(t, component.NewPool(), b, nil).start()
				r.per = 1
				r.mustPut(1)
				time.Sleep(10 * time.Minute)
				seen := b.seen()
				want := time.Second
				for i := 1; i < len(seen); i++ {
					got := seen[i].at.Sub(seen[i-1].at)
					if got < want*9/10 || got > want*11/10 {
						t.Errorf("pause %d is %s, want about %s", i, got, want)
					}
					want = min(2*want, time.Minute)
				}
				if len(seen) < 12 || len(seen) > 18 {
					t.Errorf("%d requests in ten minutes", len(seen))
				}
				if f := r.fault(); f == nil || f.Remedy == "" || f.Note {
					t.Errorf("fault = %+v", f)
				}
				if got := r.balance(); got.Queued != 1 {
					t.Errorf("queued %d", got.Queued)
				}
				b.set(nil)
				time.Sleep(time.Minute * 12 / 10)
				r.balance()
				r.wantStored(1)
				if f := r.fault(); f != nil {
					t.Errorf("fault after recovery: %+v", f)
				}
				// The next outage begins with a second again.
				b.set(status(500))
				r.mustPut(1)
				before := len(b.seen())
				time.Sleep(1200 * time.Millisecond)
				if got := len(b.seen()) - before; got < 1 {
					t.Errorf("no retry within 1.2 s of a new outage")
				}
				r.stop(time.Second)
			})
		})
	}
}

func TestRetryAfterIsWaitedFor(t *testing.T) {
	for _, code := range []int{429, 503} {
		synctest.Test(t, func(t *testing.T) {
			b := &backend{}
			b.answer = func(request) Answer {
				if len(b.requests) == 1 {
					return Answer{Status: code, RetryAfter: 30 * time.Second}
				}
				return Answer{Status: 204}
			}
			r := newRig(t, component.NewPool(), b, nil).start()
			r.mustPut(30)
			synctest.Wait()
			// To take less for a while is what a backend may ask for. One that is away for longer than a moment is a fault.
			if f := r.fault(); f == nil || f.Note != (code == 429) {
				t.Errorf("asked to wait by %d: %+v", code, f)
			}
			time.Sleep(29 * time.Second)
			if n := len(b.seen()); n != 1 {
				t.Errorf("%d requests within the time that the backend asked for", n)
			}
			time.Sleep(2 * time.Second)
			r.balance()
			r.wantStored(30)
			r.stop(time.Second)
		})
	}
}

func TestRetryAfterHeader(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	for _, c := range []struct {
		value string
		want  time.Duration
	}{
		{"", 0}, {"7", 7 * time.Second}, {" 7 ", 7 * time.Second}, {"-3", 0}, {"86400", maxRetryAfter}, {"9223372036854775807", maxRetryAfter},
		{now.Add(90 * time.Second).Format(http.TimeFormat), 90 * time.Second}, {now.Add(-time.Hour).Format(http.TimeFormat), 0},
		{now.Add(time.Hour).Format(http.TimeFormat), maxRetryAfter}, {"soon", 0},
	} {
		a := Answered(429, http.Header{"Retry-After": {c.value}}, nil, now)
		if a.RetryAfter != c.want {
			t.Errorf("Retry-After %q = %s, want %s", c.value, a.RetryAfter, c.want)
		}
	}
	if a := Answered(500, http.Header{"Retry-After": {"7"}}, nil, now); a.RetryAfter != 0 {
		t.Errorf("500 with Retry-After = %s", a.RetryAfter)
	}
}

func TestOneProbeWhileTheBackendIsDown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := &backend{took: 5 * time.Second, answer: status(500)}
		r := newRig(t, component.NewPool(), b, func(o *Options) { o.Config.Shards = 4 }).start()
		r.mustPut(80)
		time.Sleep(5500 * time.Millisecond) // all four shards have failed once
		b.mu.Lock()
		first := len(b.requests)
		b.most = 0
		b.mu.Unlock()
		if first != 4 {
			t.Errorf("%d requests at first, want one a shard", first)
		}
		time.Sleep(5 * time.Minute)
		b.mu.Lock()
		if b.most != 1 {
			t.Errorf("%d requests at once while the backend is down", b.most)
		}
		b.took, b.answer = 0, nil
		b.mu.Unlock()
		time.Sleep(75 * time.Second)
		r.balance()
		r.wantStored(80)
		r.stop(time.Second)
	})
}

func TestBlockThatAlwaysFailsDoesNotHoldTheOtherShards(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := &backend{answer: func(r request) Answer {
			if slices.Contains(r.items, 1) { // in shard 1
				return Answer{Status: 500}
			}
			return Answer{Status: 204}
		}}
		r := newRig(t, component.NewPool(), b, func(o *Options) { o.Config.Shards = 2 }).start()
		for range 300 {
			r.mustPut(20)
			time.Sleep(time.Second)
		}
		failed := 0
		for _, q := range b.seen() {
			if slices.Contains(q.items, 1) {
				failed++
			}
		}
		if failed > 20 {
			t.Errorf("the bad block was sent %d times in five minutes", failed)
		}
		got := r.balance()
		if want := uint64(3000); got.Delivered < want-100 || got.Queued < want {
			t.Errorf("delivered %d, queued %d", got.Delivered, got.Queued)
		}
		r.stop(time.Second)
	})
}

func TestHoldKeepsEverythingAndProbesSlowly(t *testing.T) {
	cases := map[string]Answer{"tls": {Err: errors.New("certificate"), Misconfigured: true}}
	for _, code := range []int{301, 302, 307, 308, 401, 402, 403, 404, 405, 407, 410, 415, 451} {
		cases[fmt.Sprint(code)] = Answer{Status: code}
	}
	for name, answer := range cases {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := &backend{answer: func(request) Answer { return answer }}
				r := newRig(t, component.NewPool(), b, nil).start()
				r.mustPut(30)
				synctest.Wait()
				if f := r.fault(); f == nil || f.Note || f.Remedy == "" {
					t.Fatalf("fault = %+v, want one with a remedy at once", f)
				}
				if next := time.Until(r.d.Traffic().NextTry); next < 20*time.Second || next > 40*time.Second {
					t.Errorf("the next try is told to be in %s", next)
				}
				time.Sleep(time.Hour)
				seen := b.seen()
				want := 30 * time.Second
				for i := 1; i < len(seen); i++ {
					got := seen[i].at.Sub(seen[i-1].at)
					if got < want*9/10 || got > want*11/10 {
						t.Errorf("pause %d is %s, want about %s", i, got, want)
					}
					want = min(2*want, 5*time.Minute)
				}
				if got := r.balance(); got.Queued != 30 || got.Rejected != 0 {
					t.Errorf("traffic = %+v", got)
				}
				b.set(nil)
				time.Sleep(6 * time.Minute)
				r.balance()
				r.wantStored(30)
				if f := r.fault(); f != nil {
					t.Errorf("fault after recovery: %+v", f)
				}
				r.stop(time.Second)
			})
		})
	}
}

func TestWrongCredentialsMayDrop(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := &backend{answer: status(401)}
		r := newRig(t, component.NewPool(), b, func(o *Options) { o.Config.OnAuthError = "drop" }).start()
		r.mustPut(30)
		got := r.balance()
		if got.Rejected != 30 || r.env.Losses.Counts()["rejected_unauthorized"] != 30 {
			t.Errorf("traffic = %+v, losses %v", got, r.env.Losses.Counts())
		}
		if r.fault() == nil {
			t.Error("no fault")
		}
		b.set(status(404)) // not a matter of credentials
		r.mustPut(10)
		if got := r.balance(); got.Queued != 10 {
			t.Errorf("a 404 was dropped: %+v", got)
		}
		r.stop(time.Second)
	})
}

func TestTooLargeBodyIsHalved(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := &backend{answer: func(r request) Answer {
			if len(r.items) > 3 || slices.Contains(r.items, 7) {
				return Answer{Status: 413}
			}
			return Answer{Status: 204}
		}}
		r := newRig(t, component.NewPool(), b, nil).start()
		r.per = 100
		r.mustPut(100)
		got := r.balance()
		if got.Delivered != 99 || r.env.Losses.Counts()["rejected_too_large"] != 1 {
			t.Errorf("traffic = %+v, losses %v", got, r.env.Losses.Counts())
		}
		r.wantStored(99)
		r.stop(time.Second)
	})
}

func TestBodyLargerThanTheBurstIsHalved(t *testing.T) {
	for name, hint := range map[string]bool{"said by the backend": true, "found out": false} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := &backend{answer: func(r request) Answer {
					if len(r.items) > 30 {
						return Answer{Status: 429, TooLarge: hint}
					}
					return Answer{Status: 204}
				}}
				r := newRig(t, component.NewPool(), b, nil).start()
				r.per = 100
				r.mustPut(100)
				time.Sleep(5 * time.Minute)
				r.balance()
				r.wantStored(100)
				r.stop(time.Second)
			})
		})
	}
}

func TestABodyIsNotHalvedForABackendThatIsAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := &backend{answer: status(503)}
		r := newRig(t, component.NewPool(), b, nil).start()
		r.per = 100
		r.mustPut(100)
		time.Sleep(10 * time.Second)
		if f := r.fault(); f == nil || f.Note {
			t.Errorf("fault = %+v of a backend that has answered 503 more than once", f)
		}
		time.Sleep(time.Hour)
		b.set(nil)
		time.Sleep(5 * time.Minute)
		r.wantStored(100)
		for _, q := range b.seen() {
			if len(q.items) != 100 {
				t.Fatalf("a request with %d of the 100 items of a body", len(q.items))
			}
		}
		r.stop(time.Second)
	})
}

func TestRefusedItemsAreCountedAndTheNextBlockGoesOn(t *testing.T) {
	for _, code := range []int{400, 409, 422} {
		synctest.Test(t, func(t *testing.T) {
			b := &backend{answer: func(r request) Answer {
				if slices.Contains(r.items, 5) {
					return Answer{Status: code, Words: "no"}
				}
				return Answer{Status: 204}
			}}
			b.refusal = func(*queue.Block, Answer) Refusal { return Refusal{Counts: []Count{{"too_old", 3}, {"too_long", 1}}} }
			r := newRig(t, component.NewPool(), b, nil).start()
			r.mustPut(30)
			got := r.balance()
			losses := r.env.Losses.Counts()
			if got.Delivered != 26 || got.Rejected != 4 || losses["rejected_too_old"] != 3 || losses["rejected_too_long"] != 1 {
				t.Errorf("traffic = %+v, losses %v", got, losses)
			}
			if n := len(b.seen()); n != 3 {
				t.Errorf("%d requests: a refused body must not be sent again", n)
			}
			told := map[string]string{}
			for _, f := range r.env.Status.Faults() {
				told[f.What] = f.Remedy
			}
			words := fmt.Sprintf(" for good: the backend answered %d in these words: no", code)
			if want := map[string]string{"refused too_old" + words: "begin later", "refused too_long" + words: ""}; !maps.Equal(told, want) {
				t.Errorf("notes = %v", told)
			}
			time.Sleep(12 * time.Minute)
			if f := r.env.Status.Faults(); len(f) != 0 {
				t.Errorf("notes long after: %+v", f)
			}
			r.stop(time.Second)
		})
	}
}

func TestMoreRefusedThanThereIsCountsAsTheWholeBlock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := &backend{answer: status(400)}
		b.refusal = func(*queue.Block, Answer) Refusal {
			return Refusal{Counts: []Count{{"a", 7}, {"b", 1 << 40}, {"c", 1}}}
		}
		r := newRig(t, component.NewPool(), b, nil).start()
		r.mustPut(10)
		if got := r.balance(); got.Rejected != 10 || got.Delivered != 0 {
			t.Errorf("traffic = %+v", got)
		}
		r.stop(time.Second)
	})
}

func TestItemsThatSpoilABodyAreFound(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := &backend{answer: func(r request) Answer {
			if slices.Contains(r.items, 5) {
				return Answer{Status: 400}
			}
			return Answer{Status: 204}
		}}
		b.refusal = func(b *queue.Block, _ Answer) Refusal {
			return Refusal{NothingStored: true, Counts: []Count{{"out_of_order", b.Items}}}
		}
		r := newRig(t, component.NewPool(), b, nil).start()
		r.per = 1000
		r.mustPut(1000)
		r.balance()
		r.wantStored(999)
		// When all are bad the search ends.
		b.set(status(400))
		before := len(b.seen())
		r.mustPut(1000)
		if got := r.balance(); got.Rejected != 1001 {
			t.Errorf("traffic = %+v", got)
		}
		if n := len(b.seen()) - before; n > 2*maxIsolations+1 {
			t.Errorf("%d requests for a body of which nothing is good", n)
		}
		// The next block is looked at afresh.
		b.set(func(r request) Answer {
			if slices.Contains(r.items, 2500) {
				return Answer{Status: 400}
			}
			return Answer{Status: 204}
		})
		r.mustPut(1000)
		if got := r.balance(); got.Rejected != 1002 {
			t.Errorf("traffic = %+v", got)
		}
		r.stop(time.Second)
	})
}

type transcoding struct{ *backend }

func (f transcoding) Transcode(b *queue.Block) (*queue.Block, error) {
	if b.Protocol == "numbers/1" {
		return nil, nil
	}
	out := blockOf(b.Shard, b.Body)
	out.Protocol = "numbers/1"
	return out, nil
}

func (f transcoding) Send(ctx context.Context, b *queue.Block) Answer {
	if b.Protocol != "numbers/1" {
		return Answer{Status: 415}
	}
	return f.backend.Send(ctx, b)
}

func TestUnsupportedBodyIsTranscoded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := &backend{}
		r := newRig(t, component.NewPool(), b, func(o *Options) { o.Backend = transcoding{b} }).start()
		r.mustPut(30)
		r.balance()
		r.wantStored(30)
		b.set(status(415)) // not even the other
		r.mustPut(10)
		if got := r.balance(); got.Queued != 10 {
			t.Errorf("traffic = %+v", got)
		}
		r.stop(time.Second)
	})
}

func TestFullQueueMakesLogsWaitForRoom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := &backend{answer: status(500)}
		r := newRig(t, component.NewPool(), b, smallQueue(queue.Wait, queue.MinSize)).start()
		r.per = 10000
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		n := uint64(0)
		var err error
		for err == nil {
			if err = r.put(ctx, 10000); err == nil {
				n += 10000
			}
		}
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Fatalf("a put into a full queue: %v", err)
		}
		got := r.balance()
		if got.Taken != n || got.QueuedBytes < queue.MinSize || got.QueuedBytes > queue.MinSize+100_000 {
			t.Errorf("traffic = %+v after %d", got, n)
		}
		b.set(nil)
		r.next = n // what was refused is offered again
		if err := r.put(context.Background(), 10000); err != nil {
			t.Fatal(err)
		}
		time.Sleep(2 * time.Minute)
		r.balance()
		r.wantStored(n + 10000)
		r.stop(time.Second)
	})
}

func TestFullQueueRefusesMetricsThatMayNotDropOlderOnes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := &backend{answer: status(500)}
		r := newRig(t, component.NewPool(), b, func(o *Options) {
			smallQueue(queue.Wait, queue.MinSize)(o)
			o.Waits = false
		}).start()
		r.per = 10000
		var err error
		for range 100 {
			if err = r.put(t.Context(), 10000); err != nil {
				break
			}
		}
		if !errors.Is(err, ErrFull) {
			t.Errorf("err = %v, want ErrFull", err)
		}
		r.balance()
		r.stop(time.Second)
	})
}

func TestFullQueueDropsTheOldest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := &backend{answer: status(500)}
		r := newRig(t, component.NewPool(), b, smallQueue(queue.DropOldest, queue.MinSize)).start()
		r.per = 10000
		for range 50 {
			r.mustPut(10000)
			synctest.Wait()
		}
		got := r.balance()
		lost := r.env.Losses.Counts()["queue_full"]
		if got.Taken != 500_000 || lost == 0 || got.QueuedBytes > queue.MinSize {
			t.Errorf("traffic = %+v, lost %d", got, lost)
		}
		b.set(nil)
		time.Sleep(2 * time.Minute)
		got = r.balance()
		if got.Delivered+lost != 500_000 {
			t.Errorf("delivered %d + lost %d", got.Delivered, lost)
		}
		kept := b.kept()
		if first := kept[0]; first != lost+1 && first != 1 {
			t.Errorf("kept from %d on with %d lost: not the oldest", first, lost)
		}
		if last := kept[len(kept)-1]; last != 500_000 {
			t.Errorf("the newest is %d", last)
		}
		r.stop(time.Second)
	})
}

func TestOrderIsKeptThroughAnOutageInEachShard(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := &backend{took: 10 * time.Millisecond}
		r := newRig(t, component.NewPool(), b, func(o *Options) { o.Config.Shards = 3 }).start()
		for i := range 200 {
			switch i {
			case 50:
				b.set(status(503))
			case 120:
				b.set(nil)
			case 150:
				b.set(func(r request) Answer { return Answer{Status: map[bool]int{true: 413, false: 204}[len(r.items) > 4]} })
			}
			r.mustPut(7)
			time.Sleep(100 * time.Millisecond)
		}
		time.Sleep(2 * time.Minute)
		r.balance()
		r.wantStored(1400)
		last := map[uint64]uint64{}
		for _, n := range b.kept() {
			if last[n%3] > n {
				t.Fatalf("%d was stored after %d", n, last[n%3])
			}
			last[n%3] = n
		}
		r.stop(time.Second)
	})
}

func TestBackendThatHangsIsGivenUpAtTheTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := &backend{took: time.Hour}
		r := newRig(t, component.NewPool(), b, nil).start()
		r.mustPut(10)
		time.Sleep(20 * time.Second)
		if n := len(b.seen()); n != 2 {
			t.Errorf("%d requests in 20 s with a timeout of 15 s", n)
		}
		r.balance()
		r.stop(time.Second)
	})
}

func TestABackendThatHangsIsAFaultAtTheFirstTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := &backend{took: time.Hour}
		r := newRig(t, component.NewPool(), b, nil).start()
		r.mustPut(30)
		time.Sleep(17 * time.Second) // the batch is closed after 1 s, and a request may take 15 s
		if f := r.fault(); f == nil || f.Note {
			t.Errorf("fault = %+v after the first request that hung", f)
		}
		b.mu.Lock()
		b.took = 0
		b.mu.Unlock()
		time.Sleep(time.Minute)
		r.wantStored(30)
		r.stop(time.Second)
	})
}
