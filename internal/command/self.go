package command

import (
	"context"
	"errors"
)

// A handler must not wait for a command of its own database: that may be waiting for the handler's turn, or for its batch. The
// handler's context tells.

// handlingKey is the key of the host whose handler a context is for.
type handlingKey struct{}

// handling is the context for a handler of this host.
func (r *Runner) handling(ctx context.Context) context.Context {
	return context.WithValue(ctx, handlingKey{}, r.host)
}

func handledBy(ctx context.Context) Host {
	h, _ := ctx.Value(handlingKey{}).(Host)
	return h
}

// handles reports that a context is that of a handler of this host, whatever the type of its commands.
func (r *Runner) handles(ctx context.Context) bool { return handledBy(ctx) == r.host }

var errWaitsForItself = errors.New("groupcommit: a handler must not wait for a command of its own database, which may be waiting for the handler; hand it over with Go, or record it with Add in the handler's transaction")
