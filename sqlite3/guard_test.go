package sqlite3

import (
	"fmt"
	"strings"
	"testing"

	"github.com/groupcommit/groupcommit/internal/lru"
	"github.com/stretchr/testify/require"
)

func TestATextIsGuardedUntilItHasNotFailedForAWhile(t *testing.T) {
	g := guards{texts: lru.New[*int](guardedTexts, nil)}
	require.False(t, g.has("a"))
	g.failed("a")
	require.False(t, g.has("b"))
	for range guardFades - 1 {
		g.passed("a")
		g.passed("b")
	}
	require.True(t, g.has("a"))
	g.failed("a")
	for range guardFades {
		require.True(t, g.has("a"))
		g.passed("a")
	}
	require.False(t, g.has("a"))
	require.Zero(t, g.count.Load(), "who guards nothing need not look")
}

func TestGuardsAreBounded(t *testing.T) {
	g := guards{texts: lru.New[*int](guardedTexts, nil)}
	g.failed(strings.Repeat("x", guardedSize+1))
	require.Zero(t, g.count.Load())
	for i := range 2 * guardedTexts {
		g.failed(fmt.Sprint(i))
	}
	require.Equal(t, guardedTexts, int(g.count.Load()))
	require.False(t, g.has("0"))
	require.True(t, g.has(fmt.Sprint(2*guardedTexts-1)))
}
