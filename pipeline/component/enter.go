package component

import "context"

// Enter takes the one place of busy, a channel that holds a token while a component works, and waits until it is free or ctx has ended. A free place
// is taken though ctx has ended: a Stop whose time is up still lets go of what nobody uses.
func Enter(ctx context.Context, busy chan<- struct{}) error {
	select {
	case busy <- struct{}{}:
		return nil
	default:
	}
	select {
	case busy <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
