package delivery

import (
	"context"
	"fmt"

	"github.com/hermod-agent/hermod/pipeline/component"
	"github.com/hermod-agent/hermod/pipeline/config"
	"github.com/hermod-agent/hermod/pipeline/queue"
)

// Try sends one block that holds nothing, for `hermod check`, and says what came of it. takes says whether an answer that is no success means
// that nothing but data was missing.
func Try(ctx context.Context, backend Backend, url config.URL, empty *queue.Block, takes func(Answer) bool) component.Finding {
	f := component.Finding{What: fmt.Sprintf("push to %s", url)}
	a := backend.Send(ctx, empty)
	if judge(a) == delivered || a.Status != 0 && takes != nil && takes(a) {
		f.Detail = "an empty request was taken; nothing was written"
		return f
	}
	f.Err = backend.Explain(a)
	return f
}
