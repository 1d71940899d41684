package virtual

import (
	"context"
	"fmt"
)

// The marks that a caller's context carries for its statement.

type noBatchKey struct{}

// WithNoBatch returns a context whose Exec joins no group.
func WithNoBatch(ctx context.Context) context.Context {
	return context.WithValue(ctx, noBatchKey{}, true)
}

// NoBatch reports that an Exec with this context joins no group.
func NoBatch(ctx context.Context) bool {
	return ctx != context.Background() && ctx.Value(noBatchKey{}) != nil
}

// idContext is the context of WithID. Its own type costs one allocation a call, not two. Mostly it is the very context that
// reaches Exec: then its id is found at once.
type idContext struct {
	context.Context
	id string
}

type idKey struct{}

func (c *idContext) Value(key any) any {
	if key == (idKey{}) {
		return c
	}
	return c.Context.Value(key)
}

// WithID returns a context whose Exec has an id.
func WithID(ctx context.Context, id string) context.Context { return &idContext{ctx, id} }

// IDOf returns the id of a context. It may be empty, which is an error of the call's.
func IDOf(ctx context.Context) (id string, ok bool) {
	if ctx == context.Background() {
		return "", false
	}
	c, ok := ctx.(*idContext)
	if !ok {
		if c, ok = ctx.Value(idKey{}).(*idContext); !ok {
			return "", false
		}
	}
	return c.id, true
}

// WithoutID is for a statement of the library's on behalf of a caller.
func WithoutID(ctx context.Context) context.Context {
	if _, ok := IDOf(ctx); ok {
		return context.WithValue(ctx, idKey{}, nil)
	}
	return ctx
}

// refuseID is the error of a statement that takes a context and has effects, but is no Exec.
func refuseID(ctx context.Context, what string) error {
	if id, ok := IDOf(ctx); ok {
		return errNoID(id, what)
	}
	return nil
}

func errNoID(id, what string) error {
	return fmt.Errorf("groupcommit: id %q: %s cannot have one; a single INSERT, UPDATE, DELETE or the like outside a transaction can", id, what)
}
