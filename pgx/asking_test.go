package pgx

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestNobodyWaitsBeyondTheContextForWhoAsksAboutFunctions(t *testing.T) {
	f := functions{asking: make(contextMutex, 1)}
	require.True(t, f.asking.try()) // by a connection that is silent
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	_, err := f.whyApiece(ctx, nil, 0)
	require.ErrorIs(t, err, context.Canceled)
	f.asking.leave()
	require.True(t, f.asking.try())
}
