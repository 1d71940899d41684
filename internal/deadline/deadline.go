// Package deadline tells whose time is over, where an error does not.
package deadline

import (
	"context"
	"time"
)

// Over reports that a context has ended, or that its deadline is past: a driver sets the deadline of its connection to that of the
// context, and may be told that the time is over a moment before the context is.
func Over(ctx context.Context) bool {
	if ctx.Err() != nil {
		return true
	}
	at, ok := ctx.Deadline()
	return ok && !time.Now().Before(at)
}
