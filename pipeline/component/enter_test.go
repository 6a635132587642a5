package component

import (
	"context"
	"errors"
	"testing"
)

func TestAFreePlaceIsTakenThoughTheContextHasEnded(t *testing.T) {
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	busy := make(chan struct{}, 1)
	for range 100 {
		if err := Enter(ended, busy); err != nil {
			t.Fatal(err)
		}
		if err := Enter(ended, busy); !errors.Is(err, context.Canceled) {
			t.Fatalf("where somebody is: %v", err)
		}
		<-busy
	}
	busy <- struct{}{}
	entered := make(chan error, 1)
	go func() { entered <- Enter(t.Context(), busy) }()
	<-busy
	if err := <-entered; err != nil {
		t.Error(err)
	}
}
