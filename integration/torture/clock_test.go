//go:build integration

package torture

import (
	"fmt"
	"testing"
	"time"

	"github.com/hermod-agent/hermod/integration/harness"
)

func TestClocksThatJump(t *testing.T) {
	t.Parallel()
	everyPair(t, crash, "the agent's clock jumps by an hour to and fro and to 1970, with kills and stops between", pairOptions{}, func(p *pair) {
		p.jumps = true
		clock := harness.NewClock(p.T, p.agent)
		p.start()
		p.flows()
		stop := func() {
			if code := p.agent.Stop(); code != 0 {
				p.Errorf("stopped with code %d", code)
			}
		}
		p.while(200, func() {
			for _, step := range []struct {
				ahead time.Duration
				then  func()
			}{
				{ahead: time.Hour}, {}, {ahead: -time.Hour}, {ahead: time.Hour, then: p.kill}, {ahead: -time.Hour, then: stop},
				{ahead: time.Until(time.Unix(1000, 0)), then: p.kill}, {ahead: time.Hour}, {ahead: time.Until(time.Unix(1000, 0))}, {then: stop},
			} {
				clock.Ahead(step.ahead)
				// What the agent shows proves that its clock was set.
				harness.Eventually(p.T, patience, "the agent's clock is another", func() (bool, string) {
					status, err := p.agent.Status()
					if err != nil {
						return false, err.Error()
					}
					off := time.Until(status.Now) - step.ahead
					return off.Abs() < time.Minute, fmt.Sprint(status.Now)
				})
				p.flows()
				if step.then != nil {
					step.then()
					p.agent.Start()
					p.agent.AwaitReady()
				}
			}
		})
		p.conclude(2)
		p.healthy()
	}, 38)
}
