package tally

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"net"
	"syscall"
	"testing"

	"github.com/groupcommit/groupcommit/durable"
	"github.com/groupcommit/groupcommit/engine"
	"github.com/stretchr/testify/require"
)

var errNative = errors.New("the database's own")

var traits = &engine.Traits{Class: func(err error) engine.ErrorClass {
	if errors.Is(err, errNative) {
		return engine.ErrorBusy
	}
	return engine.ErrorOther
}}

func TestEveryErrorHasAClass(t *testing.T) {
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	reset := &net.OpError{Op: "read", Err: syscall.ECONNRESET}
	for i, test := range []struct {
		ctx  context.Context
		err  error
		want engine.ErrorClass
	}{
		{t.Context(), errNative, engine.ErrorBusy},
		{t.Context(), errors.New("no idea"), engine.ErrorOther},
		{ended, context.Canceled, engine.ErrorCanceled},
		{ended, fmt.Errorf("timeout: %w", context.DeadlineExceeded), engine.ErrorCanceled},
		{ended, errNative, engine.ErrorBusy},
		{t.Context(), context.DeadlineExceeded, engine.ErrorConnection}, // a time limit of the library's
		{t.Context(), reset, engine.ErrorConnection},
		{t.Context(), driver.ErrBadConn, engine.ErrorConnection},
		{t.Context(), fmt.Errorf("read: %w", io.ErrUnexpectedEOF), engine.ErrorConnection},
		{t.Context(), engine.InDoubt("", reset, nil), engine.ErrorConnection},
		{t.Context(), engine.InDoubt("", errNative, nil), engine.ErrorBusy},
		{ended, engine.Left("id", context.Canceled), engine.ErrorCanceled},
		{ended, engine.InDoubt("", reset, context.Canceled), engine.ErrorConnection},
		{t.Context(), &engine.RejectedError{State: durable.RejectedTimedout}, engine.ErrorCanceled},
		{t.Context(), &engine.RejectedError{State: durable.Rejected}, engine.ErrorOther},
		{t.Context(), &engine.PanicError{Value: "oh"}, engine.ErrorOther},
	} {
		require.Equal(t, test.want, ClassOf(test.ctx, traits, test.err), "%d: %v", i, test.err)
	}
	require.Equal(t, engine.ErrorOther, ClassOf(t.Context(), nil, errNative))
	require.Equal(t, engine.ErrorOther, ClassOf(t.Context(), &engine.Traits{}, errNative))
}

func TestATallyHasWhatWasCounted(t *testing.T) {
	var c Tally
	require.Zero(t, c.Counts())
	c.Failed(t.Context(), traits, errNative)
	c.Failed(t.Context(), traits, engine.InDoubt("", errNative, nil))
	c.Failed(t.Context(), traits, errors.New("no idea"))
	c.Replayed()
	c.Retried()
	require.Equal(t, Counts{
		Errors:  map[engine.ErrorClass]int64{engine.ErrorBusy: 2, engine.ErrorOther: 1},
		Unknown: 1, Replays: 1, Retries: 1,
	}, c.Counts())
}

func TestEveryClassHasALabelOfItsOwn(t *testing.T) {
	seen := make(map[string]bool)
	for class := range engine.ErrorClass(engine.ErrorClasses) {
		require.NotEmpty(t, class.Label())
		require.NotEmpty(t, class.String())
		require.False(t, seen[class.Label()])
		seen[class.Label()] = true
	}
	require.Equal(t, "invalid", engine.ErrorClass(engine.ErrorClasses).Label())
	require.Equal(t, "invalid", engine.ErrorClass(engine.ErrorClasses).String())
}
