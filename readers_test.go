package groupcommit

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func isLikely(r *readers, query string) bool {
	yes, _ := r.likely(query)
	return yes
}

func TestATextBeginsReadersOnceItsTransactionsHaveNotWritten(t *testing.T) {
	var r readers
	assert.False(t, isLikely(&r, "a"), "nothing is known of it")
	_, enough := r.likely("a")
	r.ended("a", false)
	assert.False(t, isLikely(&r, "a"))
	r.ended("a", false)
	assert.True(t, isLikely(&r, "a"))
	select {
	case <-enough:
	default:
		t.Error("who waits for a turn is not told")
	}
	assert.False(t, isLikely(&r, "b"), "it is another")
}

func TestATransactionThatWritesTakesItBack(t *testing.T) {
	var r readers
	for range 5 {
		r.ended("a", false)
	}
	r.ended("a", true)
	for range readsEnough - writesCount - 1 {
		assert.False(t, isLikely(&r, "a"))
		r.ended("a", false)
	}
	_, enough := r.likely("a")
	r.ended("a", false)
	assert.True(t, isLikely(&r, "a"))
	<-enough
}

func TestANewTextIsJudgedByThoseBefore(t *testing.T) {
	var r readers
	for i := range freshEnough {
		assert.False(t, isLikely(&r, fmt.Sprint(i)))
		r.ended(fmt.Sprint(i), false)
	}
	assert.True(t, isLikely(&r, "new"))
	r.ended("new", true)
	assert.False(t, isLikely(&r, "newer"))
}

// A text that reads is taken for a reader's again and again, however often a transaction that began with it has written since.
func TestATextIsTakenForAReadersAgainAfterAWrite(t *testing.T) {
	var r readers
	for range 3 {
		for range 40 {
			r.ended("SELECT 1", false)
		}
		yes, enough := r.likely("SELECT 1")
		require.True(t, yes)
		<-enough
		r.ended("SELECT 1", true)
		yes, _ = r.likely("SELECT 1")
		require.False(t, yes)
	}
}
