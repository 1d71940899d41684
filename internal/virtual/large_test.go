package virtual

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// expects is what a query does before it runs.
func (l *Large) expects(query string) bool {
	if !l.Has(query) {
		return false
	}
	l.fade(query)
	return true
}

func TestALargeTextIsForgottenAfterAWhile(t *testing.T) {
	var l Large
	require.False(t, l.expects("a"))
	l.Note("a")
	require.False(t, l.expects("b"))
	for range 2 * largeFades { // who only asks takes nothing away
		require.True(t, l.Has("a"))
	}
	for range largeFades {
		require.True(t, l.expects("a"))
	}
	require.False(t, l.expects("a"))
}

func TestLargeTextsAreBounded(t *testing.T) {
	var l Large
	l.Note(strings.Repeat("x", largeSize+1))
	require.Empty(t, l.left)
	for i := range 3 * largeTexts {
		l.Note(fmt.Sprint(i))
		require.LessOrEqual(t, len(l.left), largeTexts)
		require.True(t, l.expects(fmt.Sprint(i)))
	}
}
