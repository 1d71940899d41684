package pgx

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestNobodyWaitsBeyondTheContextForWhoAsksAboutFunctions(t *testing.T) {
	var f functions
	require.True(t, f.asking.try()) // by a connection that is silent
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	_, err := f.whyApiece(ctx, &session{})
	require.ErrorIs(t, err, context.Canceled)
	f.asking.leave()
	require.True(t, f.asking.try())
}
